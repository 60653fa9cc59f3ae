//! Taking out of a memtable what a page can need, under its lock, in one go.
//!
//! Rows of closed chunks are shared; of the open chunk, the part that the page needs is copied. What
//! is known of a whole chunk is not asked again of its rows, so that most of a page costs a few
//! instructions per row.

use bytes::Bytes;

use super::index::RowRef;
use super::partition::{MemPartition, edges_between};
use super::store::{RowBuffer, RowStore};
use crate::row::range::{Edge, Place};
use crate::row::view::RowAt;
use crate::row::{Timestamp, codec};

/// Rows that room is made for ahead.
const RESERVED_ROWS_MAX: usize = 64;

/// How much of a slice to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceLimit {
    /// Rows that are visible as far as this partition of this memtable knows.
    pub(crate) live_rows: usize,
    /// Rows of any kind.
    pub(crate) rows: usize,
    /// Taking stops behind the row that reaches this many bytes.
    pub(crate) bytes: usize,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
}

/// A row or an edge of a range deletion.
#[derive(Debug)]
pub(crate) enum MemItem {
    /// The number of a buffer of the slice, and the place of a row (base 0) within it.
    Row(u32, RowAt),
    /// An edge.
    Edge(Box<MemEdge>),
}

/// An edge of a range deletion.
#[derive(Debug)]
pub(crate) struct MemEdge {
    /// Where it is.
    pub(crate) edge: Edge,
    /// The deletion in force before it in clustering order.
    pub(crate) before: Timestamp,
    /// And after it.
    pub(crate) after: Timestamp,
}

/// Part of a partition, in reading order.
#[derive(Debug)]
pub(crate) struct MemSlice {
    /// Where the rows lie.
    pub(crate) buffers: Vec<RowBuffer>,
    /// Rows and edges, in reading order.
    pub(crate) items: Vec<MemItem>,
    /// The deletion in force where reading starts.
    pub(crate) open: Timestamp,
    /// Where taking stopped because of the limit; `None` = the slice is complete.
    pub(crate) cut: Option<Edge>,
}

impl MemSlice {
    /// The place of an item.
    pub(crate) fn place<'a>(&'a self, item: &'a MemItem) -> Place<'a> {
        place(&self.buffers, item)
    }
}

impl MemPartition {
    /// Takes rows and edges between two places, from the lower up or in reverse.
    pub(crate) fn slice(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        reverse: bool,
        limit: SliceLimit,
    ) -> MemSlice {
        let rows = self.rows().between(from, to);
        if self.ranges().is_empty() {
            let rest = Taking::new(self.rows(), Vec::new(), limit);
            return if reverse {
                rest.take(rows.rev(), Timestamp::ZERO, reverse)
            } else {
                rest.take(rows, Timestamp::ZERO, reverse)
            };
        }
        let mut in_force = self.ranges().at(from);
        let mut edges: Vec<MemEdge> = edges_between(self.ranges(), from, to)
            .into_iter()
            .map(|(edge, after)| MemEdge {
                edge,
                before: std::mem::replace(&mut in_force, after),
                after,
            })
            .collect();
        if reverse {
            // After the last edge before `to`, which may itself be an edge that is out of the slice.
            return Taking::new(self.rows(), edges, limit).take(rows.rev(), in_force, reverse);
        }
        // The next edge is taken from the end.
        edges.reverse();
        let open = self.ranges().at(from);
        Taking::new(self.rows(), edges, limit).take(rows, open, reverse)
    }
}

/// A slice being taken.
struct Taking<'a> {
    store: &'a RowStore,
    /// Edges that are still to come, the next one last.
    edges: Vec<MemEdge>,
    limit: SliceLimit,
    buffers: Vec<RowBuffer>,
    /// The chunk of each buffer.
    chunks: Vec<u32>,
    items: Vec<MemItem>,
    /// Whether every row of the newest buffer is visible.
    is_whole: bool,
    /// Which part of the open chunk is needed, and the buffer that it becomes.
    open_part: Option<(u32, RowAt)>,
}

impl<'a> Taking<'a> {
    fn new(store: &'a RowStore, edges: Vec<MemEdge>, limit: SliceLimit) -> Self {
        Self {
            store,
            edges,
            limit,
            buffers: Vec::new(),
            chunks: Vec::new(),
            items: Vec::new(),
            is_whole: false,
            open_part: None,
        }
    }

