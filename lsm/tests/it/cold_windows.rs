//! Old windows share files, so that files stay few over years, and are read as if they did not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{
    CellValue, CompactionOutcome, CompactionReason, CompactionReport, Engine, EngineOptions,
    FileInfo, Inspection, MergePace, Operation, PartitionKey, SliceRead, Timestamp, Unpaced,
    Window,
};

use crate::engine_support::*;

/// Groups of 4, 16, ... windows, and two windows behind the current one that stay apart.
fn cold() -> EngineOptions {
    EngineOptions {
        cold_fan_out: 4,
        unmerged_windows: 2,
        ..options()
    }
}

/// The two channels of a window of 1000 ms.
fn channels(window: u64) -> [PartitionKey; 2] {
    ["one", "another"].map(|name| {
        let mut channel = partition(&format!("{name}/{window:04}"), window.cast_signed());
        // Placements that come in another order than their windows.
        channel.token = (window * 7 + name.len() as u64) % 5;
        channel
    })
}

/// A time at which the window is the current one.
fn during(window: u64) -> u64 {
    window * 1000 + 500
}

fn change(engine: &Engine, channel: &PartitionKey, rows: Vec<Operation>) -> lsm::Result<()> {
    let index = engine.applied_index() + 1;
    engine.apply(index, Timestamp(index * 1000), &[mutation(channel, rows)])
}

fn flush_all(engine: &Engine) -> lsm::Result<()> {
    engine.freeze(Bytes::new())?;
    while engine.flush_step()? {}
    Ok(())
}

/// Some rows of a window, as they come in time.
fn write_window(engine: &Engine, window: u64) -> lsm::Result<()> {
    for channel in channels(window) {
        let rows = (0..3).map(|row| insert(row, "written in time")).collect();
        change(engine, &channel, rows)?;
    }
    flush_all(engine)
}

fn settle(engine: &Engine, now_ms: u64) -> lsm::Result<Vec<CompactionReport>> {
    let mut reports = Vec::new();
    while let CompactionOutcome::Done(report) = engine.compact(now_ms, &Unpaced)? {
        reports.push(report);
        while engine.remove_step() > 0 {}
    }
    Ok(reports)
}

/// An engine with windows from 0 to `end`, the last one current.
fn grown(vfs: &Arc<dyn Vfs>, options: EngineOptions, end: u64) -> lsm::Result<Engine> {
    let engine = open(vfs, options)?;
    for window in 0..=end {
        write_window(&engine, window)?;
        settle(&engine, during(window))?;
    }
    Ok(engine)
}

/// What the manifest says of all files.
fn files(vfs: &Arc<dyn Vfs>) -> Vec<FileInfo> {
    let found = Inspection::open(Arc::clone(vfs), Path::new(DIR));
    found.unwrap().files()
}

/// The first and last windows of all files, in order.
fn spans(vfs: &Arc<dyn Vfs>) -> Vec<(i64, i64)> {
    let all = files(vfs);
    let mut spans: Vec<_> = all
        .iter()
        .map(|it| (it.window.0, it.last_window.0))
        .collect();
    spans.sort_unstable();
    spans
}

#[test]
fn files_stay_few_over_a_thousand_windows_and_every_window_is_there() {
    let vfs = memory();
    let engine = open(&vfs, cold()).unwrap();
    let (mut most, mut cold_bytes) = (0, 0);
    for window in 0..1000 {
        write_window(&engine, window).unwrap();
        let reports = settle(&engine, during(window)).unwrap();
        let merges = reports
            .iter()
            .filter(|it| it.reason == CompactionReason::Cold);
        cold_bytes += merges.map(|it| it.written_bytes).sum::<u64>();
        most = most.max(engine.metrics().files);
    }
    // Three young windows, and up to three groups of 1, 4, 16, 64 and 256 windows.
    assert!(most <= 3 + 5 * 3, "{most} files");
    let metrics = engine.metrics();
    assert!(cold_bytes <= 5 * metrics.flushed_bytes, "{cold_bytes}");
    engine.verify().unwrap();
    for window in 0..1000 {
        for channel in channels(window) {
            assert_eq!(
                numbers(&read_all(&engine, &channel, during(1000))),
                [0, 1, 2]
            );
        }
    }
    let digests = engine.digest(during(1000)).unwrap();
    assert_eq!(digests.len(), 1000, "each window has one of its own");
    drop(engine);
    let engine = open(&vfs, cold()).unwrap();
    assert_eq!(engine.digest(during(1000)).unwrap(), digests);
    assert_eq!(engine.metrics().files, metrics.files);
    // Without it, there is a file for each window.
    let apart = EngineOptions {
        cold_fan_out: 0,
        ..options()
    };
    let engine = grown(&memory(), apart, 99).unwrap();
    assert_eq!(engine.metrics().files, 100);
}

