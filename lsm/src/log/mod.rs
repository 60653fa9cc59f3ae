//! The shared log: one write-ahead log for all groups of a process, and the only one there is.
//!
//! Raft groups append entries, save votes, truncate and purge. Each call changes memory at once,
//! is visible to readers at once, and waits in one queue. The owner's log thread calls
//! [`Log::wait`] and [`Log::flush`]: a flush writes what waits as one group commit with one write
//! and one sync, whoever it came from, and then tells everybody. A caller that can block needs no
//! such thread: [`Log::commit`] commits on the caller's own, for all who wait. The bytes are
//! described in `docs/formats/log.md`.
//!
//! # Reading order
//!
//! `types`, `span` (the rules of one group's log), `shared` (what callers see), `commit` (who writes
//! when), [`record`] and [`page`] (the bytes), `segment`, `writer`, `ledger` (what is on disk), `scan`
//! (torn tail or damage), `recovery`, `fetch`.
//!
//! # Invariants
//!
//! * A completion runs with `Ok` only after a sync that covers its change, and all before it.
//! * Recovery restores a prefix of the calls that holds every one whose completion ran with `Ok`.
//! * Damage is refused with file and offset. Only the unacknowledged tail is cut.
//! * After a failed write or sync every call fails; the owner stops the process.
//! * A segment is freed when no entry in it or in an older one exists and this is durable.
//!
//! # Cost
//!
//! A group commit takes whole pages: half a page is lost to rounding on average. An entry costs
//! 41 bytes on disk beside its payload, 40 bytes of memory until it is purged, and its payload
//! while it is hot. Opening reads all segments once, the last one twice.
//!
//! # Not here
//!
//! Compression (callers batch and compress better), removal of a group, rewriting of old entries
//! so that a slow group does not hold old segments: see [`Log::oldest_pinned`].

mod commit;
mod fetch;
mod ledger;
pub mod page;
mod queue;
pub mod record;
mod recovery;
mod removed;
mod scan;
mod segment;
mod shared;
mod span;
mod types;
mod writer;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use queue::Change;
use removed::Removed;
use shared::Shared;
pub use types::{
    Completion, Entry, GroupId, GroupState, LeaderId, LogId, LogMetrics, LogOptions, Vote,
};
use writer::Writer;

use crate::error::{Error, Result};
use crate::vfs::Vfs;

/// The shared log; clones share it.
///
/// Thread-safe. [`Self::flush`] and [`Self::close`] block on the disk, [`Self::read`] when it
/// reads old entries; nothing else does.
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    options: LogOptions,
    shared: Mutex<Shared>,
    has_work: Condvar,
    writer: Mutex<Writer>,
    /// Held while completions run, so that they run in order. Locks are taken in the order
    /// `writer`, `completing`, `shared`.
    completing: Mutex<()>,
    removed: Removed,
}

