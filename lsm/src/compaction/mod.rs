//! Compaction: fewer files per window, and nothing kept that no read can see.
//!
//! * Active windows: tiered. Four neighbors of similar size become one; what was merged before waits
//!   for eight, then sixteen. Only neighbors in log order merge, so that sources stay ordered by time.
//!   In the second half of a window eight have to come together: most are sealed before that.
//! * A window whose end and grace have passed is sealed: one merge of all it has, with a trained
//!   dictionary, when its last rows are flushed or half of its width has passed since. Late writes are merged into it when they are a tenth of it, or four runs; that
//!   rewrites only the fragments between their keys.
//! * Late writes to many sealed windows are flushed to one file for all, at most four of them or 64 MiB;
//!   then their rows are spread over files of their windows, where they merge as above.
//! * Old sealed windows that never expire are merged with their neighbors, geometrically, as far as they
//!   fit one fragment: see [`cold`]. A group of them is as one window from then on.
//! * Tables without time: levels, each at least eight times larger than all that is newer.
//! * A window of which nothing is visible any more is dropped by one edit, unread; so is a file
//!   that hides nothing.
//! * Dead rows side by side cause a merge with everything older, which purges them. A file of which
//!   much has expired, or was deleted with its placement, is rewritten alone.
//!
//! Outputs are cut into fragments, within a partition if need be, so that no file is too large to
//! move or to rewrite.
//!
//! # Invariants
//!
//! * Compaction changes no read at any time from its `now_ms` on.
//! * Files of one run share no partition, but for one that a fragment ends in and the next begins
//!   with.
//! * A merge becomes visible by one edit, or not at all: cancelled or failed, it leaves no file.
//!
//! # Cost
//!
//! A window that is flushed fewer than 32 times is written three times: flushed, merged, sealed. Small ones
//! are written again for every size of groups that they become part of.
//! Temporary space is the output of one merge per engine.

mod cold;
#[cfg(test)]
mod cold_tests;
mod job;
mod pace;
mod picker;
#[cfg(test)]
mod picker_tests;
mod purge;
mod runs;

pub(crate) use cold::{Settled, pick_cold};
pub(crate) use job::{Output, merge_files};
pub use pace::{CompactionOutcome, CompactionReason, CompactionReport, MergePace, Unpaced};
pub(crate) use picker::{Job, Situation, forgets, pick_group, pick_mixed};
pub(crate) use runs::Candidate;
