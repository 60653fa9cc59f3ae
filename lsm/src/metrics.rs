//! What an engine holds and has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::CacheMetrics;

/// Gauges and counters of one engine. Counters start at zero when the engine is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Bytes of the active memtable.
    pub active_bytes: usize,
    /// Memtables that wait for flushing.
    pub frozen: usize,
    /// Their bytes.
    pub frozen_bytes: usize,
    /// SSTables.
    pub files: usize,
    /// Their bytes.
    pub file_bytes: u64,
    /// Groups of files by table and window.
    pub windows: usize,
    /// Bytes of filters, directories and top indexes in memory.
    pub pinned_bytes: usize,
    /// Memtables flushed.
    pub flushes: u64,
    /// Bytes written by flushing.
    pub flushed_bytes: u64,
    /// Merges done.
    pub compactions: u64,
    /// Bytes read by merging.
    pub compaction_read_bytes: u64,
    /// Bytes written by merging.
    pub compaction_written_bytes: u64,
    /// Whole windows dropped unread.
    pub windows_dropped: u64,
    /// The block cache, which other engines may share.
    pub cache: CacheMetrics,
}

/// The counters behind [`EngineMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_read_bytes: AtomicU64,
    pub(crate) compaction_written_bytes: AtomicU64,
    pub(crate) windows_dropped: AtomicU64,
}

impl Counters {
    /// The counters as metrics without gauges.
    pub(crate) fn read(&self) -> EngineMetrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineMetrics {
            flushes: load(&self.flushes),
            flushed_bytes: load(&self.flushed_bytes),
            compactions: load(&self.compactions),
            compaction_read_bytes: load(&self.compaction_read_bytes),
            compaction_written_bytes: load(&self.compaction_written_bytes),
            windows_dropped: load(&self.windows_dropped),
            ..EngineMetrics::default()
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
