//! Values as stored bytes: cells and key components.
//!
//! A cell holds the bytes that CQL's native protocol uses for its type, without a length: big
//! endian numbers, plain text and blobs. The layout is in `docs/formats/values.md`. Keys use the
//! order-preserving form of [`lsm::ordered`] instead.
//!
//! # Invariants
//!
//! * `decode_scalar(encode_scalar(v)) = v` for every value of the type.
//! * Decoding takes any bytes and gives a value or an error, never a panic.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use crate::types::ScalarType;
use crate::value::Value;
use bytes::Bytes;
use lsm::encoding::Reader;
use lsm::ordered::{self, Component, ComponentType, Order};

/// Largest encoded value of a cell, in bytes.
pub const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The bytes of a scalar; `Invalid` for null, unset, collections and values that are too long.
pub fn encode_scalar(value: &Value) -> Result<Bytes> {
    let bytes = match value {
        Value::BigInt(number) | Value::Timestamp(number) => {
            Bytes::copy_from_slice(&number.to_be_bytes())
        }
        Value::Int(number) => Bytes::copy_from_slice(&number.to_be_bytes()),
        Value::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        Value::Blob(bytes) => bytes.clone(),
        Value::Boolean(flag) => Bytes::from_static(if *flag { &[1] } else { &[0] }),
        Value::Double(number) => Bytes::copy_from_slice(&number.to_bits().to_be_bytes()),
        Value::Uuid(uuid) => Bytes::copy_from_slice(uuid),
        Value::Null | Value::Unset | Value::Set(_) | Value::Map(_) | Value::List(_) => {
            return Err(Error::invalid(format!(
                "{} is not a scalar",
                value.type_name()
            )));
        }
    };
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a value of {} bytes is longer than the {VALUE_BYTES_MAX} allowed",
            bytes.len()
        )));
    }
    Ok(bytes)
}

/// The scalar of this type in `bytes`.
pub fn decode_scalar(scalar: ScalarType, bytes: &[u8]) -> Result<Value> {
    let damaged = || {
        Error::corrupt(format!(
            "a stored {scalar} of {} bytes is not a {scalar}",
            bytes.len()
        ))
    };
    Ok(match scalar {
        ScalarType::BigInt | ScalarType::Counter => {
            Value::BigInt(i64::from_be_bytes(array(bytes).ok_or_else(damaged)?))
        }
        ScalarType::Timestamp => {
            Value::Timestamp(i64::from_be_bytes(array(bytes).ok_or_else(damaged)?))
        }
        ScalarType::Int => Value::Int(i32::from_be_bytes(array(bytes).ok_or_else(damaged)?)),
        ScalarType::Text => {
            let text = std::str::from_utf8(bytes).map_err(|_| damaged())?;
            Value::Text(text.to_owned())
        }
        ScalarType::Blob => Value::Blob(Bytes::copy_from_slice(bytes)),
        ScalarType::Boolean => match array::<1>(bytes).ok_or_else(damaged)? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            _ => return Err(damaged()),
        },
        ScalarType::Double => {
            let bits = u64::from_be_bytes(array(bytes).ok_or_else(damaged)?);
            Value::Double(f64::from_bits(bits))
        }
        ScalarType::Uuid => Value::Uuid(array(bytes).ok_or_else(damaged)?),
    })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

/// How keys order this type.
pub fn component_type(scalar: ScalarType) -> ComponentType {
    match scalar {
        ScalarType::BigInt | ScalarType::Timestamp | ScalarType::Counter => ComponentType::BigInt,
        ScalarType::Int => ComponentType::Int,
        ScalarType::Text => ComponentType::Text,
        ScalarType::Blob => ComponentType::Blob,
        ScalarType::Boolean => ComponentType::Boolean,
        ScalarType::Double => ComponentType::Double,
        ScalarType::Uuid => ComponentType::Uuid,
    }
}

/// Appends a scalar to a key.
pub fn encode_component(out: &mut Vec<u8>, value: &Value, order: Order) -> Result<()> {
    let component = match value {
        Value::BigInt(number) | Value::Timestamp(number) => Component::BigInt(*number),
        Value::Int(number) => Component::Int(*number),
        Value::Text(text) => Component::Text(text.clone()),
        Value::Blob(bytes) => Component::Blob(bytes.clone()),
        Value::Boolean(flag) => Component::Boolean(*flag),
        Value::Double(number) => Component::Double(*number),
        Value::Uuid(uuid) => Component::Uuid(*uuid),
        Value::Null | Value::Unset | Value::Set(_) | Value::Map(_) | Value::List(_) => {
            return Err(Error::invalid(format!(
                "{} cannot be part of a key",
                value.type_name()
            )));
        }
    };
    ordered::encode(out, &component, order)
        .map_err(|cause| Error::invalid(cause.to_string()).with_source(cause))
}

/// The scalars of a key, or of as many leading columns as it has.
pub fn decode_components(key: &[u8], columns: &[(ScalarType, Order)]) -> Result<Vec<Value>> {
    let mut reader = Reader::new(key);
    let mut values = Vec::with_capacity(columns.len());
    for (scalar, order) in columns {
        if reader.is_empty() {
            return Ok(values);
        }
        let component = ordered::decode(&mut reader, component_type(*scalar), *order)
            .map_err(|cause| Error::corrupt("a stored key does not decode").with_source(cause))?;
        values.push(from_component(*scalar, component));
    }
    if reader.is_empty() {
        Ok(values)
    } else {
        Err(Error::corrupt("a stored key is longer than its columns"))
    }
}

fn from_component(scalar: ScalarType, component: Component) -> Value {
    match component {
        Component::BigInt(number) if scalar == ScalarType::Timestamp => Value::Timestamp(number),
        Component::BigInt(number) => Value::BigInt(number),
        Component::Int(number) => Value::Int(number),
        Component::Text(text) => Value::Text(text),
        Component::Blob(bytes) => Value::Blob(bytes),
        Component::Boolean(flag) => Value::Boolean(flag),
        Component::Double(number) => Value::Double(number),
        Component::Uuid(uuid) => Value::Uuid(uuid),
    }
}
