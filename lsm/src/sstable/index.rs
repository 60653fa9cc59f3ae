//! The block index: where each data block is, where it starts, and whether reading it can help.
//!
//! Index blocks hold 64 entries each and go through the block cache; only one entry for each of
//! them is pinned in memory (the top index). It says what is true of all 64 blocks, so that a
//! reader can pass over a dead megabyte without loading even its index block.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::block::{decode_place, encode_place};
use super::format::{Extent, INDEX_ENTRIES};
use crate::encoding::{DecodeError, Reader, varint};
use crate::limits::ENGINE_KEY_BYTES_MAX;
use crate::row::Timestamp;
use crate::row::range::{Edge, Place};

const ONE_PARTITION: u8 = 1;
const EXPIRES: u8 = 2;
const NEVER_DIES: u8 = 4;

/// What the index knows about a data block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockProperties {
    /// Where it is.
    pub(crate) extent: Extent,
    /// Token of its first partition.
    pub(crate) token: u64,
    /// Key of its first partition.
    pub(crate) key: Bytes,
    /// Not after the first row or edge that it holds of its first partition; the start of the
    /// partition if that begins here.
    pub(crate) first: Edge,
    /// Not before its last row or edge.
    pub(crate) last: Edge,
    /// The range deletion in force at its start.
    pub(crate) open: Timestamp,
    /// Oldest datum or deletion.
    pub(crate) min_timestamp: Timestamp,
    /// Newest datum or deletion.
    pub(crate) max_timestamp: Timestamp,
    /// First millisecond from which no row of it is visible; 0 = never was, MAX = some always is.
    pub(crate) dead_after_ms: u64,
    /// Rows, dead ones included.
    pub(crate) rows: u32,
    /// Rows that are deletions, or covered by a deletion of the same file.
    pub(crate) dead_rows: u32,
    /// Whether it holds rows of one partition only.
    pub(crate) is_one_partition: bool,
}

/// Up to 64 entries of the index.
#[derive(Debug)]
pub(crate) struct IndexBlock {
    /// Entries, in order.
    pub(crate) entries: Vec<BlockProperties>,
    weight: u64,
}

impl IndexBlock {
    /// Decodes an index block.
    pub(crate) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let mut entries: Vec<BlockProperties> = Vec::with_capacity(INDEX_ENTRIES);
        while !reader.is_empty() {
            let entry = BlockProperties::decode(payload, &mut reader)?;
            let follows = entries
                .last()
                .is_none_or(|last| last.start() < entry.start());
            if entries.len() >= INDEX_ENTRIES || !follows {
                return Err(reader.error("up to 64 index entries in order"));
            }
            entries.push(entry);
        }
        if entries.is_empty() {
            return Err(reader.error("at least one index entry"));
        }
        let weight = payload.len() + entries.len() * size_of::<BlockProperties>();
        Ok(Self {
            entries,
            weight: weight as u64,
        })
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }
}

impl BlockProperties {
    /// The first place of the block in the order of the file.
    pub(crate) fn start(&self) -> (u64, &[u8], Place<'_>) {
        (self.token, &self.key, self.first.place())
    }

    /// Where the block is, if it holds rows and nothing in it is dead at any time: then a reader that
    /// begins there need not ask whether to skip it.
    pub(crate) fn head(&self) -> Option<Extent> {
        let is_live = self.rows > 0 && self.dead_rows == 0 && self.dead_after_ms == u64::MAX;
        is_live.then_some(self.extent)
    }

    /// What is true of all blocks of an index block, as if they were one block; `extent` is that
    /// of the index block. `None` without entries.
    pub(crate) fn group(extent: Extent, entries: &[Self]) -> Option<Self> {
        let (first, last) = (entries.first()?, entries.last()?);
        let mut group = Self {
            extent,
            last: last.last.clone(),
            ..first.clone()
        };
        for entry in entries.iter().skip(1) {
            group.min_timestamp = group.min_timestamp.min(entry.min_timestamp);
            group.max_timestamp = group.max_timestamp.max(entry.max_timestamp);
            group.dead_after_ms = group.dead_after_ms.max(entry.dead_after_ms);
            group.rows = group.rows.saturating_add(entry.rows);
            group.dead_rows = group.dead_rows.saturating_add(entry.dead_rows);
            group.is_one_partition &=
                entry.is_one_partition && (entry.token, &entry.key) == (first.token, &first.key);
        }
        Some(group)
    }

