//! The state of one replica that its parts share: log access, applied position, durable point, fate.
//!
//! # Invariants
//!
//! * The applied position moves before the responses of that entry go out, so whoever has seen a
//!   response also sees its effects.
//! * After a restart no vote is given away that a leader's lease counts on.
//! * A failure is set once and never cleared; it stops the group.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use lsm::log::{Log, Vote};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::{self, Clock};
use crate::error::{Error, ErrorKind};
use crate::failure::Failure;
use crate::freshness::Freshness;
use crate::history::History;
use crate::id::{GroupId, LogId, ReplicaId};
use crate::lease::Lease;
use crate::log_driver::Kick;
use crate::membership::StoredMembership;
use crate::pulse::Heard;
use crate::snapshot::Outbox;
use crate::stages::Stages;

/// What openraft calls the snapshot: how far the durable state reaches, and the membership there.
#[derive(Clone, Debug, Default)]
pub(crate) struct DurablePoint {
    pub(crate) id: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// One replica of one group, as its adapters, batcher and keeper see it.
pub(crate) struct Replica {
    pub(crate) group: GroupId,
    pub(crate) id: ReplicaId,
    pub(crate) log: Log,
    pub(crate) kick: Kick,
    pub(crate) clock: Clock,
    pub(crate) history: Mutex<History>,
    pub(crate) durable: Mutex<DurablePoint>,
    /// Index of the last applied entry; 0 before the first.
    pub(crate) applied: watch::Sender<u64>,
    /// When a leader was heard.
    pub(crate) heard: Heard,
    /// How old what it has applied may be.
    pub(crate) freshness: Freshness,
    /// Who follows it, where it leads.
    pub(crate) lease: Lease,
    /// Until then its vote is promised to a leader of before the restart.
    promised_until: Option<Instant>,
    /// Raft snapshots for other members.
    pub(crate) outbox: Outbox,
    /// Where the time goes, on this host.
    pub(crate) stages: Arc<Stages>,
    is_open: AtomicBool,
    failure: OnceLock<Error>,
    host_failure: watch::Sender<Option<Failure>>,
}

/// What a replica is made of.
pub(crate) struct ReplicaParts {
    pub(crate) group: GroupId,
    pub(crate) id: ReplicaId,
    pub(crate) log: Log,
    pub(crate) kick: Kick,
    pub(crate) clock: Clock,
    pub(crate) durable: DurablePoint,
    pub(crate) outbox: Outbox,
    pub(crate) lease_length: Duration,
    pub(crate) stages: Arc<Stages>,
    pub(crate) host_failure: watch::Sender<Option<Failure>>,
}

impl Replica {
    pub(crate) fn new(parts: ReplicaParts) -> Arc<Self> {
        let ReplicaParts {
            group,
            id,
            log,
            kick,
            clock,
            durable,
            outbox,
            lease_length,
            stages,
            host_failure,
        } = parts;
        let history = History::new(durable.id, durable.membership.clone());
        let applied = watch::Sender::new(durable.id.map_or(0, |last| last.index));
        let heard = Heard::default();
        let followed = |vote: Vote| vote.committed && vote.leader.node != id.0;
        let promised = log.state(group).vote.is_some_and(followed);
        let promised_until = promised.then(|| heard.began() + lease_length);
        Arc::new(Self {
            group,
            id,
            log,
            kick,
            clock,
            history: Mutex::new(history),
            durable: Mutex::new(durable),
            applied,
            heard,
            freshness: Freshness::default(),
            lease: Lease::default(),
            promised_until,
            outbox,
            stages,
            is_open: AtomicBool::new(false),
            failure: OnceLock::new(),
            host_failure,
        })
    }

    /// Entry `id` has been applied: moves the position that readers wait for.
    pub(crate) fn advance(&self, id: LogId) {
        self.history.lock().advance(id);
        self.applied.send_replace(id.index);
    }

    /// A raft snapshot of another member has taken the place of the state.
    pub(crate) fn restart_at(&self, id: LogId, membership: StoredMembership) {
        *self.durable.lock() = DurablePoint {
            id: Some(id),
            membership: membership.clone(),
        };
        *self.history.lock() = History::new(Some(id), membership);
        self.applied.send_replace(id.index);
    }

    /// Whether this replica may not vote for another one yet: in its life before, it followed a leader
    /// whose lease counts on its loyalty for that long, and openraft forgets that with a restart.
    pub(crate) fn is_promised(&self) -> bool {
        self.promised_until
            .is_some_and(|until| clock::instant() < until)
    }

    /// openraft has recovered the replica and runs.
    pub(crate) fn set_open(&self) {
        self.is_open.store(true, Ordering::Release);
    }

    /// Whether [`Replica::set_open`] was called.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// The group cannot go on. Kept for later callers and reported to whoever watches the host.
    pub(crate) fn fail(&self, error: Error) {
        if self.failure.set(error.clone()).is_err() {
            return;
        }
        let group = self.group.0;
        tracing::error!(group, kind = ?error.kind(), error = ?error, "raft group stopped");
        Failure {
            group: Some(self.group),
            error,
        }
        .report(&self.host_failure);
    }

    /// Marks the group as stopped by a failure that others have reported already.
    pub(crate) fn adopt_failure(&self, error: &Error) {
        // Only the first failure counts; a later one is its consequence.
        self.failure.get_or_init(|| error.clone());
    }

    /// Why the group is stopped, if a failure stopped it.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.get().cloned()
    }

    /// The error of a call that never reached the group because it is stopped. Nothing was done.
    pub(crate) fn stopped(&self) -> Error {
        self.failure().unwrap_or_else(|| {
            Error::new(
                ErrorKind::Closed,
                format!("raft group {} is stopped", self.group.0),
            )
        })
    }

    /// The error of a proposal that may or may not happen.
    pub(crate) fn unknown(&self, why: &str) -> Error {
        let message = format!(
            "proposal to raft group {}: outcome unknown, {why}",
            self.group.0
        );
        let error = Error::new(ErrorKind::Unknown, message);
        match self.failure() {
            Some(cause) => error.with_source(cause),
            None => error,
        }
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("group", &self.group)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
