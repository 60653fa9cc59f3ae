//! Checkpoints, installing them, and digests.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::vfs::{Fault, FaultyVfs, Vfs};
use lsm::{
    Change, Checkpoint, Engine, EngineOptions, ErrorKind, FileEntry, Inspection, Operation,
    PartitionKey, Result, Timestamp,
};

use crate::engine_support::*;

const OTHER: &str = "/other";
const FIRST: &str = "/first";
const SECOND: &str = "/second";

/// What is written at a log index: rows that stay, overwrite, expire and are deleted.
fn entry(index: u64) -> Vec<Change> {
    let (old, new) = (partition("channel/0", 0), partition("channel/1", 1));
    let mut random = Random(index);
    let words: Vec<String> = (0..30).map(|_| random.next().to_string()).collect();
    let mut changes = vec![
        mutation(&new, vec![insert(index % 20, &words.concat())]),
        mutation(&old, vec![insert(index, "old window")]),
    ];
    if index.is_multiple_of(5) {
        changes.push(mutation(&new, vec![delete(index % 7), delete_range(3, 6)]));
        changes.push(mutation(
            &old,
            vec![Operation::UpsertStatic {
                cells: vec![write(3, "static")],
            }],
        ));
    }
    if index == 23 {
        changes.push(Change::DeletePlacement {
            table: TABLE,
            token: old.token,
            placement: Bytes::from_static(b"channel/0"),
        });
    }
    changes
}

fn apply_entry(engine: &Engine, index: u64) {
    engine
        .apply(index, Timestamp(index * 1000), &entry(index))
        .unwrap();
}

/// Applies `from..=to` and flushes every four entries.
fn run(engine: &Engine, from: u64, to: u64) {
    for index in from..=to {
        apply_entry(engine, index);
        if index.is_multiple_of(4) {
            flush(engine);
        }
    }
}

fn open_at(vfs: &Arc<dyn Vfs>, dir: &str, seed: u64) -> Result<Engine> {
    let options = EngineOptions { seed, ..options() };
    let engine = Engine::open(Arc::clone(vfs), Path::new(dir), options)?;
    define(&engine, Some(1000))?;
    Ok(engine)
}

/// SSTables in the directory of the receiver.
fn tables(vfs: &Arc<dyn Vfs>) -> usize {
    let names = vfs.list(Path::new(OTHER)).unwrap();
    names.iter().filter(|name| name.contains(".sst")).count()
}

fn partitions() -> [PartitionKey; 2] {
    [partition("channel/0", 0), partition("channel/1", 1)]
}

#[test]
fn a_digest_depends_on_what_is_visible_and_not_on_flushes_merges_restarts_or_copies() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    for index in 1..=40 {
        apply_entry(&engine, index);
    }
    let now_ms = 5000;
    let expected = engine.digest(now_ms).unwrap();
    assert_eq!(expected.len(), 2, "two windows: {expected:?}");
    flush(&engine);
    assert_eq!(engine.digest(now_ms).unwrap(), expected, "flushed");
    drop(engine);
    let engine = open(&vfs, options()).unwrap();
    assert_eq!(engine.digest(now_ms).unwrap(), expected, "reopened");
    compact(&engine, now_ms);
    assert_eq!(engine.digest(now_ms).unwrap(), expected, "merged");
    engine.checkpoint(Path::new(FIRST)).unwrap();
    let other = open_at(&vfs, OTHER, 7).unwrap();
    other.install(Path::new(FIRST)).unwrap();
    assert_eq!(other.digest(now_ms).unwrap(), expected, "installed");
    // Another layout of the same entries.
    let small = open_at(&vfs, "/small", 8).unwrap();
    for index in 1..=40 {
        run(&small, index, index);
        compact(&small, index);
    }
    assert_eq!(small.digest(now_ms).unwrap(), expected, "other files");
    // A later write of the very same value is another write.
    small
        .apply(
            50,
            Timestamp(50_000),
            &[mutation(&partitions()[1], vec![insert(1, "x")])],
        )
        .unwrap();
    let changed = small.digest(now_ms).unwrap();
    let differing = changed
        .iter()
        .filter(|(place, it)| expected.get(place) != Some(it));
    assert_eq!(differing.count(), 1, "one window of two differs");
}

#[test]
fn replay_from_the_flushed_index_gives_the_same_digest() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    run(&engine, 1, 38);
    let expected = engine.digest(100).unwrap();
    drop(engine);
    for _ in 0..2 {
        let engine = open(&vfs, options()).unwrap();
        assert_eq!(engine.flushed().index, 36);
        for index in 1..=38 {
            apply_entry(&engine, index);
        }
        assert_eq!(engine.digest(100).unwrap(), expected);
    }
}

