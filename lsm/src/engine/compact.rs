//! Running one compaction.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::flush::NewFile;
use super::state::State;
use super::{Change, Engine};
use crate::compaction::{
    Candidate, CompactionOutcome, CompactionReason, CompactionReport, Job, MergePace, Output,
    Situation, Unpaced, forgets, merge_files, pick_group, pick_mixed,
};
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::{Edit, FileMeta, TableFile, Version, table_path};
use crate::memtable::Epochs;
use crate::metrics::add;
use crate::row::{TableId, Timestamp, Window};
use crate::sstable::{TableWriter, WriterOptions};

/// A job and the files that it is about.
#[derive(Debug)]
struct Pick {
    job: Job,
    /// Newest first.
    inputs: Vec<Arc<TableFile>>,
    /// All other files that may hold their partitions.
    outside: Vec<Arc<TableFile>>,
}

/// The output of a merge: files that are created when they are needed.
struct Outputs<'a> {
    engine: &'a Engine,
    options: WriterOptions,
    job: &'a Job,
    fragment_bytes: u64,
    /// Placement deletions up to this one are applied.
    epochs_applied: Timestamp,
    current: Option<NewFile>,
    /// The window of the rows that come.
    window: Window,
    /// Files of other windows, if inputs hold rows of many.
    others: BTreeMap<Window, NewFile>,
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
        if self.spreads() && window != self.window {
            let next = self.others.remove(&window);
            let left = std::mem::replace(&mut self.current, next);
            self.others.extend(left.map(|file| (self.window, file)));
            (self.window, self.options.window) = (window, window);
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

    /// Bytes that the merges which are due now would read: how far compaction is behind.
    pub fn backlog_bytes(&self, now_ms: u64) -> u64 {
        let state = self.state();
        let jobs = self.jobs(&state, now_ms);
        jobs.iter()
            .filter(|(job, _)| !is_drop(job.reason))
            .map(|(job, _)| job.bytes)
            .sum()
    }

    /// The most urgent job of each table and window that has one.
    fn jobs(&self, state: &State, now_ms: u64) -> Vec<(Job, (TableId, Window))> {
        let (tables, version) = (self.tables.read(), &state.version);
        let mut jobs = Vec::new();
        // Tables whose mixed files keep a window from being dropped or purged.
        let mut is_needed = BTreeSet::new();
        let tokens = self.tokens();
        for (group, files) in &version.files {
            let (table, window) = *group;
            let windowed = tables
                .get(&table)
                .and_then(|options| options.windowed)
                .filter(|_| window != Window::TIMELESS);
            let is_over = windowed.is_some_and(|windowed| {
                let end_ms = windowed.end_ms(window);
                let sealed_ms = end_ms.saturating_add(self.options.seal_grace_ms);
                // Sealed now, it would be written again when its last rows are flushed.
                let waits = sealed_ms.saturating_add(windowed.window_ms / 2) > now_ms
                    && files.iter().all(|file| !file.meta.is_sealed)
                    && state.holds(table, window);
                sealed_ms <= now_ms && !waits
            });
            let is_half_over = windowed.is_some_and(|windowed| {
                windowed
                    .end_ms(window)
                    .saturating_sub(windowed.window_ms / 2)
                    <= now_ms
            });
            // A table that nobody defined yet may have windows: it waits until it is defined.
            let is_known = window == Window::TIMELESS || windowed.is_some();
            if window == Window::MIXED {
                continue;
            }
            let mixed = candidates(version.mixed(table, window), &version.epochs);
            let situation = Situation {
                options: &self.options,
                window_ms: windowed.map(|windowed| windowed.window_ms),
                is_over,
                is_half_over,
                now_ms,
                mixed: &mixed,
                tokens,
            };
            let files = candidates(files, &version.epochs);
            let job = pick_group(&files, &situation).filter(|_| is_known);
            if !mixed.is_empty() && is_known {
                let alone = Situation {
                    mixed: &[],
                    ..situation
                };
                let wanted = pick_group(&files, &alone).filter(forgets);
                if wanted.is_some() && wanted != job {
                    is_needed.insert(table);
                }
            }
            jobs.extend(job.map(|job| (job, *group)));
        }
        for (group, files) in &version.files {
            if group.1 == Window::MIXED {
                let files = candidates(files, &version.epochs);
                let job = pick_mixed(&files, &self.options, is_needed.contains(&group.0));
                jobs.extend(job.map(|job| (job, *group)));
            }
        }
        jobs
    }

    fn pick(&self, now_ms: u64) -> Option<Pick> {
        let state = self.state();
        let version = &state.version;
        let jobs = self.jobs(&state, now_ms);
        let (job, (table, window)) = jobs
            .into_iter()
            .min_by_key(|(job, _)| (job.reason, job.bytes))?;
        let files = version.group(table, window).iter().map(Arc::clone);
        let (inputs, mut outside): (Vec<_>, Vec<_>) =
            files.partition(|file| job.inputs.contains(&file.meta.number));
        if window == Window::MIXED {
            let others = version.table(table);
            outside.extend(
                others
                    .filter(|it| it.meta.properties.window != window)
                    .cloned(),
            );
        } else {
            outside.extend(version.mixed(table, window).iter().cloned());
        }
        Some(Pick {
            job,
            inputs,
            outside,
        })
    }

    /// Drops files unread.
    fn discard(&self, pick: &Pick) -> Result<Option<CompactionReport>> {
        self.replace(&pick.inputs, Vec::new())?;
        match pick.job.reason {
            CompactionReason::ExpiredWindow => add(&self.counters.windows_dropped, 1),
            _ => add(&self.counters.files_dropped, pick.inputs.len() as u64),
        }
        Ok(report(pick, &[], 0))
    }

    /// Merges files. `None`: cancelled.
    fn merge(
        &self,
        pick: &Pick,
        now_ms: u64,
        pace: &dyn MergePace,
    ) -> Result<Option<CompactionReport>> {
        let version = Arc::clone(&self.state().version);
        let mut outputs = self.outputs(pick, &version.epochs, pace)?;
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
        if let Some(report) = &report {
            add(&self.counters.compactions, 1);
            add(&self.counters.compaction_read_bytes, report.read_bytes);
            add(&self.counters.compaction_written_bytes, written);
            add(&self.counters.tombstones_dropped, report.tombstones_dropped);
        }
        Ok(report)
    }

    fn outputs<'a>(
        &'a self,
        pick: &'a Pick,
        epochs: &Epochs,
        pace: &'a dyn MergePace,
    ) -> Result<Outputs<'a>> {
        let properties = pick.inputs.iter().map(|file| &file.meta.properties);
        let from = properties.clone().map(|it| it.first_index).min();
        let to = properties.clone().map(|it| it.last_index).max();
        let first = properties.clone().next();
        let table = first.map_or(TableId(0), |it| it.table);
        let window = first.map_or(Window::TIMELESS, |it| it.window);
        let indexes = (from.unwrap_or_default(), to.unwrap_or_default());
        let mut options = self.writer_options(table, window, indexes);
        let mut fragment_bytes = self.options.fragment_bytes;
        if pick.job.is_cold {
            fragment_bytes = self.options.sealed_fragment_bytes;
            options.level = self.options.sealed_compression_level;
            options.dictionary = self.dictionary(table, &pick.inputs, options.level)?;
        }
        let newest = epochs
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
            window,
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

