//! Embedded, synchronous wide-column LSM engine and the shared log that it recovers from.
//!
//! The crate starts no thread, reads no clock and draws no random number: syncing the log,
//! flushing and compacting are steps that the owner runs. Every byte that it reads from disk
//! is verified before it is believed.
//!
//! # Example
//!
//! ```
//! use std::{path::Path, sync::Arc};
//!
//! use bytes::Bytes;
//! use lsm::vfs::MemoryVfs;
//! use lsm::{
//!     CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Mutation, Operation,
//!     PartitionKey, SliceRead, TableId, TableOptions, Timestamp,
//! };
//!
//! # fn main() -> lsm::Result<()> {
//! // `OsVfs` for real files.
//! let vfs = Arc::new(MemoryVfs::new());
//! let engine = Engine::open(vfs, Path::new("tablet"), EngineOptions::default())?;
//! let table = TableId(1);
//! engine.define_table(table, TableOptions::default())?;
//!
//! // One entry of the log: its index, the time of its first operation, what it changes.
//! let channel = PartitionKey::timeless(7, "channel 7".into());
//! let text = CellValue::Live("hello".into());
//! let insert = Operation::Upsert {
//!     clustering: Bytes::copy_from_slice(&1_u64.to_be_bytes()),
//!     liveness: Some(Liveness::default()),
//!     cells: vec![CellWrite { column: ColumnId(1), path: Bytes::new(), value: text }],
//! };
//! let operations = vec![insert];
//! let mutation = Mutation { table, partition: channel.clone(), operations };
//! engine.apply(1, Timestamp(1_000), &[Change::Mutation(mutation)])?;
//!
//! // When memory is to be freed. After a restart the log is applied again from `flushed` on.
//! engine.freeze(Bytes::from_static(b"what the owner wants to find again"))?;
//! while engine.flush_step()? {}
//! while engine.compact_step(1)? {}
//! assert_eq!(engine.flushed().index, 1);
//!
//! // The newest 50 rows at a time of 2 ms.
//! let mut newest = SliceRead::all(table, channel, 50, 2);
//! newest.reverse = true;
//! assert_eq!(engine.read(&newest)?.rows.len(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! Settings and what each of them costs: [`EngineOptions`], [`log::LogOptions`].
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
//! * `budget`, `pace` - how much memory memtables take, and how fast writes may come while work waits
//! * [`log`] - the shared log of all Raft groups; the only write-ahead log there is

/// The example of the README, run by `cargo test --doc`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod admission;
mod budget;
mod cache;
mod compaction;
pub mod encoding;
mod engine;
pub mod error;
pub mod exposition;
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
mod pace;
#[cfg(test)]
mod round_trips;
mod row;
mod sstable;
pub mod vfs;

pub use admission::{AdmissionMetrics, ReadAdmission};
pub use budget::MemoryBudget;
pub use cache::{BlockCache, CacheMetrics};
pub use compaction::{CompactionOutcome, CompactionReason, CompactionReport, MergePace, Unpaced};
pub use engine::{
    Checkpoint, CheckpointFile, Debt, Engine, FileEntry, FileInfo, Flushed, Growth, Inspection,
    ReadStats, ScanPage, ScanPartition, ScanPosition, ScanRead, SlicePage, SliceRead, Spread,
    StoredRow, VerifyReport, WindowDigest,
};
pub use error::{Error, ErrorKind, Result};
pub use metrics::EngineMetrics;
pub use options::{EngineOptions, TableOptions, WindowOptions};
pub use pace::{Limits, Pace, PaceOptions};
pub use row::{
    Cell, CellRef, CellValue, CellWrite, Cells, Change, ColumnId, Liveness, Mutation, Operation,
    PartitionKey, Row, RowLiveness, Rows, StaticRow, TableId, Timestamp, Window,
};
