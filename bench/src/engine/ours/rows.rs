//! Messages as rows of a table, and as payloads of the log.

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use lsm::{
    CellValue, CellWrite, Change, ColumnId, Liveness, Mutation, Operation, PartitionKey, Row,
    TableId, Window,
};

use crate::engine::Seen;
use crate::messages::{Message, bucket_of};

pub(super) const TABLE: TableId = TableId(1);
const AUTHOR: ColumnId = ColumnId(1);
const CONTENT: ColumnId = ColumnId(2);

/// The partition of a channel's bucket; the bucket is its window.
pub(super) fn partition(channel: u64, bucket: u64) -> PartitionKey {
    let mut key = BytesMut::with_capacity(16);
    key.put_u64(channel);
    key.put_u64(bucket);
    PartitionKey {
        token: channel.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        key: key.freeze(),
        window: Window(bucket.cast_signed()),
    }
}

/// The row of a message; `expires_at_ms` for all of it.
pub(super) fn upsert(message: &Message<'_>, expires_at_ms: Option<u64>) -> Change {
    let cell = |column, bytes: &[u8]| {
        let value = Bytes::copy_from_slice(bytes);
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
        clustering: clustering(message.id),
        liveness: Some(Liveness { expires_at_ms }),
        cells: vec![
            cell(AUTHOR, &message.author.to_le_bytes()),
            cell(CONTENT, message.content),
        ],
    };
    mutation(
        partition(message.channel, message.bucket()),
        vec![operation],
    )
}

/// The deletion of one message.
pub(super) fn delete(channel: u64, bucket: u64, id: u64) -> Change {
    let clustering = clustering(id);
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

fn clustering(id: u64) -> Bytes {
    Bytes::copy_from_slice(&(!id).to_be_bytes())
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

/// What the log keeps of a message.
pub(super) fn payload(message: &Message<'_>) -> Bytes {
    let mut payload = BytesMut::with_capacity(24 + message.content.len());
    payload.put_u64_le(message.channel);
    payload.put_u64_le(message.id);
    payload.put_u64_le(message.author);
    payload.put_slice(message.content);
    payload.freeze()
}

/// The message of a payload.
pub(super) fn message(payload: &[u8]) -> Result<Message<'_>> {
    let (channel, rest) = payload.split_first_chunk::<8>().context("no channel")?;
    let (id, rest) = rest.split_first_chunk::<8>().context("no id")?;
    let (author, content) = rest.split_first_chunk::<8>().context("no author")?;
    let message = Message {
        channel: u64::from_le_bytes(*channel),
        id: u64::from_le_bytes(*id),
        author: u64::from_le_bytes(*author),
        content,
    };
    anyhow::ensure!(bucket_of(message.id) < 1 << 32, "an id of no message");
    Ok(message)
}
