//! Data blocks: partition headers, rows and edges of range deletions, all addressable.
//!
//! ```text
//! base u64 | open deletion u64 | entries u32 | partitions u32 | width u8
//! entries | offset of each entry | ordinal of each partition header     (width bytes each)
//! ```
//!
//! Offsets for every entry, instead of restart points every few rows, cost two bytes per row and
//! buy a binary search over rows, reading backwards, and keys that need no reassembly; zstd takes
//! back most of what shared prefixes would have saved.
//!
//! # Invariants
//!
//! * The first entry is a partition header.
//! * The deletion in force before an entry is that of the last edge before it in its partition, or
//!   the block's open deletion if the partition continues from the block before.
#![deny(clippy::indexing_slicing)]

use std::sync::OnceLock;

use bytes::Bytes;

use crate::encoding::{DecodeError, Reader};
use crate::limits::{BLOCK_BYTES_MAX, ENGINE_KEY_BYTES_MAX, ROW_BYTES_MAX};
use crate::row::codec::{self, Summary};
use crate::row::range::{Place, Side};
use crate::row::view::RowAt;
use crate::row::{Timestamp, Window};

/// Bytes before the entries.
pub(super) const BLOCK_HEADER_BYTES: usize = 25;
/// Set in the width byte if the block has edges of range deletions.
pub(super) const WIDTH_HAS_EDGES: u8 = 0x80;

pub(super) const ENTRY_PARTITION: u8 = 1;
pub(super) const ENTRY_ROW: u8 = 2;
pub(super) const ENTRY_EDGE: u8 = 3;

pub(super) const PARTITION_CONTINUES: u8 = 1;
pub(super) const PARTITION_HAS_STATIC: u8 = 2;
pub(super) const PARTITION_HAS_WINDOW: u8 = 4;

/// A decoded block; its entries stay encoded until asked for.
#[derive(Debug)]
pub(crate) struct DataBlock {
    payload: Bytes,
    base: Timestamp,
    open: Timestamp,
    entry_count: usize,
    partition_count: usize,
    width: usize,
    offsets_at: usize,
    ordinals_at: usize,
    has_edges: bool,
    /// Set when all rows were checked.
    summary: OnceLock<Summary>,
}

/// Where a row or an edge lies in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockItem {
    /// A row.
    Row(RowAt),
    /// An edge of a range deletion.
    Edge,
}

/// One entry of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlockEntry<'a> {
    /// Starts a partition, or repeats its header in a block that continues it.
    Partition(PartitionEntry<'a>),
    /// A row: clustering key and encoded body.
    Row(&'a [u8], &'a [u8]),
    /// From this place on, this deletion is in force.
    Edge(Place<'a>, Timestamp),
}

/// The header of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionEntry<'a> {
    /// Token of the placement key.
    pub(crate) token: u64,
    /// Partition key.
    pub(crate) key: &'a [u8],
    /// Deletion of the partition, or zero.
    pub(crate) deletion: Timestamp,
    /// The window of the partition, in files of many windows.
    pub(crate) window: Option<Window>,
    /// Whether the partition began in the block before.
    pub(crate) continues: bool,
    /// Encoded static row; not repeated in blocks that continue the partition.
    pub(crate) static_row: Option<&'a [u8]>,
}

