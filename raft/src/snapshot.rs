//! Raft snapshots on this host: the ones that are being sent, and where files lie.
//!
//! A raft snapshot is a directory of files that the state machine has filled, mostly by hard links.
//! It is made when a member needs entries that are purged, serves every member that needs one then,
//! and is removed when nobody has read it for [`KEEP`].
//!
//! # Invariants
//!
//! * While one is being sent the entries after it are not purged, or the member would need another
//!   one as soon as it has this. That holds for [`HostOptions::snapshot_pin_max`] at most: a member
//!   that is slower than that starts again.
//! * What an earlier life of the process left in the directories is removed when the group is opened.
//!
//! [`HostOptions::snapshot_pin_max`]: crate::HostOptions::snapshot_pin_max

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lsm::vfs::{File, Vfs, read_exact_at};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::membership::StoredMembership;
use crate::state_machine::SnapshotDirs;

/// How long a raft snapshot that nobody reads is kept for the next try.
pub(crate) const KEEP: Duration = Duration::from_mins(1);
/// Most files of one raft snapshot.
pub(crate) const FILES_MAX: usize = 32_768;
/// Longest name of a file, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Bytes of a file that travel in one call.
pub(crate) const CHUNK_BYTES: usize = 1024 * 1024;

/// A file of a raft snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileInfo {
    pub(crate) name: String,
    pub(crate) bytes: u64,
}

/// What all transfers of a host share: how many there may be, and how fast they may be together.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(crate) sending: Semaphore,
    pub(crate) receiving: Arc<Semaphore>,
    bytes_per_second: u64,
    /// When the next chunk may leave.
    next: Mutex<Option<Instant>>,
}

impl Bulk {
    pub(crate) fn new(transfers_max: usize, bytes_per_second: u64) -> Arc<Self> {
        Arc::new(Self {
            sending: Semaphore::new(transfers_max),
            receiving: Arc::new(Semaphore::new(transfers_max)),
            bytes_per_second: bytes_per_second.max(1),
            next: Mutex::new(None),
        })
    }

    /// Waits until `bytes` more may leave.
    pub(crate) async fn pace(&self, bytes: usize) {
        let microseconds = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second;
        let at = {
            let mut next = self.next.lock();
            let now = clock::instant();
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + Duration::from_micros(microseconds));
            at
        };
        tokio::time::sleep_until(at).await;
    }
}

/// A directory of files that raft fills, reads and empties.
#[derive(Clone)]
pub(crate) struct Directory {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) path: PathBuf,
}

impl Directory {
    /// Removes everything in it, and makes it if it is not there.
    pub(crate) fn clear(&self) -> lsm::Result<()> {
        self.vfs.create_dir_all(&self.path)?;
        for name in self.vfs.list(&self.path)? {
            self.vfs.remove(&self.path.join(name))?;
        }
        Ok(())
    }

    fn files(&self) -> lsm::Result<Vec<FileInfo>> {
        let mut names = self.vfs.list(&self.path)?;
        names.sort_unstable();
        let files = names.into_iter().map(|name| {
            let bytes = self.vfs.open(&self.path.join(&name))?.len()?;
            Ok(FileInfo { name, bytes })
        });
        files.collect()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Directory").field(&self.path).finish()
    }
}

/// A raft snapshot that can be sent. Its files are removed with it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Tells it from every other one of this replica in this life of the process.
    pub(crate) number: u64,
    pub(crate) id: LogId,
    pub(crate) membership: StoredMembership,
    pub(crate) files: Vec<FileInfo>,
    directory: Directory,
}

impl Outgoing {
    /// A file of it, to be read.
    pub(crate) fn open(&self, file: &FileInfo) -> Result<(Arc<dyn File>, PathBuf)> {
        let path = self.directory.path.join(&file.name);
        let opened = self.directory.vfs.open(&path).map_err(unreadable)?;
        Ok((opened, path))
    }

    /// Bytes of a file, all of them.
    pub(crate) fn read(
        (file, path): &(Arc<dyn File>, PathBuf),
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        read_exact_at(file.as_ref(), path, &mut bytes, offset).map_err(unreadable)?;
        Ok(bytes)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Err(error) = self.directory.clear() {
            let path = self.directory.path.display();
            tracing::warn!(%path, %error, "cannot remove the files of a raft snapshot");
        }
    }
}

fn unreadable(source: lsm::Error) -> Error {
    Error::new(ErrorKind::Io, "a raft snapshot cannot be read").with_source(source)
}

/// The raft snapshots that a replica sends.
#[derive(Debug)]
pub(crate) struct Outbox {
    dirs: Option<SnapshotDirs>,
    pin_max: Duration,
    made: Notify,
    state: Mutex<OutboxState>,
}

