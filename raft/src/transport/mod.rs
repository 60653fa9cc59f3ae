//! The way to the other members of a group: the seam, and the transport of a process without peers.
//!
//! A transport moves opaque calls between two hosts on three lanes, so that a heartbeat never queues
//! behind data and data never behind a raft snapshot. What the bytes mean is known to `calls`, who
//! answers them is `inbound`, and [`TcpTransport`] carries them between processes. A test puts its
//! own transport in between.

mod calls;
mod inbound;
mod snapshot_calls;
mod tcp;
mod tls;

pub(crate) use calls::{Request, Response};
pub use calls::{fuzz_request, fuzz_response, fuzz_seeds};
pub(crate) use inbound::{Callable, Members, members};
pub use inbound::{Inbound, Session};
pub(crate) use snapshot_calls::{SnapshotCall, SnapshotName};
pub use tcp::{Address, TcpOptions, TcpTransport, fuzz_frames};
pub use tls::{NODE_NAME, Protocol, Secured, Tls, TlsFiles};

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, ReplicaId};

/// One of the three lanes between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Votes and heartbeats: small, and never behind anything.
    Control,
    /// Entries, in order.
    Append,
    /// Raft snapshots: large, and never in front of anything.
    Bulk,
}

/// The other end of a call: one replica of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The group that both ends belong to.
    pub group: GroupId,
    /// The replica that is called.
    pub replica: ReplicaId,
}

/// Carries calls to other hosts, and the calls of other hosts to this one.
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Tells who answers the calls that arrive here. The host says so once, when it starts.
    fn attach(&self, inbound: Inbound);

    /// Sends a call to the node of `peer.replica` and resolves to its answer.
    ///
    /// Calls to one peer on one lane arrive in the order in which this method was called, or not at
    /// all; their answers may overtake each other. An error means that nothing is known about
    /// the call: [`Unavailable`](ErrorKind::Unavailable) if there was no way or no answer within
    /// `limit`, [`Overloaded`](ErrorKind::Overloaded) if too many calls wait already.
    fn call(
        &self,
        peer: Peer,
        lane: Lane,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes>>;
}

/// The transport of a process that has no peers: every lane is unreachable.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Transport for NoPeers {
    fn attach(&self, _inbound: Inbound) {}

    fn call(
        &self,
        peer: Peer,
        lane: Lane,
        _request: Bytes,
        _limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes>> {
        let (group, replica) = (peer.group.0, peer.replica);
        let message = format!(
            "replica {replica} of group {group} is unreachable on the {lane:?} lane: \
             this process has no transport to other members"
        );
        Box::pin(std::future::ready(Err(Error::new(
            ErrorKind::Unavailable,
            message,
        ))))
    }
}
