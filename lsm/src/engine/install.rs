//! Restore: replaces everything in an engine by a checkpoint, in one manifest edit.
//!
//! # Invariants
//!
//! * Before the edit the engine is what it was; after it, it is the checkpoint. A crash leaves one
//!   or the other, and files that no manifest names are swept on the next start.
//! * Every block is verified before the edit: a checkpoint may have come over a network.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::{by_identity, read_manifest};
use super::request::Flushed;
use super::{Change, Engine};
use crate::error::{Error, Result};
use crate::manifest::{Edit, FileMeta, TableFile, Version, table_path};
use crate::memtable::Memtable;
use crate::metrics::add;
use crate::row::Timestamp;

/// What an install changes, ready for the edit.
struct Prepared {
    added: Vec<Arc<TableFile>>,
    /// Identities of files that stay.
    kept: BTreeSet<u64>,
}

impl Engine {
    /// Makes this engine what the checkpoint in `from` is: files, placement deletions, flushed
    /// position and owner bytes. What was applied and not flushed is forgotten; the owner applies
    /// the log again from the returned position on. Files come by hard link, so `from` is in the
    /// same file system and can be removed afterwards.
    ///
    /// A checkpoint made since another finds the files that it left out here, by identity. Fails
    /// with [`crate::ErrorKind::NotFound`] if there is no checkpoint or a file is in neither place,
    /// with [`crate::ErrorKind::Corrupt`] if a file is damaged; then nothing has changed.
    ///
    /// Reads that have begun go on over the old state.
    pub fn install(&self, from: &Path) -> Result<Flushed> {
        self.install_as(from, None)
    }

    /// As [`Self::install`], with other owner bytes than those of the checkpoint, if there are any.
    pub fn install_as(&self, from: &Path, owner: Option<Bytes>) -> Result<Flushed> {
        let _flushing = self.flushing.lock();
        let _compacting = self.compacting.lock();
        let (mut wanted, files) = read_manifest(self.vfs.as_ref(), from)?;
        if let Some(owner) = owner {
            wanted.flushed.owner = owner;
        }
        let mut made = Vec::new();
        let prepared = self
            .prepare(from, &files, &mut made)
            .and_then(|prepared| self.vfs.sync_dir(&self.dir).map(|()| prepared));
        let prepared = prepared.inspect_err(|_| self.remove_links(&made))?;
        let gone: Vec<Arc<TableFile>> = self
            .state()
            .version
            .all()
            .filter(|file| !prepared.kept.contains(&file.meta.uid))
            .map(Arc::clone)
            .collect();
        let edit = Edit {
            added: prepared.added.iter().map(|it| it.meta.clone()).collect(),
            removed: gone.iter().map(|file| file.meta.number).collect(),
            flushed: Some(wanted.flushed.clone()),
            ..Edit::default()
        };
        let change = Change {
            edit,
            added: prepared.added,
        };
        let active = Memtable::shared(&self.options.memory);
        let mut writer = self.writer.lock();
        self.commit(
            change,
            |_: &Version| Some(wanted.epochs.clone()),
            |state| {
                state.active = Arc::clone(&active);
                state.frozen.clear();
                // Under the lock of the state: a read that begins later finds none of them.
                self.dead_runs.forget();
                self.sweeps.forget();
            },
        )?;
        writer.active = active;
        writer.index = wanted.flushed.index;
        writer.timestamp = wanted.flushed.timestamp.max(Timestamp::ZERO);
        drop(writer);
        self.remove_later(&gone);
        add(&self.counters.installs, 1);
        Ok(wanted.flushed)
    }

    /// Links and verifies every file that is not here yet; `made` lists the numbers of the links.
    fn prepare(
        &self,
        from: &Path,
        files: &[(FileMeta, bool)],
        made: &mut Vec<u64>,
    ) -> Result<Prepared> {
        let version = Arc::clone(&self.state().version);
        let here = by_identity(&version);
        let mut prepared = Prepared {
            added: Vec::new(),
            kept: BTreeSet::new(),
        };
        for (meta, is_there) in files {
            let is_here = here.get(&meta.uid).is_some_and(|it| {
                // The identity alone would do if every engine had a seed of its own.
                (it.len, &it.properties) == (meta.len, &meta.properties)
            });
            if is_here {
                prepared.kept.insert(meta.uid);
                continue;
            }
            if !is_there {
                return Err(Error::not_found(format!(
                    "{} is neither in the checkpoint nor here: install the checkpoint that it was \
                     made since first",
                    table_path(from, meta.number).display()
                )));
            }
            let number = self.allocate_file();
            let source = table_path(from, meta.number);
            self.vfs
                .hard_link(&source, &table_path(&self.dir, number))?;
            made.push(number);
            let meta = FileMeta {
                number,
                ..meta.clone()
            };
            let file = Arc::new(TableFile::open(self.vfs.as_ref(), &self.dir, meta)?);
            file.table.verify()?;
            if *file.table.properties() != file.meta.properties {
                let expected = "the properties that the checkpoint lists";
                return Err(Error::corrupt(&source, file.meta.len, expected, "others"));
            }
            prepared.added.push(file);
        }
        Ok(prepared)
    }

    fn remove_links(&self, numbers: &[u64]) {
        for number in numbers {
            if let Err(error) = self.vfs.remove(&table_path(&self.dir, *number)) {
                tracing::warn!(
                    error = error.chain(),
                    "cannot remove a file of a checkpoint that was not installed"
                );
            }
        }
    }
}
