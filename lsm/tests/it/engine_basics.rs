//! What an engine promises, one claim at a time.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use lsm::{CellValue, Change, ColumnId, ErrorKind, Liveness, Operation, SliceRead, Timestamp};

use crate::engine_support::*;

#[test]
fn newest_version_of_a_cell_wins_across_memtables_and_files() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    for (index, value) in [(1, "first"), (2, "second"), (3, "third")] {
        apply(
            &engine,
            index,
            &[mutation(&channel, vec![insert(5, value)])],
        );
        let page = read_all(&engine, &channel, 0);
        assert_eq!(
            page.rows.first().unwrap().cells().next().unwrap().value,
            value.as_bytes()
        );
        flush(&engine);
        assert_eq!(read_all(&engine, &channel, 0).rows, page.rows);
    }
}

#[test]
fn a_read_in_memory_is_the_same_page_or_none_and_never_waits_for_a_file() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let read = SliceRead::all(TABLE, channel.clone(), usize::MAX, 0);
    apply(&engine, 1, &[mutation(&channel, vec![insert(5, "one")])]);
    let page = engine.read_in_memory(&read).unwrap();
    assert_eq!(page.unwrap().rows, read_all(&engine, &channel, 0).rows);
    flush(&engine);
    let before = engine.metrics().read_blocks;
    assert!(engine.read_in_memory(&read).unwrap().is_none());
    assert_eq!(engine.metrics().read_blocks, before);
    let whole = engine.read(&read).unwrap();
    let page = engine.read_in_memory(&read).unwrap().unwrap();
    assert_eq!((page.rows.len(), page.rows), (1, whole.rows));
    // In a new memtable, and not in the file: both are looked at.
    apply(&engine, 2, &[mutation(&channel, vec![insert(6, "two")])]);
    assert_eq!(
        numbers(&engine.read_in_memory(&read).unwrap().unwrap()),
        [5, 6]
    );
}

#[test]
fn every_kind_of_deletion_hides_older_data_and_not_newer_data() {
    let channel = partition("channel", 0);
    let deletions: Vec<(&str, Change)> = vec![
        ("row", mutation(&channel, vec![delete(5)])),
        ("range", mutation(&channel, vec![delete_range(3, 7)])),
        (
            "partition",
            mutation(&channel, vec![Operation::DeletePartition]),
        ),
        (
            "placement",
            Change::DeletePlacement {
                table: TABLE,
                token: channel.token,
                placement: Bytes::from_static(b"chan"),
            },
        ),
    ];
    for flushes in [false, true] {
        for (name, deletion) in &deletions {
            let engine = open(&memory(), options()).unwrap();
            apply(&engine, 1, &[mutation(&channel, vec![insert(5, "old")])]);
            if flushes {
                flush(&engine);
            }
            apply(&engine, 2, std::slice::from_ref(deletion));
            assert_eq!(
                numbers(&read_all(&engine, &channel, 0)),
                [0; 0],
                "{name} {flushes}"
            );
            if flushes {
                flush(&engine);
            }
            apply(&engine, 3, &[mutation(&channel, vec![insert(5, "new")])]);
            let page = read_all(&engine, &channel, 0);
            assert_eq!(
                page.rows.first().unwrap().cells().next().unwrap().value,
                b"new",
                "{name} {flushes}"
            );
        }
    }
}

