//! Where a subscriber is: for each raft group, the last change that it has.
//!
//! A cursor is opaque to clients. Its bytes are
//! `version u8 = 1 | cluster u64 | count u16 | count * (group u64 | index u64 | op u32) | check u32`,
//! all little endian; `check` is the low half of xxh3-64 over everything before it. A cursor of one
//! cluster is refused by another, because log indexes of the two have nothing to do with each other.

use crate::error::{Error, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 8 + 2;
const PLACE_BYTES: usize = 8 + 8 + 4;
const CHECK_BYTES: usize = 4;
/// The most groups one cursor names.
const GROUPS_MAX: usize = 4096;

/// The last change that a subscriber has of one raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    /// Number of the raft group.
    pub(crate) group: u64,
    /// Log index.
    pub(crate) index: u64,
    /// Number of the change inside the entry; `u32::MAX` is the whole entry.
    pub(crate) op: u32,
}

/// A position in all raft groups, to resume a subscription from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    pub(crate) cluster: u64,
    pub(crate) places: Arc<[Place]>,
}

impl Cursor {
    /// The cursor as bytes to store or send.
    pub fn encode(&self) -> Bytes {
        let capacity = HEADER_BYTES + self.places.len() * PLACE_BYTES + CHECK_BYTES;
        let mut bytes = BytesMut::with_capacity(capacity);
        bytes.put_u8(VERSION);
        bytes.put_u64_le(self.cluster);
        let count = u16::try_from(self.places.len()).unwrap_or(u16::MAX);
        bytes.put_u16_le(count);
        for place in self.places.iter().take(usize::from(count)) {
            bytes.put_u64_le(place.group);
            bytes.put_u64_le(place.index);
            bytes.put_u32_le(place.op);
        }
        bytes.put_u32_le(check(&bytes));
        bytes.freeze()
    }

    /// The cursor in these bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let refuse = |why: &str| {
            Error::invalid(format!("the cursor is damaged: {why}")).with_help(
                "try",
                "subscribe without a cursor and read the tables again",
            )
        };
        let Some((body, mut tail)) = bytes
            .split_last_chunk::<CHECK_BYTES>()
            .map(|(b, t)| (b, &t[..]))
        else {
            return Err(refuse("too short"));
        };
        if tail.get_u32_le() != check(body) {
            return Err(refuse("checksum differs"));
        }
        let mut rest = body;
        if rest.len() < HEADER_BYTES {
            return Err(refuse("too short"));
        }
        let version = rest.get_u8();
        if version != VERSION {
            return Err(refuse(&format!("version {version} is not known")));
        }
        let cluster = rest.get_u64_le();
        let count = usize::from(rest.get_u16_le());
        if count > GROUPS_MAX || rest.len() != count * PLACE_BYTES {
            return Err(refuse("length differs from its count"));
        }
        let places = (0..count)
            .map(|_| Place {
                group: rest.get_u64_le(),
                index: rest.get_u64_le(),
                op: rest.get_u32_le(),
            })
            .collect();
        Ok(Self { cluster, places })
    }
}

fn check(bytes: &[u8]) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low half of the hash is the checksum"
    )]
    let low = xxh3_64(bytes) as u32;
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_survives_its_bytes_and_refuses_any_flipped_bit() {
        let cursor = Cursor {
            cluster: 0xfeed,
            places: Arc::from([
                Place {
                    group: 1,
                    index: 70_000,
                    op: 3,
                },
                Place {
                    group: 2,
                    index: 0,
                    op: u32::MAX,
                },
            ]),
        };
        let bytes = cursor.encode();
        assert_eq!(Cursor::decode(&bytes).unwrap(), cursor);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Cursor::decode(&damaged).err().map(|e| e.kind()),
                Some(crate::ErrorKind::Invalid),
                "bit {bit}"
            );
        }
        Cursor::decode(&[]).unwrap_err();
    }
}
