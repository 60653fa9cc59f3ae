//! Memtables: what was applied and is not yet in files.
//!
//! One writer applies, many readers read; a reader locks only while it notes where the rows are that
//! its page can need, never while it reads a file. Rows lie encoded in chunks of their partition, in
//! the order in which they were written, and readers share the chunks: a page of the newest rows
//! copies little and allocates a handful of times, and a million rows are a few thousand allocations.
//! A lock-free skip list was not needed: there is one writer, and a reader holds it up for less than
//! a microsecond.
//!
//! # Invariants
//!
//! * Whatever a deletion in the same memtable shadows is forgotten at once, because everything
//!   in a memtable is older than the operation being applied.
//! * The bytes that a memtable reports grow and shrink with its content; shared buffers of the
//!   caller are copied, so that a memtable pins no memory that it does not count.
//! * A frozen memtable never changes again.

mod epochs;
mod index;
mod partition;
mod slice;
mod store;

pub(crate) use epochs::Epochs;
pub(crate) use partition::MemPartition;
pub(crate) use slice::{MemItem, MemSlice, SliceLimit};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::budget::MemoryBudget;
use crate::row::{Change, Mutation, TableId, Timestamp, Window};

/// Counted for every partition on top of its keys and rows, in bytes.
const PARTITION_OVERHEAD_BYTES: usize = 256;

/// The partitions of one token, sorted by key.
type Siblings = Vec<(Box<[u8]>, Box<MemPartition>)>;

/// A memtable as readers and the writer share it.
pub(crate) type SharedMemtable = Arc<RwLock<Memtable>>;

/// Changes of one tablet over a range of log indexes.
#[derive(Debug)]
pub(crate) struct Memtable {
    /// By (table, token); the partitions of one token are sorted by key.
    partitions: BTreeMap<(TableId, u64), Siblings>,
    /// Where something was written to.
    windows: BTreeSet<(TableId, Window)>,
    epochs: Epochs,
    bytes: usize,
    budget: Arc<MemoryBudget>,
    indexes: Option<(u64, u64)>,
    /// Where bodies are encoded before they are copied at their size.
    scratch: Vec<u8>,
}

/// Largest scratch buffer that is kept, in bytes.
const SCRATCH_BYTES_MAX: usize = 64 * 1024;

