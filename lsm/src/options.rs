//! Settings of an engine and of its tables.

use std::sync::Arc;

use crate::admission::ReadAdmission;
use crate::budget::MemoryBudget;
use crate::cache::BlockCache;
use crate::error::{Error, Result};

/// Settings of one [`crate::Engine`].
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Blocks kept in memory, shared by all engines of a process. Default: 64 MiB.
    ///
    /// Larger: fewer reads of the disk and less decompression. Filters, directories and top indexes
    /// are in memory besides.
    pub cache: Arc<BlockCache>,
    /// Where the bytes of memtables are counted, shared by all engines of a process. Default: a
    /// budget of its own, of 64 MiB. The engine only counts; the owner freezes and slows down. While
    /// memtables take twice the budget, flushing does not compress, so that it keeps up with the
    /// replay of a log; the next merge makes up for it.
    pub memory: Arc<MemoryBudget>,
    /// Lets reads in, shared by all engines of a process. Default: 1024 reads at once, with pages of
    /// together 256 MiB. Reads beyond it fail with [`crate::ErrorKind::Overloaded`].
    pub reads: Arc<ReadAdmission>,
    /// Dead rows one after another that a read remembers, so that later ones skip them. Default:
    /// 128. At least 1.
    ///
    /// Fewer: shorter runs are skipped as well, but cutting a read in pieces takes a microsecond or
    /// two for each, which is what walking over some ten dead rows takes.
    pub dead_run_rows: usize,
    /// Dead rows that applying walks over for each row deleted, once [`Self::dead_run_rows`] were deleted
    /// in a partition, so that no page has to. Default: 4. 0: only [`crate::Engine::sweep_step`] walks.
    ///
    /// More: the first page is as fast after deletions in any order. Fewer: deleting is faster and reads
    /// no file, but the first page behind many deletions walks over all that was not swept yet.
    pub sweep_rows: u32,
    /// Bytes of a data block before compression. Default: 16 KiB. Range: 1 KiB ..= 64 KiB.
    ///
    /// Larger: better compression and fewer index entries, but a point read decompresses more.
    pub block_bytes: usize,
    /// zstd level of young files: flushed, or merged within an active window. Default: 1.
    /// Range: 1 ..= 19.
    ///
    /// Higher: smaller files, but flushing and merging take more processor time.
    pub compression_level: i32,
    /// zstd level of files that hold all of their window, which are read for long and rewritten
    /// rarely; they also get a trained dictionary. Default: 3. Range: 1 ..= 19.
    ///
    /// Higher: a smaller archive for more processor time once per window; reading costs the same.
    /// Level 6 saves 2 to 7 % of the file and takes three times as long.
    pub sealed_compression_level: i32,
    /// Frozen memtables that may wait for [`crate::Engine::flush_step`]. Default: 4. Range: 1 ..= 64.
    ///
    /// Larger: a burst of writes waits longer before freezing is refused, but takes more memory, and
    /// every read looks into each of them.
    pub frozen_max: usize,
    /// Files of similar size, adjacent in log order, that are merged into one. Default: 4.
    /// Range: 2 ..= 32.
    ///
    /// Larger: less write amplification, but a read merges more files.
    pub tier_files: usize,
    /// Sorted runs in an active window beyond which neighbors merge whatever their sizes. Default:
    /// 24. Range: 8 ..= 256.
    ///
    /// Larger: less write amplification in windows that are flushed very often, but a read merges
    /// more files.
    pub runs_max: usize,
    /// Bytes at which a merge goes on in another file. Default: 256 MiB. At least 64 KiB.
    ///
    /// Smaller: a late change rewrites less and files move in smaller pieces, but there are more.
    pub fragment_bytes: u64,
    /// The same for files that are written once for long. Default: 1 GiB. At least 64 KiB.
    pub sealed_fragment_bytes: u64,
    /// Files that hold late rows of many sealed windows together, beyond which their rows go to files of
    /// their windows. Default: 4. At most 64. 0: each window gets a file of its own at every flush.
    ///
    /// More: late writes make fewer files, but every read of a windowed table asks each for its filter.
    pub mixed_files: usize,
    /// Bytes of those files beyond which the same happens. Default: 64 MiB.
    pub mixed_bytes: u64,
    /// Neighboring windows that are merged into one group when all of them are old, each time that so many
    /// groups are there again: with 8, windows become groups of 8, then of 64, and so on. Only what holds
    /// something that never expires, and together fits [`Self::sealed_fragment_bytes`]. Default: 8. 0:
    /// windows are never merged. Range: 2 ..= 64.
    ///
    /// Larger: data is rewritten less often, but more files stay. Without it a table has one file for each
    /// window of its whole life; with it, a late write rewrites up to a fragment of its group.
    pub cold_fan_out: u32,
    /// Windows behind the current one that are not merged with their neighbors yet. Default: 30.
    ///
    /// More: late writes and deletions rewrite less, but more files stay.
    pub unmerged_windows: u64,
    /// How long after its end a window is still expected to be written, in milliseconds.
    /// Default: 2 h. Later writes are stored as well; they only cost another merge.
    ///
    /// Longer: fewer merges of sealed windows, but a window stays in several files for longer.
    pub seal_grace_ms: u64,
    /// Mixed into the identity of every file, so that a block of another engine's file does not
    /// pass as one of ours. Default: 0; give each engine its own random number.
    pub seed: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            cache: Arc::new(BlockCache::new(64 * 1024 * 1024)),
            memory: Arc::default(),
            reads: Arc::default(),
            dead_run_rows: 128,
            sweep_rows: 4,
            block_bytes: 16 * 1024,
            compression_level: 1,
            sealed_compression_level: 3,
            frozen_max: 4,
            tier_files: 4,
            runs_max: 24,
            fragment_bytes: 256 * 1024 * 1024,
            sealed_fragment_bytes: 1024 * 1024 * 1024,
            mixed_files: 4,
            mixed_bytes: 64 * 1024 * 1024,
            cold_fan_out: 8,
            unmerged_windows: 30,
            seal_grace_ms: 2 * 60 * 60 * 1000,
            seed: 0,
        }
    }
}

