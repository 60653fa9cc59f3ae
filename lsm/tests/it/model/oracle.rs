//! What the engine must return, from a map in memory.
//!
//! A value is a function of (seed, column, path, timestamp), so the oracle remembers when a cell
//! was written and not what: a cell that comes back with the bytes of another one is found out
//! by its own timestamp.

use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use lsm::{Cell, CellValue, CellWrite, ColumnId, Operation, RowLiveness, Timestamp};

use crate::engine_support::{OwnedRow, Random};

/// A partition by token, key and window.
pub(super) type Id = (u64, Bytes, i64);

/// The newest version of a cell: when it was written and until when it is visible. `None` as
/// the time: always.
#[derive(Clone, Copy, Debug)]
struct Version {
    at: Timestamp,
    expires_at_ms: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct OracleRow {
    liveness: Option<RowLiveness>,
    /// Deleted cells are absent: nothing older can come back in a map.
    cells: BTreeMap<(ColumnId, Bytes), Version>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    fixed: OracleRow,
    rows: BTreeMap<Bytes, OracleRow>,
}

/// Everything that was ever written, as far as it is not deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle {
    seed: u64,
    partitions: BTreeMap<Id, Partition>,
}

/// The bytes that operation `at` writes to a cell.
pub(super) fn value(seed: u64, column: ColumnId, path: &[u8], at: Timestamp) -> Bytes {
    let mut random = Random(seed ^ at.0.rotate_left(17) ^ u64::from(column.0));
    random.0 ^= path.iter().fold(0, |sum, byte| sum * 31 + u64::from(*byte));
    let words = match random.below(200) {
        0 => 400,
        1..=99 => random.below(3),
        _ => random.below(8),
    };
    // Half of it repeats, so that there is something to compress.
    let word = random.next();
    (0..words)
        .flat_map(|at| if at % 2 == 0 { word } else { random.next() }.to_le_bytes())
        .collect()
}

impl OracleRow {
    fn write(&mut self, at: Timestamp, cells: &[CellWrite]) {
        for cell in cells {
            let place = (cell.column, cell.path.clone());
            let expires_at_ms = match &cell.value {
                CellValue::Live(_) => None,
                CellValue::Expiring { expires_at_ms, .. } => Some(*expires_at_ms),
                CellValue::Tombstone => {
                    self.cells.remove(&place);
                    continue;
                }
            };
            self.cells.insert(place, Version { at, expires_at_ms });
        }
    }

    fn visible(&self, seed: u64, clustering: &Bytes, now_ms: u64) -> Option<OwnedRow> {
        let lives = |expires: Option<u64>| expires.is_none_or(|expires| expires > now_ms);
        let liveness = self.liveness.filter(|marker| lives(marker.expires_at_ms));
        let cells: Vec<Cell> = self
            .cells
            .iter()
            .filter(|(_, version)| lives(version.expires_at_ms))
            .map(|((column, path), version)| {
                let bytes = value(seed, *column, path, version.at);
                let value = match version.expires_at_ms {
                    None => CellValue::Live(bytes),
                    Some(expires_at_ms) => CellValue::Expiring {
                        value: bytes,
                        expires_at_ms,
                    },
                };
                Cell {
                    column: *column,
                    path: path.clone(),
                    timestamp: version.at,
                    value,
                }
            })
            .collect();
        (liveness.is_some() || !cells.is_empty()).then(|| OwnedRow {
            clustering: clustering.clone(),
            liveness,
            cells,
        })
    }
}

impl Oracle {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            partitions: BTreeMap::new(),
        }
    }

    pub(super) fn apply(&mut self, id: &Id, at: Timestamp, operation: &Operation) {
        let Partition { fixed, rows } = self.partitions.entry(id.clone()).or_default();
        match operation {
            Operation::Upsert {
                clustering,
                liveness,
                cells,
            } => {
                let row = rows.entry(clustering.clone()).or_default();
                if let Some(marker) = liveness {
                    row.liveness = Some(RowLiveness {
                        timestamp: at,
                        expires_at_ms: marker.expires_at_ms,
                    });
                }
                row.write(at, cells);
            }
            Operation::UpsertStatic { cells } => fixed.write(at, cells),
            Operation::DeleteComplex { clustering, column } => {
                let row = match clustering {
                    Some(clustering) => rows.entry(clustering.clone()).or_default(),
                    None => fixed,
                };
                row.cells.retain(|(found, _), _| found != column);
            }
            Operation::DeleteRow { clustering } => {
                rows.remove(clustering);
            }
            Operation::DeleteRange { start, end } => {
                let range = (start.clone(), end.clone());
                rows.retain(|clustering, _| !range.contains(clustering));
            }
            Operation::DeletePartition => {
                self.partitions.remove(id);
            }
        }
    }

    pub(super) fn delete_placement(&mut self, token: u64, placement: &[u8]) {
        self.partitions
            .retain(|(found, key, _), _| *found != token || !key.starts_with(placement));
    }

    /// Static cells, and up to `most` rows between the bounds in reading order.
    pub(super) fn slice(
        &self,
        id: &Id,
        (start, end): (Bound<Bytes>, Bound<Bytes>),
        (reverse, most): (bool, usize),
        now_ms: u64,
    ) -> (Vec<Cell>, Vec<OwnedRow>) {
        let Some(partition) = self.partitions.get(id) else {
            return (Vec::new(), Vec::new());
        };
        let fixed = partition.fixed.visible(self.seed, &Bytes::new(), now_ms);
        let fixed = fixed.map(|row| row.cells).unwrap_or_default();
        let visible =
            |(clustering, row): (&Bytes, &OracleRow)| row.visible(self.seed, clustering, now_ms);
        if is_empty(&start, &end) {
            return (fixed, Vec::new());
        }
        let rows = partition.rows.range((start, end));
        let rows = if reverse {
            rows.rev().filter_map(visible).take(most).collect()
        } else {
            rows.filter_map(visible).take(most).collect()
        };
        (fixed, rows)
    }

    /// All partitions with something visible, in the order of a scan.
    pub(super) fn all(&self, now_ms: u64) -> Vec<(Id, Vec<Cell>, Vec<OwnedRow>)> {
        let bounds = (Bound::Unbounded, Bound::Unbounded);
        self.partitions
            .keys()
            .map(|id| {
                (
                    id,
                    self.slice(id, bounds.clone(), (false, usize::MAX), now_ms),
                )
            })
            .filter(|(_, (fixed, rows))| !fixed.is_empty() || !rows.is_empty())
            .map(|(id, (fixed, rows))| (id.clone(), fixed, rows))
            .collect()
    }
}

/// Whether nothing is between the bounds; the map panics if they cross.
fn is_empty(start: &Bound<Bytes>, end: &Bound<Bytes>) -> bool {
    match (start, end) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (
            Bound::Included(start) | Bound::Excluded(start),
            Bound::Included(end) | Bound::Excluded(end),
        ) => start >= end,
    }
}
