//! Running one compaction.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::due::Pick;
use super::flush::NewFile;
use super::{Change, Engine};
use crate::compaction::{
    CompactionOutcome, CompactionReason, CompactionReport, Job, MergePace, Output, Unpaced,
    merge_files,
};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Edit, FileMeta, TableFile, Version, table_path};
use crate::memtable::Epochs;
use crate::metrics::add;
use crate::row::{TableId, Timestamp, Window};
use crate::sstable::{TableWriter, WriterOptions};

/// The output of a merge: files that are created when they are needed.
struct Outputs<'a> {
    engine: &'a Engine,
    options: WriterOptions,
    job: &'a Job,
    fragment_bytes: u64,
    /// Placement deletions up to this one are applied.
    epochs_applied: Timestamp,
    current: Option<NewFile>,
    /// Which windows were merged.
    version: Arc<Version>,
    table: TableId,
    /// The windows that share a file with the rows that come, first and last.
    windows: (Window, Window),
    /// Files of other windows, if the rows go to those of their windows.
    others: BTreeMap<(Window, Window), NewFile>,
    done: Vec<Arc<TableFile>>,
    /// Names of all of them, finished or not.
    paths: Vec<PathBuf>,
    pace: &'a dyn MergePace,
    paced: u64,
    is_cancelled: bool,
}

impl Outputs<'_> {
    fn written_bytes(&self) -> u64 {
        let done: u64 = self.done.iter().map(|file| file.meta.len).sum();
        let open = self.current.iter().chain(self.others.values());
        done + open.map(NewFile::len).sum::<u64>()
    }

    /// Whether each window gets a file.
    fn spreads(&self) -> bool {
        self.job.reason == CompactionReason::Spread
    }

    /// Finishes the files of all windows.
    fn finish(&mut self) -> Result<()> {
        self.cut()?;
        while let Some((_, file)) = self.others.pop_first() {
            self.current = Some(file);
            self.cut()?;
        }
        Ok(())
    }

    fn describe(&self, meta: &mut FileMeta) {
        let first = self.done.first().map(|file| file.meta.run);
        let first = first.filter(|_| !self.spreads());
        meta.run = self.job.run.or(first).unwrap_or(meta.number);
        meta.is_sealed = self.job.is_sealed;
        meta.epochs_applied = self.epochs_applied;
        meta.merges = self.job.merges;
    }
}

impl Output for Outputs<'_> {
    fn writer(&mut self) -> Result<&mut TableWriter> {
        match &mut self.current {
            Some(file) => Ok(file.writer()),
            none => {
                let file = self.engine.new_file(self.options.clone())?;
                self.paths.push(table_path(&self.engine.dir, file.number()));
                Ok(none.insert(file).writer())
            }
        }
    }

    fn is_full(&self) -> bool {
        let is_large = |file: &NewFile| file.len() >= self.fragment_bytes;
        self.current.as_ref().is_some_and(is_large) && !self.spreads()
    }

    fn enter(&mut self, window: Window) {
        let (first, last) = self.windows;
        if self.spreads() && (window < first || last < window) {
            let windows = self.version.windows(self.table, window);
            let next = self.others.remove(&windows);
            let left = std::mem::replace(&mut self.current, next);
            self.others.extend(left.map(|file| (self.windows, file)));
            (self.windows, self.options.windows) = (windows, windows);
        }
    }

    fn cut(&mut self) -> Result<()> {
        if let Some(file) = self.current.take() {
            let file = self.engine.finish_file(file, |meta| self.describe(meta))?;
            self.done.push(file);
        }
        Ok(())
    }

    fn pace(&mut self, read_bytes: u64) -> Result<()> {
        let total = read_bytes + self.written_bytes();
        let more = total.saturating_sub(self.paced);
        self.paced = self.paced.max(total);
        if self.pace.spend(more) {
            return Ok(());
        }
        self.is_cancelled = true;
        Err(Error::closed("this compaction"))
    }
}

