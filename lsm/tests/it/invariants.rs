//! Properties of reads, deletions and files that must hold for any data, one claim each. The
//! table in `docs/TESTING.md` says which invariant each of them is for.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "random numbers below small bounds"
)]

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use lsm::{
    BlockCache, CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Operation,
    PartitionKey, ScanRead, SlicePage, SliceRead,
};

use crate::engine_support::*;

fn expiring(number: u64, expires_at_ms: u64) -> Operation {
    let value = CellValue::Expiring {
        value: Bytes::from_static(b"for a while"),
        expires_at_ms,
    };
    let cell = CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value,
    };
    let expires_at_ms = Some(expires_at_ms);
    Operation::Upsert {
        clustering: key(number),
        liveness: Some(Liveness { expires_at_ms }),
        cells: vec![cell],
    }
}

/// Rows, deleted rows, deleted ranges and expiring rows below `rows`, over several files and one
/// memtable: more than 64 blocks in the largest file, so that the index has two levels.
fn varied(seed: u64, rows: u64, options: EngineOptions) -> (Engine, PartitionKey) {
    let mut random = Random(seed);
    let engine = open(&memory(), options).unwrap();
    let channel = partition("channel", 0);
    let mut index = 0;
    for size in [rows, rows / 4, rows / 8, rows / 8] {
        for _ in 0..size {
            index += 1;
            let number = random.below(rows);
            let operation = match random.below(20) {
                0..=13 => insert(number, &format!("{} {}", random.next(), random.next())),
                14..=16 => delete(number),
                17 => delete_range(number, number + random.below(rows / 100)),
                _ => expiring(number, 1 + random.below(2000)),
            };
            apply(&engine, index, &[mutation(&channel, vec![operation])]);
        }
        if size > rows / 8 || index.is_multiple_of(2) {
            flush(&engine);
        }
    }
    (engine, channel)
}

fn page(engine: &Engine, channel: &PartitionKey, edit: impl FnOnce(&mut SliceRead)) -> SlicePage {
    let mut read = SliceRead::all(TABLE, channel.clone(), usize::MAX, 1000);
    read.tombstone_budget = usize::MAX;
    edit(&mut read);
    engine.read(&read).unwrap()
}

fn resume(read: &mut SliceRead, after: Option<Bytes>) {
    if let Some(after) = after {
        *read = read.resumed_after(after);
    }
}

#[test]
fn every_number_that_a_file_claims_is_what_its_rows_add_up_to() {
    for seed in 0..6 {
        let (engine, _) = varied(seed, 3000, options());
        flush(&engine);
        let before = engine
            .verify()
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        assert!(before.blocks > 64 && before.files >= 3, "{before:?}");
        compact(&engine, 1500);
        engine
            .verify()
            .unwrap_or_else(|error| panic!("seed {seed} merged: {error:?}"));
    }
}

#[test]
fn a_slice_from_any_key_in_either_direction_is_a_part_of_the_whole() {
    for seed in 0..3 {
        let (engine, channel) = varied(seed, 2000, options());
        let whole = numbers(&page(&engine, &channel, |_| ()));
        assert!(whole.len() > 500);
        for from in 0..2000 {
            let split = whole.partition_point(|number| *number < from);
            let (below, above) = whole.split_at(split);
            let found = page(&engine, &channel, |read| {
                read.start = Bound::Included(key(from));
                read.limit_rows = 3;
            });
            assert_eq!(
                numbers(&found),
                above[..above.len().min(3)],
                "seed {seed} from {from}"
            );
            let found = page(&engine, &channel, |read| {
                read.end = Bound::Excluded(key(from));
                read.limit_rows = 3;
                read.reverse = true;
            });
            let expected: Vec<u64> = below.iter().rev().take(3).copied().collect();
            assert_eq!(numbers(&found), expected, "seed {seed} down from {from}");
        }
    }
}