#[test]
fn a_late_write_to_a_merged_window_is_seen_at_once_and_merged_when_there_are_more() {
    let vfs = memory();
    let engine = grown(&vfs, cold(), 7).unwrap();
    let apart = [(0, 3), (4, 4), (5, 5), (6, 6), (7, 7)];
    assert_eq!(spans(&vfs), apart);
    let groups = engine.metrics().windows;
    let [channel, other] = channels(2);
    for round in 0..3 {
        change(
            &engine,
            &channel,
            vec![insert(10 + round, "late"), delete(round)],
        )
        .unwrap();
        flush_all(&engine).unwrap();
        let found = numbers(&read_all(&engine, &channel, during(7)));
        let expected: Vec<u64> = (round + 1..3).chain(10..=10 + round).collect();
        assert_eq!(found, expected);
        assert_eq!(engine.metrics().windows, groups, "it lies with its group");
        settle(&engine, during(7)).unwrap();
        assert_eq!(numbers(&read_all(&engine, &channel, during(7))), expected);
    }
    assert_eq!(spans(&vfs), apart, "merged into the group");
    let late = files(&vfs);
    let group = late.iter().find(|it| it.last_window > it.window).unwrap();
    assert_eq!(group.tombstones, 0, "what was deleted is gone");
    assert_eq!(numbers(&read_all(&engine, &other, during(7))), [0, 1, 2]);
    engine.verify().unwrap();
}

#[test]
fn late_writes_to_many_windows_of_a_group_go_to_one_file_of_it() {
    let vfs = memory();
    let mixed = EngineOptions {
        mixed_files: 1,
        ..cold()
    };
    let engine = grown(&vfs, mixed, 12).unwrap();
    let before = spans(&vfs);
    assert!(before.contains(&(0, 3)) && before.contains(&(4, 7)));
    for round in 0..2 {
        for window in 0..8 {
            let [channel, _] = channels(window);
            change(&engine, &channel, vec![insert(10 + round, "late")]).unwrap();
        }
        flush_all(&engine).unwrap();
    }
    assert_eq!(engine.metrics().mixed_files, 2, "one too many");
    let reports = settle(&engine, during(12)).unwrap();
    let spread = reports[0];
    assert_eq!(
        (spread.reason, spread.inputs, spread.outputs),
        (CompactionReason::Spread, 2, 2)
    );
    for window in 0..8 {
        let [channel, _] = channels(window);
        assert_eq!(
            numbers(&read_all(&engine, &channel, during(12))),
            [0, 1, 2, 10, 11]
        );
    }
    assert_eq!(spans(&vfs), before);
    engine.verify().unwrap();
}

#[test]
fn a_window_that_can_be_dropped_stays_apart_until_it_is_dropped_unread() {
    let vfs = memory();
    let engine = open(&vfs, cold()).unwrap();
    for window in 0..8 {
        if window == 1 {
            let mut cell = write(1, "");
            let (value, expires_at_ms) = (Bytes::from_static(b"short"), during(30));
            cell.value = CellValue::Expiring {
                value,
                expires_at_ms,
            };
            let row = Operation::Upsert {
                clustering: key(1),
                liveness: None,
                cells: vec![cell],
            };
            change(&engine, &channels(1)[0], vec![row]).unwrap();
            flush_all(&engine).unwrap();
        } else {
            write_window(&engine, window).unwrap();
        }
    }
    settle(&engine, during(29)).unwrap();
    let windows: Vec<_> = spans(&vfs);
    assert_eq!(windows, [(0, 0), (1, 1), (2, 2), (3, 3), (4, 7)]);
    let reports = settle(&engine, during(31)).unwrap();
    let reasons: Vec<_> = reports
        .iter()
        .map(|it| (it.reason, it.inputs, it.read_bytes > 0))
        .collect();
    let expected = [
        (CompactionReason::ExpiredWindow, 1, false),
        (CompactionReason::Cold, 4, true),
    ];
    assert_eq!(reasons, expected);
    assert_eq!(spans(&vfs), [(0, 15)]);
}