impl Engine {
    /// Runs the most useful compaction, if any, and removes the files that it replaced. Returns
    /// whether there is more to do.
    ///
    /// `now_ms` decides what has expired and which windows are over. It must not be ahead of the
    /// time of any later read: use the time of the last applied entry, not the wall clock.
    pub fn compact_step(&self, now_ms: u64) -> Result<bool> {
        let outcome = self.compact(now_ms, &Unpaced)?;
        while self.remove_step() > 0 {}
        match outcome {
            CompactionOutcome::Done(_) => Ok(self.pick(now_ms).is_some()),
            CompactionOutcome::Idle | CompactionOutcome::Cancelled => Ok(false),
        }
    }

    /// As [`Self::compact_step`], at the speed that `pace` allows, and says what was done. The files
    /// that were replaced or dropped wait for [`Self::remove_step`].
    ///
    /// A merge that fails or is cancelled leaves the engine as it was, and no file behind.
    pub fn compact(&self, now_ms: u64, pace: &dyn MergePace) -> Result<CompactionOutcome> {
        let _compacting = self.compacting.lock();
        let Some(pick) = self.pick(now_ms) else {
            return Ok(CompactionOutcome::Idle);
        };
        let started = pace.micros();
        let outcome = match pick.job.reason {
            reason if is_drop(reason) => self.discard(&pick)?,
            _ => self.merge(&pick, now_ms, pace)?,
        };
        let Some(mut report) = outcome else {
            return Ok(CompactionOutcome::Cancelled);
        };
        report.micros = pace.micros().saturating_sub(started);
        add(&self.counters.compaction_micros, report.micros);
        tracing::debug!(
            reason = report.reason.name(),
            table = report.table.0,
            window = report.window.0,
            inputs = report.inputs,
            outputs = report.outputs,
            read_bytes = report.read_bytes,
            written_bytes = report.written_bytes,
            rows_read = report.rows_read,
            rows_written = report.rows_written,
            tombstones_dropped = report.tombstones_dropped,
            micros = report.micros,
            "compacted"
        );
        Ok(CompactionOutcome::Done(report))
    }

    /// Drops files unread.
    fn discard(&self, pick: &Pick) -> Result<Option<CompactionReport>> {
        self.replace(&pick.inputs, Vec::new())?;
        match pick.job.reason {
            CompactionReason::ExpiredWindow => add(&self.counters.windows_dropped, 1),
            _ => add(&self.counters.files_dropped, pick.inputs.len() as u64),
        }
        Ok(Some(report(pick, &[], 0)))
    }

    /// Merges files. `None`: cancelled.
    fn merge(
        &self,
        pick: &Pick,
        now_ms: u64,
        pace: &dyn MergePace,
    ) -> Result<Option<CompactionReport>> {
        let version = Arc::clone(&self.state().version);
        let mut outputs = self.outputs(pick, &version, pace)?;
        let merged = merge_files(
            (&pick.inputs, &pick.outside),
            &version.epochs,
            self.tokens(),
            now_ms,
            &mut outputs,
        );
        let finished = merged.and_then(|()| outputs.finish());
        let finished = finished.and_then(|()| {
            if outputs.done.is_empty() {
                Ok(())
            } else {
                self.vfs.sync_dir(&self.dir)
            }
        });
        let (is_cancelled, written) = (outputs.is_cancelled, outputs.written_bytes());
        let Outputs { done, paths, .. } = outputs;
        if let Err(error) = finished {
            self.remove_now(paths);
            return match error.kind() {
                ErrorKind::Closed if is_cancelled => Ok(None),
                _ => self.make_space(Err(error)),
            };
        }
        let report = report(pick, &done, written);
        self.replace(&pick.inputs, done)?;
        add(&self.counters.compactions, 1);
        add(&self.counters.compaction_read_bytes, report.read_bytes);
        add(&self.counters.compaction_written_bytes, written);
        add(&self.counters.tombstones_dropped, report.tombstones_dropped);
        Ok(Some(report))
    }

