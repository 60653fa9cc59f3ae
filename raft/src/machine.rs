//! openraft's state machine over the owner's [`StateMachine`].
//!
//! # Invariants
//!
//! * Every entry that carries a responder gets it answered after it is applied; on an error the
//!   group stops and openraft answers whatever is left.
//! * The applied position moves before the response goes out.
//! * The raft snapshot point is the durable point told by [`Group::flushed`](crate::Group::flushed),
//!   never the applied position: the log is what bridges the two after a restart.
//!
//! # Cost
//!
//! Entries are applied on the thread of the runtime that took them up. Handing its other tasks to another
//! thread first (`block_in_place`) costs more than most entries do, so the owner does that itself, and only
//! when it may wait: see [`crate::blocking`].

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::blocking::{blocking, may_block};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::membership::StoredMembership;
use crate::payload::Payload;
use crate::replica::{DurablePoint, Replica};
use crate::snapshot::Outgoing;
use crate::stages::Stage;
use crate::state_machine::{CommittedBatch, StateMachine};
use crate::types::{
    Encoded, RaftEntry, RaftLogId, RaftSnapshot, RaftSnapshotMeta, RaftStoredMembership, Responses,
    Types, from_raft_id, from_raft_membership, to_raft_id, to_raft_stored,
};

/// The owner's state machine as openraft drives it.
pub(crate) struct Machine {
    replica: Arc<Replica>,
    // The mutex makes it Sync, as openraft asks; it is only ever reached through `get_mut`.
    owner: Mutex<Box<dyn StateMachine>>,
    /// Dropped with the state machine, after it: whoever closes the group waits for that.
    _lives: watch::Sender<()>,
}

/// The content of a raft snapshot.
#[derive(Debug)]
pub(crate) enum SnapshotContent {
    /// Only its point: the state is on disk already.
    Point,
    /// Files that can be sent.
    Outgoing(Arc<Outgoing>),
    /// It could not be made.
    Failed(Error),
    /// Files of another member, all here, in this directory.
    Staged(PathBuf),
}

impl Machine {
    pub(crate) fn new(
        replica: Arc<Replica>,
        owner: Box<dyn StateMachine>,
        lives: watch::Sender<()>,
    ) -> Self {
        Self {
            replica,
            owner: Mutex::new(owner),
            _lives: lives,
        }
    }

    /// Applies one entry and returns the responses to its commands.
    fn apply_entry(&mut self, entry: RaftEntry) -> Result<Responses> {
        let id = from_raft_id(entry.log_id);
        let begun = clock::instant();
        let owner = self.owner.get_mut();
        let each = match entry.payload {
            EntryPayload::Blank => {
                owner.apply_blank(id)?;
                Vec::new()
            }
            EntryPayload::Normal(Encoded(bytes)) => apply_batch(&self.replica, owner, id, bytes)?,
            EntryPayload::Membership(membership) => {
                let membership = from_raft_membership(&membership);
                let stored = StoredMembership {
                    id: Some(id),
                    membership,
                };
                owner.apply_membership(id, stored.encode()?)?;
                self.replica.history.lock().change_membership(stored);
                Vec::new()
            }
        };
        self.replica.advance(id);
        let ended = clock::instant();
        let took = ended.saturating_duration_since(begun);
        self.replica.stages.note(Stage::Applied, took);
        Ok(Responses { each, begun, ended })
    }

    /// Lets the owner wait for what the entry needs, where it must not do so while it applies.
    async fn wait_before(&mut self, entry: &RaftEntry) -> Result<()> {
        let EntryPayload::Normal(Encoded(bytes)) = &entry.payload else {
            return Ok(());
        };
        if may_block() {
            return Ok(());
        }
        let batch = decode_batch(from_raft_id(entry.log_id), bytes.clone())?;
        match batch.and_then(|batch| self.owner.get_mut().before(&batch)) {
            Some(wait) => wait.await,
            None => Ok(()),
        }
    }

    fn apply_caught(&mut self, entry: RaftEntry) -> Result<Responses> {
        let index = entry.log_id.index;
        let apply = AssertUnwindSafe(|| self.apply_entry(entry));
        catch_unwind(apply).unwrap_or_else(|_| {
            let message = format!("the state machine panicked while applying entry {index}");
            Err(Error::new(ErrorKind::Bug, message))
        })
    }

    /// The raft snapshot at its durable point, as openraft asks for it while it opens.
    fn point(&self) -> Result<Option<RaftSnapshot>> {
        let DurablePoint { id, membership } = self.replica.durable.lock().clone();
        let Some(id) = id else { return Ok(None) };
        Ok(Some(snapshot_at(id, &membership, SnapshotContent::Point)?))
    }

    /// A raft snapshot for a member that needs purged entries: the one at hand, or a new one.
    fn outgoing(&mut self) -> Result<Arc<Outgoing>> {
        let replica = Arc::clone(&self.replica);
        let purged = replica.log.state(replica.group).purged;
        if let Some(outgoing) = replica.outbox.current(purged) {
            return Ok(outgoing);
        }
        let owner = self.owner.get_mut();
        blocking(|| {
            replica.outbox.make(|dir| {
                let applied = owner.make_snapshot(dir)?;
                let membership = StoredMembership::decode(applied.membership)?;
                let id = applied.id.ok_or_else(|| {
                    let message = "a raft snapshot was asked for before anything was durable";
                    Error::new(ErrorKind::Unavailable, message)
                })?;
                Ok((id, membership))
            })
        })
    }

