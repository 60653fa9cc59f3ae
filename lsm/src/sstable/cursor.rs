//! Walks the rows and edges of one partition in one SSTable, up or down.
//!
//! Blocks are loaded as late as possible: between two blocks of a large partition the cursor
//! stands before a block that it knows only from the index, so that whoever merges several
//! cursors can decide to skip it.
//!
//! # Cost
//!
//! Entering a block finds the ends of the slice in it by binary search; from then on an entry is
//! decoded once, when the cursor comes to stand at it. A run of rows that no other source touches
//! is handed out without looking into the rows, if the block is plain ([`Summary`]).

use std::sync::Arc;

use bytes::Bytes;

use super::block::{BlockEntry, BlockItem, DataBlock};
use super::format::INDEX_ENTRIES;
use super::index::{BlockProperties, IndexBlock};
use super::reader::{PartitionHead, Span, TableReader};
use crate::error::Result;
use crate::iter::PageBuilder;
use crate::row::codec::{self, Summary};
use crate::row::range::{Edge, Place};
use crate::row::view::RowAt;
use crate::row::{TableId, Timestamp};

/// The slice of a partition that a cursor walks.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// The table.
    pub(crate) table: TableId,
    /// Token of the placement key.
    pub(crate) token: u64,
    /// Partition key.
    pub(crate) key: Bytes,
    /// Lower end.
    pub(crate) from: Edge,
    /// Upper end.
    pub(crate) to: Edge,
    /// Whether to walk from the upper end down.
    pub(crate) reverse: bool,
}

impl Slice {
    /// Names the partition within the table.
    pub(crate) fn id(&self) -> (u64, &Bytes) {
        (self.token, &self.key)
    }
}

/// Where a cursor stands.
#[derive(Debug)]
enum State {
    /// Past the last item.
    Done,
    /// Before a block that is not loaded.
    Pending(Pending),
    /// At an item of a block.
    Loaded(Loaded),
}

/// What the cursor stands before.
#[derive(Debug)]
struct Pending {
    /// The block that is next in reading order.
    number: u32,
    ahead: Ahead,
}

/// How it is known.
#[derive(Debug)]
enum Ahead {
    /// One block, from the index.
    Block(Arc<IndexBlock>, usize),
    /// All blocks of an index block that is not loaded, from the top index.
    Group(usize),
}

#[derive(Debug)]
struct Loaded {
    number: u32,
    block: Arc<DataBlock>,
    /// Entries of the partition: `first..end`.
    first: usize,
    end: usize,
    /// Entries of the slice: `low..high`, within `first..end`.
    low: usize,
    high: usize,
    continues: bool,
    /// The current entry, and where it lies.
    at: usize,
    item: BlockItem,
}

impl Loaded {
    fn row(&self) -> Option<RowAt> {
        match self.item {
            BlockItem::Row(row) => Some(row),
            BlockItem::Edge => None,
        }
    }
}

/// Which rows of a run a page may take as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits<'a> {
    /// The run ends before this place, in reading order: where the next source stands.
    pub(crate) bound: Option<Place<'a>>,
    /// The newest deletion that covers all of the run.
    pub(crate) deletion: Timestamp,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
    /// Whether the page is read from the upper end down.
    pub(crate) reverse: bool,
}

impl RunLimits<'_> {
    /// Whether a row comes before the bound.
    #[inline]
    pub(crate) fn is_inside(&self, key: &[u8]) -> bool {
        self.bound.is_none_or(|bound| {
            if self.reverse {
                Place::row(key) > bound
            } else {
                Place::row(key) < bound
            }
        })
    }

    /// Whether all of what the summary is about is visible as it is.
    #[inline]
    pub(crate) fn takes(&self, summary: Summary) -> bool {
        summary.is_whole(self.deletion, self.now_ms)
    }
}

/// Walks one partition of one SSTable.
#[derive(Debug)]
pub(crate) struct FileCursor {
    /// Reads the blocks; its statistics are the cost of the walk.
    pub(crate) reader: TableReader,
    slice: Arc<Slice>,
    span: Span,
    state: State,
    open: Timestamp,
}

impl FileCursor {
    /// A cursor at the start of `slice`, or `None` if the partition is not in the file.
    pub(crate) fn open(
        mut reader: TableReader,
        slice: &Arc<Slice>,
    ) -> Result<std::result::Result<(Self, PartitionHead), TableReader>> {
        let Some(span) = reader.find_partition(slice.token, &slice.key)? else {
            return Ok(Err(reader));
        };
        let Some(head) = reader.head(slice.token, &slice.key, span)? else {
            return Ok(Err(reader));
        };
        let slice = Arc::clone(slice);
        let state = State::Done;
        let mut cursor = Self {
            reader,
            slice,
            span,
            state,
            open: Timestamp::ZERO,
        };
        cursor.start()?;
        Ok(Ok((cursor, head)))
    }

