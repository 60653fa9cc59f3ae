//! Counters in statements: `SET c = c + n` and nothing else.

use super::Request;
use crate::cql::ast::{Assignment, Condition, Delete, Update};
use crate::error::{Error, Result};
use crate::schema::{Column, Table};
use crate::value::Value;
use bytes::Bytes;

/// Refuses an INSERT into a table of counters.
pub(super) fn refuse_insert(table: &Table) -> Result<()> {
    if !table.has_counters() {
        return Ok(());
    }
    let what = format!("{} has counters, which are not inserted", table.full_name());
    Err(with_form(Error::invalid(what)))
}

/// Refuses what an UPDATE of counters cannot have.
pub(super) fn check_update(table: &Table, update: &Update) -> Result<()> {
    if table.has_counters() && update.using.ttl.is_some() {
        return Err(Error::invalid("counters have no time to live"));
    }
    refuse_condition(table, &update.condition)
}

/// Refuses what a DELETE of counters cannot have.
pub(super) fn check_delete(table: &Table, delete: &Delete) -> Result<()> {
    refuse_condition(table, &delete.condition)
}

fn refuse_condition(table: &Table, condition: &Condition) -> Result<()> {
    if table.has_counters() && *condition != Condition::None {
        return Err(Error::invalid("IF is not for tables of counters"));
    }
    Ok(())
}

/// What the assignment adds to the counter; `None` when it is unset.
pub(super) fn added(
    request: &Request<'_>,
    column: &Column,
    assignment: &Assignment,
) -> Result<Option<Bytes>> {
    let name = &column.name;
    let (term, is_negative) = match assignment {
        Assignment::Append(_, term) => (term, false),
        Assignment::Remove(_, term) => (term, true),
        Assignment::Set(..) | Assignment::Prepend(..) | Assignment::Element(..) => {
            let what = format!("counter {name} is not assigned, only added to");
            return Err(with_form(Error::invalid(what)));
        }
    };
    let number = match request.value(term, column.data_type, name)? {
        Value::Unset => return Ok(None),
        Value::BigInt(number) => number,
        other => {
            let what = format!("counter {name} takes a number to add, not {other}");
            return Err(Error::invalid(what));
        }
    };
    let signed = if is_negative {
        number.checked_neg()
    } else {
        Some(number)
    };
    let signed = signed.ok_or_else(|| {
        let what = format!("counter {name}: {number} cannot be taken away in one step");
        Error::invalid(what)
    })?;
    Ok(Some(Bytes::copy_from_slice(&signed.to_be_bytes())))
}

fn with_form(error: Error) -> Error {
    error.with_help("try", "UPDATE ... SET c = c + 1 WHERE ...")
}
