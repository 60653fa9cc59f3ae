//! Rows as a read returns them: still encoded, in the buffers that they came from.
//!
//! A page holds one reference to each buffer (a cached block, the copied part of a memtable, or the
//! page's own buffer for rows that had to be merged) and sixteen bytes per row. Cells are decoded
//! when they are looked at, and borrow from the page; looking allocates nothing.
//!
//! # Invariants
//!
//! * Every row of a page was checked by [`codec::inspect`] or encoded by [`codec::encode`], and
//!   has nothing but visible cells: whoever pushes a row vouches for that.
//! * Should a body not decode all the same, its cells end early; nothing panics.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use super::codec::{CellReader, RowHead};
use super::{Cell, CellValue, ColumnId, Fragment, RowLiveness, Timestamp, codec};

/// A visible cell of a row, borrowed from the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRef<'a> {
    /// The column.
    pub column: ColumnId,
    /// Empty for plain columns; the element key for sets, maps and lists.
    pub path: &'a [u8],
    /// When it was written.
    pub timestamp: Timestamp,
    /// What was written.
    pub value: &'a [u8],
    /// First millisecond, Unix time, at which the value is not visible any more; `None` = never.
    pub expires_at_ms: Option<u64>,
}

impl CellRef<'_> {
    /// Bytes of path and value.
    pub fn size(&self) -> usize {
        self.path.len() + self.value.len()
    }

    /// A copy that owns its bytes.
    pub fn to_cell(&self) -> Cell {
        let value = Bytes::copy_from_slice(self.value);
        Cell {
            column: self.column,
            path: Bytes::copy_from_slice(self.path),
            timestamp: self.timestamp,
            value: match self.expires_at_ms {
                None => CellValue::Live(value),
                Some(expires_at_ms) => CellValue::Expiring {
                    value,
                    expires_at_ms,
                },
            },
        }
    }
}

/// A visible row of a page: the newest visible cell of each (column, path), in that order.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// Ordered bytes of the clustering columns; empty for the static row.
    pub clustering: &'a [u8],
    body: &'a [u8],
    base: Timestamp,
}

impl<'a> Row<'a> {
    /// The insertion marker, if visible.
    pub fn liveness(&self) -> Option<RowLiveness> {
        RowHead::skim(self.body, self.base).and_then(|(head, _)| head.liveness)
    }

    /// The visible cells, sorted by (column, path). Each call decodes them anew.
    #[inline]
    pub fn cells(&self) -> Cells<'a> {
        let skimmed = RowHead::skim(self.body, self.base);
        Cells {
            cells: skimmed.map(|(head, reader)| CellReader::new(reader, &head, self.base)),
        }
    }

    /// The first cell of a column, if it has one.
    pub fn cell(&self, column: ColumnId) -> Option<CellRef<'a>> {
        self.cells()
            .take_while(|cell| cell.column <= column)
            .find(|cell| cell.column == column)
    }
}

impl std::fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("clustering", &self.clustering)
            .field("liveness", &self.liveness())
            .field("cells", &self.cells().collect::<Vec<_>>())
            .finish()
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clustering == other.clustering
            && self.liveness() == other.liveness()
            && self.cells().eq(other.cells())
    }
}

impl Eq for Row<'_> {}

/// The visible cells of a row, decoded one at a time.
#[derive(Clone, Debug, Default)]
pub struct Cells<'a> {
    cells: Option<CellReader<'a>>,
}

impl<'a> Iterator for Cells<'a> {
    type Item = CellRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<CellRef<'a>> {
        let cell = self.cells.as_mut()?.next()?.ok()?;
        Some(CellRef {
            column: cell.column,
            path: cell.path,
            timestamp: cell.timestamp,
            value: cell.value?,
            expires_at_ms: cell.expires_at_ms,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.cells.as_ref().map(CellReader::left).or(Some(0)))
    }
}

/// The visible static row of a partition; empty if it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticRow {
    /// Encoded with base 0; empty if there is nothing.
    body: Bytes,
}

impl StaticRow {
    /// What is left of a merged static row.
    pub(crate) fn new(visible: Option<&Fragment>) -> Self {
        let body = visible.map_or_else(Bytes::new, |fragment| {
            let mut body = Vec::with_capacity(fragment.size_hint());
            codec::encode(fragment, Timestamp::ZERO, &mut body);
            Bytes::from(body)
        });
        Self { body }
    }

    /// Whether there is no visible cell.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The visible cells, sorted by (column, path).
    pub fn cells(&self) -> Cells<'_> {
        self.row().cells()
    }

    /// The same as a row without a clustering key.
    pub fn row(&self) -> Row<'_> {
        Row {
            clustering: &[],
            body: &self.body,
            base: Timestamp::ZERO,
        }
    }
}

/// Buffers among which one is looked for that is already there: about as many as there are sources.
const LATE_BUFFERS: usize = 8;

