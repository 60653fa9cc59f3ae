//! `INSERT`, `UPDATE`, `DELETE` and batches to commands.
//!
//! Null deletes a cell, unset leaves it. Assigning a collection deletes the old elements and writes
//! the new ones, in that order, so that the new ones are newer.

use super::relation::Restrictions;
use super::write_plan::WritePlan;
use super::{Request, condition, counter};
use crate::command::{CellChange, CellPath, Guard, Write, WriteCommand, WriteOperation};
use crate::cql::ast::{
    Assignment, Batch, Condition, Delete, Insert, Statement, TableName, Update, Using,
};
use crate::encoding::{encode_component, encode_scalar};
use crate::error::{Error, Result};
use crate::schema::{Column, ColumnRole, Table, checked_ttl};
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use bytes::Bytes;
use lsm::PartitionKey;
use lsm::limits::PATH_BYTES_MAX;
use lsm::ordered::Order;
use std::sync::Arc;

/// Plans one `INSERT`, `UPDATE` or `DELETE`.
pub(super) fn single(request: &Request<'_>, statement: &Statement) -> Result<WritePlan> {
    let (mut plan, using) = match statement {
        Statement::Insert(insert) => (insert_plan(request, insert)?, &insert.using),
        Statement::Update(update) => (update_plan(request, update)?, &update.using),
        Statement::Delete(delete) => (delete_plan(request, delete)?, &delete.using),
        _ => {
            return Err(Error::invalid(
                "a batch takes INSERT, UPDATE and DELETE only",
            ));
        }
    };
    publish(request, using, &mut plan.command)?;
    Ok(plan)
}

/// Plans a `BEGIN BATCH`.
pub(super) fn batch(request: &Request<'_>, batch: &Batch) -> Result<WritePlan> {
    if batch.using.ttl.is_some() {
        return Err(Error::invalid(
            "USING TTL belongs to the statements of a batch",
        ));
    }
    let plans: Result<Vec<WritePlan>> = batch
        .statements
        .iter()
        .map(|statement| single(request, statement))
        .collect();
    let mut plan = WritePlan::merge(plans?)?;
    publish(request, &batch.using, &mut plan.command)?;
    Ok(plan)
}

/// Adds the topics, note and request id of the request and its `USING`.
fn publish(request: &Request<'_>, using: &Using, command: &mut WriteCommand) -> Result<()> {
    for topic in &using.topics {
        match request.value(topic, ScalarType::Text.into(), "TOPIC")? {
            Value::Text(topic) => command.add_topic(topic),
            Value::Null | Value::Unset => {}
            other => return Err(Error::invalid(format!("TOPIC takes text, not {other}"))),
        }
    }
    request
        .topics
        .iter()
        .for_each(|topic| command.add_topic(topic.clone()));
    command.note = Bytes::copy_from_slice(request.note);
    command.request_id = request.request_id;
    command.settled_below = request.settled_below;
    Ok(())
}

fn find_table(request: &Request<'_>, name: &TableName) -> Result<Arc<Table>> {
    let keyspace = name.keyspace.as_deref().or(request.keyspace);
    request.catalog.table(keyspace, &name.table).map(Arc::clone)
}

fn ttl(request: &Request<'_>, using: &Using, table: &Table) -> Result<u32> {
    let Some(term) = &using.ttl else {
        return Ok(table.options.default_ttl_s);
    };
    match request.value(term, ScalarType::BigInt.into(), "TTL")? {
        Value::BigInt(seconds) => checked_ttl(seconds),
        Value::Unset => Ok(table.options.default_ttl_s),
        _ => Ok(0),
    }
}

/// Cells of one row or static row as they are collected from a statement.
#[derive(Default)]
struct Cells {
    /// Collections whose old elements go.
    cleared: Vec<lsm::ColumnId>,
    changes: Vec<CellChange>,
}

impl Cells {
    fn is_empty(&self) -> bool {
        self.cleared.is_empty() && self.changes.is_empty()
    }

    fn push(&mut self, column: &Column, path: CellPath, value: Option<Bytes>) {
        self.changes.push(CellChange {
            column: column.id,
            path,
            value,
        });
    }

    /// `column = value`.
    fn assign(&mut self, column: &Column, value: &Value) -> Result<()> {
        if matches!(value, Value::Unset) {
            return Ok(());
        }
        if !column.data_type.is_collection() {
            let bytes = if value.is_null() {
                None
            } else {
                Some(encode_scalar(value)?)
            };
            self.push(column, CellPath::Plain, bytes);
            return Ok(());
        }
        self.cleared.push(column.id);
        self.add(column, value, &CellPath::Append)
    }