#[test]
fn reading_backwards_is_reading_forwards_reversed_between_any_bounds() {
    for seed in 10..14 {
        let (engine, channel) = varied(seed, 1500, options());
        let mut random = Random(seed);
        for _ in 0..300 {
            let mut bound = || match random.below(4) {
                0 => Bound::Unbounded,
                1 | 2 => Bound::Included(key(random.below(1500))),
                _ => Bound::Excluded(key(random.below(1500))),
            };
            let (start, end) = (bound(), bound());
            let read = |reverse| {
                page(&engine, &channel, |read| {
                    (read.start, read.end) = (start.clone(), end.clone());
                    read.reverse = reverse;
                })
            };
            let (forward, mut backward) = (owned(&read(false).rows), owned(&read(true).rows));
            backward.reverse();
            assert_eq!(forward, backward, "seed {seed} {start:?} {end:?}");
        }
    }
}

#[test]
fn pages_cut_by_any_limits_put_together_are_the_whole() {
    for seed in 20..23 {
        let (engine, channel) = varied(seed, 1500, options());
        let whole = owned(&page(&engine, &channel, |_| ()).rows);
        let mut random = Random(seed);
        for round in 0..60 {
            let reverse = random.percent(50);
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let next = page(&engine, &channel, |read| {
                    read.reverse = reverse;
                    read.limit_rows = 1 + random.below(200) as usize;
                    read.limit_bytes = 1 + random.below(10_000) as usize;
                    read.tombstone_budget = 1 + random.below(100) as usize;
                    resume(read, after.take());
                });
                found.extend(owned(&next.rows));
                after = next.resume_after;
                if after.is_none() {
                    break;
                }
            }
            if reverse {
                found.reverse();
            }
            assert_eq!(found, whole, "seed {seed} round {round}");
        }
    }
}

#[test]
fn a_row_that_lives_throughout_is_on_exactly_one_page_while_others_come_and_go() {
    for seed in 30..50 {
        let mut random = Random(seed);
        let engine = open(&memory(), options()).unwrap();
        let channel = partition("channel", 0);
        let rows = (0..600).map(|number| insert(number, "x")).collect();
        apply(&engine, 1, &[mutation(&channel, rows)]);
        // Rows whose number is a multiple of three stay, the others do not matter.
        let (mut index, mut after, mut seen) = (1, None, Vec::new());
        let reverse = random.percent(50);
        loop {
            let next = page(&engine, &channel, |read| {
                read.reverse = reverse;
                read.limit_rows = 1 + random.below(40) as usize;
                read.tombstone_budget = 20;
                resume(read, after.take());
            });
            seen.extend(numbers(&next).into_iter().filter(|number| number % 3 == 0));
            after = next.resume_after;
            if after.is_none() {
                break;
            }
            for _ in 0..random.below(20) {
                index += 1;
                let number = random.below(600) / 3 * 3 + 1 + random.below(2);
                let operation = match random.below(3) {
                    0 => insert(number, "other"),
                    1 => delete(number),
                    _ => delete_range(number / 3 * 3 + 1, number / 3 * 3 + 3),
                };
                apply(&engine, index, &[mutation(&channel, vec![operation])]);
            }
            if random.percent(30) {
                flush(&engine);
                compact(&engine, index);
            }
        }
        if reverse {
            seen.reverse();
        }
        let expected: Vec<u64> = (0..600).step_by(3).collect();
        assert_eq!(seen, expected, "seed {seed}");
    }
}

