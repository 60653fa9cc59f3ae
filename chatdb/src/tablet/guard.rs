//! Conditions, judged on what the engine holds at their place in the log.

use crate::command::{CellComparison, CellTest, CurrentRow, Guard, Write};
use crate::encoding::decode_scalar;
use crate::error::Result;
use bytes::Bytes;
use lsm::{Cells, Engine, Row, SlicePage, SliceRead};
use std::cmp::Ordering;
use std::ops::Bound;

/// The state that a guard looks at.
pub(super) struct Current {
    pub(super) page: SlicePage,
    /// Whether the page was read for a row, and not for the static cells alone.
    has_row: bool,
}

impl Current {
    pub(super) fn row(&self) -> Option<Row<'_>> {
        self.page.rows.first().filter(|_| self.has_row)
    }
}

/// `None` when the guard of the write holds, else the row that made it fail.
pub(super) fn judge(engine: &Engine, write: &Write, now_ms: u64) -> Result<Option<CurrentRow>> {
    let row = match &write.guard {
        Guard::None => return Ok(None),
        Guard::Exists(row) | Guard::Missing(row) | Guard::Cells { row, .. } => row,
    };
    let current = read(engine, write, row.as_ref(), now_ms)?;
    let exists = match row {
        Some(_) => current.row().is_some(),
        None => !current.page.static_row.is_empty(),
    };
    let holds = match &write.guard {
        Guard::None => true,
        Guard::Exists(_) => exists,
        Guard::Missing(_) => !exists,
        Guard::Cells {
            must_exist, tests, ..
        } => (exists || !must_exist) && all_hold(tests, &current)?,
    };
    if holds {
        return Ok(None);
    }
    let own = current.row().into_iter().flat_map(|row| row.cells());
    let cells = own.chain(current.page.static_row.cells());
    let copied = cells.map(|cell| {
        let (path, value) = (cell.path, cell.value);
        (
            cell.column,
            Bytes::copy_from_slice(path),
            Bytes::copy_from_slice(value),
        )
    });
    // Sorted by column again, as whoever shows them expects.
    let mut cells: Vec<_> = copied.collect();
    cells.sort_by(|(a, a_path, _), (b, b_path, _)| (a, a_path).cmp(&(b, b_path)));
    Ok(Some(CurrentRow { exists, cells }))
}

/// The row of the write with this clustering key, or the static cells alone.
pub(super) fn read(
    engine: &Engine,
    write: &Write,
    row: Option<&Bytes>,
    now_ms: u64,
) -> Result<Current> {
    let mut read = SliceRead::all(write.table, write.partition.clone(), 1, now_ms);
    // Without a row only the static cells count; an empty key is before every row.
    let key = row.cloned().unwrap_or_default();
    read.start = Bound::Included(key.clone());
    read.end = Bound::Included(key);
    Ok(Current {
        page: engine.read_for_apply(&read)?,
        has_row: row.is_some(),
    })
}

fn all_hold(tests: &[CellTest], current: &Current) -> Result<bool> {
    for test in tests {
        if !holds(test, current)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn holds(test: &CellTest, current: &Current) -> Result<bool> {
    let mut cells = match current.row() {
        _ if test.is_static => current.page.static_row.cells(),
        Some(row) => row.cells(),
        None => Cells::default(),
    };
    let found = cells
        .find(|cell| cell.column == test.column && cell.path == test.path)
        .map(|cell| cell.value);
    let mut any = false;
    for operand in &test.operands {
        any |= compare(test, found, operand.as_deref())?;
    }
    Ok(any)
}

fn compare(test: &CellTest, found: Option<&[u8]>, operand: Option<&[u8]>) -> Result<bool> {
    let order = match (found, operand) {
        (Some(found), Some(operand)) => {
            let found = decode_scalar(test.scalar, found)?;
            found.compare(&decode_scalar(test.scalar, operand)?)
        }
        (None, None) => {
            // Null equals null, and is neither less nor greater.
            return Ok(matches!(
                test.comparison,
                CellComparison::Equal | CellComparison::In
            ));
        }
        _ => return Ok(test.comparison == CellComparison::NotEqual),
    };
    Ok(match test.comparison {
        CellComparison::Equal | CellComparison::In => order == Some(Ordering::Equal),
        CellComparison::NotEqual => order != Some(Ordering::Equal),
        CellComparison::Less => order == Some(Ordering::Less),
        CellComparison::LessOrEqual => {
            matches!(order, Some(Ordering::Less | Ordering::Equal))
        }
        CellComparison::Greater => order == Some(Ordering::Greater),
        CellComparison::GreaterOrEqual => {
            matches!(order, Some(Ordering::Greater | Ordering::Equal))
        }
    })
}