#[test]
fn what_is_deleted_in_merged_windows_is_purged_and_a_group_of_which_nothing_is_left_goes() {
    let vfs = memory();
    let unmixed = EngineOptions {
        mixed_files: 0,
        ..cold()
    };
    let engine = grown(&vfs, unmixed, 6).unwrap();
    assert_eq!(spans(&vfs)[0], (0, 3));
    for window in 0..4 {
        for channel in channels(window) {
            change(&engine, &channel, vec![Operation::DeletePartition]).unwrap();
        }
    }
    // A deletion alone is not in the way of what comes to the window afterwards.
    let [again, _] = channels(2);
    flush_all(&engine).unwrap();
    settle(&engine, during(6)).unwrap();
    assert!(
        spans(&vfs).iter().all(|span| span.0 > 3),
        "{:?}",
        spans(&vfs)
    );
    change(&engine, &again, vec![insert(77, "new")]).unwrap();
    flush_all(&engine).unwrap();
    settle(&engine, during(6)).unwrap();
    assert_eq!(spans(&vfs)[0], (2, 2), "as a window of its own");
    assert_eq!(numbers(&read_all(&engine, &again, during(6))), [77]);
    engine.verify().unwrap();
}

/// Stops after some bytes.
struct Impatient(u64, std::sync::atomic::AtomicU64);

impl MergePace for Impatient {
    fn spend(&self, bytes: u64) -> bool {
        let before = self
            .1
            .fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        before + bytes <= self.0
    }
}

#[test]
fn a_merge_of_windows_can_be_cancelled_and_leaves_nothing() {
    let vfs = memory();
    let engine = open(&vfs, cold()).unwrap();
    for window in 0..8 {
        write_window(&engine, window).unwrap();
    }
    let before = (spans(&vfs), vfs.list(Path::new(DIR)).unwrap());
    let pace = Impatient(100, 0.into());
    let outcome = engine.compact(during(8), &pace).unwrap();
    assert_eq!(outcome, CompactionOutcome::Cancelled);
    assert_eq!((spans(&vfs), vfs.list(Path::new(DIR)).unwrap()), before);
    assert_eq!(engine.backlog_bytes(during(8)), 0, "nobody waits for it");
    settle(&engine, during(8)).unwrap();
    assert_ne!(spans(&vfs), before.0);
}

/// A flush that ends while the windows that it writes to are merged finds its place.
#[test]
fn a_window_that_is_written_while_it_is_merged_loses_nothing() {
    struct Writing<'a>(&'a Engine, std::sync::Once);
    impl MergePace for Writing<'_> {
        fn spend(&self, _: u64) -> bool {
            self.1.call_once(|| {
                let [channel, _] = channels(1);
                change(self.0, &channel, vec![insert(50, "meanwhile"), delete(0)]).unwrap();
                flush_all(self.0).unwrap();
            });
            true
        }
    }
    let vfs = memory();
    let engine = open(&vfs, cold()).unwrap();
    for window in 0..8 {
        write_window(&engine, window).unwrap();
    }
    let pace = Writing(&engine, std::sync::Once::new());
    let outcome = engine.compact(during(7), &pace).unwrap();
    assert!(
        matches!(outcome, CompactionOutcome::Done(report) if report.reason == CompactionReason::Cold)
    );
    let [channel, _] = channels(1);
    assert_eq!(numbers(&read_all(&engine, &channel, during(7))), [1, 2, 50]);
    assert!(spans(&vfs).contains(&(1, 1)));
    settle(&engine, during(7)).unwrap();
    assert_eq!(numbers(&read_all(&engine, &channel, during(7))), [1, 2, 50]);
    assert!(!spans(&vfs).contains(&(1, 1)), "{:?}", spans(&vfs));
    engine.verify().unwrap();
}