#[test]
fn a_scan_is_the_slices_of_its_partitions_one_after_another() {
    let engine = open(&memory(), options()).unwrap();
    let mut random = Random(5);
    let names: Vec<PartitionKey> = (0..40)
        .map(|at| {
            partition(
                &format!("{}/{at:02}", "p".repeat(at % 7 + 1)),
                at as i64 % 3,
            )
        })
        .collect();
    for index in 1..2000 {
        let target = &names[random.below(40) as usize];
        let number = random.below(50);
        let operation = match random.below(10) {
            0..=5 => insert(number, "text"),
            6 => Operation::UpsertStatic {
                cells: vec![write(3, "static")],
            },
            7 => delete(number),
            8 => delete_range(number, number + 10),
            _ => Operation::DeletePartition,
        };
        apply(&engine, index, &[mutation(target, vec![operation])]);
        if index % 300 == 0 {
            flush(&engine);
        }
    }
    let mut sorted = names;
    sorted.sort_by(|a, b| (a.token, &a.key).cmp(&(b.token, &b.key)));
    let expected: Vec<_> = sorted
        .into_iter()
        .map(|name| (name.clone(), read_all(&engine, &name, 10)))
        .filter(|(_, page)| !page.rows.is_empty() || !page.static_row.is_empty())
        .map(|(name, page)| (name, page.static_row, page.rows))
        .collect();
    let scan = ScanRead {
        table: TABLE,
        tokens: 0..=u64::MAX,
        after: None,
        limit_rows: usize::MAX,
        limit_bytes: usize::MAX,
        tombstone_budget: usize::MAX,
        now_ms: 10,
    };
    let found = engine.scan(&scan).unwrap().partitions;
    let found: Vec<_> = found
        .into_iter()
        .map(|it| (it.partition, it.static_row, it.rows))
        .collect();
    assert!(found.len() > 20);
    assert_eq!(found, expected);
}

#[test]
fn the_size_of_the_cache_never_shows_in_what_is_read() {
    let sizes = [0, 1, 5000, 64 * 1024 * 1024];
    let pages = sizes.map(|bytes| {
        let options = EngineOptions {
            cache: Arc::new(BlockCache::new(bytes)),
            ..options()
        };
        let (engine, channel) = varied(60, 1500, options);
        // Twice, so that the second one finds what the first one left.
        let first = page(&engine, &channel, |_| ()).rows;
        assert_eq!(
            page(&engine, &channel, |_| ()).rows,
            first,
            "cache of {bytes} bytes"
        );
        first
    });
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
}

/// A block that holds nothing but one edge of a deleted range is dead and skipped unread; the range
/// must end there all the same.
#[test]
fn a_deleted_range_ends_in_a_block_that_is_skipped() {
    let channel = partition("channel", 0);
    for rows in 1..60 {
        let engine = open(&memory(), options()).unwrap();
        apply(
            &engine,
            1,
            &[mutation(&channel, vec![insert(0, "x"), insert(200, "x")])],
        );
        flush(&engine);
        // For some number of rows the end of the range is alone in the last block.
        let text = "0123456789abcdefghijklmnopqrstuvwxyz";
        let mut operations: Vec<Operation> = (100 - rows..100).map(|at| insert(at, text)).collect();
        operations.push(delete_range(100, 110));
        apply(&engine, 2, &[mutation(&channel, operations)]);
        flush(&engine);
        let found = numbers(&page(&engine, &channel, |_| ()));
        assert_eq!(found.last(), Some(&200), "{rows} rows");
    }
    // The beginning of the range is alone in the first block, before a row that fills one.
    let engine = open(&memory(), options()).unwrap();
    apply(&engine, 1, &[mutation(&channel, vec![insert(0, "x")])]);
    flush(&engine);
    let operations = vec![delete_range(5, 9), insert(6, &"x".repeat(65_500))];
    apply(&engine, 2, &[mutation(&channel, operations)]);
    flush(&engine);
    assert_eq!(
        numbers(&page(&engine, &channel, |read| read.reverse = true)),
        [6, 0]
    );
}

/// What hides row 5 of the channel.
fn deletions(channel: &PartitionKey) -> Vec<Change> {
    vec![
        mutation(channel, vec![delete(5)]),
        mutation(channel, vec![delete_range(4, 7)]),
        mutation(channel, vec![Operation::DeletePartition]),
        Change::DeletePlacement {
            table: TABLE,
            token: channel.token,
            placement: Bytes::from_static(b"chan"),
        },
    ]
}

