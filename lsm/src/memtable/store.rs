//! The rows of one partition, key and body side by side in chunks.
//!
//! Rows are appended to an open chunk; a full one is closed, and from then on readers share it
//! instead of copying. Rows that were written one after another lie one after another, so a page of
//! the newest rows is two or three chunks and little else. A chunk is as large as all before it
//! together, within limits, so that small partitions waste little and large ones allocate seldom.
//!
//! A row that is replaced stays in its chunk until more bytes are dead than alive; then the chunks
//! are written again, in clustering order.
//!
//! # Invariants
//!
//! * A closed chunk never changes.
//! * The summary of a chunk holds for every row in it, dead ones included.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::index::{Position, REF_BYTES, RowIndex, RowRef, Span};
use crate::row::Timestamp;
use crate::row::codec::{self, Summary};
use crate::row::range::{Place, Side};
use crate::row::view::RowAt;

/// Bytes of a usual chunk: large enough for most of a page, small enough to be copied while open.
const CHUNK_BYTES_MAX: usize = 8 * 1024;
/// Bytes of the second chunk; the first is as large as the first row.
const CHUNK_BYTES_MIN: usize = 256;
/// Dead bytes that are always tolerated.
const DEAD_BYTES_MIN: usize = 4 * 1024;
/// Counted for every row on top of its bytes: where it lies, and its share of the lists.
const ROW_OVERHEAD_BYTES: usize = REF_BYTES + 8;
/// Counted for every chunk on top of its bytes.
const CHUNK_OVERHEAD_BYTES: usize = size_of::<Chunk>() + 48;

/// Rows next to each other.
#[derive(Debug)]
struct Chunk {
    /// Empty as long as the chunk is the open one.
    bytes: Bytes,
    summary: Summary,
}

/// The rows of one partition. Bodies are encoded with base 0.
#[derive(Debug, Default)]
pub(crate) struct RowStore {
    chunks: Vec<Chunk>,
    /// The bytes of the chunk that rows are appended to.
    open: Vec<u8>,
    open_number: usize,
    index: RowIndex,
    /// Bytes of all chunks, used or not.
    chunk_bytes: usize,
    /// Bytes of rows that were replaced or removed.
    dead_bytes: usize,
    live_bytes: usize,
}

/// Where rows lie: a chunk, shared or copied, and what is known of all its rows.
#[derive(Clone, Debug)]
pub(crate) struct RowBuffer {
    /// Keys and bodies.
    pub(crate) bytes: Bytes,
    /// What holds for every row.
    pub(crate) summary: Summary,
}

