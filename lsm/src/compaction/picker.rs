//! Chooses what to merge or drop next.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::manifest::{TableFile, Version};
use crate::options::{EngineOptions, TableOptions};
use crate::row::{TableId, Window};

/// Files below this size are all of the first tier, in bytes.
const FIRST_TIER_BYTES: u64 = 64 * 1024;

/// Why files are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing in them is visible any more: drop them unread.
    Expired,
    /// Too many blocks are mostly dead.
    Dense,
    /// The window is over.
    Seal,
    /// Enough neighbors of similar size.
    Tier,
}

/// What to do next.
#[derive(Clone, Debug)]
pub(crate) struct Pick {
    /// Why.
    pub(crate) reason: Reason,
    /// Files to merge or drop, newest first.
    pub(crate) inputs: Vec<Arc<TableFile>>,
    /// All other files of the table and window.
    pub(crate) outside: Vec<Arc<TableFile>>,
}

/// Chooses the most useful step, or `None` if all is well.
pub(crate) fn pick(
    version: &Version,
    tables: &BTreeMap<TableId, TableOptions>,
    options: &EngineOptions,
    now_ms: u64,
) -> Option<Pick> {
    let groups = version.files.iter().filter_map(|((table, window), files)| {
        let is_over = is_over(tables.get(table), *window, options, now_ms);
        pick_group(files, is_over, options, now_ms).map(|(reason, run)| (reason, run, files))
    });
    let (reason, run, files) = groups.min_by_key(|(reason, ..)| *reason as u8)?;
    let is_input = |at: &usize| run.contains(at);
    let (mut inputs, mut outside) = (Vec::new(), Vec::new());
    for (at, file) in files.iter().enumerate() {
        let side = if is_input(&at) {
            &mut inputs
        } else {
            &mut outside
        };
        side.push(Arc::clone(file));
    }
    Some(Pick {
        reason,
        inputs,
        outside,
    })
}

fn is_over(
    table: Option<&TableOptions>,
    window: Window,
    options: &EngineOptions,
    now_ms: u64,
) -> bool {
    table
        .and_then(|table| table.windowed)
        .filter(|_| window != Window::TIMELESS)
        .is_some_and(|windowed| {
            windowed
                .end_ms(window)
                .saturating_add(options.seal_grace_ms)
                <= now_ms
        })
}

/// The step for one window and the positions of its inputs.
fn pick_group(
    files: &[Arc<TableFile>],
    is_over: bool,
    options: &EngineOptions,
    now_ms: u64,
) -> Option<(Reason, Range<usize>)> {
    let all = 0..files.len();
    if files
        .iter()
        .all(|file| file.meta.properties.dead_after_ms <= now_ms)
    {
        return Some((Reason::Expired, all));
    }
    if is_dense(files) {
        return Some((Reason::Dense, all));
    }
    if is_over {
        return needs_sealing(files, options).then_some((Reason::Seal, all));
    }
    tier(files, options.tier_files).map(|run| (Reason::Tier, run))
}

/// At least a tenth of all blocks are mostly dead.
fn is_dense(files: &[Arc<TableFile>]) -> bool {
    let (dense, blocks) = files.iter().fold((0_u64, 0_u64), |(dense, blocks), file| {
        let properties = &file.meta.properties;
        (
            dense + u64::from(properties.dense_blocks),
            blocks + u64::from(properties.blocks),
        )
    });
    dense > 0 && dense * 10 >= blocks
}

fn needs_sealing(files: &[Arc<TableFile>], options: &EngineOptions) -> bool {
    let sealed: u64 = files
        .iter()
        .filter(|it| it.meta.is_sealed)
        .map(|it| it.meta.len)
        .sum();
    let late: u64 = files
        .iter()
        .filter(|it| !it.meta.is_sealed)
        .map(|it| it.meta.len)
        .sum();
    let late_files = files.iter().filter(|it| !it.meta.is_sealed).count();
    match files {
        // Alone and with nothing to purge, it is what sealing would write.
        [only] if !only.meta.is_sealed => only.meta.properties.tombstones > 0,
        _ if late_files == 0 => files.len() > 1,
        _ => sealed == 0 || late_files >= options.tier_files || late * 10 >= sealed,
    }
}

/// Neighbors of one size class; the smallest class first. With very many files of mixed sizes,
/// the cheapest neighbors whatever their class.
fn tier(files: &[Arc<TableFile>], width: usize) -> Option<Range<usize>> {
    let classes: Vec<u32> = files
        .iter()
        .map(|file| class(file.meta.len, width))
        .collect();
    let mut best: Option<(u32, Range<usize>)> = None;
    let mut from = 0;
    while let Some(class) = classes.get(from) {
        let len = classes
            .iter()
            .skip(from)
            .take_while(|other| *other == class)
            .count();
        let is_better = best.as_ref().is_none_or(|(other, _)| class < other);
        if len >= width && is_better {
            best = Some((*class, from..from + len.min(4 * width)));
        }
        from += len;
    }
    if let Some((_, run)) = best {
        return Some(run);
    }
    if files.len() <= 3 * width {
        return None;
    }
    let cost = |from: &usize| -> u64 {
        files
            .iter()
            .skip(*from)
            .take(width)
            .map(|file| file.meta.len)
            .sum()
    };
    (0..=files.len() - width)
        .min_by_key(cost)
        .map(|from| from..from + width)
}

fn class(len: u64, width: usize) -> u32 {
    (len / FIRST_TIER_BYTES)
        .checked_ilog(width as u64)
        .map_or(0, |class| class + 1)
}
