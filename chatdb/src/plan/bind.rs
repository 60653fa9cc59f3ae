//! Terms to values of a column's type.
//!
//! Literals and bound values go through the same conversions, all of which keep the value: whole
//! numbers between int, bigint, timestamp and double where they fit, text to timestamp and uuid.

use super::Request;
use crate::cql::ast::{Literal, Term};
use crate::error::{Error, Result};
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use time::format_description::well_known::Iso8601;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

impl Request<'_> {
    /// The value of a term for a column `name` of this type.
    pub(super) fn value(&self, term: &Term, data_type: DataType, name: &str) -> Result<Value> {
        let value = coerce(self.raw(term)?, data_type);
        value.map_or_else(|| Err(self.does_not_fit(term, data_type, name)), Ok)
    }

    fn does_not_fit(&self, term: &Term, data_type: DataType, name: &str) -> Error {
        match self.raw(term) {
            Ok(raw) => {
                let found = describe(&raw);
                Error::invalid(format!("{name} takes {data_type}, not {found}"))
            }
            Err(error) => error,
        }
    }

    /// The term as it is, before it is fitted to a type.
    fn raw(&self, term: &Term) -> Result<Value> {
        match term {
            Term::Marker(number) => {
                self.values
                    .get(usize::from(*number))
                    .cloned()
                    .ok_or_else(|| {
                        Error::invalid(format!(
                            "bind marker {} has no value; {} bound",
                            number + 1,
                            self.values.len()
                        ))
                    })
            }
            Term::Literal(literal) => self.literal(literal),
        }
    }

    fn literal(&self, literal: &Literal) -> Result<Value> {
        let all = |terms: &[Term]| -> Result<Vec<Value>> {
            terms.iter().map(|term| self.raw(term)).collect()
        };
        Ok(match literal {
            Literal::Null => Value::Null,
            Literal::Integer(number) => Value::BigInt(*number),
            Literal::Float(number) => Value::Double(*number),
            Literal::Text(text) => Value::Text(text.clone()),
            Literal::Blob(bytes) => Value::Blob(bytes.clone()),
            Literal::Boolean(flag) => Value::Boolean(*flag),
            Literal::Uuid(uuid) => Value::Uuid(*uuid),
            Literal::Set(terms) => Value::Set(all(terms)?),
            Literal::List(terms) => Value::List(all(terms)?),
            Literal::Map(entries) => {
                let pair = |(key, value): &(Term, Term)| Ok((self.raw(key)?, self.raw(value)?));
                Value::Map(entries.iter().map(pair).collect::<Result<_>>()?)
            }
        })
    }

    /// A whole number above zero, for `LIMIT`.
    pub(super) fn limit(&self, term: &Term, what: &str) -> Result<u64> {
        let value = self.value(term, ScalarType::BigInt.into(), what)?;
        match value {
            Value::BigInt(number) if number > 0 => Ok(number.unsigned_abs()),
            other => Err(Error::invalid(format!(
                "{what} takes a number above 0, not {other}"
            ))),
        }
    }
}

/// What a value is, for messages: its type and, if short, itself.
fn describe(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 40 {
        format!("{} {text}", value.type_name())
    } else {
        value.type_name().into()
    }
}

/// The value as this type, if it can be one without loss. Null and unset stay what they are.
pub(super) fn coerce(value: Value, data_type: DataType) -> Option<Value> {
    match (value, data_type) {
        (value @ (Value::Null | Value::Unset), _) => Some(value),
        (value, DataType::Scalar(scalar)) => coerce_scalar(value, scalar),
        (Value::Set(elements), DataType::Set(element)) => {
            let mut values = coerce_all(elements, element)?;
            values.sort_by(compare);
            values.dedup_by(|a, b| compare(a, b).is_eq());
            Some(Value::Set(values))
        }
        (Value::Set(elements), DataType::Map(..)) if elements.is_empty() => {
            Some(Value::Map(Vec::new()))
        }
        (Value::Map(entries), DataType::Map(key, value)) => {
            let mut pairs = entries
                .into_iter()
                .map(|(k, v)| Some((coerce_scalar(k, key)?, coerce_scalar(v, value)?)))
                .collect::<Option<Vec<_>>>()?;
            // The last of equal keys wins, as if they had been written one after another.
            pairs.reverse();
            pairs.sort_by(|(a, _), (b, _)| compare(a, b));
            pairs.dedup_by(|(a, _), (b, _)| compare(a, b).is_eq());
            Some(Value::Map(pairs))
        }
        (Value::List(elements), DataType::List(element)) => {
            coerce_all(elements, element).map(Value::List)
        }
        _ => None,
    }
}

fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    a.compare(b).unwrap_or(std::cmp::Ordering::Equal)
}

fn coerce_all(elements: Vec<Value>, element: ScalarType) -> Option<Vec<Value>> {
    elements
        .into_iter()
        .map(|value| coerce_scalar(value, element))
        .collect()
}

/// As [`coerce`], for one scalar, where null is not a value.
fn coerce_scalar(value: Value, scalar: ScalarType) -> Option<Value> {
    if value.scalar_type() == Some(scalar) {
        return Some(value);
    }
    let whole = match value {
        Value::BigInt(number) => Some(number),
        Value::Int(number) => Some(i64::from(number)),
        _ => None,
    };
    match (scalar, whole, value) {
        (ScalarType::BigInt | ScalarType::Counter, Some(number), _) => Some(Value::BigInt(number)),
        (ScalarType::Int, Some(number), _) => i32::try_from(number).ok().map(Value::Int),
        (ScalarType::Timestamp, Some(number), _) => Some(Value::Timestamp(number)),
        (ScalarType::Double, Some(number), _) => exact_double(number).map(Value::Double),
        (ScalarType::Timestamp, None, Value::Text(text)) => {
            parse_timestamp(&text).map(Value::Timestamp)
        }
        (ScalarType::Uuid, None, Value::Text(text)) => {
            let uuid = uuid::Uuid::parse_str(&text).ok()?;
            Some(Value::Uuid(uuid.into_bytes()))
        }
        _ => None,
    }
}

/// The double of this whole number; `None` beyond 2^53, where not every whole number is a double.
fn exact_double(number: i64) -> Option<f64> {
    let high = i32::try_from(number >> 32).ok()?;
    let low = u32::try_from(number & 0xffff_ffff).ok()?;
    (number.unsigned_abs() <= 1 << 53).then(|| f64::from(high) * 4_294_967_296.0 + f64::from(low))
}

/// Milliseconds of an ISO 8601 date, or date and time; UTC unless it says otherwise.
fn parse_timestamp(text: &str) -> Option<i64> {
    let text = text.trim();
    let spaced = text.replacen(' ', "T", 1);
    let moment = OffsetDateTime::parse(&spaced, &Iso8601::PARSING)
        .or_else(|_| {
            PrimitiveDateTime::parse(&spaced, &Iso8601::PARSING).map(PrimitiveDateTime::assume_utc)
        })
        .or_else(|_| {
            let day = format_description!("[year]-[month]-[day]");
            Date::parse(text, day).map(|date| date.midnight().assume_utc())
        })
        .ok()?;
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}