#[derive(Debug, Default)]
struct OutboxState {
    made: u64,
    current: Option<Current>,
    /// Directories whose raft snapshot may still be read.
    slots: Vec<std::sync::Weak<Outgoing>>,
}

#[derive(Debug)]
struct Current {
    outgoing: Arc<Outgoing>,
    made_at: Instant,
    used_at: Instant,
}

impl Outbox {
    pub(crate) fn new(dirs: Option<SnapshotDirs>, pin_max: Duration) -> Self {
        Self {
            dirs,
            pin_max,
            made: Notify::new(),
            state: Mutex::default(),
        }
    }

    /// Removes what an earlier life left.
    pub(crate) fn clean(&self) -> Result<()> {
        let Some(dirs) = &self.dirs else {
            return Ok(());
        };
        let clean = || -> lsm::Result<()> {
            dirs.incoming().clear()?;
            let mut slot = 0;
            while dirs.vfs.exists(&dirs.outgoing(slot).path)? {
                dirs.outgoing(slot).clear()?;
                slot += 1;
            }
            Ok(())
        };
        clean().map_err(|source| {
            let message = "what was left of a raft snapshot cannot be removed";
            Error::new(ErrorKind::Io, message).with_source(source)
        })
    }

    /// The raft snapshot at hand, if the entries after it are still in the log.
    pub(crate) fn current(&self, purged: Option<LogId>) -> Option<Arc<Outgoing>> {
        let mut state = self.state.lock();
        let current = state.current.as_mut()?;
        let is_useful = purged.is_none_or(|purged| purged.index <= current.outgoing.id.index);
        if !is_useful {
            return None;
        }
        current.used_at = clock::instant();
        Some(Arc::clone(&current.outgoing))
    }

    /// Makes a raft snapshot: `fill` puts its files into the directory and says what they are.
    pub(crate) fn make(
        &self,
        fill: impl FnOnce(&Path) -> Result<(LogId, StoredMembership)>,
    ) -> Result<Arc<Outgoing>> {
        let Some(dirs) = &self.dirs else {
            let message = "the state machine of this group makes no raft snapshots";
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let mut state = self.state.lock();
        state.current = None;
        let free = state.slots.iter().position(|old| old.strong_count() == 0);
        let slot = free.unwrap_or(state.slots.len());
        let directory = dirs.outgoing(slot);
        directory.clear().map_err(unreadable)?;
        let (id, membership) = fill(&directory.path).inspect_err(|_| drop(directory.clear()))?;
        let files = directory.files().map_err(unreadable)?;
        if files.len() > FILES_MAX || files.iter().any(|it| it.name.len() > NAME_BYTES_MAX) {
            let message = format!("a raft snapshot of {} files cannot be sent", files.len());
            return Err(Error::new(ErrorKind::Bug, message));
        }
        state.made += 1;
        let outgoing = Arc::new(Outgoing {
            number: state.made,
            id,
            membership,
            files,
            directory,
        });
        let reader = Arc::downgrade(&outgoing);
        match state.slots.get_mut(slot) {
            Some(free) => *free = reader,
            None => state.slots.push(reader),
        }
        let now = clock::instant();
        state.current = Some(Current {
            outgoing: Arc::clone(&outgoing),
            made_at: now,
            used_at: now,
        });
        self.made.notify_one();
        Ok(outgoing)
    }

    /// Resolves when one was made.
    pub(crate) async fn made(&self) {
        self.made.notified().await;
    }

    /// A member is reading it.
    pub(crate) fn touch(&self) {
        if let Some(current) = &mut self.state.lock().current {
            current.used_at = clock::instant();
        }
    }

    /// The entry up to which the log may be purged for the sake of a transfer; forgets a raft
    /// snapshot that nobody reads any more. `None`: all of it.
    pub(crate) fn pinned(&self) -> Option<u64> {
        let now = clock::instant();
        let mut state = self.state.lock();
        let is_over = |it: &Current| now >= it.used_at + KEEP || now >= it.made_at + self.pin_max;
        if state.current.as_ref().is_some_and(is_over) {
            // The transfer goes on with what it has.
            state.current = None;
        }
        state.current.as_ref().map(|it| it.outgoing.id.index)
    }
}

impl SnapshotDirs {
    /// Where files are received.
    pub(crate) fn incoming(&self) -> Directory {
        Directory {
            vfs: Arc::clone(&self.vfs),
            path: self.dir.join("incoming"),
        }
    }

    /// Where files to be sent lie. More than one is used only while an old one is still read.
    fn outgoing(&self, slot: usize) -> Directory {
        Directory {
            vfs: Arc::clone(&self.vfs),
            path: self.dir.join(format!("outgoing-{slot}")),
        }
    }
}
