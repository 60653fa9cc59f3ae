//! What the workloads are called in tables, plots and the JSON file.

pub(crate) const RAW_DISK: &str = "raw disk";
pub(crate) const ONE_WRITER: &str = "durable ingest, 1 writer";
pub(crate) const MANY_WRITERS: &str = "durable ingest, 64 writers";
pub(crate) const PAGE_UNSETTLED: &str = "newest-50 page, not settled";
pub(crate) const PAGE_SETTLED: &str = "newest-50 page, settled";
pub(crate) const PAGE_MIXED: &str = "newest-50 page, under ingest";
pub(crate) const SUSTAINED: &str = "sustained ingest";
pub(crate) const LATE: &str = "sustained ingest, 5 % late";
pub(crate) const PAGE_BEYOND_CACHE: &str = "newest-50 page, beyond the cache";
pub(crate) const DELETED_AT_ONCE: &str = "page right after deleting";
pub(crate) const DELETED_IDLE: &str = "page when the engine is idle";
pub(crate) const EXPIRED: &str = "drop of an expired window";
pub(crate) const RECOVERY: &str = "recovery of a full log";

/// A page from a channel with `count` deleted messages, 0 for a clean one.
pub(crate) fn deleted(state: &str, count: u64) -> String {
    if count == 0 {
        format!("{state}, clean channel")
    } else {
        format!("{state}, {count} deleted")
    }
}
