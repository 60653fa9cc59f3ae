//! SSTables: immutable sorted files of one table and one window. Layout: `docs/formats/sstable.md`.
//!
//! ```text
//! dictionary? | data blocks | index blocks | directory | filter | properties | top index | footer
//! ```
//!
//! # Invariants
//!
//! * Every byte is covered by a checksum seeded with the identity of the file and the offset, so
//!   that a damaged, misplaced or foreign block is an error and never data.
//! * Data blocks are cut between rows. A block can be decoded alone: it repeats the header of the
//!   partition that it continues and says which range deletion is open at its start.
//! * Every entry of a block is addressable, so reading backwards costs what reading forwards does.
//! * The index says of each block from when on nothing in it is visible, so that a reader can
//!   skip it unread.
//!
//! # Cost
//!
//! A slice costs one filter probe, one directory lookup and a binary search over index blocks,
//! which are cached; then only blocks of the slice that may hold something visible.

mod block;
mod block_builder;
mod cursor;
mod dictionary;
mod directory;
pub(crate) mod dump;
mod filter;
pub(crate) mod format;
mod frame;
pub(crate) mod fuzz;
mod index;
mod mark;
mod open;
mod properties;
mod reader;
mod verify;
mod writer;

pub(crate) use block::DataBlock;
pub(crate) use cursor::{FileCursor, RunLimits, Slice};
pub(crate) use dictionary::{Kept, Samples, Trained};
pub(crate) use index::{BlockProperties, IndexBlock};
pub(crate) use open::SsTable;
pub(crate) use properties::Properties;
pub(crate) use reader::{PartitionHead, TableReader};
pub(crate) use writer::{TableWriter, WriterOptions};