    fn take(
        mut self,
        rows: impl Iterator<Item = RowRef>,
        open: Timestamp,
        reverse: bool,
    ) -> MemSlice {
        let limit = self.limit;
        let (mut live_rows, mut row_count, mut bytes) = (0, 0, 0);
        let mut last = None;
        let mut cut = None;
        for row in rows {
            if live_rows >= limit.live_rows || row_count >= limit.rows || bytes >= limit.bytes {
                cut = last.map(|row| Place::row(self.store.key(row)).to_edge());
                break;
            }
            if row_count == 0 {
                let expected = limit.live_rows.min(RESERVED_ROWS_MAX);
                self.items.reserve(expected);
            }
            if !self.edges.is_empty() {
                self.edges_before(row, reverse);
            }
            live_rows += usize::from(self.row(row));
            row_count += 1;
            bytes += row.at.len();
            last = Some(row);
        }
        if cut.is_none() {
            let rest = self.edges.drain(..).rev();
            self.items
                .extend(rest.map(|edge| MemItem::Edge(Box::new(edge))));
        }
        self.copy_open_part();
        MemSlice {
            buffers: self.buffers,
            items: self.items,
            open,
            cut,
        }
    }

    /// Takes the edges that come before a row in reading order.
    fn edges_before(&mut self, row: RowRef, reverse: bool) {
        let row = Place::row(self.store.key(row));
        let comes_first = |edge: &mut MemEdge| {
            if reverse {
                edge.edge.place() > row
            } else {
                edge.edge.place() < row
            }
        };
        while let Some(edge) = self.edges.pop_if(comes_first) {
            self.items.push(MemItem::Edge(Box::new(edge)));
        }
    }

    /// Takes a row; returns whether it is visible as far as its partition knows.
    fn row(&mut self, row: RowRef) -> bool {
        if self.chunks.last() != Some(&row.chunk) {
            self.enter(row.chunk);
        }
        let number = u32::try_from(self.buffers.len() - 1).unwrap_or(u32::MAX);
        self.items.push(MemItem::Row(number, row.at));
        if let Some((open, part)) = &mut self.open_part
            && *open == number
        {
            part.key_at = part.key_at.min(row.at.key_at);
            part.end = part.end.max(row.at.end);
        }
        // Deletions of ranges and of the partition have already removed what they shadow.
        self.is_whole || self.is_live(row)
    }

    fn is_live(&self, row: RowRef) -> bool {
        let body = self.store.body(row);
        codec::is_live(body, Timestamp::ZERO, Timestamp::ZERO, self.limit.now_ms).unwrap_or(true)
    }

    /// Rows of another chunk come next.
    fn enter(&mut self, chunk: u32) {
        let summary = self.store.summary(chunk);
        self.is_whole = summary.is_whole(Timestamp::ZERO, self.limit.now_ms);
        self.chunks.push(chunk);
        let number = u32::try_from(self.buffers.len()).unwrap_or(u32::MAX);
        let bytes = self.store.shared(chunk).cloned().unwrap_or_default();
        if self.store.shared(chunk).is_none() {
            self.copy_open_part();
            let nothing = RowAt {
                key_at: u32::MAX,
                body_at: 0,
                end: 0,
            };
            self.open_part = Some((number, nothing));
        }
        self.buffers.push(RowBuffer { bytes, summary });
    }

    /// Copies what is needed of the open chunk. Its rows then lie as much further down as the copy
    /// begins up.
    fn copy_open_part(&mut self) {
        let Some((number, part)) = self.open_part.take() else {
            return;
        };
        let range = part.key_at as usize..part.end as usize;
        let bytes = self.store.open_bytes().get(range).unwrap_or_default();
        if let Some(buffer) = self.buffers.get_mut(number as usize) {
            buffer.bytes = Bytes::copy_from_slice(bytes);
        }
        for item in self.items.iter_mut().rev() {
            match item {
                MemItem::Row(buffer, at) if *buffer == number => at.shift_down(part.key_at),
                MemItem::Row(buffer, _) if *buffer < number => break,
                MemItem::Row(..) | MemItem::Edge(_) => {}
            }
        }
    }
}

fn place<'a>(buffers: &'a [RowBuffer], item: &'a MemItem) -> Place<'a> {
    match item {
        MemItem::Row(buffer, at) => {
            let buffer = buffers.get(*buffer as usize);
            Place::row(buffer.map_or(&[], |buffer| at.key(&buffer.bytes)))
        }
        MemItem::Edge(edge) => edge.edge.place(),
    }
}
