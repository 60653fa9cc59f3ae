//! Files that were dropped: when their bytes go, and who keeps them meanwhile.

use std::path::Path;
use std::sync::Arc;

use lsm::vfs::{FaultyVfs, MemoryVfs, OsVfs, Vfs};
use lsm::{CompactionOutcome, CompactionReason, Engine, EngineOptions, SliceRead, Unpaced};

use crate::engine_support::*;

/// An engine with three windows of one file each, all of it expired at 5000 ms.
fn filled(vfs: &Arc<dyn Vfs>, dir: &Path) -> Engine {
    let engine = Engine::open(Arc::clone(vfs), dir, options()).unwrap();
    define(&engine, Some(1000)).unwrap();
    for index in 1..=3_u64 {
        let window = i64::try_from(index).unwrap();
        let rows = (0..200).map(|row| expiring(row, 5000)).collect();
        apply(
            &engine,
            index,
            &[mutation(&partition("channel", window), rows)],
        );
        flush(&engine);
    }
    engine
}

fn expiring(number: u64, expires_at_ms: u64) -> lsm::Operation {
    let mut cell = write(1, "short lived");
    cell.value = lsm::CellValue::Expiring {
        value: bytes::Bytes::from(vec![7; 500]),
        expires_at_ms,
    };
    lsm::Operation::Upsert {
        clustering: key(number),
        liveness: None,
        cells: vec![cell],
    }
}

/// Drops everything that has expired and leaves the files to [`Engine::remove_step`].
fn drop_windows(engine: &Engine) -> u32 {
    let mut dropped = 0;
    while let CompactionOutcome::Done(report) = engine.compact(6000, &Unpaced).unwrap() {
        assert_eq!(report.reason, CompactionReason::ExpiredWindow);
        dropped += 1;
    }
    dropped
}

fn tables(vfs: &dyn Vfs, dir: &Path) -> usize {
    let names = vfs.list(dir).unwrap();
    names.iter().filter(|name| name.contains(".sst")).count()
}

#[test]
fn a_dropped_window_is_gone_at_once_and_its_bytes_go_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let os: Arc<dyn Vfs> = Arc::new(OsVfs);
    for (vfs, dir) in [(memory(), Path::new(DIR)), (os, dir.path())] {
        let engine = filled(&vfs, dir);
        let bytes = engine.metrics().file_bytes;
        assert_eq!(drop_windows(&engine), 3);
        let metrics = engine.metrics();
        assert_eq!((metrics.files, metrics.file_bytes), (0, 0));
        assert_eq!((metrics.removing_files, metrics.removing_bytes), (3, bytes));
        assert_eq!(tables(vfs.as_ref(), dir), 3);
        let mut freed = 0;
        for left in (0..3).rev() {
            freed += engine.remove_step();
            assert_eq!(engine.metrics().removing_files, left);
            assert_eq!(engine.metrics().removing_bytes, bytes - freed);
        }
        assert_eq!((freed, engine.remove_step()), (bytes, 0));
        assert_eq!(tables(vfs.as_ref(), dir), 0);
    }
}

#[test]
fn a_large_file_goes_in_several_steps() {
    let vfs = memory();
    let engine = open(&vfs, options()).unwrap();
    let mut random = Random(5);
    for index in 1..=70 {
        let noise: Vec<u8> = (0..1 << 17)
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        let mut upsert = expiring(index, 5000);
        if let lsm::Operation::Upsert { cells, .. } = &mut upsert {
            cells[0].value = lsm::CellValue::Expiring {
                value: noise.into(),
                expires_at_ms: 5000,
            };
        }
        apply(
            &engine,
            index,
            &[mutation(&partition("channel", 1), vec![upsert])],
        );
    }
    flush(&engine);
    let bytes = engine.metrics().file_bytes;
    assert!(bytes > 70 << 20, "{bytes} bytes do not compress");
    assert_eq!(drop_windows(&engine), 1);
    let steps: Vec<u64> =
        std::iter::from_fn(|| Some(engine.remove_step()).filter(|it| *it > 0)).collect();
    assert_eq!(steps.len(), 3, "{steps:?}");
    assert!(steps.iter().all(|step| *step <= 32 << 20), "{steps:?}");
    assert_eq!(steps.iter().sum::<u64>(), bytes);
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 0);
}

