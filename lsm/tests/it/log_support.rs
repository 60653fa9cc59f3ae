//! A scripted log workload, a model that knows what every prefix of it looks like, and checks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use lsm::log::{Completion, Entry, GroupId, LeaderId, Log, LogId, LogOptions, Vote};
use lsm::vfs::Vfs;

pub(crate) const DIR: &str = "log";

/// The splitmix64 sequence.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

pub(crate) fn small_options() -> LogOptions {
    LogOptions {
        segment_bytes: 64 * 1024,
        spare_segments: 1,
        hot_bytes: 4 * 1024,
        commit_bytes: 16 * 1024,
        ..LogOptions::default()
    }
}

pub(crate) fn open(vfs: &(impl Vfs + Clone + 'static)) -> lsm::Result<Log> {
    Log::open(Arc::new(vfs.clone()), Path::new(DIR), small_options())
}

pub(crate) fn ignored() -> Completion {
    Box::new(|_| ())
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId {
        leader: LeaderId { term, node: 1 },
        index,
    }
}

/// One change of one group.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Entry {
        group: u64,
        id: LogId,
        payload: Bytes,
    },
    Vote {
        group: u64,
        vote: Vote,
    },
    Truncate {
        group: u64,
        last_kept: Option<u64>,
    },
    Purge {
        group: u64,
        upto: LogId,
    },
    Reset {
        group: u64,
        owner: u64,
    },
}

/// One call of the script; the steps of one append are one call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Steps(Vec<Step>),
    Committed { group: u64, id: LogId },
    Flush,
    Idle,
}

/// What a group holds, as the caller sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupModel {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
    pub(crate) base: u64,
    pub(crate) entries: Vec<(LogId, Bytes)>,
    pub(crate) owner: u64,
}

pub(crate) type Model = BTreeMap<u64, GroupModel>;

impl GroupModel {
    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.last().map(|(id, _)| *id).or(self.purged)
    }

    fn term(&self) -> u64 {
        self.last().map_or(1, |last| last.leader.term)
    }

    pub(crate) fn next_index(&self) -> u64 {
        self.last().map_or(1, |last| last.index + 1)
    }
}

pub(crate) fn apply(model: &mut Model, step: &Step) {
    match step {
        Step::Entry { group, id, payload } => {
            let group = model.entry(*group).or_default();
            if group.entries.is_empty() {
                group.base = id.index;
            }
            group.entries.push((*id, payload.clone()));
        }
        Step::Vote { group, vote } => model.entry(*group).or_default().vote = Some(*vote),
        Step::Truncate { group, last_kept } => {
            let group = model.entry(*group).or_default();
            group
                .entries
                .retain(|(id, _)| last_kept.is_some_and(|kept| id.index <= kept));
        }
        Step::Purge { group, upto } => {
            let group = model.entry(*group).or_default();
            if group.purged.is_none_or(|purged| purged.index < upto.index) {
                group.purged = Some(*upto);
                group.entries.retain(|(id, _)| id.index > upto.index);
                group.base = upto.index + 1;
            }
        }
        Step::Reset { group, owner } => {
            let fresh = GroupModel {
                owner: *owner,
                ..GroupModel::default()
            };
            model.insert(*group, fresh);
        }
    }
}

/// A random script of valid calls for four groups.
pub(crate) fn script(seed: u64, calls: usize) -> Vec<Call> {
    let mut random = Random(seed);
    let mut model = Model::new();
    let mut script = Vec::new();
    for _ in 0..calls {
        let group = random.below(4);
        let state = model.entry(group).or_default().clone();
        let call = match random.below(20) {
            0..=8 => Call::Steps(some_entries(&mut random, group, &state)),
            9..=14 => Call::Steps(some_control(&mut random, group, &state)),
            15 => match state.last() {
                Some(id) => Call::Committed { group, id },
                None => Call::Flush,
            },
            16 => Call::Idle,
            _ => Call::Flush,
        };
        if let Call::Steps(steps) = &call {
            for step in steps {
                apply(&mut model, step);
            }
        }
        script.push(call);
    }
    script.push(Call::Flush);
    script
}

fn some_entries(random: &mut Random, group: u64, state: &GroupModel) -> Vec<Step> {
    let (next, term) = (state.next_index(), state.term());
    let entries = 0..=random.below(3);
    let steps = entries.map(|at| {
        let len = [10, 300, 3000, 8000][usize::try_from(random.below(4)).unwrap()];
        let fill = u8::try_from(random.below(256)).unwrap();
        Step::Entry {
            group,
            id: id(term, next + at),
            payload: Bytes::from(vec![fill; len]),
        }
    });
    steps.collect()
}

fn some_control(random: &mut Random, group: u64, state: &GroupModel) -> Vec<Step> {
    let (next, term) = (state.next_index(), state.term());
    match random.below(12) {
        0 | 1 => {
            let leader = LeaderId {
                term: term + 1,
                node: random.below(3),
            };
            let committed = random.below(2) == 0;
            vec![Step::Vote {
                group,
                vote: Vote { leader, committed },
            }]
        }
        2..=4 => {
            let back = random.below(4).min(next - 1);
            let last_kept = (next - 1).checked_sub(back);
            let purged = state.purged.map_or(0, |id| id.index);
            let index = last_kept.unwrap_or(0).max(purged) + 1;
            let payload = Bytes::from_static(b"after a truncation");
            let entry = Step::Entry {
                group,
                id: id(term + 1, index),
                payload,
            };
            vec![Step::Truncate { group, last_kept }, entry]
        }
        // A snapshot was installed: everything goes, and indexes are skipped.
        5 if random.below(4) == 0 => vec![Step::Purge {
            group,
            upto: id(term, next + 7),
        }],
        // The replica is destroyed, or gives its place to another one.
        6 if random.below(2) == 0 => vec![Step::Reset {
            group,
            owner: random.below(3),
        }],
        _ => {
            let keep = usize::try_from(random.below(5)).unwrap();
            let upto = state.entries.iter().rev().nth(keep);
            upto.map(|(upto, _)| Step::Purge { group, upto: *upto })
                .into_iter()
                .collect()
        }
    }
}