impl Log {
    /// Opens the log in `dir`, created if missing, and holds its lock file until it is closed.
    ///
    /// Cuts the torn tail of an unfinished commit. Fails with [`crate::ErrorKind::Corrupt`] on
    /// damage anywhere else, and with [`crate::ErrorKind::Invalid`] if somebody else has it open.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: LogOptions) -> Result<Self> {
        let (shared, writer) = recovery::open(vfs, dir, options.clone())?;
        Ok(Self(Arc::new(Inner {
            options,
            shared: Mutex::new(shared),
            has_work: Condvar::new(),
            writer: Mutex::new(writer),
            completing: Mutex::new(()),
            removed: Removed::default(),
        })))
    }

    /// All groups the log knows, in order.
    pub fn groups(&self) -> Vec<GroupId> {
        self.0.shared.lock().groups()
    }

    /// What the log knows about a group; all `None` for an unknown one.
    pub fn state(&self, group: GroupId) -> GroupState {
        self.0.shared.lock().state(group)
    }

    /// Adds entries, consecutive to the last one; the first entry of a group is number 0 or 1.
    /// Readable at once, durable when `done` runs; if this fails, `done` is dropped.
    ///
    /// Several entries become durable in order, not necessarily together. Fails with
    /// [`crate::ErrorKind::Overloaded`] if too much waits to be flushed.
    pub fn append(&self, group: GroupId, entries: Vec<Entry>, done: Completion) -> Result<()> {
        self.change(|shared, options| shared.append(group, entries, done, options))
    }

    /// Saves a vote; durable when `done` runs.
    pub fn save_vote(&self, group: GroupId, vote: Vote, done: Completion) -> Result<()> {
        let change = Change::Vote(vote);
        self.change(|shared, options| shared.control(group, change, Some(done), options))
    }

    /// Forgets all entries after `last_kept`, or all that there are; durable when `done` runs.
    /// Keeping an entry that does not exist yet changes nothing.
    pub fn truncate_after(
        &self,
        group: GroupId,
        last_kept: Option<u64>,
        done: Completion,
    ) -> Result<()> {
        let change = Change::Truncate(last_kept);
        self.change(|shared, options| shared.control(group, change, Some(done), options))
    }

    /// Forgets everything about a group, its vote included, and notes whose log it is from here on;
    /// durable when `done` runs, and only then may the new owner rely on an empty log. With 0 the
    /// group is gone. Segments are freed by the flush that makes this durable.
    ///
    /// It is one record: after a crash there is what was before, or nothing and the new owner.
    pub fn reset(&self, group: GroupId, owner: u64, done: Completion) -> Result<()> {
        let change = Change::Reset(owner);
        self.change(|shared, options| shared.control(group, change, Some(done), options))
    }

    /// Notes how far the group is committed. Memory only; rides along with the group's next
    /// record. Does nothing for an unknown group.
    pub fn save_committed(&self, group: GroupId, id: LogId) {
        self.0.shared.lock().save_committed(group, id);
    }

    /// Forgets all entries up to `upto`, which may lie beyond the last one (a snapshot was
    /// installed). Segments are freed by the flush that makes this durable.
    pub fn purge(&self, group: GroupId, upto: LogId) -> Result<()> {
        let change = Change::Purge(upto);
        self.change(|shared, options| shared.control(group, change, None, options))
    }

    /// Entries of `range`, the first always, then while they fit in `max_bytes` of payload.
    ///
    /// Shorter when the log ends; fails with [`crate::ErrorKind::NotFound`] if the first one was
    /// purged. Recent entries come from memory, older ones from disk, verified.
    pub fn read(&self, group: GroupId, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>> {
        let found = {
            let mut shared = self.0.shared.lock();
            shared.check_usable()?;
            shared.find(group, (range.start, range.end), max_bytes)?
        };
        fetch::fetch(group, found)
    }

    /// Waits until [`Self::flush`] has something to do or to say (`true`; it fails at once if the
    /// log failed or was closed), or until `timeout` passed (`false`).
    ///
    /// When `timeout` passes in silence, the log writes down that all before was synced, so that
    /// damage to the last commit is told from a torn one from then on.
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut shared = self.0.shared.lock();
        let has_work = |shared: &Shared| {
            (shared.has_pending() && !shared.is_led) || shared.check_usable().is_err()
        };
        if !has_work(&shared) {
            self.0.has_work.wait_for(&mut shared, timeout);
        }
        if has_work(&shared) {
            return true;
        }
        drop(shared);
        let mut writer = self.0.writer.lock();
        if writer.lock.is_some()
            && !writer.tail.is_marked
            && let Err(error) = writer.write_mark(0)
        {
            drop(writer);
            let telling = self.0.completing.lock();
            self.0.fail(&error, None);
            drop(telling);
            return true;
        }
        false
    }

    /// One group commit of what waits, or of the oldest part of it if that is a lot; `false` if
    /// nothing waited. Completions run on this thread before it returns.
    ///
    /// After an error of kind [`crate::ErrorKind::Io`] or [`crate::ErrorKind::NoSpace`] the log
    /// refuses every call: stop the process.
    pub fn flush(&self) -> Result<bool> {
        self.0.shared.lock().check_usable()?;
        self.0.flush()
    }

    /// Returns when all calls made before it are durable and their completions have run.
    ///
    /// If nobody commits, this thread does, for all who wait; otherwise it waits for the one that
    /// does, and may be called to commit what that one left. A lone writer that appends and commits
    /// thus pays for one write and one sync and for no other thread. Needs no thread in
    /// [`Self::wait`], and gets on with one. Must not be called from a completion.
    ///
    /// Fails like [`Self::flush`]; then nothing is known about what it waited for.
    pub fn commit(&self) -> Result<()> {
        self.0.commit()
    }

    /// [`Self::append`] and [`Self::commit`] in one: returns when the entries are durable.
    pub fn append_durable(&self, group: GroupId, entries: Vec<Entry>) -> Result<()> {
        self.append(group, entries, Box::new(|_| ()))?;
        self.commit()
    }

    /// The group whose oldest entry is in the oldest segment in use, and the index of that entry:
    /// purging it is what frees space. `None` if no entry exists.
    pub fn oldest_pinned(&self) -> Option<(GroupId, u64)> {
        self.0.shared.lock().ledger.oldest_pinned()
    }

    /// Gives bytes of removed segments back to the file system: at most 4 MiB, so that other users of the disk wait
    /// for milliseconds. Returns how many; 0: there are none, or readers still have all of them.
    ///
    /// Removing a segment of 64 MiB at once can hold up a commit, so [`Self::flush`] only takes its name. Call this on
    /// another thread after flushes, with pauses, while it returns more than 0. If nobody does, up to 16 segments
    /// stay until the log is dropped.
    pub fn remove_step(&self) -> u64 {
        self.0.removed.step()
    }

    /// Whether [`Self::remove_step`] may have something to do.
    pub fn has_removed(&self) -> bool {
        self.0.removed.bytes() > 0
    }

    /// Largest payload of an entry in bytes: [`LogOptions::entry_bytes_max`] of this log.
    pub fn entry_bytes_max(&self) -> usize {
        self.0.options.entry_bytes_max()
    }

    /// Counters and sizes.
    pub fn metrics(&self) -> LogMetrics {
        let metrics = self.0.shared.lock().metrics();
        LogMetrics {
            removed_bytes: self.0.removed.bytes(),
            ..metrics
        }
    }

    /// Flushes what waits, refuses every later call and releases the lock file. Closing twice is
    /// fine. An error means that something that waited is not durable; its completion was told.
    pub fn close(&self) -> Result<()> {
        self.0.shared.lock().is_closed = true;
        self.0.has_work.notify_all();
        let Some(lock) = self.0.writer.lock().lock.take() else {
            return Ok(());
        };
        let flushed = self.0.flush_all();
        drop(lock);
        flushed
    }

    fn change(&self, change: impl FnOnce(&mut Shared, &LogOptions) -> Result<()>) -> Result<()> {
        let mut shared = self.0.shared.lock();
        shared.check_usable()?;
        let was_idle = !shared.has_pending();
        change(&mut shared, &self.0.options)?;
        if was_idle && shared.has_pending() && !shared.is_led {
            self.0.has_work.notify_one();
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(batch) = self.shared.get_mut().take_all() {
            batch.complete(&Err(Error::closed("the log")));
        }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("metrics", &self.metrics())
            .finish_non_exhaustive()
    }
}
