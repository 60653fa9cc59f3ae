//! The engine of one tablet: memtables, SSTables and the manifest of all its tables.
//!
//! It has no log and no thread. The owner applies committed log entries to it ([`Engine::apply`]),
//! and when memory is to be freed it freezes, flushes and compacts step by step. After a restart
//! the owner applies the log again from [`Engine::flushed`] on.
//!
//! # Invariants
//!
//! * Sources are ordered by log index: everything in a memtable is newer than everything in a
//!   file, and everything in the active memtable is newer than everything in a frozen one.
//! * A reader sees the effect of each applied index on a partition wholly or not at all.
//! * A partition lives in one window, so a slice touches the files of that window alone.
//!
//! # Threads
//!
//! One thread applies; any number read at the same time; flushing and compacting may run beside
//! both, each on one thread at a time.

mod checkpoint;
mod compact;
mod dead_runs;
mod debt;
mod dictionaries;
mod digest;
mod due;
mod flush;
mod inspect;
mod install;
mod obsolete;
mod read;
mod recovery;
mod request;
mod room;
mod scan;
mod spread;
mod state;
mod sweep;
mod write;

pub use checkpoint::{Checkpoint, CheckpointFile, VerifyReport};
pub use debt::Debt;
pub use digest::WindowDigest;
pub use inspect::{FileEntry, FileInfo, Inspection, StoredRow};
pub use request::{
    Flushed, ReadStats, ScanPage, ScanPartition, ScanPosition, ScanRead, SlicePage, SliceRead,
};
pub use room::Growth;
pub use spread::Spread;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::error::{Error, Result};
use crate::manifest::{Edit, Manifest, TableFile, Version};
use crate::memtable::Epochs;
use crate::metrics::{Counters, EngineMetrics};
use crate::options::{EngineOptions, TableOptions};
use crate::row::{TableId, Timestamp, Window};
use crate::vfs::{Lock, Vfs};
use dead_runs::DeadRuns;
use state::{State, Writer};

/// The engine of one tablet.
#[derive(Debug)]
pub struct Engine {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: EngineOptions,
    state: RwLock<Arc<State>>,
    writer: Mutex<Writer>,
    manifest: Mutex<Files>,
    /// Held while a frozen memtable is written.
    flushing: Mutex<()>,
    /// Held while files are merged or dropped.
    compacting: Mutex<()>,
    tables: RwLock<BTreeMap<TableId, TableOptions>>,
    tokens: Mutex<(u64, u64)>,
    dead_runs: DeadRuns,
    sweeps: sweep::Sweeps,
    dictionaries: dictionaries::Dictionaries,
    obsolete: obsolete::Obsolete,
    counters: Counters,
    _lock: Box<dyn Lock>,
}

/// A change of the set of files.
#[derive(Debug)]
struct Change {
    edit: Edit,
    /// The added files, open.
    added: Vec<Arc<TableFile>>,
}

/// The manifest and the numbers it gives to files.
#[derive(Debug)]
struct Files {
    manifest: Manifest,
    next_file: u64,
}

