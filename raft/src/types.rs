//! What openraft is told about our types, and the translation between its ids and ours.
//!
//! openraft is an alpha that is pinned to one release. Everything it sees of us and we of it passes
//! through this file and the adapters beside it; nothing of it is persisted and nothing is public.

use std::collections::BTreeSet;
use std::fmt;

use bytes::Bytes;
use openraft::impls::leader_id_adv;
use openraft::{EntryPayload, OptionalSend, RaftTypeConfig};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{LeaderId, LogId, ReplicaId};
use crate::machine::{Machine, SnapshotContent};
use crate::membership::{Membership, StoredMembership};
use crate::runtime::Runtime;

/// The type parameters of every group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl RaftTypeConfig for Types {
    type D = Encoded;
    type R = Responses;
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    // Totally ordered leader ids: the mode that openraft's own simulations exercise.
    type LeaderId = leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Encoded, u64, ()>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    type Responder<T>
        = openraft::impls::OneshotResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type AsyncRuntime = Runtime;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<Types, Machine>;
pub(crate) type RaftEntry = <Types as RaftTypeConfig>::Entry;
pub(crate) type RaftVote = <Types as RaftTypeConfig>::Vote;
pub(crate) type RaftLogId = openraft::LogId<leader_id_adv::LeaderId<u64, u64>>;
pub(crate) type RaftMembership = openraft::Membership<u64, ()>;
pub(crate) type RaftStoredMembership =
    openraft::StoredMembership<leader_id_adv::LeaderId<u64, u64>, u64, ()>;

pub(crate) type RaftSnapshotMeta =
    openraft::SnapshotMeta<leader_id_adv::LeaderId<u64, u64>, u64, ()>;
pub(crate) type RaftSnapshot =
    openraft::Snapshot<leader_id_adv::LeaderId<u64, u64>, u64, (), SnapshotContent>;

/// A batch of commands as its bytes: see [`crate::payload`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Encoded(pub(crate) Bytes);

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch of {} bytes", self.0.len())
    }
}

/// One response per command of a batch, none for other entries; and when the entry was applied.
#[derive(Debug)]
pub(crate) struct Responses {
    pub(crate) each: Vec<Bytes>,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

pub(crate) fn to_raft_leader(leader: LeaderId) -> leader_id_adv::LeaderId<u64, u64> {
    leader_id_adv::LeaderId {
        term: leader.term,
        node_id: leader.node,
    }
}

pub(crate) fn to_raft_id(id: LogId) -> RaftLogId {
    RaftLogId {
        leader_id: to_raft_leader(id.leader),
        index: id.index,
    }
}

pub(crate) fn from_raft_id(id: RaftLogId) -> LogId {
    let leader = LeaderId {
        term: id.leader_id.term,
        node: id.leader_id.node_id,
    };
    LogId {
        leader,
        index: id.index,
    }
}

pub(crate) fn to_raft_vote(vote: lsm::log::Vote) -> RaftVote {
    RaftVote {
        leader_id: to_raft_leader(vote.leader),
        committed: vote.committed,
    }
}

pub(crate) fn from_raft_vote(vote: &RaftVote) -> lsm::log::Vote {
    let leader = LeaderId {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
    };
    lsm::log::Vote {
        leader,
        committed: vote.committed,
    }
}

pub(crate) fn to_raft_membership(membership: &Membership) -> Result<RaftMembership> {
    let sets: Vec<BTreeSet<u64>> = membership
        .voters
        .iter()
        .map(|set| set.iter().map(|replica| replica.0).collect())
        .collect();
    let members = sets.iter().flatten().copied();
    let learners = membership.learners.iter().map(|replica| replica.0);
    let nodes: BTreeSet<u64> = members.chain(learners).collect();
    if nodes.is_empty() {
        return Ok(RaftMembership::default());
    }
    RaftMembership::new(sets, nodes).map_err(|source| {
        Error::new(ErrorKind::Corrupt, "membership that no group can have").with_source(source)
    })
}

pub(crate) fn from_raft_membership(membership: &RaftMembership) -> Membership {
    let replicas = |set: &BTreeSet<u64>| set.iter().copied().map(ReplicaId).collect();
    Membership {
        voters: membership.get_joint_config().iter().map(replicas).collect(),
        learners: membership.learner_ids().map(ReplicaId).collect(),
    }
}

pub(crate) fn to_raft_stored(stored: &StoredMembership) -> Result<RaftStoredMembership> {
    let membership = to_raft_membership(&stored.membership)?;
    Ok(RaftStoredMembership::new(
        stored.id.map(to_raft_id),
        membership,
    ))
}
