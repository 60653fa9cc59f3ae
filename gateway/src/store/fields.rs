//! Typed reading of one row, whether it comes from a query or from a change of the stream.
//!
//! A null reads as `None`; a value of another type than the schema's is an error that names the
//! column, never a default.

use chatdb::{Error, Result, Row, Value};

use crate::id::Id;

/// Something with named values: a row of a result, or key and columns of a change.
pub(crate) trait Fields {
    /// The value of a column; `Value::Null` when it is null or was not written.
    fn value(&self, name: &str) -> &Value;

    fn opt_bigint(&self, name: &str) -> Result<Option<i64>> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(None),
            Value::BigInt(number) => Ok(Some(*number)),
            other => Err(unexpected(name, other)),
        }
    }

    fn opt_id(&self, name: &str) -> Result<Option<Id>> {
        Ok(self.opt_bigint(name)?.map(Id::from_bigint))
    }

    fn id(&self, name: &str) -> Result<Id> {
        self.opt_id(name)?
            .ok_or_else(|| unexpected(name, &Value::Null))
    }

    fn number<N: TryFrom<i32> + Default>(&self, name: &str) -> Result<N> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(N::default()),
            Value::Int(number) => {
                N::try_from(*number).map_err(|_| unexpected(name, &Value::Int(*number)))
            }
            other => Err(unexpected(name, other)),
        }
    }

    fn opt_text(&self, name: &str) -> Result<Option<String>> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(None),
            Value::Text(text) => Ok(Some(text.clone())),
            other => Err(unexpected(name, other)),
        }
    }

    fn text(&self, name: &str) -> Result<String> {
        Ok(self.opt_text(name)?.unwrap_or_default())
    }

    fn flag(&self, name: &str) -> Result<bool> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(false),
            Value::Boolean(value) => Ok(*value),
            other => Err(unexpected(name, other)),
        }
    }

    fn opt_time(&self, name: &str) -> Result<Option<i64>> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(None),
            Value::Timestamp(ms) => Ok(Some(*ms)),
            other => Err(unexpected(name, other)),
        }
    }

    fn time(&self, name: &str) -> Result<i64> {
        Ok(self.opt_time(name)?.unwrap_or_default())
    }

    fn ids(&self, name: &str) -> Result<Vec<Id>> {
        match self.value(name) {
            Value::Null | Value::Unset => Ok(Vec::new()),
            Value::Set(values) | Value::List(values) => {
                let id = |value: &Value| match value {
                    Value::BigInt(number) => Ok(Id::from_bigint(*number)),
                    other => Err(unexpected(name, other)),
                };
                values.iter().map(id).collect()
            }
            other => Err(unexpected(name, other)),
        }
    }
}

impl Fields for Row {
    fn value(&self, name: &str) -> &Value {
        self.get(name)
    }
}

impl Fields for chatdb::ChangeEvent {
    fn value(&self, name: &str) -> &Value {
        self.get(name)
    }
}

fn unexpected(name: &str, found: &Value) -> Error {
    Error::bug(format!(
        "column {name} holds an unexpected {}",
        found.type_name()
    ))
}

/// A value that is written when present and left alone when absent: no tombstone either way.
pub(crate) fn optional(value: Option<impl Into<Value>>) -> Value {
    value.map_or(Value::Unset, Into::into)
}

/// A value that is written when present and removed when absent.
pub(crate) fn nullable(value: Option<impl Into<Value>>) -> Value {
    value.map_or(Value::Null, Into::into)
}

/// A set of ids, left alone when empty.
pub(crate) fn id_set(ids: &[Id]) -> Value {
    if ids.is_empty() {
        return Value::Unset;
    }
    Value::Set(ids.iter().map(|id| id.bigint().into()).collect())
}

impl From<Id> for Value {
    fn from(id: Id) -> Self {
        Self::BigInt(id.bigint())
    }
}
