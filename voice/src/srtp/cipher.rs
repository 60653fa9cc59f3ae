//! One direction's keys with the two operations on a packet whose index is known.
//!
//! Layout of what is sealed: `header || payload || tag` for RTP; `header(8) || payload || tag || E+index(4)` for RTCP with
//! GCM, `header(8) || payload || E+index(4) || tag` with HMAC-SHA-1.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::{constant_time, hmac};

use super::keys::{KeyBlock, Profile, counter_key, counter_mode};
use crate::bits::{be32, low16, low32};
use crate::error::{Error, ErrorKind, Result};

const SHA1_TAG_LEN: usize = 10;
const RTCP_HEADER_LEN: usize = 8;
const ENCRYPTED: u32 = 1 << 31;

/// Session keys of one direction.
pub(crate) enum Cipher {
    Gcm(Box<GcmKeys>),
    CounterSha1(Box<Sha1Keys>),
}

pub(crate) struct GcmKeys {
    rtp: LessSafeKey,
    rtp_salt: [u8; 12],
    rtcp: LessSafeKey,
    rtcp_salt: [u8; 12],
}

pub(crate) struct Sha1Keys {
    rtp: EncryptingKey,
    rtp_auth: hmac::Key,
    rtp_salt: [u8; 14],
    rtcp: EncryptingKey,
    rtcp_auth: hmac::Key,
    rtcp_salt: [u8; 14],
}

impl Cipher {
    pub(crate) fn new(block: &KeyBlock) -> Result<Self> {
        Ok(match block.profile {
            Profile::Gcm => Self::Gcm(Box::new(GcmKeys {
                rtp: gcm_key(block.derive(0)?)?,
                rtp_salt: block.derive(2)?,
                rtcp: gcm_key(block.derive(3)?)?,
                rtcp_salt: block.derive(5)?,
            })),
            Profile::CounterSha1 => Self::CounterSha1(Box::new(Sha1Keys {
                rtp: counter_key(&block.derive(0)?)?,
                rtp_auth: hmac_key(block.derive(1)?),
                rtp_salt: block.derive(2)?,
                rtcp: counter_key(&block.derive(3)?)?,
                rtcp_auth: hmac_key(block.derive(4)?),
                rtcp_salt: block.derive(5)?,
            })),
        })
    }

