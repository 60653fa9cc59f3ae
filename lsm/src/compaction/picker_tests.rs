//! The picker by table, and in a simulation of many windows.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::pace::CompactionReason as Reason;
use super::picker::{Job, Situation, pick_group};
use super::runs::{Candidate, Run};
use crate::manifest::FileMeta;
use crate::options::EngineOptions;
use crate::row::{TableId, Timestamp, Window};
use crate::sstable::Properties;

const MIB: u64 = 1024 * 1024;

/// A flushed file of `len` bytes over keys `from..=to`; its number is its log index as well.
fn file(number: u64, len: u64, (from, to): (u64, u64)) -> FileMeta {
    let mut properties = Properties::empty(TableId(1), Window(0), (number, number));
    properties.blocks = u32::try_from(len / 8192 + 1).expect("small");
    properties.rows = len / 100;
    properties.partitions = 1;
    (properties.first_token, properties.last_token) = (from, to);
    properties.first_key = Bytes::from_static(b"a");
    properties.last_key = Bytes::from_static(b"z");
    (properties.min_timestamp, properties.max_timestamp) =
        (Timestamp(number * 1000), Timestamp(number * 1000 + 999));
    properties.dead_after_ms = u64::MAX;
    FileMeta {
        number,
        uid: number,
        len,
        is_sealed: false,
        run: number,
        merges: 0,
        epochs_applied: Timestamp::ZERO,
        properties,
    }
}

fn sealed(number: u64, len: u64, keys: (u64, u64), run: u64) -> FileMeta {
    FileMeta {
        is_sealed: true,
        run,
        merges: 2,
        ..file(number, len, keys)
    }
}

fn pick(files: &[FileMeta], window_ms: Option<u64>, is_over: bool, now_ms: u64) -> Option<Job> {
    let options = EngineOptions::default();
    let situation = Situation {
        options: &options,
        window_ms,
        is_over,
        is_half_over: is_over,
        now_ms,
        mixed: &[],
        tokens: (0, u64::MAX),
    };
    pick_group(&candidates(files), &situation)
}

fn candidates(files: &[FileMeta]) -> Vec<Candidate<'_>> {
    let candidate = |meta| Candidate {
        meta,
        epoch_blocks: 0,
    };
    files.iter().map(candidate).collect()
}

fn summary(job: Option<Job>) -> Option<(Reason, Vec<u64>)> {
    job.map(|mut job| {
        job.inputs.sort_unstable();
        (job.reason, job.inputs)
    })
}

const ALL: (u64, u64) = (0, 100);

#[test]
fn active_windows_merge_four_neighbors_of_one_size_and_what_was_merged_waits_for_eight() {
    let small = |number| file(number, 3 * MIB, ALL);
    let merged = |number| FileMeta {
        merges: 1,
        ..file(number, 12 * MIB, ALL)
    };
    let active = |files: &[FileMeta]| summary(pick(files, Some(1000), false, 0));
    let three: Vec<_> = (1..=3).map(small).collect();
    assert_eq!(active(&three), None);
    let four: Vec<_> = (1..=4).map(small).collect();
    assert_eq!(active(&four), Some((Reason::Tier, vec![1, 2, 3, 4])));
    // A large one between them: no four neighbors.
    let apart = [small(1), small(2), merged(3), small(4), small(5)];
    assert_eq!(active(&apart), None);
    let seven: Vec<_> = (1..=7).map(merged).collect();
    assert_eq!(active(&seven), None);
    let eight: Vec<_> = (1..=8).map(merged).collect();
    assert_eq!(active(&eight), Some((Reason::Tier, (1..=8).collect())));
    // Never four alike: with more than runs_max, the cheapest neighbors merge.
    let alternating = |number| {
        if number % 2 == 0 {
            small(number)
        } else {
            merged(number)
        }
    };
    let mixed: Vec<_> = (1..=25).map(alternating).collect();
    let (reason, inputs) = active(&mixed).expect("too many runs");
    assert_eq!((reason, inputs.len()), (Reason::Tier, 4));
    assert!(
        inputs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{inputs:?}"
    );
}

#[test]
fn what_was_never_merged_waits_for_the_seal_in_the_second_half_of_a_window_up_to_two_tiers() {
    let options = EngineOptions::default();
    let second_half = |files: &[FileMeta]| {
        let situation = Situation {
            options: &options,
            window_ms: Some(1000),
            is_over: false,
            is_half_over: true,
            now_ms: 0,
            mixed: &[],
            tokens: (0, u64::MAX),
        };
        summary(pick_group(&candidates(files), &situation))
    };
    let large: Vec<_> = (1..=8).map(|number| file(number, 3 * MIB, ALL)).collect();
    assert_eq!(second_half(&large[..7]), None);
    assert_eq!(second_half(&large), Some((Reason::Tier, (1..=8).collect())));
    // Very small ones cost nothing to merge.
    let small: Vec<_> = (1..=4).map(|number| file(number, MIB / 8, ALL)).collect();
    assert_eq!(second_half(&small), Some((Reason::Tier, (1..=4).collect())));
}

