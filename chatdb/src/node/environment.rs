//! What a node stands on: files, time, threads and the network; and where randomness and what the file
//! system tells of itself enter this crate.

use crate::error::{Error, ErrorKind, Result};
use crate::node::network::{Network, Sockets};
use lsm::log::LogOptions;
use lsm::vfs::{Lock, OsVfs, Vfs};
use raft::{Clock, LogDriver, Tls};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a node stands on.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) clock: Clock,
    pub(crate) network: Arc<dyn Network>,
    /// Who syncs the shared log: a thread, or a task.
    pub(crate) log_driver: LogDriver,
    /// The shared log, besides what the node's options say.
    pub(crate) log: LogOptions,
}

impl Environment {
    /// The operating system, in the clear.
    #[cfg(test)]
    pub(crate) fn system() -> Self {
        Self::secured(None)
    }

    /// The operating system, with a certificate for all connections.
    pub(crate) fn secured(certificate: Option<Arc<Tls>>) -> Self {
        Self {
            vfs: Arc::new(OsVfs),
            clock: Clock::system(),
            network: Arc::new(Sockets { certificate }),
            log_driver: LogDriver::Thread,
            log: LogOptions::default(),
        }
    }

    /// The node's wall clock, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.wall_us() / 1000
    }

    /// Whether the work behind requests has threads of its own, or takes turns with them.
    pub(crate) fn has_threads(&self) -> bool {
        self.log_driver == LogDriver::Thread
    }
}

/// Milliseconds since 1970; 0 on a clock that stands before it.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// A random number that is not zero.
pub(crate) fn random() -> u128 {
    uuid::Uuid::new_v4().as_u128().max(1)
}

/// Bytes of the file system under a directory that may still be written, and those together with what is
/// written; `None` when it does not tell.
pub(crate) fn disk_room(dir: &Path) -> Option<(u64, u64)> {
    let told = rustix::fs::statvfs(dir).ok()?;
    let written = told.f_blocks.saturating_sub(told.f_bfree);
    let bytes = |blocks: u64| blocks.saturating_mul(told.f_frsize);
    Some((
        bytes(told.f_bavail),
        bytes(told.f_bavail.saturating_add(written)),
    ))
}

/// Holds the directory of a stopped node; refused while a server has it.
pub(crate) fn lock_stopped(vfs: &dyn Vfs, data: &Path) -> Result<Box<dyn Lock>> {
    let lock = vfs.lock(&data.join("LOCK"));
    lock.map_err(|cause| match cause.kind() {
        lsm::ErrorKind::Invalid => {
            let message = format!("a server has {} open", data.display());
            Error::new(ErrorKind::Conflict, message).with_help("try", "stop it first")
        }
        _ => cause.into(),
    })
}
