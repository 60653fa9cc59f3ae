//! Tokens: `base64url(account).base64url(token id).base64url(signature)`, without padding.
//!
//! The first part is the account's id as decimal text, as tools of the bot world expect it. The
//! signature is HMAC-SHA-256 over the first two parts with the instance's secret: a guess is
//! refused without asking the database. Whether a token was revoked is the database's answer.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::id::Id;

/// Length of the instance's secret in bytes.
pub(crate) const SECRET_BYTES: usize = 32;
/// Longest text that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 256;

/// Signs and verifies tokens.
pub(crate) struct TokenKey(Hmac<Sha256>);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    fn mac(&self, head: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(head.as_bytes());
        mac
    }

    /// The text of a token.
    pub(crate) fn encode(&self, user: Id, token: Id) -> String {
        let user = BASE64.encode(user.to_string());
        self.sign(&format!(
            "{user}.{}",
            BASE64.encode(token.get().to_be_bytes())
        ))
    }

    /// The first two parts with the signature behind them.
    pub(crate) fn sign(&self, head: &str) -> String {
        let signature = BASE64.encode(self.mac(head).finalize().into_bytes());
        format!("{head}.{signature}")
    }

    /// Account and id of a token that this instance signed, in constant time for its length.
    pub(crate) fn decode(&self, text: &str) -> Option<(Id, Id)> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (head, signature) = text.rsplit_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        self.mac(head).verify_slice(&signature).ok()?;
        let (user, token) = head.split_once('.')?;
        let user = String::from_utf8(BASE64.decode(user).ok()?).ok()?;
        let token = <[u8; 8]>::try_from(BASE64.decode(token).ok()?).ok()?;
        Some((user.parse().ok()?, Id::new(u64::from_be_bytes(token))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_secret_or_with_one_changed_byte_is_refused() {
        let key = TokenKey::new(&[7; SECRET_BYTES]);
        let (user, token) = (
            Id::new(81_384_788_765_712_384).unwrap(),
            Id::new(42).unwrap(),
        );
        let text = key.encode(user, token);
        assert_eq!(text.split('.').count(), 3);
        assert_eq!(key.decode(&text), Some((user, token)));
        assert_eq!(TokenKey::new(&[8; SECRET_BYTES]).decode(&text), None);
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(key.decode(&changed), None, "byte {place}");
        }
        for bad in ["", ".", "..", "a.b.c", &"x".repeat(5000)] {
            assert_eq!(key.decode(bad), None);
        }
    }
}
