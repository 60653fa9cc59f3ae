//! Embedded, synchronous wide-column LSM engine and the shared log that it recovers from.
//!
//! The crate starts no thread, reads no clock and draws no random number: syncing the log,
//! flushing and compacting are steps that the owner runs. Every byte that it reads from disk
//! is verified before it is believed.
//!
//! # Reading order
//!
//! * [`error`] - what can go wrong and what the caller should do about it
//! * [`limits`] - every hard limit, with its unit
//! * [`vfs`] - the only way to the disk: real files, memory, and faults on demand
//! * [`encoding`] - varints, checksums, bounded reading of untrusted bytes
//! * [`ordered`] - keys as bytes that sort like the values
//! * `row` - partitions, rows, cells, what deletes them, and the one rule that merges versions
//! * `engine` - memtables and SSTables of one tablet; reads, flush, compaction, recovery
//! * [`log`] - the shared log of all Raft groups; the only write-ahead log there is

/// The example of the README, run by `cargo test --doc`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cache;
mod compaction;
pub mod encoding;
mod engine;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
mod iter;
pub mod limits;
pub mod log;
mod manifest;
mod memtable;
mod metrics;
mod options;
pub mod ordered;
#[cfg(test)]
mod round_trips;
mod row;
mod sstable;
pub mod vfs;

pub use cache::{BlockCache, CacheMetrics};
pub use engine::{
    Checkpoint, CheckpointFile, Engine, Flushed, ReadStats, ScanPage, ScanPartition, ScanPosition,
    ScanRead, SlicePage, SliceRead, VerifyReport, WindowDigest,
};
pub use error::{Error, ErrorKind, Result};
pub use metrics::EngineMetrics;
pub use options::{EngineOptions, TableOptions, WindowOptions};
pub use row::{
    Cell, CellRef, CellValue, CellWrite, Cells, Change, ColumnId, Liveness, Mutation, Operation,
    PartitionKey, Row, RowLiveness, Rows, StaticRow, TableId, Timestamp, Window,
};
