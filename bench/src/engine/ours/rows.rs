//! Messages as rows of a table, and as payloads of the log.

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
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

/// Most commands and bytes of one entry of the log, as in chatdb.
const ENTRY_COMMANDS_MAX: usize = 1024;
const ENTRY_BYTES_MAX: usize = 256 << 10;

/// The log entries of messages that are handed in together, in order: the commands of each entry one after another,
/// each behind its length. So chatdb proposes what waits at the same time.
pub(super) fn entries(messages: &[Message<'_>]) -> Vec<Bytes> {
    let mut entries = Vec::new();
    let (mut entry, mut count) = (BytesMut::new(), 0);
    for message in messages {
        let len = 32 + message.content.len();
        if count == ENTRY_COMMANDS_MAX || (count > 0 && entry.len() + len > ENTRY_BYTES_MAX) {
            entries.push(entry.split().freeze());
            count = 0;
        }
        count += 1;
        entry.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        put_payload(&mut entry, message);
    }
    if count > 0 {
        entries.push(entry.freeze());
    }
    entries
}

/// The commands of a log entry, which share its bytes.
pub(super) fn commands(entry: &Bytes) -> impl Iterator<Item = Result<Bytes>> {
    let mut rest = entry.clone();
    std::iter::from_fn(move || {
        let prefix = *rest.first_chunk::<4>()?;
        rest.advance(4);
        let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
        let is_whole = len <= rest.len();
        let command = rest.split_to(len.min(rest.len()));
        Some(is_whole.then_some(command).context("a short entry"))
    })
}

/// What the log keeps of a message: channel, bucket, complement of the id (each in key order), author, text.
fn put_payload(payload: &mut BytesMut, message: &Message<'_>) {
    payload.put_u64(message.channel);
    payload.put_u64(message.bucket());
    payload.put_u64(!message.id);
    payload.put_u64_le(message.author);
    payload.put_slice(message.content);
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
