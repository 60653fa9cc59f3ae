//! Running a read: one engine page at a time, over as many tablets as it takes.
//!
//! The owner asks [`ReadCursor::token`] which tablet is next, makes sure that it may read there,
//! and calls [`ReadCursor::step`]; between steps it may wait, yield or give up. Rows come in the
//! order of the statement: partitions as written or by token, rows by clustering key.
//!
//! # Cost
//!
//! A step reads at most one page of one partition, or one page of a scan; never more than what is
//! left of the result page, of `LIMIT` and of the byte budget.

use super::page::Place;
use super::rows::PartitionRows;
use crate::error::{Error, Result};
use crate::plan::{ReadPlan, Shape, Slice, Source};
use crate::result::{QueryStats, ResultSet};
use crate::value::Value;
use lsm::{Engine, PartitionKey, ReadStats, Rows, ScanRead, SlicePage, SliceRead, StaticRow};
use std::ops::Bound;
use std::sync::Arc;

/// Bytes of keys and values after which a page is cut.
const PAGE_BYTES: usize = 1024 * 1024;
/// Dead rows after which a page is cut. The client goes on with the page state.
const TOMBSTONE_BUDGET: usize = 10_000;
/// Dead rows that a read which must not take long steps over.
const TOMBSTONES_IN_MEMORY: usize = 256;
/// Rows of a step that only counts.
const COUNT_STEP_ROWS: u64 = 10_000;

/// The progress of one read.
#[derive(Debug)]
pub struct ReadCursor<'a> {
    plan: &'a ReadPlan,
    place: Place,
    rows: Vec<Vec<Value>>,
    counted: u64,
    stats: QueryStats,
    bytes: usize,
    tombstones: u64,
    is_done: bool,
    is_cut: bool,
    effort: Effort,
}

/// What a read may cost whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// As much as it takes.
    Any,
    /// Neither a disk's time nor long.
    InMemory,
    /// That was not enough.
    Missing,
}

impl<'a> ReadCursor<'a> {
    /// Starts a read, or goes on where its page state says.
    pub fn new(plan: &'a ReadPlan) -> Result<Self> {
        let place = if let Some(state) = &plan.page_state {
            Place::decode(state, plan.fingerprint())?
        } else {
            let token = match &plan.source {
                Source::Scan(tokens) => *tokens.start(),
                Source::Partitions(_) => 0,
            };
            Place {
                token,
                ..Place::default()
            }
        };
        let mut cursor = Self {
            plan,
            place,
            rows: Vec::new(),
            counted: 0,
            stats: QueryStats::default(),
            bytes: 0,
            tombstones: 0,
            is_done: false,
            is_cut: false,
            effort: Effort::Any,
        };
        cursor.settle();
        Ok(cursor)
    }

    /// Makes the read one of single partitions that neither waits for a disk nor takes long. After a step,
    /// [`Self::is_missing`] tells whether that was not possible: then the read is to be done anew.
    pub(crate) fn in_memory(mut self) -> Self {
        self.effort = Effort::InMemory;
        self
    }

    /// Whether a block was not in memory, or too much was dead.
    pub(crate) fn is_missing(&self) -> bool {
        self.effort == Effort::Missing
    }

    /// A token of the tablet to read next; `None` when the page is complete.
    pub fn token(&self) -> Option<u64> {
        if self.is_done || self.is_cut {
            return None;
        }
        match &self.plan.source {
            Source::Partitions(_) => self.partition().map(|partition| partition.token),
            Source::Scan(_) => Some(self.scan_token()),
        }
    }

    /// Where a scan goes on. Never before the last place, so that tablets may split in between.
    fn scan_token(&self) -> u64 {
        let last = self
            .place
            .scan
            .as_ref()
            .map_or(0, |position| position.token);
        self.place.token.max(last)
    }

    /// Reads one engine page of the tablet that holds [`Self::token`] and ends at `last_token`.
    /// `now_ms` decides what has expired.
    pub fn step(&mut self, engine: &Engine, last_token: u64, now_ms: u64) -> Result<()> {
        if self.token().is_none() {
            return Ok(());
        }
        match &self.plan.source {
            Source::Partitions(_) => self.step_slice(engine, now_ms)?,
            Source::Scan(tokens) => {
                let end = last_token.min(*tokens.end());
                self.step_scan(engine, end, now_ms)?;
            }
        }
        self.settle();
        Ok(())
    }

    /// The result page. Call it when [`Self::token`] is `None`; earlier, the page is shorter.
    pub fn finish(self) -> ResultSet {
        let is_count = self.plan.shape == Shape::Count;
        let mut result = self.finish_part();
        if is_count {
            result.page_state = None;
        }
        result
    }

