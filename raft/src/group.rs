//! The handle of one group: propose, read guards, positions, log reads, status.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use tokio::sync::watch;

use crate::batcher::Queue;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, LogId, ReplicaId};
use crate::keeper::Order;
use crate::machine::decode_batch;
use crate::membership::Membership;
use crate::metrics::GroupMetrics;
use crate::pulse::Patience;
use crate::replica::{DurablePoint, Replica};
use crate::state_machine::CommittedBatch;
use crate::types::{Raft, Types, from_raft_id, from_raft_membership};

/// The outcome of a command that is committed, durable and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The entry that carried the command.
    pub index: u64,
    /// The command's place in that entry.
    pub op: u16,
    /// What the state machine answered.
    pub response: Bytes,
}

/// A stretch of the raft log, for catching up a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogRead {
    /// Applied batches in order. Entries without commands are left out.
    Batches {
        /// The batches; empty at the end of what is applied, or if only other entries were read.
        batches: Vec<CommittedBatch>,
        /// Where to read on. Greater than the applied index means: caught up.
        next: u64,
    },
    /// The entries asked for are gone.
    Purged {
        /// The oldest index that can still be read.
        oldest: u64,
    },
}

/// A group at a glance. Positions are of slightly different moments.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The group.
    pub group: GroupId,
    /// This replica of it.
    pub replica: ReplicaId,
    /// The leader that this replica knows of.
    pub leader: Option<ReplicaId>,
    /// The term of this replica's vote.
    pub term: u64,
    /// The members as this replica knows them.
    pub membership: Membership,
    /// The last entry in the log.
    pub last_index: Option<u64>,
    /// The last entry known to be committed.
    pub committed: Option<LogId>,
    /// The last applied entry.
    pub applied: Option<LogId>,
    /// The last entry whose effects the owner called durable.
    pub durable: Option<LogId>,
    /// The last entry that is gone from the log.
    pub purged: Option<LogId>,
    /// Commands that wait in front of the group.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Why the group has stopped, if it has.
    pub failure: Option<Error>,
}

/// One Raft group of this process. Cheap to clone.
#[derive(Clone)]
pub struct Group(Arc<GroupParts>);

/// What a group handle is made of.
pub(crate) struct GroupParts {
    pub(crate) replica: Arc<Replica>,
    pub(crate) raft: Raft,
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: WatchReceiverOf<Types, RaftMetrics<Types>>,
    pub(crate) orders: watch::Sender<Order>,
    pub(crate) patience: Patience,
    pub(crate) proposal_timeout: Duration,
    pub(crate) lease_length: Duration,
}

impl Group {
    pub(crate) fn new(parts: GroupParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The group's id.
    pub fn id(&self) -> GroupId {
        self.0.replica.group
    }

    /// Runs for election now, without waiting for a leader to fall silent: for a new group of which
    /// everybody knows that it has none yet.
    ///
    /// The others are asked first whether they would vote for this replica. One that they would not vote for, because it
    /// lacks entries or they have a leader, disturbs nobody, however often it runs.
    pub async fn campaign(&self) -> Result<()> {
        let asked = self.0.raft.trigger().elect(true).await;
        asked.map_err(|_| self.0.replica.stopped())
    }

    /// Offers `command` to the group and waits until it is committed, durable and applied.
    ///
    /// Dropping the future does not take the command back. Errors: `Invalid` (too large),
    /// `Overloaded`, `NotLeader`, `Unavailable`, `Closed`, `Io`: nothing was done. `Unknown`: it may
    /// or may not be applied, now or later.
    pub async fn propose(&self, command: Bytes) -> Result<Proposed> {
        if let Some(failure) = self.0.replica.failure() {
            return Err(failure);
        }
        let outcome = self.0.queue.push(command)?;
        match tokio::time::timeout(self.0.proposal_timeout, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(self.0.replica.unknown("the group was dropped meanwhile")),
            Err(_) => {
                let waited = self.0.proposal_timeout.as_millis();
                Err(self
                    .0
                    .replica
                    .unknown(&format!("no answer within {waited} ms")))
            }
        }
    }

    /// The index of the last applied entry, as it moves. 0 before the first.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.0.replica.applied.subscribe()
    }

