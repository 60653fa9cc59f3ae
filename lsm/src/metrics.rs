//! What an engine holds and has done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::CacheMetrics;
use crate::engine::ReadStats;

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
    /// Files that no window refers to any more and that are not removed yet.
    pub removing_files: u64,
    /// Their bytes, which the file system still counts.
    pub removing_bytes: u64,
    /// Files that hold late rows of many windows.
    pub mixed_files: usize,
    /// Groups of files by table and window.
    pub windows: usize,
    /// Bytes of filters, directories and top indexes in memory.
    pub pinned_bytes: usize,
    /// Operations applied, one for each timestamp.
    pub operations: u64,
    /// Pages of one partition read.
    pub reads: u64,
    /// Pages of token ranges read.
    pub scans: u64,
    /// Blocks that reads fetched from files.
    pub read_blocks: u64,
    /// Blocks that reads found in the cache.
    pub read_blocks_cached: u64,
    /// Blocks that reads knew to hold nothing visible.
    pub read_blocks_skipped: u64,
    /// Bytes of fetched blocks as stored.
    pub read_bytes: u64,
    /// Rows that reads looked at, dead ones included.
    pub read_rows: u64,
    /// Rows among them that were dead.
    pub read_tombstones: u64,
    /// Rows that deletions have walked over, so that no page has to.
    pub swept_rows: u64,
    /// Checkpoints made.
    pub checkpoints: u64,
    /// Checkpoints installed.
    pub installs: u64,
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
    /// Files dropped unread, besides those of whole windows.
    pub files_dropped: u64,
    /// Deletions that merges have forgotten.
    pub tombstones_dropped: u64,
    /// Compression dictionaries trained for sealed files.
    pub dictionaries_trained: u64,
    /// Sealed files that got the dictionary of an earlier one.
    pub dictionaries_reused: u64,
    /// Microseconds spent in merges and drops, by the clock of [`crate::MergePace`].
    pub compaction_micros: u64,
    /// The block cache, which other engines may share.
    pub cache: CacheMetrics,
}

/// The counters behind [`EngineMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) operations: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) scans: AtomicU64,
    pub(crate) read: ReadCounters,
    pub(crate) swept_rows: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) installs: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_bytes: AtomicU64,
    pub(crate) compactions: AtomicU64,
    pub(crate) compaction_read_bytes: AtomicU64,
    pub(crate) compaction_written_bytes: AtomicU64,
    pub(crate) windows_dropped: AtomicU64,
    pub(crate) files_dropped: AtomicU64,
    pub(crate) tombstones_dropped: AtomicU64,
    pub(crate) dictionaries_trained: AtomicU64,
    pub(crate) dictionaries_reused: AtomicU64,
    pub(crate) compaction_micros: AtomicU64,
}

impl Counters {
    /// The counters as metrics without gauges.
    pub(crate) fn read(&self) -> EngineMetrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EngineMetrics {
            operations: load(&self.operations),
            reads: load(&self.reads),
            scans: load(&self.scans),
            read_blocks: load(&self.read.blocks),
            read_blocks_cached: load(&self.read.cached),
            read_blocks_skipped: load(&self.read.skipped),
            read_bytes: load(&self.read.bytes),
            read_rows: load(&self.read.rows),
            read_tombstones: load(&self.read.tombstones),
            swept_rows: load(&self.swept_rows),
            checkpoints: load(&self.checkpoints),
            installs: load(&self.installs),
            flushes: load(&self.flushes),
            flushed_bytes: load(&self.flushed_bytes),
            compactions: load(&self.compactions),
            compaction_read_bytes: load(&self.compaction_read_bytes),
            compaction_written_bytes: load(&self.compaction_written_bytes),
            windows_dropped: load(&self.windows_dropped),
            files_dropped: load(&self.files_dropped),
            tombstones_dropped: load(&self.tombstones_dropped),
            dictionaries_trained: load(&self.dictionaries_trained),
            dictionaries_reused: load(&self.dictionaries_reused),
            compaction_micros: load(&self.compaction_micros),
            ..EngineMetrics::default()
        }
    }
}

/// What all reads of an engine cost.
#[derive(Debug, Default)]
pub(crate) struct ReadCounters {
    blocks: AtomicU64,
    cached: AtomicU64,
    skipped: AtomicU64,
    bytes: AtomicU64,
    rows: AtomicU64,
    tombstones: AtomicU64,
}

impl ReadCounters {
    /// Adds the cost of a page. Zeros are not added: most pages fetch and skip nothing.
    pub(crate) fn add(&self, stats: &ReadStats) {
        let pairs = [
            (&self.blocks, stats.blocks_read),
            (&self.cached, stats.blocks_cached),
            (&self.skipped, stats.blocks_skipped),
            (&self.bytes, stats.bytes_read),
            (&self.rows, stats.rows_scanned),
            (&self.tombstones, stats.tombstones),
        ];
        for (counter, more) in pairs.into_iter().filter(|(_, more)| *more > 0) {
            add(counter, more);
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