#[test]
fn deleted_collection_hides_older_elements_and_not_newer_ones() {
    let channel = partition("channel", 0);
    let set = ColumnId(2);
    let element = |value: &'static str| lsm::CellWrite {
        column: set,
        path: Bytes::from_static(value.as_bytes()),
        value: CellValue::Live(Bytes::new()),
    };
    let engine = open(&memory(), options()).unwrap();
    let upsert = |cells| Operation::Upsert {
        clustering: key(5),
        liveness: Some(Liveness::default()),
        cells,
    };
    let replace = Operation::DeleteComplex {
        clustering: Some(key(5)),
        column: set,
    };
    apply(
        &engine,
        1,
        &[mutation(
            &channel,
            vec![upsert(vec![element("a"), element("b")])],
        )],
    );
    flush(&engine);
    apply(
        &engine,
        2,
        &[mutation(
            &channel,
            vec![replace, upsert(vec![element("c")])],
        )],
    );
    let page = read_all(&engine, &channel, 0);
    let row = page.rows.first().unwrap();
    let paths: Vec<&[u8]> = row.cells().map(|cell| cell.path).collect();
    assert_eq!(paths, [b"c"]);
}

#[test]
fn expiring_data_is_visible_exactly_until_it_expires() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let value = CellValue::Expiring {
        value: Bytes::from_static(b"x"),
        expires_at_ms: 500,
    };
    let cell = lsm::CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value,
    };
    let liveness = Some(Liveness {
        expires_at_ms: Some(500),
    });
    let operation = Operation::Upsert {
        clustering: key(1),
        liveness,
        cells: vec![cell],
    };
    apply(&engine, 1, &[mutation(&channel, vec![operation])]);
    for _ in 0..2 {
        assert_eq!(numbers(&read_all(&engine, &channel, 499)), [1]);
        assert_eq!(numbers(&read_all(&engine, &channel, 500)), [0; 0]);
        flush(&engine);
    }
}

#[test]
fn page_is_cut_at_the_tombstone_budget_and_resumes_behind_it() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    for number in 0..100 {
        apply(
            &engine,
            number + 1,
            &[mutation(&channel, vec![insert(number, "x")])],
        );
    }
    let deletions = (0..90).map(delete).collect();
    apply(&engine, 200, &[mutation(&channel, deletions)]);
    let mut read = SliceRead::all(TABLE, channel, 5, 0);
    read.tombstone_budget = 40;
    let first = engine.read(&read).unwrap();
    assert_eq!((first.rows.len(), first.stats.tombstones), (0, 40));
    assert_eq!(first.resume_after, Some(key(39)));
    let mut next = first;
    let mut rows = Vec::new();
    while let Some(after) = next.resume_after.clone() {
        next = engine.read(&read.resumed_after(after)).unwrap();
        rows.extend(numbers(&next));
    }
    assert_eq!(rows, (90..100).collect::<Vec<_>>());
}

#[test]
fn replayed_index_changes_nothing_and_disorder_is_refused() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    apply(&engine, 5, &[mutation(&channel, vec![insert(1, "x")])]);
    flush(&engine);
    engine
        .apply(5, Timestamp(1), &[mutation(&channel, vec![delete(1)])])
        .unwrap();
    assert_eq!(numbers(&read_all(&engine, &channel, 0)), [1]);
    apply(&engine, 7, &[]);
    let late = engine.apply(6, Timestamp(99_000), &[]).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Invalid);
    let old = [mutation(&channel, vec![delete(1)])];
    assert_eq!(
        engine.apply(8, Timestamp(5), &old).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(engine.applied_index(), 7);
}

#[test]
fn flushed_position_and_owner_bytes_survive_reopening() {
    let vfs = memory();
    let channel = partition("channel", 0);
    {
        let engine = open(&vfs, options()).unwrap();
        apply(
            &engine,
            3,
            &[mutation(&channel, vec![insert(1, "x"), insert(2, "y")])],
        );
        flush(&engine);
        apply(
            &engine,
            4,
            &[mutation(&channel, vec![insert(3, "not flushed")])],
        );
    }
    let engine = open(&vfs, options()).unwrap();
    let flushed = engine.flushed();
    assert_eq!((flushed.index, flushed.timestamp), (3, Timestamp(3001)));
    assert_eq!(flushed.owner, "owner");
    assert_eq!(numbers(&read_all(&engine, &channel, 0)), [1, 2]);
    apply(&engine, 4, &[mutation(&channel, vec![insert(3, "again")])]);
    assert_eq!(numbers(&read_all(&engine, &channel, 0)), [1, 2, 3]);
}

