//! Walks over deleted rows before a reader has to.
//!
//! A run of dead rows is skipped once some read has walked over it (see [`super::dead_runs`]), but the
//! first one would walk over all of it, however long. So applying notes where rows are deleted one by
//! one, and once they are many, whoever deletes walks there, as a read does that nobody waits for: some
//! rows for each row deleted, [`crate::EngineOptions::sweep_rows`]. What that leaves is for
//! [`Engine::sweep_step`], which the owner calls when it has nothing else to do.
//!
//! Deletions pay because nothing else keeps the first page flat: ten million of them come within
//! seconds, faster than a thread beside them walks.
//!
//! # Invariants
//!
//! * A sweep notes nothing that a read of the same slice at time 0 would not note, in the same way and
//!   under the same conditions: it cannot hide what a read would show.
//! * Time 0 is before every expiry, so that the runs serve reads of any time.
//! * What is applied does not depend on a sweep: one that fails is left to `sweep_step`, which says so.
//!
//! # Cost
//!
//! Applying: one look into a map for each mutation that deletes rows, and the walk, about 150 ns a row.
//! A sweep looks at each dead row
//! once; where more than one row in sixteen lives it goes on from the other end, and there it gives up: readers
//! have little to walk over between rows that live.
//! At most 1024 partitions are noted, those with few deletions are forgotten first. Blocks that a
//! deletion walks over enter the block cache, which lets what is used once go first; those that
//! `sweep_step` reads do not.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::Engine;
use super::dead_runs::Run;
use super::read::Walked;
use crate::cache::BlockCache;
use crate::error::Result;
use crate::iter::{PageMemory, RowLimits};
use crate::metrics::add;
use crate::row::range::{Place, Side};
use crate::row::{Mutation, Operation, PartitionKey, TableId};
use crate::sstable::Slice;

/// Dead rows that one step looks at.
const STEP_ROWS: usize = 4096;
/// Living rows that one step looks at.
const LIVE_ROWS: usize = 64;
/// A sweep goes on while there are so many dead rows for each that lives.
const DENSITY: u64 = 16;
/// Partitions that wait.
const PARTITIONS_MAX: usize = 1024;
/// Longer keys are not worth the memory.
const KEY_BYTES_MAX: usize = 256;
/// Shorter runs are noted than a read would note, because further deletions join them.
const RUN_ROWS: usize = 32;
/// Beginning a step costs as much as walking over so many rows.
const STEP_COST_ROWS: u64 = 64;
/// Rows that deletions have paid for and that nobody had to walk over are kept up to so many.
const CREDIT_ROWS_MAX: u64 = 16 * 1024;
/// A sweep during which a row was stored beside it is tried again so often.
const ATTEMPTS_MAX: u32 = 4;

/// A partition of a table.
type Id = (TableId, u64, Bytes);

/// Where rows were deleted that nobody has walked over yet.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    partitions: BTreeMap<Id, Deleted>,
    /// Those with enough deletions, in the order in which they got there.
    due: VecDeque<Id>,
    /// Rows to walk over that deletions have paid for.
    credit: u64,
}

/// Deletions of single rows in one partition.
#[derive(Clone, Debug)]
struct Deleted {
    partition: PartitionKey,
    first: Bytes,
    last: Bytes,
    rows: usize,
    attempts: u32,
    is_due: bool,
    /// Whether the sweep comes from the last row: if deletions go on before the first one, so that it
    /// leaves one run behind and not many.
    reverse: bool,
    /// Whether it comes from the other end now, because too many rows live behind the first ones.
    has_turned: bool,
}

impl Sweeps {
    /// A mutation was applied; `enough` deletions make a sweep due, and each pays for walking over
    /// `pays` rows. Returns whether there is something to walk over that is paid for.
    pub(super) fn deleted(&self, mutation: &Mutation, enough: usize, pays: u64) -> bool {
        let keys = mutation.operations.iter().filter_map(|it| match it {
            Operation::DeleteRow { clustering } => Some(clustering),
            _ => None,
        });
        let is_small = |key: &&Bytes| key.len() <= KEY_BYTES_MAX;
        let mut keys = keys.filter(is_small).peekable();
        let id = &mutation.partition;
        if keys.peek().is_none() || id.key.len() > KEY_BYTES_MAX {
            return false;
        }
        let mut waiting = self.waiting.lock();
        waiting.credit = waiting.credit.min(CREDIT_ROWS_MAX);
        for key in keys {
            let found = (mutation.table, id.token, &id.key);
            waiting.add(found, id, (key, key, 1, 0), enough);
            waiting.credit = waiting.credit.saturating_add(pays);
        }
        pays > 0 && !waiting.due.is_empty()
    }