    fn start(&mut self) -> Result<()> {
        let Span { first, last, head } = self.span;
        if first == last {
            return self.enter(first);
        }
        if self.lies_before() {
            return Ok(());
        }
        let slice = &*self.slice;
        if let Some(extent) = head
            && !slice.reverse
            && slice.from.place() == Place::START
        {
            // Nothing in it is dead, so that it would hardly be skipped.
            self.reader.data_at(first, extent)?;
            return self.enter(first);
        }
        let number = match (slice.reverse, &slice.from, &slice.to) {
            (false, from, _) if from.place() == Place::START => first,
            (true, _, Edge::End) => last,
            (false, edge, _) | (true, _, edge) => self
                .reader
                .find_block(slice.token, &slice.key, edge.place())?
                .unwrap_or(first)
                .clamp(first, last),
        };
        self.approach(number)
    }

    /// Whether the top index alone tells that the partition ends before the slice begins. No range
    /// deletion is in force there, because they are closed within their partition.
    fn lies_before(&self) -> bool {
        let group = self.span.last as usize / INDEX_ENTRIES;
        let top = self.reader.table().top.get(group);
        let from = self.slice.from.place();
        let is_before = |top: &BlockProperties| top.upper_bound(&self.slice.key) < from;
        !self.slice.reverse && top.is_some_and(is_before)
    }

    /// Stands before block `number` without loading it, or is done if that is beyond the slice.
    /// Where the blocks of an index block begin that are all of this partition, it stands before
    /// all of them at once.
    fn approach(&mut self, number: u32) -> Result<()> {
        let at = number as usize;
        let (group, within) = (at / INDEX_ENTRIES, at % INDEX_ENTRIES);
        let last_block = self.reader.block_count().saturating_sub(1);
        let is_at_end = if self.slice.reverse {
            within + 1 == INDEX_ENTRIES || number == last_block
        } else {
            within == 0
        };
        let top = self.reader.table().top.get(group);
        let is_whole = top.is_some_and(|top| {
            let is_here = (top.token, &top.key) == self.slice.id();
            is_at_end && is_here && top.is_one_partition
        });
        let ahead = if is_whole {
            Ahead::Group(group)
        } else {
            let (index, at) = self.reader.index(number)?;
            Ahead::Block(index, at)
        };
        self.stand_before(Pending { number, ahead })
    }

    /// Stands before block `number` alone.
    fn approach_block(&mut self, number: u32) -> Result<()> {
        let (index, at) = self.reader.index(number)?;
        let ahead = Ahead::Block(index, at);
        self.stand_before(Pending { number, ahead })
    }

    fn stand_before(&mut self, pending: Pending) -> Result<()> {
        self.open = self.open_before(&pending)?;
        let Some(properties) = self.properties(&pending) else {
            return Err(self.reader.index_error("an entry for every block"));
        };
        let is_inside = if self.slice.reverse {
            properties.upper_bound(&self.slice.key) >= self.slice.from.place()
        } else {
            properties.lower_bound(&self.slice.key) < self.slice.to.place()
        };
        self.state = if is_inside {
            State::Pending(pending)
        } else {
            State::Done
        };
        Ok(())
    }

    /// The range deletion in force where the cursor comes from: at the start of the block ahead, or
    /// going down, of the block above it.
    fn open_before(&mut self, pending: &Pending) -> Result<Timestamp> {
        let number = pending.number;
        let (is_edge, target) = if self.slice.reverse {
            (number >= self.span.last, number.saturating_add(1))
        } else {
            (number <= self.span.first, number)
        };
        if is_edge {
            return Ok(Timestamp::ZERO);
        }
        let target_group = target as usize / INDEX_ENTRIES;
        let found = match &pending.ahead {
            // The first block of an index block has what that says of itself.
            Ahead::Group(_) => self.reader.table().top.get(target_group),
            Ahead::Block(index, at) if self.slice.reverse => index.entries.get(at + 1),
            Ahead::Block(index, at) => index.entries.get(*at),
        };
        if let Some(properties) = found {
            return Ok(properties.open);
        }
        let (index, at) = self.reader.index(target)?;
        let properties = index.entries.get(at);
        Ok(properties.map_or(Timestamp::ZERO, |properties| properties.open))
    }

    fn properties<'a>(&'a self, pending: &'a Pending) -> Option<&'a BlockProperties> {
        match &pending.ahead {
            Ahead::Block(index, at) => index.entries.get(*at),
            Ahead::Group(group) => self.reader.table().top.get(*group),
        }
    }