/// Every step of a script in order.
pub(crate) fn steps(script: &[Call]) -> Vec<Step> {
    let steps = script.iter().filter_map(|call| match call {
        Call::Steps(steps) => Some(steps.clone()),
        _ => None,
    });
    steps.flatten().collect()
}

/// What became of a script.
pub(crate) struct Outcome {
    /// Steps known to be durable: all up to the last one whose completion said so.
    pub(crate) acknowledged: Arc<AtomicUsize>,
    pub(crate) error: Option<lsm::Error>,
}

/// Runs a script until it ends or a call fails.
pub(crate) fn run(log: &Log, script: &[Call]) -> Outcome {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut done = 0;
    for call in script {
        let result = match call {
            Call::Steps(steps) => run_steps(log, steps, &mut done, &acknowledged),
            Call::Committed { group, id } => {
                log.save_committed(GroupId(*group), *id);
                Ok(())
            }
            Call::Flush => flush_all(log),
            Call::Idle => {
                while log.wait(std::time::Duration::ZERO) && flush_all(log).is_ok() {}
                log.flush().map(|_| ())
            }
        };
        if let Err(error) = result {
            return Outcome {
                acknowledged,
                error: Some(error),
            };
        }
    }
    Outcome {
        acknowledged,
        error: None,
    }
}

fn flush_all(log: &Log) -> lsm::Result<()> {
    while log.flush()? {}
    Ok(())
}

fn run_steps(
    log: &Log,
    steps: &[Step],
    done: &mut usize,
    acknowledged: &Arc<AtomicUsize>,
) -> lsm::Result<()> {
    let mut entries: Vec<Entry> = Vec::new();
    for step in steps {
        *done += 1;
        let number = *done;
        let counter = Arc::clone(acknowledged);
        let completion: Completion = Box::new(move |result| {
            if result.is_ok() {
                counter.fetch_max(number, Ordering::Relaxed);
            }
        });
        match step {
            Step::Entry { group, id, payload } => {
                // Steps of one call are of one group; the last entry's completion speaks for all.
                entries.push(Entry {
                    id: *id,
                    payload: payload.clone(),
                });
                let is_last =
                    entries.len() == steps.len() || matches!(steps[0], Step::Truncate { .. });
                if is_last {
                    log.append(GroupId(*group), std::mem::take(&mut entries), completion)?;
                }
            }
            Step::Vote { group, vote } => log.save_vote(GroupId(*group), *vote, completion)?,
            Step::Truncate { group, last_kept } => {
                log.truncate_after(GroupId(*group), *last_kept, completion)?;
            }
            Step::Purge { group, upto } => log.purge(GroupId(*group), *upto)?,
            Step::Reset { group, owner } => log.reset(GroupId(*group), *owner, completion)?,
        }
    }
    Ok(())
}

/// Everything that a log holds.
pub(crate) fn observe(log: &Log) -> lsm::Result<Model> {
    let mut model = Model::new();
    for group in log.groups() {
        let state = log.state(group);
        let base = state.purged.map_or(0, |purged| purged.index + 1);
        let first = base;
        let end = state.last.map_or(first, |last| last.index + 1);
        let entries: Vec<_> = log
            .read(group, first..end, usize::MAX)?
            .into_iter()
            .map(|entry| (entry.id, entry.payload))
            .collect();
        let found = GroupModel {
            vote: state.vote,
            owner: state.owner,
            purged: state.purged,
            base,
            entries,
        };
        assert_eq!(found.last(), state.last, "group {group:?}");
        assert!(
            state
                .committed
                .is_none_or(|id| state.last.is_some_and(|last| id.index <= last.index))
        );
        model.insert(group.0, found);
    }
    Ok(model)
}

/// Two models, `base` and empty groups aside.
pub(crate) fn is_same(one: &Model, other: &Model) -> bool {
    let strip = |model: &Model| -> Model {
        let groups = model.iter().map(|(group, state)| {
            (
                *group,
                GroupModel {
                    base: 0,
                    ..state.clone()
                },
            )
        });
        groups
            .filter(|(_, state)| *state != GroupModel::default())
            .collect()
    };
    strip(one) == strip(other)
}

/// How many steps of the script the log holds: the first number, at least `acknowledged`, whose
/// state is the log's.
pub(crate) fn prefix_len(found: &Model, steps: &[Step], acknowledged: usize) -> Option<usize> {
    let mut model = Model::new();
    for step in &steps[..acknowledged] {
        apply(&mut model, step);
    }
    let mut len = acknowledged;
    loop {
        if is_same(&model, found) {
            return Some(len);
        }
        apply(&mut model, steps.get(len)?);
        len += 1;
    }
}
