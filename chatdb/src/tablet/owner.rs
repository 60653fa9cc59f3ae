//! What a tablet's manifest keeps for its state machine besides the data.
//!
//! `version u8 = 1 | term u64 | node u64 | index u64 | membership | store`, little endian;
//! membership and store have their length as u32 before them. `store` is what
//! [`Store::state`](crate::tablet::Store::state) gave: clock, request ids, silent commands. The
//! manifest's checksum covers it all.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use raft::{LeaderId, LogId};

const VERSION: u8 = 1;

/// The state machine's part of a manifest edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The last applied entry; `None` before the first.
    pub(crate) applied: Option<LogId>,
    /// The membership as of it; opaque.
    pub(crate) membership: Bytes,
    /// The store's own state as of it; opaque here.
    pub(crate) store: Bytes,
}

impl Owner {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        let applied = self.applied.unwrap_or_default();
        bytes.put_u8(VERSION);
        bytes.put_u64_le(applied.leader.term);
        bytes.put_u64_le(applied.leader.node);
        bytes.put_u64_le(applied.index);
        put_part(&mut bytes, &self.membership);
        put_part(&mut bytes, &self.store);
        bytes.freeze()
    }

    /// The parts in the bytes of a manifest; none at all in an engine that never was flushed.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut rest = bytes.clone();
        Self::take(&mut rest)
            .filter(|_| rest.is_empty())
            .ok_or_else(|| {
                let at = bytes.len().saturating_sub(rest.len());
                Error::corrupt(format!(
                    "the tablet's part of its manifest is damaged near byte {at} of {}",
                    bytes.len()
                ))
            })
    }

    fn take(rest: &mut Bytes) -> Option<Self> {
        rest.try_get_u8()
            .ok()
            .filter(|&version| version == VERSION)?;
        let term = rest.try_get_u64_le().ok()?;
        let node = rest.try_get_u64_le().ok()?;
        let index = rest.try_get_u64_le().ok()?;
        let membership = take_part(rest)?;
        let store = take_part(rest)?;
        let leader = LeaderId { term, node };
        Some(Self {
            applied: (index > 0).then_some(LogId { leader, index }),
            membership,
            store,
        })
    }
}

fn put_part(out: &mut BytesMut, part: &[u8]) {
    out.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
    out.put_slice(part);
}

fn take_part(rest: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    (len <= rest.len()).then(|| rest.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_survives_its_bytes_and_refuses_every_other_length() {
        let owner = Owner {
            applied: Some(LogId {
                leader: LeaderId { term: 2, node: 1 },
                index: 99,
            }),
            membership: Bytes::from_static(b"one"),
            store: Bytes::from_static(b"ids"),
        };
        let bytes = owner.encode();
        assert_eq!(Owner::decode(&bytes).unwrap(), owner);
        for len in 1..bytes.len() {
            Owner::decode(&bytes.slice(..len)).unwrap_err();
        }
        assert_eq!(Owner::decode(&Bytes::new()).unwrap(), Owner::default());
    }
}