    fn outputs<'a>(
        &'a self,
        pick: &'a Pick,
        version: &Arc<Version>,
        pace: &'a dyn MergePace,
    ) -> Result<Outputs<'a>> {
        let properties = pick.inputs.iter().map(|file| &file.meta.properties);
        let from = properties.clone().map(|it| it.first_index).min();
        let to = properties.clone().map(|it| it.last_index).max();
        let (table, windows) = (pick.table, pick.windows);
        let indexes = (from.unwrap_or_default(), to.unwrap_or_default());
        let mut options = self.writer_options(table, windows, indexes);
        let mut fragment_bytes = self.options.fragment_bytes;
        if pick.job.is_cold {
            fragment_bytes = self.options.sealed_fragment_bytes;
            options.level = self.options.sealed_compression_level;
            options.stays = true;
            options.dictionary = self.dictionary(table, &pick.inputs, options.level)?;
        }
        let newest = version
            .epochs
            .iter()
            .filter(|(found, ..)| *found == table)
            .map(|(.., timestamp)| timestamp)
            .max();
        let before = pick.inputs.iter().map(|file| file.meta.epochs_applied);
        Ok(Outputs {
            engine: self,
            options,
            job: &pick.job,
            fragment_bytes,
            epochs_applied: newest.max(before.min()).unwrap_or_default(),
            current: None,
            version: Arc::clone(version),
            table,
            windows,
            others: BTreeMap::new(),
            done: Vec::new(),
            paths: Vec::new(),
            pace,
            paced: 0,
            is_cancelled: false,
        })
    }

    /// Replaces `gone` by `made` in one edit, and forgets placement deletions that have become
    /// useless by it.
    fn replace(&self, gone: &[Arc<TableFile>], made: Vec<Arc<TableFile>>) -> Result<()> {
        let edit = Edit {
            added: made.iter().map(|file| file.meta.clone()).collect(),
            removed: gone.iter().map(|file| file.meta.number).collect(),
            ..Edit::default()
        };
        self.commit(Change { edit, added: made }, useful_epochs, |_| ())?;
        self.remove_later(gone);
        Ok(())
    }
}

pub(super) fn is_drop(reason: CompactionReason) -> bool {
    matches!(
        reason,
        CompactionReason::ExpiredWindow
            | CompactionReason::ExpiredFile
            | CompactionReason::ForeignFile
    )
}

fn report(pick: &Pick, made: &[Arc<TableFile>], written_bytes: u64) -> CompactionReport {
    let sum = |files: &[Arc<TableFile>], of: fn(&FileMeta) -> u64| -> u64 {
        files.iter().map(|file| of(&file.meta)).sum()
    };
    let reason = pick.job.reason;
    let tombstones = |files| sum(files, |meta| meta.properties.tombstones);
    CompactionReport {
        reason,
        table: pick.table,
        window: pick.windows.0,
        inputs: pick.inputs.len(),
        outputs: made.len(),
        read_bytes: if is_drop(reason) {
            0
        } else {
            sum(&pick.inputs, |meta| meta.len)
        },
        written_bytes,
        rows_read: sum(&pick.inputs, |meta| meta.properties.rows),
        rows_written: sum(made, |meta| meta.properties.rows),
        tombstones_dropped: tombstones(&pick.inputs).saturating_sub(tombstones(made)),
        micros: 0,
    }
}

/// The placement deletions that still shadow something in a file, if some do not any more.
/// Memtables do not matter: a deletion in the version is flushed, and so is all before it.
fn useful_epochs(version: &Version) -> Option<Epochs> {
    let mut epochs = version.epochs.clone();
    epochs.retain(|table, token, deletion| {
        version.table(table).any(|file| {
            file.meta.epochs_applied < deletion
                && file.meta.properties.min_timestamp <= deletion
                && file.table.may_contain_token(token)
        })
    });
    (epochs != version.epochs).then_some(epochs)
}
