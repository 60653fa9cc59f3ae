//! What a group's owner gives: the state that commands change.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use lsm::vfs::Vfs;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{LeaderId, LogId, ReplicaId};
use crate::membership::{Membership, StoredMembership};

/// How far the durable state of a state machine reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry whose effects are durable; `None` for an empty state machine.
    pub id: Option<LogId>,
    /// The bytes last given to [`StateMachine::apply_membership`] at or before `id`; empty if none.
    pub membership: Bytes,
}

impl Applied {
    /// What the replicas of a new group have in common before its first entry, when they do not begin
    /// empty: entries begin behind `index`, and `voters` are the members. Each replica is opened with
    /// [`Host::join_group`](crate::Host::join_group) on its copy of that state. One that has no copy
    /// joins empty and is sent the state.
    ///
    /// Safe because every member that may be elected knows the members, and so has the state.
    pub fn seed(index: u64, voters: BTreeSet<ReplicaId>) -> Result<Self> {
        let id = LogId {
            leader: LeaderId::default(),
            index,
        };
        let membership = Membership {
            voters: vec![voters],
            learners: BTreeSet::new(),
        };
        let stored = StoredMembership {
            id: Some(id),
            membership,
        };
        Ok(Self {
            id: Some(id),
            membership: stored.encode()?,
        })
    }
}

/// Where the files of raft snapshots lie: those that are being sent, and those that are received.
///
/// The directory belongs to raft, which makes its parts and empties them when the group is opened.
/// It is on the file system of the state, so that files come and go by hard link.
#[derive(Clone)]
pub struct SnapshotDirs {
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// The directory.
    pub dir: PathBuf,
}

impl fmt::Debug for SnapshotDirs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SnapshotDirs").field(&self.dir).finish()
    }
}

/// One committed entry: the commands that were proposed together, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBatch {
    /// Where the entry stands in the raft log.
    pub id: LogId,
    /// The proposing leader's hybrid clock, in microseconds since the Unix epoch. Grows with the
    /// log under one leader; after a change of leader it may lag behind by their clocks' skew.
    pub proposed_us: u64,
    /// The commands, at least one.
    pub commands: Vec<Bytes>,
}

/// The state that a group's commands change. One per group and replica.
///
/// # Rules
///
/// * `apply` is deterministic: what it does depends on the batch and on earlier entries only.
/// * Entries come in log order, each index once per life of the process. After a restart they
///   come again from the one after [`StateMachine::applied`].
/// * An error stops the group (and is reported by [`Host::failed`](crate::Host::failed)): a replica
///   that cannot apply what the others applied must not go on. A command that is *refused* is not
///   an error but a response.
/// * The methods are called by one task at a time. They must not wait for the group's own progress.
/// * Entries are applied on a thread of the runtime. An `apply` that may wait for the disk or for another
///   thread does so in [`blocking`](crate::blocking); raft snapshots are made and installed in it anyway.
pub trait StateMachine: Send + 'static {
    /// How far the durable state reaches. Called once, before anything is applied.
    fn applied(&self) -> Applied;

    /// Applies one batch and returns one response per command, in order.
    fn apply(&mut self, batch: CommittedBatch) -> Result<Vec<Bytes>>;

    /// What the batch has to wait for where no thread may wait ([`may_block`](crate::may_block)); not asked
    /// elsewhere. `None`, as without this method: nothing.
    fn before(&self, batch: &CommittedBatch) -> Option<BoxFuture<'static, Result<()>>> {
        let _ = batch;
        None
    }

    /// Takes note of the membership as of `id`. The bytes belong into the same durable edit as the
    /// state of this index ([`Applied::membership`]); to decode them is not needed.
    fn apply_membership(&mut self, id: LogId, membership: Bytes) -> Result<()>;

    /// Takes note of an entry without content, which a new leader writes.
    fn apply_blank(&mut self, id: LogId) -> Result<()>;

    /// Where raft snapshots lie; always the same. `None`, as without this method: a replica of this
    /// group cannot be sent, and one that is too far behind stays behind.
    fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        None
    }

    /// Puts all that is durable into the empty directory `dir`, as files that never change again
    /// (hard links), and tells what is in them. Their names have letters, digits, dots, dashes and
    /// underscores, and begin with no dot.
    ///
    /// An error is reported and tried again; it does not stop the group.
    fn make_snapshot(&mut self, dir: &Path) -> Result<Applied> {
        Err(no_snapshots(dir))
    }

    /// Makes the state what another replica's `make_snapshot` has put into `dir`, and tells what that
    /// is. Raft removes what is left of the files.
    ///
    /// A crash at any point leaves the old state or the new one. Damaged files are an error, which
    /// stops the group, and leave the old one.
    fn install_snapshot(&mut self, dir: &Path) -> Result<Applied> {
        Err(no_snapshots(dir))
    }
}

fn no_snapshots(dir: &Path) -> Error {
    let message = format!("no raft snapshots of this state in {}", dir.display());
    Error::new(ErrorKind::Unavailable, message)
}
