//! Values, statements and results between their program form and their wire form.
//!
//! What comes from a peer is judged here: depth, counts and lengths are bounded before anything is
//! built, and a field that makes no sense is an `Invalid` error, never a guess.

use crate::db::statement::{Consistency, Statement};
use crate::error::{Error, Result};
use crate::plan::{PLACEMENT_COLUMNS_MAX, Placement};
use crate::result::{ColumnSpec, Position, QueryStats, ResultSet};
use crate::rpc::proto;
use crate::types::{DataType, ScalarType};
use crate::value::Value;
use bytes::Bytes;
use proto::value::Kind;
use std::sync::Arc;

/// A value for the wire.
pub(crate) fn value_to(value: &Value) -> proto::Value {
    let kind = match value {
        Value::Null => Kind::Null(proto::Empty {}),
        Value::Unset => Kind::Unset(proto::Empty {}),
        Value::BigInt(number) => Kind::Bigint(*number),
        Value::Int(number) => Kind::Int(*number),
        Value::Text(text) => Kind::Text(text.clone()),
        Value::Blob(bytes) => Kind::Blob(bytes.clone()),
        Value::Boolean(truth) => Kind::Boolean(*truth),
        Value::Timestamp(ms) => Kind::TimestampMs(*ms),
        Value::Double(number) => Kind::Double(*number),
        Value::Uuid(bytes) => Kind::Uuid(Bytes::copy_from_slice(bytes)),
        Value::Set(values) => Kind::Set(values_to(values)),
        Value::List(values) => Kind::List(values_to(values)),
        Value::Map(entries) => Kind::Map(proto::MapEntries {
            entries: entries
                .iter()
                .map(|(key, value)| proto::MapEntry {
                    key: Some(value_to(key)),
                    value: Some(value_to(value)),
                })
                .collect(),
        }),
    };
    proto::Value { kind: Some(kind) }
}

/// Values for the wire.
pub(crate) fn values_to(values: &[Value]) -> proto::Values {
    proto::Values {
        values: values.iter().map(value_to).collect(),
    }
}

/// A value from the wire.
pub(crate) fn value_from(value: proto::Value) -> Result<Value> {
    let elements = |values: proto::Values| -> Result<Vec<Value>> {
        values.values.into_iter().map(scalar_value_from).collect()
    };
    Ok(match value.kind {
        Some(Kind::Set(values)) => Value::Set(elements(values)?),
        Some(Kind::List(values)) => Value::List(elements(values)?),
        Some(Kind::Map(map)) => Value::Map(
            map.entries
                .into_iter()
                .map(|entry| {
                    let key = scalar_value_from(entry.key.unwrap_or_default())?;
                    Ok((key, scalar_value_from(entry.value.unwrap_or_default())?))
                })
                .collect::<Result<_>>()?,
        ),
        kind => scalar_value_from(proto::Value { kind })?,
    })
}

/// Values from the wire.
pub(crate) fn values_from(values: Vec<proto::Value>) -> Result<Vec<Value>> {
    values.into_iter().map(value_from).collect()
}

/// A value that is no collection; so nesting cannot exhaust the stack.
fn scalar_value_from(value: proto::Value) -> Result<Value> {
    Ok(match value.kind {
        None => return Err(Error::invalid("a value without a kind; send null or unset")),
        Some(Kind::Null(_)) => Value::Null,
        Some(Kind::Unset(_)) => Value::Unset,
        Some(Kind::Bigint(number)) => Value::BigInt(number),
        Some(Kind::Int(number)) => Value::Int(number),
        Some(Kind::Text(text)) => Value::Text(text),
        Some(Kind::Blob(bytes)) => Value::Blob(bytes),
        Some(Kind::Boolean(truth)) => Value::Boolean(truth),
        Some(Kind::TimestampMs(ms)) => Value::Timestamp(ms),
        Some(Kind::Double(number)) => Value::Double(number),
        Some(Kind::Uuid(bytes)) => Value::Uuid(sixteen(&bytes, "a uuid")?),
        Some(Kind::Set(_) | Kind::List(_) | Kind::Map(_)) => {
            return Err(Error::invalid(
                "a collection holds a collection; elements must be scalars",
            ));
        }
    })
}

fn sixteen(bytes: &[u8], what: &str) -> Result<[u8; 16]> {
    bytes
        .try_into()
        .map_err(|_| Error::invalid(format!("{what} has 16 bytes, not {}", bytes.len())))
}

