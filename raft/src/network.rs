//! openraft's network over our [`Transport`]: three lanes per peer.
//!
//! openraft's defaults are dangerous where they are silent: its default `pre_vote` grants, so a
//! member that cannot be reached would be counted as a vote. Every call is therefore answered here.
//!
//! After every commit openraft sends a call without entries that tells how far the log is committed. It waits here for
//! [`COMMIT_WAIT`]: under load the next entries come within that time and say the same, which halves the calls.
//!
//! Entries are pipelined: up to [`PIPELINE_CALLS`] append calls of one group are on their way to a
//! peer at once. They have to enter the peer's group in order, see `transport::inbound`.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};

use crate::error::{Error, ErrorKind, Result as OurResult};
use crate::id::{LogId, ReplicaId};
use crate::log_store;
use crate::machine::SnapshotContent;
use crate::replica::Replica;
use crate::sender::Transfer;
use crate::snapshot::Bulk;
use crate::transport::{Lane, Peer, Request, Response, Transport};
use crate::types::{
    RaftLogId, RaftSnapshot, RaftVote, Types, from_raft_id, from_raft_vote, to_raft_id,
    to_raft_vote,
};

/// Append calls of one group to one peer on their way at once.
const PIPELINE_CALLS: usize = 64;

/// How long a call without entries waits for the next one.
const COMMIT_WAIT: Duration = Duration::from_millis(1);

/// Makes the lanes of one group.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub(crate) replica: Arc<Replica>,
    pub(crate) bulk: Arc<Bulk>,
    pub(crate) transport: Arc<dyn Transport>,
    /// How long entries may take to be durable on a peer.
    pub(crate) append_limit: Duration,
}

/// One lane to one peer.
#[derive(Clone, Debug)]
pub(crate) struct LaneClient {
    peer: Peer,
    lane: Lane,
    own: Arc<Replica>,
    pub(crate) bulk: Arc<Bulk>,
    transport: Arc<dyn Transport>,
    append_limit: Duration,
}

impl Lanes {
    fn open(&self, target: u64, lane: Lane) -> LaneClient {
        let peer = Peer {
            group: self.replica.group,
            replica: ReplicaId(target),
        };
        LaneClient {
            peer,
            lane,
            own: Arc::clone(&self.replica),
            bulk: Arc::clone(&self.bulk),
            transport: Arc::clone(&self.transport),
            append_limit: self.append_limit,
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

/// The positions that an append call is about.
#[derive(Clone, Copy)]
struct Stretch {
    previous: Option<RaftLogId>,
    last: Option<RaftLogId>,
}

impl LaneClient {
    /// Sends a call; it has left in order when this returns.
    pub(crate) fn send(
        &self,
        lane: Lane,
        request: OurResult<Request>,
        limit: Duration,
    ) -> BoxFuture<'static, OurResult<Response>> {
        let bytes = request.and_then(|request| request.encode());
        let answer = match bytes {
            Ok(bytes) => self.transport.call(self.peer, lane, bytes, limit),
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        Box::pin(async move {
            match Response::decode(answer.await?)? {
                Response::Refused(kind, text) => Err(Error::new(kind, text)),
                response => Ok(response),
            }
        })
    }

    fn append(
        &self,
        call: &AppendEntriesRequest<Types>,
        limit: Duration,
    ) -> (Stretch, BoxFuture<'static, OurResult<Response>>) {
        let last = call.entries.last().map(|entry| entry.log_id);
        let stretch = Stretch {
            previous: call.prev_log_id,
            last: last.or(call.prev_log_id),
        };
        let entries = call.entries.iter().map(log_store::encode);
        let request = entries
            .collect::<OurResult<_>>()
            .map(|entries| Request::Append {
                vote: from_raft_vote(&call.vote),
                previous: call.prev_log_id.map(from_raft_id),
                committed: call.leader_commit.map(from_raft_id),
                entries,
            });
        // openraft gives entries the deadline of a heartbeat. A slow sync would make it send them again
        // and again, while the answer that they are durable is on its way.
        let limit = match self.lane {
            Lane::Append => limit.max(self.append_limit),
            Lane::Control | Lane::Bulk => limit,
        };
        let (own, leader, member) = (
            Arc::clone(&self.own),
            from_raft_vote(&call.vote).leader,
            self.peer.replica,
        );
        let sent = own.lease.stamp();
        let answer = self.send(self.lane, request, limit);
        let answer = async move {
            let answer = answer.await;
            if let Ok(Response::Success | Response::Partial(_) | Response::Conflict) = answer {
                own.lease.confirmed(leader, member, sent);
            }
            answer
        };
        (stretch, Box::pin(answer))
    }

    async fn ask(
        &self,
        call: VoteRequest<Types>,
        is_pre: bool,
        limit: Duration,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let request = Request::Vote {
            is_pre,
            vote: from_raft_vote(&call.vote),
            last: call.last_log_id.map(from_raft_id),
            is_transfer: call.leadership_transfer,
        };
        match self.send(Lane::Control, Ok(request), limit).await {
            Ok(Response::Vote {
                vote,
                is_granted,
                last,
            }) => Ok(VoteResponse::new(
                to_raft_vote(vote),
                last.map(to_raft_id),
                is_granted,
            )),
            other => Err(unreachable(&other_answer(other))),
        }
    }
}

/// The error of a call that was answered with something else.
fn other_answer(answer: OurResult<Response>) -> Error {
    answer.err().unwrap_or_else(|| {
        let message = "the peer answered a raft call with something else";
        Error::new(ErrorKind::Bug, message)
    })
}

fn unreachable(error: &Error) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(error))
}

fn to_append_answer(
    answer: OurResult<Response>,
) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
    match answer {
        Ok(Response::Success) => Ok(AppendEntriesResponse::Success),
        Ok(Response::Partial(last)) => {
            Ok(AppendEntriesResponse::PartialSuccess(last.map(to_raft_id)))
        }
        Ok(Response::Conflict) => Ok(AppendEntriesResponse::Conflict),
        Ok(Response::HigherVote(vote)) => Ok(AppendEntriesResponse::HigherVote(to_raft_vote(vote))),
        other => Err(unreachable(&other_answer(other))),
    }
}

