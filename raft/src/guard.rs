//! Read guards: what a reader may rely on before it looks at the state machine.
//!
//! | Policy | Promise | Cost |
//! |---|---|---|
//! | `Local` | the state is one that the group had, maybe long ago | none |
//! | `Lease` | everything acknowledged before the guard was taken is visible, if `confirm` agrees after the read | a look at the lease |
//! | `ReadIndex` | the same, without trusting any clock | a round to a quorum |
//!
//! A lease has to be confirmed after the read: the process may have been stopped between the check
//! and the read for longer than the lease lasts. The margin of one fifth of the lease is ours,
//! because openraft leaves none for clocks that drift. The instants stop while a virtual machine is
//! suspended, so groups of several members on machines that get suspended need `ReadIndex`.
//! A group of one member needs no lease: nobody else can be elected.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::metrics::SerdeInstant;

use crate::batcher::{no_leader, not_leader};
use crate::clock;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::{LeaderId, ReplicaId};
use crate::types::Types;

/// How strong a read is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadPolicy {
    /// Whatever this replica has applied.
    Local,
    /// This replica leads and its lease holds, judged by clocks.
    Lease,
    /// This replica leads, confirmed by a quorum after the call.
    ReadIndex,
}

/// Permission to read the state machine.
#[derive(Debug)]
#[must_use = "a lease guard promises nothing until `confirm` agrees after the read"]
pub struct ReadGuard {
    /// Everything up to this index is applied.
    pub applied_index: u64,
    lease: Option<(Group, LeaderId)>,
}

impl ReadGuard {
    /// Whether what was read since the guard was taken keeps the promise of its policy.
    ///
    /// Call it after the read, before using the result. On an error throw the result away.
    pub fn confirm(&self) -> Result<()> {
        let Some((group, leader)) = &self.lease else {
            return Ok(());
        };
        let now = group.lease()?;
        if now == *leader {
            return Ok(());
        }
        Err(no_leader(group.replica(), Duration::ZERO))
    }
}

impl Group {
    /// Waits until this replica may serve a read of `policy`.
    ///
    /// Errors: [`NotLeader`](crate::ErrorKind::NotLeader) with the leader to ask,
    /// [`Unavailable`](crate::ErrorKind::Unavailable) without a valid lease in time,
    /// [`Closed`](crate::ErrorKind::Closed) and others when the group has stopped.
    pub async fn read_guard(&self, policy: ReadPolicy) -> Result<ReadGuard> {
        if let Some(failure) = self.replica().failure() {
            return Err(failure);
        }
        let lease = match policy {
            ReadPolicy::Local => None,
            ReadPolicy::Lease => {
                let leader = self.lease()?;
                self.wait_for_own_entry(leader).await?;
                Some((self.clone(), leader))
            }
            ReadPolicy::ReadIndex => {
                self.read_index().await?;
                None
            }
        };
        let applied_index = *self.replica().applied.borrow();
        Ok(ReadGuard {
            applied_index,
            lease,
        })
    }

    /// How old what this replica has applied may be, but for the time that calls were on their way;
    /// zero at a leader with a valid lease; at one without, the time since a majority last answered it.
    /// `None` if it has heard of no leader since it was opened, or since its host was stopped.
    pub fn staleness(&self) -> Option<Duration> {
        if self.lease().is_ok() {
            return Some(Duration::ZERO);
        }
        let replica = self.replica();
        let metrics = self.metrics().borrow_watched();
        if metrics.state.is_leader() {
            // Nobody else can have been elected before, so nothing can have been committed elsewhere.
            let acked = metrics.last_quorum_acked.map(SerdeInstant::into_inner)?;
            let now = clock::raft_instant();
            return Some(if now > acked {
                now - acked
            } else {
                Duration::ZERO
            });
        }
        drop(metrics);
        let as_of = replica.freshness.as_of(*replica.applied.borrow())?;
        Some(clock::instant().saturating_duration_since(as_of))
    }

    /// The leadership of this replica, if it leads and its lease holds now.
    pub(crate) fn lease(&self) -> Result<LeaderId> {
        let replica = self.replica();
        let metrics = self.metrics().borrow_watched();
        if metrics.running_state.is_err() {
            return Err(replica.stopped());
        }
        let vote = &metrics.vote;
        let own = vote.leader_id.node_id == replica.id.0;
        if !(vote.committed && own) {
            return Err(
                match metrics
                    .current_leader
                    .filter(|leader| *leader != replica.id.0)
                {
                    Some(leader) => not_leader(replica, ReplicaId(leader)),
                    None => no_leader(replica, Duration::ZERO),
                },
            );
        }
        let leader = LeaderId {
            term: vote.leader_id.term,
            node: vote.leader_id.node_id,
        };
        let members = metrics.membership_config.membership().get_joint_config();
        let is_voter = members.iter().any(|set| set.contains(&replica.id.0));
        if let [only] = members.as_slice()
            && only.len() == 1
            && is_voter
        {
            return Ok(leader);
        }
        if !is_voter {
            // It is leaving: those who stay may elect another before its lease has ended.
            return Err(no_leader(replica, Duration::ZERO));
        }
        let trusted = self.lease_length() * 4 / 5;
        let acked = metrics.last_quorum_acked.map(SerdeInstant::into_inner);
        if acked.is_some_and(|acked| clock::raft_instant() < acked + trusted) {
            return Ok(leader);
        }
        Err(no_leader(replica, Duration::ZERO))
    }

    /// A new leader may lead before it has applied what its predecessors acknowledged. Its own first
    /// entry comes after all of that.
    async fn wait_for_own_entry(&self, leader: LeaderId) -> Result<()> {
        let replica = self.replica();
        let own = || {
            replica
                .history
                .lock()
                .last()
                .is_some_and(|last| last.leader == leader)
        };
        if own() {
            return Ok(());
        }
        let mut applied = replica.applied.subscribe();
        let wait = async {
            while !own() {
                if applied.changed().await.is_err() {
                    break;
                }
            }
        };
        let limit = self.proposal_timeout();
        tokio::time::timeout(limit, wait)
            .await
            .map_err(|_| no_leader(replica, limit))
    }

    async fn read_index(&self) -> Result<()> {
        let replica = self.replica();
        let policy = openraft::ReadPolicy::ReadIndex;
        let limit = self.proposal_timeout();
        let read = async {
            let linearizer = self
                .raft()
                .get_read_linearizer(policy)
                .await
                .map_err(|error| match error {
                    RaftError::Fatal(_) => replica.stopped(),
                    RaftError::APIError(error) => self.not_linearizable(&error),
                })?;
            linearizer
                .await_ready(self.raft())
                .await
                .map_err(|_| replica.stopped())?;
            Ok(())
        };
        tokio::time::timeout(limit, read)
            .await
            .map_err(|_| no_leader(replica, limit))?
    }

    fn not_linearizable(&self, error: &LinearizableReadError<Types>) -> Error {
        let replica = self.replica();
        let leader = match error {
            LinearizableReadError::ForwardToLeader(forward) => forward.leader_id,
            LinearizableReadError::QuorumNotEnough(_) => None,
        };
        match leader.filter(|leader| *leader != replica.id.0) {
            Some(leader) => not_leader(replica, ReplicaId(leader)),
            None => no_leader(replica, Duration::ZERO),
        }
    }
}
