//! The shared log: one write-ahead log for all groups of a process.
//!
//! The calls below are settled; what is behind them arrives with the next change. Until then
//! [`Log::open`] fails and there is no way to hold a `Log`.

mod types;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use types::{
    Completion, Entry, GroupId, GroupState, LeaderId, LogId, LogMetrics, LogOptions, Vote,
};

use crate::error::{Error, Result};
use crate::vfs::Vfs;

/// The shared log; clones share it.
#[derive(Clone, Debug)]
pub struct Log(std::convert::Infallible);

#[expect(
    clippy::needless_pass_by_value,
    unused_variables,
    reason = "signatures only, so far"
)]
impl Log {
    /// Opens the log in `dir`, created if missing.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: LogOptions) -> Result<Self> {
        Err(Error::invalid("this build has no log yet"))
    }
    /// All groups the log knows, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        match self.0 {}
    }
    /// What the log knows about a group; all `None` for an unknown one.
    pub fn state(&self, group: GroupId) -> GroupState {
        match self.0 {}
    }
    /// Adds entries, consecutive to the last one. Readable at once, durable when `done` runs.
    pub fn append(&self, group: GroupId, entries: Vec<Entry>, done: Completion) -> Result<()> {
        match self.0 {}
    }
    /// Saves a vote; durable when `done` runs.
    pub fn save_vote(&self, group: GroupId, vote: Vote, done: Completion) -> Result<()> {
        match self.0 {}
    }
    /// Forgets all entries after `last_kept`; durable when `done` runs.
    pub fn truncate_after(
        &self,
        group: GroupId,
        last_kept: Option<u64>,
        done: Completion,
    ) -> Result<()> {
        match self.0 {}
    }
    /// Notes how far the group is committed. Memory only; rides along with the next record.
    pub fn save_committed(&self, group: GroupId, id: LogId) {
        match self.0 {}
    }
    /// Forgets all entries up to `upto`, which may lie beyond the last one.
    pub fn purge(&self, group: GroupId, upto: LogId) -> Result<()> {
        match self.0 {}
    }
    /// Entries of `range`, the first always, then while they fit in `max_bytes` of payload.
    /// Shorter when the log ends; [`crate::ErrorKind::NotFound`] if the first was purged.
    pub fn read(&self, group: GroupId, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>> {
        match self.0 {}
    }
    /// Waits until something is pending (`true`), or `timeout` passed or the log closed (`false`).
    pub fn wait(&self, timeout: Duration) -> bool {
        match self.0 {}
    }
    /// One group commit; `false` if nothing was pending.
    pub fn flush(&self) -> Result<bool> {
        match self.0 {}
    }
    /// The group and its first index that hold the oldest segment.
    pub fn oldest_pinned(&self) -> Option<(GroupId, u64)> {
        match self.0 {}
    }
    /// Counters and sizes.
    pub fn metrics(&self) -> LogMetrics {
        match self.0 {}
    }
    /// Flushes what is pending and refuses every later call.
    pub fn close(&self) {
        match self.0 {}
    }
}