    /// Loads block `number` and stands at its first item within the slice, or moves on.
    fn enter(&mut self, number: u32) -> Result<()> {
        // A block that was just loaded is found without the index.
        let block = self.reader.data(number)?;
        let slice = &*self.slice;
        let in_block = |error| self.reader.in_block(error, number);
        let at = block
            .seek_partition(slice.token, &slice.key)
            .map_err(in_block)?;
        let found = block.partition(at).map_err(in_block)?;
        let found = found
            .filter(|(header, ..)| (header.token, header.key) == (slice.token, slice.key.as_ref()));
        let Some((header, first, end)) = found else {
            return Err(self.reader.index_error("blocks of the partition"));
        };
        let continues = header.continues;
        let low = match slice.from.place() {
            Place::START => first,
            from => block.seek(first, end, from).map_err(in_block)?,
        };
        let high = match slice.to.place() {
            Place::End => end,
            to @ Place::At(..) => block.seek(low, end, to).map_err(in_block)?,
        };
        let at = if slice.reverse { high } else { low };
        self.open = block.in_force(first, at, continues).map_err(in_block)?;
        let loaded = Loaded {
            number,
            block,
            first,
            end,
            low,
            high,
            continues,
            at,
            item: BlockItem::Edge,
        };
        if slice.reverse {
            self.settle_below(loaded)
        } else {
            self.settle(loaded)
        }
    }

    /// Going up: stands at entry `at`, or before the next block.
    #[inline]
    fn settle(&mut self, mut loaded: Loaded) -> Result<()> {
        if loaded.at >= loaded.high {
            // The slice ends inside of this block, or goes on in the next one.
            let is_over = loaded.high < loaded.end;
            return self.leave(loaded.number, is_over);
        }
        loaded.item = loaded
            .block
            .item(loaded.at)
            .map_err(|error| self.reader.in_block(error, loaded.number))?;
        self.state = State::Loaded(loaded);
        Ok(())
    }

    /// Going down: stands at the entry below `at`, or before the block below.
    #[inline]
    fn settle_below(&mut self, mut loaded: Loaded) -> Result<()> {
        if loaded.at <= loaded.low {
            let is_over = loaded.low > loaded.first;
            return self.leave(loaded.number, is_over);
        }
        loaded.at -= 1;
        loaded.item = loaded
            .block
            .item(loaded.at)
            .map_err(|error| self.reader.in_block(error, loaded.number))?;
        self.state = State::Loaded(loaded);
        Ok(())
    }

    /// Stands before the block after `number` in reading order, unless the slice `is_over`.
    fn leave(&mut self, number: u32, is_over: bool) -> Result<()> {
        self.state = State::Done;
        let next = if self.slice.reverse {
            number
                .checked_sub(1)
                .filter(|next| *next >= self.span.first)
        } else {
            number.checked_add(1).filter(|next| *next <= self.span.last)
        };
        match next {
            // What is in force where the slice ends stays so for the other sources.
            _ if is_over => Ok(()),
            Some(next) => self.approach(next),
            None => {
                // Every range deletion is closed within its partition, also in a block that was
                // skipped.
                self.open = Timestamp::ZERO;
                Ok(())
            }
        }
    }

    /// The deletion of a range in force between the last item and the current one.
    pub(crate) fn range_deletion(&self) -> Timestamp {
        self.open
    }