#[test]
fn deleted_data_never_comes_back_in_whatever_order_files_are_written_and_merged() {
    let channel = partition("channel", 0);
    for seed in 0..100 {
        let mut random = Random(seed);
        let vfs = memory();
        let tier_files = 2 + random.below(3) as usize;
        let options = EngineOptions {
            tier_files,
            ..options()
        };
        let mut engine = open(&vfs, options.clone()).unwrap();
        let all = deletions(&channel);
        let deletion = &all[random.below(4) as usize];
        let deleted_at = 2 + random.below(10);
        for index in 1..25 {
            // Files of very different sizes decide who is merged with whom.
            let words = if random.percent(25) {
                random.below(8000)
            } else {
                1
            };
            let filler: Vec<String> = (0..words).map(|_| random.next().to_string()).collect();
            let operation = insert(index, &filler.concat());
            let mut changes = vec![mutation(&partition("other", 0), vec![operation])];
            if index < deleted_at && (index == 1 || random.percent(40)) {
                changes.push(mutation(&channel, vec![insert(5, &format!("old {index}"))]));
            }
            if index == deleted_at {
                changes.push(deletion.clone());
            }
            apply(&engine, index, &changes);
            if random.percent(70) {
                flush(&engine);
            }
            for _ in 0..random.below(3) {
                engine.compact_step(index).unwrap();
            }
            if random.percent(10) {
                flush(&engine);
                drop(engine);
                engine = open(&vfs, options.clone()).unwrap();
            }
            let expected: &[u64] = if index < deleted_at { &[5] } else { &[] };
            let found = numbers(&read_all(&engine, &channel, index));
            assert_eq!(found, expected, "seed {seed} index {index} {deletion:?}");
        }
        flush(&engine);
        compact(&engine, 5000);
        assert_eq!(
            numbers(&read_all(&engine, &channel, 5000)),
            [0; 0],
            "seed {seed}"
        );
    }
}

#[test]
fn data_that_expires_is_seen_before_its_time_and_never_after_in_any_file_layout() {
    for seed in 0..30 {
        let mut random = Random(seed);
        let engine = open(&memory(), options()).unwrap();
        let channel = partition("channel", 0);
        let expiries: Vec<u64> = (0..40).map(|_| 1 + random.below(900)).collect();
        for (index, number) in (1..).zip(0..40_u64) {
            let operation = expiring(number, expiries[number as usize]);
            apply(&engine, index, &[mutation(&channel, vec![operation])]);
            if random.percent(20) {
                flush(&engine);
            }
        }
        // Compaction runs with the time of the reads, as an owner runs it.
        let mut before: BTreeSet<u64> = (0..40).collect();
        for now_ms in (0..1000).step_by(25) {
            let expected: BTreeSet<u64> = (0..40)
                .filter(|number| expiries[*number as usize] > now_ms)
                .collect();
            let found = numbers(&read_all(&engine, &channel, now_ms))
                .into_iter()
                .collect();
            assert_eq!(expected, found, "seed {seed} now {now_ms}");
            assert!(found.is_subset(&before), "what expired does not come back");
            before = found;
            compact(&engine, now_ms);
        }
    }
}

#[test]
fn a_window_is_dropped_only_when_every_cell_of_it_has_expired() {
    let engine = open(&memory(), options()).unwrap();
    let (old, new) = (partition("channel/0", 0), partition("channel/1", 1));
    apply(&engine, 1, &[mutation(&old, vec![expiring(1, 500)])]);
    apply(&engine, 2, &[mutation(&new, vec![expiring(1, 500)])]);
    flush(&engine);
    // One file per window, whatever was in the memtable.
    assert_eq!((engine.metrics().windows, engine.metrics().files), (2, 2));
    apply(&engine, 3, &[mutation(&old, vec![insert(2, "stays")])]);
    flush(&engine);
    compact(&engine, 10_000);
    assert_eq!(engine.metrics().windows, 1);
    assert_eq!(numbers(&read_all(&engine, &old, 10_000)), [2]);
    // A write that is still in memory survives the drop of what is in files.
    apply(&engine, 4, &[mutation(&new, vec![expiring(3, 20_000)])]);
    flush(&engine);
    apply(&engine, 5, &[mutation(&new, vec![insert(4, "in memory")])]);
    compact(&engine, 20_000);
    assert_eq!(engine.metrics().windows, 1);
    assert_eq!(numbers(&read_all(&engine, &new, 20_000)), [4]);
}

