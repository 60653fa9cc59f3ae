//! Keys as bytes that sort like the values they came from.
//!
//! A key is its components one after another, each self-delimiting, so that comparing two keys
//! of one schema byte by byte compares them component by component, and the bytes of the first
//! components are a prefix of the bytes of all. Descending components are the bitwise complement
//! of ascending ones. The bytes are described in `docs/formats/ordered-keys.md`.
//!
//! # Invariants
//!
//! * `encode(a) < encode(b)` exactly when `a < b`, reversed for descending components.
//! * A value has one encoding: what decodes, encodes to the same bytes again.
//! * No encoding of a component is a proper prefix of another of the same type.
//!
//! # Cost
//!
//! Fixed-width types copy their bytes. Text and blobs grow by two bytes, and one per zero byte.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;

use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::limits::{KEY_BYTES_MAX, KEY_COMPONENT_BYTES_MAX};

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const TERMINATOR: u8 = 0x00;

/// Which way a component sorts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Small values first.
    #[default]
    Ascending,
    /// Large values first.
    Descending,
}

/// The type of a component. The key bytes do not say it; the schema does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ComponentType {
    /// 32-bit signed number: 4 bytes.
    Int,
    /// 64-bit signed number: 8 bytes.
    BigInt,
    /// 64-bit float in the total order -inf .. -0.0, 0.0 .. inf, NaN: 8 bytes.
    Double,
    /// `false` before `true`: 1 byte.
    Boolean,
    /// Bytes in lexicographic order: escaped and terminated.
    Blob,
    /// UTF-8 text in the order of its bytes: escaped and terminated.
    Text,
    /// 16 bytes in their own order.
    Uuid,
}

/// One component of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Component {
    /// See [`ComponentType::Int`].
    Int(i32),
    /// See [`ComponentType::BigInt`].
    BigInt(i64),
    /// See [`ComponentType::Double`].
    Double(f64),
    /// See [`ComponentType::Boolean`].
    Boolean(bool),
    /// See [`ComponentType::Blob`].
    Blob(Bytes),
    /// See [`ComponentType::Text`].
    Text(String),
    /// See [`ComponentType::Uuid`].
    Uuid([u8; 16]),
}

impl Component {
    /// The type of this component.
    pub fn component_type(&self) -> ComponentType {
        match self {
            Self::Int(_) => ComponentType::Int,
            Self::BigInt(_) => ComponentType::BigInt,
            Self::Double(_) => ComponentType::Double,
            Self::Boolean(_) => ComponentType::Boolean,
            Self::Blob(_) => ComponentType::Blob,
            Self::Text(_) => ComponentType::Text,
            Self::Uuid(_) => ComponentType::Uuid,
        }
    }
}

/// Appends `component` to the key `out`.
///
/// Fails with [`crate::ErrorKind::Invalid`] and leaves `out` as it was if a text or blob is longer
/// than [`KEY_COMPONENT_BYTES_MAX`] or the key would become longer than [`KEY_BYTES_MAX`].
pub fn encode(out: &mut Vec<u8>, component: &Component, order: Order) -> Result<()> {
    let start = out.len();
    match component {
        Component::Int(value) => out.extend((value ^ i32::MIN).to_be_bytes()),
        Component::BigInt(value) => out.extend((value ^ i64::MIN).to_be_bytes()),
        Component::Double(value) => out.extend(double_to_bits(*value).to_be_bytes()),
        Component::Boolean(value) => out.push(u8::from(*value)),
        Component::Blob(value) => escape(out, value)?,
        Component::Text(value) => escape(out, value.as_bytes())?,
        Component::Uuid(value) => out.extend(value),
    }
    if out.len() > KEY_BYTES_MAX {
        out.truncate(start);
        return Err(Error::invalid(format!(
            "the key is longer than {KEY_BYTES_MAX} bytes"
        )));
    }
    if order == Order::Descending {
        for byte in out.iter_mut().skip(start) {
            *byte = !*byte;
        }
    }
    Ok(())
}

