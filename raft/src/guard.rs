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

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};

use crate::batcher::{no_leader, not_leader};
use crate::clock;
use crate::error::{Error, Result};
use crate::group::Group;
use crate::id::{LeaderId, ReplicaId};
use crate::lease::Stamp;
use crate::types::{RaftStoredMembership, Types, from_raft_id, from_raft_vote};

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

/// A leadership of this replica.
struct Leadership {
    id: LeaderId,
    own: ReplicaId,
    members: Arc<RaftStoredMembership>,
}

impl Leadership {
    fn is_voter(&self) -> bool {
        let sets = self.members.membership().get_joint_config();
        sets.iter().any(|set| set.contains(&self.own.0))
    }

    /// Whether this replica is the only one that votes: nobody else can be elected.
    fn is_alone(&self) -> bool {
        let sets = self.members.membership().get_joint_config();
        matches!(sets.as_slice(), [only] if only.len() == 1 && only.contains(&self.own.0))
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
        let now = clock::instant();
        if let Ok(leadership) = self.leadership() {
            // Nobody else can have been elected before, so nothing can have been committed elsewhere.
            let held = self.held_since(&leadership)?;
            return Some(now.saturating_duration_since(held.at));
        }
        let as_of = replica.freshness.as_of(*replica.applied.borrow())?;
        Some(now.saturating_duration_since(as_of))
    }

    /// The leadership of this replica, if it leads and its lease holds now.
    pub(crate) fn lease(&self) -> Result<LeaderId> {
        let leadership = self.leadership()?;
        if leadership.is_alone() {
            return Ok(leadership.id);
        }
        let trusted = self.lease_length() * 4 / 5;
        match self.held_since(&leadership) {
            Some(held) if clock::instant() < held.at + trusted => Ok(leadership.id),
            _ => Err(no_leader(self.replica(), Duration::ZERO)),
        }
    }

    fn held_since(&self, leadership: &Leadership) -> Option<Stamp> {
        let replica = self.replica();
        let sets = leadership.members.membership().get_joint_config();
        replica.lease.held_since(leadership.id, replica.id, sets)
    }

    /// The leadership of this replica as it knows, whether or not anybody follows it.
    fn leadership(&self) -> Result<Leadership> {
        let replica = self.replica();
        let metrics = self.metrics().borrow_watched();
        if metrics.running_state.is_err() {
            return Err(replica.stopped());
        }
        let vote = &metrics.vote;
        let own = vote.leader_id.node_id == replica.id.0;
        if !(vote.committed && own) {
            let other = metrics.current_leader;
            return Err(match other.filter(|leader| *leader != replica.id.0) {
                Some(leader) => not_leader(replica, ReplicaId(leader)),
                None => no_leader(replica, Duration::ZERO),
            });
        }
        let leadership = Leadership {
            id: LeaderId {
                term: vote.leader_id.term,
                node: vote.leader_id.node_id,
            },
            own: replica.id,
            members: Arc::clone(&metrics.membership_config),
        };
        if leadership.is_voter() {
            return Ok(leadership);
        }
        // It is leaving: those who stay may elect another before its lease has ended.
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

    /// openraft says up to where to read, and sends the heartbeats. Whether members have confirmed this leadership since
    /// is judged by calls that left after this was called, see [`crate::lease`].
    async fn read_index(&self) -> Result<()> {
        let replica = self.replica();
        let limit = self.proposal_timeout();
        let begun = replica.lease.stamp();
        let read = async {
            let linearizer = self
                .raft()
                .get_read_linearizer(openraft::ReadPolicy::ReadIndex)
                .await
                .map_err(|error| match error {
                    RaftError::Fatal(_) => replica.stopped(),
                    RaftError::APIError(error) => self.not_linearizable(&error),
                })?;
            // The entry up to which to read is one of the leadership that answered.
            let leader = from_raft_id(*linearizer.read_log_id().log_id()).leader;
            self.wait_confirmed_after(leader, begun).await?;
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

    /// Waits until a majority has answered a call of `leader`, which is this replica, that left after `begun`.
    async fn wait_confirmed_after(&self, leader: LeaderId, begun: Stamp) -> Result<()> {
        let mut metrics = self.metrics().clone();
        let mut has_asked = false;
        loop {
            // From here on no confirmation is missed.
            let moved = self.replica().lease.moved();
            if self.is_confirmed_after(leader, begun)? {
                return Ok(());
            }
            let stopped = |_| self.replica().stopped();
            if !std::mem::replace(&mut has_asked, true) {
                self.raft().trigger().heartbeat().await.map_err(stopped)?;
            }
            tokio::select! {
                biased;
                () = moved => {}
                changed = metrics.changed() => changed.map_err(|_| self.replica().stopped())?,
            }
        }
    }

    fn is_confirmed_after(&self, leader: LeaderId, begun: Stamp) -> Result<bool> {
        let vote = from_raft_vote(&self.metrics().borrow_watched().vote);
        if (vote.leader, vote.committed) < (leader, true) {
            // openraft tells of its leadership a moment after it has begun.
            return Ok(false);
        }
        let leadership = self.leadership()?;
        if leadership.id != leader {
            return Err(no_leader(self.replica(), Duration::ZERO));
        }
        let held = self.held_since(&leadership);
        Ok(leadership.is_alone() || held.is_some_and(|held| held > begun))
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