/// A stream ends at the first answer that does not confirm all of its call.
fn ends_stream(
    answer: &Result<StreamAppendResult<Types>, RPCError<Types>>,
    last: Option<RaftLogId>,
) -> bool {
    !matches!(answer, Ok(Ok(confirmed)) if *confirmed == last)
}

/// Leaves out calls without entries that the next call follows at once.
///
/// A call that is left out gets no answer, because no member has seen it: openraft takes the answer of the next one for both.
/// The first call of a stream is always sent: it may be there to find out what the member has.
fn together<S>(calls: S) -> impl Stream<Item = AppendEntriesRequest<Types>>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    let begin = (calls.fuse(), None, None);
    stream::unfold(begin, |(mut calls, mut held, sent)| async move {
        loop {
            let call: AppendEntriesRequest<Types> = match held {
                Some(call) => call,
                None => calls.next().await?,
            };
            let last = call.entries.last().map(|entry| entry.log_id);
            let last = last.or(call.prev_log_id);
            if !call.entries.is_empty() || sent != Some(last) {
                return Some((call, (calls, None, Some(last))));
            }
            match tokio::time::timeout(COMMIT_WAIT, calls.next()).await {
                Ok(next @ Some(_)) => held = next,
                Ok(None) | Err(_) => return Some((call, (calls, None, sent))),
            }
        }
    })
}

fn to_stream_answer(
    stretch: Stretch,
    answer: OurResult<Response>,
) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
    Ok(match to_append_answer(answer)? {
        AppendEntriesResponse::Success => Ok(stretch.last),
        AppendEntriesResponse::PartialSuccess(last) => Ok(last),
        AppendEntriesResponse::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote)),
        AppendEntriesResponse::Conflict => {
            let Some(previous) = stretch.previous else {
                let message = "the peer says that its log conflicts before the first entry";
                return Err(unreachable(&Error::new(ErrorKind::Bug, message)));
            };
            Err(StreamAppendError::Conflict(previous))
        }
    })
}

impl RaftNetworkV2<Types> for LaneClient {
    type SnapshotData = SnapshotContent;

    async fn append_entries(
        &mut self,
        call: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let (_, answer) = self.append(&call, option.soft_ttl());
        to_append_answer(answer.await)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        calls: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        let client = self.clone();
        let answers = together(calls)
            .map(move |call| {
                let (stretch, answer) = client.append(&call, option.soft_ttl());
                async move { (stretch.last, to_stream_answer(stretch, answer.await)) }
            })
            .buffered(PIPELINE_CALLS)
            .scan(false, |has_ended, (last, answer)| {
                let is_over = std::mem::replace(has_ended, ends_stream(&answer, last));
                std::future::ready((!is_over).then_some(answer))
            });
        let answers: BoxStream<'s, _> = Box::pin(answers);
        Box::pin(std::future::ready(Ok(answers)))
    }