    /// Takes what a step costs, and at most `rows`, out of what is paid for. `None`: it does not suffice.
    fn spend(&self, rows: u64) -> Option<u64> {
        let mut waiting = self.waiting.lock();
        let rows = rows.min(waiting.credit.checked_sub(STEP_COST_ROWS)?);
        waiting.credit -= rows + STEP_COST_ROWS;
        (rows > 0).then_some(rows)
    }

    /// Gives back what a step did not need.
    fn refund(&self, rows: u64) {
        let mut waiting = self.waiting.lock();
        waiting.credit = waiting.credit.saturating_add(rows);
    }

    fn take(&self) -> Option<(TableId, Deleted)> {
        let mut waiting = self.waiting.lock();
        loop {
            let id = waiting.due.pop_front()?;
            if let Some(deleted) = waiting.partitions.remove(&id) {
                return Some((id.0, deleted));
            }
        }
    }

    /// What is left of a sweep waits again, behind the others.
    fn put_back(&self, table: TableId, rest: &Deleted) {
        let id = &rest.partition;
        let keys = (&rest.first, &rest.last, 1, rest.attempts);
        let mut waiting = self.waiting.lock();
        if let Some(deleted) = waiting.add((table, id.token, &id.key), id, keys, 1) {
            deleted.reverse = rest.reverse;
            deleted.has_turned = rest.has_turned;
        }
    }

    /// Forgets everything: the data is replaced.
    pub(super) fn forget(&self) {
        *self.waiting.lock() = Waiting::default();
    }
}

impl Waiting {
    fn add(
        &mut self,
        (table, token, key): (TableId, u64, &Bytes),
        partition: &PartitionKey,
        (first, last, rows, attempts): (&Bytes, &Bytes, usize, u32),
        enough: usize,
    ) -> Option<&mut Deleted> {
        let mut id = (table, token, key.clone());
        if !self.partitions.contains_key(&id) {
            if self.partitions.len() >= PARTITIONS_MAX {
                self.partitions.retain(|_, deleted| deleted.is_due);
            }
            if self.partitions.len() >= PARTITIONS_MAX {
                return None;
            }
            // The buffers of the caller are not kept alive.
            id.2 = Bytes::copy_from_slice(key);
        }
        let deleted = self.partitions.entry(id).or_insert_with_key(|id| Deleted {
            partition: PartitionKey {
                key: id.2.clone(),
                ..partition.clone()
            },
            first: Bytes::copy_from_slice(first),
            last: Bytes::copy_from_slice(last),
            rows: 0,
            attempts: 0,
            is_due: false,
            reverse: false,
            has_turned: false,
        });
        if *first < deleted.first {
            deleted.first = Bytes::copy_from_slice(first);
            deleted.reverse |= !deleted.has_turned;
        }
        if *last > deleted.last {
            deleted.last = Bytes::copy_from_slice(last);
            deleted.reverse &= deleted.has_turned;
        }
        deleted.rows = deleted.rows.saturating_add(rows);
        deleted.attempts = deleted.attempts.max(attempts);
        if deleted.rows >= enough && !deleted.is_due {
            deleted.is_due = true;
            let key = deleted.partition.key.clone();
            self.due.push_back((table, token, key));
        }
        Some(deleted)
    }
}

/// How a step walks.
#[derive(Clone, Copy, Debug)]
struct Pass<'a> {
    /// Most dead rows.
    dead_rows: usize,
    cache: Option<&'a Arc<BlockCache>>,
}

