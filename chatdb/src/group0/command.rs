//! Commands of group 0 and their outcomes, as bytes.
//!
//! `kind u8 | body`: 1 = bootstrap (`cluster u128 | tablets u32`, little endian), 2 = a schema
//! command. An outcome is `0`, or `1 | kind u8 | message | help lines`, each text with its length
//! as u16 before it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, ErrorKind, Result};
use crate::schema::DdlCommand;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most tablets of a cluster.
pub(crate) const TABLETS_MAX: u32 = 256;
const HELP_LINES_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// What group 0 replicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SystemCommand {
    /// Gives a new cluster its identity and its tablets. Only the first one counts.
    Bootstrap {
        /// Random.
        cluster_id: u128,
        /// How many tablets share the tokens.
        tablets: u32,
    },
    /// Changes the catalog.
    Ddl(DdlCommand),
}

impl SystemCommand {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Bootstrap {
                cluster_id,
                tablets,
            } => {
                bytes.put_u8(1);
                bytes.put_u128_le(*cluster_id);
                bytes.put_u32_le(*tablets);
            }
            Self::Ddl(command) => {
                bytes.put_u8(2);
                bytes.put(command.encode());
            }
        }
        bytes.freeze()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes.split_first() {
            Some((1, mut body)) if body.len() == 20 => {
                let cluster_id = body.get_u128_le();
                let tablets = body.get_u32_le();
                if tablets == 0 || tablets > TABLETS_MAX {
                    return Err(damaged("its number of tablets"));
                }
                Ok(Self::Bootstrap {
                    cluster_id,
                    tablets,
                })
            }
            Some((2, body)) => DdlCommand::decode(body).map(Self::Ddl),
            _ => Err(damaged("its kind or length")),
        }
    }
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("a command of group 0 is damaged: {what}"))
}

/// What the catalog said to a command, as bytes.
pub(crate) fn encode_outcome(outcome: &Result<()>) -> Bytes {
    let Err(error) = outcome else {
        return Bytes::from_static(&[0]);
    };
    let mut bytes = BytesMut::new();
    bytes.put_u8(1);
    bytes.put_u8(match error.kind() {
        ErrorKind::NotFound => 1,
        ErrorKind::Conflict => 2,
        ErrorKind::Denied => 3,
        _ => 0,
    });
    put_text(&mut bytes, error.message());
    for (label, text) in error.help().iter().take(HELP_LINES_MAX) {
        put_text(&mut bytes, label);
        put_text(&mut bytes, text);
    }
    bytes.freeze()
}

/// The outcome in these bytes.
pub(crate) fn decode_outcome(mut bytes: &[u8]) -> Result<()> {
    if bytes == [0] {
        return Ok(());
    }
    if bytes.len() < 2 || bytes.get_u8() != 1 {
        return Err(damaged("its outcome"));
    }
    let kind = match bytes.get_u8() {
        1 => ErrorKind::NotFound,
        2 => ErrorKind::Conflict,
        3 => ErrorKind::Denied,
        _ => ErrorKind::Invalid,
    };
    let mut error = Error::new(kind, take_text(&mut bytes)?);
    while bytes.has_remaining() {
        let label = take_text(&mut bytes)?;
        error = error.with_help(label, take_text(&mut bytes)?);
    }
    Err(error)
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    let text = text.get(..end).unwrap_or_default();
    bytes.put_u16_le(u16::try_from(text.len()).unwrap_or(0));
    bytes.put_slice(text.as_bytes());
}

fn take_text(bytes: &mut &[u8]) -> Result<String> {
    if bytes.remaining() < 2 {
        return Err(damaged("its outcome"));
    }
    let len = usize::from(bytes.get_u16_le());
    let text = bytes.get(..len).ok_or_else(|| damaged("its outcome"))?;
    let text = String::from_utf8_lossy(text).into_owned();
    bytes.advance(len);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_survives_its_bytes() {
        let command = SystemCommand::Bootstrap {
            cluster_id: 7,
            tablets: 4,
        };
        let bytes = command.encode();
        assert_eq!(SystemCommand::decode(&bytes).unwrap(), command);
        SystemCommand::decode(bytes.get(..20).unwrap()).unwrap_err();
        SystemCommand::decode(&[]).unwrap_err();
        SystemCommand::decode(&[9, 9]).unwrap_err();
    }

    #[test]
    fn outcome_keeps_kind_message_and_help() {
        assert_eq!(decode_outcome(&encode_outcome(&Ok(()))).ok(), Some(()));
        let error = Error::not_found("no keyspace x").with_help("keyspaces", "a, b");
        let back = decode_outcome(&encode_outcome(&Err(error))).unwrap_err();
        assert_eq!(back.kind(), ErrorKind::NotFound);
        assert_eq!(back.report(), "no keyspace x\n       keyspaces: a, b");
        decode_outcome(&[1, 0, 9, 9, 9]).unwrap_err();
    }
}
