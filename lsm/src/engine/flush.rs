//! Writing frozen memtables to SSTables: one file per table and window, one manifest edit.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::state::Frozen;
use super::{Change, Engine};
use crate::encoding::DecodeError;
use crate::encoding::checksum::xxh3;
use crate::error::{Error, Result};
use crate::manifest::{Edit, FileMeta, TableFile, Version, table_path};
use crate::memtable::{Epochs, MemPartition};
use crate::metrics::add;
use crate::row::range::Place;
use crate::row::{PlainRow, TableId, Timestamp, Window, codec};
use crate::sstable::{TableWriter, WriterOptions};

use super::Flushed;

/// A window that is over and got more than this since is no late write.
const LATE_BYTES_MAX: usize = 1024 * 1024;

/// A partition of a memtable and the file that it goes to: table, window, token, key.
type Grouped<'a> = (TableId, Window, u64, &'a [u8], &'a MemPartition);

/// A file being written and what the manifest will say about it.
#[derive(Debug)]
pub(super) struct NewFile {
    writer: TableWriter,
    number: u64,
    uid: u64,
}

impl Engine {
    /// Writes the oldest frozen memtable. Returns whether more wait.
    ///
    /// After a failure the memtable is still there and the step can be tried again, unless the
    /// manifest failed: then the engine must be opened again.
    pub fn flush_step(&self) -> Result<bool> {
        let _flushing = self.flushing.lock();
        let state = self.state();
        let Some(frozen) = state.frozen.first() else {
            return Ok(false);
        };
        let (mut files, mut paths) = (Vec::new(), Vec::new());
        let written = self.write_memtable(frozen, &mut files, &mut paths);
        if let Err(error) = written.and_then(|()| self.vfs.sync_dir(&self.dir)) {
            self.remove_now(paths);
            return self.make_space(Err(error));
        }
        let flushed = Flushed {
            index: frozen.index,
            timestamp: frozen.timestamp,
            owner: frozen.owner.clone(),
        };
        let added = files.iter().map(|file| file.meta.clone()).collect();
        let edit = Edit {
            added,
            flushed: Some(flushed),
            ..Edit::default()
        };
        let bytes = files.iter().map(|file| file.meta.len).sum();
        let epochs = |next: &Version| merged_epochs(next, frozen);
        self.commit(Change { edit, added: files }, epochs, |state| {
            state.frozen.remove(0);
        })?;
        add(&self.counters.flushes, 1);
        add(&self.counters.flushed_bytes, bytes);
        Ok(!self.state().frozen.is_empty())
    }

    /// Writes the files of a memtable; `paths` names all of them, finished or not.
    fn write_memtable(
        &self,
        frozen: &Frozen,
        files: &mut Vec<Arc<TableFile>>,
        paths: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let memtable = frozen.memtable.read();
        let indexes = memtable.indexes().unwrap_or((frozen.index, frozen.index));
        let mut current: Option<(TableId, Window, NewFile)> = None;
        let mut grouped = memtable.grouped();
        self.mix(&mut grouped);
        for (table, window, token, key, partition) in grouped {
            let is_same = current
                .as_ref()
                .is_some_and(|(t, w, _)| (*t, *w) == (table, window));
            if !is_same {
                if let Some((_, _, file)) = current.take() {
                    files.push(self.finish_file(file, |_| ())?);
                }
                let hurry = Some(Arc::clone(&self.options.memory));
                let options = WriterOptions {
                    hurry,
                    ..self.writer_options(table, (window, window), indexes)
                };
                let file = self.new_file(options)?;
                paths.push(table_path(&self.dir, file.number()));
                current = Some((table, window, file));
            }
            if let Some((_, _, file)) = &mut current {
                write_partition(&mut file.writer, token, key, partition)?;
            }
        }
        if let Some((_, _, file)) = current {
            files.push(self.finish_file(file, |_| ())?);
        }
        Ok(())
    }

