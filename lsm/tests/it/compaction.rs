//! What compaction does and, more important, what it must not do.

use std::sync::Arc;

use bytes::Bytes;
use lsm::{CellValue, CellWrite, ColumnId, Engine, Liveness, Operation, PartitionKey, SliceRead};

use crate::engine_support::*;

fn expiring(number: u64, value: &'static str, expires_at_ms: u64) -> Operation {
    let value = Bytes::from_static(value.as_bytes());
    let value = CellValue::Expiring {
        value,
        expires_at_ms,
    };
    let cell = CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value,
    };
    let liveness = Some(Liveness {
        expires_at_ms: Some(expires_at_ms),
    });
    Operation::Upsert {
        clustering: key(number),
        liveness,
        cells: vec![cell],
    }
}

/// Applies one operation per index and flushes it to a file of its own.
fn write_file(engine: &Engine, index: u64, partition: &PartitionKey, operations: Vec<Operation>) {
    apply(engine, index, &[mutation(partition, operations)]);
    flush(engine);
}

#[test]
fn four_neighbors_of_an_active_window_become_one() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    for index in 1..=3 {
        write_file(&engine, index, &channel, vec![insert(index, "x")]);
        compact(&engine, 10);
    }
    assert_eq!(engine.metrics().files, 3);
    write_file(&engine, 4, &channel, vec![insert(4, "x")]);
    compact(&engine, 10);
    assert_eq!(engine.metrics().files, 1);
    assert_eq!(numbers(&read_all(&engine, &channel, 10)), [1, 2, 3, 4]);
}

#[test]
fn a_window_is_sealed_once_after_its_end_and_grace() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    write_file(&engine, 1, &channel, vec![insert(1, "x")]);
    write_file(&engine, 2, &channel, vec![insert(2, "x")]);
    compact(&engine, 1099);
    assert_eq!(engine.metrics().files, 2);
    compact(&engine, 1100);
    assert_eq!(
        (engine.metrics().files, engine.metrics().compactions),
        (1, 1)
    );
    compact(&engine, 50_000);
    assert_eq!(engine.metrics().compactions, 1);
}

#[test]
fn a_window_whose_last_rows_are_not_flushed_is_sealed_with_them_or_half_a_window_later() {
    let channel = partition("channel", 0);
    let two_files_and_a_row = || {
        let engine = open(&memory(), options()).unwrap();
        write_file(&engine, 1, &channel, vec![insert(1, "x")]);
        write_file(&engine, 2, &channel, vec![insert(2, "x")]);
        apply(&engine, 3, &[mutation(&channel, vec![insert(3, "x")])]);
        compact(&engine, 1599);
        assert_eq!(engine.metrics().compactions, 0);
        engine
    };
    let engine = two_files_and_a_row();
    flush(&engine);
    compact(&engine, 1599);
    assert_eq!(
        (engine.metrics().files, engine.metrics().compactions),
        (1, 1)
    );
    assert_eq!(engine.verify().unwrap().rows, 3);
    let engine = two_files_and_a_row();
    compact(&engine, 1600);
    assert_eq!(
        (engine.metrics().files, engine.metrics().compactions),
        (1, 1)
    );
    assert_eq!(engine.verify().unwrap().rows, 2);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that hangs must not be waited for"
)]
fn what_is_due_can_be_asked_for_while_rows_are_applied() {
    let engine = Arc::new(open(&memory(), options()).unwrap());
    let channel = partition("channel", 0);
    write_file(&engine, 1, &channel, vec![insert(1, "x")]);
    let asking = Arc::clone(&engine);
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The window is over, and whether it is sealed depends on what memtables hold.
        while asking.applied_index() < 20_000 {
            asking.debt(1300);
            asking.backlog_bytes(1300);
        }
        done.send(()).unwrap();
    });
    let applying = Arc::clone(&engine);
    std::thread::spawn(move || {
        for index in 2..=20_000 {
            apply(
                &applying,
                index,
                &[mutation(&channel, vec![insert(2, "x")])],
            );
        }
    });
    let minute = std::time::Duration::from_mins(1);
    is_done.recv_timeout(minute).expect("nobody waits for ever");
}

