//! Stored rows to result values.

use crate::command::element_value;
use crate::encoding::{decode_components, decode_scalar};
use crate::error::Result;
use crate::plan::{Output, ReadPlan, token_to_bigint};
use crate::types::DataType;
use crate::value::Value;
use lsm::{CellRef, ColumnId, PartitionKey, Row, StaticRow};

/// The cells of one column; cells are sorted by column.
pub(crate) fn cells_of<'a, 'c>(cells: &'c [CellRef<'a>], column: ColumnId) -> &'c [CellRef<'a>] {
    let start = cells.partition_point(|cell| cell.column < column);
    let end = cells.partition_point(|cell| cell.column <= column);
    cells.get(start..end).unwrap_or_default()
}

/// The value of a column made of its visible cells; null when there are none.
pub(crate) fn cells_value(cells: &[CellRef<'_>], data_type: DataType) -> Result<Value> {
    let Some(first) = cells.first() else {
        return Ok(Value::Null);
    };
    Ok(match data_type {
        DataType::Scalar(scalar) => decode_scalar(scalar, first.value)?,
        DataType::Set(element) => Value::Set(
            cells
                .iter()
                .map(|cell| element_value(element, cell.path))
                .collect::<Result<_>>()?,
        ),
        DataType::List(element) => Value::List(
            cells
                .iter()
                .map(|cell| decode_scalar(element, cell.value))
                .collect::<Result<_>>()?,
        ),
        DataType::Map(key, value) => Value::Map(
            cells
                .iter()
                .map(|cell| {
                    Ok((
                        element_value(key, cell.path)?,
                        decode_scalar(value, cell.value)?,
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
    statics: Vec<CellRef<'a>>,
    now_ms: u64,
    /// The cells of the current row; kept so that a page allocates them once.
    own: Vec<CellRef<'a>>,
}

impl<'a> PartitionRows<'a> {
    pub(super) fn new(
        plan: &'a ReadPlan,
        partition: &PartitionKey,
        statics: &'a StaticRow,
        now_ms: u64,
    ) -> Result<Self> {
        let key = decode_components(&partition.key, &plan.table.partition_types())?;
        Ok(Self {
            plan,
            key,
            token: partition.token,
            statics: statics.cells().collect(),
            now_ms,
            own: Vec::new(),
        })
    }

    /// The result row of a stored row; of the static row alone with `None`.
    pub(super) fn row(&mut self, row: Option<Row<'a>>) -> Result<Vec<Value>> {
        let clustering = match row {
            Some(row) => decode_components(row.clustering, &self.plan.table.clustering_types())?,
            None => Vec::new(),
        };
        self.own.clear();
        self.own.extend(row.into_iter().flat_map(|row| row.cells()));
        let side = |is_static: bool| {
            if is_static { &self.statics } else { &self.own }
        };
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
                } => cells_value(cells_of(side(is_static), column), data_type)?,
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

    /// Bytes of the cells of the row before.
    pub(super) fn row_bytes(&self) -> usize {
        self.own.iter().map(CellRef::size).sum()
    }

    /// Whole seconds until the cell expires, rounded up; null when it does not.
    fn ttl(&self, cell: Option<&CellRef<'_>>) -> Value {
        match cell.and_then(|cell| cell.expires_at_ms) {
            Some(expires_at_ms) => {
                let seconds = expires_at_ms.saturating_sub(self.now_ms).div_ceil(1000);
                Value::Int(i32::try_from(seconds).unwrap_or(i32::MAX))
            }
            None => Value::Null,
        }
    }
}

fn write_time(cell: Option<&CellRef<'_>>) -> Value {
    let time = cell.and_then(|cell| i64::try_from(cell.timestamp.0).ok());
    time.map_or(Value::Null, Value::BigInt)
}
