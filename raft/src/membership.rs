//! Who belongs to a group, and its bytes in entries and in the state machine's durable edit.
//!
//! A membership is one set of voters, or two while the group moves from one to the other (joint
//! consensus: both need a majority), and learners, which receive entries and do not vote. Addresses
//! are not part of it: where a replica runs is the business of whoever places replicas.
//!
//! The byte layout is in `docs/formats/raft-entries.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{LeaderId, LogId, ReplicaId};
use crate::wire::Reader;

/// Format of the membership bytes. Frozen with each release.
const FORMAT: u8 = 1;
/// Sets of voters at most: the old one and the new one.
const CONFIGS_MAX: u8 = 2;
/// Members of one set at most.
const MEMBERS_MAX: u16 = 1024;

/// The members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// One set of voters; two during a change of membership; none before the first entry.
    pub voters: Vec<BTreeSet<ReplicaId>>,
    /// Members that receive entries and do not vote.
    pub learners: BTreeSet<ReplicaId>,
}

impl Membership {
    /// A group whose only member is `replica`.
    pub fn single(replica: ReplicaId) -> Self {
        Self {
            voters: vec![BTreeSet::from([replica])],
            learners: BTreeSet::new(),
        }
    }

    /// Whether `replica` votes, in any of the sets.
    pub fn is_voter(&self, replica: ReplicaId) -> bool {
        self.voters.iter().any(|set| set.contains(&replica))
    }

    /// Whether nobody belongs to it: before the first entry.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty() && self.learners.is_empty()
    }

    /// Whether `replica` votes or learns.
    pub fn contains(&self, replica: ReplicaId) -> bool {
        self.is_voter(replica) || self.learners.contains(&replica)
    }

    /// Whether `replica` alone is the group.
    pub fn is_single(&self, replica: ReplicaId) -> bool {
        self.learners.is_empty() && self.voters == [BTreeSet::from([replica])]
    }

    /// Appends the bytes of this membership.
    pub(crate) fn encode_into(&self, out: &mut BytesMut) -> Result<()> {
        let configs = u8::try_from(self.voters.len()).unwrap_or(u8::MAX);
        if configs > CONFIGS_MAX {
            return Err(too_large("sets of voters", self.voters.len()));
        }
        out.put_u8(FORMAT);
        out.put_u8(configs);
        for set in self.voters.iter().chain([&self.learners]) {
            let count = u16::try_from(set.len()).unwrap_or(u16::MAX);
            if count > MEMBERS_MAX {
                return Err(too_large("members of a set", set.len()));
            }
            out.put_u16_le(count);
            for replica in set {
                out.put_u64_le(replica.0);
            }
        }
        Ok(())
    }

    /// Reads what [`Membership::encode_into`] wrote.
    pub(crate) fn decode_from(reader: &mut Reader) -> Result<Self> {
        let format = reader.u8("membership format")?;
        if format != FORMAT {
            return Err(reader.corrupt(&format!("membership format {FORMAT}, found {format}")));
        }
        let configs = reader.u8("number of voter sets")?;
        if configs > CONFIGS_MAX {
            return Err(reader.corrupt(&format!(
                "at most {CONFIGS_MAX} voter sets, found {configs}"
            )));
        }
        let mut voters = Vec::new();
        for _ in 0..configs {
            let set = decode_set(reader)?;
            if set.is_empty() {
                return Err(reader.corrupt("at least one voter in a set"));
            }
            voters.push(set);
        }
        let learners = decode_set(reader)?;
        let membership = Self { voters, learners };
        if membership
            .learners
            .iter()
            .any(|learner| membership.is_voter(*learner))
        {
            return Err(reader.corrupt("learners that are not voters"));
        }
        Ok(membership)
    }
}

/// A membership together with the entry that made it: what a state machine keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMembership {
    /// The entry; `None` before the first one.
    pub id: Option<LogId>,
    /// The members as of that entry.
    pub membership: Membership,
}

impl StoredMembership {
    /// The bytes that [`StateMachine::apply_membership`](crate::StateMachine::apply_membership) gets.
    pub fn encode(&self) -> Result<Bytes> {
        let Some(id) = self.id else {
            return Ok(Bytes::new());
        };
        let mut out = BytesMut::with_capacity(64);
        out.put_u64_le(id.leader.term);
        out.put_u64_le(id.leader.node);
        out.put_u64_le(id.index);
        self.membership.encode_into(&mut out)?;
        Ok(out.freeze())
    }

    /// Reads them back. No bytes are no membership.
    pub fn decode(bytes: Bytes) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new("stored membership", bytes);
        let leader = LeaderId {
            term: reader.u64("term")?,
            node: reader.u64("leader")?,
        };
        let id = LogId {
            leader,
            index: reader.u64("index")?,
        };
        let membership = Membership::decode_from(&mut reader)?;
        reader.finish()?;
        Ok(Self {
            id: Some(id),
            membership,
        })
    }
}

/// Reads a set in strictly ascending order.
fn decode_set(reader: &mut Reader) -> Result<BTreeSet<ReplicaId>> {
    let count = reader.u16("number of members")?;
    if count > MEMBERS_MAX {
        return Err(reader.corrupt(&format!("at most {MEMBERS_MAX} members, found {count}")));
    }
    let mut set = BTreeSet::new();
    for _ in 0..count {
        let replica = ReplicaId(reader.u64("replica")?);
        if set.last().is_some_and(|last| *last >= replica) {
            return Err(reader.corrupt("replicas in strictly ascending order"));
        }
        set.insert(replica);
    }
    Ok(set)
}

fn too_large(what: &str, count: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{count} {what}: too many to be written"),
    )
}
