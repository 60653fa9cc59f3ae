//! openraft's network over our [`Transport`]: three lanes per peer.
//!
//! openraft's defaults are dangerous where they are silent: its default `pre_vote` grants, so a
//! member that cannot be reached would be counted as a vote. Every call is therefore answered here.
//! Until the codec of the calls exists, each of them ends as unreachable with the transport's text.

use std::sync::Arc;

use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use crate::error::{Error, ErrorKind};
use crate::id::{GroupId, ReplicaId};
use crate::machine::SnapshotContent;
use crate::transport::{Lane, Peer, Transport};
use crate::types::{RaftSnapshot, RaftVote, Types};

/// Makes the lanes of one group.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) group: GroupId,
    pub(crate) transport: Arc<dyn Transport>,
}

/// One lane to one peer.
#[derive(Debug)]
pub(crate) struct LaneClient {
    peer: Peer,
    lane: Lane,
    transport: Arc<dyn Transport>,
}

impl Lanes {
    fn open(&self, target: u64, lane: Lane) -> LaneClient {
        let peer = Peer {
            group: self.group,
            replica: ReplicaId(target),
        };
        LaneClient {
            peer,
            lane,
            transport: Arc::clone(&self.transport),
        }
    }
}

impl RaftNetworkFactory<Types> for Lanes {
    type Network = LaneClient;

    async fn new_client(&mut self, target: u64, _node: &()) -> LaneClient {
        self.open(target, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, _node: &()) -> LaneClient {
        self.open(target, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, _node: &()) -> LaneClient {
        self.open(target, Lane::Bulk)
    }
}

impl LaneClient {
    /// The outcome of every call of this build.
    fn unreachable(&self, lane: Lane) -> Unreachable<Types> {
        let error = self
            .transport
            .connect(self.peer, lane)
            .err()
            .unwrap_or_else(|| {
                let message = "calls to other members are not built yet";
                Error::new(ErrorKind::Unavailable, message)
            });
        Unreachable::new(&error)
    }
}

impl RaftNetworkV2<Types> for LaneClient {
    type SnapshotData = SnapshotContent;

    async fn append_entries(
        &mut self,
        _call: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable(self.lane)))
    }

    async fn vote(
        &mut self,
        _call: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable(Lane::Control)))
    }

    async fn pre_vote(
        &mut self,
        _call: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable(Lane::Control)))
    }

    async fn transfer_leader(
        &mut self,
        _call: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        Err(RPCError::Unreachable(self.unreachable(Lane::Control)))
    }

    async fn full_snapshot(
        &mut self,
        _vote: RaftVote,
        _snapshot: RaftSnapshot,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        Err(StreamingError::Unreachable(self.unreachable(Lane::Bulk)))
    }
}