    /// Not after the first item that the block has of the partition `key`: `first` is about its first
    /// partition.
    pub(crate) fn lower_bound(&self, key: &[u8]) -> Place<'_> {
        if self.key == key {
            self.first.place()
        } else {
            Place::START
        }
    }

    /// Not before the last item that the block has of the partition `key`: `last` is about its last
    /// partition.
    pub(crate) fn upper_bound(&self, key: &[u8]) -> Place<'_> {
        if self.is_one_partition && self.key == key {
            self.last.place()
        } else {
            Place::End
        }
    }

    /// Appends the entry to an index block or to the top index.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut flags = if self.is_one_partition {
            ONE_PARTITION
        } else {
            0
        };
        flags |= match self.dead_after_ms {
            0 => 0,
            u64::MAX => NEVER_DIES,
            _ => EXPIRES,
        };
        out.push(flags);
        encode_extent(out, self.extent);
        out.extend_from_slice(&self.token.to_le_bytes());
        crate::row::codec::put_bytes(out, &self.key);
        encode_place(out, self.first.place());
        encode_place(out, self.last.place());
        varint::encode(out, self.open.0);
        varint::encode(out, self.min_timestamp.0);
        varint::encode(out, self.max_timestamp.0.wrapping_sub(self.min_timestamp.0));
        if flags & EXPIRES != 0 {
            varint::encode(out, self.dead_after_ms);
        }
        varint::encode(out, u64::from(self.rows));
        varint::encode(out, u64::from(self.dead_rows));
    }

    fn decode(payload: &Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flags = reader.u8("index flags")?;
        if flags & !(ONE_PARTITION | EXPIRES | NEVER_DIES) != 0 {
            return Err(reader.error("known index flags"));
        }
        let extent = decode_extent(reader)?;
        let token = reader.u64("token")?;
        let key = reader.prefixed(ENGINE_KEY_BYTES_MAX, "partition key")?;
        let first = edge(payload, decode_place(reader)?);
        let last = edge(payload, decode_place(reader)?);
        let open = Timestamp(reader.varint("open deletion")?);
        let min_timestamp = Timestamp(reader.varint("oldest timestamp")?);
        let span = reader.varint("newest timestamp")?;
        let dead_after_ms = match flags & (EXPIRES | NEVER_DIES) {
            0 => 0,
            EXPIRES => reader.varint("expiry of a block")?,
            _ => u64::MAX,
        };
        Ok(Self {
            extent,
            token,
            key: payload.slice_ref(key),
            first,
            last,
            open,
            min_timestamp,
            max_timestamp: Timestamp(min_timestamp.0.wrapping_add(span)),
            dead_after_ms,
            rows: number(reader, "rows of a block")?,
            dead_rows: number(reader, "dead rows of a block")?,
            is_one_partition: flags & ONE_PARTITION != 0,
        })
    }
}

/// Decodes the top index: for each index block what its blocks are as one, see
/// [`BlockProperties::group`]. In format version 1 that is only where it is and where it starts.
pub(crate) fn decode_top(
    payload: &Bytes,
    version: u32,
) -> Result<Vec<BlockProperties>, DecodeError> {
    let mut reader = Reader::new(payload);
    let mut entries: Vec<BlockProperties> = Vec::new();
    while !reader.is_empty() {
        let entry = if version >= 2 {
            BlockProperties::decode(payload, &mut reader)?
        } else {
            decode_start(payload, &mut reader)?
        };
        if entries
            .last()
            .is_some_and(|last| last.start() >= entry.start())
        {
            return Err(reader.error("top index entries in order"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

/// A top index entry of format version 1: nothing can be skipped by it.
fn decode_start(payload: &Bytes, reader: &mut Reader<'_>) -> Result<BlockProperties, DecodeError> {
    let extent = decode_extent(reader)?;
    let token = reader.u64("token")?;
    let key = payload.slice_ref(reader.prefixed(ENGINE_KEY_BYTES_MAX, "partition key")?);
    let first = edge(payload, decode_place(reader)?);
    Ok(BlockProperties {
        extent,
        token,
        key,
        first,
        last: Edge::End,
        open: Timestamp::ZERO,
        min_timestamp: Timestamp::ZERO,
        max_timestamp: Timestamp(u64::MAX),
        dead_after_ms: u64::MAX,
        rows: 0,
        dead_rows: 0,
        is_one_partition: false,
    })
}

fn encode_extent(out: &mut Vec<u8>, extent: Extent) {
    varint::encode(out, extent.offset);
    varint::encode(out, u64::from(extent.len));
}

/// Decodes offset and length of a block.
pub(super) fn decode_extent(reader: &mut Reader<'_>) -> Result<Extent, DecodeError> {
    let offset = reader.varint("offset of a block")?;
    Ok(Extent {
        offset,
        len: number(reader, "length of a block")?,
    })
}

fn number(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, DecodeError> {
    let number = reader.varint(what)?;
    u32::try_from(number).map_err(|_| reader.error(what))
}

fn edge(payload: &Bytes, place: Place<'_>) -> Edge {
    match place {
        Place::At(key, side) => Edge::At(payload.slice_ref(key), side),
        Place::End => Edge::End,
    }
}
