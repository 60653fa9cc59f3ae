//! ICE-lite's half of STUN (RFC 8489, RFC 8445): binding requests with a password, answered.
//!
//! Integrity and fingerprint come from `rtc-stun`. Around it: the message fills the datagram, has few attributes, and ends
//! in `MESSAGE-INTEGRITY, FINGERPRINT`; so nothing unauthenticated can be mistaken for a part of it.

use std::net::SocketAddr;

use rtc_stun::attributes::{
    ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY, ATTR_USE_CANDIDATE, ATTR_USERNAME,
};
use rtc_stun::crypto::RTCCrypto;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;

use crate::bits::{be16, be32};

const COOKIE: u32 = 0x2112_a442;
const HEADER_LEN: usize = 20;
/// A browser sends eight.
const ATTRIBUTES_MAX: usize = 16;
const LEN_MAX: usize = 600;

/// A binding request whose sender is not known yet.
pub(crate) struct Request {
    message: Message,
    /// Our half of the user name: who is meant.
    pub(crate) ufrag: String,
}

/// Whether a datagram whose first byte is 0 to 3 is STUN; Discord's address discovery has no cookie.
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    be32(datagram, 4) == Some(COOKIE)
}

/// Reads a binding request; `None` for anything else.
pub(crate) fn read(datagram: &[u8]) -> Option<Request> {
    let len = usize::from(be16(datagram, 2)?) + HEADER_LEN;
    if datagram.len() > LEN_MAX
        || len != datagram.len()
        || !attributes_fit(datagram.get(HEADER_LEN..)?)
    {
        return None;
    }
    let mut message = Message::new();
    message.unmarshal_binary(datagram).ok()?;
    if message.typ != BINDING_REQUEST {
        return None;
    }
    let [.., integrity, fingerprint] = message.attributes.0.as_slice() else {
        return None;
    };
    if integrity.typ != ATTR_MESSAGE_INTEGRITY
        || integrity.value.len() != 20
        || fingerprint.typ != ATTR_FINGERPRINT
    {
        return None;
    }
    let user = message.get(ATTR_USERNAME).ok()?;
    let (ours, _) = std::str::from_utf8(&user).ok()?.split_once(':')?;
    let ufrag = ours.to_owned();
    Some(Request { message, ufrag })
}

/// Counts before the library allocates for each.
fn attributes_fit(mut rest: &[u8]) -> bool {
    for _ in 0..ATTRIBUTES_MAX {
        if rest.is_empty() {
            return true;
        }
        let Some(len) = be16(rest, 2) else {
            return false;
        };
        let whole = 4 + usize::from(len).next_multiple_of(4);
        let Some(next) = rest.get(whole..) else {
            return false;
        };
        rest = next;
    }
    rest.is_empty()
}

impl Request {
    /// Whether whoever sent this knows `password`.
    pub(crate) fn is_authentic(&mut self, password: &str, crypto: &dyn RTCCrypto) -> bool {
        FINGERPRINT.check(&self.message).is_ok()
            && MessageIntegrity::check(&mut self.message, password.as_bytes(), crypto).is_ok()
    }

    /// Whether the sender chose this pair of addresses.
    pub(crate) fn nominates(&self) -> bool {
        self.message.contains(ATTR_USE_CANDIDATE)
    }

    /// The answer to `from`; `None` if it would be longer than the request, for then a forged source makes it a weapon.
    pub(crate) fn answer(
        &self,
        from: SocketAddr,
        password: &str,
        crypto: &dyn RTCCrypto,
    ) -> Option<Vec<u8>> {
        let mut answer = Message::new();
        let integrity =
            MessageIntegrity::new_raw_integrity_with_provider(password.as_bytes(), crypto);
        let address = XorMappedAddress {
            ip: from.ip().to_canonical(),
            port: from.port(),
        };
        let setters: [Box<dyn Setter + '_>; 5] = [
            Box::new(BINDING_SUCCESS),
            Box::new(self.message.transaction_id),
            Box::new(address),
            Box::new(integrity),
            Box::new(FINGERPRINT),
        ];
        answer.build(&setters).ok()?;
        (answer.raw.len() <= self.message.raw.len()).then_some(answer.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_stun::crypto::default_provider;
    use rtc_stun::message::TransactionId;
    use rtc_stun::textattrs::TextAttribute;

    fn request(password: &str) -> Vec<u8> {
        let provider = default_provider().expect("a provider is compiled in");
        let mut message = Message::new();
        message
            .build(&[
                Box::new(BINDING_REQUEST),
                Box::new(TransactionId([7; 12])),
                Box::new(TextAttribute::new(ATTR_USERNAME, "ours:theirs".to_owned())),
                Box::new(MessageIntegrity::new_raw_integrity_with_provider(
                    password,
                    provider.crypto(),
                )),
                Box::new(FINGERPRINT),
            ])
            .expect("builds");
        message.raw
    }

    #[test]
    fn only_the_password_opens_and_the_answer_is_no_longer_than_the_question() {
        let provider = default_provider().expect("a provider is compiled in");
        let bytes = request("secret");
        let mut read_back = read(&bytes).expect("a request");
        assert_eq!(read_back.ufrag, "ours");
        assert!(!read_back.is_authentic("other", provider.crypto()));
        assert!(read_back.is_authentic("secret", provider.crypto()));
        assert!(!read_back.nominates());
        let answer = read_back
            .answer(([127, 0, 0, 1], 4000).into(), "secret", provider.crypto())
            .expect("fits");
        assert!(answer.len() <= bytes.len());
        for at in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[at] ^= 1;
            let passes = read(&forged)
                .is_some_and(|mut request| request.is_authentic("secret", provider.crypto()));
            assert!(!passes, "byte {at} was changed");
        }
    }

    #[test]
    fn an_attribute_behind_the_integrity_is_refused() {
        let mut bytes = request("secret");
        let fingerprint = bytes.split_off(bytes.len() - 8);
        bytes.extend_from_slice(&[0, 0x25, 0, 0]);
        bytes.extend_from_slice(&fingerprint);
        bytes[3] += 4;
        assert!(read(&bytes).is_none());
    }
}
