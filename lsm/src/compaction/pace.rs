//! How an owner paces, cancels and observes merges. The engine has no clock and no thread.

use crate::row::{TableId, Window};

/// Lets a merge go on at the speed that its owner wants.
pub trait MergePace: Sync {
    /// Called before the next `bytes` (read and written) are worked on: waits if that comes too
    /// soon. `false` cancels the merge, which leaves everything as it was.
    fn spend(&self, bytes: u64) -> bool;

    /// Microseconds of a clock that never goes back; used for durations alone.
    fn micros(&self) -> u64 {
        0
    }
}

/// As fast as it goes, without a clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unpaced;

impl MergePace for Unpaced {
    fn spend(&self, _: u64) -> bool {
        true
    }
}

/// Why files are merged or dropped. The first is the most urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompactionReason {
    /// Nothing in the whole window is visible any more: dropped unread.
    ExpiredWindow,
    /// Nothing in a file is visible any more, and nothing is hidden by it: dropped unread.
    ExpiredFile,
    /// Many rows are dead, one beside the other, so that reads would have to pass them.
    Dense,
    /// Enough neighbors of similar size in an active window.
    Tier,
    /// Enough new files of a table without time.
    Level,
    /// Files that hold late rows of many windows are enough: the rows go to their windows.
    Spread,
    /// The window is over: everything in it becomes one run.
    Seal,
    /// A sealed window was written to.
    Late,
    /// Much of a file has expired, or was deleted with its placement.
    Purge,
    /// A file holds no token of the engine any more: dropped unread.
    ForeignFile,
    /// A part of a file holds no token of the engine any more.
    Foreign,
    /// Old windows, each too small to need files of its own, share them from now on.
    Cold,
}

impl CompactionReason {
    /// A word for traces and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ExpiredWindow => "expired_window",
            Self::ExpiredFile => "expired_file",
            Self::Dense => "dense",
            Self::Tier => "tier",
            Self::Level => "level",
            Self::Spread => "spread",
            Self::Seal => "seal",
            Self::Late => "late",
            Self::Purge => "purge",
            Self::ForeignFile => "foreign_file",
            Self::Foreign => "foreign",
            Self::Cold => "cold",
        }
    }
}

/// What one merge or drop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionReport {
    /// Why.
    pub reason: CompactionReason,
    /// Table of all files.
    pub table: TableId,
    /// Window of all files, or the first one of several.
    pub window: Window,
    /// Files that went.
    pub inputs: usize,
    /// Files that came.
    pub outputs: usize,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Rows in the files that went.
    pub rows_read: u64,
    /// Rows in the files that came.
    pub rows_written: u64,
    /// Deletions that are gone.
    pub tombstones_dropped: u64,
    /// Microseconds that it took, by the clock of [`MergePace::micros`].
    pub micros: u64,
}

/// How one step of compaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionOutcome {
    /// There is nothing to do.
    Idle,
    /// One merge or drop is done.
    Done(CompactionReport),
    /// [`MergePace::spend`] cancelled it; nothing has changed.
    Cancelled,
}
