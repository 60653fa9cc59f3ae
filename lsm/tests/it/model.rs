//! The engine against a model that keeps everything: random operations, with flushes,
//! compactions and reopening in between, must never show in what a read returns.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "random numbers below small bounds"
)]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::Vfs;
use lsm::{
    Cell, CellValue, CellWrite, Change, ColumnId, Engine, Liveness, Operation, PartitionKey,
    ScanPartition, ScanRead, SliceRead, Timestamp,
};

use crate::engine_support::*;

/// Everything ever written to one partition, in order.
#[derive(Clone, Debug, Default)]
struct History {
    operations: Vec<(Timestamp, Operation)>,
    /// Deletions of the placement key.
    epochs: Vec<Timestamp>,
}

type Cells = BTreeMap<(ColumnId, Bytes), (Timestamp, CellValue)>;

#[derive(Clone, Debug, Default)]
struct ModelRow {
    liveness: Option<(Timestamp, Option<u64>)>,
    cells: Cells,
}

impl ModelRow {
    fn write(&mut self, at: Timestamp, cells: &[CellWrite]) {
        for cell in cells {
            self.cells
                .insert((cell.column, cell.path.clone()), (at, cell.value.clone()));
        }
    }

    /// Visible cells, or `None` if the row does not exist.
    fn visible(&self, now_ms: u64) -> Option<Vec<Cell>> {
        let lives = |expires: Option<u64>| expires.is_none_or(|expires| expires > now_ms);
        let cells: Vec<Cell> = self
            .cells
            .iter()
            .filter(|(_, (_, value))| match value {
                CellValue::Live(_) => true,
                CellValue::Expiring { expires_at_ms, .. } => *expires_at_ms > now_ms,
                CellValue::Tombstone => false,
            })
            .map(|((column, path), (timestamp, value))| Cell {
                column: *column,
                path: path.clone(),
                timestamp: *timestamp,
                value: value.clone(),
            })
            .collect();
        let has_marker = self.liveness.is_some_and(|(_, expires)| lives(expires));
        (has_marker || !cells.is_empty()).then_some(cells)
    }
}

/// What a partition looks like: static cells, rows.
type Visible = (Vec<Cell>, Rows);

type Rows = Vec<(Bytes, Vec<Cell>)>;

impl History {
    /// Replays everything, which is the definition of what a read must return.
    fn visible(&self, now_ms: u64) -> Visible {
        let mut fixed = ModelRow::default();
        let mut rows: BTreeMap<Bytes, ModelRow> = BTreeMap::new();
        let mut epochs = self.epochs.iter().peekable();
        for (at, operation) in &self.operations {
            while epochs.next_if(|epoch| *epoch < at).is_some() {
                rows.clear();
                fixed = ModelRow::default();
            }
            match operation {
                Operation::Upsert {
                    clustering,
                    liveness,
                    cells,
                } => {
                    let row = rows.entry(clustering.clone()).or_default();
                    if let Some(marker) = liveness {
                        row.liveness = Some((*at, marker.expires_at_ms));
                    }
                    row.write(*at, cells);
                }
                Operation::UpsertStatic { cells } => fixed.write(*at, cells),
                Operation::DeleteComplex { clustering, column } => {
                    let row = match clustering {
                        Some(clustering) => rows.entry(clustering.clone()).or_default(),
                        None => &mut fixed,
                    };
                    row.cells.retain(|(found, _), _| found != column);
                }
                Operation::DeleteRow { clustering } => {
                    rows.remove(clustering);
                }
                Operation::DeleteRange { start, end } => {
                    use std::ops::RangeBounds;
                    let range = (start.clone(), end.clone());
                    rows.retain(|clustering, _| !range.contains(clustering));
                }
                Operation::DeletePartition => {
                    rows.clear();
                    fixed = ModelRow::default();
                }
            }
        }
        if epochs.next().is_some() {
            rows.clear();
            fixed = ModelRow::default();
        }
        let rows = rows
            .into_iter()
            .filter_map(|(clustering, row)| row.visible(now_ms).map(|cells| (clustering, cells)));
        (fixed.visible(now_ms).unwrap_or_default(), rows.collect())
    }
}

struct World {
    seed: u64,
    random: Random,
    vfs: Arc<dyn Vfs>,
    engine: Engine,
    now_ms: u64,
    index: u64,
    /// Changes after the flushed index, to be replayed after reopening.
    log: Vec<(u64, Timestamp, Vec<Change>)>,
    model: BTreeMap<(u64, Bytes, i64), History>,
}

const PLACEMENTS: [&str; 3] = ["a", "bb", "ccc"];

