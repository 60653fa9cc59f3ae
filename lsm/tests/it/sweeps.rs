//! What the owner lets the engine walk over is what no page has to, and that never shows.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{CellValue, Engine, EngineOptions, Operation, PartitionKey, ReadStats, SliceRead};

use crate::engine_support::*;

const N: u64 = 3000;

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
    let at = lsm::Timestamp(index * 100_000);
    let mutation = mutation(&channel(), operations);
    engine.apply(index, at, &[mutation]).unwrap();
}

fn page(engine: &Engine, reverse: bool) -> (Vec<u64>, ReadStats) {
    let mut read = SliceRead::all(TABLE, channel(), 50, 0);
    read.reverse = reverse;
    read.tombstone_budget = usize::MAX;
    let page = engine.read(&read).unwrap();
    (numbers(&page), page.stats)
}

fn sweep(engine: &Engine) {
    for _ in 0..1000 {
        if !engine.sweep_step().unwrap() {
            return;
        }
    }
    panic!("the sweep does not come to rest");
}

/// One row lives at each end of `N`. They are deleted in `order`, and swept over whenever some
/// hundred were, through flushes and frozen memtables.
fn deleted_and_swept(order: impl Iterator<Item = u64>) -> Engine {
    let engine = engine(128);
    change(&engine, (0..=N + 1).map(|at| insert(at, "text")).collect());
    flush(&engine);
    let order: Vec<u64> = order.collect();
    for (number, part) in order.chunks(300).enumerate() {
        change(&engine, part.iter().map(|at| delete(*at)).collect());
        if number == 4 {
            flush(&engine);
        }
        if number == 7 {
            assert!(engine.freeze(Bytes::new()).unwrap());
        }
        if number % 2 == 0 {
            sweep(&engine);
        }
    }
    sweep(&engine);
    engine
}

#[test]
fn the_first_page_after_many_deletions_walks_over_none_that_was_swept_in_whatever_order_they_came()
{
    let inwards = |at: u64| {
        if at.is_multiple_of(2) {
            1 + at / 2
        } else {
            N - at / 2
        }
    };
    let orders: [Box<dyn Iterator<Item = u64>>; 3] = [
        Box::new(1..=N),
        Box::new((1..=N).rev()),
        Box::new((0..N).map(inwards)),
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let engine = deleted_and_swept(order);
        for reverse in [false, true] {
            let (found, stats) = page(&engine, reverse);
            let living = if reverse { [N + 1, 0] } else { [0, N + 1] };
            assert_eq!(found, living);
            assert!(stats.tombstones < 16, "order {number}: {stats:?}");
            let blocks = stats.blocks_read + stats.blocks_cached;
            assert!(blocks <= 12, "order {number}: {stats:?}");
        }
    }
}

#[test]
fn a_row_stored_before_during_or_after_a_sweep_is_on_the_next_page() {
    let engine = engine(1);
    change(&engine, (0..N).map(|at| insert(at, "text")).collect());
    flush(&engine);
    change(&engine, (0..N).map(delete).collect());
    change(&engine, vec![insert(7, "again")]);
    assert!(engine.sweep_step().unwrap());
    assert_eq!(page(&engine, false).0, [7]);
    change(&engine, vec![insert(9, "again")]);
    sweep(&engine);
    assert_eq!(page(&engine, false).0, [7, 9]);
    change(&engine, vec![insert(N - 1, "again")]);
    assert_eq!(page(&engine, true).0, [N - 1, 9, 7]);
}

#[test]
fn rows_that_only_expire_are_not_taken_for_dead() {
    let engine = engine(1);
    let expiring = |number| {
        let mut cell = write(1, "text");
        cell.value = CellValue::Expiring {
            value: Bytes::from_static(b"text"),
            expires_at_ms: 1000,
        };
        Operation::Upsert {
            clustering: key(number),
            liveness: None,
            cells: vec![cell],
        }
    };
    change(&engine, (100..200).map(expiring).collect());
    change(&engine, (0..100).chain(200..300).map(delete).collect());
    sweep(&engine);
    let (found, _) = page(&engine, false);
    assert_eq!(found, (100..150).collect::<Vec<_>>());
}

#[test]
fn where_many_rows_live_between_deletions_the_sweep_gives_up_soon() {
    let engine = engine(128);
    change(&engine, (0..N).map(|at| insert(at, "text")).collect());
    change(&engine, (0..N).step_by(10).map(delete).collect());
    // From both ends.
    assert!(engine.sweep_step().unwrap() && engine.sweep_step().unwrap());
    assert!(!engine.sweep_step().unwrap(), "it goes on");
    let (found, stats) = page(&engine, false);
    assert_eq!(found[..3], [1, 2, 3]);
    assert_eq!(stats.runs_skipped, 0);
}

#[test]
fn what_was_deleted_before_a_checkpoint_was_installed_is_not_swept_after_it() {
    let (vfs, from) = (memory(), Path::new("/checkpoint"));
    let engine = open(&vfs, options()).unwrap();
    change(&engine, (0..N).map(|at| insert(at, "text")).collect());
    flush(&engine);
    engine.checkpoint(from).unwrap();
    change(&engine, (0..N).map(delete).collect());
    engine.install(from).unwrap();
    assert!(!engine.sweep_step().unwrap());
    assert_eq!(page(&engine, false).0.len(), 50);
}