#[test]
fn a_checkpoint_with_merged_windows_installs_over_one_without() {
    let vfs = memory();
    let engine = open(&vfs, cold()).unwrap();
    for window in 0..8 {
        write_window(&engine, window).unwrap();
    }
    let base = engine.checkpoint(Path::new("/first")).unwrap();
    let replica = EngineOptions { seed: 7, ..cold() };
    let replica = Engine::open(Arc::clone(&vfs), Path::new("/replica"), replica).unwrap();
    define(&replica, Some(1000)).unwrap();
    replica.install(Path::new("/first")).unwrap();
    settle(&engine, during(8)).unwrap();
    engine
        .checkpoint_since(Path::new("/second"), &base)
        .unwrap();
    replica.install(Path::new("/second")).unwrap();
    let now_ms = during(8);
    assert_eq!(
        replica.digest(now_ms).unwrap(),
        engine.digest(now_ms).unwrap()
    );
    assert_eq!(replica.metrics().files, engine.metrics().files);
    let windows: BTreeSet<_> = replica
        .digest(now_ms)
        .unwrap()
        .into_keys()
        .map(|it| it.1)
        .collect();
    assert_eq!(windows, (0..8).map(Window).collect());
    let read = SliceRead::all(TABLE, channels(3)[1].clone(), 10, now_ms);
    assert_eq!(replica.read(&read).unwrap().rows.len(), 3);
}

/// Merged windows, late writes to them, and a larger group; stops at the first error.
fn live(vfs: &Arc<dyn Vfs>, promised: &mut u64) -> lsm::Result<()> {
    let engine = open(vfs, cold())?;
    for window in 0..16 {
        write_window(&engine, window)?;
        *promised = engine.flushed().index;
    }
    settle(&engine, during(10))?;
    for window in [1, 6] {
        change(
            &engine,
            &channels(window)[0],
            vec![insert(9, "late"), delete(1)],
        )?;
        flush_all(&engine)?;
        *promised = engine.flushed().index;
    }
    settle(&engine, during(11))?;
    settle(&engine, during(30)).map(drop)
}

#[test]
fn a_power_cut_or_an_error_at_any_call_of_merging_windows_loses_nothing_flushed() {
    let total = {
        let faulty = FaultyVfs::new(0);
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        live(&vfs, &mut 0).unwrap();
        let calls = faulty.calls();
        assert_eq!(spans(&vfs), [(0, 15)]);
        calls
    };
    for call in 1..total {
        let faulty = FaultyVfs::new(call);
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        let is_cut = call % 2 == 0;
        if is_cut {
            faulty.crash_at(call);
        } else {
            faulty.fail_at(call, Fault::NoSpace);
        }
        let mut promised = 0;
        // That a file cannot be removed is no error.
        drop(live(&vfs, &mut promised));
        if is_cut {
            faulty.restart();
        }
        let engine = open(&vfs, cold()).unwrap();
        let flushed = engine.flushed().index;
        assert!(flushed >= promised, "call {call}: {flushed} of {promised}");
        engine.verify().unwrap();
        settle(&engine, during(30)).unwrap();
        for window in 0..16 {
            for (number, channel) in channels(window).iter().enumerate() {
                // Two log indexes for each window, then one for each late write.
                let is_there = window * 2 + (number as u64) < flushed;
                let late = [(1, 33), (6, 34)];
                let is_late =
                    number == 0 && late.iter().any(|it| it.0 == window && it.1 <= flushed);
                let expected: &[u64] = match (is_there, is_late) {
                    (false, _) => &[],
                    (true, false) => &[0, 1, 2],
                    (true, true) => &[0, 2, 9],
                };
                let found = numbers(&read_all(&engine, channel, during(30)));
                assert_eq!(found, expected, "call {call}, window {window}");
            }
        }
    }
}
