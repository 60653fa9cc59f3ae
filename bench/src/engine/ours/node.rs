//! A tablet and its log, and the threads around them: writers commit and apply, one thread flushes, one compacts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId};
use lsm::{Change, Engine as Tablet, Timestamp};
use parking_lot::Mutex;

use super::rows;
use crate::messages::Message;

const GROUP: GroupId = GroupId(1);
const LEADER: LeaderId = LeaderId { term: 1, node: 1 };
/// Payload bytes read from the log at once during recovery.
const REPLAY_BYTES: usize = 4 << 20;
/// Writers wait at most this long for a flush before each write, below the hard limit.
const DELAY_MAX: Duration = Duration::from_millis(20);

pub(super) struct Node {
    pub(super) log: Log,
    pub(super) tablet: Tablet,
    pub(super) memtable_bytes: usize,
    /// Indexes given out; held while an entry enters the log, so that the log is in index order.
    pub(super) indexes: Mutex<Indexes>,
    /// Bytes of memtables as last seen by a thread that applied.
    memory_bytes: AtomicUsize,
    /// Time of the newest message.
    now_ms: AtomicU64,
    closing: AtomicBool,
}

/// Loaded messages have an index in the tablet and none in the log.
#[derive(Clone, Copy, Default)]
pub(super) struct Indexes {
    pub(super) loaded: u64,
    pub(super) logged: u64,
}

/// Rows for payloads, and the time of the newest.
pub(super) fn changes(
    payloads: &[Bytes],
    expires_at_ms: Option<u64>,
) -> Result<(Vec<Change>, u64)> {
    let mut newest_ms = 0;
    let mut changes = Vec::with_capacity(payloads.len());
    for payload in payloads {
        let (change, written_ms) = rows::upsert(payload, expires_at_ms)?;
        newest_ms = newest_ms.max(written_ms);
        changes.push(change);
    }
    Ok((changes, newest_ms))
}

