//! What a replica that does not run has of its group, and how it goes on alone when the majority is lost for good.
//!
//! Raft has no step for this: without a majority nothing can be known to be committed. The forced step takes
//! all that the survivor's log has for committed and appends one entry behind it, which says that the survivor
//! alone is the group. Opened again, the replica elects itself, applies everything and takes writes; others join as usual.
//!
//! # What it costs
//!
//! Entries that a majority had and the survivor had not yet received are gone, though they were acknowledged. Entries that
//! no majority had, whose writers were told "unknown", may take effect.
//!
//! # Rules
//!
//! * Of several survivors the one with the greatest last entry goes on, by term and index: it has everything
//!   that any of them ever applied.
//! * Who was given up must never speak to the survivor again: together they are still a majority of the old group, and
//!   could lead it. [`TcpTransport::refuse`](crate::TcpTransport::refuse) is for that, before any group is opened.

use std::collections::BTreeSet;

use lsm::log::{Entry, Log, Vote};

use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, LeaderId, LogId, NodeId, ReplicaId};
use crate::membership::{Membership, StoredMembership};
use crate::payload::Payload;
use crate::recovery::{self, Start};
use crate::state_machine::Applied;

/// Payload bytes that are read at once.
const READ_BYTES: usize = 1024 * 1024;

/// A replica on the log of a host that does not run.
#[derive(Clone, Debug)]
pub struct Survivor {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// The newest members that its log names.
    pub membership: Membership,
    /// Its last entry.
    pub last: Option<LogId>,
    /// When the last commands that are in its log were proposed, in microseconds since the epoch.
    pub proposed_us: Option<u64>,
    /// The last entry of its durable state.
    applied: Option<LogId>,
}

/// What the loss of some nodes means to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The others are a majority; the group goes on by itself.
    MajorityLives,
    /// Of the voters this replica alone is left.
    Alone,
    /// This one is left and so are these, together no majority.
    Few(BTreeSet<ReplicaId>),
    /// This replica does not vote: it may lack anything.
    NoVoter,
}

impl Survivor {
    /// Reads what the log has of a group whose state machine has made `applied` durable. `None`: nothing.
    ///
    /// Blocks on the disk. Errors as for opening the group: log and state must belong together.
    pub fn read(log: &Log, group: GroupId, applied: &Applied) -> Result<Option<Self>> {
        let state = log.state(group);
        let replica = ReplicaId(state.owner);
        if recovery::check(log, (group, replica), applied.id, Start::Join)? {
            return Ok(None);
        }
        let durable = applied.id.max(state.purged);
        let mut survivor = Self {
            group,
            replica,
            membership: StoredMembership::decode(applied.membership.clone())?.membership,
            last: state.last.max(durable),
            proposed_us: None,
            applied: applied.id,
        };
        let first = state.purged.map_or(0, |purged| purged.index + 1);
        let end = state.last.map_or(0, |last| last.index + 1);
        survivor.scan(log, first, end)?;
        Ok(Some(survivor))
    }

    fn scan(&mut self, log: &Log, first: u64, end: u64) -> Result<()> {
        let mut next = first;
        while next < end {
            let entries = log
                .read(self.group, next..end, READ_BYTES)
                .map_err(|source| Error::from_log("read", source))?;
            let Some(last) = entries.last() else { break };
            next = last.id.index + 1;
            for entry in entries {
                match Payload::decode(entry.payload)? {
                    Payload::Batch { proposed_us, .. } => self.proposed_us = Some(proposed_us),
                    // What is applied already is in the state's membership, or was replaced by it.
                    Payload::Membership(membership) if Some(entry.id) > self.applied => {
                        self.membership = membership;
                    }
                    Payload::Membership(_) | Payload::Blank => {}
                }
            }
        }
        Ok(())
    }

    /// What the loss of these nodes means to the group.
    pub fn loss(&self, lost: &BTreeSet<NodeId>) -> Loss {
        if !self.membership.is_voter(self.replica) {
            return Loss::NoVoter;
        }
        let sets = &self.membership.voters;
        let lives = |replica: &&ReplicaId| !lost.contains(&replica.node());
        let has_majority =
            |set: &BTreeSet<ReplicaId>| set.iter().filter(lives).count() * 2 > set.len();
        if sets.iter().all(has_majority) {
            return Loss::MajorityLives;
        }
        let living = sets.iter().flatten().filter(lives);
        let others: BTreeSet<ReplicaId> =
            living.filter(|it| **it != self.replica).copied().collect();
        if others.is_empty() {
            Loss::Alone
        } else {
            Loss::Few(others)
        }
    }

    /// Makes this replica the only member of its group. Durable when this returns; blocks on the disk.
    ///
    /// Fails with [`Invalid`](ErrorKind::Invalid) for a replica that does not vote.
    pub fn make_alone(&self, log: &Log) -> Result<()> {
        if !self.membership.is_voter(self.replica) {
            let message = format!(
                "replica {} does not vote in raft group {}: it may lack anything",
                self.replica, self.group.0
            );
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let failed = |source| Error::from_log("recovery of a group", source);
        let state = log.state(self.group);
        let last = self.last.unwrap_or_default();
        let voted = state.vote.map_or(0, |vote| vote.leader.term);
        let leader = LeaderId {
            term: voted.max(last.leader.term) + 1,
            node: self.replica.0,
        };
        if state.last.is_none_or(|own| own.index < last.index) {
            // A raft snapshot was installed, and the power failed before the log had heard of it.
            log.purge(self.group, last).map_err(failed)?;
        }
        let vote = Vote {
            leader,
            committed: false,
        };
        // Their outcome is that of the commit.
        log.save_vote(self.group, vote, Box::new(drop))
            .map_err(failed)?;
        let alone = Payload::Membership(Membership::single(self.replica)).encode()?;
        let entry = Entry {
            id: LogId {
                leader,
                index: last.index + 1,
            },
            payload: alone,
        };
        log.append_durable(self.group, vec![entry]).map_err(failed)
    }
}
