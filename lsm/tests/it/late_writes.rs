//! Late writes to many sealed windows share files, few of them, until their rows go to their windows.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{
    CellValue, CellWrite, ColumnId, Engine, EngineOptions, Operation, PartitionKey, ScanRead,
    Window,
};

use crate::engine_support::*;

/// Windows of 1000 ms that are over and sealed when late writes begin.
const WINDOWS: u64 = 12;
/// A time at which they are.
const NOW_MS: u64 = 100_000;

fn channel(window: u64) -> PartitionKey {
    let mut channel = partition(&format!("channel/{window:02}"), window.cast_signed());
    // Placements that come in another order than their windows.
    channel.token = window * 7 % 5;
    channel
}

fn next(engine: &Engine) -> u64 {
    engine.applied_index() + 1
}

fn mixed_options() -> EngineOptions {
    EngineOptions {
        mixed_files: 2,
        // Old windows stay apart, so that each has files to count.
        cold_fan_out: 0,
        ..options()
    }
}

/// Every window holds 100 rows in one sealed run.
fn sealed(vfs: &Arc<dyn Vfs>) -> lsm::Result<Engine> {
    let engine = open(vfs, mixed_options())?;
    for window in 0..WINDOWS {
        let rows = (0..100).map(|row| insert(row, "written in time"));
        // A deletion, because a small file of rows alone is not worth sealing.
        let rows = rows.chain([delete(999)]).collect();
        let index = next(&engine);
        engine.apply(
            index,
            lsm::Timestamp(index * 1000),
            &[mutation(&channel(window), rows)],
        )?;
    }
    finish(&engine)?;
    Ok(engine)
}

fn write_files(engine: &Engine) -> lsm::Result<()> {
    engine.freeze(Bytes::new())?;
    while engine.flush_step()? {}
    Ok(())
}

fn finish(engine: &Engine) -> lsm::Result<()> {
    write_files(engine)?;
    while engine.compact_step(NOW_MS)? {}
    Ok(())
}

/// Writes a row to every window and deletes another, and flushes.
fn late(engine: &Engine, round: u64) -> lsm::Result<()> {
    for window in 0..WINDOWS {
        let changes = vec![insert(200 + round, "written late"), delete(round)];
        let index = next(engine);
        engine.apply(
            index,
            lsm::Timestamp(index * 1000),
            &[mutation(&channel(window), changes)],
        )?;
    }
    write_files(engine)
}

/// What a scan finds: windows and rows.
fn scanned(engine: &Engine) -> Vec<(Window, Bytes, usize)> {
    let scan = ScanRead {
        table: TABLE,
        tokens: 0..=u64::MAX,
        after: None,
        limit_rows: usize::MAX,
        limit_bytes: usize::MAX,
        tombstone_budget: usize::MAX,
        now_ms: NOW_MS,
    };
    let page = engine.scan(&scan).unwrap();
    let parts = page.partitions.iter();
    parts
        .map(|it| {
            let id = &it.partition;
            (id.window, id.key.clone(), it.rows.len())
        })
        .collect()
}

fn mixed_files(engine: &Engine) -> usize {
    engine.metrics().mixed_files
}

#[test]
fn late_writes_of_many_windows_share_few_files_and_are_read_as_if_they_did_not() {
    let engine = sealed(&memory()).unwrap();
    let before = engine.metrics().files;
    for round in 0..2 {
        late(&engine, round).unwrap();
        while engine.compact_step(NOW_MS).unwrap() {}
        assert_eq!(mixed_files(&engine), usize::try_from(round).unwrap() + 1);
        assert_eq!(engine.metrics().files, before + mixed_files(&engine));
        for window in 0..WINDOWS {
            let found = numbers(&read_all(&engine, &channel(window), NOW_MS));
            assert!(found.contains(&(200 + round)) && !found.contains(&round));
            assert_eq!(found.len(), 100);
        }
        let windows: BTreeSet<_> = scanned(&engine).iter().map(|it| it.0).collect();
        let all: BTreeSet<_> = (0..WINDOWS).map(|it| channel(it).window).collect();
        assert_eq!(windows, all);
    }
    engine.verify().unwrap();
    let (read, digests) = (scanned(&engine), engine.digest(NOW_MS).unwrap());
    late(&engine, 2).unwrap();
    assert_eq!(mixed_files(&engine), 3);
    while engine.compact_step(NOW_MS).unwrap() {}
    assert_eq!(mixed_files(&engine), 0, "three are too many");
    engine.verify().unwrap();
    assert_eq!(scanned(&engine).len(), read.len());
    assert_ne!(engine.digest(NOW_MS).unwrap(), digests, "one more row");
    for window in 0..WINDOWS {
        let found = numbers(&read_all(&engine, &channel(window), NOW_MS));
        let expected: Vec<u64> = (3..100).chain(200..203).collect();
        assert_eq!(found, expected);
    }
}

