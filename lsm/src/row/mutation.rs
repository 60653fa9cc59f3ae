//! What a writer hands in: operations on partitions, without timestamps.
//!
//! The engine stamps the operations of one applied log index with consecutive timestamps in the
//! order in which they are listed, over all changes of the index.

use std::ops::Bound;

use bytes::Bytes;

use super::{CellValue, ColumnId, PartitionKey, TableId};

/// The insertion marker to write. See [`super::RowLiveness`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// First millisecond, Unix time, at which the marker is gone; `None` = never.
    pub expires_at_ms: Option<u64>,
}

/// One cell to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellWrite {
    /// The column.
    pub column: ColumnId,
    /// Empty for plain columns; the element key for sets, maps and lists.
    pub path: Bytes,
    /// The new value, or [`CellValue::Tombstone`] to delete the cell.
    pub value: CellValue,
}

/// One operation on one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes cells of a row, and the insertion marker if `liveness` is given.
    Upsert {
        /// The row.
        clustering: Bytes,
        /// `Some` for INSERT, `None` for UPDATE.
        liveness: Option<Liveness>,
        /// Cells to write.
        cells: Vec<CellWrite>,
    },
    /// Writes cells of the static row.
    UpsertStatic {
        /// Cells to write.
        cells: Vec<CellWrite>,
    },
    /// Deletes all elements of one collection column.
    DeleteComplex {
        /// The row; `None` is the static row.
        clustering: Option<Bytes>,
        /// The collection column.
        column: ColumnId,
    },
    /// Deletes one row.
    DeleteRow {
        /// The row.
        clustering: Bytes,
    },
    /// Deletes all rows of a clustering range. An empty range deletes nothing.
    DeleteRange {
        /// First row.
        start: Bound<Bytes>,
        /// Last row.
        end: Bound<Bytes>,
    },
    /// Deletes the static row and all rows.
    DeletePartition,
}

/// Operations on one partition. A reader sees all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// Operations, in order.
    pub operations: Vec<Operation>,
}

/// One change of a tablet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Operations on one partition.
    Mutation(Mutation),
    /// Deletes every partition of a table whose key starts with a placement key, in O(1).
    DeletePlacement {
        /// The table.
        table: TableId,
        /// Token of `placement`.
        token: u64,
        /// The placement key: the common prefix of the partition keys.
        placement: Bytes,
    },
}

impl Change {
    /// How many timestamps the change takes.
    pub(crate) fn operation_count(&self) -> u64 {
        match self {
            Self::Mutation(mutation) => mutation.operations.len() as u64,
            Self::DeletePlacement { .. } => 1,
        }
    }
}
