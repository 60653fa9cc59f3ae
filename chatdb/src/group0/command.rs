//! Commands of group 0 and their outcomes, as bytes.
//!
//! `kind u8 | body`, see `docs/formats/group0.md`. An outcome is `0 | value u64`, or
//! `1 | kind u8 | message | help lines`, each text with its length as u16 before it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, ErrorKind, Result};
use crate::group0::codec::{take_count, take_flag, take_u32};
use crate::group0::topology::{NodePlace, NodeRecord, NodeState, REPLICAS_MAX, REPLICATION_MAX};
use crate::schema::DdlCommand;
use crate::sealed::put_count;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use lsm::encoding::{DecodeError, Reader, varint};
use raft::NodeId;
use std::collections::BTreeSet;

/// The most tablets of a cluster.
pub(crate) const TABLETS_MAX: u32 = 4096;
const HELP_LINES_MAX: usize = 16;
const TEXT_BYTES_MAX: usize = 8 * 1024;

/// What group 0 replicates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SystemCommand {
    /// Gives a new cluster its identity, first node and tablets. Only the first one counts.
    Bootstrap {
        /// Random.
        cluster_id: u128,
        /// How many tablets share the tokens.
        tablets: u32,
        /// How many replicas a tablet is to have once there are so many nodes.
        replication: u32,
        /// The node that holds them.
        node: NodeRecord,
    },
    /// Changes the catalog.
    Ddl(DdlCommand),
    /// Takes a node in, or notes where a known one is now. The outcome's value is its id.
    AddNode {
        /// The random number of its directory.
        installation: u128,
        place: NodePlace,
    },
    /// Changes what is to become of a node.
    SetNodeState { node: NodeId, state: NodeState },
    /// Decides on which nodes a tablet is to be.
    Place {
        group: u64,
        /// The decision that this one follows.
        version: u64,
        nodes: BTreeSet<NodeId>,
    },
    /// The tablet's raft group has the voters of this decision.
    Settled { group: u64, version: u64 },
    /// Changes how many replicas a tablet is to have.
    SetReplication(u32),
    /// Decides that a tablet is to be split, at a token or in the middle.
    Split {
        group: u64,
        /// The decision that this one follows.
        version: u64,
        at: Option<u64>,
    },
    /// The tablet was cut at this token by this entry of its group.
    Cut {
        group: u64,
        version: u64,
        at: u64,
        entry: u64,
    },
}

impl SystemCommand {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Bootstrap {
                cluster_id,
                tablets,
                replication,
                node,
            } => {
                out.push(1);
                out.extend(cluster_id.to_le_bytes());
                varint::encode(&mut out, u64::from(*tablets));
                varint::encode(&mut out, u64::from(*replication));
                node.put(&mut out);
            }
            Self::Ddl(command) => {
                out.push(2);
                out.extend(command.encode());
            }
            Self::AddNode {
                installation,
                place,
            } => {
                out.push(3);
                out.extend(installation.to_le_bytes());
                place.put(&mut out);
            }
            Self::SetNodeState { node, state } => {
                out.push(4);
                varint::encode(&mut out, u64::from(node.0));
                out.push(state.code());
            }
            Self::Place {
                group,
                version,
                nodes,
            } => {
                out.push(5);
                varint::encode(&mut out, *group);
                varint::encode(&mut out, *version);
                put_count(&mut out, nodes.len());
                for node in nodes {
                    varint::encode(&mut out, u64::from(node.0));
                }
            }
            Self::Settled { group, version } => put_numbers(&mut out, 6, &[*group, *version]),
            Self::SetReplication(count) => put_numbers(&mut out, 7, &[u64::from(*count)]),
            Self::Split { group, version, at } => {
                put_numbers(&mut out, 8, &[*group, *version]);
                out.push(u8::from(at.is_some()));
                if let Some(at) = at {
                    varint::encode(&mut out, *at);
                }
            }
            Self::Cut {
                group,
                version,
                at,
                entry,
            } => put_numbers(&mut out, 9, &[*group, *version, *at, *entry]),
        }
        out.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        if let Some((2, body)) = bytes.split_first() {
            return DdlCommand::decode(body).map(Self::Ddl);
        }
        let mut reader = Reader::new(bytes);
        let command = Self::take(&mut reader)
            .map_err(|cause| damaged("its bytes do not decode").with_source(cause))?;
        if !reader.is_empty() {
            return Err(damaged("bytes follow its end"));
        }
        let place = match &command {
            Self::Bootstrap { node, .. } => Some(&node.place),
            Self::AddNode { place, .. } => Some(place),
            _ => None,
        };
        if place.is_some_and(|place| place.check().is_err()) {
            return Err(damaged("the place of a node"));
        }
        Ok(command)
    }

    fn take(reader: &mut Reader<'_>) -> std::result::Result<Self, DecodeError> {
        let error = reader.error("a command of group 0");
        let replication = |reader: &mut Reader<'_>| {
            let error = reader.error("a number of replicas");
            let count = take_u32(reader, "a number of replicas")?;
            (1..=REPLICATION_MAX)
                .contains(&count)
                .then_some(count)
                .ok_or(error)
        };
        Ok(match reader.u8("a kind")? {
            1 => {
                let cluster_id = u128::from_le_bytes(reader.array("a cluster")?);
                let error = reader.error("a number of tablets");
                let tablets = take_u32(reader, "a number of tablets")?;
                if tablets == 0 || tablets > TABLETS_MAX {
                    return Err(error);
                }
                Self::Bootstrap {
                    cluster_id,
                    tablets,
                    replication: replication(reader)?,
                    node: NodeRecord::take(reader)?,
                }
            }
            3 => Self::AddNode {
                installation: u128::from_le_bytes(reader.array("an installation")?),
                place: NodePlace::take(reader)?,
            },
            4 => Self::SetNodeState {
                node: NodeId(take_u32(reader, "a node")?),
                state: NodeState::take(reader)?,
            },
            5 => Self::Place {
                group: reader.varint("a group")?,
                version: reader.varint("a version")?,
                nodes: (0..take_count(reader, REPLICAS_MAX, "a number of nodes")?)
                    .map(|_| take_u32(reader, "a node").map(NodeId))
                    .collect::<std::result::Result<_, _>>()?,
            },
            6 => Self::Settled {
                group: reader.varint("a group")?,
                version: reader.varint("a version")?,
            },
            7 => Self::SetReplication(replication(reader)?),
            8 => Self::Split {
                group: reader.varint("a group")?,
                version: reader.varint("a version")?,
                at: take_flag(reader, "whether a token follows")?
                    .then(|| reader.varint("a token"))
                    .transpose()?,
            },
            9 => Self::Cut {
                group: reader.varint("a group")?,
                version: reader.varint("a version")?,
                at: reader.varint("a token")?,
                entry: reader.varint("an entry")?,
            },
            _ => return Err(error),
        })
    }
}

