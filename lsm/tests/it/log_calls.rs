//! What the calls of the log promise when nothing goes wrong.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lsm::ErrorKind;
use lsm::log::{Entry, GroupId, GroupState, Log, LogOptions};
use lsm::vfs::{MemoryVfs, OsVfs, Vfs};

use crate::log_support::{
    DIR, Model, apply, id, ignored, is_same, observe, open, run, script, small_options, steps,
};

fn entry(term: u64, index: u64, len: usize) -> Entry {
    Entry {
        id: id(term, index),
        payload: Bytes::from(vec![7; len]),
    }
}

#[test]
fn every_call_is_visible_at_once_and_the_same_after_reopening() {
    for seed in 100..120 {
        let script = script(seed, 150);
        let mut expected = Model::new();
        for step in &steps(&script) {
            apply(&mut expected, step);
        }
        let vfs = MemoryVfs::new();
        let log = open(&vfs).unwrap();
        assert!(run(&log, &script).error.is_none());
        assert!(
            is_same(&observe(&log).unwrap(), &expected),
            "seed {seed}, live"
        );
        log.close().unwrap();
        let log = open(&vfs).unwrap();
        assert!(
            is_same(&observe(&log).unwrap(), &expected),
            "seed {seed}, reopened"
        );
    }
}

#[test]
fn the_log_works_on_real_files_and_locks_them() {
    let dir = tempfile::tempdir().unwrap();
    let script = script(5, 150);
    let log = Log::open(Arc::new(OsVfs), dir.path(), small_options()).unwrap();
    assert!(run(&log, &script).error.is_none());
    let before = observe(&log).unwrap();
    let second = Log::open(Arc::new(OsVfs), dir.path(), small_options());
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Invalid);
    log.close().unwrap();
    let log = Log::open(Arc::new(OsVfs), dir.path(), small_options()).unwrap();
    assert_eq!(observe(&log).unwrap(), before);
}

#[test]
fn one_flush_makes_the_changes_of_all_groups_durable_with_one_sync() {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    let before = log.metrics().syncs;
    let done = Arc::new(AtomicUsize::new(0));
    for group in 0..64 {
        let done = Arc::clone(&done);
        let count = Box::new(move |result: lsm::Result<()>| {
            result.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
        });
        log.append(GroupId(group), vec![entry(1, 1, 100)], count)
            .unwrap();
    }
    assert_eq!(done.load(Ordering::Relaxed), 0);
    assert!(log.wait(Duration::ZERO));
    assert!(log.flush().unwrap());
    assert_eq!(done.load(Ordering::Relaxed), 64);
    assert_eq!(log.metrics().syncs, before + 1);
    assert!(!log.flush().unwrap());
    assert!(!log.wait(Duration::ZERO));
}

#[test]
fn entries_out_of_order_too_large_or_too_many_are_refused_and_change_nothing() {
    let log = open(&MemoryVfs::new()).unwrap();
    let group = GroupId(1);
    let append = |entries| {
        log.append(group, entries, ignored())
            .map_err(|error| error.kind())
    };
    assert_eq!(append(vec![entry(1, 2, 1)]), Err(ErrorKind::Invalid));
    append(vec![entry(1, 1, 1)]).unwrap();
    assert_eq!(append(vec![entry(1, 3, 1)]), Err(ErrorKind::Invalid));
    assert_eq!(
        append(vec![entry(1, 2, 1), entry(1, 4, 1)]),
        Err(ErrorKind::Invalid)
    );
    let limit = small_options().entry_bytes_max();
    assert_eq!(
        append(vec![entry(1, 2, limit + 1)]),
        Err(ErrorKind::Invalid)
    );
    let mut next = 2;
    let refused = loop {
        match append(vec![entry(1, next, limit)]) {
            Ok(()) => next += 1,
            Err(kind) => break kind,
        }
    };
    assert_eq!(refused, ErrorKind::Overloaded);
    assert_eq!(log.state(group).last, Some(id(1, next - 1)));
    while log.flush().unwrap() {}
    append(vec![entry(1, next, limit)]).unwrap();
}