    /// Adds the elements of a collection; `at` says where those of a list go.
    fn add(&mut self, column: &Column, value: &Value, at: &CellPath) -> Result<()> {
        match value {
            Value::Null | Value::Unset => {}
            Value::Set(elements) => {
                for element in elements {
                    self.push(column, element_path(element)?, Some(Bytes::new()));
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.push(column, element_path(key)?, Some(encode_scalar(value)?));
                }
            }
            Value::List(elements) => {
                for element in elements {
                    self.push(column, at.clone(), Some(encode_scalar(element)?));
                }
            }
            _ => {
                let Column {
                    name, data_type, ..
                } = column;
                return Err(Error::invalid(format!(
                    "only collections are added to; {name} is a {data_type}"
                )));
            }
        }
        Ok(())
    }

    /// The operations of the cells, for a row or the static row.
    fn operations(self, row: Option<(&Bytes, bool)>, ttl_s: u32, out: &mut Vec<WriteOperation>) {
        let clustering = row.map(|(clustering, _)| clustering.clone());
        let clear = |column| WriteOperation::DeleteComplex {
            clustering: clustering.clone(),
            column,
        };
        out.extend(self.cleared.into_iter().map(clear));
        let cells = self.changes;
        match row {
            Some((clustering, is_insert)) if is_insert || !cells.is_empty() => {
                let clustering = clustering.clone();
                out.push(WriteOperation::Upsert {
                    clustering,
                    is_insert,
                    ttl_s,
                    cells,
                });
            }
            None if !cells.is_empty() => out.push(WriteOperation::UpsertStatic { ttl_s, cells }),
            _ => {}
        }
    }
}

/// The path of a set element or map key.
pub(super) fn element_path(value: &Value) -> Result<CellPath> {
    element_bytes(value).map(CellPath::Element)
}

/// The key bytes of a set element or map key.
pub(super) fn element_bytes(value: &Value) -> Result<Bytes> {
    let mut path = Vec::new();
    encode_component(&mut path, value, Order::Ascending)?;
    if path.len() > PATH_BYTES_MAX {
        return Err(Error::invalid(format!(
            "an element key has {} bytes, more than the {PATH_BYTES_MAX} allowed",
            path.len()
        )));
    }
    Ok(path.into())
}

/// Whether the column is static.
fn is_static(column: &Column) -> bool {
    column.role == ColumnRole::Static
}

fn insert_plan(request: &Request<'_>, insert: &Insert) -> Result<WritePlan> {
    let table = find_table(request, &insert.table)?;
    counter::refuse_insert(&table)?;
    let ttl_s = ttl(request, &insert.using, &table)?;
    let mut keys: Vec<(&str, Value)> = Vec::new();
    let (mut row_cells, mut static_cells) = (Cells::default(), Cells::default());
    let mut seen: Vec<&str> = Vec::with_capacity(insert.values.len());
    for (name, term) in &insert.values {
        let column = table.column(name)?;
        if seen.contains(&name.as_str()) {
            return Err(Error::invalid(format!("INSERT names {name} twice")));
        }
        seen.push(name);
        let value = request.value(term, column.data_type, name)?;
        match column.role {
            ColumnRole::Partition | ColumnRole::Clustering(_) => keys.push((name, value)),
            ColumnRole::Static => static_cells.assign(column, &value)?,
            ColumnRole::Regular => row_cells.assign(column, &value)?,
        }
    }
    let partition_values = key_values(&table, table.partition_columns(), &keys)?;
    let partition = table.partition_key(&partition_values)?;
    let names_row = keys.len() > partition_values.len() || !row_cells.is_empty();
    let mut operations = Vec::with_capacity(2);
    let row = if names_row || static_cells.is_empty() || table.clustering_columns().is_empty() {
        let values = key_values(&table, table.clustering_columns(), &keys)?;
        Some(table.clustering_key(&values)?)
    } else {
        None
    };
    if let Some(row) = &row {
        row_cells.operations(Some((row, true)), ttl_s, &mut operations);
    }
    static_cells.operations(None, ttl_s, &mut operations);
    let guard = if insert.if_not_exists {
        Guard::Missing(row)
    } else {
        Guard::None
    };
    let conditional = insert.if_not_exists;
    let write = Write {
        table: table.id,
        partition,
        guard,
        operations,
    };
    Ok(WritePlan::new(table, write, conditional, None))
}

