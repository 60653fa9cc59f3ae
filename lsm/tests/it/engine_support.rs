//! Short ways to write and read rows, and a seeded random number generator.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{MemoryVfs, OsVfs, Vfs};
use lsm::{
    BlockCache, Cell, CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness,
    Mutation, Operation, PartitionKey, SlicePage, SliceRead, TableId, TableOptions, Timestamp,
    Window, WindowOptions,
};

/// The table that most tests use; windows of 1000 ms from 0 on.
pub(crate) const TABLE: TableId = TableId(7);
/// Where the engine is.
pub(crate) const DIR: &str = "/tablet";

/// Splitmix64: the same seed gives the same test.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Whether an event of this percentage happens.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Small blocks, so that few rows make many of them.
pub(crate) fn options() -> EngineOptions {
    EngineOptions {
        cache: Arc::new(BlockCache::new(256 * 1024)),
        block_bytes: 1024,
        seal_grace_ms: 100,
        seed: 42,
        ..EngineOptions::default()
    }
}

pub(crate) fn open(vfs: &Arc<dyn Vfs>, options: EngineOptions) -> lsm::Result<Engine> {
    let engine = Engine::open(Arc::clone(vfs), Path::new(DIR), options)?;
    define(&engine, Some(1000))?;
    Ok(engine)
}

/// Makes [`TABLE`] known, with windows of this width.
pub(crate) fn define(engine: &Engine, window_ms: Option<u64>) -> lsm::Result<()> {
    let windowed = window_ms.map(|window_ms| WindowOptions {
        window_ms,
        origin_ms: 0,
    });
    engine.define_table(TABLE, TableOptions { windowed })
}

pub(crate) fn memory() -> Arc<dyn Vfs> {
    Arc::new(MemoryVfs::new())
}

pub(crate) fn partition(key: &str, window: i64) -> PartitionKey {
    PartitionKey {
        token: key.len() as u64,
        key: Bytes::copy_from_slice(key.as_bytes()),
        window: Window(window),
    }
}

pub(crate) fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

pub(crate) fn mutation(partition: &PartitionKey, operations: Vec<Operation>) -> Change {
    Change::Mutation(Mutation {
        table: TABLE,
        partition: partition.clone(),
        operations,
    })
}

pub(crate) fn write(column: u32, value: &str) -> CellWrite {
    CellWrite {
        column: ColumnId(column),
        path: Bytes::new(),
        value: CellValue::Live(Bytes::copy_from_slice(value.as_bytes())),
    }
}

/// An INSERT of one text column.
pub(crate) fn insert(number: u64, value: &str) -> Operation {
    Operation::Upsert {
        clustering: key(number),
        liveness: Some(Liveness::default()),
        cells: vec![write(1, value)],
    }
}

pub(crate) fn delete(number: u64) -> Operation {
    Operation::DeleteRow {
        clustering: key(number),
    }
}

pub(crate) fn delete_range(from: u64, to: u64) -> Operation {
    Operation::DeleteRange {
        start: Bound::Included(key(from)),
        end: Bound::Excluded(key(to)),
    }
}

/// Applies one index whose number is also its time in milliseconds.
pub(crate) fn apply(engine: &Engine, index: u64, changes: &[Change]) {
    engine
        .apply(index, Timestamp(index * 1000), changes)
        .expect("applies");
}

/// Freezes and flushes everything.
pub(crate) fn flush(engine: &Engine) {
    flush_as(engine, &Bytes::from_static(b"owner"));
}

/// The same with these owner bytes.
pub(crate) fn flush_as(engine: &Engine, owner: &Bytes) {
    while engine.flush_step().expect("flushes") {}
    engine.freeze(owner.clone()).expect("freezes");
    while engine.flush_step().expect("flushes") {}
}

/// Compacts until there is nothing to do; fails if that never comes.
pub(crate) fn compact(engine: &Engine, now_ms: u64) {
    for _ in 0..1000 {
        if !engine.compact_step(now_ms).expect("compacts") {
            return;
        }
    }
    panic!("compaction does not come to rest");
}

pub(crate) fn read_all(engine: &Engine, partition: &PartitionKey, now_ms: u64) -> SlicePage {
    let mut read = SliceRead::all(TABLE, partition.clone(), usize::MAX, now_ms);
    read.tombstone_budget = usize::MAX;
    read.limit_bytes = usize::MAX;
    engine.read(&read).expect("reads")
}

/// The clustering numbers of a page.
pub(crate) fn numbers(page: &SlicePage) -> Vec<u64> {
    let number = |row: lsm::Row<'_>| u64::from_be_bytes(row.clustering.try_into().unwrap());
    page.rows.iter().map(number).collect()
}

/// A row with bytes of its own, to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedRow {
    pub(crate) clustering: Bytes,
    pub(crate) liveness: Option<lsm::RowLiveness>,
    pub(crate) cells: Vec<Cell>,
}

/// Rows with bytes of their own, to compare.
pub(crate) fn owned(rows: &lsm::Rows) -> Vec<OwnedRow> {
    rows.iter()
        .map(|row| OwnedRow {
            clustering: Bytes::copy_from_slice(row.clustering),
            liveness: row.liveness(),
            cells: cells(row.cells()),
        })
        .collect()
}

/// Cells with bytes of their own, to compare.
pub(crate) fn cells(cells: lsm::Cells<'_>) -> Vec<Cell> {
    cells.map(|cell| cell.to_cell()).collect()
}

/// Replaces a page of the documentation.
pub(crate) fn write_page(path: &Path, text: &str) {
    let file = OsVfs.open(path).unwrap();
    file.set_len(0).unwrap();
    file.write_at(text.as_bytes(), 0).unwrap();
}