#[test]
fn a_checkpoint_keeps_the_bytes_of_files_that_were_dropped_since() {
    let dir = tempfile::tempdir().unwrap();
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let engine = filled(&vfs, &dir.path().join("tablet"));
    let before = read_all(&engine, &partition("channel", 2), 0).rows;
    assert_eq!(before.len(), 200);
    engine.checkpoint(&dir.path().join("kept")).unwrap();
    drop_windows(&engine);
    while engine.remove_step() > 0 {}
    assert_eq!(engine.metrics().removing_files, 0);
    assert_eq!(tables(vfs.as_ref(), &dir.path().join("tablet")), 0);
    engine.install(&dir.path().join("kept")).unwrap();
    engine.verify().unwrap();
    assert_eq!(read_all(&engine, &partition("channel", 2), 0).rows, before);
}

#[test]
fn a_checkpoint_and_a_removal_at_the_same_time_do_not_hurt_each_other() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let engine = filled(&vfs, &dir.path().join("tablet"));
        let kept = dir.path().join("kept");
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| engine.checkpoint(&kept));
            scope.spawn(|| {
                drop_windows(&engine);
                while engine.metrics().removing_files > 0 {
                    engine.remove_step();
                }
            });
            copying.join().unwrap().unwrap();
        });
        engine.install(&kept).unwrap();
        let report = engine.verify().unwrap();
        assert_eq!(report.rows % 200, 0, "round {round}");
    }
}

#[test]
fn a_reader_keeps_the_bytes_of_a_window_that_is_dropped_under_it() {
    let vfs = memory();
    let engine = filled(&vfs, Path::new(DIR));
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut rows = 0;
            for _ in 0..200 {
                let mut read = SliceRead::all(TABLE, partition("channel", 2), 200, 0);
                read.reverse = rows % 2 == 1;
                // Never an error, whatever is dropped meanwhile: all rows, or none.
                let found = engine.read(&read).unwrap().rows.len();
                assert!(found == 0 || found == 200, "{found} rows");
                rows += found;
            }
            rows
        });
        drop_windows(&engine);
        while engine.metrics().removing_files > 0 {
            engine.remove_step();
        }
        reading.join().unwrap();
    });
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 0);
}

#[test]
fn a_full_disk_gets_the_bytes_of_dropped_files_at_once() {
    let faulty = FaultyVfs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let engine = filled(&vfs, Path::new(DIR));
    drop_windows(&engine);
    assert_eq!(engine.metrics().removing_files, 3);
    let row = mutation(&partition("channel", 9), vec![insert(1, "x")]);
    apply(&engine, 4, &[row]);
    engine.freeze(bytes::Bytes::new()).unwrap();
    faulty.fail_at(faulty.calls() + 1, lsm::vfs::Fault::NoSpace);
    let error = engine.flush_step().unwrap_err();
    assert_eq!(error.kind(), lsm::ErrorKind::NoSpace);
    assert_eq!(engine.metrics().removing_files, 0);
    engine.flush_step().unwrap();
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 1);
}

#[test]
fn closing_removes_what_waits_and_a_power_cut_leaves_it_to_the_next_start() {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let engine = filled(&vfs, Path::new(DIR));
    drop_windows(&engine);
    let cut = memory.deep_clone();
    drop(engine);
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 0);
    let vfs: Arc<dyn Vfs> = Arc::new(cut);
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 3);
    let engine = open(&vfs, EngineOptions::default()).unwrap();
    assert_eq!(tables(vfs.as_ref(), Path::new(DIR)), 0);
    assert_eq!(engine.metrics().removing_files, 0);
}