/// The values of these key columns, all of which must be there.
fn key_values(table: &Table, columns: &[Column], keys: &[(&str, Value)]) -> Result<Vec<Value>> {
    let value_of = |column: &Column| match keys.iter().find(|(name, _)| *name == column.name) {
        Some((_, Value::Null | Value::Unset)) => Err(Error::invalid(format!(
            "key column {} is null",
            column.name
        ))),
        Some((_, value)) => Ok(value.clone()),
        None => {
            let shown = |columns: &[Column]| crate::schema::names(columns);
            let key = match table.clustering_columns() {
                [] => format!("({})", shown(table.partition_columns())),
                rows => format!("(({}), {})", shown(table.partition_columns()), shown(rows)),
            };
            let named: Vec<&str> = keys.iter().map(|(name, _)| *name).collect();
            let what = format!("INSERT must name the whole key of {}", table.full_name());
            Err(Error::invalid(what)
                .with_help("primary key", key)
                .with_help("you named", named.join(", "))
                .with_help("missing", column.name.clone()))
        }
    };
    columns.iter().map(value_of).collect()
}

fn update_plan(request: &Request<'_>, update: &Update) -> Result<WritePlan> {
    let table = find_table(request, &update.table)?;
    counter::check_update(&table, update)?;
    let ttl_s = ttl(request, &update.using, &table)?;
    let restrictions = Restrictions::new(request, &table, &update.relations)?;
    let partition = restrictions.partition()?;
    let (mut row_cells, mut static_cells) = (Cells::default(), Cells::default());
    let mut assigns_row = false;
    for assignment in &update.assignments {
        let column = table.column(assignment.column())?;
        if matches!(
            column.role,
            ColumnRole::Partition | ColumnRole::Clustering(_)
        ) {
            return Err(Error::invalid(format!(
                "{} is part of the key and cannot be changed",
                column.name
            ))
            .with_help(
                "try",
                "INSERT the row under its new key and DELETE the old one",
            ));
        }
        assigns_row |= !is_static(column);
        let cells = if is_static(column) {
            &mut static_cells
        } else {
            &mut row_cells
        };
        assign(request, cells, column, assignment)?;
    }
    let needs_row = assigns_row || restrictions.names_rows();
    let row = if needs_row {
        Some(restrictions.row()?)
    } else {
        None
    };
    let mut operations = Vec::with_capacity(2);
    if let Some(row) = &row {
        row_cells.operations(Some((row, false)), ttl_s, &mut operations);
    }
    static_cells.operations(None, ttl_s, &mut operations);
    let skips_missing = !table.options.upsert && row.is_some();
    let (guard, tested) = match &update.condition {
        Condition::None if skips_missing => (Guard::Exists(row), Vec::new()),
        condition => condition::guard(request, &table, condition, (row, skips_missing))?,
    };
    let conditional = guard != Guard::None;
    let write = Write {
        table: table.id,
        partition,
        guard,
        operations,
    };
    Ok(WritePlan::new(table, write, conditional, Some(tested)))
}

fn assign(
    request: &Request<'_>,
    cells: &mut Cells,
    column: &Column,
    assignment: &Assignment,
) -> Result<()> {
    if column.data_type.is_counter() {
        if let Some(added) = counter::added(request, column, assignment)? {
            cells.push(column, CellPath::Add, Some(added));
        }
        return Ok(());
    }
    let name = &column.name;
    let value = |term| request.value(term, column.data_type, name);
    match assignment {
        Assignment::Set(_, term) => cells.assign(column, &value(term)?),
        Assignment::Append(_, term) => cells.add(column, &value(term)?, &CellPath::Append),
        Assignment::Prepend(_, term) => match column.data_type {
            DataType::List(_) => cells.add(column, &value(term)?, &CellPath::Prepend),
            _ => Err(Error::invalid(format!(
                "only a list is prepended to; {name} is a {}",
                { column.data_type }
            ))),
        },
        Assignment::Remove(_, term) => {
            let elements = match column.data_type {
                DataType::Set(element) | DataType::Map(element, _) => {
                    request.value(term, DataType::Set(element), name)?
                }
                DataType::List(_) | DataType::Scalar(_) => return Err(no_removal(column)),
            };
            if let Value::Set(elements) = elements {
                for element in &elements {
                    cells.push(column, element_path(element)?, None);
                }
            }
            Ok(())
        }
        Assignment::Element(_, key, term) => {
            let DataType::Map(key_type, value_type) = column.data_type else {
                return Err(no_removal(column));
            };
            let key = request.value(key, key_type.into(), name)?;
            let value = request.value(term, value_type.into(), name)?;
            let bytes = match value {
                Value::Unset => return Ok(()),
                Value::Null => None,
                value => Some(encode_scalar(&value)?),
            };
            cells.push(column, element_path(&key)?, bytes);
            Ok(())
        }
    }
}

