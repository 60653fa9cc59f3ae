//! Changing who belongs to a group, and who leads it.
//!
//! A replica joins in steps: its host opens it empty ([`Host::join_group`](crate::Host::join_group)),
//! the leader adds it as a learner and waits until it has caught up, then it is made a voter. Only
//! then does the group count on it, so a replica that is slow to arrive never costs availability.
//! A change of voters passes through a joint configuration, in which both the old and the new
//! majority decide.
//!
//! Changes are made by the leader, one at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, PreconditionFailed, RaftError};
use openraft::raft::{ClientWriteResponse, Precondition};

use crate::batcher::{no_leader, not_leader};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Group, leader};
use crate::id::ReplicaId;
use crate::types::{Types, from_raft_membership};

/// What becomes of voters that a change does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    /// They go on as learners.
    Learns,
    /// They are members no more.
    Leaves,
}

impl Group {
    /// Adds a replica that receives entries and does not vote, and waits until it has caught up.
    ///
    /// Errors: [`NotLeader`](ErrorKind::NotLeader), [`Invalid`](ErrorKind::Invalid) while another
    /// change goes on, [`Unknown`](ErrorKind::Unknown) if it has not caught up within `limit`: it is
    /// a learner then, or soon.
    pub async fn add_learner(&self, replica: ReplicaId, limit: Duration) -> Result<()> {
        let what = format!("replica {replica} has not caught up");
        let adding = async {
            // Not openraft's own wait: to that, a replica that never answered has caught up with a
            // short log.
            let change = ChangeMembers::AddNodes([(replica.0, ())].into());
            let added = self.change(change, Leaving::Learns).await?;
            Ok(self.wait_matched(replica, added.log_id.index).await)
        };
        let added = tokio::time::timeout(limit, adding).await;
        let is_matched = matches!(added, Ok(Ok(true)));
        self.outcome(added.map(|added| added.map(drop)), &what, limit)?;
        if is_matched {
            return Ok(());
        }
        let leader = self.metrics().borrow_watched().current_leader;
        let other = leader.filter(|leader| *leader != self.replica().id.0);
        Err(match other {
            Some(leader) => not_leader(self.replica(), ReplicaId(leader)),
            None => no_leader(self.replica(), Duration::ZERO),
        })
    }

    /// Waits until entry `index` is durable on `replica`; `false` when this one leads no more.
    async fn wait_matched(&self, replica: ReplicaId, index: u64) -> bool {
        let mut metrics = self.metrics().clone();
        let reached = metrics.wait_until(|metrics| {
            let Some(progress) = &metrics.replication else {
                return true;
            };
            let matched = progress.get(&replica.0).copied().flatten();
            matched.is_some_and(|matched| matched.index >= index)
        });
        reached
            .await
            .is_ok_and(|metrics| metrics.replication.is_some())
    }

