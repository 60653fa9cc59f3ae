//! Merges as jobs: fragments, cancelling, pacing, failing, and what they report.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use lsm::vfs::{FaultyVfs, MemoryVfs, Vfs};
use lsm::{
    Change, CompactionOutcome, CompactionReason, Engine, EngineOptions, MergePace, Operation,
    PartitionKey, Unpaced,
};

use crate::engine_support::*;

/// Lets so many bytes pass.
struct Budget {
    left: AtomicU64,
    asked: AtomicU64,
}

impl Budget {
    fn of(bytes: u64) -> Self {
        Self {
            left: AtomicU64::new(bytes),
            asked: AtomicU64::new(0),
        }
    }
}

impl MergePace for Budget {
    fn spend(&self, bytes: u64) -> bool {
        self.asked.fetch_add(bytes, Ordering::Relaxed);
        let take = |left: u64| left.checked_sub(bytes);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

/// Small files, so that a merge makes many.
fn fragmented() -> EngineOptions {
    EngineOptions {
        fragment_bytes: 64 * 1024,
        sealed_fragment_bytes: 64 * 1024,
        ..options()
    }
}

fn noise(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..10 {
        write!(text, "{:016x}", random.next()).unwrap();
    }
    text
}

/// Four files over three channels, one of them much larger than a fragment, with ranges deleted
/// that a fragment will end in.
fn fill(engine: &Engine) -> Vec<PartitionKey> {
    let channels: Vec<PartitionKey> = ["a", "bb", "ccc"].map(|name| partition(name, 0)).to_vec();
    let mut random = Random(4);
    for index in 1..=4 {
        let mut changes = Vec::new();
        for (channel, rows) in channels.iter().zip([50, 2000, 100]) {
            let inserts = (0..rows)
                .map(|row| insert(row * 4 + index, &noise(&mut random)))
                .collect();
            changes.push(mutation(channel, inserts));
        }
        changes.push(mutation(
            &channels[1],
            vec![
                Operation::UpsertStatic {
                    cells: vec![write(5, "topic")],
                },
                delete_range(index * 1000, index * 1000 + 900),
                delete_range(6000, 7000 + index * 10),
            ],
        ));
        apply(engine, index * 10, &changes);
        flush(engine);
    }
    channels
}

fn contents(engine: &Engine, channels: &[PartitionKey]) -> Vec<lsm::SlicePage> {
    let mut pages: Vec<_> = channels
        .iter()
        .map(|channel| read_all(engine, channel, 0))
        .collect();
    for page in &mut pages {
        page.stats = lsm::ReadStats::default();
    }
    pages
}

fn tables(vfs: &dyn Vfs) -> usize {
    let names = vfs.list(Path::new(DIR)).unwrap();
    names.iter().filter(|name| name.contains(".sst")).count()
}

#[test]
fn fragments_of_one_run_are_no_debt() {
    let engine = open(&memory(), fragmented()).unwrap();
    fill(&engine);
    compact(&engine, 0);
    let files = engine.metrics().files;
    assert!(files > fragmented().tier_files, "{files} files");
    let debt = engine.debt(0);
    assert_eq!((debt.runs, debt.compaction_bytes), (1, 0));
}

#[test]
fn outputs_are_cut_into_fragments_at_any_row_and_read_as_before() {
    let vfs = memory();
    let engine = open(&vfs, fragmented()).unwrap();
    let channels = fill(&engine);
    let before = contents(&engine, &channels);
    let outcome = engine.compact(10, &Unpaced).unwrap();
    let CompactionOutcome::Done(report) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((report.reason, report.inputs), (CompactionReason::Tier, 4));
    assert!(report.outputs > 5, "{report:?}");
    assert_eq!(report.outputs, engine.metrics().files);
    assert_eq!(report.rows_written, engine.verify().unwrap().rows);
    assert_eq!(contents(&engine, &channels), before);
    // Fragments of one run do not merge with one another; sealing makes fragments again.
    assert_eq!(
        engine.compact(10, &Unpaced).unwrap(),
        CompactionOutcome::Idle
    );
    compact(&engine, 2000);
    assert!(engine.metrics().files > 5);
    assert_eq!(contents(&engine, &channels), before);
    engine.verify().unwrap();
    drop(engine);
    let engine = open(&vfs, fragmented()).unwrap();
    assert_eq!(contents(&engine, &channels), before);
    assert_eq!(
        engine.compact(2000, &Unpaced).unwrap(),
        CompactionOutcome::Idle
    );
}

#[test]
fn a_late_change_rewrites_only_the_fragments_that_it_belongs_to() {
    let engine = open(&memory(), fragmented()).unwrap();
    let channels = fill(&engine);
    compact(&engine, 2000);
    let (files, bytes) = (engine.metrics().files, engine.metrics().file_bytes);
    let read = engine.metrics().compaction_read_bytes;
    let mut random = Random(8);
    let rows = (0..150)
        .map(|row| insert(row, &noise(&mut random)))
        .collect();
    apply(&engine, 2001, &[mutation(&channels[0], rows)]);
    flush(&engine);
    compact(&engine, 2001);
    let read = engine.metrics().compaction_read_bytes - read;
    assert!(
        read > 0 && read * 3 < bytes,
        "{read} of {bytes} bytes were read"
    );
    assert!(engine.metrics().files.abs_diff(files) <= 1);
    assert_eq!(read_all(&engine, &channels[0], 2001).rows.len(), 201);
    engine.verify().unwrap();
}

#[test]
fn a_merge_can_be_cancelled_anywhere_and_leaves_nothing() {
    let vfs = memory();
    let engine = open(&vfs, fragmented()).unwrap();
    let channels = fill(&engine);
    let before = contents(&engine, &channels);
    let metrics = engine.metrics();
    for budget in [0, 50_000, 200_000, 500_000] {
        let outcome = engine.compact(2000, &Budget::of(budget)).unwrap();
        assert_eq!(
            outcome,
            CompactionOutcome::Cancelled,
            "after {budget} bytes"
        );
        assert_eq!((engine.metrics().files, tables(vfs.as_ref())), (4, 4));
        assert_eq!(engine.metrics().compactions, metrics.compactions);
    }
    let all = Budget::of(u64::MAX);
    let CompactionOutcome::Done(report) = engine.compact(2000, &all).unwrap() else {
        panic!("nothing stands in the way");
    };
    assert_eq!(contents(&engine, &channels), before);
    // What is asked for is what is read and written, but for headers and the last few blocks.
    let asked = all.asked.load(Ordering::Relaxed);
    let moved = report.read_bytes + report.written_bytes;
    assert!(
        asked <= moved && asked * 10 > moved * 9,
        "{asked} of {moved}"
    );
}

#[test]
fn a_merge_that_fails_leaves_no_file_and_can_be_tried_again() {
    let faulty = FaultyVfs::new(1);
    let vfs: Arc<dyn Vfs> = Arc::new(faulty.clone());
    let engine = open(&vfs, fragmented()).unwrap();
    let channels = fill(&engine);
    let before = contents(&engine, &channels);
    let mut failures = 0;
    loop {
        // Each time a little later: creating, writing, syncing and reading of each fragment.
        faulty.fail_at(faulty.calls() + failures * 20, lsm::vfs::Fault::NoSpace);
        match engine.compact(2000, &Unpaced) {
            Ok(CompactionOutcome::Done(_)) => break,
            Ok(other) => panic!("{other:?}"),
            Err(_) if tables(vfs.as_ref()) == 4 => failures += 1,
            // The manifest failed: the engine has to be opened again.
            Err(_) => break,
        }
    }
    assert!(failures > 4, "{failures} failures");
    drop(engine);
    faulty.restart();
    let engine = open(&vfs, fragmented()).unwrap();
    assert_eq!(contents(&engine, &channels), before);
    compact(&engine, 2000);
    assert_eq!(contents(&engine, &channels), before);
    engine.verify().unwrap();
}

#[test]
fn what_is_due_is_the_backlog_and_nothing_is_when_all_is_done() {
    let engine = open(&memory(), fragmented()).unwrap();
    fill(&engine);
    let bytes = engine.metrics().file_bytes;
    assert_eq!(engine.backlog_bytes(10), bytes);
    compact(&engine, 2000);
    assert_eq!(engine.backlog_bytes(2000), 0);
}

#[test]
fn a_deleted_placement_leaves_its_sealed_files_in_time_and_the_record_goes_too() {
    let engine = open(&memory(), fragmented()).unwrap();
    let channels = fill(&engine);
    compact(&engine, 2000);
    let sealed = engine.metrics();
    let placement = Bytes::from_static(b"bb");
    let delete = Change::DeletePlacement {
        table: TABLE,
        token: channels[1].token,
        placement,
    };
    apply(&engine, 2001, &[delete]);
    flush(&engine);
    compact(&engine, 2001);
    let left = engine.metrics();
    assert!(
        left.file_bytes * 4 < sealed.file_bytes,
        "{left:?} of {sealed:?}"
    );
    // What is less than a tenth of a file may wait in it.
    let rows = engine.verify().unwrap().rows;
    assert!((600..700).contains(&rows), "{rows} rows");
    assert!(read_all(&engine, &channels[1], 2001).rows.is_empty());
    // Written again under the same name, it stays: the deletion is applied once.
    let mut random = Random(2);
    let rows = (0..2000)
        .map(|row| insert(row, &noise(&mut random)))
        .collect();
    apply(&engine, 2002, &[mutation(&channels[1], rows)]);
    flush(&engine);
    compact(&engine, 2002);
    assert_eq!(read_all(&engine, &channels[1], 2002).rows.len(), 2000);
}

#[test]
fn a_file_of_which_a_quarter_has_expired_is_rewritten_alone() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let mut random = Random(6);
    let rows = (0..400).map(|row| {
        let mut upsert = insert(row, &noise(&mut random));
        if row < 200
            && let Operation::Upsert {
                liveness, cells, ..
            } = &mut upsert
        {
            *liveness = None;
            let value = Bytes::from(noise(&mut random));
            cells[0].value = lsm::CellValue::Expiring {
                value,
                expires_at_ms: 5000,
            };
        }
        upsert
    });
    apply(&engine, 1, &[mutation(&channel, rows.collect())]);
    flush(&engine);
    compact(&engine, 4999);
    let before = engine.metrics();
    compact(&engine, 5000);
    let after = engine.metrics();
    assert!(after.file_bytes * 3 < before.file_bytes * 2, "{after:?}");
    assert_eq!(engine.verify().unwrap().rows, 200);
    assert_eq!(read_all(&engine, &channel, 5000).rows.len(), 200);
    let compactions = after.compactions;
    compact(&engine, 90_000);
    assert_eq!(engine.metrics().compactions, compactions, "and not again");
}

#[test]
fn a_channel_whose_rows_were_deleted_costs_what_a_clean_one_costs() {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory);
    let mut costs = Vec::new();
    for deleted in [0_u64, 10_000, 40_000] {
        let engine = open(&vfs, EngineOptions::default()).unwrap();
        let channel = partition(&format!("channel {deleted}"), deleted.cast_signed());
        let first = engine.applied_index();
        for (index, from) in (first + 1..).zip((0..deleted).step_by(1000)) {
            let rows = (from..from + 1000).map(|row| insert(row, "some text of a message"));
            apply(&engine, index, &[mutation(&channel, rows.collect())]);
        }
        let next = engine.applied_index() + 1;
        apply(
            &engine,
            next,
            &[mutation(&channel, vec![insert(deleted, "live")])],
        );
        flush(&engine);
        for (index, from) in (next + 1..).zip((0..deleted).step_by(1000)) {
            let rows = (from..from + 1000).map(delete).collect();
            apply(&engine, index, &[mutation(&channel, rows)]);
        }
        flush(&engine);
        compact(&engine, 10);
        let read = lsm::SliceRead::all(TABLE, channel.clone(), 50, 10);
        let page = engine.read(&read).unwrap();
        assert_eq!(numbers(&page), [deleted]);
        let stats = page.stats;
        costs.push(stats.blocks_read + stats.blocks_cached + stats.blocks_skipped);
    }
    assert_eq!(costs[1..], [costs[0]; 2], "{costs:?}");
}
