//! Files that no version refers to any more, on their way off the disk.
//!
//! A file system takes hundreds of milliseconds to give up a gigabyte. Whoever drops files therefore
//! only lists them here, and the owner frees them piece by piece ([`Engine::remove_step`]), at a pace
//! of its own. Metrics say how many bytes wait.
//!
//! # Invariants
//!
//! * A file is listed when the edit that removes it is durable. A crash leaves names that the next
//!   start sweeps, whatever is left of their bytes.
//! * Bytes are cut off only when nobody else has the file: no reader, and no other name, such as a
//!   checkpoint's. A file with other names loses its name here and keeps its bytes.
//! * At most [`WAITING_MAX`] files wait; beyond that, whoever drops files removes some itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::TableFile;
use crate::metrics::add;

/// Bytes that one step gives back to the file system.
const STEP_BYTES: u64 = 32 * 1024 * 1024;
/// Files that may wait.
const WAITING_MAX: usize = 256;

/// The list.
#[derive(Debug, Default)]
pub(super) struct Obsolete {
    waiting: Mutex<VecDeque<Arc<TableFile>>>,
    /// A file without a name, of which the first bytes are left.
    cutting: Mutex<Option<Cutting>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Cutting {
    file: Arc<TableFile>,
    left: u64,
}

impl Obsolete {
    /// Files that wait, and their bytes.
    pub(super) fn gauges(&self) -> (u64, u64) {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        (load(&self.files), load(&self.bytes))
    }

    fn push(&self, files: &[Arc<TableFile>]) {
        let mut waiting = self.waiting.lock();
        for file in files {
            add(&self.files, 1);
            add(&self.bytes, file.meta.len);
            waiting.push_back(Arc::clone(file));
        }
    }

    /// The first file that passes.
    fn take(&self, passes: impl Fn(&Arc<TableFile>) -> bool) -> Option<Arc<TableFile>> {
        let mut waiting = self.waiting.lock();
        let at = waiting.iter().position(passes)?;
        waiting.remove(at)
    }

    fn gone(&self, files: u64, bytes: u64) {
        self.files.fetch_sub(files, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Engine {
    /// Gives bytes of files that are not used any more back to the file system: at most 32 MiB, so
    /// that other users of the disk wait for milliseconds. Returns how many; 0: there are none, or
    /// readers still have all of them. Call it after compactions and after windows were dropped.
    ///
    /// What cannot be removed is reported, and swept by the next start.
    pub fn remove_step(&self) -> u64 {
        let mut slot = self.obsolete.cutting.lock();
        if slot.is_none() {
            *slot = self.begin_removal();
        }
        let Some(cutting) = slot.take() else {
            return 0;
        };
        let left = cutting.left.saturating_sub(STEP_BYTES);
        let freed = cutting.left - left;
        let cut = match left {
            0 => Ok(()),
            _ => cutting.file.table.cut(left),
        };
        if let Err(error) = &cut {
            warn(error);
        }
        if left > 0 && cut.is_ok() {
            self.obsolete.gone(0, freed);
            *slot = Some(Cutting { left, ..cutting });
            return freed;
        }
        // The last handle goes, and with it all that is left.
        self.obsolete.gone(1, cutting.left);
        cutting.left
    }

    /// Takes its name from a file that nobody reads.
    fn begin_removal(&self) -> Option<Cutting> {
        let is_unread = |file: &Arc<TableFile>| {
            Arc::strong_count(file) == 1 && Arc::strong_count(&file.table) == 1
        };
        while let Some(file) = self.obsolete.take(is_unread) {
            let len = file.meta.len;
            // Asked before it loses its name: no checkpoint begins with a file of no version.
            let names = self.vfs.names_of(file.table.path());
            let removed = names.and_then(|names| {
                self.vfs.remove(file.table.path())?;
                Ok(names)
            });
            match removed {
                Ok(1) => return Some(Cutting { file, left: len }),
                Ok(_) => {}
                Err(error) => warn(&error),
            }
            self.obsolete.gone(1, len);
        }
        None
    }

    /// Lists files that no version refers to any more for [`Self::remove_step`].
    pub(super) fn remove_later(&self, files: &[Arc<TableFile>]) {
        self.obsolete.push(files);
        while self.obsolete.waiting.lock().len() > WAITING_MAX {
            self.remove_first();
        }
    }

    /// Removes the first file that waits, whole; readers keep its bytes until they are done.
    fn remove_first(&self) {
        if let Some(file) = self.obsolete.take(|_| true) {
            self.remove_now([file.table.path().to_path_buf()]);
            self.obsolete.gone(1, file.meta.len);
        }
    }

    /// Removes files at once. A failure costs space until the next start sweeps them, so it is
    /// reported and not returned.
    pub(super) fn remove_now(&self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            if let Err(error) = self.vfs.remove(&path) {
                warn(&error);
            }
        }
    }

    /// If `outcome` is that there is no space: makes some at once, for the next try.
    pub(super) fn make_space<T>(&self, outcome: Result<T>) -> Result<T> {
        if outcome
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::NoSpace)
        {
            self.remove_all();
        }
        outcome
    }

    /// Removes everything that waits.
    pub(super) fn remove_all(&self) {
        while self.remove_step() > 0 {}
        while self.obsolete.gauges().0 > 0 && !self.obsolete.waiting.lock().is_empty() {
            self.remove_first();
        }
    }
}

fn warn(error: &Error) {
    tracing::warn!(
        error = error.chain(),
        "cannot remove a file that is not used"
    );
}
