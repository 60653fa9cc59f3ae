//! The file system beneath a directory whose lock is held already.
//!
//! The node's LOCK covers everything in its directory, so the engines in it need none of their own.
//! Theirs would be held until the last handle to a closed database is dropped, and nobody could open
//! the directory again before that.

use lsm::Result;
use lsm::vfs::{File, Lock, Vfs};
use std::path::Path;
use std::sync::Arc;

/// Passes everything on except locks, which always succeed.
#[derive(Debug)]
pub(super) struct Beneath(pub(super) Arc<dyn Vfs>);

/// The lock of somebody who is covered by another.
#[derive(Debug)]
struct Covered;

impl Lock for Covered {}

impl Vfs for Beneath {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.0.create(path)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.0.open(path)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.0.exists(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.0.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.0.remove(path)
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        self.0.create_dir_all(dir)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.0.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.sync_dir(dir)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.hard_link(from, to)
    }

    fn names_of(&self, path: &Path) -> Result<u64> {
        self.0.names_of(path)
    }

    fn lock(&self, _path: &Path) -> Result<Box<dyn Lock>> {
        Ok(Box::new(Covered))
    }
}
