//! Checkpoints and verification.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use crate::error::{Error, Result};
use crate::manifest::{CURRENT, Manifest, table_path};

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

impl Engine {
    /// Copies everything flushed into the new directory `dir`, by hard links: the copy opens as an
    /// engine of its own and costs no space until files are compacted away.
    pub fn checkpoint(&self, dir: &Path) -> Result<()> {
        self.vfs.create_dir_all(dir)?;
        if self.vfs.exists(&dir.join(CURRENT))? {
            return Err(Error::invalid(format!(
                "{} holds an engine already",
                dir.display()
            )));
        }
        // Under the lock of the manifest no file of the version is removed.
        let files = self.manifest.lock();
        let version = Arc::clone(&self.state().version);
        for file in version.all() {
            self.vfs
                .hard_link(file.table.path(), &table_path(dir, file.meta.number))?;
        }
        self.vfs.sync_dir(dir)?;
        let edit = version.to_edit(files.next_file);
        Manifest::create(self.vfs.as_ref(), dir, 1, &edit).map(drop)
    }

    /// Reads every byte of every file and checks checksums, order and statistics. Fails with
    /// [`crate::ErrorKind::Corrupt`] at the first damage.
    pub fn verify(&self) -> Result<VerifyReport> {
        let version = Arc::clone(&self.state().version);
        let mut report = VerifyReport::default();
        for file in version.all() {
            let counted = file.table.verify()?;
            if *file.table.properties() != file.meta.properties {
                return Err(Error::corrupt(
                    file.table.path(),
                    file.meta.len,
                    "the properties that the manifest lists",
                    "others",
                ));
            }
            report.files += 1;
            report.bytes += file.meta.len;
            report.blocks += counted.blocks;
            report.partitions += counted.partitions;
            report.rows += counted.rows;
        }
        Ok(report)
    }
}
