//! Walks several cursors over one partition as if they were one.

use bytes::Bytes;

use super::memory::MemCursor;
use super::page::PageBuilder;
use crate::encoding::DecodeError;
use crate::engine::ReadStats;
use crate::error::{Error, Result};
use crate::row::range::Place;
use crate::row::{Fragment, PlainRow, Timestamp, codec, merge};
use crate::sstable::{BlockProperties, FileCursor, RunLimits};

/// A source of one partition.
#[derive(Debug)]
pub(crate) enum Cursor {
    /// A memtable.
    Memory(MemCursor),
    /// An SSTable.
    File(FileCursor),
}

/// Where a [`Merger`] stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At a row.
    Row,
    /// At an edge of a range deletion.
    Edge,
    /// Where a memtable was not copied further: the page ends here.
    Cut,
    /// Past the last item.
    End,
}

impl Cursor {
    fn place(&self) -> Option<Place<'_>> {
        match self {
            Self::Memory(cursor) => cursor.place(),
            Self::File(cursor) => cursor.place(),
        }
    }

    fn range_deletion(&self) -> Timestamp {
        match self {
            Self::Memory(cursor) => cursor.range_deletion(),
            Self::File(cursor) => cursor.range_deletion(),
        }
    }

    fn is_at_row(&self) -> bool {
        match self {
            Self::Memory(cursor) => cursor.row().is_some(),
            Self::File(cursor) => cursor.is_at_row(),
        }
    }

    fn is_cut(&self) -> bool {
        matches!(self, Self::Memory(cursor) if cursor.is_cut())
    }

    fn block_ahead(&self) -> Option<&BlockProperties> {
        match self {
            Self::Memory(_) => None,
            Self::File(cursor) => cursor.block_ahead(),
        }
    }

    /// See [`FileCursor::take_run`].
    fn take_run(&mut self, limits: RunLimits<'_>, page: &mut PageBuilder) -> Result<usize> {
        match self {
            Self::Memory(cursor) => Ok(cursor.take_run(limits, page)),
            Self::File(cursor) => cursor.take_run(limits, page),
        }
    }

    /// The buffer of the current row, its body within that, and the base of its timestamps.
    fn row(&self) -> Option<(&Bytes, &[u8], Timestamp)> {
        match self {
            Self::Memory(cursor) => cursor
                .row()
                .map(|(buffer, body)| (buffer, body, Timestamp::ZERO)),
            Self::File(cursor) => cursor.row(),
        }
    }

    fn advance(&mut self) -> Result<()> {
        match self {
            Self::Memory(cursor) => {
                cursor.advance();
                Ok(())
            }
            Self::File(cursor) => cursor.advance(),
        }
    }

    fn row_error(&self, error: DecodeError) -> Error {
        match self {
            Self::Memory(_) => error.in_file(std::path::Path::new("memtable"), 0),
            Self::File(cursor) => cursor.row_error(error),
        }
    }
}

/// Several cursors as one.
#[derive(Debug)]
pub(crate) struct Merger {
    cursors: Vec<Cursor>,
    reverse: bool,
    /// Deletion of the whole partition, from all sources.
    deletion: Timestamp,
    /// Time of the read if blocks may be skipped; `None` reads them all.
    skip_at_ms: Option<u64>,
    /// Cursors that stand at the current item.
    current: Vec<usize>,
    /// The cursor that stands next in reading order, behind those.
    second: Option<usize>,
}

impl Merger {
    /// Merges `cursors`, all of the same slice.
    pub(crate) fn new(
        cursors: Vec<Cursor>,
        reverse: bool,
        deletion: Timestamp,
        skip_at_ms: Option<u64>,
    ) -> Self {
        let current = Vec::with_capacity(cursors.len());
        Self {
            cursors,
            reverse,
            deletion,
            skip_at_ms,
            current,
            second: None,
        }
    }