/// A column type for the wire.
pub(crate) fn data_type_to(data_type: DataType) -> proto::DataType {
    let (collection, scalar, map_value) = match data_type {
        DataType::Scalar(scalar) => (proto::CollectionKind::None, scalar, None),
        DataType::Set(element) => (proto::CollectionKind::Set, element, None),
        DataType::List(element) => (proto::CollectionKind::List, element, None),
        DataType::Map(key, value) => (proto::CollectionKind::Map, key, Some(value)),
    };
    proto::DataType {
        collection: i32::from(collection),
        scalar: scalar_to(scalar),
        map_value: map_value.map_or(0, scalar_to),
    }
}

/// A column type from the wire.
pub(crate) fn data_type_from(data_type: Option<proto::DataType>) -> Result<DataType> {
    let data_type = data_type.unwrap_or_default();
    let scalar = scalar_from(data_type.scalar)?;
    Ok(match data_type.collection() {
        proto::CollectionKind::None => DataType::Scalar(scalar),
        proto::CollectionKind::Set => DataType::Set(scalar),
        proto::CollectionKind::List => DataType::List(scalar),
        proto::CollectionKind::Map => DataType::Map(scalar, scalar_from(data_type.map_value)?),
    })
}

/// Which markers choose a tablet, for the wire.
pub(crate) fn placement_to(placement: Option<Placement>) -> Vec<proto::PlacementMarker> {
    let markers = placement.map(|placement| placement.0).unwrap_or_default();
    let marker = |(marker, scalar)| proto::PlacementMarker {
        marker: u32::from(marker),
        r#type: scalar_to(scalar),
    };
    markers.into_iter().map(marker).collect()
}