    /// Makes `voters` the voters; who voted before and is not among them leaves the group.
    ///
    /// Every new voter should be a learner that has caught up. Errors as for
    /// [`Group::add_learner`]; after [`Unknown`](ErrorKind::Unknown) ask again with the same voters.
    pub async fn change_voters(&self, voters: &BTreeSet<ReplicaId>, limit: Duration) -> Result<()> {
        if voters.is_empty() {
            let message = "a raft group needs at least one voter";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let voters: BTreeSet<u64> = voters.iter().map(|replica| replica.0).collect();
        let change = ChangeMembers::ReplaceAllVoters(voters);
        let changing = self.change(change, Leaving::Leaves);
        let changed = tokio::time::timeout(limit, changing).await;
        let what = "the change of voters is not committed";
        self.outcome(changed.map(|changed| changed.map(drop)), what, limit)
    }

    /// Takes learners out of the group; who votes stays.
    ///
    /// Errors as for [`Group::change_voters`].
    pub async fn remove_learners(
        &self,
        learners: &BTreeSet<ReplicaId>,
        limit: Duration,
    ) -> Result<()> {
        let learners = learners.iter().map(|replica| replica.0).collect();
        let change = ChangeMembers::RemoveNodes(learners);
        let changing = self.change(change, Leaving::Leaves);
        let changed = tokio::time::timeout(limit, changing).await;
        let what = "the removal of learners is not committed";
        self.outcome(changed.map(|changed| changed.map(drop)), what, limit)
    }

    /// Asks openraft for a change, on the condition that this replica is a member.
    ///
    /// A leader that has taken itself out goes on leading for a moment, until it has handed over. openraft would take a
    /// change from it then, and appends it as a leader while its own rules say that it is none
    /// (`ReplicationHandler::append_membership`, an assertion in builds that have them). Whoever leads next makes the change.
    async fn change(
        &self,
        change: ChangeMembers<u64, ()>,
        leaving: Leaving,
    ) -> std::result::Result<ClientWriteResponse<Types>, RaftError<Types, ClientWriteError<Types>>>
    {
        let own = self.replica().id.0;
        let retain = leaving == Leaving::Learns;
        let mut metrics = self.metrics().clone();
        loop {
            let known = Arc::clone(&metrics.borrow_watched().membership_config);
            if !from_raft_membership(known.membership()).contains(self.replica().id) {
                let leader = metrics.borrow_watched().current_leader;
                let other = leader.filter(|leader| *leader != own);
                let forward = other.map_or_else(ForwardToLeader::empty, |other| {
                    ForwardToLeader::new(other, ())
                });
                return Err(RaftError::APIError(forward.into()));
            }
            let known = *known.log_id();
            let condition = Precondition::LastMembershipLogId {
                last_membership_log_id: known,
            };
            let changing = self
                .raft()
                .change_membership_if(change.clone(), retain, [condition]);
            match changing.await {
                // Somebody changed them before, or the metrics are behind what this task was told of.
                Err(RaftError::APIError(ClientWriteError::PreconditionFailed(
                    PreconditionFailed::LastMembershipLogIdMismatch { expected, .. },
                ))) if expected == known => {
                    let other = metrics.wait_until(|it| *it.membership_config.log_id() != known);
                    drop(other.await);
                }
                outcome => return outcome,
            }
        }
    }

    /// Whether a member has answered within `silence` and lacks at most `lag` entries, as this
    /// leader knows. False where this replica does not lead.
    pub fn follows_closely(&self, replica: ReplicaId, silence: Duration, lag: u64) -> bool {
        let metrics = self.metrics().borrow_watched();
        let answered = metrics.heartbeat.as_ref().and_then(|it| it.get(&replica.0));
        let matched = metrics
            .replication
            .as_ref()
            .and_then(|it| it.get(&replica.0));
        let (Some(Some(answered)), Some(Some(matched))) = (answered, matched) else {
            return false;
        };
        let last = metrics.last_log_index.unwrap_or(0);
        answered.into_inner().elapsed() <= silence && matched.index().saturating_add(lag) >= last
    }

    /// Hands the leadership to a voter that has caught up, and waits until it leads.
    ///
    /// The lease is given up first, for good: nobody waits for its end now. Where nobody takes over, the group is without
    /// a leader until somebody is elected.
    ///
    /// Errors: [`NotLeader`](ErrorKind::NotLeader) if this replica does not lead, [`Invalid`](ErrorKind::Invalid) if `to` does not vote,
    /// [`Unknown`](ErrorKind::Unknown) if `to` does not lead within `limit`.
    pub async fn transfer_leader(&self, to: ReplicaId, limit: Duration) -> Result<()> {
        let leader = self.lease()?;
        let members = self.status().membership;
        if !members.is_voter(to) {
            // openraft would stop taking proposals and wait for somebody who cannot be elected.
            let message = format!("replica {to} is no voter of raft group {}", self.id().0);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        self.replica().lease.give_up(leader);
        let stopped = |_| self.replica().stopped();
        let trigger = self.raft().trigger();
        trigger.transfer_leader(to.0).await.map_err(stopped)?;
        self.wait_leader(|leader| leader == Some(to), limit).await
    }

    /// Waits until this replica knows a leader that is asked for.
    pub async fn wait_leader(
        &self,
        is_wanted: impl Fn(Option<ReplicaId>) -> bool + Send + Sync,
        limit: Duration,
    ) -> Result<()> {
        let own = self.replica().id;
        let mut metrics = self.metrics().clone();
        let wanted = metrics.wait_until(|metrics| {
            is_wanted(leader(own, metrics)) || metrics.running_state.is_err()
        });
        match tokio::time::timeout(limit, wanted).await {
            Ok(Ok(metrics)) if metrics.running_state.is_ok() => Ok(()),
            Ok(_) => Err(self.replica().stopped()),
            Err(_) => {
                let group = self.id().0;
                let waited = limit.as_millis();
                let message = format!(
                    "raft group {group}: the leader is not the wanted one after {waited} ms"
                );
                Err(Error::new(ErrorKind::Unknown, message))
            }
        }
    }

    fn outcome(
        &self,
        outcome: std::result::Result<
            std::result::Result<(), RaftError<Types, ClientWriteError<Types>>>,
            tokio::time::error::Elapsed,
        >,
        what: &str,
        limit: Duration,
    ) -> Result<()> {
        let replica = self.replica();
        let group = replica.group.0;
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(RaftError::Fatal(_))) => Err(replica.stopped()),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
                let other = forward.leader_id.filter(|leader| *leader != replica.id.0);
                Err(match other {
                    Some(leader) => not_leader(replica, ReplicaId(leader)),
                    None => no_leader(replica, Duration::ZERO),
                })
            }
            Ok(Err(RaftError::APIError(source))) => {
                let message = format!("raft group {group} cannot change its members now");
                Err(Error::new(ErrorKind::Invalid, message).with_source(source))
            }
            Err(_) => {
                let waited = limit.as_millis();
                let message = format!("raft group {group}: {what} after {waited} ms");
                Err(Error::new(ErrorKind::Unknown, message))
            }
        }
    }
}
