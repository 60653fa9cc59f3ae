//! The words of the log: groups, positions, votes, entries.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::limits::{ENTRY_BYTES_MAX, PAGE_BYTES, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};

/// A Raft group: the replicas of one tablet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u64);

/// A leader: the term and the node that leads in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaderId {
    /// Raft term.
    pub term: u64,
    /// Node that leads, or wants to lead, in that term.
    pub node: u64,
}

/// A position in the log of one group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// Leader that proposed the entry.
    pub leader: LeaderId,
    /// Number of the entry; consecutive within a group.
    pub index: u64,
}

/// Whom a replica voted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The candidate.
    pub leader: LeaderId,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// One entry of a group's log. The payload means nothing to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Position.
    pub id: LogId,
    /// At most [`LogOptions::entry_bytes_max`] bytes.
    pub payload: Bytes,
}

/// Called once, from the thread that runs [`super::Log::flush`], [`super::Log::commit`] or
/// [`super::Log::close`], when the call it was given to is durable or never will be. Completions run
/// one at a time, in the order of the calls. They should be quick, because the completions of the
/// next group commit wait for them, and must not flush, commit or close; every other call is fine.
pub type Completion = Box<dyn FnOnce(Result<()>) + Send>;

/// What the log knows about one group, everything not yet durable included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The last saved vote.
    pub vote: Option<Vote>,
    /// The last entry that was purged; entries up to it cannot be read.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` if none is left.
    pub last: Option<LogId>,
    /// The last position passed to [`super::Log::save_committed`]. After a restart it may be
    /// older than what was saved: it becomes durable only along with other records.
    pub committed: Option<LogId>,
    /// Whose log this is, see [`super::Log::reset`]; 0 if nobody said.
    pub owner: u64,
}

/// Settings of a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of a segment file in bytes. Default: 64 MiB. A multiple of 4 KiB within
    /// [`SEGMENT_BYTES_MIN`] ..= [`SEGMENT_BYTES_MAX`].
    ///
    /// Larger: fewer rolls (each costs two syncs). Smaller: space is reused sooner, because a
    /// segment is freed as a whole. Segments of other sizes from earlier runs stay readable.
    pub segment_bytes: u64,
    /// Freed segments kept for reuse. Default: 2. A reused segment saves the file system the work
    /// of finding space and of writing down that the space is in use.
    pub spare_segments: usize,
    /// Payload bytes of durable entries kept in memory for [`super::Log::read`]. Default: 16 MiB.
    /// Entries that are not durable yet stay in memory whatever this says.
    pub hot_bytes: usize,
    /// Bytes that may wait for [`super::Log::flush`]. Default: 64 MiB. Beyond it, calls fail with
    /// [`crate::ErrorKind::Overloaded`].
    pub pending_bytes_max: usize,
    /// Target size of one group commit in bytes. Default: 1 MiB. More than that becomes several
    /// commits, so that the first waiters do not wait for the last.
    pub commit_bytes: usize,
    /// Random number of the installation, mixed into every checksum so that bytes of another log
    /// never pass for ours. Only used when a segment is created. Default: 0.
    pub salt: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * 1024 * 1024,
            spare_segments: 2,
            hot_bytes: 16 * 1024 * 1024,
            pending_bytes_max: 64 * 1024 * 1024,
            commit_bytes: 1024 * 1024,
            salt: 0,
        }
    }
}

impl LogOptions {
    /// Largest payload of an entry in bytes: an eighth of a segment, at most
    /// [`ENTRY_BYTES_MAX`].
    pub fn entry_bytes_max(&self) -> usize {
        let eighth = usize::try_from(self.segment_bytes / 8).unwrap_or(usize::MAX);
        eighth.min(ENTRY_BYTES_MAX)
    }

    /// Fails with [`crate::ErrorKind::Invalid`] if a setting is out of range.
    pub fn validate(&self) -> Result<()> {
        let is_in_range = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes);
        if !is_in_range || !self.segment_bytes.is_multiple_of(PAGE_BYTES as u64) {
            return Err(Error::invalid(format!(
                "segment_bytes is {}, it must be a multiple of {PAGE_BYTES} between \
                 {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}",
                self.segment_bytes
            )));
        }
        if self.pending_bytes_max < 2 * self.entry_bytes_max() {
            return Err(Error::invalid(format!(
                "pending_bytes_max is {}, it must hold two of the largest entries of {} bytes",
                self.pending_bytes_max,
                self.entry_bytes_max()
            )));
        }
        Ok(())
    }
}

/// Counters since the log was opened, and sizes now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// Group commits written and synced.
    pub commits: u64,
    /// Calls of `sync_data`, those of new segments and of closing included.
    pub syncs: u64,
    /// Entries made durable.
    pub entries: u64,
    /// Payload bytes of those entries.
    pub payload_bytes: u64,
    /// Bytes written to segments, whole pages.
    pub written_bytes: u64,
    /// Segments created or reused.
    pub rolls: u64,
    /// Segments reused among them.
    pub recycled: u64,
    /// Entries read from disk.
    pub disk_reads: u64,
    /// Segment files on disk, spares included.
    pub segments: usize,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Bytes of removed segments that the file system has not got back yet.
    pub removed_bytes: u64,
    /// Bytes waiting for a flush.
    pub pending_bytes: usize,
    /// Payload bytes in memory.
    pub hot_bytes: usize,
}