/// An expiring value in a file of the window hides an older one in a mixed file: when nothing in the
/// window's own files is visible any more, they must not be dropped.
#[test]
fn a_window_is_not_dropped_while_it_hides_something_in_a_mixed_file() {
    let engine = sealed(&memory()).unwrap();
    // A window that has nothing but what expires.
    let own = channel(3);
    apply(
        &engine,
        next(&engine),
        &[mutation(&own, vec![Operation::DeletePartition])],
    );
    finish(&engine).unwrap();
    let groups = engine.metrics().windows;
    assert_eq!(groups as u64, WINDOWS - 1, "nothing is left of one");
    late(&engine, 0).unwrap();
    assert_eq!(mixed_files(&engine), 1);
    assert_eq!(numbers(&read_all(&engine, &own, NOW_MS)), [200]);
    let value = CellValue::Expiring {
        value: Bytes::from_static(b"short lived"),
        expires_at_ms: NOW_MS + 10,
    };
    let cell = CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value,
    };
    // The row goes, and what comes instead expires.
    let expiring = Operation::Upsert {
        clustering: key(200),
        liveness: None,
        cells: vec![cell],
    };
    apply(
        &engine,
        next(&engine),
        &[mutation(&own, vec![delete(200), expiring])],
    );
    finish(&engine).unwrap();
    let metrics = engine.metrics();
    assert_eq!((metrics.mixed_files, metrics.windows), (1, groups + 2));
    while engine.compact_step(NOW_MS + 20).unwrap() {}
    assert!(
        read_all(&engine, &own, NOW_MS + 20).rows.is_empty(),
        "back from the dead"
    );
    let metrics = engine.metrics();
    assert_eq!((metrics.mixed_files, metrics.windows), (0, groups));
}

/// Late writes, their spreading, and the merges after it; stops at the first error.
fn live(vfs: &Arc<dyn Vfs>, promised: &mut u64) -> lsm::Result<()> {
    let engine = sealed(vfs)?;
    for round in 0..3 {
        *promised = engine.flushed().index;
        late(&engine, round)?;
        while engine.compact_step(NOW_MS)? {}
    }
    *promised = engine.flushed().index;
    Ok(())
}

#[test]
fn a_power_cut_or_an_error_at_any_call_of_mixing_and_spreading_loses_nothing_flushed() {
    let faulty = FaultyVfs::new(0);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let before = sealed(&vfs).map(|engine| (faulty.calls(), engine.applied_index()));
    let (first, written) = before.unwrap();
    drop(vfs);
    let total = {
        let faulty = FaultyVfs::new(0);
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        live(&vfs, &mut 0).unwrap();
        faulty.calls()
    };
    for (number, call) in (first..total).step_by(3).enumerate() {
        let faulty = FaultyVfs::new(call);
        let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
        if number % 2 == 0 {
            faulty.crash_at(call);
        } else {
            faulty.fail_at(call, Fault::NoSpace);
        }
        let mut promised = written;
        let outcome = live(&vfs, &mut promised);
        if number % 2 == 0 {
            assert!(outcome.is_err(), "call {call}");
            faulty.restart();
        }
        let engine = open(&vfs, mixed_options()).unwrap();
        let flushed = engine.flushed().index;
        assert!(flushed >= promised, "call {call}: {flushed} of {promised}");
        engine.verify().unwrap();
        // A flush is of one round as a whole.
        let rounds = (flushed - written) / WINDOWS;
        for window in 0..WINDOWS {
            let found = numbers(&read_all(&engine, &channel(window), NOW_MS));
            let expected: Vec<u64> = (rounds..100).chain(200..200 + rounds).collect();
            assert_eq!(found, expected, "call {call}");
        }
        while engine.compact_step(NOW_MS).unwrap() {}
        assert!(mixed_files(&engine) <= 2);
    }
}
