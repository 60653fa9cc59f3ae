//! Answers the calls of other hosts: finds the group and asks openraft.
//!
//! A leader sends entries ahead of the answers. If a call overtook the one before it, the group would
//! say that its log conflicts where it has just confirmed it, and the leader would have to take that for
//! lost entries. So the entries of one connection enter their group one call after the other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Peer;
use super::calls::{Request, Response};
use crate::clock;
use crate::error::{ErrorKind, Result};
use crate::id::GroupId;
use crate::log_store;
use crate::receiver::Receiver;
use crate::replica::Replica;
use crate::types::{Raft, Types, from_raft_id, from_raft_vote, to_raft_id, to_raft_vote};

/// Append calls of one connection and group that may wait: more than a leader sends ahead.
const QUEUE_CALLS: usize = 256;

/// A group that can be called.
#[derive(Clone, Debug)]
pub(crate) struct Callable {
    pub(crate) replica: Arc<Replica>,
    pub(crate) raft: Raft,
    pub(crate) receiver: Arc<Receiver>,
}

/// The groups that can be called.
pub(crate) type Members = Arc<Mutex<BTreeMap<GroupId, Callable>>>;

/// No groups.
pub(crate) fn members() -> Members {
    Arc::default()
}

/// Takes the calls that a transport received. Cheap to clone.
#[derive(Clone)]
pub struct Inbound {
    /// Weak: a transport outlives its host in tests, and must not keep its groups alive.
    members: Weak<Mutex<BTreeMap<GroupId, Callable>>>,
}

impl Inbound {
    pub(crate) fn new(members: &Members) -> Self {
        let members = Arc::downgrade(members);
        Self { members }
    }

    /// Begins to take the calls of one connection.
    pub fn session(&self) -> Session {
        Session {
            inbound: self.clone(),
            queues: BTreeMap::new(),
        }
    }

    /// The group of a call, or why it cannot be called here.
    fn find(&self, peer: Peer) -> std::result::Result<Callable, Response> {
        let (group, replica) = (peer.group.0, peer.replica);
        let unavailable = |why: String| Response::Refused(ErrorKind::Unavailable, why);
        let found = self
            .members
            .upgrade()
            .and_then(|members| members.lock().get(&peer.group).cloned());
        let Some(found) = found else {
            return Err(unavailable(format!("raft group {group} is not open here")));
        };
        // A replica that lost its disk comes back under a new name: votes and entries meant for the
        // old one must not reach it.
        let own = found.replica.id;
        if own != replica {
            return Err(unavailable(format!(
                "raft group {group} has replica {own} here, not {replica}"
            )));
        }
        Ok(found)
    }

    async fn respond(&self, peer: Peer, request: Request) -> Response {
        let called = match self.find(peer) {
            Ok(called) => called,
            Err(refused) => return refused,
        };
        respond(&called, request).await.unwrap_or_else(|| {
            let why = format!("raft group {} has stopped here", peer.group.0);
            Response::Refused(ErrorKind::Unavailable, why)
        })
    }
}

/// The calls of one connection. Its groups forget what waits when it is dropped.
#[derive(Debug)]
pub struct Session {
    inbound: Inbound,
    /// Append calls of each group, in order.
    queues: BTreeMap<Peer, mpsc::Sender<Queued>>,
}

#[derive(Debug)]
struct Queued {
    request: Request,
    answer: oneshot::Sender<Response>,
}

impl Session {
    /// Takes a call to `peer` and resolves to its answer, which also says what is wrong with it.
    ///
    /// Give the calls of a connection in the order in which they came; the answers may be waited
    /// for in any.
    pub fn take(&mut self, peer: Peer, request: Bytes) -> BoxFuture<'static, Bytes> {
        let request = match Request::decode(request) {
            Ok(request) => request,
            Err(error) => {
                let refused = Response::Refused(ErrorKind::Invalid, error.to_string());
                return Box::pin(std::future::ready(refused.encode()));
            }
        };
        let inbound = self.inbound.clone();
        if !matches!(request, Request::Append { .. }) {
            return Box::pin(async move { inbound.respond(peer, request).await.encode() });
        }
        // Only groups that are here get a queue: a caller cannot make any number of them.
        if let Err(refused) = inbound.find(peer) {
            return Box::pin(std::future::ready(refused.encode()));
        }
        let queue = self.queues.entry(peer).or_insert_with(|| {
            let (queue, calls) = mpsc::channel(QUEUE_CALLS);
            tokio::spawn(append_in_order(inbound, peer, calls));
            queue
        });
        let (answer, answered) = oneshot::channel();
        let refused = queue.try_send(Queued { request, answer }).is_err();
        Box::pin(async move {
            let answer = match answered.await {
                Ok(answer) => answer,
                Err(_) if refused => {
                    let why = "too many append calls wait here".to_owned();
                    Response::Refused(ErrorKind::Unavailable, why)
                }
                Err(_) => {
                    let why = "the host is stopping".to_owned();
                    Response::Refused(ErrorKind::Unavailable, why)
                }
            };
            answer.encode()
        })
    }
}

