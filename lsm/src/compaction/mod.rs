//! Compaction: fewer files per window, and nothing kept that no read can see.
//!
//! * Active windows and tables without time: tiered. Four adjacent files of similar size become
//!   one; only neighbors in log order merge, so that sources stay ordered by time.
//! * A window whose end and grace have passed is sealed: one merge of all it has. Late writes are
//!   merged into it again when they are a tenth of it, or four files.
//! * A window of which nothing is visible any more is dropped by one edit, unread.
//! * Many dead rows (a tenth of all blocks at least half dead) cause a merge of the whole window,
//!   which purges every tombstone.
//!
//! # Invariants
//!
//! * Compaction changes no read at any time from its `now_ms` on.
//! * Write amplification is bounded: a full merge needs a tenth of the window as its reason.

mod job;
mod picker;
mod purge;

pub(crate) use job::{Output, merge_files};
pub(crate) use picker::{Pick, Reason, pick};
