//! What a group has been asked to do and what became of it.
//!
//! Where the group stands is in [`GroupStatus`](crate::GroupStatus); this is how it got there.
//!
//! Cost: one relaxed addition per command and four per entry.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one group since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupMetrics {
    /// Commands that were taken into the queue.
    pub commands: u64,
    /// Commands that were refused because the queue was full.
    pub refused: u64,
    /// Entries that were offered to the group; each carries one command or many.
    pub entries: u64,
    /// Bytes of those entries.
    pub entry_bytes: u64,
    /// Entries that were offered again, because no leader had a valid lease.
    pub retries: u64,
    /// Entries that came back applied.
    pub applied: u64,
    /// Entries whose outcome is not known, or that were not taken at all.
    pub failed: u64,
}

/// The counters behind [`GroupMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commands: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) entry_bytes: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) failed: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> GroupMetrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GroupMetrics {
            commands: load(&self.commands),
            refused: load(&self.refused),
            entries: load(&self.entries),
            entry_bytes: load(&self.entry_bytes),
            retries: load(&self.retries),
            applied: load(&self.applied),
            failed: load(&self.failed),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
