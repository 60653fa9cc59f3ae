//! Applied commands as subscribers see them: names and values instead of ids and bytes.
//!
//! A collection that was assigned as a whole arrives as that collection. A change of single elements
//! arrives as a map from element to its new value: `true` for an element added to a set, null for
//! one removed. Appended or prepended list elements arrive as a list. A counter arrives as what was
//! added to it.

use super::{CellChange, CellPath, Write, WriteCommand, WriteOperation};
use crate::encoding::{decode_components, decode_scalar};
use crate::error::{Error, Result};
use crate::schema::{Catalog, Column, Table};
use crate::stream::event::ChangeKind;
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use bytes::Bytes;
use lsm::ColumnId;
use lsm::ordered::Order;

/// One change: what happened to which row, range or partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeParts {
    /// `keyspace.table`.
    pub table: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The key columns that the statement named.
    pub key: Vec<(String, Value)>,
    /// The columns that the statement wrote; null where it deleted.
    pub columns: Vec<(String, Value)>,
}

impl WriteCommand {
    /// The changes of a command that took effect. Changes of tables that were dropped since, and
    /// columns that were, are left out.
    pub fn changes(&self, catalog: &Catalog) -> Result<Vec<ChangeParts>> {
        let mut changes = Vec::with_capacity(self.writes.len());
        for write in &self.writes {
            if let Some(table) = catalog.table_by_id(write.table) {
                Builder {
                    table,
                    write,
                    changes: &mut changes,
                }
                .all()?;
            }
        }
        Ok(changes)
    }
}

struct Builder<'a> {
    table: &'a Table,
    write: &'a Write,
    changes: &'a mut Vec<ChangeParts>,
}

impl Builder<'_> {
    fn all(&mut self) -> Result<()> {
        // Operations on one row follow each other; they are one change to a subscriber.
        let mut open: Option<(Option<&Bytes>, ChangeParts)> = None;
        let mut assigned: Vec<ColumnId> = Vec::new();
        for operation in &self.write.operations {
            let row = match operation {
                WriteOperation::Upsert { clustering, .. } => Some(Some(clustering)),
                WriteOperation::UpsertStatic { .. } => Some(None),
                WriteOperation::DeleteComplex { clustering, .. } => Some(clustering.as_ref()),
                _ => None,
            };
            let Some(row) = row else {
                self.changes.extend(open.take().map(|(_, change)| change));
                let change = self.deletion(operation)?;
                self.changes.push(change);
                continue;
            };
            // A static part and a row part of one statement are one change too.
            let continues = open
                .as_ref()
                .is_some_and(|(current, _)| *current == row || current.is_none() || row.is_none());
            if !continues {
                self.changes.extend(open.take().map(|(_, change)| change));
                assigned.clear();
            }
            let (current, mut change) = match open.take() {
                Some(open) => open,
                None => (None, self.change(ChangeKind::Update, None)?),
            };
            let current = current.or(row);
            change.key = self.key(current)?;
            self.upsert(&mut change, &mut assigned, operation)?;
            open = Some((current, change));
        }
        self.changes.extend(open.map(|(_, change)| change));
        Ok(())
    }

    fn change(&self, kind: ChangeKind, clustering: Option<&Bytes>) -> Result<ChangeParts> {
        let key = self.key(clustering)?;
        Ok(ChangeParts {
            table: self.table.full_name(),
            kind,
            key,
            columns: Vec::new(),
        })
    }

    fn key(&self, clustering: Option<&Bytes>) -> Result<Vec<(String, Value)>> {
        let named = |columns: &[Column], values: Vec<Value>| -> Vec<(String, Value)> {
            columns
                .iter()
                .map(|column| column.name.clone())
                .zip(values)
                .collect()
        };
        let values = decode_components(&self.write.partition.key, &self.table.partition_types())?;
        let mut key = named(self.table.partition_columns(), values);
        if let Some(clustering) = clustering {
            let values = decode_components(clustering, &self.table.clustering_types())?;
            key.extend(named(self.table.clustering_columns(), values));
        }
        Ok(key)
    }

    fn deletion(&self, operation: &WriteOperation) -> Result<ChangeParts> {
        match operation {
            WriteOperation::DeleteRow { clustering } => {
                self.change(ChangeKind::DeleteRow, Some(clustering))
            }
            WriteOperation::DeletePartition => self.change(ChangeKind::DeletePartition, None),
            _ => self.change(ChangeKind::DeleteRange, None),
        }
    }

    fn upsert(
        &self,
        change: &mut ChangeParts,
        assigned: &mut Vec<ColumnId>,
        operation: &WriteOperation,
    ) -> Result<()> {
        let cells = match operation {
            WriteOperation::DeleteComplex { column, .. } => {
                assigned.push(*column);
                if let Some(column) = self.table.column_by_id(*column) {
                    change.columns.push((column.name.clone(), Value::Null));
                }
                return Ok(());
            }
            WriteOperation::Upsert {
                is_insert, cells, ..
            } => {
                if *is_insert {
                    change.kind = ChangeKind::Insert;
                }
                cells
            }
            WriteOperation::UpsertStatic { cells, .. } => cells,
            _ => return Err(Error::bug("a deletion where an upsert was expected")),
        };
        for cell in cells {
            if let Some(column) = self.table.column_by_id(cell.column) {
                let is_whole = assigned.contains(&cell.column);
                add_cell(&mut change.columns, column, cell, is_whole)?;
            }
        }
        Ok(())
    }
}

