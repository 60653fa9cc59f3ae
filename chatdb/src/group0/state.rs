//! What group 0 holds, and the file that keeps it.
//!
//! The file `group0/state` is
//! `magic 8 | body length u32 | body | xxh3-64 of all before u64`, little endian, and the body
//! `term u64 | node u64 | index u64 | membership | cluster u128 | topology | catalog`, where
//! membership, topology and catalog have their length as u32 before them. Index 0 means that nothing was applied. The file is written
//! beside and renamed over, so that it is always whole; anything else is damage.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use crate::group0::topology::Topology;
use crate::schema::Catalog;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use lsm::encoding::Reader;
use lsm::vfs::Vfs;
use raft::{LeaderId, LogId};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: &[u8; 8] = b"chatdbG0";
const HEADER_BYTES: usize = 8 + 4;
const CHECK_BYTES: usize = 8;
/// The largest state file that is believed, in bytes.
const STATE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Everything that group 0 decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SystemState {
    /// The last applied entry.
    pub(crate) applied: Option<LogId>,
    /// The membership as of it; opaque.
    pub(crate) membership: Bytes,
    /// The cluster's identity; 0 before bootstrap.
    pub(crate) cluster_id: u128,
    /// Nodes and tablets.
    pub(crate) topology: Arc<Topology>,
    /// Keyspaces and tables.
    pub(crate) catalog: Arc<Catalog>,
}

impl SystemState {
    pub(crate) fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let applied = self.applied.unwrap_or_default();
        body.put_u64_le(applied.leader.term);
        body.put_u64_le(applied.leader.node);
        body.put_u64_le(applied.index);
        put_part(&mut body, &self.membership);
        body.put_u128_le(self.cluster_id);
        let mut topology = Vec::new();
        self.topology.put(&mut topology);
        put_part(&mut body, &topology);
        put_part(&mut body, &self.catalog.encode());
        let mut bytes = BytesMut::new();
        bytes.put_slice(MAGIC);
        put_part(&mut bytes, &body);
        bytes.put_u64_le(xxh3_64(&bytes));
        bytes.freeze()
    }

    /// Reads the file at `path`.
    pub(crate) fn read(vfs: &dyn Vfs, path: &Path) -> Result<Self> {
        let cannot = |cause: lsm::Error| Error::from(cause);
        let file = vfs.open(path).map_err(cannot)?;
        let len = file.len().map_err(cannot)?;
        if len > STATE_BYTES_MAX {
            return Err(Error::corrupt(format!(
                "group0/state is damaged at byte 0: {len} bytes are too many"
            )));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        lsm::vfs::read_exact_at(file.as_ref(), path, &mut bytes, 0).map_err(cannot)?;
        Self::decode(&bytes)
    }

    /// The state in the bytes of the file; an error says at which offset it went wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let Some((covered, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else {
            return Err(damaged(
                0,
                "at least 20 bytes",
                &format!("{} bytes", bytes.len()),
            ));
        };
        let (expected, found) = (xxh3_64(covered), u64::from_le_bytes(*check));
        if expected != found {
            return Err(damaged(
                covered.len(),
                &format!("checksum {expected:016x}"),
                &format!("{found:016x}"),
            ));
        }
        let Some(mut rest) = covered.strip_prefix(MAGIC) else {
            return Err(damaged(0, "the magic chatdbG0", "other bytes"));
        };
        let body = take_part(&mut rest).filter(|_| rest.is_empty());
        let state = body.and_then(|mut body| Self::take(&mut body).filter(|_| body.is_empty()));
        let (state, catalog) =
            state.ok_or_else(|| damaged(HEADER_BYTES, "a complete body", "another length"))?;
        let catalog = Arc::new(Catalog::decode(catalog)?);
        Ok(Self { catalog, ..state })
    }

    fn take<'a>(body: &mut &'a [u8]) -> Option<(Self, &'a [u8])> {
        let term = body.try_get_u64_le().ok()?;
        let node = body.try_get_u64_le().ok()?;
        let index = body.try_get_u64_le().ok()?;
        let membership = Bytes::copy_from_slice(take_part(body)?);
        let cluster_id = body.try_get_u128_le().ok()?;
        let mut reader = Reader::new(take_part(body)?);
        let topology = Topology::take(&mut reader).ok()?;
        if !reader.is_empty() {
            return None;
        }
        let catalog = take_part(body)?;
        let leader = LeaderId { term, node };
        let state = Self {
            applied: (index > 0).then_some(LogId { leader, index }),
            membership,
            cluster_id,
            topology: Arc::new(topology),
            catalog: Arc::default(),
        };
        Some((state, catalog))
    }
}

fn damaged(offset: usize, expected: &str, found: &str) -> Error {
    Error::corrupt(format!(
        "group0/state is damaged at byte {offset}: expected {expected}, found {found}"
    ))
}

fn put_part(out: &mut BytesMut, part: &[u8]) {
    out.put_u32_le(u32::try_from(part.len()).unwrap_or(u32::MAX));
    out.put_slice(part);
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
    let (part, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::topology::tests::record;

    #[test]
    fn state_survives_its_bytes_and_refuses_any_flipped_bit() {
        let state = SystemState {
            applied: Some(LogId {
                leader: LeaderId { term: 3, node: 1 },
                index: 12,
            }),
            membership: Bytes::from_static(b"members"),
            cluster_id: 0xabc,
            topology: Arc::new(Topology::new(record(1, "zone"), 4, 3)),
            catalog: Arc::default(),
        };
        let bytes = state.encode();
        assert_eq!(SystemState::decode(&bytes).unwrap(), state);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            SystemState::decode(&damaged).unwrap_err();
        }
        SystemState::decode(&[]).unwrap_err();
    }
}