/// The error that elements of this column cannot be addressed.
fn no_removal(column: &Column) -> Error {
    let Column {
        name, data_type, ..
    } = column;
    let error = Error::invalid(format!(
        "elements of {name} cannot be named: it is a {data_type}"
    ));
    match data_type {
        DataType::List(_) => error.with_help("try", "assign the whole list, or use a set or a map"),
        _ => error,
    }
}

fn delete_plan(request: &Request<'_>, delete: &Delete) -> Result<WritePlan> {
    let table = find_table(request, &delete.table)?;
    counter::check_delete(&table, delete)?;
    let restrictions = Restrictions::new(request, &table, &delete.relations)?;
    let partition = restrictions.partition()?;
    if !delete.targets.is_empty() {
        return delete_cells(
            request,
            delete,
            (Arc::clone(&table), &restrictions, partition),
        );
    }
    let rows = restrictions.rows()?.filter(|rows| !rows.is_empty());
    let is_partition = !table.clustering_columns().is_empty() && !restrictions.names_rows();
    let (operations, row) = match rows {
        _ if is_partition => (vec![WriteOperation::DeletePartition], None),
        Some(rows) => {
            let single = if rows.len() == 1 {
                rows.first().cloned()
            } else {
                None
            };
            let delete = |clustering| WriteOperation::DeleteRow { clustering };
            (rows.into_iter().map(delete).collect(), single)
        }
        None => {
            let delete = |slice: super::Slice| {
                let super::Slice { start, end } = slice;
                WriteOperation::DeleteRange { start, end }
            };
            (
                restrictions.slices()?.into_iter().map(delete).collect(),
                None,
            )
        }
    };
    if row.is_none() && delete.condition != Condition::None {
        return Err(Error::invalid("DELETE with IF takes one row").with_help(
            "clustering key",
            crate::schema::names(table.clustering_columns()),
        ));
    }
    let (guard, tested) = condition::guard(request, &table, &delete.condition, (row, false))?;
    let conditional = guard != Guard::None;
    let write = Write {
        table: table.id,
        partition,
        guard,
        operations,
    };
    Ok(WritePlan::new(table, write, conditional, Some(tested)))
}

/// `DELETE column, map[key] FROM ...`.
fn delete_cells(
    request: &Request<'_>,
    delete: &Delete,
    (table, restrictions, partition): (Arc<Table>, &Restrictions<'_>, PartitionKey),
) -> Result<WritePlan> {
    let (mut row_cells, mut static_cells) = (Cells::default(), Cells::default());
    for target in &delete.targets {
        let column = table.column(&target.column)?;
        if matches!(
            column.role,
            ColumnRole::Partition | ColumnRole::Clustering(_)
        ) {
            let what = format!(
                "{} is part of the key and cannot be deleted alone",
                column.name
            );
            return Err(Error::invalid(what).with_help("try", "DELETE FROM ..., without columns"));
        }
        let cells = if is_static(column) {
            &mut static_cells
        } else {
            &mut row_cells
        };
        match (&target.element, column.data_type) {
            (None, _) => cells.assign(column, &Value::Null)?,
            (Some(key), DataType::Map(element, _) | DataType::Set(element)) => {
                let key = request.value(key, element.into(), &column.name)?;
                cells.push(column, element_path(&key)?, None);
            }
            (Some(_), _) => return Err(no_removal(column)),
        }
    }
    let needs_row = !row_cells.is_empty() || restrictions.names_rows();
    let row = if needs_row {
        Some(restrictions.row()?)
    } else {
        None
    };
    let mut operations = Vec::with_capacity(2);
    if let Some(row) = &row {
        row_cells.operations(Some((row, false)), 0, &mut operations);
    }
    static_cells.operations(None, 0, &mut operations);
    let (guard, tested) = condition::guard(request, &table, &delete.condition, (row, false))?;
    let conditional = guard != Guard::None;
    let write = Write {
        table: table.id,
        partition,
        guard,
        operations,
    };
    Ok(WritePlan::new(table, write, conditional, Some(tested)))
}

impl Assignment {
    /// The column assigned.
    fn column(&self) -> &str {
        match self {
            Self::Set(column, _)
            | Self::Append(column, _)
            | Self::Prepend(column, _)
            | Self::Remove(column, _)
            | Self::Element(column, _, _) => column,
        }
    }
}
