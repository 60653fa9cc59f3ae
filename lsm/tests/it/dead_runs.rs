//! Long runs of dead rows are walked once and skipped afterwards, and that never shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lsm::{Engine, EngineOptions, Operation, PartitionKey, ReadStats, SliceRead};

use crate::engine_support::*;

fn engine(dead_run_rows: usize) -> Engine {
    let options = EngineOptions {
        dead_run_rows,
        sweep_rows: 0,
        ..options()
    };
    open(&memory(), options).unwrap()
}

fn channel() -> PartitionKey {
    partition("channel", 0)
}

/// Applies operations of [`channel`] as one index.
fn change(engine: &Engine, operations: Vec<Operation>) {
    let index = engine.applied_index() + 1;
    let mutation = mutation(&channel(), operations);
    let at = lsm::Timestamp(index * 100_000);
    engine.apply(index, at, &[mutation]).unwrap();
}

/// All rows of [`channel`], what that cost, and how many reads it took.
fn read(engine: &Engine, reverse: bool, now_ms: u64) -> (Vec<u64>, ReadStats, usize) {
    let mut read = SliceRead::all(TABLE, channel(), 50, now_ms);
    read.reverse = reverse;
    read.tombstone_budget = 500;
    let (mut found, mut stats, mut reads) = (Vec::new(), ReadStats::default(), 0);
    loop {
        let page = engine.read(&read).unwrap();
        reads += 1;
        found.extend(numbers(&page));
        stats.add(&page.stats);
        match page.resume_after {
            Some(after) => read = read.resumed_after(after),
            None => return (found, stats, reads),
        }
    }
}

const N: u64 = 2000;

/// One row lives at each end of many that were deleted one by one: the first quarter of the
/// deletions is in a file, the next in a frozen memtable, the rest in the active one.
fn deleted(engine: &Engine) {
    change(engine, (0..=N + 1).map(|at| insert(at, "text")).collect());
    flush(engine);
    let quarter = N / 4;
    change(engine, (1..quarter).map(delete).collect());
    flush(engine);
    change(engine, (quarter..2 * quarter).map(delete).collect());
    assert!(engine.freeze(Bytes::new()).unwrap());
    change(engine, (2 * quarter..=N).map(delete).collect());
}

#[test]
fn a_page_after_many_deletions_is_flat_in_their_number_once_a_read_walked_over_them() {
    for reverse in [false, true] {
        let engine = engine(128);
        deleted(&engine);
        let (first, stats, reads) = read(&engine, reverse, 0);
        assert!(reads > 3, "the budget cuts the first page: {reads} reads");
        assert_eq!(stats.tombstones, N);
        let (later, stats, reads) = read(&engine, reverse, 0);
        assert_eq!((&later, later.len(), reads), (&first, 2, 1));
        assert_eq!((stats.rows_scanned, stats.tombstones), (2, 0), "{stats:?}");
        assert_eq!(stats.runs_skipped, 1);
        let blocks = stats.blocks_read + stats.blocks_cached;
        assert!(blocks <= 12, "{blocks} blocks for two pieces of two files");
    }
}

#[test]
fn a_row_stored_inside_of_a_known_run_is_seen_at_once_and_the_rest_is_still_skipped() {
    for reverse in [false, true] {
        let engine = engine(1);
        deleted(&engine);
        read(&engine, reverse, 0);
        for number in [N / 2, 1, N] {
            change(&engine, vec![insert(number, "again")]);
            let (found, stats, _) = read(&engine, reverse, 0);
            assert!(found.contains(&number), "{number} reverse {reverse}");
            assert_eq!(stats.tombstones, 0, "{stats:?}");
        }
    }
}

#[test]
fn a_run_of_expired_rows_is_not_skipped_by_a_read_of_an_earlier_time() {
    let engine = engine(1);
    let expiring = |number| {
        let Operation::Upsert {
            clustering, cells, ..
        } = insert(number, "text")
        else {
            unreachable!("an insert is an upsert")
        };
        let cells = cells.into_iter().map(|mut cell| {
            cell.value = lsm::CellValue::Expiring {
                value: Bytes::from_static(b"text"),
                expires_at_ms: 1000,
            };
            cell
        });
        Operation::Upsert {
            clustering,
            liveness: None,
            cells: cells.collect(),
        }
    };
    change(&engine, (0..20).map(expiring).collect());
    assert_eq!(read(&engine, false, 1000).0, []);
    assert_eq!(read(&engine, false, 1000).1.rows_scanned, 0);
    assert_eq!(read(&engine, false, 999).0.len(), 20);
}

#[test]
fn an_installed_checkpoint_is_read_without_the_runs_of_what_it_replaced() {
    let (vfs, from) = (memory(), Path::new("/checkpoint"));
    let options = EngineOptions {
        dead_run_rows: 1,
        sweep_rows: 0,
        ..options()
    };
    let engine = open(&vfs, options).unwrap();
    change(&engine, (0..20).map(|at| insert(at, "text")).collect());
    flush(&engine);
    engine.checkpoint(from).unwrap();
    change(&engine, (0..20).map(delete).collect());
    for _ in 0..2 {
        assert_eq!(read(&engine, false, 0).0, []);
    }
    engine.install(from).unwrap();
    assert_eq!(read(&engine, false, 0).0.len(), 20);
}

/// One thread stores and deletes rows and says how far it is; others read meanwhile.
#[test]
fn a_row_that_was_stored_before_a_read_began_is_seen_by_it_whatever_was_noted_meanwhile() {
    let engine = Arc::new(engine(1));
    change(&engine, (0..200).map(|at| insert(at, "text")).collect());
    change(&engine, (0..200).map(delete).collect());
    // The row that lives now; the one before is deleted only after the next one is stored.
    let (lives, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    change(&engine, vec![insert(0, "text")]);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (engine, lives, is_over) = (&engine, &lives, &is_over);
                scope.spawn(move || {
                    let mut pages = 0_u64;
                    while !is_over.load(Ordering::SeqCst) || pages < 100 {
                        let before = lives.load(Ordering::SeqCst);
                        let (found, ..) = read(engine, reader == 1, 0);
                        let after = lives.load(Ordering::SeqCst);
                        // Steps are of one row, so one of those that lived meanwhile is there.
                        let is_there = found
                            .iter()
                            .any(|it| (before..=after + 1).any(|step| step * 7 % 200 == *it));
                        assert!(is_there, "{found:?}, from step {before} to {after}");
                        pages += 1;
                    }
                })
            })
            .collect();
        for step in 1..3000_u64 {
            change(&engine, vec![insert(step * 7 % 200, "text")]);
            lives.store(step, Ordering::SeqCst);
            change(&engine, vec![delete((step - 1) * 7 % 200)]);
            if step % 500 == 0 {
                flush(&engine);
            }
        }
        is_over.store(true, Ordering::SeqCst);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}