    /// Finds the next item: loads or skips blocks until one is known.
    pub(crate) fn settle(&mut self) -> Result<Next> {
        loop {
            let Some(lowest) = self.lowest() else {
                return Ok(Next::End);
            };
            let cursor = &self.cursors[lowest];
            if cursor.is_cut() {
                return Ok(Next::Cut);
            }
            if cursor.block_ahead().is_some() {
                self.pass_block(lowest)?;
                continue;
            }
            let is_row = cursor.is_at_row();
            self.stand_at(lowest);
            return Ok(if is_row { Next::Row } else { Next::Edge });
        }
    }

    /// Notes which cursors stand at the item of cursor `lowest`, and which one comes next.
    fn stand_at(&mut self, lowest: usize) {
        self.current.clear();
        self.current.push(lowest);
        self.second = None;
        if self.cursors.len() == 1 {
            return;
        }
        let place = self.cursors[lowest].place();
        let mut second: Option<(usize, Place<'_>)> = None;
        for (number, other) in self.cursors.iter().enumerate() {
            let Some(at) = other.place().filter(|_| number != lowest) else {
                continue;
            };
            if Some(at) == place && other.block_ahead().is_none() && !other.is_cut() {
                self.current.push(number);
            } else if second.is_none_or(|(_, best)| is_before(at, best, self.reverse)) {
                second = Some((number, at));
            }
        }
        self.second = second.map(|(number, _)| number);
    }

    /// If one cursor alone stands at the current row: gives its rows to the page as they are, up
    /// to where the next cursor stands. Returns how many rows that were; if none, the current row
    /// has to be looked at.
    pub(crate) fn take_run(&mut self, now_ms: u64, page: &mut PageBuilder) -> Result<usize> {
        let &[lowest] = self.current.as_slice() else {
            return Ok(0);
        };
        let deletion = self.deletion();
        let limits = |bound| RunLimits {
            bound,
            deletion,
            now_ms,
            reverse: self.reverse,
        };
        let Some(second) = self.second else {
            return self.cursors[lowest].take_run(limits(None), page);
        };
        let Ok([cursor, second]) = self.cursors.get_disjoint_mut([lowest, second]) else {
            return Ok(0);
        };
        cursor.take_run(limits(second.place()), page)
    }

    /// Skips or loads the block ahead of cursor `number`.
    fn pass_block(&mut self, number: usize) -> Result<()> {
        let skip = self.can_skip(number);
        match &mut self.cursors[number] {
            Cursor::File(cursor) if skip => cursor.skip(),
            Cursor::File(cursor) => cursor.load(),
            Cursor::Memory(_) => Ok(()),
        }
    }

    /// The place of the current item, or of the cut.
    pub(crate) fn place(&self) -> Option<Place<'_>> {
        self.lowest()
            .and_then(|lowest| self.cursors[lowest].place())
    }

    /// The key of the current row or cut.
    pub(crate) fn key(&self) -> &[u8] {
        match self
            .current
            .first()
            .and_then(|at| self.cursors[*at].place())
        {
            Some(Place::At(key, _)) => key,
            _ => &[],
        }
    }

    /// The newest deletion that covers the current item.
    pub(crate) fn deletion(&self) -> Timestamp {
        self.range_deletion().max(self.deletion)
    }

    /// The newest range deletion in force just before the current item.
    pub(crate) fn range_deletion(&self) -> Timestamp {
        self.cursors
            .iter()
            .map(Cursor::range_deletion)
            .max()
            .unwrap_or_default()
    }