#[test]
fn a_window_that_is_over_is_sealed_once_and_late_writes_wait_to_be_worth_it() {
    let over = |files: &[FileMeta]| summary(pick(files, Some(1000), true, 0));
    let two = [file(1, MIB, ALL), file(2, MIB, ALL)];
    assert_eq!(over(&two), Some((Reason::Seal, vec![1, 2])));
    let job = pick(&two, Some(1000), true, 0).expect("a seal");
    assert!(job.is_cold && job.is_sealed && job.run.is_none());
    assert_eq!(over(&[file(1, 2000, ALL)]), None);
    assert_eq!(
        over(&[file(1, 9 * MIB, ALL)]),
        Some((Reason::Seal, vec![1]))
    );
    let mut files = vec![sealed(1, 100 * MIB, ALL, 1)];
    assert_eq!(over(&files), None);
    files.push(file(2, MIB, ALL));
    assert_eq!(over(&files), None);
    files.push(file(3, 10 * MIB, ALL));
    assert_eq!(over(&files), Some((Reason::Late, vec![1, 2, 3])));
}

#[test]
fn late_writes_rewrite_only_the_fragments_between_their_keys() {
    let mut files: Vec<_> = (0..5)
        .map(|at| sealed(at + 1, 100 * MIB, (at * 20, at * 20 + 19), 1))
        .collect();
    files.extend((0..4).map(|at| file(10 + at, MIB, (45 - at, 45 + at))));
    // Too little to rewrite a fragment for: they merge with one another.
    let tier = summary(pick(&files, Some(1000), true, 0));
    assert_eq!(tier, Some((Reason::Tier, vec![10, 11, 12, 13])));
    files.push(file(14, 9 * MIB, (45, 45)));
    let job = pick(&files, Some(1000), true, 0).expect("late files");
    assert_eq!(job.run, Some(1));
    assert!(job.is_sealed && job.is_cold);
    assert_eq!(
        summary(Some(job)),
        Some((Reason::Late, vec![3, 10, 11, 12, 13, 14]))
    );
    // An output may span all between the first and the last key.
    files.push(file(20, 20 * MIB, (5, 5)));
    let (_, inputs) = summary(pick(&files, Some(1000), true, 0)).expect("late files");
    assert_eq!(inputs, [1, 2, 3, 10, 11, 12, 13, 14, 20]);
}

#[test]
fn a_window_is_dropped_when_all_of_it_has_expired_and_a_file_alone_only_if_it_hides_nothing() {
    let expiring = |number, keys, at| {
        let mut meta = file(number, MIB, keys);
        meta.properties.dead_after_ms = at;
        meta
    };
    let both = [expiring(1, ALL, 500), expiring(2, ALL, 600)];
    assert_eq!(summary(pick(&both, Some(1000), false, 499)), None);
    // The older file hides nothing: nothing is older than it.
    let older = summary(pick(&both, Some(1000), false, 599));
    assert_eq!(older, Some((Reason::ExpiredFile, vec![1])));
    let all = summary(pick(&both, Some(1000), false, 600));
    assert_eq!(all, Some((Reason::ExpiredWindow, vec![1, 2])));
    // The newer file may have overwritten something that the older one still has.
    let newer = [file(1, MIB, ALL), expiring(2, ALL, 500)];
    assert_eq!(summary(pick(&newer, Some(1000), false, 600)), None);
    let apart = [file(1, MIB, (0, 10)), expiring(2, (11, 20), 500)];
    let alone = summary(pick(&apart, Some(1000), false, 600));
    assert_eq!(alone, Some((Reason::ExpiredFile, vec![2])));
}