/// Bytes that rows of a page lie in.
#[derive(Clone, Debug)]
struct Buffer {
    bytes: Bytes,
    base: Timestamp,
}

/// Where a row lies: its key, then its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowAt {
    /// First byte of the key.
    pub(crate) key_at: u32,
    /// First byte after the key, and of the body.
    pub(crate) body_at: u32,
    /// First byte after the body.
    pub(crate) end: u32,
}

impl RowAt {
    /// The key within the buffer.
    #[inline]
    pub(crate) fn key(self, buffer: &[u8]) -> &[u8] {
        let range = self.key_at as usize..self.body_at as usize;
        buffer.get(range).unwrap_or_default()
    }

    /// The body within the buffer.
    #[inline]
    pub(crate) fn body(self, buffer: &[u8]) -> &[u8] {
        let range = self.body_at as usize..self.end as usize;
        buffer.get(range).unwrap_or_default()
    }

    /// The same place in a copy of the buffer that begins `bytes` further up, before the row.
    pub(crate) fn shift_down(&mut self, bytes: u32) {
        self.key_at = self.key_at.saturating_sub(bytes);
        self.body_at = self.body_at.saturating_sub(bytes);
        self.end = self.end.saturating_sub(bytes);
    }

    /// Bytes of key and body.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.end.saturating_sub(self.key_at) as usize
    }
}

/// Visible rows in reading order, each still encoded.
#[derive(Clone, Default)]
pub struct Rows {
    buffers: Vec<Buffer>,
    /// The number of the buffer and the place in it.
    slots: Vec<(u32, RowAt)>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Row number `at`.
    #[inline]
    pub fn get(&self, at: usize) -> Option<Row<'_>> {
        self.slots.get(at).map(|slot| self.row(slot))
    }

    /// The first row.
    pub fn first(&self) -> Option<Row<'_>> {
        self.get(0)
    }

    /// All rows in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Row<'_>> + ExactSizeIterator {
        self.slots.iter().map(|slot| self.row(slot))
    }

    #[inline]
    fn row(&self, (buffer, at): &(u32, RowAt)) -> Row<'_> {
        let buffer = self.buffers.get(*buffer as usize);
        let (bytes, base) = buffer.map_or((&[][..], Timestamp::ZERO), |it| (&it.bytes, it.base));
        Row {
            clustering: at.key(bytes),
            body: at.body(bytes),
            base,
        }
    }

    /// Makes room for `more` rows.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
    }

    /// The buffer and place of row number `at`.
    pub(crate) fn slot(&self, at: usize) -> Option<(u32, RowAt)> {
        self.slots.get(at).copied()
    }

    /// The bytes of a buffer.
    pub(crate) fn bytes(&self, buffer: u32) -> &[u8] {
        let buffer = self.buffers.get(buffer as usize);
        buffer.map_or(&[], |buffer| &buffer.bytes)
    }

    /// The number of a buffer, if it was added lately.
    pub(crate) fn find_buffer(&self, bytes: &Bytes, base: Timestamp) -> Option<u32> {
        let is_same = |it: &Buffer| {
            it.bytes.as_ptr() == bytes.as_ptr() && it.bytes.len() == bytes.len() && it.base == base
        };
        let late = self.buffers.len().saturating_sub(LATE_BUFFERS);
        let found = self.buffers.iter().skip(late).rposition(is_same)?;
        u32::try_from(late + found).ok()
    }

    /// Adds a buffer and returns its number.
    pub(crate) fn buffer(&mut self, bytes: &Bytes, base: Timestamp) -> u32 {
        let number = self.buffers.len();
        self.buffers.push(Buffer {
            bytes: bytes.clone(),
            base,
        });
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    /// Replaces the bytes of a buffer.
    pub(crate) fn fill(&mut self, buffer: u32, bytes: Bytes) {
        if let Some(buffer) = self.buffers.get_mut(buffer as usize) {
            buffer.bytes = bytes;
        }
    }

    /// Adds a row that lies in `buffer`, is sound, and has nothing but visible cells.
    #[inline]
    pub(crate) fn push(&mut self, buffer: u32, at: RowAt) {
        self.slots.push((buffer, at));
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Rows {}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// For fuzzing: what is whole reads the same through a view as through decoding.
pub(crate) fn check_view(body: &[u8], base: Timestamp, decoded: &Fragment) {
    let row = Row {
        clustering: &[],
        body,
        base,
    };
    let cells: Vec<Cell> = row.cells().map(|cell| cell.to_cell()).collect();
    assert_eq!(cells, decoded.cells);
    assert_eq!(row.liveness(), decoded.liveness);
}

/// For fuzzing: looks at all of a row of any bytes.
pub(crate) fn look_at(body: &[u8], base: Timestamp) {
    let row = Row {
        clustering: &[],
        body,
        base,
    };
    std::hint::black_box((row.liveness(), row.cells().count()));
}
