//! The way to the other members of a group: the seam, and the transport of a process without peers.
//!
//! There is one connection per pair of nodes, with three lanes, so that a heartbeat never queues
//! behind data and data never behind a raft snapshot. This build has groups of one member only; the
//! codec of the calls and a transport over the network are not built yet, so the one transport here
//! says so to everyone who asks.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, ReplicaId};

/// One of the three lanes between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Votes and heartbeats: small, and never behind anything.
    Control,
    /// Entries, in order, with flow control per group.
    Append,
    /// Raft snapshots: large, and never in front of anything.
    Bulk,
}

/// The other end of a call: one replica of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The group that both ends belong to.
    pub group: GroupId,
    /// The replica that is called.
    pub replica: ReplicaId,
}

/// Opens lanes to peers.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Makes sure that `lane` to `peer` can carry calls; the error says why it cannot.
    ///
    /// The methods that carry calls come together with the codec of the calls.
    fn connect(&self, peer: Peer, lane: Lane) -> Result<()>;
}

/// The transport of a process that has no peers: every lane is unreachable.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn connect(&self, peer: Peer, lane: Lane) -> Result<()> {
        let (group, replica) = (peer.group.0, peer.replica);
        let message = format!(
            "replica {replica} of group {group} is unreachable on the {lane:?} lane: \
             this process has no transport to other members"
        );
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}
