//! Running one compaction.

use std::sync::Arc;

use super::flush::NewFile;
use super::{Change, Engine};
use crate::compaction::{Output, Pick, Reason, merge_files, pick};
use crate::error::Result;
use crate::manifest::{Edit, TableFile, Version};
use crate::memtable::Epochs;
use crate::metrics::add;
use crate::sstable::{Samples, TableReader, TableWriter, Trained, WriterOptions};

/// The output of a merge: a file that is created when it is needed.
struct LazyFile<'a> {
    engine: &'a Engine,
    options: WriterOptions,
    file: Option<NewFile>,
}

impl Output for LazyFile<'_> {
    fn writer(&mut self) -> Result<&mut TableWriter> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.engine.new_file(self.options.clone())?,
        };
        Ok(self.file.insert(file).writer())
    }
}

impl Engine {
    /// Runs the most useful compaction, if any. Returns whether there is more to do.
    ///
    /// `now_ms` decides what has expired and which windows are over. It must not be ahead of the
    /// time of any later read: use the time of the last applied entry, not the wall clock.
    pub fn compact_step(&self, now_ms: u64) -> Result<bool> {
        let _compacting = self.compacting.lock();
        let Some(pick) = self.pick(now_ms) else {
            return Ok(false);
        };
        match pick.reason {
            Reason::Expired => {
                self.replace(&pick.inputs, None)?;
                add(&self.counters.windows_dropped, 1);
            }
            Reason::Dense | Reason::Seal | Reason::Tier => self.merge(&pick, now_ms)?,
        }
        Ok(self.pick(now_ms).is_some())
    }

    fn pick(&self, now_ms: u64) -> Option<Pick> {
        pick(
            &self.state().version,
            &self.tables.read(),
            &self.options,
            now_ms,
        )
    }

    fn merge(&self, pick: &Pick, now_ms: u64) -> Result<()> {
        let Some(first) = pick.inputs.first() else {
            return Ok(());
        };
        let properties = pick.inputs.iter().map(|file| &file.meta.properties);
        let from = properties
            .clone()
            .map(|it| it.first_index)
            .min()
            .unwrap_or_default();
        let to = properties.map(|it| it.last_index).max().unwrap_or_default();
        let (table, window) = (first.meta.properties.table, first.meta.properties.window);
        let mut options = self.writer_options(table, window, (from, to));
        if pick.outside.is_empty() {
            options.level = self.options.sealed_compression_level;
            options.dictionary = train(&pick.inputs, options.level)?.map(Arc::new);
        }
        let mut output = LazyFile {
            engine: self,
            options,
            file: None,
        };
        let version = Arc::clone(&self.state().version);
        merge_files(
            &pick.inputs,
            &pick.outside,
            &version.epochs,
            now_ms,
            &mut output,
        )?;
        let made = output
            .file
            .map(|file| self.finish_file(file, pick.outside.is_empty()))
            .transpose()?;
        let read: u64 = pick.inputs.iter().map(|file| file.meta.len).sum();
        add(&self.counters.compactions, 1);
        add(&self.counters.compaction_read_bytes, read);
        add(
            &self.counters.compaction_written_bytes,
            made.as_ref().map_or(0, |it| it.meta.len),
        );
        if made.is_some() {
            self.vfs.sync_dir(&self.dir)?;
        }
        self.replace(&pick.inputs, made)
    }

    /// Replaces `gone` by `made` in one edit, and forgets placement deletions that have become
    /// useless by it.
    fn replace(&self, gone: &[Arc<TableFile>], made: Option<Arc<TableFile>>) -> Result<()> {
        let added: Vec<Arc<TableFile>> = made.into_iter().collect();
        let edit = Edit {
            added: added.iter().map(|file| file.meta.clone()).collect(),
            removed: gone.iter().map(|file| file.meta.number).collect(),
            ..Edit::default()
        };
        self.commit(Change { edit, added }, useful_epochs, |_| ())?;
        self.remove_files(gone);
        Ok(())
    }
}

/// A dictionary from blocks of all parts of the inputs, if it is worth its length.
fn train(inputs: &[Arc<TableFile>], level: i32) -> Result<Option<Trained>> {
    let raw = |file: &Arc<TableFile>| file.meta.properties.raw_bytes.max(file.meta.len);
    let raw_bytes: u64 = inputs.iter().map(raw).sum();
    let wanted = Samples::wanted(raw_bytes);
    if wanted == 0 {
        return Ok(None);
    }
    let stride = usize::try_from(raw_bytes / wanted as u64).unwrap_or(usize::MAX);
    let mut samples = Samples::default();
    for file in inputs {
        let mut reader = TableReader::new(Arc::clone(&file.table), None);
        for number in (0..reader.block_count()).step_by(stride.max(1)) {
            if samples.len() < wanted {
                samples.push(reader.data(number)?.payload());
            }
        }
    }
    Ok(samples.train(raw_bytes, level))
}

/// The placement deletions that still shadow something in a file, if some do not any more.
/// Memtables do not matter: a deletion in the version is flushed, and so is all before it.
fn useful_epochs(version: &Version) -> Option<Epochs> {
    let mut epochs = version.epochs.clone();
    epochs.retain(|table, token, deletion| {
        version.table(table).any(|file| {
            file.meta.properties.min_timestamp <= deletion && file.table.may_contain_token(token)
        })
    });
    (epochs != version.epochs).then_some(epochs)
}
