//! Copying out of a memtable what a page can need, under its lock, in one go.

use bytes::Bytes;

use super::partition::{MemPartition, edges_between, rows_between};
use crate::row::range::{Edge, Place};
use crate::row::{Timestamp, codec};

/// How much of a slice to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceLimit {
    /// Rows that are visible as far as this partition of this memtable knows.
    pub(crate) live_rows: usize,
    /// Rows of any kind.
    pub(crate) rows: usize,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
}

/// A row or an edge of a range deletion.
#[derive(Debug)]
pub(crate) enum MemItem {
    /// A row with its encoded body (base 0).
    Row(Bytes, Bytes),
    /// An edge, with the deletions in force before and after it in clustering order.
    Edge(Edge, Timestamp, Timestamp),
}

impl MemItem {
    /// Where it is.
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::Row(key, _) => Place::row(key),
            Self::Edge(edge, ..) => edge.place(),
        }
    }
}

/// Part of a partition, in reading order.
#[derive(Debug)]
pub(crate) struct MemSlice {
    /// Rows and edges, in reading order.
    pub(crate) items: Vec<MemItem>,
    /// The deletion in force where reading starts.
    pub(crate) open: Timestamp,
    /// Where copying stopped because of the limit; `None` = the slice is complete.
    pub(crate) cut: Option<Edge>,
}

impl MemPartition {
    /// Copies rows and edges between two places, from the lower up or in reverse.
    pub(crate) fn slice(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        reverse: bool,
        limit: SliceLimit,
    ) -> MemSlice {
        let mut in_force = self.ranges().at(from);
        let mut edges: Vec<MemItem> = edges_between(self.ranges(), from, to)
            .into_iter()
            .map(|(edge, after)| {
                MemItem::Edge(edge, std::mem::replace(&mut in_force, after), after)
            })
            .collect();
        let rows = rows_between(self.rows(), from, to);
        if !reverse {
            let open = self.ranges().at(from);
            return copy(rows, edges.into_iter(), open, reverse, limit);
        }
        edges.reverse();
        // After the last edge before `to`, which may itself be an edge that is out of the slice.
        copy(rows.rev(), edges.into_iter(), in_force, reverse, limit)
    }
}

fn copy<'a>(
    rows: impl Iterator<Item = (&'a Box<[u8]>, &'a Bytes)>,
    edges: impl Iterator<Item = MemItem>,
    open: Timestamp,
    reverse: bool,
    limit: SliceLimit,
) -> MemSlice {
    let mut edges = edges.peekable();
    let mut items = Vec::new();
    let (mut live_rows, mut row_count) = (0, 0);
    for (key, body) in rows {
        if live_rows >= limit.live_rows || row_count >= limit.rows {
            let cut = items.last().map(|item: &MemItem| item.place().to_edge());
            return MemSlice { items, open, cut };
        }
        let row = Place::row(key);
        let comes_first = |edge: &MemItem| {
            if reverse {
                edge.place() > row
            } else {
                edge.place() < row
            }
        };
        while let Some(edge) = edges.next_if(comes_first) {
            items.push(edge);
        }
        items.push(MemItem::Row(Bytes::copy_from_slice(key), body.clone()));
        row_count += 1;
        // Deletions of ranges and of the partition have already removed what they shadow.
        let is_live = codec::is_live(body, Timestamp::ZERO, Timestamp::ZERO, limit.now_ms);
        live_rows += usize::from(is_live.unwrap_or(true));
    }
    items.extend(edges);
    MemSlice {
        items,
        open,
        cut: None,
    }
}