/// Adds a cell to the columns of a change, element by element for collections.
fn add_cell(
    columns: &mut Vec<(String, Value)>,
    column: &Column,
    cell: &CellChange,
    is_whole: bool,
) -> Result<()> {
    let scalar_value = |scalar: ScalarType| match &cell.value {
        Some(bytes) => decode_scalar(scalar, bytes),
        None => Ok(Value::Null),
    };
    let element = |scalar: ScalarType| match &cell.path {
        CellPath::Element(key) => element_value(scalar, key),
        CellPath::Plain | CellPath::Append | CellPath::Prepend | CellPath::Add => Ok(Value::Null),
    };
    match column.data_type {
        DataType::Scalar(scalar) => columns.push((column.name.clone(), scalar_value(scalar)?)),
        DataType::List(scalar) => {
            let value = scalar_value(scalar)?;
            if let Value::List(elements) = collection(columns, column, Value::List(Vec::new())) {
                elements.push(value);
            }
        }
        DataType::Set(scalar) if is_whole => {
            let value = element(scalar)?;
            if let Value::Set(elements) = collection(columns, column, Value::Set(Vec::new())) {
                elements.push(value);
            }
        }
        DataType::Set(scalar) => {
            let flag = if cell.value.is_some() {
                Value::Boolean(true)
            } else {
                Value::Null
            };
            let entry = (element(scalar)?, flag);
            if let Value::Map(entries) = collection(columns, column, Value::Map(Vec::new())) {
                entries.push(entry);
            }
        }
        DataType::Map(key, value) => {
            let entry = (element(key)?, scalar_value(value)?);
            if let Value::Map(entries) = collection(columns, column, Value::Map(Vec::new())) {
                entries.push(entry);
            }
        }
    }
    Ok(())
}

/// The value of an element key.
pub(crate) fn element_value(scalar: ScalarType, path: &[u8]) -> Result<Value> {
    let values = decode_components(path, &[(scalar, Order::Ascending)])?;
    values
        .into_iter()
        .next()
        .ok_or_else(|| Error::corrupt("an element without its key"))
}

/// The collection of the column in `columns`, made `empty` first if it is not there.
fn collection<'a>(
    columns: &'a mut Vec<(String, Value)>,
    column: &Column,
    empty: Value,
) -> &'a mut Value {
    let found = columns.iter().position(|(name, _)| *name == column.name);
    let position = found.unwrap_or_else(|| {
        columns.push((column.name.clone(), Value::Null));
        columns.len() - 1
    });
    let (_, value) = &mut columns[position];
    if value.is_null() {
        *value = empty;
    }
    value
}