impl Engine {
    /// Walks over some of the rows that were deleted one by one, so that no page has to. Returns whether
    /// there is more to walk over.
    ///
    /// Optional: deletions do most of it themselves, see [`crate::EngineOptions::sweep_rows`], and without
    /// it the first page behind the others walks over them. It changes nothing that is stored, and needs no
    /// place in the order of anything. Call it after flushing and when idle.
    pub fn sweep_step(&self) -> Result<bool> {
        let Some((table, deleted)) = self.sweeps.take() else {
            return Ok(false);
        };
        let pass = Pass {
            dead_rows: STEP_ROWS,
            cache: None,
        };
        self.sweep_over(table, deleted, pass)?;
        Ok(true)
    }

    /// Walks over as many rows as deletions have paid for. What fails is tried again by [`Self::sweep_step`].
    pub(super) fn sweep_paid(&self) {
        while let Some(rows) = self.sweeps.spend(STEP_ROWS as u64) {
            let Some((table, deleted)) = self.sweeps.take() else {
                self.sweeps.refund(rows);
                return;
            };
            let pass = Pass {
                dead_rows: usize::try_from(rows).unwrap_or(STEP_ROWS),
                cache: Some(&self.options.cache),
            };
            let again = deleted.clone();
            let Ok(walked) = self.sweep_over(table, deleted, pass) else {
                self.sweeps.put_back(table, &again);
                return;
            };
            add(&self.counters.swept_rows, walked);
            self.sweeps.refund(rows.saturating_sub(walked));
        }
    }

    /// Does one step of a sweep and puts back what is left of it. Returns the rows walked over.
    fn sweep_over(&self, table: TableId, mut deleted: Deleted, pass: Pass<'_>) -> Result<u64> {
        let slice = Slice {
            table,
            token: deleted.partition.token,
            key: deleted.partition.key.clone(),
            from: Place::At(&deleted.first, Side::Before).to_edge(),
            to: Place::At(&deleted.last, Side::After).to_edge(),
            reverse: deleted.reverse,
        };
        let mut walked = self.sweep(slice.clone(), &deleted, LIVE_ROWS, pass)?;
        let rows = walked.stats.rows_scanned;
        let is_noted = self.remember(&slice, &mut walked, 0);
        if !is_noted && deleted.attempts < ATTEMPTS_MAX {
            deleted.attempts += 1;
            self.sweeps.put_back(table, &deleted);
            return Ok(rows);
        }
        let mut reached = slice;
        if let Some(after) = &walked.resume_after {
            if deleted.reverse {
                reached.from = Place::At(after, Side::Before).to_edge();
                deleted.last = after.clone();
            } else {
                reached.to = Place::At(after, Side::After).to_edge();
                deleted.first = after.clone();
            }
        }
        self.close_gaps(&reached, &deleted, pass)?;
        let is_dense = walked.stats.tombstones >= DENSITY * walked.reading.len() as u64;
        if walked.resume_after.is_some() && (is_dense || !deleted.has_turned) {
            if !is_dense {
                deleted.has_turned = true;
                deleted.reverse = !deleted.reverse;
            }
            deleted.attempts = 0;
            self.sweeps.put_back(table, &deleted);
        }
        Ok(rows)
    }

    fn sweep(
        &self,
        slice: Slice,
        deleted: &Deleted,
        rows: usize,
        pass: Pass<'_>,
    ) -> Result<Walked> {
        let limits = RowLimits {
            rows,
            bytes: usize::MAX,
            tombstones: pass.dead_rows,
            run_rows: self.options.dead_run_rows.min(RUN_ROWS),
            now_ms: 0,
        };
        let window = deleted.partition.window;
        self.walk(slice, window, limits, (PageMemory::new(None), pass.cache))
    }

    /// Joins the run that ends or begins with `slice` with its neighbors or the ends of the partition, if
    /// nothing lives between.
    fn close_gaps(&self, slice: &Slice, deleted: &Deleted, pass: Pass<'_>) -> Result<()> {
        for (from, to) in self.dead_runs.gaps_beside(slice) {
            let gap = Slice {
                from,
                to,
                reverse: false,
                ..slice.clone()
            };
            let walked = self.sweep(gap.clone(), deleted, 1, pass)?;
            if walked.resume_after.is_none() && walked.reading.len() == 0 {
                let run = Run {
                    from: gap.from.clone(),
                    to: gap.to.clone(),
                    rows: 0,
                    index: walked.index,
                    now_ms: 0,
                };
                self.dead_runs.note(&gap, vec![run], walked.mark);
            }
        }
        Ok(())
    }
}
