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
//! The owner's code runs in `block_in_place` where the runtime has several threads, so that a disk
//! read during apply stalls nobody else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::watch;

use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::membership::StoredMembership;
use crate::payload::Payload;
use crate::replica::{DurablePoint, Replica};
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

/// The content of a raft snapshot. Empty: moving it to another member is not built yet.
#[derive(Debug)]
pub(crate) struct SnapshotContent;

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
        let owner = self.owner.get_mut();
        let responses = match entry.payload {
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
                let single = stored.membership.is_single(self.replica.id);
                self.replica.history.lock().change_membership(stored);
                self.replica.single.send_replace(single);
                Vec::new()
            }
        };
        self.replica.advance(id);
        Ok(Responses(responses))
    }

    fn apply_blocking(&mut self, entry: RaftEntry) -> Result<Responses> {
        let index = entry.log_id.index;
        let apply = AssertUnwindSafe(|| self.apply_entry(entry));
        let many = matches!(
            Handle::current().runtime_flavor(),
            RuntimeFlavor::MultiThread
        );
        let outcome = if many {
            tokio::task::block_in_place(|| catch_unwind(apply))
        } else {
            catch_unwind(apply)
        };
        outcome.unwrap_or_else(|_| {
            let message = format!("the state machine panicked while applying entry {index}");
            Err(Error::new(ErrorKind::Bug, message))
        })
    }

    fn snapshot(&self) -> Result<Option<RaftSnapshot>> {
        let DurablePoint { id, membership } = self.replica.durable.lock().clone();
        let Some(id) = id else { return Ok(None) };
        Ok(Some(snapshot_at(id, &membership)?))
    }
}

fn snapshot_at(id: LogId, membership: &StoredMembership) -> Result<RaftSnapshot> {
    let meta = RaftSnapshotMeta {
        last_log_id: Some(to_raft_id(id)),
        last_membership: to_raft_stored(membership)?,
    };
    Ok(RaftSnapshot {
        meta,
        snapshot: SnapshotContent,
    })
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
            let responses = self.apply_blocking(entry).map_err(|error| {
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
        _meta: &RaftSnapshotMeta,
        _content: SnapshotContent,
    ) -> io::Result<()> {
        let message = "installing a raft snapshot of another member is not built yet";
        Err(Error::new(ErrorKind::Unavailable, message).into_io())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<RaftSnapshot>> {
        self.snapshot().map_err(Error::into_io)
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
        snapshot_at(id, &self.0.membership).map_err(Error::into_io)
    }
}