#[test]
fn a_checkpoint_and_the_entries_after_it_are_the_whole_log() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    run(&engine, 1, 20);
    engine.checkpoint(Path::new(FIRST)).unwrap();
    // The receiver had a life of its own, with memtables, files and placement deletions.
    let other = open_at(&vfs, OTHER, 7).unwrap();
    run(&other, 20, 30);
    let gone = partition("channel/9", 1);
    other
        .apply(
            90,
            Timestamp(90_000),
            &[mutation(&gone, vec![insert(1, "of another life")])],
        )
        .unwrap();
    other.freeze(Bytes::new()).unwrap();
    let flushed = other.install(Path::new(FIRST)).unwrap();
    assert_eq!(flushed, engine.flushed());
    assert_eq!((other.applied_index(), other.memory_bytes()), (20, 0));
    assert_eq!(numbers(&read_all(&other, &gone, 0)), [0; 0]);
    for index in 1..=38 {
        apply_entry(&other, index);
    }
    run(&engine, 21, 38);
    assert_eq!(other.digest(100).unwrap(), engine.digest(100).unwrap());
    other.verify().unwrap();
    drop(other);
    let other = open_at(&vfs, OTHER, 7).unwrap();
    assert_eq!(other.flushed().index, 20);
    assert_eq!(tables(&vfs), other.metrics().files, "nothing is left over");
}

#[test]
fn a_checkpoint_since_another_leaves_out_the_files_that_the_other_has() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    run(&engine, 1, 20);
    compact(&engine, 20);
    let first = engine.checkpoint(Path::new(FIRST)).unwrap();
    assert_eq!(
        first,
        Checkpoint::read(vfs.as_ref(), Path::new(FIRST)).unwrap()
    );
    run(&engine, 21, 24);
    let second = engine.checkpoint_since(Path::new(SECOND), &first).unwrap();
    assert_eq!(
        second,
        Checkpoint::read(vfs.as_ref(), Path::new(SECOND)).unwrap()
    );
    let left_out: Vec<bool> = second.files.iter().map(|file| file.is_left_out).collect();
    assert!(
        left_out.contains(&true) && left_out.contains(&false),
        "{second:?}"
    );
    assert!(second.bytes_linked() < first.bytes_linked());
    // Alone it is not a state.
    let other = open_at(&vfs, OTHER, 7).unwrap();
    let error = other.install(Path::new(SECOND)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("install the checkpoint"),
        "{error}"
    );
    assert_eq!(other.flushed().index, 0);
    other.install(Path::new(FIRST)).unwrap();
    other.install(Path::new(SECOND)).unwrap();
    assert_eq!(other.flushed(), engine.flushed());
    assert_eq!(other.digest(100).unwrap(), engine.digest(100).unwrap());
    // What the receiver has already is not linked again.
    assert_eq!(other.metrics().files, engine.metrics().files);
    other.verify().unwrap();
}

#[test]
fn a_damaged_checkpoint_is_refused_and_changes_nothing() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    run(&engine, 1, 20);
    let made = engine.checkpoint(Path::new(FIRST)).unwrap();
    let path = Path::new(FIRST).join(format!("{:06}.sst", made.files[0].number));
    let file = vfs.open(&path).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, 30).unwrap();
    file.write_at(&[byte[0] ^ 1], 30).unwrap();
    let other = open_at(&vfs, OTHER, 7).unwrap();
    run(&other, 1, 8);
    let before = other.digest(100).unwrap();
    let error = other.install(Path::new(FIRST)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(other.digest(100).unwrap(), before);
    assert_eq!(tables(&vfs), other.metrics().files, "no link is left");
}

/// Checkpoints one engine and installs it in another; stops at the first error.
fn transfer(vfs: &Arc<dyn Vfs>) -> Result<()> {
    let engine = open_at(vfs, DIR, 1)?;
    let first = engine.checkpoint(Path::new(FIRST))?;
    let other = open_at(vfs, OTHER, 7)?;
    other.install(Path::new(FIRST))?;
    for index in 21..=24 {
        engine.apply(index, Timestamp(index * 1000), &entry(index))?;
    }
    engine.freeze(Bytes::new())?;
    engine.flush_step()?;
    engine.checkpoint_since(Path::new(SECOND), &first)?;
    other.install(Path::new(SECOND))?;
    Ok(())
}

/// Two engines with some history on a disk on which everything is durable.
fn ground(seed: u64) -> (FaultyVfs, Arc<dyn Vfs>) {
    let faulty = FaultyVfs::new(seed);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let engine = open_at(&vfs, DIR, 1).unwrap();
    run(&engine, 1, 20);
    let other = open_at(&vfs, OTHER, 7).unwrap();
    run(&other, 30, 36);
    (faulty, vfs)
}

