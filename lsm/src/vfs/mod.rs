//! The only way from this crate to the disk.
//!
//! Three implementations: [`OsVfs`] (real files), [`MemoryVfs`] (tests and examples), and
//! [`FaultyVfs`] (memory that forgets what was not synced, and fails on demand).
//!
//! # What is durable
//!
//! * Bytes and length of a file: after [`File::sync_data`] returned `Ok`.
//! * A name (created, renamed, removed, linked): after [`Vfs::sync_dir`] of its directory
//!   returned `Ok`. Syncing a file does not make its name durable.
//! * After an `Err` from `sync_data`, nothing is known about what was written since the last
//!   `Ok`, and trying again proves nothing: the kernel may have dropped the bytes.
//!
//! # Invariants
//!
//! * No call returns with fewer bytes written than asked, except with an error.
//! * [`Vfs::list`] is sorted, so that no directory order decides anything.
//!
//! Every call blocks. Handles are thread-safe; overlapping writes by two threads have no order.

mod faulty;
mod memory;
mod os;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use faulty::{Fault, FaultyVfs};
pub use memory::MemoryVfs;
pub use os::OsVfs;

use crate::error::{Error, Result};

/// Names and directories.
pub trait Vfs: Send + Sync + fmt::Debug {
    /// Creates an empty file for reading and writing. Fails if the name exists.
    fn create(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Arc<dyn File>>;

    /// Whether a file or directory of that name exists.
    fn exists(&self, path: &Path) -> Result<bool>;

    /// The names of all files and directories directly in `dir`, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;

    /// Gives the file another name in the same file system; a file of the new name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Open handles keep working.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Creates a directory and all its parents that are missing.
    fn create_dir_all(&self, dir: &Path) -> Result<()>;

    /// Makes all names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Removes an empty directory. Not durable before the one above it is synced.
    fn remove_dir(&self, dir: &Path) -> Result<()>;

    /// Gives the file `from` a second name. Fails if `to` exists.
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// How many names the file `path` has, this one included.
    fn names_of(&self, path: &Path) -> Result<u64>;

    /// Takes the lock file `path`, created if missing, until the result is dropped or the process
    /// ends. Fails with [`crate::ErrorKind::Invalid`] at once if somebody else holds it.
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>>;
}

/// One open file.
pub trait File: Send + Sync + fmt::Debug {
    /// Reads up to `bytes.len()` bytes at `offset` and returns how many there were; fewer only
    /// at the end of the file.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize>;

    /// Writes all of `bytes` at `offset`; a file that is too short grows, with zeros in between.
    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()>;

    /// Length in bytes.
    fn len(&self) -> Result<u64>;

    /// Whether the length is zero.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reserves space, so that writes below `len` bytes cannot run out of it; the file grows to
    /// `len` if it is shorter. The reserved bytes read as zeros.
    fn allocate(&self, len: u64) -> Result<()>;

    /// Cuts the file to `len` bytes, or grows it with zeros.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Makes bytes and length durable.
    fn sync_data(&self) -> Result<()>;
}

/// A held lock file; dropping it releases the lock.
pub trait Lock: Send + Sync + fmt::Debug {}

/// Fills `bytes` from `offset`, or fails with [`crate::ErrorKind::Corrupt`] naming `path` if the
/// file ends before that.
pub fn read_exact_at(file: &dyn File, path: &Path, bytes: &mut [u8], offset: u64) -> Result<()> {
    let wanted = bytes.len();
    let found = file.read_at(bytes, offset)?;
    if found == wanted {
        return Ok(());
    }
    Err(Error::corrupt(
        path,
        offset,
        format!("{wanted} bytes"),
        format!("the end of the file after {found} bytes"),
    ))
}
