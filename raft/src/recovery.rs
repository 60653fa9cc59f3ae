//! What a host makes of a group's log before openraft sees it: whose it is, and whether it fits the
//! state machine; how a log is claimed for a new replica or given back; and how a group of one member
//! comes to lead.
//!
//! # Invariants
//!
//! * The shared log says whose a group's log is ([`lsm::log::Log::reset`]). A replica is opened on its
//!   own log or on an empty one that it has claimed durably, never on what another one left: votes and
//!   acknowledgements of the other are not its promises.

use std::collections::BTreeSet;

use lsm::log::Log;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::group::Group;
use crate::guard::ReadPolicy;
use crate::id::{GroupId, LeaderId, LogId, ReplicaId};
use crate::log_driver::Kick;
use crate::membership::Membership;
use crate::types::{from_raft_membership, to_raft_membership};

/// What to do with a group that has nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Make it a group of this replica alone.
    Bootstrap,
    /// Say that it does not exist.
    Existing,
    /// Wait for its members.
    Join,
}

/// Nobody's log.
const NOBODY: u64 = 0;

/// Checks that the log of a group belongs to `replica` and fits the state machine, which has made
/// everything up to `applied` durable. `true`: there is no log yet, and it has to be claimed.
pub(crate) fn check(
    log: &Log,
    (group, replica): (GroupId, ReplicaId),
    applied: Option<LogId>,
    start: Start,
) -> Result<bool> {
    let state = log.state(group);
    let is_known = state.owner != NOBODY || state.vote.is_some() || state.last.is_some();
    if is_known && state.owner != replica.0 {
        let other = ReplicaId(state.owner);
        let message = format!(
            "raft group {} has the log of replica {other} here, not of {replica}: destroy the group here first",
            group.0
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let is_empty = state.last.is_none() && state.vote.is_none();
    if is_empty && applied.is_none() && start == Start::Existing {
        let message = format!("raft group {} does not exist here", group.0);
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    // A raft snapshot that was installed just before a crash is ahead of its own log. That log has at
    // least the vote of the leader that sent it.
    // A new group that was seeded has neither until its first election.
    if let Some(applied) = applied.filter(|applied| applied.leader != LeaderId::default())
        && state.vote.is_none()
        && state.last.is_none_or(|last| last.index < applied.index)
    {
        let last = name(state.last);
        return Err(Error::corrupt(format!(
            "raft group {}: the state machine has applied entry {}, the shared log ends at {last}; \
             the log was lost or replaced",
            group.0, applied.index
        )));
    }
    if let Some(purged) = state.purged
        && applied.is_none_or(|applied| applied.index < purged.index)
    {
        return Err(Error::corrupt(format!(
            "raft group {}: the shared log is purged up to entry {}, the state machine has applied {}; \
             its directory was lost or replaced",
            group.0,
            purged.index,
            name(applied)
        )));
    }
    Ok(!is_known)
}

fn name(id: Option<LogId>) -> String {
    id.map_or_else(|| "nothing".to_owned(), |id| id.index.to_string())
}

/// Makes the empty log of a group that of `replica`; durable when this returns.
pub(crate) async fn claim(
    log: &Log,
    kick: &Kick,
    (group, replica): (GroupId, ReplicaId),
) -> Result<()> {
    reset(log, kick, group, replica.0).await
}

/// Gives the log of a group back, if there is one; durable when this returns.
pub(crate) async fn give_back(log: &Log, kick: &Kick, group: GroupId) -> Result<()> {
    if log.state(group) == lsm::log::GroupState::default() {
        return Ok(());
    }
    reset(log, kick, group, NOBODY).await
}

async fn reset(log: &Log, kick: &Kick, group: GroupId, owner: u64) -> Result<()> {
    let failed = |source| Error::from_log("reset of a group", source);
    let (done, outcome) = oneshot::channel();
    // Nobody waits any more when the caller has given up.
    let told = Box::new(move |outcome| drop(done.send(outcome)));
    log.reset(group, owner, told).map_err(failed)?;
    kick.kick();
    outcome
        .await
        .unwrap_or_else(|_| {
            let message = "the shared log was closed before a group was reset in it";
            Err(lsm::Error::closed(message))
        })
        .map_err(failed)
}

/// Brings a recovered group of one member to lead, and waits until all is applied. Other groups
/// find their leader by themselves.
pub(crate) async fn lead(group: &Group, start: Start) -> Result<()> {
    let (raft, replica) = (group.raft(), group.replica());
    let stopped = |_| replica.stopped();
    let initialized = raft.is_initialized().await.map_err(stopped)?;
    if !initialized && start == Start::Bootstrap {
        let members = to_raft_membership(&Membership::single(replica.id))?;
        let voters: BTreeSet<u64> = members.voter_ids().collect();
        raft.initialize(voters).await.map_err(|source| {
            let message = format!("raft group {} cannot be bootstrapped", replica.group.0);
            replica
                .failure()
                .unwrap_or_else(|| Error::new(ErrorKind::Bug, message).with_source(source))
        })?;
    }
    // From the core itself: its metrics follow a moment later.
    let members = raft
        .with_raft_state(|state| {
            from_raft_membership(state.membership_state.effective().membership())
        })
        .await
        .map_err(stopped)?;
    // The state that a joining replica was sent may be older than the entry that added it.
    if start == Start::Join && !members.contains(replica.id) {
        return Ok(());
    }
    if !members.contains(replica.id) {
        let message = format!(
            "raft group {} has the members {members:?} and not this host's replica, {}: it was removed, or \
             the host has another name than the one that made the group",
            replica.group.0, replica.id
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    if !members.is_single(replica.id) {
        return Ok(());
    }
    raft.trigger().elect(false).await.map_err(stopped)?;
    let mut metrics = group.metrics().clone();
    metrics
        .wait_until(|metrics| metrics.state.is_leader() || metrics.running_state.is_err())
        .await
        .map_err(|_| replica.stopped())?;
    // Confirm applies it only after the read; here the guard is the wait itself.
    group.read_guard(ReadPolicy::ReadIndex).await?.confirm()
}
