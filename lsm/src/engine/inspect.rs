//! Looks at an engine's directory without opening the engine: nothing is written, and one damaged
//! file does not hide the others. For operators, on a stopped directory.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{VerifyReport, read_manifest, verify_file};
use super::request::Flushed;
use crate::error::{Error, Result};
use crate::manifest::{FileMeta, TableFile, table_name};
use crate::row::{Cell, ColumnId, RowLiveness, TableId, Timestamp, Window};
use crate::sstable::dump;
use crate::vfs::Vfs;

/// An engine's directory, read only.
#[derive(Debug)]
pub struct Inspection {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    flushed: Flushed,
    files: Vec<FileMeta>,
}

/// What the manifest says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Number, which is its name.
    pub number: u64,
    /// Name in the directory.
    pub name: String,
    /// The table of all its rows.
    pub table: TableId,
    /// The window of all its rows, or the first one of several.
    pub window: Window,
    /// The last window that it may have rows of.
    pub last_window: Window,
    /// Length in bytes.
    pub bytes: u64,
    /// Whether it was made from everything its window held.
    pub is_sealed: bool,
    /// First log index whose changes may be in it.
    pub first_index: u64,
    /// Last log index whose changes may be in it.
    pub last_index: u64,
    /// Data blocks.
    pub blocks: u32,
    /// Data blocks of which at least half of the rows are dead.
    pub dense_blocks: u32,
    /// Partitions.
    pub partitions: u64,
    /// Rows, dead ones included.
    pub rows: u64,
    /// Deletions of any kind.
    pub tombstones: u64,
    /// Oldest datum or deletion.
    pub min_timestamp: Timestamp,
    /// Newest datum or deletion.
    pub max_timestamp: Timestamp,
    /// First millisecond from which nothing in it is visible; 0 = never was, MAX = some always is.
    pub dead_after_ms: u64,
}

/// One entry of a file, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileEntry {
    /// A partition begins.
    Partition {
        /// Token of the placement key.
        token: u64,
        /// Ordered bytes of the partition columns.
        key: bytes::Bytes,
        /// Deletion of the whole partition, or zero.
        deletion: Timestamp,
        /// The static row, if there is one.
        static_row: Option<StoredRow>,
    },
    /// A row of the partition.
    Row {
        /// Ordered bytes of the clustering columns.
        clustering: bytes::Bytes,
        /// What is stored of it.
        row: StoredRow,
    },
    /// From here on this deletion of a range is in force; zero = none.
    RangeDeletion {
        /// The clustering key; `None` = the end of the partition.
        clustering: Option<bytes::Bytes>,
        /// Whether it begins behind the row of that key.
        is_after: bool,
        /// The deletion.
        deletion: Timestamp,
    },
}

/// A row with everything that is stored of it, deletions and expired cells included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRow {
    /// Deletion of the row, or zero.
    pub deletion: Timestamp,
    /// The insertion marker.
    pub liveness: Option<RowLiveness>,
    /// Deletions of whole collections.
    pub collections: Vec<(ColumnId, Timestamp)>,
    /// Cells, tombstones included.
    pub cells: Vec<Cell>,
}

impl Inspection {
    /// Reads the manifest in `dir`. Fails with [`crate::ErrorKind::NotFound`] if there is none.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Self> {
        let (version, files) = read_manifest(vfs.as_ref(), dir)?;
        Ok(Self {
            vfs,
            dir: dir.to_path_buf(),
            flushed: version.flushed,
            files: files.into_iter().map(|(meta, _)| meta).collect(),
        })
    }

    /// Where the files end.
    pub fn flushed(&self) -> &Flushed {
        &self.flushed
    }

    /// All files, by number.
    pub fn files(&self) -> Vec<FileInfo> {
        self.files.iter().map(info).collect()
    }

    /// Reads every byte of every file; `each` is told each file and its outcome and says whether
    /// to go on. The report counts what is sound.
    pub fn verify(
        &self,
        each: &mut dyn FnMut(&FileInfo, Result<()>) -> ControlFlow<()>,
    ) -> VerifyReport {
        let mut report = VerifyReport::default();
        for meta in &self.files {
            let outcome = self
                .table(meta)
                .and_then(|file| verify_file(&file, &mut report));
            if each(&info(meta), outcome).is_break() {
                break;
            }
        }
        report
    }

    /// Tells `each` every entry of file `number`, in order, until it says to stop.
    pub fn dump(
        &self,
        number: u64,
        each: &mut dyn FnMut(FileEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let Some(meta) = self.files.iter().find(|meta| meta.number == number) else {
            return Err(Error::not_found(format!(
                "the manifest of {} lists no file {}",
                self.dir.display(),
                table_name(number)
            )));
        };
        dump::entries(&self.table(meta)?.table, each)
    }

    fn table(&self, meta: &FileMeta) -> Result<TableFile> {
        TableFile::open(self.vfs.as_ref(), &self.dir, meta.clone())
    }
}

fn info(meta: &FileMeta) -> FileInfo {
    let properties = &meta.properties;
    FileInfo {
        number: meta.number,
        name: table_name(meta.number),
        table: properties.table,
        window: properties.window,
        last_window: properties.last_window,
        bytes: meta.len,
        is_sealed: meta.is_sealed,
        first_index: properties.first_index,
        last_index: properties.last_index,
        blocks: properties.blocks,
        dense_blocks: properties.dense_blocks,
        partitions: properties.partitions,
        rows: properties.rows,
        tombstones: properties.tombstones,
        min_timestamp: properties.min_timestamp,
        max_timestamp: properties.max_timestamp,
        dead_after_ms: properties.dead_after_ms,
    }
}
