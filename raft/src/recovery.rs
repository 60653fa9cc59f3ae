//! What a host makes of a group's log before openraft sees it: whose it is, and whether it fits the
//! state machine; and how a log is claimed for a new replica or given back.
//!
//! # Invariants
//!
//! * The shared log says whose a group's log is ([`lsm::log::Log::reset`]). A replica is opened on its
//!   own log or on an empty one that it has claimed durably, never on what another one left: votes and
//!   acknowledgements of the other are not its promises.

use lsm::log::Log;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, LogId, ReplicaId};
use crate::log_driver::Kick;

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
    if let Some(applied) = applied
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