#[test]
fn a_late_write_to_a_sealed_window_is_merged_into_it() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let rows = (0..100).map(|number| insert(number, "x")).collect();
    write_file(&engine, 1, &channel, rows);
    compact(&engine, 2000);
    for index in 2000..2004 {
        write_file(&engine, index, &channel, vec![delete(index - 2000)]);
        compact(&engine, 2000);
    }
    assert_eq!(engine.metrics().files, 1);
    assert_eq!(engine.verify().unwrap().rows, 96);
}

#[test]
fn an_expired_window_is_dropped_without_reading_it() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    let channel = partition("channel", 0);
    for index in 1..=3 {
        write_file(
            &engine,
            index,
            &channel,
            vec![expiring(index, "x", 500 + index)],
        );
    }
    compact(&engine, 500);
    assert_eq!(engine.metrics().files, 3);
    // The two older files hide nothing, so they can go alone.
    compact(&engine, 502);
    assert_eq!(
        (engine.metrics().files, engine.metrics().files_dropped),
        (1, 2)
    );
    compact(&engine, 503);
    let metrics = engine.metrics();
    assert_eq!((metrics.files, metrics.windows_dropped), (0, 1));
    assert_eq!(metrics.compaction_read_bytes, 0);
    let names = vfs.list(std::path::Path::new(DIR)).unwrap();
    assert!(names.iter().all(|name| !name.contains(".sst")), "{names:?}");
}

#[test]
fn an_expired_file_alone_never_uncovers_what_it_overwrote() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    write_file(&engine, 1, &channel, vec![insert(1, "forever")]);
    // Merged once, it waits for others that were; four newer neighbors merge without it.
    for index in 2..=4 {
        write_file(
            &engine,
            index,
            &partition("filler", 0),
            vec![insert(index, "x")],
        );
    }
    compact(&engine, 10);
    assert_eq!(engine.metrics().files, 1);
    for index in 5..=8 {
        write_file(
            &engine,
            index,
            &channel,
            vec![expiring(1, "for a while", 500)],
        );
    }
    assert_eq!(numbers(&read_all(&engine, &channel, 499)), [1]);
    assert_eq!(numbers(&read_all(&engine, &channel, 500)), [0; 0]);
    compact(&engine, 600);
    assert_eq!(engine.metrics().files, 2);
    assert_eq!(numbers(&read_all(&engine, &channel, 600)), [0; 0]);
    // Merged with what they overwrote, both are gone.
    compact(&engine, 1100);
    assert_eq!(numbers(&read_all(&engine, &channel, 1100)), [0; 0]);
    assert_eq!(engine.verify().unwrap().rows, 3);
}

#[test]
fn a_full_merge_leaves_no_tombstone_and_nothing_that_one_shadowed() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let rows = (0..100).map(|number| insert(number, "x")).collect();
    write_file(&engine, 1, &channel, rows);
    let deletions = (0..50).map(delete).chain([delete_range(50, 90)]).collect();
    write_file(&engine, 2, &channel, deletions);
    write_file(
        &engine,
        3,
        &partition("other", 0),
        vec![Operation::DeletePartition],
    );
    compact(&engine, 5000);
    let report = engine.verify().unwrap();
    assert_eq!((report.rows, report.partitions), (10, 1));
    assert_eq!(
        numbers(&read_all(&engine, &channel, 0)),
        (90..100).collect::<Vec<_>>()
    );
}

#[test]
fn deleting_a_placement_removes_its_data_and_at_last_itself() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    let windows = [partition("channel/0", 0), partition("channel/1", 1)];
    for (index, window) in (1..).zip(&windows) {
        write_file(&engine, index, window, vec![insert(1, "x")]);
    }
    let token = windows[0].token;
    let placement = Bytes::from_static(b"channel/");
    apply(
        &engine,
        3,
        &[lsm::Change::DeletePlacement {
            table: TABLE,
            token,
            placement,
        }],
    );
    flush(&engine);
    drop(engine);
    let engine = open(&vfs, options()).unwrap();
    for window in &windows {
        assert_eq!(numbers(&read_all(&engine, window, 0)), [0; 0]);
    }
    write_file(&engine, 4, &windows[0], vec![insert(2, "new")]);
    compact(&engine, 9000);
    assert_eq!(numbers(&read_all(&engine, &windows[0], 0)), [2]);
}