    async fn vote(
        &mut self,
        call: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(call, false, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        call: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(call, true, option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        call: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let request = Request::TransferLeader {
            from: from_raft_vote(call.from_leader()),
            to: ReplicaId(*call.to_node_id()),
            last: call.last_log_id().copied().map(from_raft_id),
        };
        let answer = self
            .send(Lane::Control, Ok(request), option.soft_ttl())
            .await;
        let actual = |id: Option<LogId>| id.map(to_raft_id);
        Ok(match answer {
            Ok(Response::TransferAccepted) => Ok(()),
            Ok(Response::HigherVote(vote)) => Err(TransferLeaderError::VoteChanged {
                expected: *call.from_leader(),
                actual: to_raft_vote(vote),
            }),
            Ok(Response::Partial(last)) => Err(TransferLeaderError::LogNotFlushed {
                expected: call.last_log_id().copied(),
                actual: actual(last),
            }),
            other => return Err(unreachable(&other_answer(other))),
        })
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let outgoing = match snapshot.snapshot {
            SnapshotContent::Outgoing(outgoing) => Ok(outgoing),
            SnapshotContent::Failed(error) => Err(error),
            SnapshotContent::Point | SnapshotContent::Staged(_) => {
                let message = "a raft snapshot without files cannot be sent";
                Err(Error::new(ErrorKind::Bug, message))
            }
        };
        let sent = async {
            let outgoing = outgoing?;
            let _room = self.bulk.sending.acquire().await;
            let touch = || self.own.outbox.touch();
            let transfer = Transfer {
                client: self,
                vote: from_raft_vote(&vote),
                outgoing: &outgoing,
                touch: &touch,
            };
            transfer.run().await
        };
        let sent = tokio::select! {
            biased;
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = sent => sent,
        };
        match sent {
            Ok(higher) => Ok(SnapshotResponse::new(higher.map_or(vote, to_raft_vote))),
            Err(error) => {
                let (group, replica) = (self.peer.group.0, self.peer.replica);
                tracing::warn!(group, %replica, %error, "a raft snapshot was not sent, it is tried again");
                Err(StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::LeaderId;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    fn id(index: u64) -> Option<RaftLogId> {
        let leader = LeaderId { term: 1, node: 1 };
        (index > 0).then(|| to_raft_id(LogId { leader, index }))
    }

    /// A call with the entries after `prev` up to `last`.
    fn call(prev: u64, last: u64) -> AppendEntriesRequest<Types> {
        let entries = (prev + 1..=last).filter_map(id);
        let blank = |log_id| openraft::Entry {
            log_id,
            payload: openraft::EntryPayload::Blank,
        };
        AppendEntriesRequest {
            vote: RaftVote::new(1, 1),
            prev_log_id: id(prev),
            entries: entries.map(blank).collect(),
            leader_commit: id(prev),
        }
    }

    /// Where the next call that is to be sent begins, and how many entries it has.
    async fn next(
        calls: &mut (impl Stream<Item = AppendEntriesRequest<Types>> + Unpin),
    ) -> Option<(Option<RaftLogId>, usize)> {
        let call = calls.next().await?;
        Some((call.prev_log_id, call.entries.len()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_only_tells_a_commit_is_left_out_when_the_next_comes_in_time() {
        let (send, mut calls) = mpsc::channel(8);
        let calls = Box::pin(stream::poll_fn(move |cx| calls.poll_recv(cx)));
        let mut sent = Box::pin(together(calls));
        let put = |prev, last| send.try_send(call(prev, last)).expect("there is room");
        put(3, 3);
        put(3, 5);
        let first = next(&mut sent).await;
        assert_eq!(first, Some((id(3), 0)), "the first is sent: it may ask");
        assert_eq!(next(&mut sent).await, Some((id(3), 2)));
        put(5, 5);
        put(5, 5);
        put(5, 8);
        let joined = next(&mut sent).await;
        assert_eq!(
            joined,
            Some((id(5), 3)),
            "neither commit got a call, or an answer, of its own"
        );
        put(6, 6);
        put(6, 8);
        let other = next(&mut sent).await;
        assert_eq!(other, Some((id(6), 0)), "it is about other entries");
        assert_eq!(next(&mut sent).await, Some((id(6), 2)));
        put(8, 8);
        let begun = Instant::now();
        let last = next(&mut sent).await;
        assert_eq!(last, Some((id(8), 0)), "nothing came after it");
        assert!(begun.elapsed() >= COMMIT_WAIT);
        put(8, 8);
        drop(send);
        assert_eq!(next(&mut sent).await, Some((id(8), 0)));
        assert_eq!(next(&mut sent).await, None, "the end");
    }
}
