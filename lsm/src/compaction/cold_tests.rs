//! Which old windows become one group.

use std::collections::BTreeMap;

use super::cold::{Settled, pick_cold};
use super::pace::CompactionReason as Reason;
use super::runs::Candidate;
use crate::manifest::FileMeta;
use crate::options::{EngineOptions, WindowOptions};
use crate::row::{TableId, Timestamp, Window};
use crate::sstable::Properties;

const MIB: u64 = 1024 * 1024;

/// Windows of 1000 ms, fragments of 100 MiB, one young window.
fn options() -> EngineOptions {
    EngineOptions {
        cold_fan_out: 4,
        unmerged_windows: 1,
        sealed_fragment_bytes: 100 * MIB,
        ..EngineOptions::default()
    }
}

const WINDOWED: WindowOptions = WindowOptions {
    window_ms: 1000,
    origin_ms: 20_000,
};

fn sealed(number: u64, len: u64) -> FileMeta {
    let mut properties = Properties::empty(TableId(1), Window(0), (number, number));
    properties.dead_after_ms = u64::MAX;
    FileMeta {
        number,
        uid: number,
        len,
        is_sealed: true,
        run: number,
        merges: 2,
        epochs_applied: Timestamp::ZERO,
        properties,
    }
}

/// Files by the first and the last window of their group.
type Groups = BTreeMap<(i64, i64), FileMeta>;

/// Windows of one MiB each, numbered by their files from 1 on.
fn single(windows: impl IntoIterator<Item = i64>) -> Groups {
    let numbered = windows.into_iter().zip(1..);
    numbered
        .map(|(window, number)| ((window, window), sealed(number, MIB)))
        .collect()
}

fn settled(groups: &Groups) -> Vec<Settled<'_>> {
    let settled = |((first, last), meta): (&(i64, i64), &'_ FileMeta)| (*first, *last, meta.number);
    let mut found = Vec::new();
    for (first, last, number) in groups.iter().map(settled) {
        let meta = groups.values().find(|meta| meta.number == number);
        let files = meta.map(|meta| Candidate {
            meta,
            epoch_blocks: 0,
        });
        found.push(Settled {
            windows: (Window(first), Window(last)),
            files: files.into_iter().collect(),
        });
    }
    found
}

/// The windows and the number of files that are merged when `now` is the current window.
fn picked(groups: &Groups, now: i64) -> Option<((i64, i64), usize)> {
    let now_ms = (20_000 + now * 1000 + 10).cast_unsigned();
    let (job, (first, last)) = pick_cold(&settled(groups), &options(), WINDOWED, now_ms)?;
    assert_eq!(job.reason, Reason::Cold);
    assert!(job.is_cold && job.is_sealed && job.run.is_none() && job.merges == 3);
    Some(((first.0, last.0), job.inputs.len()))
}

#[test]
fn neighbors_are_merged_when_the_last_window_of_their_group_is_old() {
    let groups = single(-4..8);
    // The window before the current one is young, so that the last old one is -1 from 1 on.
    assert_eq!(picked(&groups, 0), None);
    assert_eq!(picked(&groups, 1), Some(((-4, -1), 4)));
    let rest = single(0..8);
    assert_eq!(picked(&rest, 4), None);
    assert_eq!(picked(&rest, 5), Some(((0, 3), 4)));
    // Windows without anything take no part.
    assert_eq!(picked(&single([0, 3, 9]), 5), Some(((0, 3), 2)));
    assert_eq!(picked(&single([3, 4]), 9), None, "each alone in its group");
}

#[test]
fn what_is_there_at_once_goes_to_the_largest_group_and_is_written_once() {
    assert_eq!(picked(&single(0..16), 16), Some(((0, 3), 4)), "not yet");
    assert_eq!(picked(&single(0..16), 17), Some(((0, 15), 16)));
    assert_eq!(picked(&single(0..64), 70), Some(((0, 63), 64)));
    // Groups of groups: three are left as they are, the fourth makes them one.
    let mut groups = Groups::new();
    for number in 0..3 {
        let first = number * 4;
        groups.insert((first, first + 3), sealed(1 + number.cast_unsigned(), MIB));
    }
    assert_eq!(picked(&groups, 13), None);
    groups.insert((12, 15), sealed(9, MIB));
    assert_eq!(picked(&groups, 17), Some(((0, 15), 4)));
}

