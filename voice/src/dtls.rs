//! DTLS 1.2, always as the server: `rtc-dtls` shakes hands, this file chooses the SRTP profile and checks who it was.
//!
//! The library takes the first profile of the client's list that it knows, and browsers list HMAC-SHA-1 first. So the
//! client's hello, which is readable, is looked at, whole: if it offers AES-128-GCM the handshake runs with GCM alone.
//! The certificate is compared with the fingerprint of the signalled offer when the handshake is complete; until then
//! nothing of the peer is believed. The hello is answered with a cookie first, so that a forged address is sent no more
//! than came from it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use bytes::BytesMut;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use crate::bits::{be16, be24};
use crate::error::{Error, ErrorKind, Result};
use crate::srtp::{KeyBlock, Profile};

const EXPORT_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// Small enough for every path, with room for a relay's header.
const MTU: usize = 1200;
const CLIENT_HELLO: u8 = 1;
const HELLO_LEN_MAX: usize = 8192;
const HELLO_DATAGRAMS_MAX: usize = 8;
const FLIGHT_INTERVAL: Duration = Duration::from_millis(250);
/// The library keys its associations by address; here each has one of its own, whatever address the peer has now.
const THE_PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// Certificate and settings of a process, shared by all its peers.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) provider: Arc<dyn RTCCryptoProvider>,
    gcm: Arc<HandshakeConfig>,
    both: Arc<HandshakeConfig>,
    /// As SDP writes it: pairs of hexadecimal digits with colons.
    pub(crate) fingerprint: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Makes a key (P-256) and a certificate that lives as long as the process.
    pub(crate) fn generate() -> Result<Self> {
        let provider =
            default_provider().map_err(|error| failed("no cryptography is compiled in", &error))?;
        let certificate =
            Certificate::generate_self_signed(vec!["voice".to_owned()], provider.crypto())
                .map_err(|error| failed("no certificate", &error))?;
        let der = certificate
            .certificate
            .first()
            .map(|der| der.as_ref().to_vec())
            .unwrap_or_default();
        let builder = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&provider))
            .with_certificates(vec![certificate])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_flight_interval(FLIGHT_INTERVAL)
            .with_mtu(MTU);
        let config = |profiles: Vec<SrtpProtectionProfile>| {
            builder
                .clone()
                .with_srtp_protection_profiles(profiles)
                .build(false, None)
                .map(Arc::new)
                .map_err(|error| failed("no settings", &error))
        };
        Ok(Self {
            gcm: config(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])?,
            both: config(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
            ])?,
            provider,
            fingerprint: Fingerprint::of(&digest::SHA256, &der).to_string(),
        })
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Bug, format!("dtls: {what}: {error}"))
}

/// The hash of a certificate, as an offer announces it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    algorithm: &'static digest::Algorithm,
    hash: Vec<u8>,
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.hash.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl Fingerprint {
    fn of(algorithm: &'static digest::Algorithm, der: &[u8]) -> Self {
        Self {
            algorithm,
            hash: digest::digest(algorithm, der).as_ref().to_vec(),
        }
    }

    /// Reads `sha-256 AB:CD:...`; `None` for another hash than SHA-2 or a wrong number of bytes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, hex) = text.trim().split_once(' ')?;
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return None,
        };
        let hash: Option<Vec<u8>> = hex
            .trim()
            .split(':')
            .map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?)
            .take(65)
            .collect();
        hash.filter(|hash| hash.len() == algorithm.output_len())
            .map(|hash| Self { algorithm, hash })
    }

    fn is_of(&self, der: &[u8]) -> bool {
        Self::of(self.algorithm, der).hash == self.hash
    }
}

