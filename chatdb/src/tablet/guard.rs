//! Conditions, judged on what the engine holds at their place in the log.

use crate::command::{CellComparison, CellTest, CurrentRow, Guard, Write};
use crate::encoding::decode_scalar;
use crate::error::Result;
use bytes::Bytes;
use lsm::{Cell, Engine, Row, SliceRead};
use std::cmp::Ordering;
use std::ops::Bound;

/// The state that a guard looks at.
struct Current {
    row: Option<Row>,
    statics: Vec<Cell>,
}

/// `None` when the guard of the write holds, else the row that made it fail.
pub(super) fn judge(engine: &Engine, write: &Write, now_ms: u64) -> Result<Option<CurrentRow>> {
    let row = match &write.guard {
        Guard::None => return Ok(None),
        Guard::Exists(row) | Guard::Missing(row) | Guard::Cells { row, .. } => row,
    };
    let current = read(engine, write, row.as_ref(), now_ms)?;
    let exists = match row {
        Some(_) => current.row.is_some(),
        None => !current.statics.is_empty(),
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
    let cells = current
        .row
        .into_iter()
        .flat_map(|row| row.cells)
        .chain(current.statics);
    let visible = cells.filter_map(|cell| {
        let value = cell.value.bytes()?.clone();
        Some((cell.column, cell.path, value))
    });
    // Sorted by column again, as whoever shows them expects.
    let mut cells: Vec<_> = visible.collect();
    cells.sort_by(|(a, a_path, _), (b, b_path, _)| (a, a_path).cmp(&(b, b_path)));
    Ok(Some(CurrentRow { exists, cells }))
}

fn read(engine: &Engine, write: &Write, row: Option<&Bytes>, now_ms: u64) -> Result<Current> {
    let mut read = SliceRead::all(write.table, write.partition.clone(), 1, now_ms);
    // Without a row only the static cells count; an empty key is before every row.
    let key = row.cloned().unwrap_or_default();
    read.start = Bound::Included(key.clone());
    read.end = Bound::Included(key);
    let page = engine.read(&read)?;
    let row = if row.is_some() {
        page.rows.into_iter().next()
    } else {
        None
    };
    Ok(Current {
        row,
        statics: page.static_cells,
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
    let own = current.row.as_ref().map_or(&[][..], |row| &row.cells);
    let cells = if test.is_static {
        &current.statics
    } else {
        own
    };
    let found = cells
        .iter()
        .find(|cell| cell.column == test.column && cell.path == test.path)
        .and_then(|cell| cell.value.bytes());
    let mut any = false;
    for operand in &test.operands {
        any |= compare(test, found, operand.as_ref())?;
    }
    Ok(any)
}

fn compare(test: &CellTest, found: Option<&Bytes>, operand: Option<&Bytes>) -> Result<bool> {
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
