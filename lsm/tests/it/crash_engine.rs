//! Power cuts and failing disks at every call of a scripted life of an engine.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{Change, Engine, Operation, PartitionKey, Result, Timestamp};

use crate::engine_support::*;

/// What the script writes at each log index. Window 0 ends at 1000 ms, window 1 at 2000 ms.
fn script() -> Vec<Vec<Change>> {
    let (old, new) = (partition("channel/0", 0), partition("channel/1", 1));
    let mut log = Vec::new();
    for index in 0..40_u64 {
        let text = format!("message {index} with some text to fill a block with");
        let mut changes = vec![mutation(&new, vec![insert(index, &text)])];
        if index < 20 {
            changes.push(mutation(&old, vec![expiring(index)]));
        }
        if index % 7 == 0 {
            changes.push(mutation(
                &new,
                vec![delete(index / 2), delete_range(0, index / 3)],
            ));
        }
        if index == 25 {
            let placement = Bytes::from_static(b"gone");
            changes.push(mutation(&partition("gone/0", 1), vec![insert(1, "x")]));
            changes.push(Change::DeletePlacement {
                table: TABLE,
                token: 6,
                placement,
            });
        }
        log.push(changes);
    }
    log
}

fn expiring(number: u64) -> Operation {
    let value = Bytes::from_static(b"short lived");
    let value = lsm::CellValue::Expiring {
        value,
        expires_at_ms: 900,
    };
    let column = lsm::ColumnId(1);
    let cell = lsm::CellWrite {
        column,
        path: Bytes::new(),
        value,
    };
    Operation::Upsert {
        clustering: key(number),
        liveness: None,
        cells: vec![cell],
    }
}

fn apply_one(engine: &Engine, log: &[Vec<Change>], index: u64) -> Result<()> {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    engine.apply(index, Timestamp(index * 1000), &log[at - 1])
}

/// Applies, flushes, compacts, seals and drops; stops at the first error. Returns the index that
/// the last successful flush promised.
fn live(vfs: &Arc<dyn Vfs>, log: &[Vec<Change>], promised: &mut u64) -> Result<()> {
    let engine = open(vfs, options())?;
    for index in 1..=40 {
        apply_one(&engine, log, index)?;
        if index % 4 == 0 {
            engine.freeze(Bytes::from(index.to_string()))?;
            engine.flush_step()?;
            *promised = index;
        }
        if index % 8 == 0 {
            while engine.compact_step(index)? {}
        }
    }
    // Everything in window 0 has expired; window 1 is over.
    while engine.compact_step(2200)? {}
    drop(engine);
    let engine = open(vfs, options())?;
    assert_eq!(engine.flushed().index, 40);
    Ok(())
}

/// An engine that applied everything and never wrote a file.
fn reference(log: &[Vec<Change>]) -> Engine {
    let engine = open(&memory(), options()).unwrap();
    for index in 1..=40 {
        apply_one(&engine, log, index).unwrap();
    }
    engine
}

fn partitions() -> [PartitionKey; 3] {
    [
        partition("channel/0", 0),
        partition("channel/1", 1),
        partition("gone/0", 1),
    ]
}