/// A page of a partition that holds one live row behind many dead ones.
fn page_cost(engine: &Engine, channel: &PartitionKey, reverse: bool) -> lsm::ReadStats {
    let mut read = SliceRead::all(TABLE, channel.clone(), 50, 0);
    read.reverse = reverse;
    let page = engine.read(&read).unwrap();
    assert_eq!(numbers(&page), [if reverse { 0 } else { 100_000 }]);
    page.stats
}

/// Rows 0 and 100 000 stay, what is between is deleted.
const DEAD: std::ops::Range<u64> = 1..100_000;

fn fill(engine: &Engine, channel: &PartitionKey) {
    for (index, start) in (1..).zip((0..=100_000).step_by(1000)) {
        let rows = (start..(start + 1000).min(100_001)).map(|number| insert(number, "text"));
        apply(engine, index, &[mutation(channel, rows.collect())]);
    }
}

fn delete_all(engine: &Engine, channel: &PartitionKey) {
    let mut numbers: Vec<u64> = DEAD.collect();
    numbers.push(0);
    for (index, chunk) in (1000..).zip(numbers.chunks(1000)) {
        let deletions = chunk.iter().map(|number| delete(*number)).collect();
        apply(engine, index, &[mutation(channel, deletions)]);
    }
}

/// Nobody knows which rows are dead but the blocks themselves.
fn unswept() -> lsm::EngineOptions {
    lsm::EngineOptions {
        sweep_rows: 0,
        ..lsm::EngineOptions::default()
    }
}

#[test]
fn a_page_behind_100_000_deleted_rows_touches_few_blocks() {
    let channel = partition("channel", 0);
    // Deleted one by one, and the deletions are in the same file as what is left.
    let engine = open(&memory(), unswept()).unwrap();
    fill(&engine, &channel);
    delete_all(&engine, &channel);
    flush(&engine);
    let stats = page_cost(&engine, &channel, false);
    assert!(
        stats.blocks_skipped > 50 && stats.blocks_read <= 8,
        "{stats:?}"
    );

    // Deleted by one range in a newer file.
    let engine = open(&memory(), lsm::EngineOptions::default()).unwrap();
    fill(&engine, &channel);
    flush(&engine);
    apply(
        &engine,
        1000,
        &[mutation(&channel, vec![delete_range(0, 100_000)])],
    );
    flush(&engine);
    let stats = page_cost(&engine, &channel, false);
    assert!(
        stats.blocks_skipped > 50 && stats.blocks_read <= 8,
        "{stats:?}"
    );

    // Deleted one by one in a newer file: the first compaction purges both.
    let engine = open(&memory(), lsm::EngineOptions::default()).unwrap();
    fill(&engine, &channel);
    flush(&engine);
    delete_all(&engine, &channel);
    flush(&engine);
    compact(&engine, 10);
    let stats = page_cost(&engine, &channel, false);
    assert!(stats.blocks_read <= 8 && stats.tombstones == 0, "{stats:?}");
    assert_eq!(engine.verify().unwrap().rows, 1);
}

#[test]
fn a_reverse_page_behind_100_000_deleted_rows_touches_few_blocks() {
    let channel = partition("channel", 0);
    let engine = open(&memory(), unswept()).unwrap();
    fill(&engine, &channel);
    let deletions = (1..=100_000).map(delete).collect();
    apply(&engine, 1000, &[mutation(&channel, deletions)]);
    flush(&engine);
    let stats = page_cost(&engine, &channel, true);
    assert!(
        stats.blocks_skipped > 50 && stats.blocks_read <= 8,
        "{stats:?}"
    );
}
