//! Chooses what to merge or drop next in one table and window: a pure function of files, options
//! and time.
//!
//! A job takes whole runs, neighbors in log order, and of the oldest of them only the fragments
//! between the first and the last key of the others: the rest of that run stays as it is, and the
//! outputs join it. So sources stay ordered by time, and a small change of a large sealed window
//! rewrites a part of it.
//!
//! # Why it ends
//!
//! Every job leaves fewer runs, or less data, or a window that is sealed. Jobs that purge are only
//! chosen when nothing outside keeps what they are to purge.

use std::ops::RangeInclusive;

use super::pace::CompactionReason as Reason;
use super::runs::{Candidate, Run, first, hides_something, last, newest};
use crate::options::EngineOptions;

/// Neighbors that are smaller than this together merge as soon as they are enough, in bytes.
const SMALL_BYTES: u64 = 1024 * 1024;
/// An unsealed run that is alone in its window is not worth rewriting below this size, in bytes.
const SEAL_ALONE_BYTES: u64 = 1024 * 1024;
/// A level of a table without time is so many times larger than what is newer than it.
const FAN_OUT: u64 = 8;
/// A merge for the sake of dead rows needs one in so many rows or blocks to be dead.
const DEAD_SHARE: u64 = 10;

/// In the second half of a window, runs that were never merged wait for its seal unless they are so many
/// times as many as a tier.
const WAITING_TIERS: usize = 2;

/// Late writes are merged with sealed fragments when they are one in so many of their bytes.
const LATE_SHARE: u64 = 10;

/// What the picker knows of a window besides its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation<'a> {
    /// Settings of the engine.
    pub(crate) options: &'a EngineOptions,
    /// Width of the window; `None` for a table without time.
    pub(crate) window_ms: Option<u64>,
    /// Whether the window and its grace are over.
    pub(crate) is_over: bool,
    /// Whether the second half of the window has begun.
    pub(crate) is_half_over: bool,
    /// Time of the last applied entry.
    pub(crate) now_ms: u64,
    /// Files of the table that may hold rows of this window beside others.
    pub(crate) mixed: &'a [Candidate<'a>],
    /// The tokens of the engine. What lies outside is somebody else's.
    pub(crate) tokens: (u64, u64),
}

/// What to do next in one table and window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Why.
    pub(crate) reason: Reason,
    /// Numbers of the files to merge or drop.
    pub(crate) inputs: Vec<u64>,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The run that the outputs join; `None`: they are a new one.
    pub(crate) run: Option<u64>,
    /// How often the oldest data of the outputs was merged.
    pub(crate) merges: u8,
    /// Whether the outputs are written once for long: at the sealed level, with a dictionary.
    pub(crate) is_cold: bool,
    /// Whether the outputs count as sealed.
    pub(crate) is_sealed: bool,
}

