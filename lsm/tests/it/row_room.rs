//! Rows that grow by many small writes: refused in time, and never a file that cannot be read.

use bytes::Bytes;
use lsm::limits::{ROW_ADMITTED_BYTES_MAX, ROW_BYTES_MAX};
use lsm::{CellValue, CellWrite, ColumnId, Engine, ErrorKind, Growth, Operation, SliceRead};

use crate::engine_support::*;

const ELEMENT_BYTES: usize = 400 * 1024;

fn element(number: u64) -> CellWrite {
    CellWrite {
        column: ColumnId(1),
        path: key(number),
        value: CellValue::Live(Bytes::from(vec![7; ELEMENT_BYTES])),
    }
}

/// Adds one element to row 5 of the channel, or to its static row.
fn grow(engine: &Engine, number: u64, is_static: bool) {
    let cells = vec![element(number)];
    let operation = if is_static {
        Operation::UpsertStatic { cells }
    } else {
        Operation::Upsert {
            clustering: key(5),
            liveness: None,
            cells,
        }
    };
    apply(
        engine,
        number,
        &[mutation(&partition("channel", 0), vec![operation])],
    );
}

fn check(engine: &Engine, is_static: bool) -> lsm::Result<()> {
    let row = key(5);
    let row = (!is_static).then_some(&row);
    let growth = Growth {
        bytes: ELEMENT_BYTES + 8,
        elements: 1,
    };
    engine.check_room(TABLE, &partition("channel", 0), row, growth)
}

fn element_count(engine: &Engine, is_static: bool) -> usize {
    let mut read = SliceRead::all(TABLE, partition("channel", 0), 10, 0);
    read.limit_bytes = usize::MAX;
    let page = engine.read(&read).unwrap();
    if is_static {
        page.static_row.cells().count()
    } else {
        page.rows.first().map_or(0, |row| row.cells().count())
    }
}

#[test]
fn a_row_that_grows_by_small_writes_is_refused_before_it_is_too_large_wherever_it_is() {
    for is_static in [false, true] {
        for flushes_every in [u64::MAX, 1, 7] {
            let engine = open(&memory(), options()).unwrap();
            let mut number = 0;
            let refused = loop {
                if let Err(refused) = check(&engine, is_static) {
                    break refused;
                }
                number += 1;
                grow(&engine, number, is_static);
                if number % flushes_every == 0 {
                    flush(&engine);
                }
                if number % 5 == 0 {
                    compact(&engine, 0);
                }
            };
            assert_eq!(refused.kind(), ErrorKind::Invalid);
            let bytes = usize::try_from(number).unwrap() * ELEMENT_BYTES;
            assert!(
                bytes <= ROW_ADMITTED_BYTES_MAX,
                "{bytes} bytes were admitted"
            );
            assert!(
                bytes > ROW_ADMITTED_BYTES_MAX - 2 * ELEMENT_BYTES,
                "{bytes} bytes only"
            );
        }
    }
}

#[test]
fn what_was_on_its_way_when_a_row_was_full_is_applied_flushed_merged_and_read() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    // Three times what is admitted: nobody asked.
    let count = u64::try_from(3 * ROW_ADMITTED_BYTES_MAX / ELEMENT_BYTES).unwrap();
    assert!(usize::try_from(count).unwrap() * (ELEMENT_BYTES + 32) < ROW_BYTES_MAX);
    for is_static in [false, true] {
        let before = engine.applied_index();
        for number in 1..=count {
            grow(&engine, before + number, is_static);
            if number % (count / 4) == 0 {
                flush(&engine);
            }
        }
        flush(&engine);
    }
    compact(&engine, 0);
    assert_eq!(engine.debt(0).runs, 1);
    drop(engine);
    let engine = open(&vfs, options()).unwrap();
    engine.verify().unwrap();
    for is_static in [false, true] {
        assert_eq!(element_count(&engine, is_static) as u64, count);
        assert!(check(&engine, is_static).is_err());
    }
}
