//! From the secret of the DTLS handshake to the keys of one direction.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use crate::error::{Error, ErrorKind, Result};

pub(crate) const KEY_LEN: usize = 16;
const LABEL_OFFSET: usize = 7;

/// How packets are protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`.
    Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    CounterSha1,
}

impl Profile {
    pub(crate) const fn salt_len(self) -> usize {
        match self {
            Self::Gcm => 12,
            Self::CounterSha1 => 14,
        }
    }
}

/// Master key and salt of one direction.
#[derive(Clone)]
pub(crate) struct KeyBlock {
    pub(crate) profile: Profile,
    pub(crate) key: [u8; KEY_LEN],
    /// Zero-padded to 14 bytes for GCM, whose salt has 12.
    pub(crate) salt: [u8; 14],
}

impl KeyBlock {
    /// Cuts what DTLS exports (client key, server key, client salt, server salt) into both directions: the client's first.
    pub(crate) fn pair(profile: Profile, exported: &[u8]) -> Option<(Self, Self)> {
        let (client_key, rest) = exported.split_first_chunk::<KEY_LEN>()?;
        let (server_key, salts) = rest.split_first_chunk::<KEY_LEN>()?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len())?;
        let block = |key: &[u8; KEY_LEN], part: &[u8]| {
            let mut salt = [0; 14];
            salt.get_mut(..profile.salt_len())?
                .copy_from_slice(part.get(..profile.salt_len())?);
            Some(Self {
                profile,
                key: *key,
                salt,
            })
        };
        Some((
            block(client_key, client_salt)?,
            block(server_key, server_salt)?,
        ))
    }

    /// Bytes to export for both directions.
    pub(crate) const fn exported_len(profile: Profile) -> usize {
        2 * (KEY_LEN + profile.salt_len())
    }

    /// RFC 3711 section 4.3: the key stream of the master key over the salt with `label` in it.
    pub(crate) fn derive<const N: usize>(&self, label: u8) -> Result<[u8; N]> {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        iv[LABEL_OFFSET] ^= label;
        let mut out = [0; N];
        counter_mode(&counter_key(&self.key)?, iv, &mut out)?;
        Ok(out)
    }
}

/// A key for [`counter_mode`].
pub(crate) fn counter_key(key: &[u8; KEY_LEN]) -> Result<EncryptingKey> {
    UnboundCipherKey::new(&AES_128, key)
        .and_then(EncryptingKey::ctr)
        .map_err(|error| {
            Error::new(ErrorKind::Bug, "aes-128 refused a key of 16 bytes").with_source(error)
        })
}

/// Adds the key stream that starts at `iv` to `bytes`; encrypts and decrypts.
pub(crate) fn counter_mode(key: &EncryptingKey, iv: [u8; 16], bytes: &mut [u8]) -> Result<()> {
    key.less_safe_encrypt(bytes, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map(drop)
        .map_err(|error| {
            Error::new(ErrorKind::Bug, "aes-128 in counter mode failed").with_source(error)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_rfc() {
        let block = KeyBlock {
            profile: Profile::CounterSha1,
            key: [
                0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde,
                0x41, 0x39,
            ],
            salt: [
                0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
            ],
        };
        let key: [u8; 16] = block.derive(0).expect("derives");
        assert_eq!(
            key,
            [
                0xc6, 0x1e, 0x7a, 0x93, 0x74, 0x4f, 0x39, 0xee, 0x10, 0x73, 0x4a, 0xfe, 0x3f, 0xf7,
                0xa0, 0x87
            ]
        );
        let salt: [u8; 14] = block.derive(2).expect("derives");
        assert_eq!(
            salt,
            [
                0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1
            ]
        );
        let auth: [u8; 20] = block.derive(1).expect("derives");
        assert_eq!(auth[..6], [0xce, 0xbe, 0x32, 0x1f, 0x6f, 0xf7]);
    }
}