#[test]
fn blocks_touched_by_a_page_do_not_grow_with_the_dead_rows_beside_it() {
    let mut touched = Vec::new();
    for dead in [2_000, 20_000, 60_000] {
        let engine = open(&memory(), EngineOptions::default()).unwrap();
        let channel = partition("channel", 0);
        let rows = (0..dead + 50).map(|number| insert(number, "some text of a message"));
        apply(&engine, 1, &[mutation(&channel, rows.collect())]);
        apply(
            &engine,
            1000,
            &[mutation(&channel, (0..dead).map(delete).collect())],
        );
        flush(&engine);
        let read = SliceRead::all(TABLE, channel, 50, 0);
        let page = engine.read(&read).unwrap();
        assert_eq!(page.rows.len(), 50);
        touched.push(page.stats.blocks_read + page.stats.blocks_cached);
    }
    assert!(touched[2] <= touched[0] + 6, "{touched:?}");
}

#[test]
fn files_and_writes_stay_bounded_under_steady_load() {
    let mut random = Random(9);
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let (mut most, mut written) = (0, 0);
    for index in 1..=400 {
        let rows = (0..20).map(|_| {
            let text: Vec<String> = (0..8).map(|_| random.next().to_string()).collect();
            insert(random.below(1 << 40), &text.concat())
        });
        apply(&engine, index, &[mutation(&channel, rows.collect())]);
        flush(&engine);
        // One step for each flush is what an owner that never rests can do.
        engine.compact_step(index).unwrap();
        most = most.max(engine.metrics().files);
        written = engine.metrics().flushed_bytes;
    }
    let metrics = engine.metrics();
    // Few levels of four files; each byte is written once per level.
    assert!(most <= 16, "{most} files");
    assert!(
        metrics.compaction_written_bytes <= 6 * written,
        "{metrics:?}"
    );
    assert!(metrics.file_bytes <= written * 11 / 10, "{metrics:?}");
}

/// Deletions of rows that lie in an older window file cannot be forgotten; what they leave in the
/// file of the deletions is dead, and there is more of it than any page may look at.
#[test]
fn page_behind_dead_rows_touches_as_many_blocks_whatever_their_number() {
    let touched = |dead_rows: u64, reverse: bool| {
        let options = EngineOptions {
            block_bytes: 1024,
            sweep_rows: 0,
            ..options()
        };
        let engine = open(&memory(), options).unwrap();
        let channel = partition("channel", 0);
        // Never stored, only deleted: tombstones that shadow nothing, with one row on either side.
        let mut index = 0;
        for start in (1..=dead_rows).step_by(1000) {
            let rows = start..(start + 1000).min(dead_rows + 1);
            index += 1;
            apply(
                &engine,
                index,
                &[mutation(&channel, rows.map(delete).collect())],
            );
        }
        let ends = vec![insert(0, "first"), insert(dead_rows + 1, "last")];
        apply(&engine, index + 1, &[mutation(&channel, ends)]);
        flush(&engine);
        let read = |engine: &Engine| {
            page(engine, &channel, |read| {
                read.reverse = reverse;
                read.limit_rows = 50;
            })
        };
        let found = read(&engine);
        assert_eq!(
            found.rows.len(),
            2,
            "{dead_rows} dead rows, reverse {reverse}"
        );
        assert!(found.resume_after.is_none());
        assert!(
            found.stats.blocks_skipped * 100 > dead_rows,
            "{:?}",
            found.stats
        );
        found.stats.blocks_read + found.stats.blocks_cached
    };
    for reverse in [false, true] {
        let few = touched(20_000, reverse);
        let many = touched(200_000, reverse);
        assert!(
            many <= few + 1,
            "{few} blocks, then {many}, reverse {reverse}"
        );
        assert!(many < 12, "{many} blocks, reverse {reverse}");
    }
}