/// What a datagram did.
#[derive(Clone)]
pub(crate) enum Progress {
    /// More datagrams are needed.
    Waiting,
    /// The peer is who its offer said: keys for both directions, the client's first.
    Connected(Box<(KeyBlock, KeyBlock)>),
    /// The peer closed the association.
    Closed,
    /// The peer is somebody else, or the handshake cannot succeed.
    Failed(&'static str),
}

/// The association with one peer.
pub(crate) struct Dtls {
    hello: Hello,
    endpoint: Option<Endpoint>,
    complete: bool,
}

impl Dtls {
    /// Nothing is kept until the first hello comes.
    pub(crate) fn new() -> Self {
        Self {
            hello: Hello::default(),
            endpoint: None,
            complete: false,
        }
    }

    /// Takes a datagram from a peer whose address is proven by STUN.
    pub(crate) fn handle(
        &mut self,
        datagram: &[u8],
        now: Instant,
        identity: &Identity,
        expected: &Fingerprint,
    ) -> Progress {
        if self.endpoint.is_some() {
            return self.read(datagram, now, expected);
        }
        let config = match self.hello.add(datagram) {
            Offered::Unfinished => return Progress::Waiting,
            Offered::Yes => &identity.gcm,
            Offered::No | Offered::Unknown => &identity.both,
        };
        let config = Some(Arc::clone(config));
        self.endpoint = Some(Endpoint::new(THE_PEER, TransportProtocol::UDP, config));
        for kept in std::mem::take(&mut self.hello).datagrams {
            let progress = self.read(&kept, now, expected);
            if !matches!(progress, Progress::Waiting) {
                return progress;
            }
        }
        Progress::Waiting
    }

    fn read(&mut self, datagram: &[u8], now: Instant, expected: &Fingerprint) -> Progress {
        let Some(endpoint) = &mut self.endpoint else {
            return Progress::Waiting;
        };
        match endpoint.read(now, THE_PEER, None, BytesMut::from(datagram)) {
            Ok(events) => {
                events
                    .into_iter()
                    .fold(Progress::Waiting, |progress, event| match event {
                        EndpointEvent::HandshakeComplete => self.finish(expected),
                        EndpointEvent::PeerClosed => Progress::Closed,
                        _ => progress,
                    })
            }
            Err(_) if self.complete => Progress::Waiting,
            Err(error) => {
                tracing::debug!(%error, "a DTLS handshake failed");
                Progress::Failed("the DTLS handshake failed")
            }
        }
    }

    fn finish(&mut self, expected: &Fingerprint) -> Progress {
        let state = self
            .endpoint
            .as_ref()
            .and_then(|endpoint| endpoint.get_connection_state(THE_PEER));
        let Some(state) = state else {
            return Progress::Failed("the DTLS association is gone");
        };
        if !state
            .peer_certificates
            .first()
            .is_some_and(|der| expected.is_of(der))
        {
            return Progress::Failed("the certificate is not the one of the offer");
        }
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::CounterSha1,
            _ => return Progress::Failed("no SRTP profile in common"),
        };
        let exported =
            state.export_keying_material(EXPORT_LABEL, &[], KeyBlock::exported_len(profile));
        let Some(keys) = exported
            .ok()
            .and_then(|secret| KeyBlock::pair(profile, secret.as_ref()))
        else {
            return Progress::Failed("the handshake gives no keys");
        };
        self.complete = true;
        Progress::Connected(Box::new(keys))
    }

    /// Repeats what was lost.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Progress {
        match self
            .endpoint
            .as_mut()
            .map(|endpoint| endpoint.handle_timeout(THE_PEER, now))
        {
            Some(Err(_)) if !self.complete => Progress::Failed("the DTLS handshake was given up"),
            _ => Progress::Waiting,
        }
    }

    /// When [`Dtls::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.endpoint.as_ref()?.poll_timeout(&THE_PEER)
    }

    /// The next datagram for the peer.
    pub(crate) fn poll_transmit(&mut self) -> Option<BytesMut> {
        Some(self.endpoint.as_mut()?.poll_transmit()?.message)
    }

    /// Says goodbye; what is to send remains in [`Dtls::poll_transmit`].
    pub(crate) fn close(&mut self, now: Instant) {
        if let Some(endpoint) = &mut self.endpoint {
            drop(endpoint.stop(now, THE_PEER));
        }
    }
}