impl Memtable {
    /// An empty memtable whose bytes count in `budget` until the last reader lets go of it.
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Self {
            partitions: BTreeMap::new(),
            windows: BTreeSet::new(),
            epochs: Epochs::default(),
            bytes: 0,
            budget: Arc::clone(budget),
            indexes: None,
            scratch: Vec::new(),
        }
    }

    /// The same, as readers and the writer share it.
    pub(crate) fn shared(budget: &Arc<MemoryBudget>) -> SharedMemtable {
        Arc::new(RwLock::new(Self::new(budget)))
    }

    /// Applies the changes of log index `index`, the first operation stamped with `timestamp`.
    pub(crate) fn apply(&mut self, index: u64, timestamp: Timestamp, changes: &[Change]) {
        let first = self.indexes.map_or(index, |(first, _)| first);
        self.indexes = Some((first, index));
        let mut next = timestamp;
        let before = self.bytes;
        for change in changes {
            match change {
                Change::Mutation(mutation) => self.mutate(mutation, &mut next),
                Change::DeletePlacement {
                    table,
                    token,
                    placement,
                } => {
                    self.delete_placement(*table, *token, placement, next);
                    next = Timestamp(next.0.saturating_add(1));
                }
            }
        }
        self.budget.change(before, self.bytes);
    }

    fn mutate(&mut self, mutation: &Mutation, next: &mut Timestamp) {
        let id = &mutation.partition;
        let siblings = self
            .partitions
            .entry((mutation.table, id.token))
            .or_default();
        let at = match siblings.binary_search_by(|(key, _)| key.as_ref().cmp(&id.key)) {
            Ok(at) => at,
            Err(at) => {
                let partition = Box::new(MemPartition::new(id.window));
                siblings.insert(at, (id.key.as_ref().into(), partition));
                self.windows.insert((mutation.table, id.window));
                self.bytes += PARTITION_OVERHEAD_BYTES + id.key.len();
                at
            }
        };
        let partition = &mut siblings[at].1;
        let before = partition.bytes();
        for operation in &mutation.operations {
            partition.apply(operation, *next, &mut self.scratch);
            *next = Timestamp(next.0.saturating_add(1));
        }
        self.bytes = self.bytes + partition.bytes() - before;
        if self.scratch.capacity() > SCRATCH_BYTES_MAX {
            self.scratch = Vec::new();
        }
    }

    fn delete_placement(
        &mut self,
        table: TableId,
        token: u64,
        placement: &Bytes,
        timestamp: Timestamp,
    ) {
        if let Some(siblings) = self.partitions.get_mut(&(table, token)) {
            let mut freed = 0;
            siblings.retain(|(key, partition)| {
                let keep = !key.starts_with(placement);
                let size = PARTITION_OVERHEAD_BYTES + key.len() + partition.bytes();
                freed += if keep { 0 } else { size };
                keep
            });
            self.bytes -= freed;
        }
        self.bytes += self.epochs.insert(table, token, placement, timestamp);
    }

    /// Forgets everything of a table.
    pub(crate) fn drop_table(&mut self, table: TableId) {
        let before = self.bytes;
        let keys = (table, 0)..=(table, u64::MAX);
        let tokens: Vec<_> = self.partitions.range(keys).map(|(key, _)| *key).collect();
        for token in tokens {
            for (key, partition) in self.partitions.remove(&token).into_iter().flatten() {
                self.bytes -= PARTITION_OVERHEAD_BYTES + key.len() + partition.bytes();
            }
        }
        self.windows.retain(|(of, _)| *of != table);
        self.bytes -= self.epochs.drop_table(table);
        self.budget.change(before, self.bytes);
    }

    /// One partition, if anything was written to it.
    pub(crate) fn partition(
        &self,
        table: TableId,
        token: u64,
        key: &[u8],
    ) -> Option<&MemPartition> {
        let siblings = self.partitions.get(&(table, token))?;
        let at = siblings
            .binary_search_by(|(sibling, _)| sibling.as_ref().cmp(key))
            .ok()?;
        siblings.get(at).map(|(_, partition)| partition.as_ref())
    }

    /// The first partition of `table` after (token, key), or from the token on without a key.
    pub(crate) fn next_partition(
        &self,
        table: TableId,
        token: u64,
        key: Option<&[u8]>,
    ) -> Option<(u64, Bytes, Window)> {
        let range = (table, token)..=(table, u64::MAX);
        for ((_, found), siblings) in self.partitions.range(range) {
            let at = match key.filter(|_| *found == token) {
                Some(key) => siblings.partition_point(|(sibling, _)| sibling.as_ref() <= key),
                None => 0,
            };
            if let Some((key, partition)) = siblings.get(at) {
                return Some((*found, Bytes::copy_from_slice(key), partition.window()));
            }
        }
        None
    }

    /// All partitions, grouped by (table, window), then in order of (token, key).
    pub(crate) fn grouped(&self) -> Vec<(TableId, Window, u64, &[u8], &MemPartition)> {
        let mut all: Vec<_> = self
            .partitions
            .iter()
            .flat_map(|((table, token), siblings)| {
                siblings.iter().map(|(key, partition)| {
                    let window = partition.window();
                    (*table, window, *token, key.as_ref(), partition.as_ref())
                })
            })
            .collect();
        all.sort_by_key(|(table, window, ..)| (*table, *window));
        all
    }

    /// Whether something was written to the window.
    pub(crate) fn has_window(&self, table: TableId, window: Window) -> bool {
        self.windows.contains(&(table, window))
    }

    /// Tables that something was written to.
    pub(crate) fn tables(&self) -> impl Iterator<Item = TableId> {
        self.partitions
            .keys()
            .map(|(table, _)| *table)
            .chain(self.epochs.tables())
    }

    /// Deletions of whole placement keys.
    pub(crate) fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// First and last applied log index.
    pub(crate) fn indexes(&self) -> Option<(u64, u64)> {
        self.indexes
    }
}