#[test]
fn dead_rows_side_by_side_are_merged_with_everything_older_if_they_are_a_tenth() {
    let deletions = |number, rows| {
        let mut meta = file(number, 2 * MIB, (50, 50));
        let properties = &mut meta.properties;
        properties.dense_blocks = properties.blocks;
        (properties.rows, properties.dead_rows) = (rows, rows);
        meta
    };
    let many = 100 * MIB / 100;
    let files = |dead| {
        vec![
            file(1, 100 * MIB, ALL),
            deletions(2, dead),
            file(3, MIB, ALL),
        ]
    };
    let dense = summary(pick(&files(many), Some(1000), false, 0));
    assert_eq!(dense, Some((Reason::Dense, vec![1, 2])));
    assert_eq!(summary(pick(&files(many / 20), Some(1000), false, 0)), None);
    // In a sealed window of many fragments, one of them is enough.
    let mut fragments: Vec<_> = (0..5)
        .map(|at| sealed(at + 1, 100 * MIB, (at * 20, at * 20 + 19), 1))
        .collect();
    fragments.push(deletions(9, many / 5));
    let dense = summary(pick(&fragments, Some(1000), true, 0));
    assert_eq!(dense, Some((Reason::Dense, vec![3, 9])));
}

#[test]
fn a_quarter_that_has_expired_is_purged_unless_the_window_goes_soon() {
    let mut meta = sealed(1, 100 * MIB, ALL, 1);
    meta.properties.quarter_dead_after_ms = 5000;
    let at = |meta: &FileMeta, now_ms| {
        summary(pick(std::slice::from_ref(meta), Some(1000), true, now_ms))
    };
    assert_eq!(at(&meta, 4999), None);
    assert_eq!(at(&meta, 5000), Some((Reason::Purge, vec![1])));
    meta.properties.dead_after_ms = 5900;
    assert_eq!(at(&meta, 5000), None);
    assert_eq!(at(&meta, 5900), Some((Reason::ExpiredWindow, vec![1])));
}

#[test]
fn what_a_placement_deletion_killed_is_purged_when_it_is_a_tenth_of_a_file() {
    let files = [
        sealed(1, 100 * MIB, (0, 9), 1),
        sealed(2, 100 * MIB, (10, 19), 1),
    ];
    let options = EngineOptions::default();
    let situation = Situation {
        options: &options,
        window_ms: Some(1000),
        is_over: true,
        is_half_over: true,
        now_ms: 0,
        mixed: &[],
        tokens: (0, u64::MAX),
    };
    let mut with = candidates(&files);
    with[1].epoch_blocks = files[1].properties.blocks / 10 - 1;
    assert_eq!(pick_group(&with, &situation), None);
    with[1].epoch_blocks = files[1].properties.blocks / 10 + 1;
    let job = pick_group(&with, &situation).expect("a purge");
    assert_eq!((job.run, job.is_sealed), (Some(1), true));
    assert_eq!(summary(Some(job)), Some((Reason::Purge, vec![2])));
}

#[test]
fn tables_without_time_have_levels_that_grow_eightfold() {
    let timeless = |files: &[FileMeta]| summary(pick(files, None, false, 0));
    let leveled = |number, len| FileMeta {
        merges: 1,
        ..file(number, len, ALL)
    };
    let fresh = |number| file(number, MIB, ALL);
    let mut files = vec![
        leveled(1, 3000 * MIB),
        leveled(2, 100 * MIB),
        leveled(3, 20 * MIB),
    ];
    files.extend((4..=6).map(fresh));
    assert_eq!(timeless(&files), None);
    files.push(fresh(7));
    // 4 take 20 with them, 24 take 100 with them, 124 are not an eighth of 3000.
    let (reason, inputs) = timeless(&files).expect("four fresh files");
    assert_eq!((reason, inputs), (Reason::Level, vec![2, 3, 4, 5, 6, 7]));
}

/// The generator `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// What a simulated engine holds and has done.
#[derive(Default)]
struct World {
    files: BTreeMap<u64, FileMeta>,
    next: u64,
    flushed: u64,
    written: u64,
    most_runs: usize,
    most_temporary: u64,
}

impl World {
    fn flush(&mut self, len: u64, keys: (u64, u64)) {
        self.next += 1;
        self.flushed += len;
        self.written += len;
        self.files.insert(self.next, file(self.next, len, keys));
    }

    /// Does jobs until none is left; returns how many.
    fn settle(&mut self, window_ms: Option<u64>, is_over: bool) -> usize {
        for count in 0.. {
            let files: Vec<FileMeta> = self.files.values().cloned().collect();
            self.most_runs = self.most_runs.max(Run::of(&candidates(&files)).len());
            let Some(job) = pick(&files, window_ms, is_over, 0) else {
                return count;
            };
            assert!(count < 100, "no end of {job:?}");
            self.run(&job);
        }
        0
    }