/// The client's first hello, until it is whole: a browser's has two fragments, and its extensions come in any order.
#[derive(Debug, Default)]
pub(crate) struct Hello {
    datagrams: Vec<Vec<u8>>,
    body: Vec<u8>,
}

/// What a hello says of AES-128-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// Its other fragments are missing.
    Unfinished,
    /// It cannot be told: fragments in disorder, or no hello at all.
    Unknown,
    Yes,
    No,
}

impl Hello {
    /// Takes the next datagram and keeps it.
    pub(crate) fn add(&mut self, datagram: &[u8]) -> Offered {
        self.datagrams.push(datagram.to_vec());
        let mut rest = datagram;
        let mut total = None;
        while let Some((record, next)) = split_record(rest) {
            total = self.add_fragment(record);
            if total.is_none() {
                return Offered::Unknown;
            }
            rest = next;
        }
        match total {
            Some(total) if self.body.len() >= total => match lists_gcm(&self.body) {
                Some(true) => Offered::Yes,
                Some(false) => Offered::No,
                None => Offered::Unknown,
            },
            Some(_) if self.datagrams.len() < HELLO_DATAGRAMS_MAX => Offered::Unfinished,
            _ => Offered::Unknown,
        }
    }

    /// Appends a fragment of a hello; the length of the whole, or `None` if this is none or comes too early.
    fn add_fragment(&mut self, record: &[u8]) -> Option<usize> {
        let total = be24(record, 1)? as usize;
        let (offset, len) = (be24(record, 6)? as usize, be24(record, 9)? as usize);
        let fragment = record.get(12..12_usize.checked_add(len)?)?;
        if *record.first()? != CLIENT_HELLO || total > HELLO_LEN_MAX || offset > self.body.len() {
            return None;
        }
        self.body
            .extend_from_slice(fragment.get(self.body.len() - offset..).unwrap_or_default());
        Some(total)
    }
}

/// The body of the first record of a datagram, if it is of a handshake in the clear, and what follows it.
fn split_record(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(be16(datagram, 11)?);
    let handshake = *datagram.first()? == 22 && be16(datagram, 3)? == 0;
    datagram
        .get(13..)?
        .split_at_checked(len)
        .filter(|_| handshake)
}