impl RowStore {
    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        self.chunk_bytes
            + self.chunks.len() * CHUNK_OVERHEAD_BYTES
            + self.index.len() * ROW_OVERHEAD_BYTES
    }

    /// The body of a row.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let at = self.find(key).ok()?;
        self.index.get(at).map(|row| self.body(row))
    }

    /// Where a row is, or where it would be.
    pub(super) fn find(&self, key: &[u8]) -> Result<Position, Position> {
        self.index.find(key, |row| self.key(*row))
    }

    /// The body of the row at a position.
    pub(super) fn body_at(&self, at: Position) -> &[u8] {
        self.index.get(at).map_or(&[], |row| self.body(row))
    }

    /// Adds a row at the position that [`Self::find`] did not find it at. `summary` is what
    /// inspecting the body gives.
    pub(super) fn insert(&mut self, at: Position, key: &[u8], body: &[u8], summary: Summary) {
        let row = self.append(key, body, summary);
        self.index.insert(at, row);
    }

    /// Replaces the body of the row at a position that [`Self::find`] found it at.
    pub(super) fn replace(&mut self, at: Position, key: &[u8], body: &[u8], summary: Summary) {
        let old = self.index.get(at).map_or(0, |row| row.at.len());
        let row = self.append(key, body, summary);
        self.index.replace(at, row);
        self.bury(old);
    }

    /// Removes the rows between two places.
    pub(super) fn remove(&mut self, from: Place<'_>, to: Place<'_>) {
        let span = self.positions(from, to);
        let mut removed = 0;
        self.index.remove(span, |row| removed += row.at.len());
        self.bury(removed);
    }

    /// Rows between two places.
    pub(super) fn between(&self, from: Place<'_>, to: Place<'_>) -> Span<'_> {
        let (from, to) = self.positions(from, to);
        let normal = |at| self.index.normal(at);
        self.index.span(normal(from), normal(to))
    }

    /// All rows in clustering order: key and body.
    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.index.all();
        all.map(|row| (self.key(row), self.body(row)))
    }

    /// The same with bodies that share the chunks; the open chunk is copied once.
    pub(crate) fn shared_rows(&self) -> impl Iterator<Item = (&[u8], Bytes)> {
        let open = Bytes::copy_from_slice(&self.open);
        self.index.all().map(move |row| {
            let bytes = self.shared(row.chunk).unwrap_or(&open);
            (self.key(row), bytes.slice_ref(row.at.body(bytes)))
        })
    }

    fn positions(&self, from: Place<'_>, to: Place<'_>) -> (Position, Position) {
        (self.position(from), self.position(to))
    }

    /// The position of the first row that is not before `place`.
    fn position(&self, place: Place<'_>) -> Position {
        match place {
            Place::End => self.index.end(),
            Place::At(key, side) => match self.find(key) {
                Ok(at) if side == Side::After => self.index.behind(at),
                Ok(at) | Err(at) => at,
            },
        }
    }

    /// What holds for all rows of a chunk.
    pub(super) fn summary(&self, chunk: u32) -> Summary {
        let chunk = self.chunks.get(chunk as usize);
        chunk.map_or(Summary::EMPTY, |chunk| chunk.summary)
    }

    /// The bytes of a chunk if readers can share it; the open one is to be copied.
    pub(super) fn shared(&self, chunk: u32) -> Option<&Bytes> {
        let is_open = chunk as usize == self.open_number;
        let chunk = self.chunks.get(chunk as usize).filter(|_| !is_open);
        chunk.map(|chunk| &chunk.bytes)
    }

    /// The bytes of the open chunk.
    pub(super) fn open_bytes(&self) -> &[u8] {
        &self.open
    }

    fn buffer(&self, chunk: u32) -> &[u8] {
        match self.shared(chunk) {
            Some(bytes) => bytes,
            None => &self.open,
        }
    }

    /// The key of a row.
    pub(super) fn key(&self, row: RowRef) -> &[u8] {
        row.at.key(self.buffer(row.chunk))
    }

    /// The body of a row.
    pub(super) fn body(&self, row: RowRef) -> &[u8] {
        row.at.body(self.buffer(row.chunk))
    }

    /// Writes a row behind all others.
    fn append(&mut self, key: &[u8], body: &[u8], summary: Summary) -> RowRef {
        let len = key.len() + body.len();
        self.live_bytes += len;
        if self.chunks.is_empty() || self.open.len() + len > self.open.capacity() {
            if len > CHUNK_BYTES_MAX {
                return self.append_large(key, body, summary);
            }
            self.begin_chunk(len);
        }
        if let Some(chunk) = self.chunks.get_mut(self.open_number) {
            chunk.summary.add(summary);
        }
        let at = append(&mut self.open, key, body);
        RowRef::new(key, number(self.open_number), at)
    }

    /// A row larger than a chunk has one of its own.
    fn append_large(&mut self, key: &[u8], body: &[u8], summary: Summary) -> RowRef {
        let mut bytes = Vec::with_capacity(key.len() + body.len());
        let at = append(&mut bytes, key, body);
        if self.chunks.is_empty() {
            self.begin_chunk(0);
        }
        self.chunk_bytes += bytes.capacity();
        let chunk = self.chunks.len();
        self.chunks.push(Chunk {
            bytes: Bytes::from(bytes),
            summary,
        });
        RowRef::new(key, number(chunk), at)
    }

    /// Closes the open chunk and opens one with room for `len` bytes at least.
    fn begin_chunk(&mut self, len: usize) {
        let usual = match self.chunk_bytes {
            0 => 0,
            bytes => bytes.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX),
        };
        let next = Vec::with_capacity(usual.max(len));
        self.chunk_bytes += next.capacity();
        let full = std::mem::replace(&mut self.open, next);
        if let Some(chunk) = self.chunks.get_mut(self.open_number) {
            chunk.bytes = Bytes::from(full);
        }
        self.open_number = self.chunks.len();
        self.chunks.push(Chunk {
            bytes: Bytes::new(),
            summary: Summary::EMPTY,
        });
    }

    /// Counts bytes as dead, and writes the chunks again when most bytes are.
    fn bury(&mut self, bytes: usize) {
        self.live_bytes -= bytes;
        self.dead_bytes += bytes;
        if self.index.len() == 0 {
            *self = Self::default();
        } else if self.dead_bytes > self.live_bytes.max(DEAD_BYTES_MIN) {
            self.rewrite();
        }
    }

    fn rewrite(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        let old = std::mem::take(self);
        index.for_each_mut(|row| {
            let bytes = old.buffer(row.chunk);
            let body = row.at.body(bytes);
            let summary = codec::inspect(body, Timestamp::ZERO);
            let summary = summary.unwrap_or(old.summary(row.chunk));
            *row = self.append(row.at.key(bytes), body, summary);
        });
        self.index = index;
    }

    /// The bytes in use, counted again from the content.
    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        let closed: usize = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let live: usize = self.iter().map(|(key, body)| key.len() + body.len()).sum();
        assert_eq!(live, self.live_bytes);
        assert!(self.live_bytes + self.dead_bytes >= closed + self.open.len());
        assert!(self.chunk_bytes >= closed + self.open.capacity());
        // Closed chunks keep what they did not use: at most what did not fit, which is a row.
        self.chunk_bytes
            + self.chunks.len() * CHUNK_OVERHEAD_BYTES
            + self.iter().count() * ROW_OVERHEAD_BYTES
    }
}

/// Appends a row to a chunk.
fn append(chunk: &mut Vec<u8>, key: &[u8], body: &[u8]) -> RowAt {
    let key_at = offset(chunk.len());
    chunk.extend_from_slice(key);
    let body_at = offset(chunk.len());
    chunk.extend_from_slice(body);
    RowAt {
        key_at,
        body_at,
        end: offset(chunk.len()),
    }
}

/// Fits: a chunk holds [`CHUNK_BYTES_MAX`] or one row, of at most `limits::ROW_BYTES_MAX`.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Fits: four billion chunks do not fit in memory.
fn number(chunk: usize) -> u32 {
    u32::try_from(chunk).unwrap_or(u32::MAX)
}