#[test]
fn index_without_changes_moves_the_flushed_position() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    assert!(!engine.freeze(Bytes::new()).unwrap());
    apply(&engine, 9, &[]);
    flush(&engine);
    assert_eq!(engine.flushed().index, 9);
    assert_eq!(engine.metrics().files, 0);
}

#[test]
fn waiting_memtables_are_bounded() {
    let engine = open(&memory(), options()).unwrap();
    for index in 1..=4 {
        apply(&engine, index, &[]);
        engine.freeze(Bytes::new()).unwrap();
    }
    apply(&engine, 5, &[]);
    assert_eq!(
        engine.freeze(Bytes::new()).unwrap_err().kind(),
        ErrorKind::Overloaded
    );
}

#[test]
fn dropped_table_is_gone_from_memory_and_disk() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    let channel = partition("channel", 0);
    apply(&engine, 1, &[mutation(&channel, vec![insert(1, "x")])]);
    flush(&engine);
    apply(&engine, 2, &[mutation(&channel, vec![insert(2, "x")])]);
    engine.freeze(Bytes::new()).unwrap();
    apply(&engine, 3, &[mutation(&channel, vec![insert(3, "x")])]);
    engine.drop_table(TABLE).unwrap();
    assert_eq!(numbers(&read_all(&engine, &channel, 0)), [0; 0]);
    assert!(engine.stored_tables().is_empty());
    assert_eq!(engine.memory_bytes(), 0);
    assert_eq!(engine.metrics().files, 0);
}

#[test]
fn a_second_engine_in_the_same_directory_is_refused() {
    let vfs = memory();
    let _engine = open(&vfs, options()).unwrap();
    assert_eq!(
        open(&vfs, options()).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[test]
fn checkpoint_is_an_engine_of_its_own() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    let channel = partition("channel", 0);
    apply(&engine, 1, &[mutation(&channel, vec![insert(1, "x")])]);
    flush(&engine);
    let copy = std::path::Path::new("/copy");
    engine.checkpoint(copy).unwrap();
    apply(
        &engine,
        2,
        &[mutation(&channel, vec![Operation::DeletePartition])],
    );
    flush(&engine);
    compact(&engine, u64::MAX - 1);
    assert_eq!(engine.metrics().files, 0);
    let copy = lsm::Engine::open(Arc::clone(&vfs), copy, options()).unwrap();
    assert_eq!(numbers(&read_all(&copy, &channel, 0)), [1]);
    assert_eq!(copy.verify().unwrap().rows, 1);
}

#[test]
fn slice_bounds_are_exact_in_both_directions() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let rows = (0..200)
        .map(|number| insert(number, "some text to fill blocks"))
        .collect();
    apply(&engine, 1, &[mutation(&channel, rows)]);
    flush(&engine);
    let bounds: [(Bound<Bytes>, Bound<Bytes>, Vec<u64>); 4] = [
        (
            Bound::Included(key(50)),
            Bound::Excluded(key(53)),
            vec![50, 51, 52],
        ),
        (
            Bound::Excluded(key(50)),
            Bound::Included(key(53)),
            vec![51, 52, 53],
        ),
        (Bound::Unbounded, Bound::Excluded(key(2)), vec![0, 1]),
        (Bound::Included(key(198)), Bound::Unbounded, vec![198, 199]),
    ];
    for (start, end, expected) in bounds {
        let mut read = SliceRead::all(TABLE, channel.clone(), usize::MAX, 0);
        (read.start, read.end) = (start, end);
        assert_eq!(numbers(&engine.read(&read).unwrap()), expected);
        read.reverse = true;
        let mut reversed = numbers(&engine.read(&read).unwrap());
        reversed.reverse();
        assert_eq!(reversed, expected);
    }
}