/// Whether the body of a client's hello lists `SRTP_AEAD_AES_128_GCM`; `None` if it is cut or has no `use_srtp`.
fn lists_gcm(body: &[u8]) -> Option<bool> {
    const USE_SRTP: u16 = 14;
    let mut rest = body.get(2 + 32..)?;
    for width in [1, 1, 2, 1] {
        let len = if width == 1 {
            usize::from(*rest.first()?)
        } else {
            usize::from(be16(rest, 0)?)
        };
        rest = rest.get(width + len..)?;
    }
    rest = rest.get(2..)?;
    while let (Some(kind), Some(len)) = (be16(rest, 0), be16(rest, 2)) {
        let value = rest.get(4..4 + usize::from(len))?;
        if kind == USE_SRTP {
            let profiles = value.get(2..2 + usize::from(be16(value, 0)?))?;
            return Some(profiles.chunks_exact(2).any(|profile| profile == [0, 7]));
        }
        rest = &rest[4 + usize::from(len)..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_exactly() {
        let fingerprint = Fingerprint::of(&digest::SHA256, b"certificate");
        let text = format!("SHA-256 {}", fingerprint.to_string().to_lowercase());
        assert_eq!(Fingerprint::parse(&text), Some(fingerprint.clone()));
        assert!(fingerprint.is_of(b"certificate") && !fingerprint.is_of(b"Certificate"));
        for wrong in [
            "sha-1 AB:CD",
            "sha-256",
            "sha-256 AB",
            "sha-256 ",
            &text[..text.len() - 3],
            &format!("{text}:00"),
        ] {
            assert_eq!(Fingerprint::parse(wrong), None, "{wrong}");
        }
    }

    /// A client with `profiles` in its order, from its first hello to the keys.
    fn shake(profiles: Vec<SrtpProtectionProfile>) -> Progress {
        let identity = Identity::generate().expect("a certificate");
        let crypto = identity.provider.crypto();
        let theirs = Certificate::generate_self_signed(vec!["client".to_owned()], crypto);
        let theirs = theirs.expect("a certificate");
        let expected = Fingerprint::of(&digest::SHA256, theirs.certificate[0].as_ref());
        let config = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&identity.provider))
            .with_certificates(vec![theirs])
            .with_insecure_skip_verify(true)
            .with_srtp_protection_profiles(profiles)
            .build(true, None)
            .expect("settings");
        let now = Instant::now();
        let mut client = Endpoint::new(THE_PEER, TransportProtocol::UDP, None);
        client
            .connect(now, THE_PEER, Arc::new(config), None)
            .expect("a hello");
        let mut server = Dtls::new();
        for _ in 0..20 {
            while let Some(datagram) = client.poll_transmit() {
                let progress = server.handle(&datagram.message, now, &identity, &expected);
                if !matches!(progress, Progress::Waiting) {
                    return progress;
                }
            }
            while let Some(datagram) = server.poll_transmit() {
                if let Err(error) = client.read(now, THE_PEER, None, datagram) {
                    panic!("the client refuses: {error}");
                }
            }
        }
        Progress::Waiting
    }

    #[test]
    fn gcm_is_taken_wherever_the_client_lists_it_and_sha1_only_without_it() {
        let (gcm, sha1) = (
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
        );
        for (offered, taken) in [
            (vec![sha1, gcm], Profile::Gcm),
            (vec![gcm, sha1], Profile::Gcm),
            (vec![sha1], Profile::CounterSha1),
        ] {
            let Progress::Connected(keys) = shake(offered) else {
                panic!("it must connect");
            };
            assert_eq!(keys.0.profile, taken);
        }
    }

    /// A datagram with the bytes `part` of a hello's body.
    fn fragment(body: &[u8], part: std::ops::Range<usize>) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).expect("short").to_be_bytes();
        let len = part.len();
        let mut datagram = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
        datagram.extend_from_slice(&number(len + 12)[2..]);
        datagram.push(CLIENT_HELLO);
        datagram.extend_from_slice(&number(body.len())[1..]);
        datagram.extend_from_slice(&[0, 0]);
        datagram.extend_from_slice(&number(part.start)[1..]);
        datagram.extend_from_slice(&number(len)[1..]);
        datagram.extend_from_slice(&body[part]);
        datagram
    }

    #[test]
    fn the_profiles_of_a_hello_are_found_in_any_fragment_and_a_cut_hello_tells_nothing() {
        let mut body = vec![0xfe, 0xfd];
        body.extend_from_slice(&[9; 32]);
        body.extend_from_slice(&[0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        body.extend_from_slice(&[0, 15, 0, 23, 0, 0, 0, 14, 0, 7, 0, 4, 0, 1, 0, 7, 0]);
        for cut in 1..body.len() {
            let mut hello = Hello::default();
            let first = fragment(&body, 0..cut);
            assert_eq!(hello.add(&first), Offered::Unfinished);
            assert_eq!(hello.add(&first), Offered::Unfinished, "sent again");
            assert_eq!(hello.add(&fragment(&body, cut..body.len())), Offered::Yes);
            assert_eq!(
                Hello::default().add(&fragment(&body, cut..body.len())),
                Offered::Unknown
            );
            let short = fragment(&body[..cut], 0..cut);
            assert_eq!(Hello::default().add(&short), Offered::Unknown);
        }
        let last = body.len() - 2;
        body[last] = 8;
        assert_eq!(
            Hello::default().add(&fragment(&body, 0..body.len())),
            Offered::No
        );
        let mut waiting = Hello::default();
        let piece = fragment(&body, 0..20);
        let told: Vec<_> = (0..HELLO_DATAGRAMS_MAX)
            .map(|_| waiting.add(&piece))
            .collect();
        assert_eq!(
            told.last(),
            Some(&Offered::Unknown),
            "it waits for so many and no more"
        );
    }
}