    fn install(&mut self, meta: &RaftSnapshotMeta, dir: &Path) -> Result<()> {
        let owner = self.owner.get_mut();
        let install = AssertUnwindSafe(|| owner.install_snapshot(dir));
        let applied = blocking(|| catch_unwind(install)).unwrap_or_else(|_| {
            let message = "the state machine panicked while installing a raft snapshot";
            Err(Error::new(ErrorKind::Bug, message))
        })?;
        let membership = StoredMembership::decode(applied.membership)?;
        let expected = meta.last_log_id.map(from_raft_id);
        let Some(id) = applied.id.filter(|id| Some(*id) == expected) else {
            return Err(Error::corrupt(format!(
                "a raft snapshot of entry {expected:?} holds entry {:?}",
                applied.id
            )));
        };
        self.replica.restart_at(id, membership);
        Ok(())
    }
}

fn snapshot_at(
    id: LogId,
    membership: &StoredMembership,
    snapshot: SnapshotContent,
) -> Result<RaftSnapshot> {
    let meta = RaftSnapshotMeta {
        last_log_id: Some(to_raft_id(id)),
        last_membership: to_raft_stored(membership)?,
    };
    Ok(RaftSnapshot { meta, snapshot })
}

fn apply_batch(
    replica: &Replica,
    owner: &mut Box<dyn StateMachine>,
    id: LogId,
    bytes: Bytes,
) -> Result<Vec<Bytes>> {
    let batch = decode_batch(id, bytes)?.ok_or_else(|| {
        Error::corrupt(format!(
            "raft entry {} is not a batch of commands",
            id.index
        ))
    })?;
    replica.clock.observe(batch.proposed_us);
    let count = batch.commands.len();
    let responses = owner.apply(batch)?;
    if responses.len() == count {
        return Ok(responses);
    }
    let message = format!(
        "the state machine gave {} responses to the {count} commands of entry {}",
        responses.len(),
        id.index
    );
    Err(Error::new(ErrorKind::Bug, message))
}

/// The batch in the payload of entry `id`, or `None` if it carries something else.
pub(crate) fn decode_batch(id: LogId, payload: Bytes) -> Result<Option<CommittedBatch>> {
    Ok(match Payload::decode(payload)? {
        Payload::Batch {
            proposed_us,
            commands,
        } => Some(CommittedBatch {
            id,
            proposed_us,
            commands,
        }),
        Payload::Blank | Payload::Membership(_) => None,
    })
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotContent;
    type SnapshotBuilder = PointBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, RaftStoredMembership)> {
        let history = self.replica.history.lock();
        let stored = to_raft_stored(&history.membership()).map_err(Error::into_io)?;
        Ok((history.last().map(to_raft_id), stored))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = match self.wait_before(&entry).await {
                Ok(()) => self.apply_caught(entry),
                Err(error) => Err(error),
            };
            let responses = applied.map_err(|error| {
                self.replica.fail(error.clone());
                error.into_io()
            })?;
            if let Some(responder) = responder {
                responder.send(responses);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> PointBuilder {
        PointBuilder(self.replica.durable.lock().clone())
    }

    async fn install_snapshot(
        &mut self,
        meta: &RaftSnapshotMeta,
        content: SnapshotContent,
    ) -> io::Result<()> {
        let SnapshotContent::Staged(dir) = content else {
            let message = "a raft snapshot without files cannot be installed";
            return Err(Error::new(ErrorKind::Bug, message).into_io());
        };
        self.install(meta, &dir).map_err(|error| {
            self.replica.fail(error.clone());
            error.into_io()
        })
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        let point = self.point().map_err(Error::into_io)?;
        if !self.replica.is_open() {
            return Ok(point);
        }
        // From here on it is asked for because a member needs it. That it cannot be made now is a
        // matter of the transfer and no reason to stop.
        let made = self.outgoing().and_then(|outgoing| {
            let content = SnapshotContent::Outgoing(Arc::clone(&outgoing));
            snapshot_at(outgoing.id, &outgoing.membership, content)
        });
        Ok(Some(made.unwrap_or_else(|error| {
            let group = self.replica.group.0;
            tracing::warn!(group, error = ?error, "a raft snapshot cannot be made now");
            let meta = point.map(|point| point.meta).unwrap_or_default();
            RaftSnapshot {
                meta,
                snapshot: SnapshotContent::Failed(error),
            }
        })))
    }
}

/// "Builds" the raft snapshot: the state is durable already, so only its point is told.
#[derive(Debug)]
pub(crate) struct PointBuilder(DurablePoint);

impl RaftSnapshotBuilder<Types> for PointBuilder {
    type SnapshotData = SnapshotContent;

    async fn build_snapshot(&mut self) -> io::Result<RaftSnapshot> {
        let Some(id) = self.0.id else {
            let message = "a raft snapshot was asked for before anything was durable";
            return Err(Error::new(ErrorKind::Bug, message).into_io());
        };
        snapshot_at(id, &self.0.membership, SnapshotContent::Point).map_err(Error::into_io)
    }
}