    /// Whether a read at `now_ms` can see something of the current row. May say yes for a row
    /// of several sources that turns out dead when merged.
    pub(crate) fn may_be_live(&self, now_ms: u64) -> Result<bool> {
        let mut deletion = self.deletion();
        if self.current.len() > 1 {
            // A row deleted in one source and stored in another is dead without a merge.
            for at in &self.current {
                let cursor = &self.cursors[*at];
                if let Some((_, body, base)) = cursor.row() {
                    let own = codec::row_deletion(body, base);
                    deletion = deletion.max(own.map_err(|error| cursor.row_error(error))?);
                }
            }
        }
        for at in &self.current {
            let cursor = &self.cursors[*at];
            let Some((_, body, base)) = cursor.row() else {
                continue;
            };
            let is_live = codec::is_live(body, base, deletion, now_ms);
            if is_live.map_err(|error| cursor.row_error(error))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The current row, merged from all its sources.
    pub(crate) fn fragment(&self) -> Result<Fragment> {
        let mut merged: Option<Fragment> = None;
        for at in &self.current {
            let cursor = &self.cursors[*at];
            let Some((buffer, body, base)) = cursor.row() else {
                continue;
            };
            let fragment = codec::decode(&buffer.slice_ref(body), base)
                .map_err(|error| cursor.row_error(error))?;
            merged = Some(match merged {
                Some(other) => merge::merge(other, fragment),
                None => fragment,
            });
        }
        Ok(merged.unwrap_or_default())
    }

    /// The current row, if it is plain and one source alone has it.
    pub(crate) fn plain_row(&self) -> Result<Option<PlainRow<'_>>> {
        let &[lowest] = self.current.as_slice() else {
            return Ok(None);
        };
        let cursor = &self.cursors[lowest];
        let Some((_, body, base)) = cursor.row() else {
            return Ok(None);
        };
        PlainRow::decode(body, base).map_err(|error| cursor.row_error(error))
    }

    /// Moves past the current row or edge, in every cursor that stands at it.
    pub(crate) fn advance(&mut self) -> Result<()> {
        for at in &self.current {
            self.cursors[*at].advance()?;
        }
        Ok(())
    }

    /// Whether every cursor is done.
    pub(crate) fn is_done(&self) -> bool {
        self.cursors.iter().all(|cursor| cursor.place().is_none())
    }

    /// Adds the cost of all cursors to `stats`.
    pub(crate) fn add_stats(&self, stats: &mut ReadStats) {
        for cursor in &self.cursors {
            if let Cursor::File(cursor) = cursor {
                stats.add(&cursor.reader.stats);
            }
        }
    }

    /// Gives the cursors back.
    pub(crate) fn into_cursors(self) -> Vec<Cursor> {
        self.cursors
    }

    fn lowest(&self) -> Option<usize> {
        if let [only] = self.cursors.as_slice() {
            return only.place().map(|_| 0);
        }
        let mut lowest: Option<(usize, Place<'_>)> = None;
        for (number, cursor) in self.cursors.iter().enumerate() {
            let Some(place) = cursor.place() else {
                continue;
            };
            let wins = lowest.is_none_or(|(_, best)| is_before(place, best, self.reverse));
            // A block ahead stands before the items that it may hold.
            let ties = lowest.is_some_and(|(_, best)| place == best);
            if wins || (ties && cursor.block_ahead().is_some()) {
                lowest = Some((number, place));
            }
        }
        lowest.map(|(number, _)| number)
    }

    /// Whether the block ahead of cursor `number` cannot change what a read sees.
    fn can_skip(&self, number: usize) -> bool {
        let Some(block) = self.cursors[number].block_ahead() else {
            return false;
        };
        let Some(now_ms) = self.skip_at_ms.filter(|_| block.is_one_partition) else {
            return false;
        };
        let newest = block.max_timestamp.max(block.open);
        if newest <= self.deletion {
            return true;
        }
        let is_dead = block.dead_after_ms <= now_ms;
        let mut others_are_beyond = true;
        for (_, other) in self
            .cursors
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != number)
        {
            let is_beyond = other.place().is_none_or(|place| {
                if self.reverse {
                    place < block.first.place()
                } else {
                    place > block.last.place()
                }
            });
            if is_beyond && other.range_deletion() >= newest {
                return true;
            }
            others_are_beyond &= is_beyond;
        }
        is_dead && others_are_beyond
    }

    /// The key at which the page was cut.
    pub(crate) fn cut_key(&self) -> Option<Bytes> {
        match self.place() {
            Some(Place::At(key, _)) => Some(Bytes::copy_from_slice(key)),
            _ => None,
        }
    }
}

/// Whether one place comes before another in reading order.
fn is_before(one: Place<'_>, other: Place<'_>, reverse: bool) -> bool {
    if reverse { one > other } else { one < other }
}