#[test]
fn a_read_stops_at_its_byte_limit_returns_one_entry_at_least_and_reports_what_was_purged() {
    let log = open(&MemoryVfs::new()).unwrap();
    let group = GroupId(3);
    let entries = (1..=100).map(|index| entry(1, index, 1000)).collect();
    log.append(group, entries, ignored()).unwrap();
    while log.flush().unwrap() {}
    assert!(log.metrics().hot_bytes <= small_options().hot_bytes);
    let indexes = |range, bytes| -> Vec<u64> {
        log.read(group, range, bytes)
            .unwrap()
            .iter()
            .map(|entry| entry.id.index)
            .collect()
    };
    assert_eq!(indexes(1..101, 0), [1]);
    assert_eq!(indexes(10..101, 3500), [10, 11, 12]);
    assert_eq!(indexes(99..200, usize::MAX), [99, 100]);
    assert_eq!(indexes(101..200, usize::MAX), [0_u64; 0]);
    log.purge(group, id(1, 50)).unwrap();
    assert_eq!(
        log.read(group, 50..60, 0).unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(indexes(51..60, 0), [51]);
}

#[test]
fn a_slow_group_holds_segments_until_it_is_purged() {
    let log = open(&MemoryVfs::new()).unwrap();
    let (slow, fast) = (GroupId(1), GroupId(2));
    log.append(slow, vec![entry(1, 1, 10)], ignored()).unwrap();
    for index in 1..200 {
        log.append(fast, vec![entry(1, index, 4000)], ignored())
            .unwrap();
        log.purge(fast, id(1, index)).unwrap();
        log.flush().unwrap();
    }
    let held = log.metrics().segments;
    assert!(held > 10, "{held}");
    assert_eq!(log.oldest_pinned(), Some((slow, 1)));
    log.purge(slow, id(1, 1)).unwrap();
    log.flush().unwrap();
    assert!(log.metrics().segments <= 2 + small_options().spare_segments);
    assert_eq!(log.oldest_pinned(), None);
}

#[test]
fn opening_and_closing_over_and_over_does_not_fill_the_disk() {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    log.append(GroupId(1), vec![entry(1, 1, 10)], ignored())
        .unwrap();
    log.close().unwrap();
    for _ in 0..20 {
        let log = open(&vfs).unwrap();
        assert!(log.metrics().segments <= 4, "{:?}", log.metrics());
        assert_eq!(log.read(GroupId(1), 1..2, 10).unwrap().len(), 1);
        log.close().unwrap();
    }
}

#[test]
fn a_closed_log_refuses_calls_and_a_dropped_one_tells_those_who_wait() {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    log.close().unwrap();
    log.close().unwrap();
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::Closed);
    assert!(log.wait(Duration::from_mins(1)));
    let log = open(&vfs).unwrap();
    let told = Arc::new(AtomicUsize::new(0));
    let tell = Arc::clone(&told);
    let done = Box::new(move |result: lsm::Result<()>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
        tell.fetch_add(1, Ordering::Relaxed);
    });
    log.append(GroupId(1), vec![entry(1, 1, 10)], done).unwrap();
    drop(log);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn a_reset_group_is_empty_belongs_to_the_new_owner_and_gives_its_segments_back() {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    let (group, other) = (GroupId(1), GroupId(2));
    log.reset(group, 17, ignored()).unwrap();
    for index in 1..=60 {
        let entries = vec![entry(1, index, 4000)];
        log.append(group, entries, ignored()).unwrap();
        log.flush().unwrap();
    }
    let held = log.metrics().segments;
    assert!(held > 3, "{held} segments");
    log.reset(group, 18, ignored()).unwrap();
    let fresh = log.state(group);
    assert_eq!((fresh.owner, fresh.vote, fresh.last), (18, None, None));
    assert!(log.read(group, 0..100, usize::MAX).unwrap().is_empty());
    log.append(group, vec![entry(9, 1, 10)], ignored()).unwrap();
    // The next segment's checkpoint says what was reset, and the older ones are free.
    for index in 1..=20 {
        let entries = vec![entry(1, index, 4000)];
        log.append(other, entries, ignored()).unwrap();
        log.flush().unwrap();
    }
    log.purge(other, id(1, 20)).unwrap();
    log.reset(group, 0, ignored()).unwrap();
    while log.flush().unwrap() {}
    assert_eq!(log.groups(), [other]);
    assert!(log.metrics().segments <= 2, "{:?}", log.metrics());
    log.close().unwrap();
    let log = open(&vfs).unwrap();
    assert_eq!(log.groups(), [other]);
    assert_eq!(log.state(group), GroupState::default());
}

#[test]
fn a_flush_takes_names_from_freed_segments_and_leaves_their_bytes_to_steps() {
    let vfs = MemoryVfs::new();
    let options = LogOptions {
        segment_bytes: 10 << 20,
        spare_segments: 1,
        ..LogOptions::default()
    };
    let log = Log::open(Arc::new(vfs.clone()), Path::new(DIR), options).unwrap();
    for index in 1..=50 {
        let entries = vec![entry(1, index, 1 << 20)];
        log.append_durable(GroupId(1), entries).unwrap();
    }
    let held = log.metrics();
    assert!(held.segments > 5 && held.removed_bytes == 0, "{held:?}");
    log.purge(GroupId(1), id(1, 50)).unwrap();
    while log.flush().unwrap() {}
    let purged = log.metrics();
    assert_eq!(purged.segments, 2);
    let gone = held.segment_bytes - purged.segment_bytes;
    assert_eq!(purged.removed_bytes, gone);
    assert_eq!(vfs.list(Path::new(DIR)).unwrap().len(), 2);
    let mut freed = 0;
    while let bytes @ 1.. = log.remove_step() {
        assert!(bytes <= 4 << 20, "{bytes} bytes in one step");
        freed += bytes;
        assert_eq!(log.metrics().removed_bytes, gone - freed);
    }
    assert_eq!((freed, log.has_removed()), (gone, false));
}