    /// Waits until entry `index` is applied here: a reader that carries the index of its own write
    /// sees that write on any replica.
    pub async fn wait_applied(&self, index: u64, limit: Duration) -> Result<()> {
        let mut applied = self.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.0.replica.stopped()),
            Err(_) => {
                let group = self.id().0;
                let waited = limit.as_millis();
                let message =
                    format!("raft group {group}: entry {index} not applied within {waited} ms");
                Err(Error::new(ErrorKind::Unavailable, message))
            }
        }
    }

    /// The owner's state is durable up to entry `index`; streams still read from `keep_from`.
    ///
    /// Moves the raft snapshot point to `index` and purges the log below both. Returns at once; the
    /// work is done behind. An index that was not applied is refused; one that is older than told
    /// before only moves `keep_from`.
    pub fn flushed(&self, index: u64, keep_from: u64) -> Result<()> {
        let replica = &self.0.replica;
        let mut durable = replica.durable.lock();
        if durable.id.is_none_or(|id| id.index < index) {
            let mut history = replica.history.lock();
            let Some((id, membership)) = history.at(index) else {
                let group = replica.group.0;
                let message = format!("raft group {group}: entry {index} is not applied");
                return Err(Error::new(ErrorKind::Invalid, message));
            };
            history.forget_before(index);
            *durable = DurablePoint {
                id: Some(id),
                membership,
            };
        }
        self.0.orders.send_replace(Order {
            durable: durable.id,
            keep_from,
        });
        Ok(())
    }

    /// Applied batches from entry `from` on, until about `max_bytes` of payload (at least one).
    ///
    /// Blocks for a disk read when the entries are no longer in memory.
    pub fn read_log(&self, from: u64, max_bytes: usize) -> Result<LogRead> {
        let replica = &self.0.replica;
        if let Some(purged) = self.purged_beyond(from) {
            return Ok(purged);
        }
        let last = replica.history.lock().last();
        let end = last.map_or(0, |last| last.index.saturating_add(1));
        if from >= end {
            return Ok(LogRead::Batches {
                batches: Vec::new(),
                next: from,
            });
        }
        let read = replica.log.read(replica.group, from..end, max_bytes);
        // A purge may have come in between.
        if let Some(purged) = self.purged_beyond(from) {
            return Ok(purged);
        }
        let entries = read.map_err(|source| Error::from_log("read", source))?;
        let mut batches = Vec::with_capacity(entries.len());
        let mut next = from;
        for entry in entries {
            next = entry.id.index.saturating_add(1);
            batches.extend(decode_batch(entry.id, entry.payload)?);
        }
        Ok(LogRead::Batches { batches, next })
    }

    /// `Purged` if entry `from` is gone.
    fn purged_beyond(&self, from: u64) -> Option<LogRead> {
        let replica = &self.0.replica;
        let purged = replica.log.state(replica.group).purged?;
        let oldest = purged.index.saturating_add(1);
        (from < oldest).then_some(LogRead::Purged { oldest })
    }

    /// Where the group stands.
    pub fn status(&self) -> GroupStatus {
        let replica = &self.0.replica;
        let applied = replica.history.lock().last();
        let durable = replica.durable.lock().id;
        let state = replica.log.state(replica.group);
        let (queued, queued_bytes) = self.0.queue.waiting();
        let metrics = self.0.metrics.borrow_watched();
        GroupStatus {
            group: replica.group,
            replica: replica.id,
            leader: leader(replica.id, &metrics),
            term: metrics.current_term,
            membership: from_raft_membership(metrics.membership_config.membership()),
            last_index: state.last.map(|last| last.index),
            committed: metrics.local_committed.map(from_raft_id),
            applied,
            durable,
            purged: state.purged,
            queued,
            queued_bytes,
            failure: replica.failure(),
        }
    }

    /// The leader that this replica knows of. Cheap enough for every request, unlike [`Group::status`].
    pub fn leader(&self) -> Option<ReplicaId> {
        let metrics = self.0.metrics.borrow_watched();
        metrics.current_leader.map(ReplicaId)
    }

    /// What was proposed since the process started, and what became of it.
    pub fn counters(&self) -> GroupMetrics {
        self.0.queue.counters.read()
    }

    pub(crate) fn replica(&self) -> &Arc<Replica> {
        &self.0.replica
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.0.raft
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(crate) fn metrics(&self) -> &WatchReceiverOf<Types, RaftMetrics<Types>> {
        &self.0.metrics
    }

    pub(crate) fn patience(&self) -> &Patience {
        &self.0.patience
    }

    pub(crate) fn proposal_timeout(&self) -> Duration {
        self.0.proposal_timeout
    }

    pub(crate) fn lease_length(&self) -> Duration {
        self.0.lease_length
    }
}

/// The leader that openraft knows of, as far as it is one.
///
/// openraft names whoever its vote belongs to. A leader that was removed from its group and restarted has
/// its own vote still, and nobody calls it any more: it would name itself for ever.
pub(crate) fn leader(own: ReplicaId, metrics: &RaftMetrics<Types>) -> Option<ReplicaId> {
    let leader = metrics.current_leader.map(ReplicaId)?;
    (leader != own || metrics.state.is_leader()).then_some(leader)
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.0.replica).finish()
    }
}