fn candidates<'a>(files: &'a [Arc<TableFile>], epochs: &Epochs) -> Vec<Candidate<'a>> {
    files
        .iter()
        .map(|file| Candidate {
            meta: &file.meta,
            epoch_blocks: epoch_blocks(file, epochs),
        })
        .collect()
}

fn is_drop(reason: CompactionReason) -> bool {
    matches!(
        reason,
        CompactionReason::ExpiredWindow
            | CompactionReason::ExpiredFile
            | CompactionReason::ForeignFile
    )
}

fn report(pick: &Pick, made: &[Arc<TableFile>], written_bytes: u64) -> Option<CompactionReport> {
    let first = &pick.inputs.first()?.meta.properties;
    let sum = |files: &[Arc<TableFile>], of: fn(&FileMeta) -> u64| -> u64 {
        files.iter().map(|file| of(&file.meta)).sum()
    };
    let reason = pick.job.reason;
    let tombstones = |files| sum(files, |meta| meta.properties.tombstones);
    Some(CompactionReport {
        reason,
        table: first.table,
        window: first.window,
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
    })
}

/// Blocks of large partitions that placement deletions have killed since the file was written.
fn epoch_blocks(file: &TableFile, epochs: &Epochs) -> u32 {
    let meta = &file.meta;
    let properties = &meta.properties;
    epochs
        .iter()
        .filter(|(table, token, _, timestamp)| {
            *table == properties.table
                && *timestamp > meta.epochs_applied
                && *timestamp >= properties.min_timestamp
                && file.table.may_contain_token(*token)
        })
        .map(|(_, token, placement, _)| file.table.blocks_under(token, placement))
        .fold(0, u32::saturating_add)
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
