//! Metrics as lists of names, meanings and numbers, for whoever shows them to a monitoring system.
//!
//! A test fails when a field of a metrics struct is not in its list. How a list becomes a page is
//! not decided here: this crate opens no socket and knows no text format.

use crate::admission::AdmissionMetrics;
use crate::log::LogMetrics;
use crate::metrics::EngineMetrics;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// What is now; goes up and down.
    Gauge,
    /// What happened since the start; only grows.
    Counter,
}

/// One number with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Name of the field; [`Self::family`] is what monitoring sees.
    pub name: &'static str,
    /// `engine`, `cache` or `log`.
    pub part: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// What it counts, with its unit.
    pub help: &'static str,
    /// The number.
    pub value: u64,
}

impl Metric {
    /// `lsm_<part>_<name>`. Formats that mark counters put `_total` behind it.
    pub fn family(&self) -> String {
        format!("lsm_{}_{}", self.part, self.name)
    }
}

/// Values as `u64`, whatever they are stored as.
trait Number {
    fn number(self) -> u64;
}

impl Number for u64 {
    fn number(self) -> u64 {
        self
    }
}

impl Number for usize {
    fn number(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}

macro_rules! list {
    ($from:expr, $part:literal, $($kind:ident $name:ident $help:literal),* $(,)?) => {
        vec![$(Metric {
            name: stringify!($name),
            part: $part,
            kind: MetricKind::$kind,
            help: $help,
            value: $from.$name.number(),
        }),*]
    };
}

impl EngineMetrics {
    /// All numbers of an engine and its cache.
    pub fn list(&self) -> Vec<Metric> {
        let mut all = list!(self, "engine",
            Gauge active_bytes "Bytes of the memtable that is written to.",
            Gauge frozen "Memtables that wait for flushing.",
            Gauge frozen_bytes "Their bytes.",
            Gauge files "SSTables.",
            Gauge file_bytes "Bytes of all SSTables.",
            Gauge removing_files "Files that no window refers to any more and that are not removed yet.",
            Gauge removing_bytes "Their bytes, which the file system still counts.",
            Gauge mixed_files "Files among them that hold late rows of many windows.",
            Gauge windows "Groups of files by table and window.",
            Gauge pinned_bytes "Bytes of filters, directories, top indexes and dictionaries in memory.",
            Counter flushes "Memtables written to files.",
            Counter flushed_bytes "Bytes written by flushing.",
            Counter compactions "Merges done.",
            Counter compaction_read_bytes "Bytes read by merging.",
            Counter compaction_written_bytes "Bytes written by merging. Write amplification = (this + flushed) / flushed.",
            Counter windows_dropped "Whole windows dropped unread.",
            Counter files_dropped "Files dropped unread, besides those of whole windows.",
            Counter tombstones_dropped "Deletions that merges have forgotten.",
            Counter dictionaries_trained "Compression dictionaries trained for sealed files.",
            Counter dictionaries_reused "Sealed files that got the dictionary of an earlier one.",
            Counter compaction_micros "Microseconds spent in merges and drops.",
            Counter operations "Operations applied, one for each timestamp.",
            Counter reads "Pages of one partition read.",
            Counter scans "Pages of token ranges read.",
            Counter read_blocks "Blocks that reads fetched from files.",
            Counter read_blocks_cached "Blocks that reads found in the cache.",
            Counter read_blocks_skipped "Blocks that reads knew to hold nothing visible.",
            Counter read_bytes "Bytes of fetched blocks as stored.",
            Counter read_rows "Rows that reads looked at, dead ones included. Read amplification = this / rows returned.",
            Counter read_tombstones "Rows among them that were dead.",
            Counter swept_rows "Rows that deletions have walked over, so that no page has to.",
            Counter checkpoints "Checkpoints made.",
            Counter installs "Checkpoints installed.",
        );
        all.extend(list!(self.cache, "cache",
            Gauge bytes "Bytes of decompressed blocks in memory, of all engines that share the cache.",
            Gauge capacity_bytes "Bytes allowed.",
            Gauge blocks "Blocks in memory.",
        ));
        all
    }
}

impl AdmissionMetrics {
    /// All numbers of an admission, which all engines of a process share.
    pub fn list(&self) -> Vec<Metric> {
        list!(self, "admission",
            Gauge reads "Reads in all engines, those that apply the log excepted.",
            Gauge reads_max "Reads allowed at once.",
            Gauge bytes "Bytes that their pages keep alive.",
            Gauge bytes_max "Bytes allowed.",
            Counter refused "Reads refused because there were too many.",
            Counter cut "Pages cut short for want of memory.",
        )
    }
}

impl LogMetrics {
    /// All numbers of a log.
    pub fn list(&self) -> Vec<Metric> {
        list!(self, "log",
            Counter commits "Group commits written and synced.",
            Counter syncs "Calls of fdatasync, those of new segments and of closing included.",
            Counter entries "Entries made durable.",
            Counter payload_bytes "Payload bytes of those entries.",
            Counter written_bytes "Bytes written to segments, whole pages. Write amplification of the log = this / payload bytes.",
            Counter rolls "Segments created or reused.",
            Counter recycled "Segments reused among them.",
            Counter disk_reads "Entries read from disk instead of memory.",
            Gauge segments "Segment files on disk, spares included.",
            Gauge segment_bytes "Their bytes.",
            Gauge removed_bytes "Bytes of removed segments that the file system has not got back yet.",
            Gauge pending_bytes "Bytes that wait for a flush.",
            Gauge hot_bytes "Payload bytes in memory.",
        )
    }
}
