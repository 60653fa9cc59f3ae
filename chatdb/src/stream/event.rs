//! What a subscription delivers.

use crate::stream::cursor::Cursor;
use crate::value::Value;
use bytes::Bytes;
use std::sync::Arc;

/// One thing that a subscription delivers.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamItem {
    /// An applied change of a topic in the subscription's interest. At least once, and in log order
    /// inside one tablet.
    Change(ChangeEvent),
    /// A published event that is not stored. At most once.
    Ephemeral {
        /// The topic it was published to.
        topic: String,
        /// What was published.
        payload: Bytes,
    },
    /// Changes of a raft group that can no longer be delivered: read the tables, then go on.
    Gap {
        /// Number of the raft group.
        group: u64,
        /// First log index that is gone.
        from: u64,
        /// Last log index that is gone.
        to: u64,
    },
    /// Everything up to this cursor was delivered. Sent first, and after quiet times.
    Progress(Cursor),
}

/// What happened to the row, range or partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// An INSERT wrote a row.
    Insert,
    /// An UPDATE (or a DELETE of single columns) changed cells.
    Update,
    /// One row was deleted.
    DeleteRow,
    /// A range of rows was deleted.
    DeleteRange,
    /// A partition was deleted.
    DeletePartition,
    /// Everything under a placement key was deleted.
    DeletePlacement,
}

/// One applied change, with names from the catalog.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeEvent {
    /// Subscribe with it to get everything after this change.
    pub cursor: Cursor,
    /// When the write was proposed, in microseconds since 1970; never decreases inside a tablet.
    pub timestamp_us: u64,
    /// The topics that the write named.
    pub topics: Arc<[String]>,
    /// `keyspace.table`.
    pub table: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The key columns that the statement named.
    pub key: Vec<(String, Value)>,
    /// The columns that the statement wrote; null where it deleted.
    pub columns: Vec<(String, Value)>,
    /// The note of the write.
    pub note: Bytes,
}

impl ChangeEvent {
    /// The key or other column of this name, null when the event does not carry it.
    pub fn get(&self, name: &str) -> &Value {
        static NULL: Value = Value::Null;
        self.key
            .iter()
            .chain(&self.columns)
            .find(|(column, _)| column == name)
            .map_or(&NULL, |(_, value)| value)
    }
}