#[test]
fn what_would_not_fit_a_fragment_or_can_be_dropped_or_has_other_work_stays_apart() {
    let mut groups = single(0..16);
    let change = |groups: &mut Groups, window: i64, change: fn(&mut FileMeta)| {
        change(groups.get_mut(&(window, window)).expect("a window"));
    };
    change(&mut groups, 6, |meta| meta.len = 97 * MIB);
    assert_eq!(picked(&groups, 20), Some(((0, 3), 4)), "100 MiB do fit");
    for window in 0..4 {
        groups.remove(&(window, window));
    }
    assert_eq!(picked(&groups, 20), Some(((4, 7), 4)), "100 MiB do fit");
    change(&mut groups, 6, |meta| meta.len = 98 * MIB);
    assert_eq!(picked(&groups, 20), Some(((8, 11), 4)), "101 MiB do not");
    change(&mut groups, 9, |meta| {
        meta.properties.dead_after_ms = 99_000;
    });
    assert_eq!(picked(&groups, 20), Some(((12, 15), 4)), "it expires");
    let mut busy = settled(&groups);
    for group in busy.iter_mut().filter(|it| it.windows.0 == Window(13)) {
        group.files.clear();
    }
    assert!(pick_cold(&busy, &options(), WINDOWED, 90_000).is_none());
}

#[test]
fn a_group_of_another_width_never_overlaps_a_new_one() {
    let mut groups = single([0, 1, 4, 5, 6, 8, 9]);
    // Made when the option was 3: it ends in the second group of 4 and begins in the first.
    groups.insert((3, 5), sealed(90, MIB));
    groups.remove(&(4, 4));
    groups.remove(&(5, 5));
    assert_eq!(picked(&groups, 13), Some(((8, 11), 2)));
    groups.retain(|windows, _| windows.0 < 8);
    assert_eq!(picked(&groups, 13), None);
    assert_eq!(
        picked(&groups, 17),
        Some(((0, 15), 4)),
        "it holds all of it"
    );
}

#[test]
fn numbers_at_the_ends_of_time_overflow_nothing() {
    let far = single([i64::MIN + 2, i64::MIN + 3, -1, 0, i64::MAX - 1, i64::MAX]);
    let found = pick_cold(&settled(&far), &options(), WINDOWED, u64::MAX);
    let (job, windows) = found.expect("the last two");
    assert_eq!(windows, (Window(i64::MAX - 3), Window(i64::MAX)));
    assert_eq!(job.inputs.len(), 2);
    let off = EngineOptions {
        cold_fan_out: 0,
        ..options()
    };
    assert!(pick_cold(&settled(&single(0..99)), &off, WINDOWED, u64::MAX).is_none());
}

/// Ten thousand windows, each sealed and then left alone.
#[test]
fn groups_and_rewriting_stay_few_over_ten_thousand_windows() {
    let mut groups = Groups::new();
    let (mut most, mut written, mut next) = (0, 0, 1);
    for now in 0..10_000 {
        groups.insert((now, now), sealed(next, 1000));
        next += 1;
        let now_ms = (20_000 + now * 1000 + 10).cast_unsigned();
        while let Some((job, (first, last))) =
            pick_cold(&settled(&groups), &options(), WINDOWED, now_ms)
        {
            groups.retain(|_, meta| !job.inputs.contains(&meta.number));
            groups.insert((first.0, last.0), sealed(next, job.bytes));
            (next, written) = (next + 1, written + job.bytes);
        }
        most = most.max(groups.len());
    }
    let bytes: u64 = groups.values().map(|meta| meta.len).sum();
    assert_eq!(bytes, 10_000 * 1000, "nothing is lost");
    // Two young windows, and up to three groups of 1, 4, 16, ..., 4096 windows.
    assert!(most <= 2 + 7 * 3, "{most} groups");
    assert!(written <= 6 * bytes, "{written} written");
}