impl DataBlock {
    /// Checks the arrays around the entries. Entries are checked when they are read.
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(&payload);
        let base = Timestamp(reader.u64("base timestamp")?);
        let open = Timestamp(reader.u64("open deletion")?);
        let entry_count = count(reader.u32("count of entries")?);
        let partition_count = count(reader.u32("count of partitions")?);
        let width = reader.u8("width of an offset")?;
        let has_edges = width & WIDTH_HAS_EDGES != 0;
        let width = usize::from(width & !WIDTH_HAS_EDGES);
        let arrays_at = entry_count
            .checked_add(partition_count)
            .and_then(|numbers| numbers.checked_mul(width))
            .and_then(|bytes| payload.len().checked_sub(bytes));
        let is_sound = (width == 2 || width == 4)
            && (1..=entry_count).contains(&partition_count)
            && payload.len() <= BLOCK_BYTES_MAX;
        let Some(offsets_at) = arrays_at.filter(|at| is_sound && *at >= BLOCK_HEADER_BYTES) else {
            return Err(reader.error("arrays of entries and partitions"));
        };
        let block = Self {
            base,
            open,
            entry_count,
            partition_count,
            width,
            offsets_at,
            ordinals_at: offsets_at + entry_count * width,
            has_edges,
            payload,
            summary: OnceLock::new(),
        };
        block.check(
            block.offsets_at,
            entry_count,
            BLOCK_HEADER_BYTES,
            offsets_at,
        )?;
        block.check(block.ordinals_at, partition_count, 0, entry_count)?;
        Ok(block)
    }

    /// Refuses an array that does not ascend from `first` to below `end`.
    fn check(&self, array: usize, len: usize, first: usize, end: usize) -> Result<(), DecodeError> {
        let mut low = first;
        for at in 0..len {
            let number = self.number(array, at);
            if (at == 0 && number != first) || number < low || number >= end {
                return Err(DecodeError {
                    at: array,
                    expected: "an ascending array",
                });
            }
            low = number + 1;
        }
        Ok(())
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> u64 {
        self.payload.len() as u64 + 128
    }

    /// Base of the timestamps in row bodies.
    pub(crate) fn base(&self) -> Timestamp {
        self.base
    }

    /// The shared bytes, of which the slices of entries are parts.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// What all rows have in common. The first call checks every row of the block, so that
    /// readers may hand out rows of a cached block unlooked at.
    pub(crate) fn summary(&self) -> Result<Summary, DecodeError> {
        if let Some(summary) = self.summary.get() {
            return Ok(*summary);
        }
        let mut summary = Summary::EMPTY;
        for at in 0..self.entry_count {
            let start = self.number(self.offsets_at, at);
            if let BlockEntry::Row(_, body) = self.entry(at)? {
                let row = codec::inspect(body, self.base).map_err(|error| DecodeError {
                    at: start.saturating_add(error.at),
                    expected: error.expected,
                })?;
                summary.add(row);
            }
        }
        Ok(*self.summary.get_or_init(|| summary))
    }

    /// Where entry `at`, a row or an edge, lies.
    #[inline]
    pub(crate) fn item(&self, at: usize) -> Result<BlockItem, DecodeError> {
        let (start, end) = self.extent(at);
        let bytes = self.payload.get(start..end).unwrap_or_default();
        let mut reader = Reader::new(bytes);
        let in_block = |error: DecodeError| DecodeError {
            at: start.saturating_add(error.at),
            expected: error.expected,
        };
        match reader.u8("kind of an entry").map_err(in_block)? {
            ENTRY_ROW => {
                let key = reader
                    .prefixed(ENGINE_KEY_BYTES_MAX, "clustering key")
                    .map_err(in_block)?;
                let body_at = start + reader.position();
                // Offsets fit: a block is far smaller than 4 GiB.
                let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
                Ok(BlockItem::Row(RowAt {
                    key_at: offset(body_at - key.len()),
                    body_at: offset(body_at),
                    end: offset(end),
                }))
            }
            ENTRY_EDGE => Ok(BlockItem::Edge),
            _ => Err(in_block(reader.error("a row"))),
        }
    }

    /// First and last byte of entry `at`.
    #[inline]
    fn extent(&self, at: usize) -> (usize, usize) {
        let start = self.number(self.offsets_at, at);
        let next = at + 1;
        let end = if next < self.entry_count {
            self.number(self.offsets_at, next)
        } else {
            self.offsets_at
        };
        (start, end)
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entry_count
    }

    /// Entry number `at`.
    pub(crate) fn entry(&self, at: usize) -> Result<BlockEntry<'_>, DecodeError> {
        let (start, end) = self.extent(at);
        let bytes = self.payload.get(start..end).unwrap_or_default();
        decode_entry(bytes).map_err(|error| DecodeError {
            at: start + error.at,
            expected: error.expected,
        })
    }

    /// Partition number `at`: its header, the ordinal of its first entry after the header, and
    /// the ordinal past its last one. `None` if there are fewer.
    pub(crate) fn partition(
        &self,
        at: usize,
    ) -> Result<Option<(PartitionEntry<'_>, usize, usize)>, DecodeError> {
        if at >= self.partition_count {
            return Ok(None);
        }
        let ordinal = self.number(self.ordinals_at, at);
        let next = at + 1;
        let end = if next < self.partition_count {
            self.number(self.ordinals_at, next)
        } else {
            self.entry_count
        };
        match self.entry(ordinal)? {
            BlockEntry::Partition(header) => Ok(Some((header, ordinal + 1, end))),
            _ => Err(DecodeError {
                at: self.ordinals_at,
                expected: "a partition header",
            }),
        }
    }

    /// Number of the first partition that is not before (token, key).
    pub(crate) fn seek_partition(&self, token: u64, key: &[u8]) -> Result<usize, DecodeError> {
        let (mut low, mut high) = (0, self.partition_count);
        while low < high {
            let middle = low.midpoint(high);
            let Some((header, ..)) = self.partition(middle)? else {
                break;
            };
            if (header.token, header.key) < (token, key) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Ordinal of the first entry in `low..high` that is not before `place`.
    pub(crate) fn seek(
        &self,
        mut low: usize,
        mut high: usize,
        place: Place<'_>,
    ) -> Result<usize, DecodeError> {
        while low < high {
            let middle = low.midpoint(high);
            if self.place(middle)? < place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Where entry `at`, a row or an edge, is.
    pub(crate) fn place(&self, at: usize) -> Result<Place<'_>, DecodeError> {
        if let BlockItem::Row(row) = self.item(at)? {
            return Ok(Place::row(row.key(&self.payload)));
        }
        let not_here = DecodeError {
            at: self.offsets_at,
            expected: "a row",
        };
        self.entry(at)?.place().ok_or(not_here)
    }

    /// The deletion in force just before entry `at` of the partition whose entries begin at
    /// `first` and which, if it `continues`, inherits the open deletion of the block.
    pub(crate) fn in_force(
        &self,
        first: usize,
        at: usize,
        continues: bool,
    ) -> Result<Timestamp, DecodeError> {
        let outer = if continues {
            self.open
        } else {
            Timestamp::ZERO
        };
        if !self.has_edges {
            return Ok(outer);
        }
        for ordinal in (first..at).rev() {
            if let BlockEntry::Edge(_, deletion) = self.entry(ordinal)? {
                return Ok(deletion);
            }
        }
        Ok(outer)
    }

    #[inline]
    fn number(&self, array: usize, at: usize) -> usize {
        let start = array + at * self.width;
        match self.payload.get(start..start + self.width) {
            Some([a, b]) => usize::from(u16::from_le_bytes([*a, *b])),
            Some([a, b, c, d]) => count(u32::from_le_bytes([*a, *b, *c, *d])),
            _ => usize::MAX,
        }
    }
}

impl<'a> BlockEntry<'a> {
    /// Where a row or edge is; `None` for partition headers.
    pub(crate) fn place(&self) -> Option<Place<'a>> {
        match self {
            Self::Partition(_) => None,
            Self::Row(key, _) => Some(Place::row(key)),
            Self::Edge(place, _) => Some(*place),
        }
    }
}

fn decode_entry(bytes: &[u8]) -> Result<BlockEntry<'_>, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.u8("kind of an entry")? {
        ENTRY_ROW => {
            let key = reader.prefixed(ENGINE_KEY_BYTES_MAX, "clustering key")?;
            Ok(BlockEntry::Row(key, reader.rest()))
        }
        ENTRY_PARTITION => decode_partition(&mut reader).map(BlockEntry::Partition),
        ENTRY_EDGE => {
            let place = decode_place(&mut reader)?;
            let deletion = Timestamp(reader.varint("range deletion")?);
            at_end(&reader).map(|()| BlockEntry::Edge(place, deletion))
        }
        _ => Err(reader.error("a known kind of entry")),
    }
}

