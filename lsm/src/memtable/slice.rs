//! Copying out of a memtable what a page can need, under its lock, in one go.

use bytes::Bytes;

use super::partition::{MemPartition, edges_between, rows_between};
use crate::row::codec::Summary;
use crate::row::range::{Edge, Place};
use crate::row::view::RowAt;
use crate::row::{Timestamp, codec};

/// Bytes at which copying stops whatever the limit: offsets in a copy are 32 bits.
const COPIED_BYTES_MAX: usize = 1 << 30;

/// How much of a slice to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SliceLimit {
    /// Rows that are visible as far as this partition of this memtable knows.
    pub(crate) live_rows: usize,
    /// Rows of any kind.
    pub(crate) rows: usize,
    /// Copying stops behind the row that reaches this many bytes.
    pub(crate) bytes: usize,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
}

/// A row or an edge of a range deletion.
#[derive(Debug)]
pub(crate) enum MemItem {
    /// A row (base 0) and what is known of it.
    Row(RowAt, Summary),
    /// An edge, with the deletions in force before and after it in clustering order.
    Edge(Edge, Timestamp, Timestamp),
}

impl MemItem {
    /// Where it is; `bytes` are those of its slice.
    pub(crate) fn place<'a>(&'a self, bytes: &'a [u8]) -> Place<'a> {
        match self {
            Self::Row(row, _) => Place::row(row.key(bytes)),
            Self::Edge(edge, ..) => edge.place(),
        }
    }
}

/// Part of a partition, in reading order.
#[derive(Debug)]
pub(crate) struct MemSlice {
    /// Keys and bodies of the rows.
    pub(crate) bytes: Bytes,
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
    let mut bytes = Vec::new();
    let (mut live_rows, mut row_count, mut cut) = (0, 0, None);
    for (key, body) in rows {
        let is_over = live_rows >= limit.live_rows
            || row_count >= limit.rows
            || bytes.len() >= limit.bytes.min(COPIED_BYTES_MAX);
        if is_over {
            cut = items
                .last()
                .map(|item: &MemItem| item.place(&bytes).to_edge());
            break;
        }
        let row = Place::row(key);
        let comes_first = |edge: &MemItem| {
            if reverse {
                edge.place(&[]) > row
            } else {
                edge.place(&[]) < row
            }
        };
        while let Some(edge) = edges.next_if(comes_first) {
            items.push(edge);
        }
        let summary = codec::inspect(body, Timestamp::ZERO);
        let summary = summary.expect("a memtable holds only what it encoded");
        // Deletions of ranges and of the partition have already removed what they shadow.
        let is_live = summary.is_whole(Timestamp::ZERO, limit.now_ms)
            || codec::is_live(body, Timestamp::ZERO, Timestamp::ZERO, limit.now_ms).unwrap_or(true);
        items.push(MemItem::Row(append(&mut bytes, key, body), summary));
        row_count += 1;
        live_rows += usize::from(is_live);
    }
    if cut.is_none() {
        items.extend(edges);
    }
    MemSlice {
        bytes: Bytes::from(bytes),
        items,
        open,
        cut,
    }
}

/// Copies a row.
fn append(bytes: &mut Vec<u8>, key: &[u8], body: &[u8]) -> RowAt {
    // Fits: there are at most the allowed bytes and one row, which is far smaller.
    let offset = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    let key_at = offset(bytes.len());
    bytes.extend_from_slice(key);
    let body_at = offset(bytes.len());
    bytes.extend_from_slice(body);
    RowAt {
        key_at,
        body_at,
        end: offset(bytes.len()),
    }
}
