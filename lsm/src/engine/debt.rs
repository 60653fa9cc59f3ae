//! What writes have caused and is not done yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Engine;
use crate::manifest::TableFile;

/// Work that waits in an engine, or in several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Bytes of memtables, active and frozen.
    pub memory_bytes: u64,
    /// Memtables that wait for [`Engine::flush_step`].
    pub frozen: usize,
    /// Their bytes.
    pub frozen_bytes: u64,
    /// Bytes that the merges which are due now would read, see [`Engine::backlog_bytes`].
    pub compaction_bytes: u64,
    /// Sorted runs of the table and window that has most of them: what a read has to merge at
    /// worst. The fragments of one run share no key, so they count once.
    pub runs: usize,
}

impl Debt {
    /// The debt of two engines together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            frozen: self.frozen.saturating_add(other.frozen),
            frozen_bytes: self.frozen_bytes.saturating_add(other.frozen_bytes),
            compaction_bytes: self.compaction_bytes.saturating_add(other.compaction_bytes),
            runs: self.runs.max(other.runs),
        }
    }
}

impl Engine {
    /// The work that waits at `now_ms`, Unix time in milliseconds. Costs what picking a compaction
    /// costs, a look at what the manifest says of every file: ask after a flush, after a compaction
    /// and now and then, not at every write.
    pub fn debt(&self, now_ms: u64) -> Debt {
        let state = self.state();
        let frozen_bytes: usize = state
            .frozen
            .iter()
            .map(|it| it.memtable.read().bytes())
            .sum();
        // Not within the expression below: the lock would be held while windows are looked at.
        let active_bytes = state.active.read().bytes();
        let runs_of = |files: &Vec<Arc<TableFile>>| {
            let runs: BTreeSet<u64> = files.iter().map(|file| file.meta.run).collect();
            runs.len()
        };
        Debt {
            memory_bytes: (active_bytes + frozen_bytes) as u64,
            frozen: state.frozen.len(),
            frozen_bytes: frozen_bytes as u64,
            compaction_bytes: self.backlog_bytes(now_ms),
            runs: state.version.files.values().map(runs_of).max().unwrap_or(0),
        }
    }
}