/// One thread stores and deletes rows, one sweeps, others read: the row that lives is always found.
#[test]
fn a_row_that_lives_is_found_whatever_is_swept_meanwhile() {
    let engine = Arc::new(engine(1));
    change(&engine, (0..200).map(|at| insert(at, "text")).collect());
    change(&engine, (0..200).map(delete).collect());
    let (lives, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    change(&engine, vec![insert(0, "text")]);
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                while engine.sweep_step().unwrap() {}
                std::thread::yield_now();
            }
        });
        let readers: Vec<_> = [false, true]
            .map(|reverse| {
                let (engine, lives, is_over) = (&engine, &lives, &is_over);
                scope.spawn(move || {
                    let mut pages = 0_u64;
                    while !is_over.load(Ordering::SeqCst) || pages < 100 {
                        let before = lives.load(Ordering::SeqCst);
                        let (found, ..) = page(engine, reverse);
                        let after = lives.load(Ordering::SeqCst);
                        let is_there = found
                            .iter()
                            .any(|it| (before..=after + 1).any(|step| step * 7 % 200 == *it));
                        assert!(is_there, "{found:?}, from step {before} to {after}");
                        pages += 1;
                    }
                })
            })
            .into_iter()
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
        sweeper.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// `dead` rows of one partition between two that live, deleted in this order, a hundred with each log index;
/// memtables are flushed every so often, and nobody sweeps or merges.
fn deleted_only(dead: u64, order: impl Iterator<Item = u64>) -> Engine {
    let engine = open(&memory(), options()).unwrap();
    for from in (0..=dead + 1).step_by(1000) {
        let rows = from..(from + 1000).min(dead + 2);
        change(&engine, rows.map(|at| insert(at, "text")).collect());
    }
    flush(&engine);
    let order: Vec<u64> = order.collect();
    let quarter = order.len() / 4;
    for (number, part) in order.chunks(100).enumerate() {
        change(&engine, part.iter().map(|at| delete(*at)).collect());
        if (number + 1) * 100 / quarter > number * 100 / quarter && number * 100 < 3 * quarter {
            flush(&engine);
        }
    }
    engine
}

/// The blocks that the first page touches, and the rows that it looks at.
fn first_page(engine: &Engine, reverse: bool, living: [u64; 2]) -> (u64, u64) {
    let (found, stats) = page(engine, reverse);
    assert_eq!(found, living);
    (stats.blocks_read + stats.blocks_cached, stats.rows_scanned)
}

#[test]
fn the_first_page_right_after_n_deletions_touches_as_many_blocks_and_rows_whatever_n() {
    let most_rows = 256;
    for reverse in [false, true] {
        let mut blocks = Vec::new();
        for dead in [1000, 10_000, 100_000] {
            let inwards = move |at: u64| {
                if at.is_multiple_of(2) {
                    1 + at / 2
                } else {
                    dead - at / 2
                }
            };
            let orders: [Box<dyn Iterator<Item = u64>>; 3] = [
                Box::new(1..=dead),
                Box::new((1..=dead).rev()),
                Box::new((0..dead).map(inwards)),
            ];
            for (number, order) in orders.into_iter().enumerate() {
                let engine = deleted_only(dead, order);
                assert_eq!(engine.metrics().files, 4);
                let living = if reverse {
                    [dead + 1, 0]
                } else {
                    [0, dead + 1]
                };
                let (touched, rows) = first_page(&engine, reverse, living);
                assert!(rows < most_rows, "{dead} dead, order {number}: {rows} rows");
                blocks.push(touched);
            }
        }
        // Of each file the blocks in front of the dead rows and behind them, with their part of the index.
        // One more where a block happens to end with the deletions.
        let (few, many) = (&blocks[..3], &blocks[6..]);
        let is_flat = few.iter().zip(many).all(|(few, many)| *many <= few + 1);
        assert!(is_flat && many.iter().all(|many| *many <= 12), "{blocks:?}");
    }
}

#[test]
fn files_whose_rows_are_all_in_a_known_run_cost_the_first_page_no_block() {
    let touched = [1, 8].map(|files: u64| {
        let engine = open(&memory(), options()).unwrap();
        let dead = 8000;
        change(&engine, (0..=dead).map(|at| insert(at, "text")).collect());
        flush(&engine);
        for file in 0..files {
            let each = dead / files;
            let rows = file * each..(file + 1) * each;
            change(&engine, rows.map(delete).collect());
            flush(&engine);
        }
        let (found, stats) = page(&engine, false);
        assert_eq!((found, stats.tombstones), (vec![dead], 0));
        stats.blocks_read + stats.blocks_cached
    });
    assert!(touched[0] <= 3 && touched[0] == touched[1], "{touched:?}");
}

#[test]
fn a_sweep_that_fails_does_not_keep_rows_from_being_deleted() {
    let faulty = FaultyVfs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let engine = open(&vfs, options()).unwrap();
    change(&engine, (0..N).map(|at| insert(at, "text")).collect());
    flush(&engine);
    faulty.fail_at(faulty.calls(), Fault::Eio);
    change(&engine, (0..N).map(delete).collect());
    assert_eq!(engine.metrics().swept_rows, 0, "the first call fails");
    // What failed was put back, and the owner's sweep finds it.
    assert!(engine.sweep_step().unwrap());
    let (found, stats) = page(&engine, false);
    assert_eq!((found.len(), stats.tombstones), (0, 0), "{stats:?}");
}