    /// Puts what little was written to many windows of a table that are over together, to be one file.
    fn mix(&self, grouped: &mut Vec<Grouped<'_>>) {
        if self.options.mixed_files == 0 {
            return;
        }
        let version = Arc::clone(&self.state().version);
        // Windows up to the last one that is sealed are over, also those too small to be sealed.
        let mut last_sealed: BTreeMap<TableId, Window> = BTreeMap::new();
        for ((table, window), files) in &version.files {
            if *window > Window::MIXED && files.iter().any(|file| file.meta.is_sealed) {
                last_sealed.insert(*table, version.windows(*table, *window).1);
            }
        }
        let is_late = |table: &TableId, window: &Window| {
            let last = last_sealed.get(table);
            *window != Window::TIMELESS && last.is_some_and(|last| window <= last)
        };
        let mut late: BTreeMap<(TableId, Window), usize> = BTreeMap::new();
        for (table, window, _, key, partition) in grouped.iter() {
            if is_late(table, window) {
                *late.entry((*table, *window)).or_default() += key.len() + partition.bytes();
            }
        }
        late.retain(|_, bytes| *bytes < LATE_BYTES_MAX);
        let mut windows: BTreeMap<TableId, usize> = BTreeMap::new();
        for (table, _) in late.keys() {
            *windows.entry(*table).or_default() += 1;
        }
        late.retain(|(table, _), _| windows.get(table).is_some_and(|count| *count > 1));
        if late.is_empty() {
            return;
        }
        for (table, window, ..) in grouped.iter_mut() {
            if late.contains_key(&(*table, *window)) {
                *window = Window::MIXED;
            }
        }
        grouped.sort_by_key(|(table, window, token, key, _)| (*table, *window, *token, *key));
    }

    /// How files of one table, from the first to the last of `windows`, are written by default.
    pub(super) fn writer_options(
        &self,
        table: TableId,
        windows: (Window, Window),
        indexes: (u64, u64),
    ) -> WriterOptions {
        WriterOptions {
            uid: 0,
            table,
            windows,
            indexes,
            block_bytes: self.options.block_bytes,
            level: self.options.compression_level,
            dictionary: None,
            stays: false,
            hurry: None,
        }
    }

    /// Creates a file for rows of one table, and chooses its number and identity.
    pub(super) fn new_file(&self, mut options: WriterOptions) -> Result<NewFile> {
        let number = self.allocate_file();
        let mut identity = number.to_le_bytes().to_vec();
        identity.extend_from_slice(&options.indexes.1.to_le_bytes());
        identity.extend_from_slice(&options.table.0.to_le_bytes());
        identity.extend_from_slice(&options.windows.0.0.to_le_bytes());
        let uid = xxh3(self.options.seed, &identity);
        options.uid = uid;
        let path = table_path(&self.dir, number);
        let writer = TableWriter::create(self.vfs.as_ref(), &path, options)?;
        Ok(NewFile {
            writer,
            number,
            uid,
        })
    }

    /// Finishes and opens a file, of which the manifest will say what `describe` makes of that of a
    /// flushed one. Its name is not durable before the directory is synced.
    pub(super) fn finish_file(
        &self,
        file: NewFile,
        describe: impl FnOnce(&mut FileMeta),
    ) -> Result<Arc<TableFile>> {
        let NewFile {
            writer,
            number,
            uid,
        } = file;
        let (properties, len) = writer.finish()?;
        let mut meta = FileMeta {
            number,
            uid,
            len,
            is_sealed: false,
            run: number,
            merges: 0,
            epochs_applied: Timestamp::ZERO,
            properties,
        };
        describe(&mut meta);
        TableFile::open(self.vfs.as_ref(), &self.dir, meta).map(Arc::new)
    }
}

impl NewFile {
    /// Its number, which is its name.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.writer.len()
    }

    /// Takes the rows.
    pub(super) fn writer(&mut self) -> &mut TableWriter {
        &mut self.writer
    }
}

fn write_partition(
    writer: &mut TableWriter,
    token: u64,
    key: &[u8],
    partition: &MemPartition,
) -> Result<()> {
    let undecodable = |error: DecodeError| {
        Error::invalid(format!(
            "a memtable row does not decode: {error}; report this"
        ))
    };
    let decode = |body: &Bytes| codec::decode(body, Timestamp::ZERO).map_err(undecodable);
    let static_row = partition.static_row().map(decode).transpose()?;
    writer.window(partition.window());
    writer.partition(token, key, partition.deletion(), static_row.as_ref())?;
    let mut edges = partition.ranges().iter().peekable();
    for (key, body) in partition.rows().shared_rows() {
        while let Some((edge, deletion)) = edges.next_if(|(edge, _)| edge.place() < Place::row(key))
        {
            writer.edge(edge.place(), deletion)?;
        }
        match PlainRow::decode(&body, Timestamp::ZERO).map_err(undecodable)? {
            Some(row) => writer.plain_row(key, &row)?,
            None => writer.row(key, &decode(&body)?)?,
        }
    }
    for (edge, deletion) in edges {
        writer.edge(edge.place(), deletion)?;
    }
    Ok(())
}

/// All placement deletions including those of `frozen`, if it has any.
fn merged_epochs(version: &Version, frozen: &Frozen) -> Option<Epochs> {
    let memtable = frozen.memtable.read();
    memtable.epochs().iter().next()?;
    let mut epochs = version.epochs.clone();
    epochs.merge(memtable.epochs());
    Some(epochs)
}
