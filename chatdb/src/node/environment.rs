//! Where the wall clock, randomness and what the file system tells of itself enter this crate.

use crate::error::{Error, ErrorKind, Result};
use lsm::vfs::{Lock, Vfs};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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
