//! What compaction has to do next, in which files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Engine;
use super::compact::is_drop;
use super::state::State;
use crate::compaction::{
    Candidate, CompactionReason, Job, Settled, Situation, forgets, pick_cold, pick_group,
    pick_mixed,
};
use crate::manifest::TableFile;
use crate::memtable::Epochs;
use crate::options::WindowOptions;
use crate::row::{TableId, Window};

/// A job and where it is.
#[derive(Debug)]
struct Due {
    job: Job,
    table: TableId,
    /// The first and the last window that its outputs hold; of mixed files [`Window::MIXED`].
    windows: (Window, Window),
}

/// A job and the files that it is about.
#[derive(Debug)]
pub(super) struct Pick {
    pub(super) job: Job,
    pub(super) table: TableId,
    /// The first and the last window that its outputs hold.
    pub(super) windows: (Window, Window),
    /// Newest first, window by window.
    pub(super) inputs: Vec<Arc<TableFile>>,
    /// All other files that may hold their partitions.
    pub(super) outside: Vec<Arc<TableFile>>,
}

/// What is found while the groups of an engine are looked at in order.
#[derive(Debug, Default)]
struct Found<'a> {
    due: Vec<Due>,
    /// Tables whose mixed files keep a window from being dropped or purged.
    needs_spread: BTreeSet<TableId>,
    /// Windows of tables with time.
    settled: BTreeMap<TableId, (WindowOptions, Vec<Settled<'a>>)>,
}

impl Engine {
    /// Bytes that the merges which are due now would read: how far compaction is behind. Old windows
    /// that could share files hurt nobody while they wait, and do not count.
    pub fn backlog_bytes(&self, now_ms: u64) -> u64 {
        let state = self.state();
        let due = self.due(&state, now_ms);
        due.iter()
            .filter(|due| !is_drop(due.job.reason) && due.job.reason != CompactionReason::Cold)
            .map(|due| due.job.bytes)
            .sum()
    }

    /// The most urgent job of each table and window that has one, and one for the old windows of each table.
    fn due(&self, state: &State, now_ms: u64) -> Vec<Due> {
        let version = &state.version;
        let mut found = Found::default();
        for (group, files) in &version.files {
            if group.1 != Window::MIXED {
                self.look(state, (*group, files), now_ms, &mut found);
            }
        }
        let Found {
            mut due,
            needs_spread,
            settled,
        } = found;
        for ((table, window), files) in &version.files {
            if *window == Window::MIXED {
                let files = candidates(files, &version.epochs);
                let job = pick_mixed(&files, &self.options, needs_spread.contains(table));
                due.extend(job.map(|job| Due {
                    job,
                    table: *table,
                    windows: (*window, *window),
                }));
            }
        }
        for (table, (windowed, groups)) in settled {
            let picked = pick_cold(&groups, &self.options, windowed, now_ms);
            due.extend(picked.map(|(job, windows)| Due {
                job,
                table,
                windows,
            }));
        }
        due
    }

    /// Looks at one table and window, or group of merged ones.
    fn look<'a>(
        &self,
        state: &'a State,
        ((table, window), files): ((TableId, Window), &'a [Arc<TableFile>]),
        now_ms: u64,
        found: &mut Found<'a>,
    ) {
        let version = &state.version;
        let windows = version.windows(table, window);
        let windowed = self
            .tables
            .read()
            .get(&table)
            .and_then(|options| options.windowed)
            .filter(|_| window != Window::TIMELESS);
        if window != Window::TIMELESS && windowed.is_none() {
            // A table that nobody defined yet may have windows: it waits until it is defined.
            return;
        }
        let is_over = windowed.is_some_and(|windowed| {
            let end_ms = windowed.end_ms(windows.1);
            let sealed_ms = end_ms.saturating_add(self.options.seal_grace_ms);
            // Sealed now, it would be written again when its last rows are flushed.
            let waits = sealed_ms.saturating_add(windowed.window_ms / 2) > now_ms
                && files.iter().all(|file| !file.meta.is_sealed)
                && state.holds(table, window);
            sealed_ms <= now_ms && !waits
        });
        let is_half_over = windowed.is_some_and(|windowed| {
            let half_ms = windowed.window_ms / 2;
            windowed.end_ms(windows.1).saturating_sub(half_ms) <= now_ms
        });
        let mixed = candidates(version.mixed(table, window), &version.epochs);
        let situation = Situation {
            options: &self.options,
            window_ms: windowed.map(|windowed| windowed.window_ms),
            is_over,
            is_half_over,
            now_ms,
            mixed: &mixed,
            tokens: self.tokens(),
        };
        let files = candidates(files, &version.epochs);
        let job = pick_group(&files, &situation);
        if !mixed.is_empty() {
            let alone = Situation {
                mixed: &[],
                ..situation
            };
            let wanted = pick_group(&files, &alone).filter(forgets);
            if wanted.is_some() && wanted != job {
                found.needs_spread.insert(table);
            }
        }
        let is_settled = job.is_none();
        found.due.extend(job.map(|job| Due {
            job,
            table,
            windows,
        }));
        if let Some(windowed) = windowed {
            let files = if is_settled { files } else { Vec::new() };
            let (_, groups) = found
                .settled
                .entry(table)
                .or_insert_with(|| (windowed, Vec::new()));
            groups.push(Settled { windows, files });
        }
    }

    /// The most urgent job of all.
    pub(super) fn pick(&self, now_ms: u64) -> Option<Pick> {
        let state = self.state();
        let version = &state.version;
        let Due {
            job,
            table,
            windows,
        } = self
            .due(&state, now_ms)
            .into_iter()
            .min_by_key(|due| (due.job.reason, due.job.bytes))?;
        let (first, last) = windows;
        let may_share = |file: &&Arc<TableFile>| {
            let it = &file.meta.properties;
            let is_mixed = it.window == Window::MIXED || first == Window::MIXED;
            // Mixed files hold no rows of a table without time.
            let may_mix = is_mixed && first != Window::TIMELESS && it.window != Window::TIMELESS;
            may_mix || (it.window <= last && first <= it.last_window)
        };
        let files = version.table(table).filter(may_share).map(Arc::clone);
        let (inputs, outside) = files.partition(|file| job.inputs.contains(&file.meta.number));
        Some(Pick {
            job,
            table,
            windows,
            inputs,
            outside,
        })
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