/// Opens the engine, replays what was not flushed, and compares it with the reference.
fn check(vfs: &Arc<dyn Vfs>, log: &[Vec<Change>], promised: u64, what: &str) {
    let engine = open(vfs, options()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let flushed = engine.flushed();
    assert!(
        flushed.index >= promised,
        "{what}: flushed {promised}, found {}",
        flushed.index
    );
    if flushed.index > 0 {
        assert_eq!(flushed.owner, flushed.index.to_string(), "{what}");
    }
    let mut files = vfs.list(Path::new(DIR)).unwrap();
    files.retain(|name| name != "LOCK");
    let tables = files.iter().filter(|name| name.contains(".sst")).count();
    assert_eq!(tables, engine.metrics().files, "{what}: {files:?}");
    // And CURRENT and one manifest.
    assert_eq!(files.len(), tables + 2, "{what}: {files:?}");
    for index in flushed.index + 1..=40 {
        apply_one(&engine, log, index).unwrap();
    }
    engine
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let reference = reference(log);
    for partition in partitions() {
        let found = read_all(&engine, &partition, 2200).rows;
        assert_eq!(found, read_all(&reference, &partition, 2200).rows, "{what}");
    }
}

/// Calls that the script makes when nothing fails.
fn calls(log: &[Vec<Change>]) -> u64 {
    let faulty = FaultyVfs::new(0);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let mut promised = 0;
    live(&vfs, log, &mut promised).unwrap();
    let total = faulty.calls();
    check(&vfs, log, promised, "no fault");
    let engine = open(&vfs, options()).unwrap();
    assert!(engine.metrics().windows <= 1, "window 0 was dropped");
    total
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_flushed_and_leaves_no_file_over() {
    let log = script();
    let total = calls(&log);
    assert!(total > 150, "{total} calls");
    for call in 0..total {
        for seed in 0..3 {
            let faulty = FaultyVfs::new(call * 3 + seed);
            let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
            faulty.crash_at(call);
            let mut promised = 0;
            let outcome = live(&vfs, &log, &mut promised);
            faulty.restart();
            check(
                &vfs,
                &log,
                promised,
                &format!("call {call} seed {seed}: {outcome:?}"),
            );
        }
    }
}

#[test]
fn an_error_of_any_call_is_reported_or_harmless_and_loses_nothing_flushed() {
    let log = script();
    let total = calls(&log);
    for call in 0..total {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let faulty = FaultyVfs::new(call);
            let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
            faulty.fail_at(call, fault);
            let mut promised = 0;
            let outcome = live(&vfs, &log, &mut promised);
            let what = format!("call {call} {fault:?}: {outcome:?}");
            check(&vfs, &log, promised, &what);
            faulty.restart();
            check(&vfs, &log, promised, &what);
        }
    }
}

#[test]
fn a_failed_flush_can_be_tried_again() {
    let faulty = FaultyVfs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let engine = open(&vfs, options()).unwrap();
    let channel = partition("channel", 0);
    apply(&engine, 1, &[mutation(&channel, vec![insert(1, "x")])]);
    engine.freeze(Bytes::new()).unwrap();
    faulty.fail_at(faulty.calls() + 1, Fault::NoSpace);
    assert_eq!(
        engine.flush_step().unwrap_err().kind(),
        lsm::ErrorKind::NoSpace
    );
    assert_eq!(numbers(&read_all(&engine, &channel, 0)), [1]);
    engine.flush_step().unwrap();
    assert_eq!(engine.flushed().index, 1);
}

/// Tries a step until it succeeds: once more on the same engine, then after opening it again.
/// Returns how often it failed.
fn insist(
    engine: &mut Option<Engine>,
    vfs: &Arc<dyn Vfs>,
    replay: &dyn Fn(&Engine),
    step: &dyn Fn(&Engine) -> Result<()>,
) -> u64 {
    for failures in 0..8 {
        if engine.is_none() {
            *engine = open(vfs, options()).ok();
            engine.iter().for_each(replay);
        }
        match engine.as_ref().map(step) {
            Some(Ok(())) => return failures,
            // The next try is on the same engine, the one after it on a new one.
            _ if failures % 2 == 1 => *engine = None,
            _ => {}
        }
    }
    panic!("a step never succeeds although the disk works again");
}

/// Applies what is not in files, up to `last`.
fn replay(engine: &Engine, log: &[Vec<Change>], last: u64) {
    for index in engine.flushed().index + 1..=last {
        apply_one(engine, log, index).unwrap();
    }
}

/// Makes everything up to `index` durable and merges.
fn persist(engine: &Engine, index: u64) -> Result<()> {
    engine.freeze(Bytes::from(index.to_string()))?;
    while engine.flush_step()? {}
    while engine.compact_step(index)? {}
    Ok(())
}

/// The script by an owner who does not give up. Returns how many steps failed.
fn live_on(vfs: &Arc<dyn Vfs>, log: &[Vec<Change>]) -> u64 {
    let (mut engine, mut failures) = (None, 0);
    for index in 1..=40 {
        let before = |engine: &Engine| replay(engine, log, index - 1);
        let apply = |engine: &Engine| apply_one(engine, log, index);
        failures += insist(&mut engine, vfs, &before, &apply);
        if index % 4 == 0 {
            let before = |engine: &Engine| replay(engine, log, index);
            let persist = |engine: &Engine| persist(engine, index);
            failures += insist(&mut engine, vfs, &before, &persist);
        }
    }
    failures
}

#[test]
fn when_space_is_back_work_goes_on_and_nothing_acknowledged_is_missing() {
    let log = script();
    for call in 0..calls(&log) {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let faulty = FaultyVfs::new(call);
            let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
            faulty.fail_at(call, fault);
            let failures = live_on(&vfs, &log);
            if faulty.calls() <= call {
                // The script of this test makes fewer calls than the one that counted them.
                return;
            }
            let what = format!("call {call} {fault:?}: {failures} failures");
            assert!(failures <= 2, "{what}");
            check(&vfs, &log, 40, &what);
            faulty.restart();
            check(&vfs, &log, 40, &what);
        }
    }
}
