//! What readers ask for and what they get.

use std::ops::{Bound, RangeInclusive};

use bytes::Bytes;

use crate::row::{PartitionKey, Rows, StaticRow, TableId, Timestamp};

/// Reads rows of one partition, in clustering order or against it.
#[derive(Clone, Debug)]
pub struct SliceRead {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// Lower end of the clustering range, also when reading in reverse.
    pub start: Bound<Bytes>,
    /// Upper end of the clustering range, also when reading in reverse.
    pub end: Bound<Bytes>,
    /// Whether rows come from the upper end down.
    pub reverse: bool,
    /// Most rows of a page.
    pub limit_rows: usize,
    /// The page is cut after the row that reaches this many bytes of keys and encoded cells.
    pub limit_bytes: usize,
    /// The page is cut after looking at this many dead rows. Not an error: see
    /// [`SlicePage::resume_after`].
    pub tombstone_budget: usize,
    /// The time of the read, in milliseconds of Unix time: decides what has expired.
    pub now_ms: u64,
}

impl SliceRead {
    /// All rows of a partition, at most `limit_rows`, with a tombstone budget of 10 000.
    pub fn all(table: TableId, partition: PartitionKey, limit_rows: usize, now_ms: u64) -> Self {
        Self {
            table,
            partition,
            start: Bound::Unbounded,
            end: Bound::Unbounded,
            reverse: false,
            limit_rows,
            limit_bytes: 16 * 1024 * 1024,
            tombstone_budget: 10_000,
            now_ms,
        }
    }

    /// The read that continues behind a page of this one.
    #[must_use]
    pub fn resumed_after(&self, clustering: Bytes) -> Self {
        let mut next = self.clone();
        if self.reverse {
            next.end = Bound::Excluded(clustering);
        } else {
            next.start = Bound::Excluded(clustering);
        }
        next
    }
}

/// One page of a [`SliceRead`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlicePage {
    /// The static row; independent of the clustering range.
    pub static_row: StaticRow,
    /// Visible rows, in reading order. May be fewer than asked for although more exist.
    pub rows: Rows,
    /// `Some` if the page was cut: continue with [`SliceRead::resumed_after`]. `None`: the end.
    pub resume_after: Option<Bytes>,
    /// What the page cost.
    pub stats: ReadStats,
}

/// What a read cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadStats {
    /// Blocks read from files, index blocks included.
    pub blocks_read: u64,
    /// Bytes of those blocks as stored.
    pub bytes_read: u64,
    /// Blocks found in the cache.
    pub blocks_cached: u64,
    /// Blocks known to hold nothing visible and skipped unread.
    pub blocks_skipped: u64,
    /// Runs of dead rows known from earlier reads and skipped.
    pub runs_skipped: u64,
    /// Rows looked at, dead ones included.
    pub rows_scanned: u64,
    /// Rows looked at that were dead.
    pub tombstones: u64,
}

impl ReadStats {
    /// Adds the cost of another read.
    pub fn add(&mut self, other: &Self) {
        self.blocks_read += other.blocks_read;
        self.bytes_read += other.bytes_read;
        self.blocks_cached += other.blocks_cached;
        self.blocks_skipped += other.blocks_skipped;
        self.runs_skipped += other.runs_skipped;
        self.rows_scanned += other.rows_scanned;
        self.tombstones += other.tombstones;
    }
}

/// Reads all partitions of a token range, in order of (token, key).
#[derive(Clone, Debug)]
pub struct ScanRead {
    /// The table.
    pub table: TableId,
    /// Tokens to read.
    pub tokens: RangeInclusive<u64>,
    /// Where the page before ended.
    pub after: Option<ScanPosition>,
    /// Most rows of a page. A partition with only a static row counts as one.
    pub limit_rows: usize,
    /// The page is cut after the row that reaches this many bytes of keys and encoded cells.
    pub limit_bytes: usize,
    /// The page is cut after looking at this many dead rows or empty partitions.
    pub tombstone_budget: usize,
    /// The time of the read, in milliseconds of Unix time.
    pub now_ms: u64,
}

/// A place in a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPosition {
    /// Token of the last partition.
    pub token: u64,
    /// Key of the last partition.
    pub key: Bytes,
    /// Last row looked at; `None` if the partition is finished.
    pub clustering: Option<Bytes>,
}

/// Rows of one partition within a [`ScanPage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPartition {
    /// The partition.
    pub partition: PartitionKey,
    /// The static row; repeated on every page that continues the partition.
    pub static_row: StaticRow,
    /// Visible rows.
    pub rows: Rows,
}

/// One page of a [`ScanRead`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Partitions with something visible, in order.
    pub partitions: Vec<ScanPartition>,
    /// `Some` if the page was cut: continue with it as [`ScanRead::after`]. `None`: the end.
    pub resume: Option<ScanPosition>,
    /// What the page cost.
    pub stats: ReadStats,
}

/// What the files of an engine hold, as of the last manifest edit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Last log index whose changes are all in files; 0 = none.
    pub index: u64,
    /// Last timestamp used by those changes.
    pub timestamp: Timestamp,
    /// Bytes that the owner handed to [`crate::Engine::freeze`]; opaque here.
    pub owner: Bytes,
}
