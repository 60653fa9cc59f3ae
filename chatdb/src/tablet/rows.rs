//! Stored rows to result values.

use crate::command::element_value;
use crate::encoding::{decode_components, decode_scalar};
use crate::error::{Error, Result};
use crate::plan::{Output, ReadPlan, token_to_bigint};
use crate::types::DataType;
use crate::value::Value;
use lsm::{Cell, CellValue, ColumnId, PartitionKey, Row};

/// The cells of one column; cells are sorted by column.
fn cells_of(cells: &[Cell], column: ColumnId) -> &[Cell] {
    let start = cells.partition_point(|cell| cell.column < column);
    let end = cells.partition_point(|cell| cell.column <= column);
    cells.get(start..end).unwrap_or_default()
}

/// The value of a column made of its visible cells; null when there are none.
pub(crate) fn cells_value(cells: &[Cell], column: ColumnId, data_type: DataType) -> Result<Value> {
    let cells = cells_of(cells, column);
    let Some(first) = cells.first() else {
        return Ok(Value::Null);
    };
    let bytes = |cell: &Cell| {
        cell.value
            .bytes()
            .cloned()
            .ok_or_else(|| Error::bug("a visible cell without a value"))
    };
    Ok(match data_type {
        DataType::Scalar(scalar) => decode_scalar(scalar, &bytes(first)?)?,
        DataType::Set(element) => Value::Set(
            cells
                .iter()
                .map(|cell| element_value(element, &cell.path))
                .collect::<Result<_>>()?,
        ),
        DataType::List(element) => Value::List(
            cells
                .iter()
                .map(|cell| decode_scalar(element, &bytes(cell)?))
                .collect::<Result<_>>()?,
        ),
        DataType::Map(key, value) => Value::Map(
            cells
                .iter()
                .map(|cell| {
                    Ok((
                        element_value(key, &cell.path)?,
                        decode_scalar(value, &bytes(cell)?)?,
                    ))
                })
                .collect::<Result<_>>()?,
        ),
    })
}

/// A partition while its rows become result rows.
pub(super) struct PartitionRows<'a> {
    plan: &'a ReadPlan,
    key: Vec<Value>,
    token: u64,
    statics: &'a [Cell],
    now_ms: u64,
}

impl<'a> PartitionRows<'a> {
    pub(super) fn new(
        plan: &'a ReadPlan,
        partition: &PartitionKey,
        statics: &'a [Cell],
        now_ms: u64,
    ) -> Result<Self> {
        let key = decode_components(&partition.key, &plan.table.partition_types())?;
        Ok(Self {
            plan,
            key,
            token: partition.token,
            statics,
            now_ms,
        })
    }

    /// The result row of a stored row; of the static row alone with `None`.
    pub(super) fn row(&self, row: Option<&Row>) -> Result<Vec<Value>> {
        let clustering = match row {
            Some(row) => decode_components(&row.clustering, &self.plan.table.clustering_types())?,
            None => Vec::new(),
        };
        let own: &[Cell] = row.map_or(&[], |row| &row.cells);
        let side = |is_static: bool| if is_static { self.statics } else { own };
        let output = |output: &Output| {
            Ok(match *output {
                Output::Partition(position) => self.key.get(position).cloned().unwrap_or_default(),
                Output::Clustering(position) => {
                    clustering.get(position).cloned().unwrap_or_default()
                }
                Output::Cell {
                    column,
                    data_type,
                    is_static,
                } => cells_value(side(is_static), column, data_type)?,
                Output::Ttl { column, is_static } => {
                    self.ttl(cells_of(side(is_static), column).first())
                }
                Output::WriteTime { column, is_static } => {
                    write_time(cells_of(side(is_static), column).first())
                }
                Output::Token => Value::BigInt(token_to_bigint(self.token)),
                Output::Count => Value::Null,
            })
        };
        self.plan.outputs.iter().map(output).collect()
    }

    /// Whole seconds until the cell expires, rounded up; null when it does not.
    fn ttl(&self, cell: Option<&Cell>) -> Value {
        match cell.map(|cell| &cell.value) {
            Some(CellValue::Expiring { expires_at_ms, .. }) => {
                let seconds = expires_at_ms.saturating_sub(self.now_ms).div_ceil(1000);
                Value::Int(i32::try_from(seconds).unwrap_or(i32::MAX))
            }
            _ => Value::Null,
        }
    }
}

fn write_time(cell: Option<&Cell>) -> Value {
    let time = cell.and_then(|cell| i64::try_from(cell.timestamp.0).ok());
    time.map_or(Value::Null, Value::BigInt)
}