impl World {
    fn new(seed: u64) -> Self {
        let vfs = memory();
        let engine = open(&vfs, small_options(seed)).unwrap();
        Self {
            seed,
            random: Random(seed),
            vfs,
            engine,
            now_ms: 1,
            index: 0,
            log: Vec::new(),
            model: BTreeMap::new(),
        }
    }

    fn partition(&mut self) -> PartitionKey {
        let placement = PLACEMENTS[self.random.below(3) as usize];
        let window = self.random.below(3) as i64;
        let mut partition = partition(&format!("{placement}/{window}"), window);
        partition.token = placement.len() as u64;
        partition
    }

    fn value(&mut self) -> CellValue {
        let len = self.random.below(if self.random.0.is_multiple_of(50) {
            3000
        } else {
            60
        });
        let value = Bytes::from(vec![(len % 251) as u8; len as usize]);
        match self.random.below(10) {
            0..=6 => CellValue::Live(value),
            7 | 8 => CellValue::Expiring {
                value,
                expires_at_ms: self.now_ms + self.random.below(2000),
            },
            _ => CellValue::Tombstone,
        }
    }

    fn cells(&mut self) -> Vec<CellWrite> {
        (0..self.random.below(4))
            .map(|_| {
                let column = ColumnId(self.random.below(3) as u32);
                // Column 2 is a collection.
                let path = match column {
                    ColumnId(2) => Bytes::from(vec![self.random.below(4) as u8 + 1]),
                    _ => Bytes::new(),
                };
                CellWrite {
                    column,
                    path,
                    value: self.value(),
                }
            })
            .fold(BTreeMap::new(), |mut unique: BTreeMap<_, _>, cell| {
                unique.insert((cell.column, cell.path.clone()), cell);
                unique
            })
            .into_values()
            .collect()
    }

    fn clustering(&mut self) -> Bytes {
        key(self.random.below(60))
    }