impl Node {
    pub(super) fn new(log: Log, tablet: Tablet, memtable_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            log,
            tablet,
            memtable_bytes,
            indexes: Mutex::default(),
            memory_bytes: AtomicUsize::new(0),
            now_ms: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        })
    }

    pub(super) fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Self) + Send + 'static,
    ) -> JoinHandle<()> {
        let node = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread
            .spawn(move || run(&node))
            .expect("the system gives a thread to a benchmark")
    }

    /// Tells the threads to end after what they are doing.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    /// Writes messages to the log, one entry each, and returns when they are durable and applied.
    ///
    /// Whoever finds nobody committing commits for all who wait, on its own thread; the entries are applied in the
    /// order of the log by the thread that made them durable.
    pub(super) fn write(self: &Arc<Self>, messages: &[Message<'_>]) -> Result<()> {
        self.hold_back();
        let payloads: Vec<Bytes> = messages.iter().map(rows::payload).collect();
        let (changes, newest_ms) = changes(&payloads, None)?;
        let node = Arc::clone(self);
        {
            let mut indexes = self.indexes.lock();
            let first_index = indexes.loaded + indexes.logged + 1;
            let first = indexes.logged + 1;
            indexes.logged += payloads.len() as u64;
            let entries = payloads.into_iter().zip(first..).map(|(payload, index)| {
                let leader = LEADER;
                let id = LogId { leader, index };
                Entry { id, payload }
            });
            let completion = Box::new(move |synced: lsm::Result<()>| {
                synced.expect("the disk under the benchmark takes writes");
                node.apply(first_index, &changes, newest_ms);
            });
            self.log.append(GROUP, entries.collect(), completion)?;
        }
        Ok(self.log.commit()?)
    }

    fn apply(&self, first_index: u64, changes: &[Change], newest_ms: u64) {
        for (change, index) in changes.iter().zip(first_index..) {
            let applied = self
                .tablet
                .apply(index, Timestamp(index), std::slice::from_ref(change));
            applied.expect("a generated row is valid");
        }
        self.applied(newest_ms);
    }

    fn applied(&self, newest_ms: u64) {
        self.now_ms.fetch_max(newest_ms, Ordering::Relaxed);
        self.memory_bytes
            .store(self.tablet.memory_bytes(), Ordering::Relaxed);
    }

    /// Applies changes that are not in the log.
    pub(super) fn load(&self, changes: Vec<Change>, newest_ms: u64) -> Result<()> {
        let mut indexes = self.indexes.lock();
        anyhow::ensure!(indexes.logged == 0, "load before the first durable write");
        for change in changes {
            indexes.loaded += 1;
            let index = indexes.loaded;
            self.tablet
                .apply(index, Timestamp(index), std::slice::from_ref(&change))?;
        }
        drop(indexes);
        self.applied(newest_ms);
        self.hold_back();
        Ok(())
    }

    /// Applies what the log holds and the files do not.
    pub(super) fn recover(&self) -> Result<()> {
        let Some(last) = self.log.state(GROUP).last else {
            return Ok(());
        };
        let mut next = self.tablet.flushed().index + 1;
        while next <= last.index {
            let entries = self.log.read(GROUP, next..last.index + 1, REPLAY_BYTES)?;
            let mut newest_ms = 0;
            for entry in &entries {
                let (change, written_ms) = rows::upsert(&entry.payload, None)?;
                newest_ms = newest_ms.max(written_ms);
                let index = entry.id.index;
                self.tablet
                    .apply(index, Timestamp(index), std::slice::from_ref(&change))?;
            }
            next += entries.len() as u64;
            self.applied(newest_ms);
            self.wait_for_room();
        }
        self.indexes.lock().logged = last.index;
        Ok(())
    }

    /// Waits while memtables hold as much as they may.
    fn wait_for_room(&self) {
        while self.tablet.memory_bytes() >= self.memtable_bytes.saturating_mul(3) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the caller wait when flushing lags: not at all below one and a half memtables, then longer and longer,
    /// and beyond three until there is room.
    fn hold_back(&self) {
        let soft = self.memtable_bytes.saturating_add(self.memtable_bytes / 2);
        let hard = self.memtable_bytes.saturating_mul(3);
        loop {
            let bytes = self.memory_bytes.load(Ordering::Relaxed);
            let over = bytes.saturating_sub(soft);
            if over == 0 {
                return;
            }
            let share = over.min(hard - soft) * 1024 / (hard - soft).max(1);
            let share = u32::try_from(share).unwrap_or(1024);
            std::thread::sleep(DELAY_MAX * share / 1024);
            if bytes < hard {
                return;
            }
            self.memory_bytes
                .store(self.tablet.memory_bytes(), Ordering::Relaxed);
        }
    }

    /// Flushes whenever a memtable is full.
    pub(super) fn flush_full(&self) {
        while !self.is_closing() {
            if self.tablet.memory_bytes() >= self.memtable_bytes {
                self.flush().expect("flushing generated rows succeeds");
            } else {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    /// Compacts whenever there is something to do.
    pub(super) fn compact_always(&self) {
        while !self.is_closing() {
            let has_more = self
                .tablet
                .compact_step(self.now_ms())
                .expect("compaction of generated rows succeeds");
            if !has_more {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    /// Writes everything in memory to files, and frees the log of it.
    pub(super) fn flush(&self) -> Result<()> {
        self.tablet.freeze(Bytes::new())?;
        while self.tablet.flush_step()? {}
        let flushed = self.tablet.flushed().index;
        let loaded = self.indexes.lock().loaded;
        if let Some(index) = flushed.checked_sub(loaded).filter(|index| *index > 0) {
            let leader = LEADER;
            self.log.purge(GROUP, LogId { leader, index })?;
        }
        self.memory_bytes
            .store(self.tablet.memory_bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Compacts until nothing is left to do at `now_ms`.
    pub(super) fn compact(&self, now_ms: u64) -> Result<()> {
        while self.tablet.compact_step(now_ms)? {}
        Ok(())
    }
}