    /// Merges without losing a byte, into fragments of 64 MiB.
    fn run(&mut self, job: &Job) {
        let inputs: Vec<FileMeta> = job
            .inputs
            .iter()
            .map(|number| {
                self.files
                    .remove(number)
                    .expect("a file is picked once, and exists")
            })
            .collect();
        let len: u64 = inputs.iter().map(|it| it.len).sum();
        assert_eq!(len, job.bytes);
        self.written += len;
        self.most_temporary = self.most_temporary.max(len);
        let from = inputs.iter().map(|it| it.properties.first_token).min();
        let to = inputs.iter().map(|it| it.properties.last_token).max();
        let (from, to) = (from.expect("inputs"), to.expect("inputs"));
        let count = len.div_ceil(64 * MIB).min(to - from + 1);
        for at in 0..count {
            let width = to - from + 1;
            let keys = (
                from + at * width / count,
                from + (at + 1) * width / count - 1,
            );
            self.next += 1;
            let rest = if at == 0 { len % count } else { 0 };
            let mut meta = file(self.next, len / count + rest, keys);
            let indexes =
                |of: fn(&Properties) -> u64| inputs.iter().map(move |it| of(&it.properties));
            meta.properties.first_index = indexes(|it| it.first_index).min().expect("inputs");
            meta.properties.last_index = indexes(|it| it.last_index).max().expect("inputs");
            let first = self.next - at;
            (meta.run, meta.merges) = (job.run.unwrap_or(first), job.merges);
            meta.is_sealed = job.is_sealed;
            self.files.insert(self.next, meta);
        }
        self.check_runs();
    }

    fn check_runs(&self) {
        let files: Vec<FileMeta> = self.files.values().cloned().collect();
        for run in Run::of(&candidates(&files)) {
            let keys = |it: &Candidate<'_>| {
                (
                    it.meta.properties.first_token,
                    it.meta.properties.last_token,
                )
            };
            let ordered = run
                .files
                .windows(2)
                .all(|pair| keys(&pair[0]).1 < keys(&pair[1]).0);
            assert!(ordered, "fragments of run {} overlap", run.id);
        }
    }
}

#[test]
fn over_many_windows_write_amplification_runs_and_temporary_space_are_bounded() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let (mut written, mut flushed) = (0, 0);
        for _ in 0..30 {
            let mut world = World::default();
            let flushes = 1 + random.below(31);
            for _ in 0..flushes {
                let len = 8 * MIB + random.below(16 * MIB);
                world.flush(len, (random.below(10), 90 + random.below(10)));
                world.settle(Some(1000), false);
            }
            world.settle(Some(1000), true);
            let sealed: u64 = world.files.values().map(|it| it.len).sum();
            assert_eq!(sealed, world.flushed, "seed {seed}: nothing is lost");
            assert!(
                world.most_runs <= 3 + 8,
                "seed {seed}: {} runs",
                world.most_runs
            );
            assert!(world.most_temporary <= sealed);
            assert!(
                world.written <= 3 * world.flushed,
                "seed {seed}: {} written for {} in {flushes} flushes",
                world.written,
                world.flushed
            );
            // Late writes, a thousandth each.
            for _ in 0..20 {
                world.flush(sealed / 1000, (40, 45));
                world.settle(Some(1000), true);
                let files: Vec<FileMeta> = world.files.values().cloned().collect();
                assert!(Run::of(&candidates(&files)).len() <= 1 + 3 + 7);
            }
            written += world.written;
            flushed += world.flushed;
        }
        assert!(
            written * 10 <= 31 * flushed,
            "seed {seed}: {written} written for {flushed}"
        );
    }
}

#[test]
fn a_window_that_is_flushed_very_often_keeps_few_runs() {
    let mut world = World::default();
    let mut random = Random(9);
    for _ in 0..500 {
        world.flush(4 * MIB + random.below(60 * MIB), ALL);
        world.settle(Some(1000), false);
        assert!(world.files.len() <= 1000);
    }
    let limit = EngineOptions::default().runs_max + 1;
    assert!(world.most_runs <= limit, "{} runs", world.most_runs);
    assert!(
        world.written <= 6 * world.flushed,
        "{} for {}",
        world.written,
        world.flushed
    );
}

#[test]
fn a_table_without_time_keeps_few_runs_and_is_rewritten_in_proportion_to_its_depth() {
    let mut world = World::default();
    let mut random = Random(5);
    for _ in 0..2000 {
        let from = random.below(90);
        world.flush(MIB + random.below(MIB), (from, from + random.below(10)));
        world.settle(None, false);
    }
    assert!(world.most_runs <= 9, "{} runs", world.most_runs);
    // Three gigabytes in flushes of one and a half megabytes: log8(2000) levels of up to 8.
    assert!(
        world.written <= 16 * world.flushed,
        "{} for {}",
        world.written,
        world.flushed
    );
}