/// The most urgent job, or `None` if all is well.
pub(crate) fn pick_group(files: &[Candidate<'_>], situation: &Situation<'_>) -> Option<Job> {
    let runs = Run::of(files);
    expired(files, situation)
        .or_else(|| dense(&runs, situation))
        .or_else(|| match situation.window_ms {
            None => level(&runs, situation),
            Some(_) if situation.is_over => seal(&runs, situation),
            Some(_) => tier(&runs, situation),
        })
        .or_else(|| purge(&runs, situation))
        .or_else(|| foreign(files, &runs, situation))
}

/// Gives the rows of mixed files to their windows, when those are enough or `is_needed`.
pub(crate) fn pick_mixed(
    files: &[Candidate<'_>],
    options: &EngineOptions,
    is_needed: bool,
) -> Option<Job> {
    let bytes: u64 = files.iter().map(|file| file.meta.len).sum();
    let is_due = is_needed || files.len() > options.mixed_files || bytes > options.mixed_bytes;
    let all: Vec<&Candidate<'_>> = files.iter().collect();
    (is_due && !all.is_empty()).then(|| Job::of(Reason::Spread, &all))
}

/// Whether a job is only chosen where nothing outside keeps what it is to drop.
pub(crate) fn forgets(job: &Job) -> bool {
    matches!(
        job.reason,
        Reason::ExpiredWindow | Reason::ExpiredFile | Reason::Dense | Reason::Purge
    )
}

/// Drops what nobody can see and what hides nothing.
fn expired(files: &[Candidate<'_>], situation: &Situation<'_>) -> Option<Job> {
    let is_dead = |file: &&Candidate<'_>| {
        file.meta.properties.dead_after_ms <= situation.now_ms && !files.is_empty()
    };
    let dead: Vec<&Candidate<'_>> = files.iter().filter(is_dead).collect();
    if dead.is_empty() {
        return None;
    }
    let hides_mixed = |file: &Candidate<'_>| hides_something(file, situation.mixed);
    if dead.len() == files.len() && !files.iter().any(hides_mixed) {
        return Some(Job::of(Reason::ExpiredWindow, &dead));
    }
    let alone: Vec<&Candidate<'_>> = dead
        .into_iter()
        .filter(|file| !hides_something(file, files) && !hides_mixed(file))
        .collect();
    (!alone.is_empty()).then(|| Job::of(Reason::ExpiredFile, &alone))
}

/// Merges a run of dead rows with everything older that it may have killed.
fn dense(runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let oldest = runs.len().checked_sub(1)?;
    for (at, run) in runs.iter().enumerate() {
        let Some(file) = run.files.iter().find(|file| is_dense(file)) else {
            continue;
        };
        let job = if at == oldest {
            rewrite(run, file, Reason::Dense, situation)
        } else {
            merge_down(runs, at..=oldest, Reason::Dense, situation)
        };
        let inputs: Vec<Candidate<'_>> = job.files(runs);
        let sum = |of: fn(&Candidate<'_>) -> u64| inputs.iter().map(of).sum::<u64>();
        let blocks = sum(|it| it.meta.properties.blocks.into());
        let dense = sum(|it| it.meta.properties.dense_blocks.into());
        let rows = sum(|it| it.meta.properties.rows);
        let dead = sum(|it| it.meta.properties.dead_rows);
        let is_worth_it = dense * DEAD_SHARE >= blocks || dead * DEAD_SHARE >= rows;
        if is_worth_it && is_newer_data_apart(&runs[..at], &inputs, situation) {
            return Some(job);
        }
    }
    None
}

fn is_dense(file: &Candidate<'_>) -> bool {
    let properties = &file.meta.properties;
    let dense = u64::from(properties.dense_blocks);
    dense > 0 && dense * DEAD_SHARE >= u64::from(properties.blocks)
}

/// Whether nothing in `newer` is as old as something in `inputs`, as it is in a sound engine: then
/// no tombstone of the inputs has to be kept for the sake of `newer`.
fn is_newer_data_apart(
    newer: &[Run<'_>],
    inputs: &[Candidate<'_>],
    situation: &Situation<'_>,
) -> bool {
    let newest = newest(inputs);
    newer
        .iter()
        .flat_map(|run| &run.files)
        .chain(situation.mixed)
        .all(|file| file.meta.properties.min_timestamp > newest)
}

/// Makes one run of a window that is over. What comes later merges with its like, and with the
/// fragments that it belongs between when it is a tenth of them.
fn seal(runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let oldest = runs.len().checked_sub(1)?;
    let late = match runs.iter().position(|run| run.is_sealed) {
        Some(at) if at == oldest => &runs[..at],
        // None is sealed, or a merge of an older build left one between others.
        _ => {
            let alone = &runs[oldest];
            let has_tombstones = alone
                .files
                .iter()
                .any(|file| file.meta.properties.tombstones > 0);
            let is_worth_it = oldest > 0 || alone.len >= SEAL_ALONE_BYTES || has_tombstones;
            return is_worth_it.then(|| whole(runs, 0..=oldest, Reason::Seal));
        }
    };
    let late_bytes: u64 = late.iter().map(|run| run.len).sum();
    if late.is_empty() {
        return None;
    }
    let job = merge_down(runs, 0..=oldest, Reason::Late, situation);
    if late_bytes * LATE_SHARE >= job.bytes - late_bytes {
        return Some(job);
    }
    tier(late, situation)
}

/// Merges neighbors that were merged equally often; the ones that were merged least first. What was
/// merged before waits for twice as many neighbors each time, so that data is rewritten rarely.
/// With very many runs, the cheapest neighbors whatever they are.
fn tier(runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let width = situation.options.tier_files;
    let mut best: Option<(u8, RangeInclusive<usize>)> = None;
    let mut from = 0;
    while let Some(first) = runs.get(from) {
        let merges = first.merges;
        let same = || runs[from..].iter().take_while(|run| run.merges == merges);
        let (len, bytes) = (same().count(), same().map(|run| run.len).sum::<u64>());
        let wanted = if bytes < SMALL_BYTES {
            width
        } else if merges == 0 && situation.is_half_over && !situation.is_over {
            width * WAITING_TIERS
        } else {
            width << merges.min(4)
        };
        let is_better = best.as_ref().is_none_or(|(other, _)| merges < *other);
        if len >= wanted && is_better {
            best = Some((merges, from..=from + len.min(4 * wanted) - 1));
        }
        from += len;
    }
    if let Some((_, range)) = best {
        return Some(whole(runs, range, Reason::Tier));
    }
    if runs.len() <= situation.options.runs_max {
        return None;
    }
    let cost = |from: &usize| -> u64 {
        let neighbors = runs.iter().skip(*from).take(width);
        neighbors.map(|run| run.len).sum()
    };
    let from = (0..=runs.len() - width).min_by_key(cost)?;
    Some(whole(runs, from..=from + width - 1, Reason::Tier))
}

/// Merges new runs of a table without time, with every older run that is not [`FAN_OUT`] times
/// larger than what is merged into it.
fn level(runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let fresh = runs.iter().take_while(|run| run.merges == 0).count();
    if fresh < situation.options.tier_files {
        return None;
    }
    let mut sum: u64 = runs[..fresh].iter().map(|run| run.len).sum();
    let mut to = fresh - 1;
    while let Some(older) = runs.get(to + 1)
        && older.len < sum * FAN_OUT
    {
        sum += older.len;
        to += 1;
    }
    Some(merge_down(runs, 0..=to, Reason::Level, situation))
}

/// Rewrites one file of which much has expired or was deleted with its placement.
fn purge(runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let oldest = runs.len().checked_sub(1)?;
    for (at, run) in runs.iter().enumerate() {
        let (newer, is_oldest) = (&runs[..at], at == oldest);
        let is_worth_it = |file: &&Candidate<'_>| {
            let blocks = u64::from(file.meta.properties.blocks);
            let dead = u64::from(file.epoch_blocks);
            let by_epoch = dead > 0 && dead * DEAD_SHARE >= blocks;
            let expires = has_expired(file, situation)
                && is_oldest
                && is_newer_data_apart(newer, std::slice::from_ref(*file), situation);
            by_epoch || expires
        };
        if let Some(file) = run.files.iter().find(is_worth_it) {
            return Some(rewrite(run, file, Reason::Purge, situation));
        }
    }
    None
}

/// Drops files outside of the engine's tokens, and takes out of others what lies outside.
fn foreign(files: &[Candidate<'_>], runs: &[Run<'_>], situation: &Situation<'_>) -> Option<Job> {
    let (first, last) = situation.tokens;
    let tokens = |file: &Candidate<'_>| {
        let properties = &file.meta.properties;
        (properties.first_token, properties.last_token)
    };
    let is_outside = |file: &&Candidate<'_>| {
        let (from, to) = tokens(file);
        to < first || last < from
    };
    let outside: Vec<&Candidate<'_>> = files.iter().filter(is_outside).collect();
    if !outside.is_empty() {
        return Some(Job::of(Reason::ForeignFile, &outside));
    }
    let juts_out = |file: &&Candidate<'_>| {
        let (from, to) = tokens(file);
        from < first || last < to
    };
    runs.iter().find_map(|run| {
        let file = run.files.iter().find(juts_out)?;
        Some(rewrite(run, file, Reason::Foreign, situation))
    })
}

/// A quarter is dead, and the whole file will not be dropped soon anyway.
fn has_expired(file: &Candidate<'_>, situation: &Situation<'_>) -> bool {
    let properties = &file.meta.properties;
    let soon = situation
        .now_ms
        .saturating_add(situation.window_ms.unwrap_or(0));
    properties.quarter_dead_after_ms <= situation.now_ms && properties.dead_after_ms > soon
}

/// A job over all files of some runs.
fn whole(runs: &[Run<'_>], range: RangeInclusive<usize>, reason: Reason) -> Job {
    let is_all = range.clone().count() == runs.len();
    let files: Vec<&Candidate<'_>> = runs[range.clone()]
        .iter()
        .flat_map(|run| &run.files)
        .collect();
    let merges = runs[range].iter().map(|run| run.merges).max().unwrap_or(0);
    let is_seal = reason == Reason::Seal && is_all;
    Job {
        merges: merges.saturating_add(1),
        is_cold: is_seal,
        is_sealed: is_seal,
        ..Job::of(reason, &files)
    }
}

/// A job over some runs, of the oldest only what lies between the keys of the others.
fn merge_down(
    runs: &[Run<'_>],
    range: RangeInclusive<usize>,
    reason: Reason,
    situation: &Situation<'_>,
) -> Job {
    let (from, to) = (*range.start(), *range.end());
    let bottom = &runs[to];
    let mut files: Vec<&Candidate<'_>> = runs[from..to].iter().flat_map(|run| &run.files).collect();
    let fragments = between(&files, &bottom.files);
    let is_part = fragments.len() < bottom.files.len();
    files.extend(fragments);
    let merges = runs[range].iter().map(|run| run.merges).max().unwrap_or(0);
    let is_oldest = to + 1 == runs.len();
    let is_timeless = situation.window_ms.is_none();
    Job {
        run: is_part.then_some(bottom.id),
        merges: merges.saturating_add(1),
        is_cold: is_oldest && (bottom.is_sealed || is_timeless),
        is_sealed: is_oldest && bottom.is_sealed,
        ..Job::of(reason, &files)
    }
}

/// The fragments of a run between the first and the last key of `newer`: outputs may span all of
/// that. If there are none, the next one, so that fragments do not become many and small.
fn between<'a, 'f>(newer: &[&Candidate<'_>], run: &'f [Candidate<'a>]) -> &'f [Candidate<'a>] {
    let (Some(from), Some(to)) = (
        newer.iter().map(|file| first(file)).min(),
        newer.iter().map(|file| last(file)).max(),
    ) else {
        return run;
    };
    let start = run.partition_point(|file| last(file) < from);
    let end = run.partition_point(|file| first(file) <= to);
    if start < end {
        &run[start..end]
    } else {
        let next = start.min(run.len().saturating_sub(1));
        &run[next..run.len().min(next + 1)]
    }
}

/// A job over one file, which stays in its run.
fn rewrite(run: &Run<'_>, file: &Candidate<'_>, reason: Reason, situation: &Situation<'_>) -> Job {
    Job {
        run: Some(run.id),
        merges: run.merges,
        is_cold: run.is_sealed || (situation.window_ms.is_none() && run.merges > 0),
        is_sealed: run.is_sealed,
        ..Job::of(reason, &[file])
    }
}

impl Job {
    pub(super) fn of(reason: Reason, files: &[&Candidate<'_>]) -> Self {
        Self {
            reason,
            inputs: files.iter().map(|file| file.meta.number).collect(),
            bytes: files.iter().map(|file| file.meta.len).sum(),
            run: None,
            merges: 0,
            is_cold: false,
            is_sealed: false,
        }
    }

    fn files<'a>(&self, runs: &[Run<'a>]) -> Vec<Candidate<'a>> {
        runs.iter()
            .flat_map(|run| &run.files)
            .filter(|file| self.inputs.contains(&file.meta.number))
            .copied()
            .collect()
    }
}
