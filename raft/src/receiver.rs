//! The receiving end of a raft snapshot: files into the staging directory, then one install.
//!
//! What has arrived stays when the connection breaks: the leader offers the same raft snapshot again
//! and is told where to go on. It is forgotten when nobody has gone on for [`KEEP`], when another one
//! is offered, and when the process ends.
//!
//! # Invariants
//!
//! * Bytes enter a file in order, each chunk under a digest of the whole file up to its end, so that
//!   what was received in several tries is what the leader has.
//! * Nothing of the state changes before all of it is here and synced. Then the state machine changes
//!   in one step of its own.
//! * A leader whose office is over changes nothing.

use std::fmt;
use std::sync::Arc;

use lsm::vfs::File;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use crate::blocking::blocking;
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::machine::SnapshotContent;
use crate::membership::StoredMembership;
use crate::replica::Replica;
use crate::snapshot::{Bulk, Directory, FileInfo, KEEP};
use crate::state_machine::SnapshotDirs;
use crate::transport::{Response, SnapshotCall, SnapshotName};
use crate::types::{
    Raft, RaftSnapshot, RaftSnapshotMeta, RaftVote, from_raft_vote, to_raft_id, to_raft_stored,
    to_raft_vote,
};

/// A file is synced each time that so many bytes of it were written: the disk has little to do at once, and syncs of
/// the log that come meanwhile wait for that little.
const SYNC_BYTES: usize = 1024 * 1024;

/// Receives the raft snapshots of one replica, one at a time.
pub(crate) struct Receiver {
    replica: Arc<Replica>,
    dirs: Option<SnapshotDirs>,
    bulk: Arc<Bulk>,
    incoming: Mutex<Option<Incoming>>,
}

/// A raft snapshot that is on its way.
struct Incoming {
    name: SnapshotName,
    last: LogId,
    membership: StoredMembership,
    files: Vec<FileInfo>,
    directory: Directory,
    /// Files before this one are complete.
    file: usize,
    /// Bytes of this one that are here, and their digest.
    offset: u64,
    hasher: Xxh3,
    open: Option<Arc<dyn File>>,
    /// Bytes of it that were not synced.
    unsynced: usize,
    installing: Option<JoinHandle<Option<RaftVote>>>,
    used_at: Instant,
    _room: OwnedSemaphorePermit,
}

impl Receiver {
    pub(crate) fn new(
        replica: Arc<Replica>,
        dirs: Option<SnapshotDirs>,
        bulk: Arc<Bulk>,
    ) -> Arc<Self> {
        Arc::new(Self {
            replica,
            dirs,
            bulk,
            incoming: Mutex::new(None),
        })
    }

    /// Answers a call about a raft snapshot.
    pub(crate) async fn take(
        self: &Arc<Self>,
        raft: &Raft,
        name: SnapshotName,
        call: SnapshotCall,
    ) -> Response {
        let own = raft.metrics().borrow_watched().vote;
        if own > to_raft_vote(name.vote) {
            return Response::HigherVote(from_raft_vote(&own));
        }
        let mut incoming = self.incoming.lock().await;
        let outcome = match call {
            SnapshotCall::Offer {
                last,
                membership,
                files,
            } => {
                let membership = StoredMembership::decode(membership);
                membership.and_then(|it| self.offer(&mut incoming, name, (last, it, files)))
            }
            SnapshotCall::Chunk {
                file,
                offset,
                digest,
                bytes,
            } => named(&mut incoming, name).and_then(|it| it.write((file, offset), &bytes, digest)),
            SnapshotCall::Install => self.install(raft, &mut incoming, name).await,
        };
        outcome.unwrap_or_else(|error| {
            if error.kind() == ErrorKind::Io {
                // The disk is full, perhaps: give back what this took of it.
                forget(&mut incoming);
            }
            Response::Refused(ErrorKind::Unavailable, error.to_string())
        })
    }

    /// Whether this replica has applied so much already.
    fn has(&self, last: LogId) -> bool {
        *self.replica.applied.borrow() >= last.index
    }

    fn offer(
        self: &Arc<Self>,
        incoming: &mut Option<Incoming>,
        name: SnapshotName,
        (last, membership, files): (LogId, StoredMembership, Vec<FileInfo>),
    ) -> Result<Response> {
        if self.has(last) {
            return Ok(Response::Success);
        }
        if let Some(known) = incoming {
            if known.name == name {
                known.used_at = clock::instant();
                return Ok(known.received());
            }
            if known
                .installing
                .as_ref()
                .is_some_and(|it| !it.is_finished())
            {
                return Err(unavailable("another raft snapshot is being installed"));
            }
        }
        forget(incoming);
        let Some(dirs) = &self.dirs else {
            return Err(unavailable("this replica takes no raft snapshots"));
        };
        let receiving = Arc::clone(&self.bulk.receiving);
        let room = receiving
            .try_acquire_owned()
            .map_err(|_| unavailable("too many raft snapshots are being received here"))?;
        let directory = dirs.incoming();
        blocking(|| directory.clear()).map_err(broken)?;
        let begun = incoming.insert(Incoming {
            name,
            last,
            membership,
            files,
            directory,
            file: 0,
            offset: 0,
            hasher: Xxh3::new(),
            open: None,
            unsynced: 0,
            installing: None,
            used_at: clock::instant(),
            _room: room,
        });
        blocking(|| begun.advance())?;
        let answer = begun.received();
        tokio::spawn(forget_when_idle(Arc::downgrade(self), name));
        Ok(answer)
    }