fn decode_partition<'a>(reader: &mut Reader<'a>) -> Result<PartitionEntry<'a>, DecodeError> {
    let flags = reader.u8("partition flags")?;
    if flags & !(PARTITION_CONTINUES | PARTITION_HAS_STATIC | PARTITION_HAS_WINDOW) != 0 {
        return Err(reader.error("known partition flags"));
    }
    let token = reader.u64("token")?;
    let key = reader.prefixed(ENGINE_KEY_BYTES_MAX, "partition key")?;
    let deletion = Timestamp(reader.varint("partition deletion")?);
    let has_window = flags & PARTITION_HAS_WINDOW != 0;
    let window = has_window
        .then(|| reader.u64("window"))
        .transpose()?
        .map(|number| Window(number.cast_signed()));
    let has_static = flags & PARTITION_HAS_STATIC != 0;
    let static_row = has_static
        .then(|| reader.prefixed(ROW_BYTES_MAX, "static row"))
        .transpose()?;
    at_end(reader)?;
    let continues = flags & PARTITION_CONTINUES != 0;
    Ok(PartitionEntry {
        token,
        key,
        deletion,
        window,
        continues,
        static_row,
    })
}

fn at_end(reader: &Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_empty() {
        Ok(())
    } else {
        Err(reader.error("the end of the entry"))
    }
}

/// Reads a place: side (0 before, 1 row, 2 after, 3 the end), then the key unless it is the end.
pub(super) fn decode_place<'a>(reader: &mut Reader<'a>) -> Result<Place<'a>, DecodeError> {
    let side = match reader.u8("side of a place")? {
        0 => Side::Before,
        1 => Side::Row,
        2 => Side::After,
        3 => return Ok(Place::End),
        _ => return Err(reader.error("a known side")),
    };
    Ok(Place::At(
        reader.prefixed(ENGINE_KEY_BYTES_MAX, "clustering key")?,
        side,
    ))
}

/// Appends a place as [`decode_place`] reads it.
pub(super) fn encode_place(out: &mut Vec<u8>, place: Place<'_>) {
    let Place::At(key, side) = place else {
        return out.push(3);
    };
    out.push(match side {
        Side::Before => 0,
        Side::Row => 1,
        Side::After => 2,
    });
    codec::put_bytes(out, key);
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
