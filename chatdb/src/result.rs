//! What a statement returns: columns, rows, where the write went and what the read cost.
//!
//! A row shares the column list of its result, so that reading by name costs a short scan of the
//! names and no allocation.

use crate::error::{Error, Result};
use crate::types::DataType;
use crate::value::Value;
use bytes::Bytes;
use std::sync::Arc;

/// Name and type of one result column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The name as the table or the selection gives it.
    pub name: String,
    /// The type of its values.
    pub data_type: DataType,
}

impl ColumnSpec {
    /// A column called `name` of type `data_type`.
    pub fn new(name: impl Into<String>, data_type: impl Into<DataType>) -> Self {
        Self {
            name: name.into(),
            data_type: data_type.into(),
        }
    }
}

/// The place of a write in the order of its raft group; a read that names it sees the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Number of the raft group.
    pub group: u64,
    /// Log index inside the group.
    pub index: u64,
    /// Number of the command inside the entry, from 0.
    pub op: u16,
}

/// What one statement cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Time from receiving the statement to having the result, in microseconds.
    pub elapsed_us: u64,
    /// Blocks read from SSTables.
    pub blocks_read: u64,
    /// Bytes read from SSTables.
    pub bytes_read: u64,
    /// Rows looked at, shown or not.
    pub rows_scanned: u64,
    /// Tombstones stepped over.
    pub tombstones: u64,
    /// The node that did the work, when known: of a tablet's leader it is the leader.
    pub node: Option<u64>,
    /// How old the data of a read may be that a replica answered which does not lead, in
    /// milliseconds, at most; of several replicas the oldest. `None` when leaders answered.
    pub stale_ms: Option<u64>,
}

impl QueryStats {
    /// Adds the costs of another part of the same statement; keeps this node and this time.
    pub fn add(&mut self, other: &Self) {
        self.blocks_read = self.blocks_read.saturating_add(other.blocks_read);
        self.bytes_read = self.bytes_read.saturating_add(other.bytes_read);
        self.rows_scanned = self.rows_scanned.saturating_add(other.rows_scanned);
        self.tombstones = self.tombstones.saturating_add(other.tombstones);
        self.stale_ms = self.stale_ms.max(other.stale_ms);
    }
}

/// The result of one statement.
#[derive(Clone, Debug)]
pub struct ResultSet {
    /// Columns of every row.
    pub columns: Arc<[ColumnSpec]>,
    /// Rows of this page.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` on the last page. Opaque and checksummed.
    pub page_state: Option<Bytes>,
    /// Whether a conditional write took effect; `None` for a statement without a condition.
    pub applied: Option<bool>,
    /// The position of a write; `None` for a read.
    pub position: Option<Position>,
    /// What the statement cost.
    pub stats: QueryStats,
}

impl ResultSet {
    /// A result without columns and rows.
    pub fn empty() -> Self {
        Self::new(Arc::from([]), Vec::new())
    }

    /// A result of these columns; each inner list is one row in column order.
    pub fn new(columns: Arc<[ColumnSpec]>, rows: Vec<Vec<Value>>) -> Self {
        let rows = rows
            .into_iter()
            .map(|values| Row::new(Arc::clone(&columns), values))
            .collect();
        Self {
            columns,
            rows,
            page_state: None,
            applied: None,
            position: None,
            stats: QueryStats::default(),
        }
    }

    /// The first row.
    pub fn first(&self) -> Option<&Row> {
        self.rows.first()
    }

    /// Number of rows in this page.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether this page has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the write took effect: true without a condition, else what the condition said.
    pub fn was_applied(&self) -> bool {
        self.applied.unwrap_or(true)
    }
}

impl Default for ResultSet {
    fn default() -> Self {
        Self::empty()
    }
}

/// One row of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    columns: Arc<[ColumnSpec]>,
    values: Vec<Value>,
}

static NULL: Value = Value::Null;

impl Row {
    /// A row of these values, in the order of `columns`; missing ones read as null.
    pub fn new(columns: Arc<[ColumnSpec]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// Name and type of each value.
    pub fn columns(&self) -> &[ColumnSpec] {
        &self.columns
    }

    /// The values in column order.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The values in column order, taken out of the row.
    pub fn into_values(self) -> Vec<Value> {
        self.values
    }

    /// The value of the column, null when the result has no such column.
    ///
    /// The typed getters tell the two apart: they fail on a column that was not selected.
    pub fn get(&self, name: &str) -> &Value {
        self.position(name)
            .and_then(|position| self.values.get(position))
            .unwrap_or(&NULL)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    fn selected(&self, name: &str) -> Result<&Value> {
        let position = self.position(name).ok_or_else(|| {
            let names: Vec<&str> = self
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            Error::not_found(format!("the result has no column {name}"))
                .with_help("columns", names.join(", "))
        })?;
        Ok(self.values.get(position).unwrap_or(&NULL))
    }

    /// The set in the column; empty when null.
    pub fn set(&self, name: &str) -> Result<&[Value]> {
        match self.selected(name)? {
            Value::Set(elements) => Ok(elements),
            Value::Null => Ok(&[]),
            other => Err(mismatch(name, "set", other)),
        }
    }

    /// The list in the column; empty when null.
    pub fn list(&self, name: &str) -> Result<&[Value]> {
        match self.selected(name)? {
            Value::List(elements) => Ok(elements),
            Value::Null => Ok(&[]),
            other => Err(mismatch(name, "list", other)),
        }
    }

    /// The map in the column; empty when null.
    pub fn map(&self, name: &str) -> Result<&[(Value, Value)]> {
        match self.selected(name)? {
            Value::Map(entries) => Ok(entries),
            Value::Null => Ok(&[]),
            other => Err(mismatch(name, "map", other)),
        }
    }
}

fn mismatch(name: &str, wanted: &str, found: &Value) -> Error {
    Error::invalid(format!(
        "column {name} holds {}, not {wanted}",
        found.type_name()
    ))
}

/// Writes the pair of getters of one scalar type: one that refuses null and one that allows it.
macro_rules! getters {
    ($($get:ident, $opt:ident, $variant:ident, $type:ty, $word:literal, |$value:ident| $read:expr;)*) => {
        impl Row {
            $(
                #[doc = concat!("The ", $word, " in the column; an error when it is null.")]
                pub fn $get(&self, name: &str) -> Result<$type> {
                    self.$opt(name)?.ok_or_else(|| Error::invalid(format!("column {name} is null")))
                }

                #[doc = concat!("The ", $word, " in the column; `None` when it is null.")]
                pub fn $opt(&self, name: &str) -> Result<Option<$type>> {
                    match self.selected(name)? {
                        Value::$variant($value) => Ok(Some($read)),
                        Value::Null => Ok(None),
                        other => Err(mismatch(name, $word, other)),
                    }
                }
            )*
        }
    };
}

getters! {
    bigint, opt_bigint, BigInt, i64, "bigint", |value| *value;
    int, opt_int, Int, i32, "int", |value| *value;
    text, opt_text, Text, &str, "text", |value| value.as_str();
    blob, opt_blob, Blob, &Bytes, "blob", |value| value;
    boolean, opt_boolean, Boolean, bool, "boolean", |value| *value;
    timestamp, opt_timestamp, Timestamp, i64, "timestamp", |value| *value;
    double, opt_double, Double, f64, "double", |value| *value;
    uuid, opt_uuid, Uuid, [u8; 16], "uuid", |value| *value;
}
