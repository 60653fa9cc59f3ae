//! The partition directory: partitions that span several blocks, for O(1) head and tail.
//!
//! It has fewer entries than the file has blocks, so it is pinned in memory. It says where the first
//! block lies, so that a page from the start of a partition needs no block of the index: where
//! those are in no cache, that is one read of the disk instead of two.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::format::Extent;
use super::index::decode_extent;
use crate::encoding::{DecodeError, Reader, varint};
use crate::limits::ENGINE_KEY_BYTES_MAX;
use crate::row::{Timestamp, codec};

/// A partition that spans several blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirectoryEntry {
    /// Token of the placement key.
    pub(crate) token: u64,
    /// Partition key.
    pub(crate) key: Bytes,
    /// Number of its first block.
    pub(crate) first_block: u32,
    /// Number of its last block; larger than the first.
    pub(crate) last_block: u32,
    /// Deletion of the partition, or zero.
    pub(crate) deletion: Timestamp,
    /// Whether its first block holds a static row.
    pub(crate) has_static: bool,
    /// Rows, dead ones included.
    pub(crate) rows: u64,
    /// Where its first block is, if nothing in that is dead at any time; otherwise the index knows
    /// more about it. Files before version 3 do not say.
    pub(crate) head: Option<Extent>,
}

const HAS_STATIC: u8 = 1;
const HAS_HEAD: u8 = 2;

impl DirectoryEntry {
    /// Appends the entry to the directory.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = if self.has_static { HAS_STATIC } else { 0 };
        flags |= if self.head.is_some() { HAS_HEAD } else { 0 };
        out.push(flags);
        out.extend_from_slice(&self.token.to_le_bytes());
        codec::put_bytes(out, &self.key);
        varint::encode(out, u64::from(self.first_block));
        varint::encode(
            out,
            u64::from(self.last_block.wrapping_sub(self.first_block)),
        );
        varint::encode(out, self.deletion.0);
        varint::encode(out, self.rows);
        if let Some(head) = self.head {
            varint::encode(out, head.offset);
            varint::encode(out, u64::from(head.len));
        }
    }
}

/// Finds a partition in a directory.
pub(crate) fn find<'a>(
    directory: &'a [DirectoryEntry],
    token: u64,
    key: &[u8],
) -> Option<&'a DirectoryEntry> {
    let at = directory
        .binary_search_by(|entry| (entry.token, entry.key.as_ref()).cmp(&(token, key)))
        .ok()?;
    directory.get(at)
}

/// Decodes the directory of a file with `block_count` data blocks.
pub(crate) fn decode(
    payload: &Bytes,
    block_count: u32,
) -> Result<Vec<DirectoryEntry>, DecodeError> {
    let mut reader = Reader::new(payload);
    let mut entries: Vec<DirectoryEntry> = Vec::new();
    while !reader.is_empty() {
        let flags = reader.u8("directory flags")?;
        let token = reader.u64("token")?;
        let key = payload.slice_ref(reader.prefixed(ENGINE_KEY_BYTES_MAX, "partition key")?);
        let first = reader.varint("first block")?;
        let last = first.saturating_add(reader.varint("last block")?);
        let deletion = Timestamp(reader.varint("partition deletion")?);
        let rows = reader.varint("rows of a partition")?;
        let head = if flags & HAS_HEAD == 0 {
            None
        } else {
            Some(decode_extent(&mut reader)?)
        };
        let (Ok(first_block), Ok(last_block)) = (u32::try_from(first), u32::try_from(last)) else {
            return Err(reader.error("block numbers of 32 bits"));
        };
        let entry = DirectoryEntry {
            token,
            key,
            first_block,
            last_block,
            deletion,
            has_static: flags & HAS_STATIC != 0,
            rows,
            head,
        };
        let follows = entries.last().is_none_or(|before| {
            (before.token, &before.key) < (entry.token, &entry.key)
                && before.last_block <= entry.first_block
        });
        if flags & !(HAS_STATIC | HAS_HEAD) != 0
            || !follows
            || first_block >= last_block
            || last_block >= block_count
        {
            return Err(reader.error("directory entries in order"));
        }
        entries.push(entry);
    }
    Ok(entries)
}