impl EngineOptions {
    /// Refuses settings out of range.
    pub(crate) fn validate(&self) -> Result<()> {
        let checks = [
            (
                (1024..=64 * 1024).contains(&self.block_bytes),
                "block_bytes: use 1 KiB to 64 KiB",
            ),
            (
                (1..=19).contains(&self.compression_level),
                "compression_level: use 1 to 19",
            ),
            (
                (1..=19).contains(&self.sealed_compression_level),
                "sealed_compression_level: use 1 to 19",
            ),
            (
                (1..=64).contains(&self.frozen_max),
                "frozen_max: use 1 to 64",
            ),
            (
                (2..=32).contains(&self.tier_files),
                "tier_files: use 2 to 32",
            ),
            (
                (8..=256).contains(&self.runs_max) && self.runs_max >= self.tier_files,
                "runs_max: use 8 to 256, and not less than tier_files",
            ),
            (self.mixed_files <= 64, "mixed_files: use at most 64"),
            (
                matches!(self.cold_fan_out, 0 | 2..=64),
                "cold_fan_out: use 2 to 64, or 0 to keep all windows apart",
            ),
            (self.dead_run_rows > 0, "dead_run_rows: use at least 1"),
            (
                self.fragment_bytes.min(self.sealed_fragment_bytes) >= 64 * 1024,
                "fragment_bytes: use at least 64 KiB",
            ),
        ];
        match checks.iter().find(|(holds, _)| !holds) {
            Some((_, advice)) => Err(Error::invalid(*advice)),
            None => Ok(()),
        }
    }
}

/// Settings of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// `Some` if the partitions of the table fall into time windows.
    pub windowed: Option<WindowOptions>,
}

/// How window numbers relate to time: window w spans `origin_ms + w * window_ms ..` one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowOptions {
    /// Width of a window, in milliseconds; not 0.
    pub window_ms: u64,
    /// Start of window 0, in milliseconds of Unix time.
    pub origin_ms: u64,
}

impl WindowOptions {
    /// First millisecond after `window`; saturates at both ends of time.
    pub(crate) fn end_ms(&self, window: crate::Window) -> u64 {
        let end = (i128::from(window.0) + 1)
            .saturating_mul(i128::from(self.window_ms))
            .saturating_add(i128::from(self.origin_ms));
        u64::try_from(end.max(0)).unwrap_or(u64::MAX)
    }
}
