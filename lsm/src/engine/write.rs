//! Applying log entries and freezing memtables.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::state::{Frozen, State};
use crate::error::{Error, Result};
use crate::limits::{
    CELLS_ADMITTED_MAX, ENGINE_KEY_BYTES_MAX, OWNER_BYTES_MAX, PATH_BYTES_MAX,
    ROW_ADMITTED_BYTES_MAX,
};
use crate::memtable::Memtable;
use crate::metrics::add;
use crate::row::{CellWrite, Change, Operation, Timestamp, Window};

impl Engine {
    /// Applies the changes of one log index, in memory. The first operation is stamped with
    /// `timestamp`, each further one with the next microsecond.
    ///
    /// Reads no file, except after many deletions of single rows in one partition, see
    /// [`crate::EngineOptions::sweep_rows`].
    ///
    /// An index that the files already hold is ignored, so that replaying the log is safe. Fails
    /// with [`crate::ErrorKind::Invalid`], and changes nothing, if the index goes back, the timestamp
    /// does not grow or something exceeds a limit of [`crate::limits`].
    ///
    /// One index may be applied in several calls, so that the owner can read in between what its
    /// conditions ask for. Freezing between them would lose the rest in a crash, so the calls
    /// after it are refused: freeze after the last one.
    pub fn apply(&self, index: u64, timestamp: Timestamp, changes: &[Change]) -> Result<()> {
        let mut writer = self.writer.lock();
        if index <= writer.index {
            if index <= self.state().version.flushed.index {
                return Ok(());
            }
            let last_here = writer.active.read().indexes().map(|(_, last)| last);
            if index < writer.index || last_here != Some(index) {
                let last = writer.index;
                return Err(Error::invalid(format!(
                    "log index {index} after {last}: apply in order"
                )));
            }
        }
        let count: u64 = changes.iter().map(Change::operation_count).sum();
        if count > 0 && timestamp <= writer.timestamp {
            return Err(Error::invalid(format!(
                "timestamp {} after {}: timestamps must grow with the log",
                timestamp.0, writer.timestamp.0
            )));
        }
        changes.iter().try_for_each(check)?;
        let mut active = writer.active.write();
        let (enough, pays) = (self.options.dead_run_rows, self.options.sweep_rows.into());
        let mut is_sweep_due = false;
        for change in changes {
            if let Change::Mutation(mutation) = change {
                self.dead_runs.stored(mutation);
                is_sweep_due |= self.sweeps.deleted(mutation, enough, pays);
            }
        }
        active.apply(index, timestamp, changes);
        drop(active);
        writer.index = index;
        add(&self.counters.operations, count);
        if let Some(more) = count.checked_sub(1) {
            writer.timestamp = Timestamp(timestamp.0.saturating_add(more));
        }
        drop(writer);
        if is_sweep_due {
            self.sweep_paid();
        }
        Ok(())
    }

    /// Closes the active memtable, so that [`Self::flush_step`] can write it; `owner` is kept with
    /// it and comes back in [`Engine::flushed`]. `Ok(false)`: nothing was applied since.
    ///
    /// Fails with [`crate::ErrorKind::Overloaded`] if too many memtables wait already.
    pub fn freeze(&self, owner: Bytes) -> Result<bool> {
        if owner.len() > OWNER_BYTES_MAX {
            return Err(Error::invalid(format!(
                "{} owner bytes: at most {OWNER_BYTES_MAX}",
                owner.len()
            )));
        }
        let mut writer = self.writer.lock();
        let mut slot = self.state.write();
        let Some((_, index)) = slot.active.read().indexes() else {
            return Ok(false);
        };
        if slot.frozen.len() >= self.options.frozen_max {
            return Err(Error::overloaded(format!(
                "{} memtables wait for flushing: run flush_step",
                slot.frozen.len()
            )));
        }
        let frozen = Frozen {
            memtable: Arc::clone(&slot.active),
            index,
            timestamp: writer.timestamp,
            owner,
        };
        let mut state = State::clone(&slot);
        state.frozen.push(Arc::new(frozen));
        state.active = Memtable::shared(&self.options.memory);
        writer.active = Arc::clone(&state.active);
        *slot = Arc::new(state);
        Ok(true)
    }
}

fn check(change: &Change) -> Result<()> {
    match change {
        Change::DeletePlacement { placement, .. } => check_key(placement.len()),
        Change::Mutation(mutation) => {
            check_key(mutation.partition.key.len())?;
            if mutation.partition.window == Window::MIXED {
                return Err(Error::invalid("window -2^63 + 1: no partition is of it"));
            }
            mutation.operations.iter().try_for_each(check_operation)
        }
    }
}

fn check_operation(operation: &Operation) -> Result<()> {
    match operation {
        Operation::Upsert {
            clustering, cells, ..
        } => {
            check_key(clustering.len())?;
            check_cells(cells)
        }
        Operation::UpsertStatic { cells } => check_cells(cells),
        Operation::DeleteRow { clustering } => check_key(clustering.len()),
        Operation::DeleteComplex { clustering, .. } => {
            check_key(clustering.as_ref().map_or(0, Bytes::len))
        }
        Operation::DeleteRange { start, end } => {
            let len = |bound: &std::ops::Bound<Bytes>| match bound {
                std::ops::Bound::Included(key) | std::ops::Bound::Excluded(key) => key.len(),
                std::ops::Bound::Unbounded => 0,
            };
            check_key(len(start).max(len(end)))
        }
        Operation::DeletePartition => Ok(()),
    }
}

fn check_key(len: usize) -> Result<()> {
    if len <= ENGINE_KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a key of {len} bytes: at most {ENGINE_KEY_BYTES_MAX}"
    )))
}

fn check_cells(cells: &[CellWrite]) -> Result<()> {
    let bytes: usize = cells
        .iter()
        .map(|cell| cell.path.len() + cell.value.bytes().map_or(0, Bytes::len))
        .sum();
    let is_small = bytes <= ROW_ADMITTED_BYTES_MAX && cells.len() <= CELLS_ADMITTED_MAX;
    if is_small && cells.iter().all(|cell| cell.path.len() <= PATH_BYTES_MAX) {
        return Ok(());
    }
    let most = ROW_ADMITTED_BYTES_MAX;
    Err(Error::invalid(format!(
        "{bytes} bytes of cells in one row: at most {most}"
    )))
}