    /// What was read so far, with the place where another reader goes on; of a count too.
    pub(crate) fn finish_part(mut self) -> ResultSet {
        if self.plan.shape == Shape::Count {
            let count = i64::try_from(self.counted).unwrap_or(i64::MAX);
            self.rows = vec![vec![Value::BigInt(count)]];
        }
        let page_state = (!self.is_done).then(|| self.place.encode(self.plan.fingerprint()));
        let mut result = ResultSet::new(Arc::clone(&self.plan.columns), self.rows);
        result.page_state = page_state;
        result.stats = self.stats;
        result
    }

    fn partition(&self) -> Option<&'a PartitionKey> {
        let Source::Partitions(partitions) = &self.plan.source else {
            return None;
        };
        partitions.get(usize::try_from(self.place.partition).ok()?)
    }

    fn slice(&self) -> Option<&'a Slice> {
        self.plan
            .slices
            .get(usize::try_from(self.place.slice).ok()?)
    }

    /// Notes whether the read or its page has ended.
    fn settle(&mut self) {
        let at_end = match &self.plan.source {
            Source::Partitions(_) => self.partition().is_none(),
            Source::Scan(tokens) => tokens.is_empty() || self.place.token > *tokens.end(),
        };
        self.is_done |= at_end || self.plan.slices.is_empty();
        self.is_done |= self.place.returned >= self.plan.limit;
        if self.plan.shape == Shape::Count {
            return;
        }
        let rows = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        let budget = u64::try_from(TOMBSTONE_BUDGET).unwrap_or(u64::MAX);
        self.is_cut |=
            rows >= self.plan.page_rows || self.bytes >= PAGE_BYTES || self.tombstones >= budget;
    }

    /// Rows that may still be added to the page and to the partition.
    fn room(&self) -> usize {
        let rows = u64::try_from(self.rows.len()).unwrap_or(u64::MAX);
        let page = match self.plan.shape {
            Shape::Count => COUNT_STEP_ROWS,
            Shape::Rows | Shape::Partitions => self.plan.page_rows.saturating_sub(rows),
        };
        let limit = self.plan.limit.saturating_sub(self.place.returned);
        usize::try_from(page.min(limit)).unwrap_or(usize::MAX)
    }

    fn partition_room(&self) -> u64 {
        self.plan
            .per_partition_limit
            .saturating_sub(self.place.returned_of_partition)
    }

    fn spend(&mut self, stats: &ReadStats) {
        self.stats.blocks_read += stats.blocks_read;
        self.stats.bytes_read += stats.bytes_read;
        self.stats.rows_scanned += stats.rows_scanned;
        self.stats.tombstones += stats.tombstones;
        self.tombstones += stats.tombstones;
    }

    fn step_slice(&mut self, engine: &Engine, now_ms: u64) -> Result<()> {
        let (Some(partition), Some(slice)) = (self.partition(), self.slice()) else {
            return Err(Error::bug("a read beyond its last slice"));
        };
        let room = usize::try_from(self.partition_room())
            .unwrap_or(usize::MAX)
            .min(self.room());
        let mut read = SliceRead {
            table: self.plan.table.id,
            partition: partition.clone(),
            start: slice.start.clone(),
            end: slice.end.clone(),
            reverse: self.plan.reverse,
            limit_rows: room,
            limit_bytes: PAGE_BYTES.saturating_sub(self.bytes).max(1),
            tombstone_budget: match self.effort {
                Effort::Any => TOMBSTONE_BUDGET,
                Effort::InMemory | Effort::Missing => TOMBSTONES_IN_MEMORY,
            },
            now_ms,
        };
        if let Some(after) = &self.place.after {
            read = read.resumed_after(after.clone());
        }
        let is_empty_slice = is_empty(&read.start, &read.end);
        let page = if is_empty_slice {
            SlicePage::default()
        } else if self.effort == Effort::InMemory {
            let most = u64::try_from(TOMBSTONES_IN_MEMORY).unwrap_or(u64::MAX);
            let page = engine.read_in_memory(&read)?;
            let Some(page) = page.filter(|page| page.stats.tombstones < most) else {
                self.effort = Effort::Missing;
                return Ok(());
            };
            page
        } else {
            engine.read(&read)?
        };
        self.spend(&page.stats);
        let at_end = page.resume_after.is_none();
        self.add(
            partition,
            (&page.static_row, &page.rows, usize::MAX),
            now_ms,
        )?;
        if at_end && self.place.returned_of_partition == 0 {
            self.add_static_only(partition, &page.static_row, now_ms)?;
        }
        if self.partition_room() == 0 {
            self.next_partition();
        } else if let Some(after) = page.resume_after {
            self.place.after = Some(after);
        } else {
            self.place.after = None;
            self.place.slice += 1;
            if self.slice().is_none() {
                self.next_partition();
            }
        }
        Ok(())
    }

    fn next_partition(&mut self) {
        self.place.partition += 1;
        self.place.slice = 0;
        self.place.after = None;
        self.place.returned_of_partition = 0;
    }

    fn step_scan(&mut self, engine: &Engine, end: u64, now_ms: u64) -> Result<()> {
        let limits_partitions = self.plan.per_partition_limit < u64::MAX;
        let read = ScanRead {
            table: self.plan.table.id,
            tokens: self.scan_token()..=end,
            after: self.place.scan.take(),
            // With a limit per partition, pages stay small, because rows beyond it are thrown away.
            limit_rows: if limits_partitions {
                usize::try_from(self.partition_room())
                    .unwrap_or(usize::MAX)
                    .min(self.room())
            } else {
                self.room()
            },
            limit_bytes: PAGE_BYTES.saturating_sub(self.bytes).max(1),
            tombstone_budget: TOMBSTONE_BUDGET,
            now_ms,
        };
        let before = read.after.clone();
        let page = engine.scan(&read)?;
        self.spend(&page.stats);
        let mut last = before.map(|position| (position.token, position.key));
        for scanned in &page.partitions {
            let partition = &scanned.partition;
            let here = (partition.token, partition.key.clone());
            if last.as_ref() != Some(&here) {
                self.place.returned_of_partition = 0;
                last = Some(here);
            }
            let goes_on = page.resume.as_ref().is_some_and(|at| {
                at.clustering.is_some() && at.token == partition.token && at.key == partition.key
            });
            if scanned.rows.is_empty() {
                if self.place.returned_of_partition == 0 && !goes_on {
                    self.add_static_only(partition, &scanned.static_row, now_ms)?;
                }
                continue;
            }
            let room = usize::try_from(self.partition_room()).unwrap_or(usize::MAX);
            self.add(
                partition,
                (&scanned.static_row, &scanned.rows, room),
                now_ms,
            )?;
        }
        self.place.scan = page.resume;
        let is_full = self.partition_room() == 0;
        let continues = match &mut self.place.scan {
            // Only dead rows of a later partition may lie between the last row and the place.
            Some(position) if last.as_ref() == Some(&(position.token, position.key.clone())) => {
                if is_full {
                    // Skip what is left of the partition.
                    position.clustering = None;
                }
                position.clustering.is_some()
            }
            _ => false,
        };
        if !continues {
            self.place.returned_of_partition = 0;
        }
        if self.place.scan.is_none() {
            match end.checked_add(1) {
                Some(next) => self.place.token = next,
                None => self.is_done = true,
            }
        }
        Ok(())
    }

    /// Adds the first `room` rows of a partition to the result.
    fn add(
        &mut self,
        partition: &PartitionKey,
        (statics, rows, room): (&StaticRow, &Rows, usize),
        now_ms: u64,
    ) -> Result<()> {
        let room = room.min(rows.len());
        let count = u64::try_from(room).unwrap_or(u64::MAX);
        self.place.returned_of_partition += count;
        if self.plan.shape == Shape::Count {
            self.counted += count;
            return Ok(());
        }
        self.place.returned += count;
        let mut source = PartitionRows::new(self.plan, partition, statics, now_ms)?;
        for row in rows.iter().take(room) {
            self.rows.push(source.row(Some(row))?);
            self.bytes += row.clustering.len() + source.row_bytes();
        }
        Ok(())
    }

    /// Adds the row of a partition that has static columns and no rows.
    fn add_static_only(
        &mut self,
        partition: &PartitionKey,
        statics: &StaticRow,
        now_ms: u64,
    ) -> Result<()> {
        if statics.is_empty() || !self.plan.shows_static_only {
            return Ok(());
        }
        self.place.returned += 1;
        self.place.returned_of_partition += 1;
        self.bytes += statics.cells().map(|cell| cell.size()).sum::<usize>();
        let mut source = PartitionRows::new(self.plan, partition, statics, now_ms)?;
        self.rows.push(source.row(None)?);
        Ok(())
    }
}

/// Whether no key lies between the bounds.
fn is_empty(start: &Bound<bytes::Bytes>, end: &Bound<bytes::Bytes>) -> bool {
    match (start, end) {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
        _ => false,
    }
}
