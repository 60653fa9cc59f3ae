//! Walks one partition of one memtable, from parts taken under its lock.

use std::sync::Arc;

use bytes::Bytes;

use super::page::PageBuilder;
use crate::memtable::{MemItem, MemSlice, SharedMemtable, SliceLimit};
use crate::row::range::{Edge, Place, Side};
use crate::row::{Timestamp, codec};
use crate::sstable::{RunLimits, Slice};

/// Most rows that are taken out of a frozen memtable at once.
const REFILL_ROWS_MAX: usize = 1024;

/// Walks the taken part of a partition, and takes more of a frozen memtable as needed.
#[derive(Debug)]
pub(crate) struct MemCursor {
    part: MemSlice,
    at: usize,
    range_deletion: Timestamp,
    reverse: bool,
    /// Where the part ends although the partition may go on.
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

    /// A cursor over a frozen memtable, which takes further parts when it gets there.
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
            Some(item) => Some(self.part.place(item)),
            None => self.cut.as_ref().map(Edge::place),
        }
    }

    /// Whether the part is used up but the partition may go on.
    pub(crate) fn is_cut(&self) -> bool {
        self.at >= self.part.items.len() && self.cut.is_some()
    }

    /// A buffer and the body of the current row within, if the cursor stands at one.
    pub(crate) fn row(&self) -> Option<(&Bytes, &[u8])> {
        match self.part.items.get(self.at) {
            Some(MemItem::Row(number, row)) => {
                let bytes = &self.part.buffers.get(*number as usize)?.bytes;
                Some((bytes, row.body(bytes)))
            }
            _ => None,
        }
    }

    /// Gives the current row and those after it to the page, as long as they are visible as they
    /// are, inside of the limits, and taken. Returns how many it gave.
    pub(crate) fn take_run(&mut self, limits: RunLimits<'_>, page: &mut PageBuilder) -> usize {
        let part = &self.part;
        let start = self.at;
        let mut current: Option<Entered<'_>> = None;
        while let Some(MemItem::Row(buffer, row)) = part.items.get(self.at) {
            let entered = match current.take().filter(|it| it.buffer == *buffer) {
                Some(entered) => entered,
                None => match Entered::new(part, *buffer, limits, page) {
                    Some(entered) => entered,
                    None => break,
                },
            };
            let is_taken = !page.is_full()
                && (entered.is_whole || limits.takes(inspect(row.body(entered.bytes))))
                && limits.is_inside(row.key(entered.bytes));
            if !is_taken {
                break;
            }
            page.take(entered.number, *row);
            current = Some(entered);
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
        if let Some(MemItem::Edge(edge)) = self.part.items.get(self.at) {
            self.range_deletion = if self.reverse {
                edge.before
            } else {
                edge.after
            };
        }
        self.at += 1;
        self.settle();
    }

    /// At the end of the part: takes more, or stands at the cut.
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

/// A buffer that rows are being given from.
struct Entered<'a> {
    buffer: u32,
    bytes: &'a Bytes,
    /// Its number in the page.
    number: u32,
    /// Whether all of its rows are visible as they are.
    is_whole: bool,
}

impl<'a> Entered<'a> {
    fn new(
        part: &'a MemSlice,
        buffer: u32,
        limits: RunLimits<'_>,
        page: &mut PageBuilder,
    ) -> Option<Self> {
        let it = part.buffers.get(buffer as usize)?;
        Some(Self {
            buffer,
            bytes: &it.bytes,
            number: page.buffer(&it.bytes, Timestamp::ZERO),
            is_whole: limits.takes(it.summary),
        })
    }
}

/// What is known of one row.
fn inspect(body: &[u8]) -> codec::Summary {
    codec::inspect(body, Timestamp::ZERO).expect("a memtable holds only what it encoded")
}

/// Just behind a row in reading order.
fn behind(edge: Edge, reverse: bool) -> Edge {
    match edge {
        Edge::At(key, Side::Row) if reverse => Edge::At(key, Side::Before),
        Edge::At(key, Side::Row) => Edge::At(key, Side::After),
        other => other,
    }
}
