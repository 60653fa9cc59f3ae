//! Walks one partition of one memtable, from copies made under its lock.

use std::sync::Arc;

use bytes::Bytes;

use super::page::PageBuilder;
use crate::memtable::{MemItem, MemSlice, SharedMemtable, SliceLimit};
use crate::row::Timestamp;
use crate::row::range::{Edge, Place, Side};
use crate::sstable::{RunLimits, Slice};

/// Most rows that a frozen memtable copies out at once.
const REFILL_ROWS_MAX: usize = 1024;

/// Walks the copied part of a partition, and copies more of a frozen memtable as needed.
#[derive(Debug)]
pub(crate) struct MemCursor {
    part: MemSlice,
    at: usize,
    range_deletion: Timestamp,
    reverse: bool,
    /// Where the copied part ends although the partition may go on.
    cut: Option<Edge>,
    refill: Option<Refill>,
}

#[derive(Debug)]
struct Refill {
    memtable: SharedMemtable,
    slice: Arc<Slice>,
    limit: SliceLimit,
}

impl MemCursor {
    /// A cursor over `part` alone: where the part was cut, the page ends.
    pub(crate) fn new(part: MemSlice, reverse: bool) -> Self {
        let mut cursor = Self {
            range_deletion: part.open,
            at: 0,
            reverse,
            cut: None,
            refill: None,
            part,
        };
        cursor.settle();
        cursor
    }

    /// A cursor over a frozen memtable, which copies further parts when it gets there.
    pub(crate) fn refilling(
        part: MemSlice,
        memtable: &SharedMemtable,
        slice: &Arc<Slice>,
        limit: SliceLimit,
    ) -> Self {
        let (memtable, slice) = (Arc::clone(memtable), Arc::clone(slice));
        let reverse = slice.reverse;
        let mut cursor = Self::new(part, reverse);
        cursor.refill = Some(Refill {
            memtable,
            slice,
            limit,
        });
        cursor.settle();
        cursor
    }

    /// The place of the current item or of the cut. `None`: done.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match self.part.items.get(self.at) {
            Some(item) => Some(item.place(&self.part.bytes)),
            None => self.cut.as_ref().map(Edge::place),
        }
    }

    /// Whether the copied part is used up but the partition may go on.
    pub(crate) fn is_cut(&self) -> bool {
        self.at >= self.part.items.len() && self.cut.is_some()
    }

    /// The copied bytes and the body of the current row within, if the cursor stands at one.
    pub(crate) fn row(&self) -> Option<(&Bytes, &[u8])> {
        match self.part.items.get(self.at) {
            Some(MemItem::Row(row, _)) => Some((&self.part.bytes, row.body(&self.part.bytes))),
            _ => None,
        }
    }

    /// Gives the current row and those after it to the page, as long as they are visible as they
    /// are, inside of the limits, and copied. Returns how many it gave.
    pub(crate) fn take_run(&mut self, limits: RunLimits<'_>, page: &mut PageBuilder) -> usize {
        let part = &self.part;
        let mut buffer = None;
        let start = self.at;
        while let Some(MemItem::Row(row, summary)) = part.items.get(self.at) {
            let is_taken =
                !page.is_full() && limits.takes(*summary) && limits.is_inside(row.key(&part.bytes));
            if !is_taken {
                break;
            }
            let number = *buffer.get_or_insert_with(|| page.buffer(&part.bytes, Timestamp::ZERO));
            page.take(number, *row);
            self.at += 1;
        }
        let taken = self.at - start;
        if taken > 0 {
            self.settle();
        }
        taken
    }

    /// The deletion of a range in force between the last item and the current one.
    pub(crate) fn range_deletion(&self) -> Timestamp {
        self.range_deletion
    }

    /// Moves past the current item.
    pub(crate) fn advance(&mut self) {
        if let Some(MemItem::Edge(_, before, after)) = self.part.items.get(self.at) {
            self.range_deletion = if self.reverse { *before } else { *after };
        }
        self.at += 1;
        self.settle();
    }

    /// At the end of the copied part: copies more, or stands at the cut.
    fn settle(&mut self) {
        if self.at < self.part.items.len() {
            return;
        }
        self.cut = self
            .part
            .cut
            .take()
            .map(|edge| behind(edge, self.reverse))
            .or(self.cut.take());
        let (Some(edge), Some(refill)) = (&self.cut, &mut self.refill) else {
            return;
        };
        refill.limit.rows = (refill.limit.rows * 4).min(REFILL_ROWS_MAX);
        refill.limit.live_rows = refill.limit.rows;
        let slice = &refill.slice;
        let (from, to) = if slice.reverse {
            (slice.from.place(), edge.place())
        } else {
            (edge.place(), slice.to.place())
        };
        let memtable = refill.memtable.read();
        let partition = memtable.partition(slice.table, slice.token, &slice.key);
        let part = partition.map(|it| it.slice(from, to, slice.reverse, refill.limit));
        drop(memtable);
        self.cut = None;
        self.at = 0;
        match part {
            Some(part) => {
                self.range_deletion = part.open;
                self.part = part;
            }
            None => self.part.items.clear(),
        }
    }
}

/// Just behind a row in reading order.
fn behind(edge: Edge, reverse: bool) -> Edge {
    match edge {
        Edge::At(key, Side::Row) if reverse => Edge::At(key, Side::Before),
        Edge::At(key, Side::Row) => Edge::At(key, Side::After),
        other => other,
    }
}