/// Which markers choose a tablet, from the wire. It is a hint: what makes no sense is no placement.
pub(crate) fn placement_from(markers: &[proto::PlacementMarker]) -> Option<Placement> {
    if markers.is_empty() || markers.len() > PLACEMENT_COLUMNS_MAX {
        return None;
    }
    let marker = |it: &proto::PlacementMarker| {
        Some((u16::try_from(it.marker).ok()?, scalar_from(it.r#type).ok()?))
    };
    let markers: Option<Vec<_>> = markers.iter().map(marker).collect();
    markers.map(Placement)
}

// The wire number of a scalar is its stored number plus one, so that 0 stays "not given".
fn scalar_to(scalar: ScalarType) -> i32 {
    i32::from(scalar.code()) + 1
}

fn scalar_from(number: i32) -> Result<ScalarType> {
    number
        .checked_sub(1)
        .and_then(|code| u8::try_from(code).ok())
        .and_then(ScalarType::from_code)
        .ok_or_else(|| Error::invalid(format!("scalar type {number} is not known")))
}

fn consistency_to(consistency: Consistency) -> i32 {
    i32::from(match consistency {
        Consistency::One => proto::Consistency::One,
        Consistency::Quorum => proto::Consistency::Quorum,
        Consistency::Serial => proto::Consistency::Serial,
    })
}

fn position_to(position: Position) -> proto::Position {
    proto::Position {
        group: position.group,
        index: position.index,
        op: u32::from(position.op),
    }
}

fn position_from(wire: proto::Position) -> Position {
    Position {
        group: wire.group,
        index: wire.index,
        op: u16::try_from(wire.op).unwrap_or(u16::MAX),
    }
}

/// A statement for the wire, with its text.
pub(crate) fn statement_to(statement: Statement) -> proto::Statement {
    proto::Statement {
        source: Some(proto::statement::Source::Text(statement.text.into_owned())),
        values: statement.values.iter().map(value_to).collect(),
        topics: statement.topics,
        note: statement.note,
        page_size: statement.page_size.unwrap_or(0),
        page_state: statement.page_state.unwrap_or_default(),
        consistency: consistency_to(statement.consistency),
        request_id: statement
            .request_id
            .map_or_else(Bytes::new, |id| Bytes::copy_from_slice(&id.to_be_bytes())),
        keyspace: statement
            .keyspace
            .map_or_else(String::new, std::borrow::Cow::into_owned),
        settled_below: statement.settled_below,
        after: statement.after.map(position_to),
    }
}

/// A statement from the wire. `text` is what its source says, or what was prepared under its id.
pub(crate) fn statement_from(wire: proto::Statement, text: String) -> Result<Statement> {
    let consistency = match wire.consistency() {
        proto::Consistency::One => Consistency::One,
        proto::Consistency::Unspecified | proto::Consistency::Quorum => Consistency::Quorum,
        proto::Consistency::Serial => Consistency::Serial,
    };
    let request_id = if wire.request_id.is_empty() {
        None
    } else {
        Some(u128::from_be_bytes(sixteen(
            &wire.request_id,
            "a request id",
        )?))
    };
    Ok(Statement {
        text: text.into(),
        values: values_from(wire.values)?,
        topics: wire.topics,
        note: wire.note,
        page_size: (wire.page_size > 0).then_some(wire.page_size),
        page_state: (!wire.page_state.is_empty()).then_some(wire.page_state),
        consistency,
        request_id,
        settled_below: wire.settled_below,
        after: wire.after.map(position_from),
        keyspace: (!wire.keyspace.is_empty()).then(|| wire.keyspace.into()),
    })
}

/// A result for the wire.
pub(crate) fn result_to(result: &ResultSet) -> proto::ExecuteResponse {
    let stats = &result.stats;
    proto::ExecuteResponse {
        columns: result
            .columns
            .iter()
            .map(|column| proto::ColumnSpec {
                name: column.name.clone(),
                data_type: Some(data_type_to(column.data_type)),
            })
            .collect(),
        rows: result
            .rows
            .iter()
            .map(|row| values_to(row.values()))
            .collect(),
        page_state: result.page_state.clone().unwrap_or_default(),
        applied: result.applied,
        position: result.position.map(position_to),
        stats: Some(proto::QueryStats {
            elapsed_us: stats.elapsed_us,
            blocks_read: stats.blocks_read,
            bytes_read: stats.bytes_read,
            rows_scanned: stats.rows_scanned,
            tombstones: stats.tombstones,
            node: stats.node,
            stale_ms: stats.stale_ms,
        }),
    }
}

/// A result from the wire.
pub(crate) fn result_from(wire: proto::ExecuteResponse) -> Result<ResultSet> {
    let columns: Arc<[ColumnSpec]> = wire
        .columns
        .into_iter()
        .map(|column| {
            Ok(ColumnSpec::new(
                column.name,
                data_type_from(column.data_type)?,
            ))
        })
        .collect::<Result<_>>()?;
    let rows = wire
        .rows
        .into_iter()
        .map(|row| values_from(row.values))
        .collect::<Result<_>>()?;
    let mut result = ResultSet::new(columns, rows);
    result.page_state = (!wire.page_state.is_empty()).then_some(wire.page_state);
    result.applied = wire.applied;
    result.position = wire.position.map(position_from);
    let stats = wire.stats.unwrap_or_default();
    result.stats = QueryStats {
        elapsed_us: stats.elapsed_us,
        blocks_read: stats.blocks_read,
        bytes_read: stats.bytes_read,
        rows_scanned: stats.rows_scanned,
        tombstones: stats.tombstones,
        node: stats.node,
        stale_ms: stats.stale_ms,
    };
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_the_wire_and_nesting_is_refused() {
        let values = [
            Value::Null,
            Value::Unset,
            Value::BigInt(i64::MIN),
            Value::Int(-1),
            Value::Text("h\u{e9}".to_owned()),
            Value::Blob(Bytes::from_static(b"\0\xff")),
            Value::Boolean(true),
            Value::Timestamp(-5),
            Value::Double(0.5),
            Value::Uuid([7; 16]),
            Value::Set(vec![Value::Int(1), Value::Int(2)]),
            Value::List(vec![Value::Text("a".to_owned())]),
            Value::Map(vec![(Value::Int(1), Value::Boolean(false))]),
        ];
        for value in values {
            assert_eq!(value_from(value_to(&value)).unwrap(), value);
        }
        let nested = Value::List(vec![Value::List(vec![])]);
        value_from(value_to(&nested)).unwrap_err();
        value_from(proto::Value { kind: None }).unwrap_err();
    }

    #[test]
    fn every_type_survives_the_wire() {
        for scalar in ScalarType::ALL {
            for data_type in [
                DataType::Scalar(scalar),
                DataType::Set(scalar),
                DataType::List(scalar),
                DataType::Map(scalar, ScalarType::Text),
            ] {
                assert_eq!(
                    data_type_from(Some(data_type_to(data_type))).unwrap(),
                    data_type
                );
            }
        }
        data_type_from(None).unwrap_err();
        for scalar in [i32::MIN, -1, 0, 10, i32::MAX] {
            let unknown = proto::DataType {
                scalar,
                ..proto::DataType::default()
            };
            data_type_from(Some(unknown)).unwrap_err();
        }
    }
}
