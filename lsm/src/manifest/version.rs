//! One state of the files of an engine; immutable, shared by readers.

use std::collections::{BTreeMap, BTreeSet};
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
    /// Merged windows are listed together under the first of them.
    pub(crate) files: BTreeMap<(TableId, Window), Vec<Arc<TableFile>>>,
    /// Neighboring windows that were merged, which are as one from then on: the last of them by the first.
    merged: BTreeMap<(TableId, Window), Window>,
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
    /// The files of one table and window, newest first, with those of the windows that it was merged with.
    pub(crate) fn group(&self, table: TableId, window: Window) -> &[Arc<TableFile>] {
        let (first, _) = self.windows(table, window);
        self.files.get(&(table, first)).map_or(&[], Vec::as_slice)
    }

    /// The first and the last of the windows that a window was merged with; mostly itself.
    pub(crate) fn windows(&self, table: TableId, window: Window) -> (Window, Window) {
        let until = (table, Window(i64::MIN))..=(table, window);
        let before = self.merged.range(until).next_back();
        before
            .map(|((_, first), last)| (*first, *last))
            .filter(|(_, last)| window <= *last)
            .unwrap_or((window, window))
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
        next.add(added);
        if let Some(flushed) = &edit.flushed {
            next.flushed = flushed.clone();
        }
        if let Some(epochs) = &edit.epochs {
            next.epochs = epochs.clone();
        }
        next
    }

    /// Adds files. When that changes which windows are as one, all files find their places anew: also
    /// what was flushed for a single window while it was merged with others.
    fn add(&mut self, mut added: Vec<Arc<TableFile>>) {
        let merged = merged_windows(self.all().chain(&added));
        if merged != self.merged {
            self.merged = merged;
            let placed = std::mem::take(&mut self.files);
            added.extend(placed.into_values().flatten());
        }
        let mut changed = BTreeSet::new();
        for file in added {
            let properties = &file.meta.properties;
            let (first, _) = self.windows(properties.table, properties.window);
            let group = (properties.table, first);
            self.files.entry(group).or_default().push(file);
            changed.insert(group);
        }
        for group in changed {
            if let Some(files) = self.files.get_mut(&group) {
                files.sort_by_key(|file| {
                    std::cmp::Reverse((file.meta.properties.last_index, file.meta.number))
                });
            }
        }
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

/// The windows that some file holds together with others. Files that overlap make one group: a window is
/// never in two.
fn merged_windows<'a>(
    files: impl Iterator<Item = &'a Arc<TableFile>>,
) -> BTreeMap<(TableId, Window), Window> {
    let properties = files.map(|file| &file.meta.properties);
    let mut spans: Vec<(TableId, Window, Window)> = properties
        .filter(|it| it.is_merged())
        .map(|it| (it.table, it.window, it.last_window))
        .collect();
    spans.sort_unstable();
    let mut merged: BTreeMap<(TableId, Window), Window> = BTreeMap::new();
    for (table, first, last) in spans {
        match merged.last_entry() {
            Some(mut before) if before.key().0 == table && first <= *before.get() => {
                let end = last.max(*before.get());
                before.insert(end);
            }
            _ => {
                merged.insert((table, first), last);
            }
        }
    }
    merged
}
