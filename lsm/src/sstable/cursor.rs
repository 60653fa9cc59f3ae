//! Walks the rows and edges of one partition in one SSTable, up or down.
//!
//! Blocks are loaded as late as possible: between two blocks of a large partition the cursor
//! stands before a block that it knows only from the index, so that whoever merges several
//! cursors can decide to skip it.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{BlockEntry, DataBlock};
use super::index::BlockProperties;
use super::reader::{PartitionHead, Span, TableReader};
use crate::error::Result;
use crate::row::range::{Edge, Place};
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
    Pending(u32, Box<BlockProperties>),
    /// At an item of a block.
    Loaded(Loaded),
}

#[derive(Debug)]
struct Loaded {
    number: u32,
    block: Arc<DataBlock>,
    /// Entries of the partition: `first..end`.
    first: usize,
    end: usize,
    continues: bool,
    /// The current entry.
    at: usize,
    is_row: bool,
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
        let Span { first, last } = self.span;
        if first == last {
            return self.enter(first);
        }
        let slice = Arc::clone(&self.slice);
        let edge = if slice.reverse {
            &slice.to
        } else {
            &slice.from
        };
        let found = self
            .reader
            .find_block(slice.token, &slice.key, edge.place())?;
        let number = found.unwrap_or(first).clamp(first, last);
        self.approach(number)
    }

    /// Stands before block `number` without loading it.
    fn approach(&mut self, number: u32) -> Result<()> {
        let properties = self.reader.properties(number)?;
        self.open = if !self.slice.reverse {
            if number > self.span.first {
                properties.open
            } else {
                Timestamp::ZERO
            }
        } else if number < self.span.last {
            self.reader.properties(number + 1)?.open
        } else {
            Timestamp::ZERO
        };
        self.state = State::Pending(number, Box::new(properties));
        Ok(())
    }

    /// Loads block `number` and stands at its first item within the slice, or moves on.
    fn enter(&mut self, number: u32) -> Result<()> {
        let block = self.reader.data(number)?;
        let slice = Arc::clone(&self.slice);
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
        let edge = if slice.reverse {
            &slice.to
        } else {
            &slice.from
        };
        let at = block.seek(first, end, edge.place()).map_err(in_block)?;
        self.open = block.in_force(first, at, continues).map_err(in_block)?;
        let loaded = Loaded {
            number,
            block,
            first,
            end,
            continues,
            at,
            is_row: false,
        };
        if slice.reverse {
            self.settle_below(loaded)
        } else {
            self.settle(loaded)
        }
    }

    /// Going up: stands at entry `at`, or before the next block.
    fn settle(&mut self, mut loaded: Loaded) -> Result<()> {
        if loaded.at >= loaded.end {
            return self.leave(loaded.number);
        }
        let entry = loaded.block.entry(loaded.at);
        let entry = entry.map_err(|error| self.reader.in_block(error, loaded.number))?;
        loaded.is_row = matches!(entry, BlockEntry::Row(..));
        let is_inside = entry
            .place()
            .is_some_and(|place| place < self.slice.to.place());
        self.state = if is_inside {
            State::Loaded(loaded)
        } else {
            State::Done
        };
        Ok(())
    }

    /// Going down: stands at the entry below `at`, or before the block below.
    fn settle_below(&mut self, mut loaded: Loaded) -> Result<()> {
        if loaded.at <= loaded.first {
            return self.leave(loaded.number);
        }
        loaded.at -= 1;
        let entry = loaded.block.entry(loaded.at);
        let entry = entry.map_err(|error| self.reader.in_block(error, loaded.number))?;
        loaded.is_row = matches!(entry, BlockEntry::Row(..));
        let is_inside = entry
            .place()
            .is_some_and(|place| place >= self.slice.from.place());
        self.state = if is_inside {
            State::Loaded(loaded)
        } else {
            State::Done
        };
        Ok(())
    }

    /// Stands before the block after `number` in reading order.
    fn leave(&mut self, number: u32) -> Result<()> {
        self.state = State::Done;
        let next = if self.slice.reverse {
            number
                .checked_sub(1)
                .filter(|next| *next >= self.span.first)
        } else {
            number.checked_add(1).filter(|next| *next <= self.span.last)
        };
        // Every range deletion is closed within its partition, also in a block that was skipped.
        self.open = Timestamp::ZERO;
        next.map_or(Ok(()), |next| self.approach(next))
    }

    /// The deletion of a range in force between the last item and the current one.
    pub(crate) fn range_deletion(&self) -> Timestamp {
        self.open
    }

    /// The place of the current item, or a bound on the places of the block ahead. `None`: done.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        match &self.state {
            State::Done => None,
            State::Pending(_, properties) => {
                // Only a block that holds nothing else has bounds for this partition: `first` is
                // about the first partition of a block, `last` about the last one.
                let is_first_here = properties.key == self.slice.key;
                let is_only_here = is_first_here && properties.is_one_partition;
                match self.slice.reverse {
                    false if is_first_here => Some(properties.first.place()),
                    false => Some(Place::START),
                    true if is_only_here => Some(properties.last.place()),
                    true => Some(Place::End),
                }
            }
            State::Loaded(loaded) => loaded.block.entry(loaded.at).ok()?.place(),
        }
    }

    /// The block ahead, if the cursor stands before one that is not loaded.
    pub(crate) fn block_ahead(&self) -> Option<&BlockProperties> {
        match &self.state {
            State::Pending(_, properties) => Some(properties),
            _ => None,
        }
    }

    /// The encoded row, if the cursor stands at one, and the base of its timestamps.
    pub(crate) fn row(&self) -> Option<(&Bytes, &[u8], Timestamp)> {
        let State::Loaded(loaded) = &self.state else {
            return None;
        };
        match loaded.block.entry(loaded.at) {
            Ok(BlockEntry::Row(_, body)) => {
                Some((loaded.block.payload(), body, loaded.block.base()))
            }
            _ => None,
        }
    }

    /// Whether the cursor stands at a row.
    pub(crate) fn is_at_row(&self) -> bool {
        matches!(&self.state, State::Loaded(loaded) if loaded.is_row)
    }

    /// Moves past the current row or edge.
    pub(crate) fn advance(&mut self) -> Result<()> {
        let State::Loaded(mut loaded) = std::mem::replace(&mut self.state, State::Done) else {
            return Ok(());
        };
        let in_block = |error| self.reader.in_block(error, loaded.number);
        if self.slice.reverse {
            if !loaded.is_row {
                self.open = loaded
                    .block
                    .in_force(loaded.first, loaded.at, loaded.continues)
                    .map_err(in_block)?;
            }
            return self.settle_below(loaded);
        }
        if !loaded.is_row
            && let BlockEntry::Edge(_, deletion) =
                loaded.block.entry(loaded.at).map_err(in_block)?
        {
            self.open = deletion;
        }
        loaded.at += 1;
        self.settle(loaded)
    }

    /// Loads the block ahead.
    pub(crate) fn load(&mut self) -> Result<()> {
        match &self.state {
            State::Pending(number, _) => self.enter(*number),
            _ => Ok(()),
        }
    }

    /// Skips the block ahead unread.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match &self.state {
            State::Pending(number, _) => {
                self.reader.stats.blocks_skipped += 1;
                self.leave(*number)
            }
            _ => Ok(()),
        }
    }

    /// An error for a row body that does not decode.
    pub(crate) fn row_error(&self, error: crate::encoding::DecodeError) -> crate::Error {
        let number = match &self.state {
            State::Loaded(loaded) => loaded.number,
            State::Pending(number, _) => *number,
            State::Done => self.span.first,
        };
        self.reader.in_block(error, number)
    }

    /// Gives the reader back, to open another partition with it.
    pub(crate) fn into_reader(self) -> TableReader {
        self.reader
    }
}
