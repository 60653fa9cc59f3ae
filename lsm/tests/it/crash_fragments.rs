//! Power cuts and failing disks at every call of merges whose outputs are several fragments, and of
//! the removal of what they replace.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{
    CellValue, Change, CompactionOutcome, CompactionReason, Engine, EngineOptions, Operation,
    PartitionKey, Result, Timestamp, Unpaced,
};

use crate::engine_support::*;

/// The last log index of the script.
const END: u64 = 9;
/// Both windows are over, and what expires has expired.
const LATE_MS: u64 = 4000;

/// The smallest fragments there are.
fn fragmented() -> EngineOptions {
    EngineOptions {
        block_bytes: 4096,
        fragment_bytes: 64 * 1024,
        sealed_fragment_bytes: 64 * 1024,
        ..options()
    }
}

fn partitions() -> [PartitionKey; 3] {
    [
        partition("large", 0),
        partition("small one", 0),
        partition("expires", 1),
    ]
}

/// A row of a kilobyte that does not compress.
fn noise(number: u64, random: &mut Random, expires_at_ms: Option<u64>) -> Operation {
    let value: Bytes = (0..128)
        .flat_map(|_| random.next().to_le_bytes())
        .collect::<Vec<u8>>()
        .into();
    let mut cell = write(1, "");
    cell.value = match expires_at_ms {
        None => CellValue::Live(value),
        Some(expires_at_ms) => CellValue::Expiring {
            value,
            expires_at_ms,
        },
    };
    Operation::Upsert {
        clustering: key(number),
        liveness: None,
        cells: vec![cell],
    }
}

/// What is written at each log index: a partition of several fragments in which ranges are deleted
/// that begin in one and end in another, a small one behind it, and a window that expires.
fn script() -> Vec<Vec<Change>> {
    let [large, small, expires] = partitions();
    let mut random = Random(12);
    let mut log = Vec::new();
    for index in 1..=END {
        let mut rows: Vec<Operation> = (0..40)
            .map(|row| noise(row * 16 + index, &mut random, None))
            .collect();
        rows.push(delete_range(index * 50, index * 50 + 120));
        if index % 3 == 0 {
            rows.push(Operation::UpsertStatic {
                cells: vec![write(5, &format!("topic {index}"))],
            });
        }
        let few = (0..4).map(|row| noise(row * 16 + index, &mut random, None));
        let mut changes = vec![mutation(&large, rows), mutation(&small, few.collect())];
        if index < 4 {
            let short = (0..20).map(|row| noise(row, &mut random, Some(900)));
            changes.push(mutation(&expires, short.collect()));
        }
        log.push(changes);
    }
    log
}

fn apply_one(engine: &Engine, log: &[Vec<Change>], index: u64) -> Result<()> {
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    engine.apply(index, Timestamp(index * 1000), &log[at - 1])
}

/// Merges as chatdb does: step by step, and what was replaced is removed afterwards.
fn compact_all(
    engine: &Engine,
    now_ms: u64,
    done: &mut Vec<(CompactionReason, usize)>,
) -> Result<()> {
    while let CompactionOutcome::Done(report) = engine.compact(now_ms, &Unpaced)? {
        done.push((report.reason, report.outputs));
        while engine.remove_step() > 0 {}
    }
    Ok(())
}

/// Flushes each index, merges in the active window, seals it, writes to it again, drops the window
/// that expired. Stops at the first error. `promised` is the index of the last successful flush.
fn live(
    vfs: &Arc<dyn Vfs>,
    log: &[Vec<Change>],
    promised: &mut u64,
) -> Result<Vec<(CompactionReason, usize)>> {
    let engine = open(vfs, fragmented())?;
    let mut done = Vec::new();
    for index in 1..=END {
        apply_one(&engine, log, index)?;
        engine.freeze(Bytes::from(index.to_string()))?;
        engine.flush_step()?;
        *promised = index;
        if index == 4 {
            compact_all(&engine, 10, &mut done)?;
        }
        if index + 1 >= END {
            compact_all(&engine, LATE_MS, &mut done)?;
        }
    }
    Ok(done)
}

/// Opens the engine, which leaves no file over, replays what was not flushed, and compares it with
/// one that never wrote a file.
fn check(vfs: &Arc<dyn Vfs>, log: &[Vec<Change>], promised: u64, what: &str) {
    let engine = open(vfs, fragmented()).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let flushed = engine.flushed();
    assert!(flushed.index >= promised, "{what}: found {flushed:?}");
    let mut files = vfs.list(Path::new(DIR)).unwrap();
    files.retain(|name| name != "LOCK");
    let tables = files.iter().filter(|name| name.contains(".sst")).count();
    assert_eq!(tables, engine.metrics().files, "{what}: {files:?}");
    assert_eq!(files.len(), tables + 2, "{what}: {files:?}");
    let reference = open(&memory(), fragmented()).unwrap();
    for index in 1..=END {
        apply_one(&reference, log, index).unwrap();
        if index > flushed.index {
            apply_one(&engine, log, index).unwrap();
        }
    }
    let same = |engine: &Engine| {
        for partition in partitions() {
            let (found, wanted) = (
                read_all(engine, &partition, LATE_MS),
                read_all(&reference, &partition, LATE_MS),
            );
            assert_eq!(found.rows, wanted.rows, "{what}");
            assert_eq!(found.static_row, wanted.static_row, "{what}");
        }
        engine
            .verify()
            .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    };
    same(&engine);
    // And whatever was interrupted can be done again.
    compact(&engine, LATE_MS);
    same(&engine);
}

/// Calls that the script makes when nothing fails.
fn calls(log: &[Vec<Change>]) -> u64 {
    let faulty = FaultyVfs::new(0);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let mut promised = 0;
    let done = live(&vfs, log, &mut promised).unwrap();
    let total = faulty.calls();
    let outputs = |reason| done.iter().filter(move |it| it.0 == reason).map(|it| it.1);
    for reason in [
        CompactionReason::Tier,
        CompactionReason::Seal,
        CompactionReason::Late,
    ] {
        let most = outputs(reason).max();
        assert!(most.is_some_and(|most| most > 1), "{reason:?}: {done:?}");
    }
    assert_eq!(
        outputs(CompactionReason::ExpiredWindow).count(),
        1,
        "{done:?}"
    );
    check(&vfs, log, promised, "no fault");
    total
}

#[test]
fn a_power_cut_at_any_call_of_a_merge_into_fragments_leaves_the_old_or_the_new_files() {
    let log = script();
    for call in 0..calls(&log) {
        for seed in 0..2 {
            let faulty = FaultyVfs::new(call * 2 + seed);
            let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
            faulty.crash_at(call);
            let mut promised = 0;
            let outcome = live(&vfs, &log, &mut promised);
            faulty.restart();
            let what = format!("call {call} seed {seed}: {outcome:?}");
            check(&vfs, &log, promised, &what);
        }
    }
}

#[test]
fn an_error_of_any_call_of_a_merge_into_fragments_leaves_the_old_or_the_new_files() {
    let log = script();
    for call in 0..calls(&log) {
        let fault = if call % 2 == 0 {
            Fault::Eio
        } else {
            Fault::NoSpace
        };
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
