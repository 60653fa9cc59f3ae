//! Group commit by the callers' own threads: nobody is forgotten, told twice or out of order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use lsm::log::{Entry, GroupId, Log};
use lsm::vfs::{Fault, FaultyVfs, File, Lock, Vfs};
use parking_lot::Mutex;

use crate::log_support::{DIR, Random, id, ignored, open, small_options};

/// A file system that notes when two syncs of files run at the same time.
#[derive(Clone, Debug)]
struct Watched {
    vfs: FaultyVfs,
    syncing: Arc<AtomicUsize>,
    overlapped: Arc<AtomicBool>,
}

#[derive(Debug)]
struct WatchedFile {
    file: Arc<dyn File>,
    by: Watched,
}

impl Watched {
    fn new(vfs: FaultyVfs) -> Self {
        Self {
            vfs,
            syncing: Arc::default(),
            overlapped: Arc::default(),
        }
    }

    fn watch(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        let by = self.clone();
        Arc::new(WatchedFile { file, by })
    }
}

impl Vfs for Watched {
    fn create(&self, path: &Path) -> lsm::Result<Arc<dyn File>> {
        self.vfs.create(path).map(|file| self.watch(file))
    }
    fn open(&self, path: &Path) -> lsm::Result<Arc<dyn File>> {
        self.vfs.open(path).map(|file| self.watch(file))
    }
    fn exists(&self, path: &Path) -> lsm::Result<bool> {
        self.vfs.exists(path)
    }
    fn list(&self, dir: &Path) -> lsm::Result<Vec<String>> {
        self.vfs.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> lsm::Result<()> {
        self.vfs.rename(from, to)
    }
    fn remove(&self, path: &Path) -> lsm::Result<()> {
        self.vfs.remove(path)
    }
    fn create_dir_all(&self, dir: &Path) -> lsm::Result<()> {
        self.vfs.create_dir_all(dir)
    }
    fn remove_dir(&self, dir: &Path) -> lsm::Result<()> {
        self.vfs.remove_dir(dir)
    }
    fn sync_dir(&self, dir: &Path) -> lsm::Result<()> {
        self.vfs.sync_dir(dir)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> lsm::Result<()> {
        self.vfs.hard_link(from, to)
    }
    fn names_of(&self, path: &Path) -> lsm::Result<u64> {
        self.vfs.names_of(path)
    }
    fn lock(&self, path: &Path) -> lsm::Result<Box<dyn Lock>> {
        self.vfs.lock(path)
    }
}

impl File for WatchedFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> lsm::Result<usize> {
        self.file.read_at(bytes, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> lsm::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn len(&self) -> lsm::Result<u64> {
        self.file.len()
    }
    fn allocate(&self, len: u64) -> lsm::Result<()> {
        self.file.allocate(len)
    }
    fn set_len(&self, len: u64) -> lsm::Result<()> {
        self.file.set_len(len)
    }
    fn sync_data(&self) -> lsm::Result<()> {
        if self.by.syncing.fetch_add(1, Ordering::SeqCst) > 0 {
            self.by.overlapped.store(true, Ordering::SeqCst);
        }
        for _ in 0..8 {
            thread::yield_now(); // lets the others come while the disk is at work
        }
        let outcome = self.file.sync_data();
        self.by.syncing.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

fn entry(index: u64) -> Entry {
    let payload = Bytes::copy_from_slice(&index.to_le_bytes());
    Entry {
        id: id(1, index),
        payload,
    }
}

/// What the writers of one group did, in the order of their calls.
#[derive(Debug, Default)]
struct Line {
    appended: u64,
    told: Arc<Mutex<Vec<(u64, bool)>>>,
}

/// Appends the next entry of the line; its number.
fn append(log: &Log, line: &Mutex<Line>) -> lsm::Result<u64> {
    let mut line = line.lock();
    let index = line.appended + 1;
    let told = Arc::clone(&line.told);
    let done = Box::new(move |outcome: lsm::Result<()>| {
        thread::yield_now(); // lets the next leader get ahead, if it can
        told.lock().push((index, outcome.is_ok()));
    });
    log.append(GroupId(1), vec![entry(index)], done)?;
    line.appended = index;
    Ok(index)
}

#[test]
fn committing_callers_are_told_in_order_once_and_never_sync_at_the_same_time() {
    let watched = Watched::new(FaultyVfs::new(1));
    let log = Log::open(Arc::new(watched.clone()), Path::new(DIR), small_options()).unwrap();
    let line = Mutex::new(Line::default());
    thread::scope(|scope| {
        // An owner's thread that flushes as well, as a node has.
        let owner =
            scope.spawn(|| while !log.wait(Duration::from_millis(5)) || log.flush().is_ok() {});
        let (log, line) = (&log, &line);
        let writers: Vec<_> = (0..12)
            .map(|seed| scope.spawn(move || append_and_commit(log, line, seed)))
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        log.commit().unwrap();
        log.close().unwrap();
        owner.join().unwrap();
    });
    let line = line.into_inner();
    let told: Vec<u64> = line.told.lock().iter().map(|(index, _)| *index).collect();
    assert_eq!(told, (1..=line.appended).collect::<Vec<_>>());
    assert!(!watched.overlapped.load(Ordering::SeqCst));
    let metrics = log.metrics();
    assert_eq!(metrics.entries, line.appended);
    let log = open(&watched.vfs).unwrap();
    let last = log.state(GroupId(1)).last.map(|last| last.index);
    assert_eq!(last, Some(line.appended));
}

/// Appends, and mostly commits; what was appended is told when the commit returns.
fn append_and_commit(log: &Log, line: &Mutex<Line>, seed: u64) {
    let mut random = Random(seed);
    for _ in 0..150 {
        let index = append(log, line).unwrap();
        if random.below(4) > 0 {
            log.commit().unwrap();
            let told = line.lock().told.lock().len() as u64;
            assert!(
                told >= index,
                "entry {index} returned after {told} were told"
            );
        }
    }
}

#[test]
fn callers_that_come_during_a_sync_share_the_next_one() {
    let watched = Watched::new(FaultyVfs::new(2));
    let log = Log::open(Arc::new(watched), Path::new(DIR), small_options()).unwrap();
    let line = Mutex::new(Line::default());
    let before = log.metrics().commits;
    for _ in 0..50 {
        append(&log, &line).unwrap();
    }
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| log.commit().unwrap());
        }
    });
    assert_eq!(log.metrics().commits - before, 1);
    log.append_durable(GroupId(2), vec![entry(1)]).unwrap();
    assert_eq!(log.metrics().commits - before, 2);
}

#[test]
fn a_failed_sync_fails_everybody_who_waits_and_everybody_after() {
    for seed in 0..60 {
        let vfs = FaultyVfs::new(seed);
        let watched = Watched::new(vfs.clone());
        let log = Log::open(Arc::new(watched), Path::new(DIR), small_options()).unwrap();
        let line = Mutex::new(Line::default());
        vfs.fail_at(vfs.calls() + Random(seed).below(60), Fault::Eio);
        let acknowledged = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| write_until_it_fails(&log, &line, &acknowledged));
            }
        });
        assert!(
            log.commit().is_err(),
            "seed {seed}: the failure does not stick"
        );
        assert!(log.append(GroupId(1), vec![entry(1)], ignored()).is_err());
        let line = line.into_inner();
        let told = line.told.lock().clone();
        let indexes: Vec<u64> = told.iter().map(|(index, _)| *index).collect();
        let expected: Vec<u64> = (1..=line.appended).collect();
        assert_eq!(
            indexes, expected,
            "seed {seed}: somebody was not told, or out of order"
        );
        let ok = told.iter().take_while(|(_, ok)| *ok).count() as u64;
        assert!(
            told.iter().skip_while(|(_, ok)| *ok).all(|(_, ok)| !ok),
            "seed {seed}"
        );
        let acknowledged = acknowledged.load(Ordering::SeqCst);
        assert!(
            acknowledged <= ok,
            "seed {seed}: {acknowledged} returned, {ok} were durable"
        );
        drop(log);
        vfs.restart();
        let log = open(&vfs).unwrap();
        let last = log.state(GroupId(1)).last.map_or(0, |last| last.index);
        assert!(last >= ok, "seed {seed}: {last} entries left of {ok}");
    }
}

