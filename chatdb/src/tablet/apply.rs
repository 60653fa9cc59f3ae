//! Commands to engine operations: times to live become times, list places become keys.

use crate::command::{CellChange, CellPath, Write, WriteOperation};
use bytes::Bytes;
use lsm::{CellValue, CellWrite, Change, Liveness, Mutation, Operation};

/// First byte of the key of a prepended list element; before every appended one.
const PREPENDED: u8 = 0x40;
/// First byte of the key of an appended list element.
const APPENDED: u8 = 0x80;

/// The engine's form of a write whose first operation is stamped with `timestamp`.
pub(super) fn change(write: &Write, timestamp: u64, time_ms: u64) -> Change {
    let operations = write
        .operations
        .iter()
        .zip(timestamp..)
        .map(|(operation, timestamp)| convert(operation, timestamp, time_ms))
        .collect();
    Change::Mutation(Mutation {
        table: write.table,
        partition: write.partition.clone(),
        operations,
    })
}

fn convert(operation: &WriteOperation, timestamp: u64, time_ms: u64) -> Operation {
    match operation {
        WriteOperation::Upsert {
            clustering,
            is_insert,
            ttl_s,
            cells,
        } => {
            let expires_at_ms = expiry(*ttl_s, time_ms);
            Operation::Upsert {
                clustering: clustering.clone(),
                liveness: is_insert.then_some(Liveness { expires_at_ms }),
                cells: convert_cells(cells, timestamp, expires_at_ms),
            }
        }
        WriteOperation::UpsertStatic { ttl_s, cells } => Operation::UpsertStatic {
            cells: convert_cells(cells, timestamp, expiry(*ttl_s, time_ms)),
        },
        WriteOperation::DeleteComplex { clustering, column } => Operation::DeleteComplex {
            clustering: clustering.clone(),
            column: *column,
        },
        WriteOperation::DeleteRow { clustering } => Operation::DeleteRow {
            clustering: clustering.clone(),
        },
        WriteOperation::DeleteRange { start, end } => Operation::DeleteRange {
            start: start.clone(),
            end: end.clone(),
        },
        WriteOperation::DeletePartition => Operation::DeletePartition,
    }
}

fn expiry(ttl_s: u32, time_ms: u64) -> Option<u64> {
    (ttl_s > 0).then(|| time_ms.saturating_add(u64::from(ttl_s) * 1000))
}

fn convert_cells(
    cells: &[CellChange],
    timestamp: u64,
    expires_at_ms: Option<u64>,
) -> Vec<CellWrite> {
    cells
        .iter()
        .zip(0_u32..)
        .map(|(cell, place)| CellWrite {
            column: cell.column,
            path: path(&cell.path, timestamp, place),
            value: match (&cell.value, expires_at_ms) {
                (None, _) => CellValue::Tombstone,
                (Some(value), None) => CellValue::Live(value.clone()),
                (Some(value), Some(expires_at_ms)) => CellValue::Expiring {
                    value: value.clone(),
                    expires_at_ms,
                },
            },
        })
        .collect()
}

/// List elements sort by the time of their write, prepended ones backwards, and inside one write
/// by their place in it.
fn path(path: &CellPath, timestamp: u64, place: u32) -> Bytes {
    let (first, time) = match path {
        // What is added was summed up before: see `counters`.
        CellPath::Plain | CellPath::Add => return Bytes::new(),
        CellPath::Element(key) => return key.clone(),
        CellPath::Append => (APPENDED, timestamp),
        CellPath::Prepend => (PREPENDED, !timestamp),
    };
    let mut key = Vec::with_capacity(13);
    key.push(first);
    key.extend(time.to_be_bytes());
    key.extend(place.to_be_bytes());
    key.into()
}
