//! The data model: partition, static row, rows in clustering order, cells; and what deletes them.
//!
//! ```text
//! table -> partition (token, key, window) -> static row
//!                                         -> row (clustering key) -> cell (column, path)
//! ```
//!
//! The engine never parses a key or a value: order is the order of bytes, so whoever encodes a
//! key decides the order (see [`crate::ordered`]).
//!
//! # Invariants
//!
//! * Every stored datum and every deletion has a [`Timestamp`]; a datum is visible when it is
//!   newer than every deletion that covers it and has not expired.
//! * Timestamps follow the log: a later operation has a larger one. Two data of one timestamp
//!   come from the same operation, so meeting it twice changes nothing.
//! * [`merge`] holds the only rule that chooses between two versions.

mod cell;
pub(crate) mod codec;
mod fragment;
pub(crate) mod merge;
mod mutation;
pub(crate) mod range;
mod transfer;
pub(crate) mod view;

pub use cell::{Cell, CellValue, RowLiveness};
pub(crate) use fragment::Fragment;
pub use mutation::{CellWrite, Change, Liveness, Mutation, Operation};
pub(crate) use transfer::PlainRow;
pub use view::{CellRef, Cells, Row, Rows, StaticRow};

use bytes::Bytes;

/// Identifies a table within one tablet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u32);

/// Identifies a column within one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u32);

/// Write time in microseconds; strictly increasing with (log index, operation) within a tablet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Older than everything; as a deletion it deletes nothing.
    pub const ZERO: Self = Self(0);
}

/// Number of a time window of a table; a function of the partition key, never of write time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(pub i64);

impl Window {
    /// The one window of a table without time.
    pub const TIMELESS: Self = Self(i64::MIN);
    /// No window of a partition: files that hold late rows of many windows are listed under it.
    pub const MIXED: Self = Self(i64::MIN + 1);
}

/// Names a partition. Partitions are ordered by (token, key).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// Hash of the placement key, which is a prefix of `key`.
    pub token: u64,
    /// Ordered bytes of all partition columns.
    pub key: Bytes,
    /// The window that `key` falls in. The same key must always come with the same window.
    pub window: Window,
}

impl PartitionKey {
    /// A partition of a table without time.
    pub fn timeless(token: u64, key: Bytes) -> Self {
        Self {
            token,
            key,
            window: Window::TIMELESS,
        }
    }
}