    /// The place of the current item, or a bound on the places of the block ahead. `None`: done.
    #[inline]
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match &self.state {
            State::Done => None,
            State::Pending(_) => {
                let properties = self.block_ahead()?;
                Some(if self.slice.reverse {
                    properties.upper_bound(&self.slice.key)
                } else {
                    properties.lower_bound(&self.slice.key)
                })
            }
            State::Loaded(loaded) => match loaded.item {
                BlockItem::Row(row) => Some(Place::row(row.key(loaded.block.payload()))),
                BlockItem::Edge => loaded.block.place(loaded.at).ok(),
            },
        }
    }

    /// The block ahead, if the cursor stands before one that is not loaded.
    #[inline]
    pub(crate) fn block_ahead(&self) -> Option<&BlockProperties> {
        match &self.state {
            State::Pending(pending) => self.properties(pending),
            _ => None,
        }
    }

    /// The encoded row, if the cursor stands at one, and the base of its timestamps.
    pub(crate) fn row(&self) -> Option<(&Bytes, &[u8], Timestamp)> {
        let State::Loaded(loaded) = &self.state else {
            return None;
        };
        let payload = loaded.block.payload();
        let row = loaded.row()?;
        Some((payload, row.body(payload), loaded.block.base()))
    }

    /// Whether the cursor stands at a row.
    pub(crate) fn is_at_row(&self) -> bool {
        matches!(&self.state, State::Loaded(loaded) if loaded.row().is_some())
    }

    /// Moves past the current row or edge.
    pub(crate) fn advance(&mut self) -> Result<()> {
        let State::Loaded(mut loaded) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(());
        };
        let in_block = |error| self.reader.in_block(error, loaded.number);
        let is_edge = loaded.item == BlockItem::Edge;
        if self.slice.reverse {
            if is_edge {
                self.open = loaded
                    .block
                    .in_force(loaded.first, loaded.at, loaded.continues)
                    .map_err(in_block)?;
            }
            return self.settle_below(loaded);
        }
        if is_edge
            && let BlockEntry::Edge(_, deletion) =
                loaded.block.entry(loaded.at).map_err(in_block)?
        {
            self.open = deletion;
        }
        loaded.at += 1;
        self.settle(loaded)
    }

    /// Gives the current row and those after it to the page, as long as they are visible as they
    /// are, inside of the limits, and in this block. Returns how many it gave, and stands behind
    /// them.
    pub(crate) fn take_run(
        &mut self,
        limits: RunLimits<'_>,
        page: &mut PageBuilder,
    ) -> Result<usize> {
        let State::Loaded(mut loaded) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(0);
        };
        let taken = run(&mut loaded, limits, page)
            .map_err(|error| self.reader.in_block(error, loaded.number))?;
        if taken == 0 {
            self.state = State::Loaded(loaded);
        } else if self.slice.reverse {
            self.settle_below(loaded)?;
        } else {
            self.settle(loaded)?;
        }
        Ok(taken)
    }

    /// Loads the block ahead, or the index block if all of that is ahead.
    pub(crate) fn load(&mut self) -> Result<()> {
        match &self.state {
            State::Pending(pending) => match pending.ahead {
                Ahead::Block(..) => self.enter(pending.number),
                Ahead::Group(_) => self.approach_block(pending.number),
            },
            _ => Ok(()),
        }
    }

    /// Skips the block ahead unread.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match &self.state {
            State::Pending(pending) => {
                let number = pending.number;
                let last = match pending.ahead {
                    Ahead::Block(..) => number,
                    Ahead::Group(group) => self.far_end(group),
                };
                self.reader.stats.blocks_skipped += u64::from(last.abs_diff(number)) + 1;
                self.leave(last, false)
            }
            _ => Ok(()),
        }
    }

    /// The last block of an index block in reading order.
    fn far_end(&self, group: usize) -> u32 {
        let first = group * INDEX_ENTRIES;
        let number = if self.slice.reverse {
            first
        } else {
            first + INDEX_ENTRIES - 1
        };
        let last_block = self.reader.block_count().saturating_sub(1);
        u32::try_from(number).unwrap_or(u32::MAX).min(last_block)
    }

    /// An error for a row body that does not decode.
    pub(crate) fn row_error(&self, error: crate::encoding::DecodeError) -> crate::Error {
        let number = match &self.state {
            State::Loaded(loaded) => loaded.number,
            State::Pending(pending) => pending.number,
            State::Done => self.span.first,
        };
        self.reader.in_block(error, number)
    }

    /// Gives the reader back, to open another partition with it.
    pub(crate) fn into_reader(self) -> TableReader {
        self.reader
    }
}

/// Gives rows from the current one on to the page. Afterwards `at` is where settling begins: the
/// first entry not taken when going up, the last entry taken when going down.
fn run(
    loaded: &mut Loaded,
    limits: RunLimits<'_>,
    page: &mut PageBuilder,
) -> std::result::Result<usize, crate::encoding::DecodeError> {
    let block = &loaded.block;
    let payload = block.payload();
    let is_plain = limits.takes(block.summary()?);
    let len = if limits.reverse {
        loaded.at + 1 - loaded.low
    } else {
        loaded.high - loaded.at
    };
    let mut buffer = None;
    let mut taken = 0;
    while taken < len && !page.is_full() {
        let at = if limits.reverse {
            loaded.at - taken
        } else {
            loaded.at + taken
        };
        let BlockItem::Row(row) = block.item(at)? else {
            break;
        };
        let is_taken = limits.is_inside(row.key(payload))
            && (is_plain || limits.takes(codec::inspect(row.body(payload), block.base())?));
        if !is_taken {
            break;
        }
        let number = *buffer.get_or_insert_with(|| page.buffer(payload, block.base()));
        page.take(number, row);
        taken += 1;
    }
    if !limits.reverse {
        loaded.at += taken;
    } else if taken > 0 {
        loaded.at -= taken - 1;
    }
    Ok(taken)
}
