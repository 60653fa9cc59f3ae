//! Nodes and tablets as bytes, in group 0's state and commands.
//!
//! `replication | next node | next group | nodes | tablets`, numbers as varints, counts and texts with
//! their length before them; see `docs/formats/group0.md`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::group0::command::TABLETS_MAX;
use crate::group0::topology::{
    Born, NAME_BYTES_MAX, NODES_MAX, NodePlace, NodeRecord, NodeState, REPLICAS_MAX, Splitting,
    TabletRange, TabletRecord, Topology,
};
use crate::sealed::put_count;
use lsm::encoding::{DecodeError, Reader, varint};
use raft::{NodeId, ReplicaId};

type Decoded<T> = Result<T, DecodeError>;

impl Topology {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        varint::encode(out, u64::from(self.replication));
        varint::encode(out, u64::from(self.next_node));
        varint::encode(out, self.next_group);
        put_count(out, self.nodes.len());
        for (id, record) in &self.nodes {
            varint::encode(out, u64::from(id.0));
            record.put(out);
        }
        put_count(out, self.tablets.len());
        for tablet in &self.tablets {
            let TabletRange { group, first, last } = tablet.range;
            for number in [group, first, last, tablet.version] {
                varint::encode(out, number);
            }
            out.push(u8::from(tablet.is_settled));
            put_splitting(out, tablet.splitting);
            put_born(out, tablet.born);
            for replicas in [&tablet.replicas, &tablet.leaving] {
                put_count(out, replicas.len());
                for replica in replicas {
                    varint::encode(out, replica.0);
                }
            }
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Decoded<Self> {
        let mut topology = Self {
            replication: take_u32(reader, "a number of replicas")?,
            next_node: take_u32(reader, "the next node")?,
            next_group: reader.varint("the next group")?,
            ..Self::default()
        };
        for _ in 0..take_count(reader, NODES_MAX, "a number of nodes")? {
            let id = NodeId(take_u32(reader, "a node")?);
            topology.nodes.insert(id, NodeRecord::take(reader)?);
        }
        let tablets_max = usize::try_from(TABLETS_MAX).unwrap_or(usize::MAX);
        for _ in 0..take_count(reader, tablets_max, "a number of tablets")? {
            let range = TabletRange {
                group: reader.varint("a group")?,
                first: reader.varint("a token")?,
                last: reader.varint("a token")?,
            };
            let version = reader.varint("a version")?;
            let is_settled = reader.u8("whether a tablet is settled")? != 0;
            let splitting = take_splitting(reader)?;
            let born = take_born(reader)?;
            let replicas = take_replicas(reader)?;
            topology.tablets.push(TabletRecord {
                range,
                version,
                replicas,
                leaving: take_replicas(reader)?,
                is_settled,
                splitting,
                born,
            });
        }
        Ok(topology)
    }
}

impl NodePlace {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for text in [
            &self.node_address,
            &self.rpc_address,
            &self.zone,
            &self.region,
        ] {
            put_count(out, text.len());
            out.extend(text.as_bytes());
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            node_address: take_text(reader, "a node address")?,
            rpc_address: take_text(reader, "a gRPC address")?,
            zone: take_text(reader, "a zone")?,
            region: take_text(reader, "a region")?,
        })
    }
}

impl NodeState {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Up => 0,
            Self::Draining => 1,
            Self::Gone => 2,
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Decoded<Self> {
        let error = reader.error("the state of a node");
        match reader.u8("the state of a node")? {
            0 => Ok(Self::Up),
            1 => Ok(Self::Draining),
            2 => Ok(Self::Gone),
            _ => Err(error),
        }
    }
}

impl NodeRecord {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.installation.to_le_bytes());
        self.place.put(out);
        out.push(self.state.code());
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            installation: u128::from_le_bytes(reader.array("an installation")?),
            place: NodePlace::take(reader)?,
            state: NodeState::take(reader)?,
        })
    }
}

pub(super) fn take_u32(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<u32> {
    let error = reader.error(expected);
    u32::try_from(reader.varint(expected)?).map_err(|_| error)
}

/// A byte that is 0 or 1.
pub(super) fn take_flag(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<bool> {
    let error = reader.error(expected);
    match reader.u8(expected)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(error),
    }
}

pub(super) fn take_count(
    reader: &mut Reader<'_>,
    limit: usize,
    expected: &'static str,
) -> Decoded<usize> {
    let error = reader.error(expected);
    let count = usize::try_from(reader.varint(expected)?).ok();
    count.filter(|&count| count <= limit).ok_or(error)
}

fn take_text(reader: &mut Reader<'_>, expected: &'static str) -> Decoded<String> {
    let error = reader.error(expected);
    let bytes = reader.prefixed(NAME_BYTES_MAX, expected)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| error)
}

fn take_replicas(reader: &mut Reader<'_>) -> Decoded<Vec<ReplicaId>> {
    let count = take_count(reader, REPLICAS_MAX, "a number of replicas")?;
    (0..count)
        .map(|_| reader.varint("a replica").map(ReplicaId))
        .collect()
}

/// `0`, or `1 | child` for a split in the middle, or `2 | child | first token`.
fn put_splitting(out: &mut Vec<u8>, splitting: Option<Splitting>) {
    let Some(Splitting { child, at }) = splitting else {
        out.push(0);
        return;
    };
    out.push(if at.is_some() { 2 } else { 1 });
    varint::encode(out, child);
    if let Some(at) = at {
        varint::encode(out, at);
    }
}

fn take_splitting(reader: &mut Reader<'_>) -> Decoded<Option<Splitting>> {
    let error = reader.error("a split");
    let kind = reader.u8("a split")?;
    if kind == 0 {
        return Ok(None);
    }
    let child = reader.varint("a group")?;
    let at = match kind {
        1 => None,
        2 => Some(reader.varint("a token")?),
        _ => return Err(error),
    };
    Ok(Some(Splitting { child, at }))
}

/// `0`, or `1 | parent | entry | decision`.
fn put_born(out: &mut Vec<u8>, born: Option<Born>) {
    out.push(u8::from(born.is_some()));
    if let Some(Born {
        parent,
        index,
        decided,
    }) = born
    {
        for number in [parent, index, decided] {
            varint::encode(out, number);
        }
    }
}

fn take_born(reader: &mut Reader<'_>) -> Decoded<Option<Born>> {
    if !take_flag(reader, "where a tablet comes from")? {
        return Ok(None);
    }
    Ok(Some(Born {
        parent: reader.varint("a group")?,
        index: reader.varint("an entry")?,
        decided: reader.varint("a decision")?,
    }))
}