impl Drop for Memtable {
    fn drop(&mut self) {
        self.budget.change(self.bytes, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use proptest::prelude::*;

    use super::*;
    use crate::row::{CellValue, CellWrite, ColumnId, Liveness, Operation, PartitionKey};

    fn recount(memtable: &Memtable) -> usize {
        let partitions = memtable.partitions.values().flatten();
        let partitions: usize = partitions
            .map(|(key, partition)| PARTITION_OVERHEAD_BYTES + key.len() + partition.recount())
            .sum();
        partitions + memtable.epochs.recount()
    }

    fn key() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(0_u8..3, 0..3).prop_map(Bytes::from)
    }

    fn cells() -> impl Strategy<Value = Vec<CellWrite>> {
        let value = prop_oneof![
            key().prop_map(CellValue::Live),
            Just(CellValue::Tombstone),
            (key(), 0_u64..9).prop_map(|(value, expires_at_ms)| CellValue::Expiring {
                value,
                expires_at_ms
            }),
        ];
        let cell = (0_u32..3, key(), value).prop_map(|(column, path, value)| CellWrite {
            column: ColumnId(column),
            path,
            value,
        });
        proptest::collection::vec(cell, 0..4)
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let liveness = proptest::option::of(proptest::option::of(0_u64..9))
            .prop_map(|marker| marker.map(|expires_at_ms| Liveness { expires_at_ms }));
        prop_oneof![
            6 => (key(), liveness, cells()).prop_map(|(clustering, liveness, cells)| {
                Operation::Upsert { clustering, liveness, cells }
            }),
            1 => cells().prop_map(|cells| Operation::UpsertStatic { cells }),
            1 => (proptest::option::of(key()), 0_u32..3).prop_map(|(clustering, column)| {
                Operation::DeleteComplex { clustering, column: ColumnId(column) }
            }),
            2 => key().prop_map(|clustering| Operation::DeleteRow { clustering }),
            2 => (key(), key()).prop_map(|(start, end)| Operation::DeleteRange {
                start: Bound::Included(start),
                end: Bound::Excluded(end),
            }),
            1 => Just(Operation::DeletePartition),
        ]
    }

    fn change() -> impl Strategy<Value = Change> {
        let mutation = (
            0_u64..3,
            key(),
            proptest::collection::vec(operation(), 1..4),
        );
        prop_oneof![
            12 => mutation.prop_map(|(token, key, operations)| Change::Mutation(Mutation {
                table: TableId(u32::try_from(token % 2).unwrap_or_default()),
                partition: PartitionKey { token, key, window: Window::TIMELESS },
                operations,
            })),
            1 => (0_u64..3, key()).prop_map(|(token, placement)| Change::DeletePlacement {
                table: TableId(u32::try_from(token % 2).unwrap_or_default()),
                token,
                placement,
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_bytes_in_use_are_those_of_a_recount(changes in proptest::collection::vec(change(), 1..40)) {
            let mut memtable = Memtable::new(&Arc::default());
            let mut timestamp = 1;
            for (index, change) in (1..).zip(changes) {
                let count = change.operation_count();
                memtable.apply(index, Timestamp(timestamp), &[change]);
                timestamp += count;
                prop_assert_eq!(memtable.bytes(), recount(&memtable));
            }
            memtable.drop_table(TableId(1));
            prop_assert_eq!(memtable.bytes(), recount(&memtable));
            memtable.drop_table(TableId(0));
            prop_assert_eq!(memtable.bytes(), 0);
        }

        #[test]
        fn an_upsert_is_stored_the_same_whichever_way_it_takes(
            cells in cells(), expires in proptest::option::of(0_u64..9), insert in any::<bool>(), at in 1_u64..9
        ) {
            use crate::row::{Fragment, codec};
            let liveness = insert.then_some(Liveness { expires_at_ms: expires });
            let fragment = Fragment::upsert(Timestamp(at), liveness, &cells);
            let sorted: Vec<CellWrite> = fragment.cells.iter().map(|cell| CellWrite {
                column: cell.column,
                path: cell.path.clone(),
                value: cell.value.clone(),
            }).collect();
            let (mut slow, mut fast) = (Vec::new(), Vec::new());
            codec::encode(&fragment, Timestamp::ZERO, &mut slow);
            let summary = codec::encode_upsert(Timestamp(at), liveness, &sorted, &mut fast);
            prop_assert_eq!(summary, codec::inspect(&fast, Timestamp::ZERO).unwrap());
            prop_assert_eq!(slow, fast);
        }
    }
}
