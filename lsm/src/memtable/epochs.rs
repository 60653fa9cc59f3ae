//! Deletions of everything under a placement key, in O(1): one record instead of one deletion per
//! partition and window.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::row::{TableId, Timestamp};

/// Counted for every record on top of its key, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 96;

/// For each (table, token, placement key), everything not newer than the timestamp is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    records: BTreeMap<(TableId, u64), Vec<(Bytes, Timestamp)>>,
}

impl Epochs {
    /// Adds a deletion and returns by how many bytes the memory in use grew.
    pub(crate) fn insert(
        &mut self,
        table: TableId,
        token: u64,
        placement: &[u8],
        timestamp: Timestamp,
    ) -> usize {
        let records = self.records.entry((table, token)).or_default();
        if let Some((_, newest)) = records.iter_mut().find(|(key, _)| key == placement) {
            *newest = (*newest).max(timestamp);
            return 0;
        }
        records.push((Bytes::copy_from_slice(placement), timestamp));
        RECORD_OVERHEAD_BYTES + placement.len()
    }

    /// The newest deletion that covers the partition.
    pub(crate) fn deletion(&self, table: TableId, token: u64, key: &[u8]) -> Timestamp {
        if self.records.is_empty() {
            return Timestamp::ZERO;
        }
        let records = self.records.get(&(table, token)).into_iter().flatten();
        records
            .filter(|(placement, _)| key.starts_with(placement))
            .map(|(_, timestamp)| *timestamp)
            .max()
            .unwrap_or_default()
    }

    /// All records in order: table, token, placement key, timestamp.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TableId, u64, &Bytes, Timestamp)> {
        self.records.iter().flat_map(|((table, token), records)| {
            records
                .iter()
                .map(|(placement, timestamp)| (*table, *token, placement, *timestamp))
        })
    }

    /// Takes over the records of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (table, token, placement, timestamp) in other.iter() {
            self.insert(table, token, placement, timestamp);
        }
    }

    /// Keeps the records that `keep` says.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(TableId, u64, Timestamp) -> bool) {
        self.records.retain(|(table, token), records| {
            records.retain(|(_, timestamp)| keep(*table, *token, *timestamp));
            !records.is_empty()
        });
    }

    /// Forgets a table and returns by how many bytes the memory in use shrank.
    pub(crate) fn drop_table(&mut self, table: TableId) -> usize {
        let freed = self
            .iter()
            .filter(|(found, ..)| *found == table)
            .map(|(_, _, placement, _)| RECORD_OVERHEAD_BYTES + placement.len())
            .sum();
        self.records.retain(|(found, _), _| *found != table);
        freed
    }

    /// Bytes in use, counted again from the content.
    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        self.iter()
            .map(|(_, _, placement, _)| RECORD_OVERHEAD_BYTES + placement.len())
            .sum()
    }

    /// Tables with records.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.records.keys().map(|(table, _)| *table)
    }
}
