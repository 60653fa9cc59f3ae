//! One life of an engine: writes, time, flushes, merges, restarts, power cuts.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{FaultyVfs, Vfs};
use lsm::{
    CellValue, CellWrite, Change, Checkpoint, ColumnId, Engine, Liveness, Operation, PartitionKey,
    Timestamp, Window,
};

use super::oracle::{Id, Oracle, value};
use super::settings::Settings;
use crate::engine_support::*;

const PLACEMENTS: [&str; 3] = ["a", "bb", "ccc"];
/// The column that is a collection.
const COLLECTION: ColumnId = ColumnId(2);

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    pub(super) random: Random,
    pub(super) faulty: FaultyVfs,
    pub(super) vfs: Arc<dyn Vfs>,
    /// `None` while it is being opened again.
    pub(super) engine: Option<Engine>,
    pub(super) now_ms: u64,
    pub(super) oracle: Oracle,
    /// Operations written.
    pub(super) operations: u64,
    index: u64,
    timestamp: Timestamp,
    /// The index up to which the last flush that succeeded made everything durable.
    promised: u64,
    /// Changes after `promised`, to be applied again after a restart.
    log: Vec<(u64, Timestamp, Vec<Change>)>,
    copies: u64,
    /// The last checkpoint that the replica has.
    replicated: Checkpoint,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let settings = Settings::random(seed);
        let faulty = FaultyVfs::new(seed);
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        let engine = open(&vfs, settings.engine.clone()).unwrap();
        define(&engine, settings.window_ms).unwrap();
        let engine = Some(engine);
        Self {
            seed,
            settings,
            random: Random(seed),
            faulty,
            vfs,
            engine,
            now_ms: 1,
            oracle: Oracle::new(seed),
            operations: 0,
            index: 0,
            timestamp: Timestamp::ZERO,
            promised: 0,
            log: Vec::new(),
            copies: 0,
            replicated: Checkpoint::default(),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// What to print when something is wrong.
    pub(super) fn place(&self) -> String {
        format!(
            "seed {} index {} {:?}",
            self.seed, self.index, self.settings
        )
    }

    pub(super) fn partition(&mut self) -> PartitionKey {
        let placement = PLACEMENTS[self.small(3)];
        let window = self.random.below(self.settings.windows);
        let mut partition = partition(&format!("{placement}/{window}"), window.cast_signed());
        partition.token = placement.len() as u64;
        if self.settings.window_ms.is_none() {
            partition.window = Window::TIMELESS;
        }
        partition
    }

    pub(super) fn id(partition: &PartitionKey) -> Id {
        (partition.token, partition.key.clone(), partition.window.0)
    }

    pub(super) fn small(&mut self, end: u64) -> usize {
        usize::try_from(self.random.below(end)).unwrap()
    }

    fn clustering(&mut self) -> Bytes {
        key(self.random.below(self.settings.keys))
    }

    pub(super) fn bound(&mut self) -> Bound<Bytes> {
        match self.random.below(5) {
            0 => Bound::Unbounded,
            1 | 2 => Bound::Included(self.clustering()),
            _ => Bound::Excluded(self.clustering()),
        }
    }

    fn cell(&mut self, column: ColumnId, path: Bytes, at: Timestamp) -> CellWrite {
        let bytes = value(self.seed, column, &path, at);
        let value = if self.random.percent(8) {
            CellValue::Tombstone
        } else if self.random.percent(self.settings.expires) {
            CellValue::Expiring {
                value: bytes,
                expires_at_ms: self.now_ms + self.random.below(2000),
            }
        } else {
            CellValue::Live(bytes)
        };
        CellWrite {
            column,
            path,
            value,
        }
    }

    /// Up to four cells of different places.
    fn cells(&mut self, at: Timestamp) -> Vec<CellWrite> {
        let mut cells: Vec<CellWrite> = Vec::new();
        for _ in 0..self.random.below(5) {
            let column = ColumnId(u32::try_from(self.random.below(4)).unwrap());
            let path = if column == COLLECTION {
                Bytes::from(vec![u8::try_from(self.random.below(4)).unwrap() + 1])
            } else {
                Bytes::new()
            };
            if cells
                .iter()
                .all(|it| (it.column, &it.path) != (column, &path))
            {
                cells.push(self.cell(column, path, at));
            }
        }
        cells
    }

    fn operation(&mut self, at: Timestamp) -> Operation {
        if !self.random.percent(self.settings.deletes) {
            if self.random.percent(5) {
                return Operation::UpsertStatic {
                    cells: self.cells(at),
                };
            }
            let expires = self.random.percent(self.settings.expires);
            let expires_at_ms = expires.then(|| self.now_ms + self.random.below(2000));
            let liveness = self
                .random
                .percent(60)
                .then_some(Liveness { expires_at_ms });
            return Operation::Upsert {
                clustering: self.clustering(),
                liveness,
                cells: self.cells(at),
            };
        }
        match self.random.below(100) {
            0..=19 => Operation::DeleteComplex {
                clustering: self.random.percent(80).then(|| self.clustering()),
                column: COLLECTION,
            },
            20..=37 => {
                let from = self.random.below(self.settings.keys);
                let width = self.random.below(1 + self.settings.keys / 8);
                match self.random.below(8) {
                    0 => Operation::DeleteRange {
                        start: self.bound(),
                        end: self.bound(),
                    },
                    1 => Operation::DeleteRange {
                        start: Bound::Excluded(key(from)),
                        end: Bound::Included(key(from + width)),
                    },
                    _ => delete_range(from, from + width),
                }
            }
            38 if self.random.percent(30) => Operation::DeletePartition,
            _ => Operation::DeleteRow {
                clustering: self.clustering(),
            },
        }
    }

    /// Applies one log index of a few changes.
    pub(super) fn apply(&mut self) {
        self.index += 1;
        let first = Timestamp(self.timestamp.0.max(self.now_ms * 1000) + 1);
        let mut next = first;
        let mut changes = Vec::new();
        for _ in 0..=self.random.below(3) {
            if self.random.below(2000) == 0 {
                let placement = PLACEMENTS[self.small(3)];
                let (token, placement) = (placement.len() as u64, Bytes::from(placement));
                self.oracle.delete_placement(token, &placement);
                changes.push(Change::DeletePlacement {
                    table: TABLE,
                    token,
                    placement,
                });
                next.0 += 1;
                continue;
            }
            let partition = self.partition();
            let id = Self::id(&partition);
            let mut operations = Vec::new();
            for _ in 0..=self.random.below(5) {
                let operation = self.operation(next);
                self.oracle.apply(&id, next, &operation);
                operations.push(operation);
                next.0 += 1;
            }
            self.operations += operations.len() as u64;
            changes.push(mutation(&partition, operations));
        }
        self.timestamp = Timestamp(next.0 - 1);
        self.engine().apply(self.index, first, &changes).unwrap();
        self.log.push((self.index, first, changes));
    }

    /// What an owner does between entries; fails only when the power is cut.
    pub(super) fn maintain(&mut self) -> lsm::Result<()> {
        let metrics = self.engine().metrics();
        let is_full = metrics.active_bytes >= self.settings.memtable_bytes;
        if (is_full || self.random.percent(2)) && metrics.frozen < self.settings.engine.frozen_max {
            self.engine().freeze(Bytes::from(self.index.to_string()))?;
        }
        if self.random.percent(60) {
            self.engine().flush_step()?;
            let flushed = self.engine().flushed();
            if flushed.index > 0 {
                assert_eq!(flushed.owner, flushed.index.to_string(), "{}", self.place());
            }
            self.promised = flushed.index;
            self.log.retain(|(index, ..)| *index > flushed.index);
        }
        if self.random.percent(40) {
            self.engine().sweep_step()?;
        }
        if self.settings.compacts && self.random.percent(50) {
            self.engine().compact_step(self.now_ms)?;
        }
        if self.random.percent(20) {
            self.now_ms += self.random.below(400);
        }
        Ok(())
    }

    /// Closes the engine, opens it again and applies what was not flushed.
    pub(super) fn reopen(&mut self) {
        drop(self.engine.take());
        let engine = open(&self.vfs, self.settings.engine.clone())
            .unwrap_or_else(|error| panic!("{}: {error:?}", self.place()));
        define(&engine, self.settings.window_ms).unwrap();
        assert!(engine.flushed().index >= self.promised, "{}", self.place());
        self.replay(&engine);
        self.engine = Some(engine);
    }

    fn replay(&self, engine: &Engine) {
        for (index, timestamp, changes) in &self.log {
            engine.apply(*index, *timestamp, changes).unwrap();
        }
    }

    /// Cuts the power during one of the next calls to the file system.
    pub(super) fn crash(&mut self) {
        let calls = 1 + self.random.below(40);
        self.faulty.crash_at(self.faulty.calls() + calls);
        for _ in 0..200 {
            if self.maintain().is_err() {
                break;
            }
            self.apply();
        }
        drop(self.engine.take());
        self.faulty.restart();
        self.reopen();
    }

    /// An engine from a checkpoint and the log after it, which must be like this one: opened in
    /// place, or installed over an older state.
    pub(super) fn copy(&mut self) -> Engine {
        self.copies += 1;
        let dir = PathBuf::from(format!("/copy-{}", self.copies));
        let options = self.settings.engine.clone();
        let in_place = self.random.percent(30);
        let base = if in_place {
            Checkpoint::default()
        } else {
            std::mem::take(&mut self.replicated)
        };
        let made = self.engine().checkpoint_since(&dir, &base).unwrap();
        let copy = if in_place {
            Engine::open(Arc::clone(&self.vfs), &dir, options).unwrap()
        } else {
            self.replicated = made;
            let seed = !options.seed;
            let options = lsm::EngineOptions { seed, ..options };
            let replica = Path::new("/replica");
            let copy = Engine::open(Arc::clone(&self.vfs), replica, options).unwrap();
            copy.install(&dir).unwrap();
            copy
        };
        define(&copy, self.settings.window_ms).unwrap();
        self.replay(&copy);
        copy
    }
}
