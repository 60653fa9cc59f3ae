//! The payload of a log entry: its bytes in the shared log and on the wire.
//!
//! The bytes are ours and carry a format number, so that an upgrade of openraft never rewrites a
//! disk. A batch is encoded once, by the batcher; from then on its bytes are shared: the log, the
//! readers of the log and the commands handed to the state machine are views of one allocation.
//!
//! The byte layout is in `docs/formats/raft-entries.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};
use crate::membership::Membership;
use crate::wire::Reader;

/// Largest command, in bytes. Part of the format.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most commands in one entry. Part of the format; an operation number fits a `u16`.
pub const ENTRY_COMMANDS_MAX: usize = 1024;
/// Bytes of commands after which the batcher closes an entry. A larger command travels alone.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

// An operation number is a u16, and a full batch must hold the largest single command.
const _: () = assert!(ENTRY_COMMANDS_MAX <= u16::MAX as usize);
const _: () = assert!(BATCH_BYTES_MAX <= COMMAND_BYTES_MAX);

const FORMAT: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
/// Format, kind, stamp, number of commands.
const BATCH_HEADER_BYTES: usize = 1 + 1 + 8 + 4;
/// Length field in front of a command.
const COMMAND_HEADER_BYTES: usize = 4;

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader writes it to commit what its predecessors left.
    Blank,
    /// Commands that were proposed together.
    Batch {
        /// The leader's hybrid clock at the time of the proposal, in microseconds since the epoch.
        proposed_us: u64,
        /// The commands, at least one.
        commands: Vec<Bytes>,
    },
    /// The members of the group from this entry on.
    Membership(Membership),
}

impl Payload {
    /// The bytes of this payload. Refuses what the limits of the format do not allow.
    pub fn encode(&self) -> Result<Bytes> {
        match self {
            Self::Blank => Ok(Bytes::from_static(&[FORMAT, KIND_BLANK])),
            Self::Batch {
                proposed_us,
                commands,
            } => encode_batch(*proposed_us, commands),
            Self::Membership(membership) => {
                let mut out = BytesMut::with_capacity(64);
                out.put_u8(FORMAT);
                out.put_u8(KIND_MEMBERSHIP);
                membership.encode_into(&mut out)?;
                Ok(out.freeze())
            }
        }
    }

    /// Whether `bytes` say that they are a batch of commands; looks at the first two only.
    pub(crate) fn is_batch(bytes: &[u8]) -> bool {
        bytes.starts_with(&[FORMAT, KIND_BATCH])
    }

    /// Reads what [`Payload::encode`] wrote. The commands share the allocation of `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        let mut reader = Reader::new("entry payload", bytes);
        let format = reader.u8("format")?;
        if format != FORMAT {
            return Err(reader.corrupt(&format!("format {FORMAT}, found {format}")));
        }
        let payload = match reader.u8("kind")? {
            KIND_BLANK => Self::Blank,
            KIND_BATCH => decode_batch(&mut reader)?,
            KIND_MEMBERSHIP => Self::Membership(Membership::decode_from(&mut reader)?),
            kind => return Err(reader.corrupt(&format!("kind 0, 1 or 2, found {kind}"))),
        };
        reader.finish()?;
        Ok(payload)
    }
}

/// Bytes of an entry before its first command.
pub(crate) const ENTRY_OVERHEAD_BYTES: usize = BATCH_HEADER_BYTES;

/// Bytes that `command` takes in an entry.
pub(crate) fn command_bytes(command: &Bytes) -> usize {
    command.len().saturating_add(COMMAND_HEADER_BYTES)
}

/// Refuses a command that no entry can carry.
fn check_command(command: &Bytes) -> Result<()> {
    if command.len() <= COMMAND_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "command of {} bytes: at most {COMMAND_BYTES_MAX} are allowed",
        command.len()
    );
    Err(Error::new(ErrorKind::Invalid, message))
}

fn encode_batch(proposed_us: u64, commands: &[Bytes]) -> Result<Bytes> {
    let count = u32::try_from(commands.len()).unwrap_or(u32::MAX);
    if commands.is_empty() || commands.len() > ENTRY_COMMANDS_MAX {
        let message =
            format!("{count} commands in one entry: 1 to {ENTRY_COMMANDS_MAX} are allowed");
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let bodies: usize = commands
        .iter()
        .fold(0, |sum, command| sum.saturating_add(command.len()));
    let heads = commands.len().saturating_mul(COMMAND_HEADER_BYTES);
    let total = BATCH_HEADER_BYTES
        .saturating_add(heads)
        .saturating_add(bodies);
    let mut out = BytesMut::with_capacity(total);
    out.put_u8(FORMAT);
    out.put_u8(KIND_BATCH);
    out.put_u64_le(proposed_us);
    out.put_u32_le(count);
    for command in commands {
        check_command(command)?;
        out.put_u32_le(u32::try_from(command.len()).unwrap_or(u32::MAX));
        out.put_slice(command);
    }
    Ok(out.freeze())
}

fn decode_batch(reader: &mut Reader) -> Result<Payload> {
    let proposed_us = reader.u64("stamp")?;
    let count = usize::try_from(reader.u32("number of commands")?).unwrap_or(usize::MAX);
    if !(1..=ENTRY_COMMANDS_MAX).contains(&count) {
        return Err(reader.corrupt(&format!(
            "1 to {ENTRY_COMMANDS_MAX} commands, found {count}"
        )));
    }
    if count.saturating_mul(COMMAND_HEADER_BYTES) > reader.remaining() {
        return Err(reader.corrupt(&format!("{count} commands")));
    }
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        let len = usize::try_from(reader.u32("length of a command")?).unwrap_or(usize::MAX);
        if len > COMMAND_BYTES_MAX {
            return Err(reader.corrupt(&format!("a command of at most {COMMAND_BYTES_MAX} bytes")));
        }
        commands.push(reader.bytes(len, "a command")?);
    }
    Ok(Payload::Batch {
        proposed_us,
        commands,
    })
}
