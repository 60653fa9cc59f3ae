//! Integration tests.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod admission;
mod cold_windows;
mod compaction;
mod compaction_dictionary;
mod compaction_jobs;
mod corruption;
mod crash_engine;
mod crash_fragments;
mod crash_log;
mod dead_runs;
mod engine_basics;
mod engine_support;
mod first_page;
mod format_pages;
mod invariants;
mod late_writes;
mod log_calls;
mod log_commit;
mod log_damage;
mod log_support;
mod memory;
mod metrics;
mod model;
mod ordered;
mod removal;
mod row_room;
mod snapshots;
mod sweeps;
mod testing_page;
mod tokens;
mod vfs_contract;
mod young_files;