    fn bound(&mut self) -> Bound<Bytes> {
        match self.random.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(self.clustering()),
            _ => Bound::Excluded(self.clustering()),
        }
    }

    fn operation(&mut self) -> Operation {
        match self.random.below(100) {
            0..=54 => {
                let expires = self.random.percent(20);
                let expires_at_ms = expires.then(|| self.now_ms + self.random.below(2000));
                let liveness = self
                    .random
                    .percent(60)
                    .then_some(Liveness { expires_at_ms });
                let cells = self.cells();
                Operation::Upsert {
                    clustering: self.clustering(),
                    liveness,
                    cells,
                }
            }
            55..=59 => Operation::UpsertStatic {
                cells: self.cells(),
            },
            60..=67 => {
                let clustering = self.random.percent(80).then(|| self.clustering());
                Operation::DeleteComplex {
                    clustering,
                    column: ColumnId(2),
                }
            }
            68..=87 => Operation::DeleteRow {
                clustering: self.clustering(),
            },
            88..=98 => Operation::DeleteRange {
                start: self.bound(),
                end: self.bound(),
            },
            _ => Operation::DeletePartition,
        }
    }

    fn apply(&mut self) {
        self.index += 1;
        let first = Timestamp(self.engine.last_timestamp().0.max(self.now_ms * 1000) + 1);
        let mut next = first;
        let mut changes = Vec::new();
        for _ in 0..=self.random.below(3) {
            if self.random.percent(2) {
                let placement = PLACEMENTS[self.random.below(3) as usize];
                let (token, placement) = (placement.len() as u64, Bytes::from(placement));
                let all = self.model.iter_mut();
                all.filter(|((found, ..), _)| *found == token)
                    .for_each(|(_, history)| history.epochs.push(next));
                changes.push(Change::DeletePlacement {
                    table: TABLE,
                    token,
                    placement,
                });
                next.0 += 1;
                continue;
            }
            let partition = self.partition();
            let operations: Vec<Operation> = (0..=self.random.below(4))
                .map(|_| self.operation())
                .collect();
            let id = (partition.token, partition.key.clone(), partition.window.0);
            let history = self.model.entry(id).or_default();
            for operation in &operations {
                history.operations.push((next, operation.clone()));
                next.0 += 1;
            }
            changes.push(mutation(&partition, operations));
        }
        self.engine.apply(self.index, first, &changes).unwrap();
        self.log.push((self.index, first, changes));
    }

    fn maintain(&mut self) {
        match self.random.below(100) {
            0..=39 => {
                if self.engine.metrics().frozen < 4 {
                    self.engine.freeze(Bytes::new()).unwrap();
                }
            }
            40..=64 => {
                self.engine.flush_step().unwrap();
                let flushed = self.engine.flushed().index;
                self.log.retain(|(index, ..)| *index > flushed);
            }
            65..=84 => {
                self.engine.compact_step(self.now_ms).unwrap();
            }
            85..=92 => self.now_ms += self.random.below(400),
            93..=95 => self.reopen(),
            _ => {
                self.engine.verify().unwrap();
            }
        }
    }

    fn reopen(&mut self) {
        let placeholder = open(&memory(), small_options(self.seed)).unwrap();
        drop(std::mem::replace(&mut self.engine, placeholder));
        self.engine = open(&self.vfs, small_options(self.seed)).unwrap();
        for (index, timestamp, changes) in &self.log {
            self.engine.apply(*index, *timestamp, changes).unwrap();
        }
    }

    fn check_slice(&mut self) {
        let partition = self.partition();
        let id = (partition.token, partition.key.clone(), partition.window.0);
        let history = self.model.get(&id).cloned().unwrap_or_default();
        let (fixed, rows) = history.visible(self.now_ms);
        let mut read = SliceRead::all(TABLE, partition, usize::MAX, self.now_ms);
        (read.start, read.end) = (self.bound(), self.bound());
        read.reverse = self.random.percent(50);
        read.tombstone_budget = 1 + self.random.below(30) as usize;
        read.limit_rows = 1 + self.random.below(20) as usize;
        read.limit_bytes = 1 + self.random.below(2000) as usize;
        let range = (read.start.clone(), read.end.clone());
        let mut expected: Vec<_> = rows
            .into_iter()
            .filter(|(clustering, _)| std::ops::RangeBounds::contains(&range, clustering))
            .collect();
        if read.reverse {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut next = read.clone();
        loop {
            let page = self.engine.read(&next).unwrap();
            assert_eq!(page.static_cells, fixed, "seed {}", self.seed);
            assert!(page.rows.len() <= read.limit_rows);
            found.extend(page.rows.into_iter().map(|row| (row.clustering, row.cells)));
            let Some(after) = page.resume_after else {
                break;
            };
            next = read.resumed_after(after);
        }
        assert_eq!(
            found, expected,
            "seed {} index {} read {read:?}",
            self.seed, self.index
        );
    }

    fn check_scan(&mut self) {
        let mut scan = ScanRead {
            table: TABLE,
            tokens: self.random.below(3)..=1 + self.random.below(3),
            after: None,
            limit_rows: 1 + self.random.below(50) as usize,
            limit_bytes: 1 + self.random.below(5000) as usize,
            tombstone_budget: 1 + self.random.below(50) as usize,
            now_ms: self.now_ms,
        };
        let mut expected = Vec::new();
        for ((token, key, _), history) in &self.model {
            let (fixed, rows) = history.visible(self.now_ms);
            if scan.tokens.contains(token) && (!fixed.is_empty() || !rows.is_empty()) {
                expected.push((key.clone(), fixed, rows));
            }
        }
        let mut found: Vec<(Bytes, Vec<Cell>, Rows)> = Vec::new();
        loop {
            let page = self.engine.scan(&scan).unwrap();
            for ScanPartition {
                partition,
                static_cells,
                rows,
            } in page.partitions
            {
                let rows = rows.into_iter().map(|row| (row.clustering, row.cells));
                match found.last_mut().filter(|(key, ..)| *key == partition.key) {
                    Some((_, fixed, before)) => {
                        assert_eq!(*fixed, static_cells);
                        before.extend(rows);
                    }
                    None => found.push((partition.key, static_cells, rows.collect())),
                }
            }
            scan.after = page.resume;
            if scan.after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "seed {} index {}", self.seed, self.index);
    }
}

fn small_options(seed: u64) -> lsm::EngineOptions {
    lsm::EngineOptions {
        block_bytes: if seed.is_multiple_of(2) { 1024 } else { 4096 },
        ..options()
    }
}

fn run(seed: u64, steps: u64) {
    let mut world = World::new(seed);
    for _ in 0..steps {
        match world.random.below(100) {
            0..=59 => world.apply(),
            60..=79 => world.maintain(),
            80..=94 => world.check_slice(),
            _ => world.check_scan(),
        }
    }
    flush(&world.engine);
    compact(&world.engine, world.now_ms);
    world.engine.verify().unwrap();
    for _ in 0..50 {
        world.check_slice();
    }
    world.check_scan();
}

#[test]
fn engine_agrees_with_a_model_that_keeps_everything() {
    for seed in 0..10 {
        run(seed, 2000);
    }
}