    /// Begins to install, tells whether it goes on, and what became of it.
    async fn install(
        &self,
        raft: &Raft,
        incoming: &mut Option<Incoming>,
        name: SnapshotName,
    ) -> Result<Response> {
        let it = named(incoming, name)?;
        if it.file < it.files.len() {
            return Ok(it.received());
        }
        let Some(installing) = &mut it.installing else {
            blocking(|| it.directory.vfs.sync_dir(&it.directory.path)).map_err(broken)?;
            let meta = RaftSnapshotMeta {
                last_log_id: Some(to_raft_id(it.last)),
                last_membership: to_raft_stored(&it.membership)?,
            };
            let snapshot = RaftSnapshot {
                meta,
                snapshot: SnapshotContent::Staged(it.directory.path.clone()),
            };
            let (raft, vote) = (raft.clone(), to_raft_vote(name.vote));
            it.installing = Some(tokio::spawn(async move {
                let installed = raft.install_full_snapshot(vote, snapshot).await;
                installed.ok().map(|answer| answer.vote)
            }));
            return Ok(it.received());
        };
        if !installing.is_finished() {
            return Ok(it.received());
        }
        let vote = installing.await.ok().flatten();
        forget(incoming);
        let Some(vote) = vote else {
            return Err(unavailable(
                "the group stopped while it installed a raft snapshot",
            ));
        };
        if vote > to_raft_vote(name.vote) {
            return Ok(Response::HigherVote(from_raft_vote(&vote)));
        }
        Ok(Response::Success)
    }
}

/// Gives up a raft snapshot that its leader does not go on with.
async fn forget_when_idle(receiver: std::sync::Weak<Receiver>, name: SnapshotName) {
    loop {
        tokio::time::sleep(KEEP / 4).await;
        let Some(receiver) = receiver.upgrade() else {
            return;
        };
        let mut incoming = receiver.incoming.lock().await;
        let Some(it) = incoming.as_ref().filter(|it| it.name == name) else {
            return;
        };
        if it.installing.is_none() && clock::instant() >= it.used_at + KEEP {
            return forget(&mut incoming);
        }
    }
}

/// Drops what was received, and its files.
fn forget(incoming: &mut Option<Incoming>) {
    blocking(|| drop(incoming.take()));
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Err(error) = self.directory.clear() {
            let path = self.directory.path.display();
            tracing::warn!(%path, %error, "cannot remove what was received of a raft snapshot");
        }
    }
}

fn named(incoming: &mut Option<Incoming>, name: SnapshotName) -> Result<&mut Incoming> {
    let found = incoming.as_mut().filter(|it| it.name == name);
    let it = found.ok_or_else(|| unavailable("this raft snapshot is not being received here"))?;
    it.used_at = clock::instant();
    Ok(it)
}

impl Incoming {
    /// Where the leader is to go on.
    fn received(&self) -> Response {
        Response::Received {
            file: u32::try_from(self.file).unwrap_or(u32::MAX),
            offset: self.offset,
        }
    }

    fn write(&mut self, (file, offset): (u32, u64), bytes: &[u8], digest: u64) -> Result<Response> {
        let is_next = usize::try_from(file) == Ok(self.file) && offset == self.offset;
        let (Some(info), true) = (self.files.get(self.file), is_next) else {
            return Ok(self.received());
        };
        let end = offset.saturating_add(bytes.len() as u64);
        let Some(open) = self.open.as_ref().filter(|_| end <= info.bytes) else {
            return Err(unavailable("a chunk goes beyond the end of its file"));
        };
        self.hasher.update(bytes);
        if self.hasher.digest() != digest {
            tracing::warn!(
                file = info.name,
                offset,
                "a chunk of a raft snapshot does not match its digest"
            );
            self.offset = 0;
            self.hasher.reset();
            return Ok(self.received());
        }
        self.unsynced += bytes.len();
        // The end of the file is synced when it is closed.
        let is_due = self.unsynced >= SYNC_BYTES && end < info.bytes;
        let written = blocking(|| {
            open.write_at(bytes, offset)?;
            if is_due { open.sync_data() } else { Ok(()) }
        });
        written.map_err(broken)?;
        if is_due {
            self.unsynced = 0;
        }
        self.offset = end;
        blocking(|| self.advance())?;
        Ok(self.received())
    }

    /// Closes the file if it is complete, and makes the next one.
    fn advance(&mut self) -> Result<()> {
        while let Some(info) = self.files.get(self.file) {
            if self.open.is_none() {
                let path = self.directory.path.join(&info.name);
                self.open = Some(self.directory.vfs.create(&path).map_err(broken)?);
            }
            if self.offset < info.bytes {
                return Ok(());
            }
            if let Some(complete) = self.open.take() {
                complete.sync_data().map_err(broken)?;
                self.unsynced = 0;
            }
            self.file += 1;
            self.offset = 0;
            self.hasher.reset();
        }
        Ok(())
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message)
}

fn broken(source: lsm::Error) -> Error {
    let message = "a raft snapshot cannot be written here";
    Error::new(ErrorKind::Io, message).with_source(source)
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.replica).finish()
    }
}
