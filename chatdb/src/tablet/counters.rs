//! Counters: what a command adds becomes what it writes, when it is applied.
//!
//! A tablet applies its log in one order, so reading the old value and writing the sum is exact: no
//! increment is lost and none counts twice, and every replica writes the same bytes. The engine sees
//! plain cells and merges them like any others. `docs/decisions/0008-counters.md` says why the engine
//! has no cells that add up instead.
//!
//! # Invariants
//!
//! * All counters of a command are read before its first write; additions to one counter in one
//!   command add up.
//! * An addition that leaves 64 bits fails the whole command; nothing wraps around.
//! * A counter that was deleted, or never was, begins at 0.
//!
//! # Cost
//!
//! One read of the row per counter row and command; from the memtable if it was written lately.

use super::guard;
use crate::command::{CellChange, CellPath, Write, WriteOperation};
use crate::error::Result;
use bytes::Bytes;
use lsm::{ColumnId, Engine, TableId};
use std::collections::BTreeMap;

/// A counter: table, partition, row (`None` = static), column.
type Counter = (TableId, Bytes, Option<Bytes>, ColumnId);

/// Sums of one command.
struct Sums<'a> {
    engine: &'a Engine,
    now_ms: u64,
    known: BTreeMap<Counter, i64>,
}

/// The writes with values in place of additions, or why one of them cannot be made.
pub(super) fn sum_up(
    engine: &Engine,
    writes: &[Write],
    now_ms: u64,
) -> Result<std::result::Result<Vec<Write>, String>> {
    let mut sums = Sums {
        engine,
        now_ms,
        known: BTreeMap::new(),
    };
    let mut summed = writes.to_vec();
    for (write, original) in summed.iter_mut().zip(writes) {
        for operation in &mut write.operations {
            let (row, cells) = match operation {
                WriteOperation::Upsert {
                    clustering, cells, ..
                } => (Some(&*clustering), cells),
                WriteOperation::UpsertStatic { cells, .. } => (None, cells),
                _ => continue,
            };
            let added = cells.iter_mut().filter(|cell| cell.path == CellPath::Add);
            for cell in added {
                if let Err(why) = sums.add(original, row, cell)? {
                    return Ok(Err(why));
                }
            }
        }
    }
    Ok(Ok(summed))
}

impl Sums<'_> {
    /// Makes the cell hold the sum.
    fn add(
        &mut self,
        write: &Write,
        row: Option<&Bytes>,
        cell: &mut CellChange,
    ) -> Result<std::result::Result<(), String>> {
        let Some(delta) = cell.value.as_deref().and_then(number) else {
            return Ok(Err("an addition to a counter without a number".to_owned()));
        };
        let column = cell.column;
        let counter = (
            write.table,
            write.partition.key.clone(),
            row.cloned(),
            column,
        );
        let known = self.known.get(&counter).copied();
        let old = match known {
            Some(_) => known,
            None => self.stored(write, row, column)?,
        };
        let Some(old) = old else {
            return Ok(Err(format!("column {} holds no counter", column.0)));
        };
        let Some(sum) = old.checked_add(delta) else {
            let message =
                format!("the counter is {old}; adding {delta} leaves the range of bigint");
            return Ok(Err(message));
        };
        self.known.insert(counter, sum);
        cell.path = CellPath::Plain;
        cell.value = Some(Bytes::copy_from_slice(&sum.to_be_bytes()));
        Ok(Ok(()))
    }

    /// The stored value, 0 if there is none; `None` if what is stored is no counter.
    fn stored(&self, write: &Write, row: Option<&Bytes>, column: ColumnId) -> Result<Option<i64>> {
        let current = guard::read(self.engine, write, row, self.now_ms)?;
        let own = match row {
            Some(_) => current.row().map(|row| row.cells()).unwrap_or_default(),
            None => current.page.static_row.cells(),
        };
        let mut found = own.filter(|cell| cell.column == column && cell.path.is_empty());
        Ok(found.next().map_or(Some(0), |cell| number(cell.value)))
    }
}

fn number(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}