/// After whatever happened both engines open, are whole, and the receiver is in one of the three
/// states that it ever had; trying again succeeds.
fn check(vfs: &Arc<dyn Vfs>, what: &str) {
    let fail = |error| -> Engine { panic!("{what}: {error:?}") };
    let engine = open_at(vfs, DIR, 1).unwrap_or_else(fail);
    let other = open_at(vfs, OTHER, 7).unwrap_or_else(fail);
    engine
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    other
        .verify()
        .unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!([20, 24].contains(&engine.flushed().index), "{what}");
    let index = other.flushed().index;
    assert!([36, 20, 24].contains(&index), "{what}: {index}");
    let first = if index == 36 { 30 } else { 1 };
    let reference = open_at(&memory(), "/reference", 9).unwrap();
    run(&reference, first, index);
    assert_eq!(
        other.digest(100).unwrap(),
        reference.digest(100).unwrap(),
        "{what}"
    );
    drop((engine, other));
    for dir in [FIRST, SECOND] {
        // Without CURRENT it is no checkpoint, and begun again; with it, it is whole.
        if vfs.exists(&Path::new(dir).join("CURRENT")).unwrap() {
            for name in vfs.list(Path::new(dir)).unwrap() {
                vfs.remove(&Path::new(dir).join(name)).unwrap();
            }
        }
    }
    transfer(vfs).unwrap_or_else(|error| panic!("{what}, again: {error:?}"));
}

fn calls() -> (u64, u64) {
    let (faulty, vfs) = ground(0);
    let from = faulty.calls();
    transfer(&vfs).unwrap();
    let to = faulty.calls();
    check_end(&vfs);
    (from, to)
}

fn check_end(vfs: &Arc<dyn Vfs>) {
    let engine = open_at(vfs, DIR, 1).unwrap();
    let other = open_at(vfs, OTHER, 7).unwrap();
    assert_eq!(other.flushed().index, 24);
    assert_eq!(other.digest(100).unwrap(), engine.digest(100).unwrap());
}

#[test]
fn a_power_cut_at_any_call_of_checkpoint_and_install_leaves_the_old_or_the_new_state() {
    let (from, to) = calls();
    assert!(to - from > 60, "{} calls", to - from);
    for call in from..to {
        for seed in 0..3 {
            let (faulty, vfs) = ground(call * 3 + seed);
            faulty.crash_at(call);
            let outcome = transfer(&vfs);
            faulty.restart();
            check(&vfs, &format!("call {call} seed {seed}: {outcome:?}"));
        }
    }
}

#[test]
fn an_error_of_any_call_of_checkpoint_and_install_leaves_the_old_or_the_new_state() {
    let (from, to) = calls();
    for call in from..to {
        for fault in [Fault::Eio, Fault::NoSpace] {
            let (faulty, vfs) = ground(call);
            faulty.fail_at(call, fault);
            let outcome = transfer(&vfs);
            check(&vfs, &format!("call {call} {fault:?}: {outcome:?}"));
        }
    }
}

#[test]
fn an_inspection_writes_nothing_and_one_damaged_file_does_not_hide_the_others() {
    let memory = lsm::vfs::MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let engine = open(&vfs, options()).unwrap();
    run(&engine, 1, 20);
    let report = engine.verify().unwrap();
    drop(engine);
    let names = vfs.list(Path::new(DIR)).unwrap();
    let inspection = Inspection::open(Arc::clone(&vfs), Path::new(DIR)).unwrap();
    let mut entries = 0;
    for file in inspection.files() {
        let mut rows = 0;
        let mut each = |entry| {
            rows += u64::from(matches!(entry, FileEntry::Row { .. }));
            ControlFlow::Continue(())
        };
        inspection.dump(file.number, &mut each).unwrap();
        assert_eq!(rows, file.rows);
        entries += rows;
    }
    assert_eq!(entries, report.rows);
    let sound = inspection.verify(&mut |_, outcome| {
        outcome.unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(sound, report);
    // A block of the first file, and the whole second one.
    let files = inspection.files();
    let path = |at: usize| Path::new(DIR).join(&files[at].name);
    let mut bytes = memory.read(&path(0)).unwrap();
    bytes[30] ^= 1;
    memory.write(&path(0), bytes);
    vfs.remove(&path(1)).unwrap();
    let mut damaged = Vec::new();
    let sound = inspection.verify(&mut |file, outcome| {
        damaged.extend(outcome.err().map(|error| (file.number, error.kind())));
        ControlFlow::Continue(())
    });
    let expected = [
        (files[0].number, ErrorKind::Corrupt),
        (files[1].number, ErrorKind::NotFound),
    ];
    assert_eq!(damaged, expected);
    assert_eq!(sound.files + 2, report.files);
    let mut left = names;
    left.retain(|name| *name != files[1].name);
    assert_eq!(vfs.list(Path::new(DIR)).unwrap(), left);
}
