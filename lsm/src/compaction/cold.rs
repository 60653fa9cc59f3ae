//! Old windows share files: which neighbors become one group next.
//!
//! A table without expiry keeps its windows for ever. So that their files stay few, windows that are old
//! are merged geometrically: [`EngineOptions::cold_fan_out`] of them, at numbers that are a multiple of it,
//! become one group; as many groups become a larger one. A group is as one window from then on: what is
//! written late to one of its windows merges with it as with any sealed window.
//!
//! # Invariants
//!
//! * Groups nest and never overlap, so a window is in one of them.
//! * A window that can be dropped whole one day is in no group: that one could not be dropped.
//! * A group is written with at most one fragment of temporary space: what is larger does not make fewer
//!   files by being merged.
//!
//! # Cost
//!
//! Every size of groups writes a datum once, but sizes for which all is there at once are left out. Files
//! that stay: the windows that are not old, at most one less than `cold_fan_out` groups of each size, and
//! those whose neighbors would be more than a fragment with them.

use super::pace::CompactionReason as Reason;
use super::picker::Job;
use super::runs::Candidate;
use crate::options::{EngineOptions, WindowOptions};
use crate::row::Window;

/// A window, or a group of merged ones, in which nothing else is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Settled<'a> {
    /// The first and the last window.
    pub(crate) windows: (Window, Window),
    /// Its files; none if something else is to be done in it first.
    pub(crate) files: Vec<Candidate<'a>>,
}

/// Merges the neighbors that make most files fewer, in the smallest group that they fit. `groups` are all
/// of a table, in order. Returns the windows of the new group as well.
pub(crate) fn pick_cold(
    groups: &[Settled<'_>],
    options: &EngineOptions,
    windowed: WindowOptions,
    now_ms: u64,
) -> Option<(Job, (Window, Window))> {
    let young_ms = windowed.window_ms.saturating_mul(options.unmerged_windows);
    let is_old = |window| {
        let end_ms = windowed.end_ms(window);
        end_ms.saturating_add(young_ms) <= now_ms
    };
    let old = groups.partition_point(|group| is_old(group.windows.1));
    let groups = groups.get(..old)?;
    let mut best: Option<(Job, (Window, Window))> = None;
    for width in widths(i64::from(options.cold_fan_out)) {
        let parts: Vec<&[Settled<'_>]> = groups
            .chunk_by(|a, b| number(a, width) == number(b, width))
            .collect();
        let found = parts.iter().enumerate().find_map(|(at, part)| {
            let windows = span(part, width)?;
            // A group of another width, from before the option was changed, may jut out or in.
            let before = at.checked_sub(1).and_then(|at| parts.get(at)?.last());
            let begins = before.is_none_or(|group| group.windows.1 < windows.0);
            let ends = part.last()?.windows.1 <= windows.1;
            let job = merge(part, options).filter(|_| begins && ends && is_old(windows.1))?;
            Some((job, windows))
        });
        let files = |found: &(Job, _)| found.0.inputs.len();
        if found.as_ref().map(files) > best.as_ref().map(files) {
            best = found;
        }
        if parts.len() <= 1 {
            break;
        }
    }
    best
}

/// How many windows a group has, from the smallest on.
fn widths(fan_out: i64) -> impl Iterator<Item = i64> {
    let first = Some(fan_out).filter(|fan_out| *fan_out > 1);
    std::iter::successors(first, move |width| width.checked_mul(fan_out))
}

/// The number of the group that something is in.
fn number(group: &Settled<'_>, width: i64) -> i64 {
    group.windows.0.0.div_euclid(width)
}

/// The windows of the group that some neighbors are in, if there are such.
fn span(part: &[Settled<'_>], width: i64) -> Option<(Window, Window)> {
    let first = Window(number(part.first()?, width).checked_mul(width)?);
    let last = Window(first.0.checked_add(width - 1)?);
    (first > Window::MIXED).then_some((first, last))
}

/// A job that merges some groups, if it is worth it.
fn merge(groups: &[Settled<'_>], options: &EngineOptions) -> Option<Job> {
    let lasts = |group: &Settled<'_>| {
        let mut files = group.files.iter();
        files.any(|file| file.meta.properties.dead_after_ms == u64::MAX)
    };
    let files: Vec<&Candidate<'_>> = groups.iter().flat_map(|group| &group.files).collect();
    let job = Job::of(Reason::Cold, &files);
    let fits = job.bytes <= options.sealed_fragment_bytes;
    let merges = files.iter().map(|file| file.meta.merges).max()?;
    (groups.len() > 1 && fits && groups.iter().all(lasts)).then(|| Job {
        merges: merges.saturating_add(1),
        is_cold: true,
        is_sealed: true,
        ..job
    })
}
