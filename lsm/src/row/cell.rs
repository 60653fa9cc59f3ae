//! Cells and insertion markers.

use bytes::Bytes;

use super::{ColumnId, Timestamp};

/// The value of a cell, or the mark of its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellValue {
    /// A value that stays until it is overwritten or deleted.
    Live(Bytes),
    /// A value that is invisible from `expires_at_ms` on.
    Expiring {
        /// The value.
        value: Bytes,
        /// First millisecond, Unix time, at which the value is not visible any more.
        expires_at_ms: u64,
    },
    /// The cell was deleted.
    Tombstone,
}

impl CellValue {
    /// The value, if this is not a tombstone. Expiry is not looked at.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Self::Live(value) | Self::Expiring { value, .. } => Some(value),
            Self::Tombstone => None,
        }
    }

    /// Whether a read at `now_ms` sees the value.
    pub(crate) fn is_live_at(&self, now_ms: u64) -> bool {
        match self {
            Self::Live(_) => true,
            Self::Expiring { expires_at_ms, .. } => *expires_at_ms > now_ms,
            Self::Tombstone => false,
        }
    }
}

/// One version of one column, or of one element of a collection column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The column.
    pub column: ColumnId,
    /// Empty for plain columns; the element key for sets, maps and lists.
    pub path: Bytes,
    /// When it was written.
    pub timestamp: Timestamp,
    /// What was written.
    pub value: CellValue,
}

/// The marker that a row was inserted, which keeps it alive when all its cells are null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowLiveness {
    /// When the row was inserted.
    pub timestamp: Timestamp,
    /// First millisecond, Unix time, at which the marker is gone; `None` = never.
    pub expires_at_ms: Option<u64>,
}

impl RowLiveness {
    /// Whether a read at `now_ms` sees the marker.
    pub(crate) fn is_live_at(&self, now_ms: u64) -> bool {
        self.expires_at_ms
            .is_none_or(|expires_at_ms| expires_at_ms > now_ms)
    }
}
