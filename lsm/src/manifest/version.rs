//! One state of the files of an engine; immutable, shared by readers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::edit::{Edit, FileMeta};
use super::names::table_path;
use crate::engine::Flushed;
use crate::error::Result;
use crate::memtable::Epochs;
use crate::row::{TableId, Window};
use crate::sstable::SsTable;
use crate::vfs::Vfs;

/// A file of a version.
#[derive(Debug)]
pub(crate) struct TableFile {
    /// What the manifest says about it.
    pub(crate) meta: FileMeta,
    /// The open file.
    pub(crate) table: Arc<SsTable>,
}

/// Files by table and window, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    /// Files of each (table, window), the one with the latest log indexes first.
    pub(crate) files: BTreeMap<(TableId, Window), Vec<Arc<TableFile>>>,
    /// Deletions of whole placement keys.
    pub(crate) epochs: Epochs,
    /// Up to where the files go.
    pub(crate) flushed: Flushed,
}

impl TableFile {
    /// Opens a file that the manifest knows.
    pub(crate) fn open(vfs: &dyn Vfs, dir: &Path, meta: FileMeta) -> Result<Self> {
        let path = table_path(dir, meta.number);
        let table = Arc::new(SsTable::open(vfs, &path, meta.uid, meta.len)?);
        Ok(Self { meta, table })
    }
}

impl Version {
    /// The files of one table and window, newest first.
    pub(crate) fn group(&self, table: TableId, window: Window) -> &[Arc<TableFile>] {
        self.files.get(&(table, window)).map_or(&[], Vec::as_slice)
    }

    /// The files that may hold rows of one table and window beside others, newest first.
    pub(crate) fn mixed(&self, table: TableId, window: Window) -> &[Arc<TableFile>] {
        if window == Window::TIMELESS || window == Window::MIXED {
            return &[];
        }
        self.group(table, Window::MIXED)
    }

    /// All files of one table, whatever the window.
    pub(crate) fn table(&self, table: TableId) -> impl Iterator<Item = &Arc<TableFile>> {
        let windows = (table, Window(i64::MIN))..=(table, Window(i64::MAX));
        self.files.range(windows).flat_map(|(_, files)| files)
    }

    /// All files.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.files.values().flatten()
    }

    /// This version changed by an edit whose added files are `added`.
    pub(crate) fn with(&self, edit: &Edit, added: Vec<Arc<TableFile>>) -> Self {
        let mut next = self.clone();
        next.files.retain(|_, files| {
            files.retain(|file| !edit.removed.contains(&file.meta.number));
            !files.is_empty()
        });
        for file in added {
            let key = (file.meta.properties.table, file.meta.properties.window);
            let files = next.files.entry(key).or_default();
            files.push(file);
            files.sort_by_key(|file| {
                std::cmp::Reverse((file.meta.properties.last_index, file.meta.number))
            });
        }
        if let Some(flushed) = &edit.flushed {
            next.flushed = flushed.clone();
        }
        if let Some(epochs) = &edit.epochs {
            next.epochs = epochs.clone();
        }
        next
    }

    /// One edit that says all of this version.
    pub(crate) fn to_edit(&self, next_file: u64) -> Edit {
        Edit {
            added: self.all().map(|file| file.meta.clone()).collect(),
            removed: Vec::new(),
            flushed: Some(self.flushed.clone()),
            epochs: Some(self.epochs.clone()),
            next_file,
        }
    }
}
