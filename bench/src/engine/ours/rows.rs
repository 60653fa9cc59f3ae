//! Messages as rows of a table, and as payloads of the log.

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use lsm::{
    CellValue, CellWrite, Change, ColumnId, Liveness, Mutation, Operation, PartitionKey, Row,
    TableId, Window,
};

use crate::engine::Seen;
use crate::messages::{Message, time_of};

pub(super) const TABLE: TableId = TableId(1);
const AUTHOR: ColumnId = ColumnId(1);
const CONTENT: ColumnId = ColumnId(2);

/// The partition of a channel's bucket; the bucket is its window.
pub(super) fn partition(channel: u64, bucket: u64) -> PartitionKey {
    let mut key = BytesMut::with_capacity(16);
    key.put_u64(channel);
    key.put_u64(bucket);
    PartitionKey {
        token: token(channel),
        key: key.freeze(),
        window: Window(bucket.cast_signed()),
    }
}

fn token(channel: u64) -> u64 {
    channel.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What the log keeps of a message: channel, bucket, complement of the id (each in key order), author, text.
pub(super) fn payload(message: &Message<'_>) -> Bytes {
    let mut payload = BytesMut::with_capacity(32 + message.content.len());
    payload.put_u64(message.channel);
    payload.put_u64(message.bucket());
    payload.put_u64(!message.id);
    payload.put_u64_le(message.author);
    payload.put_slice(message.content);
    payload.freeze()
}

/// The row of a payload, whose bytes it shares, and when it was written; `expires_at_ms` for all of it.
pub(super) fn upsert(payload: &Bytes, expires_at_ms: Option<u64>) -> Result<(Change, u64)> {
    let number = |at: usize| -> Result<u64> {
        let bytes = payload.get(at..).and_then(|rest| rest.first_chunk::<8>());
        Ok(u64::from_be_bytes(*bytes.context("a short payload")?))
    };
    let (channel, bucket, id) = (number(0)?, number(8)?, !number(16)?);
    anyhow::ensure!(payload.len() >= 32, "a payload without an author");
    let cell = |column, value| {
        let value = match expires_at_ms {
            None => CellValue::Live(value),
            Some(expires_at_ms) => CellValue::Expiring {
                value,
                expires_at_ms,
            },
        };
        CellWrite {
            column,
            path: Bytes::new(),
            value,
        }
    };
    let operation = Operation::Upsert {
        clustering: payload.slice(16..24),
        liveness: Some(Liveness { expires_at_ms }),
        cells: vec![
            cell(AUTHOR, payload.slice(24..32)),
            cell(CONTENT, payload.slice(32..)),
        ],
    };
    let partition = PartitionKey {
        token: token(channel),
        key: payload.slice(..16),
        window: Window(bucket.cast_signed()),
    };
    Ok((mutation(partition, vec![operation]), time_of(id)))
}

/// The deletion of one message.
pub(super) fn delete(channel: u64, bucket: u64, id: u64) -> Change {
    let clustering = Bytes::copy_from_slice(&(!id).to_be_bytes());
    mutation(
        partition(channel, bucket),
        vec![Operation::DeleteRow { clustering }],
    )
}

fn mutation(partition: PartitionKey, operations: Vec<Operation>) -> Change {
    Change::Mutation(Mutation {
        table: TABLE,
        partition,
        operations,
    })
}

/// Shows a row to a reader.
pub(super) fn see(row: Row<'_>, seen: &mut Seen) -> Result<()> {
    let id = row.clustering.first_chunk::<8>().context("a short key")?;
    let (mut author, mut content): (&[u8], &[u8]) = (&[], &[]);
    for cell in row.cells() {
        if cell.column == AUTHOR {
            author = cell.value;
        } else if cell.column == CONTENT {
            content = cell.value;
        }
    }
    let author = author.first_chunk::<8>().context("a short author")?;
    seen.row(
        !u64::from_be_bytes(*id),
        u64::from_le_bytes(*author),
        content,
    );
    Ok(())
}
