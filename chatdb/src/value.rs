//! Values as programs hold them: what is bound to a statement and what comes back in a row.
//!
//! [`Value::Null`] deletes a cell when written, [`Value::Unset`] leaves it as it is. Neither ever
//! comes out of a collection. `Display` prints the CQL literal, so that what a person reads can be
//! typed back.

use crate::types::{DataType, ScalarType};
use bytes::Bytes;
use std::cmp::Ordering;
use std::fmt;

/// One value of any type.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// No value. Writing it deletes the cell.
    #[default]
    Null,
    /// Not bound. Writing it changes nothing.
    Unset,
    /// 64-bit signed integer.
    BigInt(i64),
    /// 32-bit signed integer.
    Int(i32),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Bytes),
    /// True or false.
    Boolean(bool),
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// IEEE 754 binary64.
    Double(f64),
    /// 128-bit identifier, most significant byte first.
    Uuid([u8; 16]),
    /// Distinct values in order.
    Set(Vec<Value>),
    /// Values by distinct key, in key order.
    Map(Vec<(Value, Value)>),
    /// Values in list order.
    List(Vec<Value>),
}

impl Value {
    /// Whether this is [`Value::Null`].
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The name of what this is, for messages: a type name, `null` or `unset`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Unset => "unset",
            Self::BigInt(_) => "bigint",
            Self::Int(_) => "int",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
            Self::Boolean(_) => "boolean",
            Self::Timestamp(_) => "timestamp",
            Self::Double(_) => "double",
            Self::Uuid(_) => "uuid",
            Self::Set(_) => "set",
            Self::Map(_) => "map",
            Self::List(_) => "list",
        }
    }

    /// Whether a column of this type may hold the value as it is (null and unset fit every type).
    pub fn fits(&self, data_type: DataType) -> bool {
        match (self, data_type) {
            (Self::Null | Self::Unset, _) => true,
            (Self::Set(elements), DataType::Set(element))
            | (Self::List(elements), DataType::List(element)) => elements
                .iter()
                .all(|value| value.scalar_type() == Some(element)),
            (Self::Map(entries), DataType::Map(key, value)) => entries
                .iter()
                .all(|(k, v)| k.scalar_type() == Some(key) && v.scalar_type() == Some(value)),
            (_, DataType::Scalar(scalar)) => self.scalar_type() == Some(scalar),
            _ => false,
        }
    }

    /// The scalar type of the value; `None` for null, unset and collections.
    pub fn scalar_type(&self) -> Option<ScalarType> {
        Some(match self {
            Self::BigInt(_) => ScalarType::BigInt,
            Self::Int(_) => ScalarType::Int,
            Self::Text(_) => ScalarType::Text,
            Self::Blob(_) => ScalarType::Blob,
            Self::Boolean(_) => ScalarType::Boolean,
            Self::Timestamp(_) => ScalarType::Timestamp,
            Self::Double(_) => ScalarType::Double,
            Self::Uuid(_) => ScalarType::Uuid,
            Self::Null | Self::Unset | Self::Set(_) | Self::Map(_) | Self::List(_) => return None,
        })
    }

    /// The order of two scalars of one type; `None` when they are not comparable.
    ///
    /// Doubles compare by IEEE 754 `totalOrder`, as keys do.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::BigInt(a), Self::BigInt(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => {
                Some(a.cmp(b))
            }
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Blob(a), Self::Blob(b)) => Some(a.cmp(b)),
            (Self::Boolean(a), Self::Boolean(b)) => Some(a.cmp(b)),
            (Self::Double(a), Self::Double(b)) => Some(a.total_cmp(b)),
            (Self::Uuid(a), Self::Uuid(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::BigInt(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

impl From<Bytes> for Value {
    fn from(value: Bytes) -> Self {
        Self::Blob(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value.into())
    }
}

impl From<[u8; 16]> for Value {
    fn from(value: [u8; 16]) -> Self {
        Self::Uuid(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Unset => f.write_str("unset"),
            Self::BigInt(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => write_quoted(f, value),
            Self::Blob(value) => write_hex(f, value),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Timestamp(value) => write_timestamp(f, *value),
            Self::Double(value) => write_double(f, *value),
            Self::Uuid(value) => write!(f, "{}", uuid::Uuid::from_bytes(*value)),
            Self::Set(elements) => write_elements(f, '{', elements, '}'),
            Self::List(elements) => write_elements(f, '[', elements, ']'),
            Self::Map(entries) => {
                f.write_str("{")?;
                for (position, (key, value)) in entries.iter().enumerate() {
                    let separator = if position == 0 { "" } else { ", " };
                    write!(f, "{separator}{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\'', "''"))
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    f.write_str("0x")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn write_double(f: &mut fmt::Formatter<'_>, value: f64) -> fmt::Result {
    if value.is_nan() {
        f.write_str("NaN")
    } else if value.is_infinite() {
        f.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" })
    } else {
        write!(f, "{value:?}")
    }
}

/// Prints the ISO form, or the number of milliseconds where the calendar has no such year.
fn write_timestamp(f: &mut fmt::Formatter<'_>, milliseconds: i64) -> fmt::Result {
    let moment =
        time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok();
    match moment.filter(|moment| (0..=9999).contains(&moment.year())) {
        Some(moment) => write!(
            f,
            "'{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z'",
            moment.year(),
            u8::from(moment.month()),
            moment.day(),
            moment.hour(),
            moment.minute(),
            moment.second(),
            moment.millisecond()
        ),
        None => write!(f, "{milliseconds}"),
    }
}

fn write_elements(
    f: &mut fmt::Formatter<'_>,
    open: char,
    elements: &[Value],
    close: char,
) -> fmt::Result {
    write!(f, "{open}")?;
    for (position, element) in elements.iter().enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        write!(f, "{separator}{element}")?;
    }
    write!(f, "{close}")
}
