//! Purging: may this tombstone or expired datum be forgotten?
//!
//! A tombstone shadows older data. Forgotten too early, deleted data comes back; so this module
//! answers one question and nothing else.
//!
//! The inputs of a merge are already reconciled when they get here. What remains is data that the
//! merge does not see: other files of the same window. Memtables do not matter, because all they
//! hold is newer than every tombstone in a file. Other windows do not matter, because a partition
//! lives in one window. Other replicas do not matter, because an older write never arrives after
//! a newer delete: all replicas apply one log.
//!
//! # Invariants
//!
//! * A tombstone of time t is kept while a file outside the merge that may hold the partition has
//!   anything older than t.
//! * An expired cell is kept as a tombstone under the same rule.
//!
//! # Cost
//!
//! One filter probe per outside file and partition; nothing is read.

use crate::manifest::TableFile;
use crate::row::{CellValue, Fragment, Timestamp};
use std::sync::Arc;

/// Decides for one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purge {
    /// Everything outside the merge is at least this old; MAX = nothing is outside.
    oldest_outside: Timestamp,
    now_ms: u64,
}

impl Purge {
    /// The rule for the partition (token, key) when `outside` are the files that are not merged.
    pub(crate) fn new(outside: &[Arc<TableFile>], token: u64, key: &[u8], now_ms: u64) -> Self {
        let oldest = outside
            .iter()
            .filter(|file| file.table.may_contain(token, key))
            .map(|file| file.meta.properties.min_timestamp)
            .min();
        Self {
            oldest_outside: oldest.unwrap_or(Timestamp(u64::MAX)),
            now_ms,
        }
    }

    /// Whether a tombstone may go: nothing that it could shadow is outside.
    pub(crate) fn may_forget(&self, tombstone: Timestamp) -> bool {
        tombstone < self.oldest_outside
    }

    /// The deletion to keep: zero if it may go, or if `outer` covers it anyway.
    pub(crate) fn deletion(&self, deletion: Timestamp, outer: Timestamp) -> Timestamp {
        if deletion <= outer || self.may_forget(deletion) {
            Timestamp::ZERO
        } else {
            deletion
        }
    }

    /// What to keep of a merged row below `covering`, or `None` if nothing.
    pub(crate) fn row(&self, mut row: Fragment, covering: Timestamp) -> Option<Fragment> {
        row.shadow(covering);
        row.deletion = self.deletion(row.deletion, covering);
        row.complex
            .retain(|(_, deletion)| !self.may_forget(*deletion));
        row.liveness = row
            .liveness
            .filter(|marker| marker.is_live_at(self.now_ms) || !self.may_forget(marker.timestamp));
        row.cells.retain_mut(|cell| {
            if cell.value.is_live_at(self.now_ms) {
                return true;
            }
            cell.value = CellValue::Tombstone;
            !self.may_forget(cell.timestamp)
        });
        (!row.is_empty()).then_some(row)
    }
}