/// Feeds the append calls of one connection to a group until the connection ends.
async fn append_in_order(inbound: Inbound, peer: Peer, mut calls: mpsc::Receiver<Queued>) {
    while let Some(Queued { request, answer }) = calls.recv().await {
        let response = inbound.respond(peer, request).await;
        // The connection may have ended meanwhile.
        drop(answer.send(response));
    }
}

/// `None` if the group has stopped.
async fn vote_for(called: &Callable, call: VoteRequest<Types>, is_pre: bool) -> Option<Response> {
    let (raft, replica) = (&called.raft, &called.replica);
    if !call.leadership_transfer && replica.is_promised() {
        let why = "this replica has just restarted and its vote may be promised".to_owned();
        return Some(Response::Refused(ErrorKind::Unavailable, why));
    }
    let answer = if is_pre {
        raft.pre_vote(call).await
    } else {
        raft.vote(call).await
    };
    let answer = answer.ok()?;
    if is_pre && answer.vote_granted {
        replica.heard.candidate();
    }
    Some(Response::Vote {
        vote: from_raft_vote(&answer.vote),
        is_granted: answer.vote_granted,
        last: answer.last_log_id.map(from_raft_id),
    })
}

/// Takes entries, or none, of a leader whose call came at `came`. `None` if the group has stopped.
async fn append(
    called: &Callable,
    call: AppendEntriesRequest<Types>,
    came: Instant,
) -> Option<Response> {
    let committed = call.leader_commit.map_or(0, |id| id.index);
    let answer = called.raft.append_entries(call).await.ok()?;
    let replica = &called.replica;
    // Whoever is refused leads no more.
    if let AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_) = answer {
        let applied = *replica.applied.borrow();
        replica.freshness.heard(committed, applied, came);
    }
    Some(match answer {
        AppendEntriesResponse::Success => Response::Success,
        AppendEntriesResponse::PartialSuccess(last) => Response::Partial(last.map(from_raft_id)),
        AppendEntriesResponse::Conflict => Response::Conflict,
        AppendEntriesResponse::HigherVote(vote) => Response::HigherVote(from_raft_vote(&vote)),
    })
}

/// `None` if the group has stopped.
async fn respond(called: &Callable, request: Request) -> Option<Response> {
    let raft = &called.raft;
    Some(match request {
        Request::Snapshot(name, call) => called.receiver.take(raft, name, call).await,
        Request::Append {
            vote,
            previous,
            committed,
            entries,
        } => {
            let entries = entries.into_iter().map(log_store::decode);
            let entries = match entries.collect::<Result<_>>() {
                Ok(entries) => entries,
                Err(error) => {
                    return Some(Response::Refused(ErrorKind::Invalid, error.to_string()));
                }
            };
            let came = clock::instant();
            let call = AppendEntriesRequest {
                vote: to_raft_vote(vote),
                prev_log_id: previous.map(to_raft_id),
                entries,
                leader_commit: committed.map(to_raft_id),
            };
            if call.vote >= raft.metrics().borrow_watched().vote {
                called.replica.heard.leader();
            }
            append(called, call, came).await?
        }
        Request::Vote {
            is_pre,
            vote,
            last,
            is_transfer,
        } => {
            let mut call = VoteRequest::new(to_raft_vote(vote), last.map(to_raft_id));
            call.leadership_transfer = is_transfer;
            vote_for(called, call, is_pre).await?
        }
        Request::TransferLeader { from, to, last } => {
            let last = last.map(to_raft_id);
            let call = TransferLeaderRequest::new(to_raft_vote(from), to.0, last);
            let answer = raft.handle_transfer_leader(call).await.ok()?;
            match answer {
                Ok(()) => Response::TransferAccepted,
                Err(TransferLeaderError::VoteChanged { actual, .. }) => {
                    Response::HigherVote(from_raft_vote(&actual))
                }
                Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                    Response::Partial(actual.map(from_raft_id))
                }
            }
        }
    })
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fuzz_seeds;
    use super::*;

    #[tokio::test]
    async fn calls_to_groups_that_are_not_here_are_refused_and_leave_no_queue_behind() {
        let members = members();
        let mut session = Inbound::new(&members).session();
        let append = fuzz_seeds().swap_remove(0);
        assert!(matches!(
            Request::decode(append.clone()).expect("a call"),
            Request::Append { .. }
        ));
        for group in 0..100 {
            let peer = Peer {
                group: GroupId(group),
                replica: crate::id::ReplicaId(1),
            };
            let answer = session.take(peer, append.clone()).await;
            let answer = Response::decode(answer).expect("an answer");
            assert!(matches!(
                answer,
                Response::Refused(ErrorKind::Unavailable, _)
            ));
        }
        assert_eq!(session.queues.len(), 0);
    }
}