impl Engine {
    /// Opens the engine in `dir`, or creates an empty one. Removes files that a crash left over.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: EngineOptions) -> Result<Self> {
        recovery::open(vfs, dir, options)
    }

    /// The directory, and the file system that it is on.
    pub fn directory(&self) -> (&Arc<dyn Vfs>, &Path) {
        (&self.vfs, &self.dir)
    }

    /// Where the files end: the owner applies the log again from the next index on.
    pub fn flushed(&self) -> Flushed {
        self.state().version.flushed.clone()
    }

    /// From now on the engine is only asked for partitions with tokens from `first` to `last`: what its
    /// files hold outside is dropped, file by file, and given back by compaction. Not stored, so the
    /// owner repeats it after opening. What was outside once must never be asked for again.
    pub fn set_tokens(&self, first: u64, last: u64) {
        *self.tokens.lock() = (first, last);
    }

    /// The first and the last token that the engine is asked for.
    pub fn tokens(&self) -> (u64, u64) {
        *self.tokens.lock()
    }

    /// The token in the middle of the data, by bytes in files; inside a file tokens count as even. `None`
    /// with less than two tokens.
    pub fn token_at_half(&self) -> Option<Spread> {
        spread::halfway(&self.state().version, self.tokens())
    }

    /// Last applied log index; after opening, the flushed one.
    pub fn applied_index(&self) -> u64 {
        self.writer.lock().index
    }

    /// Last timestamp used; the next operation must have a larger one.
    pub fn last_timestamp(&self) -> Timestamp {
        self.writer.lock().timestamp
    }

    /// Says what a table is like; not stored, so the owner repeats it after opening. Idempotent.
    pub fn define_table(&self, id: TableId, options: TableOptions) -> Result<()> {
        if options
            .windowed
            .is_some_and(|windowed| windowed.window_ms == 0)
        {
            return Err(Error::invalid("window_ms: use at least 1"));
        }
        self.tables.write().insert(id, options);
        Ok(())
    }

    /// Forgets a table and removes its files. Waits for a running flush or compaction.
    ///
    /// The log may hold writes to the table that a restart applies again: the owner drops tables
    /// that it does not know after catching up, see [`Self::stored_tables`].
    pub fn drop_table(&self, id: TableId) -> Result<()> {
        let _flushing = self.flushing.lock();
        let _compacting = self.compacting.lock();
        self.tables.write().remove(&id);
        self.dictionaries.forget(id);
        let state = {
            let _writer = self.writer.lock();
            let state = self.state();
            state.active.write().drop_table(id);
            for frozen in &state.frozen {
                frozen.memtable.write().drop_table(id);
            }
            state
        };
        let gone: Vec<Arc<TableFile>> = state.version.table(id).map(Arc::clone).collect();
        if gone.is_empty() && state.version.epochs.tables().all(|table| table != id) {
            return Ok(());
        }
        let removed = gone.iter().map(|file| file.meta.number).collect();
        let change = Change {
            edit: Edit {
                removed,
                ..Edit::default()
            },
            added: Vec::new(),
        };
        let epochs = |next: &Version| {
            let mut epochs = next.epochs.clone();
            epochs.drop_table(id);
            Some(epochs)
        };
        self.commit(change, epochs, |_| ())?;
        self.remove_later(&gone);
        Ok(())
    }

    /// Tables that hold anything, defined or not.
    pub fn stored_tables(&self) -> BTreeSet<TableId> {
        let state = self.state();
        let mut tables: BTreeSet<TableId> = state
            .version
            .files
            .keys()
            .map(|(table, _)| *table)
            .collect();
        tables.extend(state.active.read().tables());
        for frozen in &state.frozen {
            tables.extend(frozen.memtable.read().tables());
        }
        tables
    }

    /// Bytes of all memtables, active and frozen.
    pub fn memory_bytes(&self) -> usize {
        let state = self.state();
        let frozen: usize = state
            .frozen
            .iter()
            .map(|it| it.memtable.read().bytes())
            .sum();
        state.active.read().bytes() + frozen
    }

    /// What the engine holds and has done.
    pub fn metrics(&self) -> EngineMetrics {
        let state = self.state();
        let mut metrics = self.counters.read();
        metrics.active_bytes = state.active.read().bytes();
        metrics.frozen = state.frozen.len();
        metrics.frozen_bytes = state
            .frozen
            .iter()
            .map(|it| it.memtable.read().bytes())
            .sum();
        metrics.windows = state.version.files.len();
        for file in state.version.all() {
            metrics.files += 1;
            metrics.mixed_files += usize::from(file.meta.properties.window == Window::MIXED);
            metrics.file_bytes += file.meta.len;
            metrics.pinned_bytes += file.table.pinned_bytes();
        }
        (metrics.removing_files, metrics.removing_bytes) = self.obsolete.gauges();
        metrics.cache = self.options.cache.metrics();
        metrics
    }

    /// The state as of now.
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read())
    }

    /// Numbers for new files.
    fn allocate_file(&self) -> u64 {
        let mut files = self.manifest.lock();
        let number = files.next_file;
        files.next_file += 1;
        number
    }

    /// Makes a change durable and visible. `epochs` says from the version as it will be how its
    /// placement deletions change, if they do: decided under the lock, because a flush adds some
    /// while a compaction removes others. `adapt` changes the rest of the state in the same step.
    fn commit(
        &self,
        change: Change,
        epochs: impl FnOnce(&Version) -> Option<Epochs>,
        adapt: impl FnOnce(&mut State),
    ) -> Result<()> {
        let Change { mut edit, added } = change;
        let mut files = self.manifest.lock();
        let mut next = self.state().version.with(&edit, added);
        edit.next_file = files.next_file;
        edit.epochs = epochs(&next);
        if let Some(epochs) = &edit.epochs {
            next.epochs.clone_from(epochs);
        }
        files.manifest.append(&edit)?;
        let version = Arc::new(next);
        {
            let mut slot = self.state.write();
            let mut state = State::clone(&slot);
            state.version = Arc::clone(&version);
            adapt(&mut state);
            *slot = Arc::new(state);
        }
        let next_file = files.next_file;
        files
            .manifest
            .roll(self.vfs.as_ref(), &version.to_edit(next_file))?;
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.remove_all();
    }
}