/// Ends because the failure comes, or the test does not end.
fn write_until_it_fails(log: &Log, line: &Mutex<Line>, acknowledged: &AtomicU64) {
    while let Ok(index) = append(log, line) {
        let Ok(()) = log.commit() else { return };
        acknowledged.fetch_max(index, Ordering::SeqCst);
    }
}

#[test]
fn a_power_cut_among_committing_callers_loses_nothing_that_returned() {
    for seed in 0..60 {
        let vfs = FaultyVfs::new(seed);
        let log = open(&vfs).unwrap();
        vfs.crash_at(vfs.calls() + Random(seed).below(150));
        let returned: Vec<u64> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|group| {
                    let log = &log;
                    scope.spawn(move || write_and_purge(log, GroupId(group), seed ^ group))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        drop(log);
        vfs.restart();
        let log = open(&vfs).unwrap();
        for (group, returned) in (0..).zip(returned) {
            let state = log.state(GroupId(group));
            let last = state.last.map_or(0, |last| last.index);
            assert!(
                last >= returned,
                "seed {seed}, group {group}: {last} of {returned}"
            );
            let first = state.purged.map_or(1, |purged| purged.index + 1);
            let read = log
                .read(GroupId(group), first..last + 1, usize::MAX)
                .unwrap();
            let expected: Vec<Entry> = (first..=last).map(entry).collect();
            assert_eq!(read, expected, "seed {seed}, group {group}");
        }
    }
}

/// Writes until the power goes; the last entry whose write returned.
fn write_and_purge(log: &Log, group: GroupId, seed: u64) -> u64 {
    let mut random = Random(seed);
    for index in 1.. {
        if log.append_durable(group, vec![entry(index)]).is_err() {
            return index - 1;
        }
        if random.below(8) == 0 && log.purge(group, id(1, index)).is_err() {
            return index;
        }
    }
    0
}