/// A kind and the numbers of its body.
fn put_numbers(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    for number in numbers {
        varint::encode(out, *number);
    }
}

fn damaged(what: &str) -> Error {
    Error::corrupt(format!("a command of group 0 is damaged: {what}"))
}

/// What group 0 said to a command, as bytes.
pub(crate) fn encode_outcome(outcome: &Result<u64>) -> Bytes {
    let mut bytes = BytesMut::new();
    let error = match outcome {
        Ok(value) => {
            bytes.put_u8(0);
            bytes.put_u64_le(*value);
            return bytes.freeze();
        }
        Err(error) => error,
    };
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
pub(crate) fn decode_outcome(mut bytes: &[u8]) -> Result<u64> {
    if bytes.len() < 2 {
        return Err(damaged("its outcome"));
    }
    match bytes.get_u8() {
        0 if bytes.len() == 8 => return Ok(bytes.get_u64_le()),
        1 => {}
        _ => return Err(damaged("its outcome")),
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
    use crate::group0::topology::tests::{place, record};

    #[test]
    fn commands_survive_their_bytes_and_refuse_every_other_length() {
        let commands = [
            SystemCommand::Bootstrap {
                cluster_id: 7,
                tablets: 4,
                replication: 3,
                node: record(1, "a"),
            },
            SystemCommand::AddNode {
                installation: 9,
                place: place(2, "b"),
            },
            SystemCommand::SetNodeState {
                node: NodeId(2),
                state: NodeState::Draining,
            },
            SystemCommand::Place {
                group: 3,
                version: 20,
                nodes: BTreeSet::from([NodeId(1), NodeId(2)]),
            },
            SystemCommand::Settled {
                group: 3,
                version: 21,
            },
            SystemCommand::SetReplication(5),
            SystemCommand::Split {
                group: 3,
                version: 22,
                at: None,
            },
            SystemCommand::Split {
                group: 3,
                version: 22,
                at: Some(1 << 40),
            },
            SystemCommand::Cut {
                group: 3,
                version: 22,
                at: 1 << 40,
                entry: 400,
            },
        ];
        for command in commands {
            let bytes = command.encode();
            assert_eq!(SystemCommand::decode(&bytes).unwrap(), command);
            for len in 0..bytes.len() {
                SystemCommand::decode(bytes.get(..len).unwrap()).unwrap_err();
            }
            SystemCommand::decode(&[&bytes[..], &[0]].concat()).unwrap_err();
        }
        SystemCommand::decode(&[99, 9]).unwrap_err();
    }

    #[test]
    fn outcome_keeps_kind_message_and_help() {
        assert_eq!(decode_outcome(&encode_outcome(&Ok(5))).ok(), Some(5));
        let error = Error::not_found("no keyspace x").with_help("keyspaces", "a, b");
        let back = decode_outcome(&encode_outcome(&Err(error))).unwrap_err();
        assert_eq!(back.kind(), ErrorKind::NotFound);
        assert_eq!(back.report(), "no keyspace x\n       keyspaces: a, b");
        decode_outcome(&[1, 0, 9, 9, 9]).unwrap_err();
        decode_outcome(&[0, 1]).unwrap_err();
    }
}