    /// Encrypts what follows the `header_len` bytes of the packet that begins at `start`, and appends the tag.
    pub(crate) fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        id: PacketId,
    ) -> Result<()> {
        let (header, payload) = packet[start..].split_at_mut(header_len);
        match self {
            Self::Gcm(keys) => {
                let nonce = Nonce::assume_unique_for_key(id.rtp_nonce(keys.rtp_salt));
                let tag = keys
                    .rtp
                    .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
                    .map_err(sealing_failed)?;
                packet.extend_from_slice(tag.as_ref());
            }
            Self::CounterSha1(keys) => {
                counter_mode(&keys.rtp, id.counter_iv(keys.rtp_salt), payload)?;
                let tag = sha1_tag(
                    &keys.rtp_auth,
                    &[&packet[start..], &id.rollover().to_be_bytes()],
                );
                packet.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Checks and decrypts in place; the length of the packet without its tag, or `None` if it is not authentic.
    pub(crate) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        id: PacketId,
    ) -> Option<usize> {
        match self {
            Self::Gcm(keys) => {
                let nonce = Nonce::assume_unique_for_key(id.rtp_nonce(keys.rtp_salt));
                let (header, sealed) = packet.split_at_mut_checked(header_len)?;
                let plain = keys
                    .rtp
                    .open_in_place(nonce, Aad::from(&*header), sealed)
                    .ok()?
                    .len();
                Some(header_len + plain)
            }
            Self::CounterSha1(keys) => {
                let len = packet
                    .len()
                    .checked_sub(SHA1_TAG_LEN)
                    .filter(|len| *len >= header_len)?;
                let (body, tag) = packet.split_at_mut_checked(len)?;
                let expected = sha1_tag(&keys.rtp_auth, &[&*body, &id.rollover().to_be_bytes()]);
                constant_time::verify_slices_are_equal(&expected, tag).ok()?;
                counter_mode(
                    &keys.rtp,
                    id.counter_iv(keys.rtp_salt),
                    &mut body[header_len..],
                )
                .ok()?;
                Some(len)
            }
        }
    }

    /// Seals the compound packet that begins at `start` as number `index` (31 bits).
    pub(crate) fn seal_rtcp(&self, packet: &mut Vec<u8>, start: usize, index: u32) -> Result<()> {
        let trailer = (index | ENCRYPTED).to_be_bytes();
        let ssrc = be32(&packet[start..], 4).unwrap_or_default();
        let id = PacketId {
            ssrc,
            index: u64::from(index),
        };
        let (header, payload) = packet[start..].split_at_mut(RTCP_HEADER_LEN);
        match self {
            Self::Gcm(keys) => {
                let mut aad = [0; RTCP_HEADER_LEN + 4];
                aad[..RTCP_HEADER_LEN].copy_from_slice(header);
                aad[RTCP_HEADER_LEN..].copy_from_slice(&trailer);
                let nonce = Nonce::assume_unique_for_key(id.rtcp_nonce(keys.rtcp_salt));
                let tag = keys
                    .rtcp
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), payload)
                    .map_err(sealing_failed)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&trailer);
            }
            Self::CounterSha1(keys) => {
                counter_mode(&keys.rtcp, id.counter_iv(keys.rtcp_salt), payload)?;
                packet.extend_from_slice(&trailer);
                let tag = sha1_tag(&keys.rtcp_auth, &[&packet[start..]]);
                packet.extend_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// The index that the packet claims; `None` if it is too short or not encrypted, which DTLS-SRTP never is.
    pub(crate) fn rtcp_index(&self, packet: &[u8]) -> Option<u32> {
        let behind = match self {
            Self::Gcm(_) => 4,
            Self::CounterSha1(_) => 4 + SHA1_TAG_LEN,
        };
        let at = packet
            .len()
            .checked_sub(behind)
            .filter(|at| *at >= RTCP_HEADER_LEN)?;
        let word = be32(packet, at)?;
        (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
    }

    /// Checks and decrypts in place; the length of the plain compound packet, or `None` if it is not authentic.
    pub(crate) fn open_rtcp(&self, packet: &mut [u8], index: u32) -> Option<usize> {
        let id = PacketId {
            ssrc: be32(packet, 4)?,
            index: u64::from(index),
        };
        match self {
            Self::Gcm(keys) => {
                let sealed_end = packet.len().checked_sub(4)?;
                let (front, trailer) = packet.split_at_mut_checked(sealed_end)?;
                let (header, sealed) = front.split_at_mut_checked(RTCP_HEADER_LEN)?;
                let mut aad = [0; RTCP_HEADER_LEN + 4];
                aad[..RTCP_HEADER_LEN].copy_from_slice(header);
                aad[RTCP_HEADER_LEN..].copy_from_slice(trailer);
                let nonce = Nonce::assume_unique_for_key(id.rtcp_nonce(keys.rtcp_salt));
                let plain = keys
                    .rtcp
                    .open_in_place(nonce, Aad::from(aad), sealed)
                    .ok()?
                    .len();
                Some(RTCP_HEADER_LEN + plain)
            }
            Self::CounterSha1(keys) => {
                let (body, tag) =
                    packet.split_at_mut_checked(packet.len().checked_sub(SHA1_TAG_LEN)?)?;
                let expected = sha1_tag(&keys.rtcp_auth, &[&*body]);
                constant_time::verify_slices_are_equal(&expected, tag).ok()?;
                let len = body.len().checked_sub(4)?;
                let payload = body.get_mut(RTCP_HEADER_LEN..len)?;
                counter_mode(&keys.rtcp, id.counter_iv(keys.rtcp_salt), payload).ok()?;
                Some(len)
            }
        }
    }
}

/// What makes a packet's nonce: its source and its extended number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketId {
    pub(crate) ssrc: u32,
    pub(crate) index: u64,
}

impl PacketId {
    fn rollover(self) -> u32 {
        low32(self.index >> 16)
    }

    /// RFC 7714 section 8.1.
    pub(super) fn rtp_nonce(self, salt: [u8; 12]) -> [u8; 12] {
        let mut nonce = salt;
        xor(&mut nonce[2..6], &self.ssrc.to_be_bytes());
        xor(&mut nonce[6..10], &self.rollover().to_be_bytes());
        xor(&mut nonce[10..12], &low16(self.index).to_be_bytes());
        nonce
    }

    /// RFC 7714 section 9.1.
    fn rtcp_nonce(self, salt: [u8; 12]) -> [u8; 12] {
        let mut nonce = salt;
        xor(&mut nonce[2..6], &self.ssrc.to_be_bytes());
        xor(&mut nonce[8..12], &low32(self.index).to_be_bytes());
        nonce
    }

    /// RFC 3711 section 4.1.1: 48 bits of index above the 16 bits that count blocks.
    fn counter_iv(self, salt: [u8; 14]) -> [u8; 16] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&salt);
        xor(&mut iv[4..8], &self.ssrc.to_be_bytes());
        xor(&mut iv[8..14], &self.index.to_be_bytes()[2..]);
        iv
    }
}

fn xor(into: &mut [u8], from: &[u8]) {
    for (into, from) in into.iter_mut().zip(from) {
        *into ^= from;
    }
}

fn sha1_tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; SHA1_TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    let mut tag = [0; SHA1_TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..SHA1_TAG_LEN]);
    tag
}

fn gcm_key(key: [u8; 16]) -> Result<LessSafeKey> {
    UnboundKey::new(&AES_128_GCM, &key)
        .map(LessSafeKey::new)
        .map_err(|error| {
            Error::new(ErrorKind::Bug, "aes-128-gcm refused a key of 16 bytes").with_source(error)
        })
}

fn hmac_key(key: [u8; 20]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key)
}

fn sealing_failed(error: aws_lc_rs::error::Unspecified) -> Error {
    Error::new(ErrorKind::Bug, "aes-128-gcm failed to seal a packet").with_source(error)
}