/// Reads one component of a known type from the front of a key.
pub fn decode(
    reader: &mut Reader<'_>,
    component_type: ComponentType,
    order: Order,
) -> std::result::Result<Component, DecodeError> {
    let mask = match order {
        Order::Ascending => 0,
        Order::Descending => 0xff,
    };
    let component = match component_type {
        ComponentType::Int => {
            let bits = i32::from_be_bytes(masked(reader, mask, "4 bytes of an int")?);
            Component::Int(bits ^ i32::MIN)
        }
        ComponentType::BigInt => {
            let bits = i64::from_be_bytes(masked(reader, mask, "8 bytes of a bigint")?);
            Component::BigInt(bits ^ i64::MIN)
        }
        ComponentType::Double => {
            let error = reader.error("a double in its one form");
            let bits = u64::from_be_bytes(masked(reader, mask, "8 bytes of a double")?);
            let value = bits_to_double(bits);
            if double_to_bits(value) != bits {
                return Err(error);
            }
            Component::Double(value)
        }
        ComponentType::Boolean => {
            let error = reader.error("0 or 1 of a boolean");
            match masked::<1>(reader, mask, "1 byte of a boolean")? {
                [0] => Component::Boolean(false),
                [1] => Component::Boolean(true),
                _ => return Err(error),
            }
        }
        ComponentType::Blob => Component::Blob(unescape(reader, mask)?.into()),
        ComponentType::Text => {
            let error = reader.error("UTF-8 text");
            Component::Text(String::from_utf8(unescape(reader, mask)?).map_err(|_| error)?)
        }
        ComponentType::Uuid => Component::Uuid(masked(reader, mask, "16 bytes of a uuid")?),
    };
    Ok(component)
}

/// Reads a whole key of the given schema; bytes left over are an error.
pub fn decode_key(
    key: &[u8],
    schema: &[(ComponentType, Order)],
) -> std::result::Result<Vec<Component>, DecodeError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(DecodeError {
            at: KEY_BYTES_MAX,
            expected: "the end of the key",
        });
    }
    let mut reader = Reader::new(key);
    let mut components = Vec::with_capacity(schema.len());
    for (component_type, order) in schema {
        components.push(decode(&mut reader, *component_type, *order)?);
    }
    if reader.is_empty() {
        Ok(components)
    } else {
        Err(reader.error("the end of the key"))
    }
}

/// The smallest key that is greater than every key beginning with `prefix`, or `None` if there
/// is none: the exclusive end of a prefix scan.
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix.get(..=kept)?.to_vec();
    let last = end.last_mut()?;
    *last = last.saturating_add(1);
    Some(end)
}

/// Maps floats to numbers of the same order; every NaN becomes the largest one.
fn double_to_bits(value: f64) -> u64 {
    let value = if value.is_nan() { f64::NAN } else { value };
    let bits = value.to_bits();
    let is_negative = bits >> 63 == 1;
    // A quiet NaN's sign is not specified by the language, its place in the order is by us.
    match (value.is_nan(), is_negative) {
        (true, _) => u64::MAX,
        (false, true) => !bits,
        (false, false) => bits | 1 << 63,
    }
}

fn bits_to_double(bits: u64) -> f64 {
    match (bits, bits >> 63) {
        (u64::MAX, _) => f64::NAN,
        (_, 1) => f64::from_bits(bits & !(1 << 63)),
        _ => f64::from_bits(!bits),
    }
}

fn masked<const N: usize>(
    reader: &mut Reader<'_>,
    mask: u8,
    expected: &'static str,
) -> std::result::Result<[u8; N], DecodeError> {
    Ok(reader.array::<N>(expected)?.map(|byte| byte ^ mask))
}

fn escape(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    if bytes.len() > KEY_COMPONENT_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a key column of {} bytes is longer than {KEY_COMPONENT_BYTES_MAX} bytes",
            bytes.len()
        )));
    }
    for byte in bytes {
        out.push(*byte);
        if *byte == ESCAPE {
            out.push(ESCAPED_ZERO);
        }
    }
    out.extend([ESCAPE, TERMINATOR]);
    Ok(())
}

fn unescape(reader: &mut Reader<'_>, mask: u8) -> std::result::Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    loop {
        let [byte] = masked::<1>(reader, mask, "a terminated text or blob")?;
        if byte == ESCAPE {
            match masked::<1>(reader, mask, "a terminated text or blob")? {
                [TERMINATOR] => return Ok(bytes),
                [ESCAPED_ZERO] => {}
                _ => return Err(reader.error("an escaped zero or a terminator before this")),
            }
        }
        if bytes.len() >= KEY_COMPONENT_BYTES_MAX {
            return Err(reader.error("a text or blob within its limit"));
        }
        bytes.push(byte);
    }
}
