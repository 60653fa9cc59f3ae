//! Checkpoints: everything flushed, as hard links in a directory of their own; and verification.
//!
//! A checkpoint opens as an engine. One made since another holds only the files that the other
//! does not, and is for [`Engine::install`] on whoever has the other.
//!
//! Files are told apart by identity and not by log index: merging may have purged a deletion that
//! the receiver still needs, so files of different states of an engine never add up to one state.
//!
//! # Invariants
//!
//! * `CURRENT` is the last name made: a checkpoint that a crash cut short is not one, and the next
//!   call for the same directory begins again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::recovery::live_files;
use crate::error::{Error, Result};
use crate::manifest::{
    CURRENT, CURRENT_NEW, FileMeta, Manifest, TableFile, Version, is_ours, table_path,
};
use crate::metrics::add;
use crate::vfs::Vfs;

/// What a checkpoint is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Last log index whose changes are in it.
    pub index: u64,
    /// What the owner handed to the freeze of that state; opaque here.
    pub owner: Bytes,
    /// All its files, whether in its directory or not.
    pub files: Vec<CheckpointFile>,
}

/// A file of a [`Checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Number, which is its name in the directory of the checkpoint.
    pub number: u64,
    /// Identity: the same in every directory that the file is linked or copied into.
    pub identity: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Whether it was left out because the checkpoint before has it.
    pub is_left_out: bool,
}

/// What [`Engine::verify`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Data blocks.
    pub blocks: u64,
    /// Partitions, counted per file.
    pub partitions: u64,
    /// Rows, counted per file, dead ones included.
    pub rows: u64,
}

impl Checkpoint {
    /// Reads what the checkpoint in `dir` is made of. Fails with [`crate::ErrorKind::NotFound`] if
    /// there is none.
    pub fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Self> {
        let (version, files) = read_manifest(vfs, dir)?;
        let files = files.iter().map(|(meta, is_here)| CheckpointFile {
            number: meta.number,
            identity: meta.uid,
            bytes: meta.len,
            is_left_out: !is_here,
        });
        Ok(Self {
            index: version.flushed.index,
            owner: version.flushed.owner,
            files: files.collect(),
        })
    }

    /// Bytes of the files that are in its directory.
    pub fn bytes_linked(&self) -> u64 {
        let linked = self.files.iter().filter(|file| !file.is_left_out);
        linked.map(|file| file.bytes).sum()
    }
}

/// The state that a manifest describes, without its files, and the files with whether they are in
/// the directory.
pub(super) fn read_manifest(vfs: &dyn Vfs, dir: &Path) -> Result<(Version, Vec<(FileMeta, bool)>)> {
    let Some((_, edits)) = Manifest::replay(vfs, dir)? else {
        return Err(Error::not_found(format!(
            "{} holds no checkpoint: CURRENT is missing",
            dir.display()
        )));
    };
    let (live, state) = live_files(&edits);
    let mut files = Vec::with_capacity(live.len());
    for (number, meta) in live {
        let is_here = vfs.exists(&table_path(dir, number))?;
        files.push((meta, is_here));
    }
    Ok((Version::default().with(&state, Vec::new()), files))
}

impl Engine {
    /// Copies everything flushed into the new directory `dir`, by hard links: the copy opens as an
    /// engine of its own and costs no space until files are compacted away.
    pub fn checkpoint(&self, dir: &Path) -> Result<Checkpoint> {
        self.checkpoint_since(dir, &Checkpoint::default())
    }

    /// The same without the files that the checkpoint `base` has, for [`Self::install`] where
    /// `base` is. With many files left out it cannot be opened by itself.
    pub fn checkpoint_since(&self, dir: &Path, base: &Checkpoint) -> Result<Checkpoint> {
        self.vfs.create_dir_all(dir)?;
        if self.vfs.exists(&dir.join(CURRENT))? {
            return Err(Error::invalid(format!(
                "{} holds an engine already",
                dir.display()
            )));
        }
        self.remove_unfinished(dir)?;
        let known: BTreeSet<u64> = base.files.iter().map(|file| file.identity).collect();
        // Under the lock of the manifest no file of the version is removed.
        let files = self.manifest.lock();
        let version = Arc::clone(&self.state().version);
        let mut made = Checkpoint {
            index: version.flushed.index,
            owner: version.flushed.owner.clone(),
            files: Vec::new(),
        };
        for file in version.all() {
            let is_left_out = known.contains(&file.meta.uid);
            if !is_left_out {
                self.vfs
                    .hard_link(file.table.path(), &table_path(dir, file.meta.number))?;
            }
            made.files.push(CheckpointFile {
                number: file.meta.number,
                identity: file.meta.uid,
                bytes: file.meta.len,
                is_left_out,
            });
        }
        made.files.sort_by_key(|file| file.number);
        self.vfs.sync_dir(dir)?;
        let edit = version.to_edit(files.next_file);
        Manifest::create(self.vfs.as_ref(), dir, 1, &edit)?;
        if let Some(parent) = dir.parent() {
            self.vfs.sync_dir(parent)?;
        }
        add(&self.counters.checkpoints, 1);
        Ok(made)
    }

    /// Removes what a checkpoint that was cut short left in `dir`.
    fn remove_unfinished(&self, dir: &Path) -> Result<()> {
        for name in self.vfs.list(dir)? {
            if is_ours(&name) || name == CURRENT_NEW {
                self.vfs.remove(&dir.join(name))?;
            }
        }
        Ok(())
    }

    /// Reads every byte of every file and checks checksums, order and statistics. Fails with
    /// [`crate::ErrorKind::Corrupt`] at the first damage; [`crate::Inspection`] goes on.
    pub fn verify(&self) -> Result<VerifyReport> {
        let version = Arc::clone(&self.state().version);
        let mut report = VerifyReport::default();
        for file in version.all() {
            verify_file(file, &mut report)?;
        }
        Ok(report)
    }
}

/// Verifies one file and counts it if it is sound.
pub(super) fn verify_file(file: &TableFile, report: &mut VerifyReport) -> Result<()> {
    let counted = file.table.verify()?;
    if *file.table.properties() != file.meta.properties {
        let expected = "the properties that the manifest lists";
        let path = file.table.path();
        return Err(Error::corrupt(path, file.meta.len, expected, "others"));
    }
    report.files += 1;
    report.bytes += file.meta.len;
    report.blocks += counted.blocks;
    report.partitions += counted.partitions;
    report.rows += counted.rows;
    Ok(())
}

/// Files by identity.
pub(super) fn by_identity(version: &Version) -> BTreeMap<u64, &FileMeta> {
    version
        .all()
        .map(|file| (file.meta.uid, &file.meta))
        .collect()
}
