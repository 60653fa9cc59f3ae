//! A tablet and its log, and the threads around them: writers commit and apply, one thread flushes, one compacts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId};
use lsm::{
    Change, CompactionOutcome, Engine as Tablet, Limits, Pace, PaceOptions, Timestamp, Unpaced,
};
use parking_lot::Mutex;

use super::rows;
use crate::messages::Message;

const GROUP: GroupId = GroupId(1);
const LEADER: LeaderId = LeaderId { term: 1, node: 1 };
/// Payload bytes read from the log at once during recovery.
const REPLAY_BYTES: usize = 512 << 10;
/// Shortest delay of a write, as in chatdb; less falls due to the next one.
const DELAY_MIN: Duration = Duration::from_millis(1);

pub(super) struct Node {
    pub(super) log: Log,
    pub(super) tablet: Tablet,
    pub(super) memtable_bytes: usize,
    /// Indexes given out; held while an entry enters the log, so that the log is in index order.
    pub(super) indexes: Mutex<Indexes>,
    /// Bytes of memtables as last seen by a thread that applied.
    memory_bytes: AtomicU64,
    /// Delays writes by the work that waits.
    pace: Pace,
    started: Instant,
    /// Time of the newest message.
    now_ms: AtomicU64,
    closing: AtomicBool,
}

/// Loads have an index in the tablet and none in the log.
#[derive(Clone, Copy, Default)]
pub(super) struct Indexes {
    pub(super) loaded: u64,
    pub(super) logged: u64,
    /// The last timestamp given to a message.
    stamp: u64,
}

/// What one index of the log changes.
struct Applicable {
    index: u64,
    timestamp: Timestamp,
    changes: Vec<Change>,
}

/// Rows for the commands of an entry, and the time of the newest.
pub(super) fn changes(entry: &Bytes, expires_at_ms: Option<u64>) -> Result<(Vec<Change>, u64)> {
    let mut newest_ms = 0;
    let mut changes = Vec::new();
    for command in rows::commands(entry) {
        let (change, written_ms) = rows::upsert(&command?, expires_at_ms)?;
        newest_ms = newest_ms.max(written_ms);
        changes.push(change);
    }
    Ok((changes, newest_ms))
}

impl Indexes {
    /// The first of `count` timestamps.
    fn stamp(&mut self, count: usize) -> Timestamp {
        let first = self.stamp + 1;
        self.stamp += count as u64;
        Timestamp(first)
    }
}

impl Node {
    pub(super) fn new(log: Log, tablet: Tablet, memtable_bytes: usize) -> Result<Arc<Self>> {
        // One tablet: it flushes at a memtable, and writers are slowed when it does not keep up.
        let bytes = memtable_bytes as u64;
        let memory_bytes = Limits {
            soft: bytes + bytes / 2,
            hard: 3 * bytes,
        };
        let pace = PaceOptions {
            memory_bytes,
            ..PaceOptions::default()
        };
        Ok(Arc::new(Self {
            log,
            tablet,
            memtable_bytes,
            indexes: Mutex::default(),
            memory_bytes: AtomicU64::new(0),
            pace: Pace::new(pace)?,
            started: Instant::now(),
            now_ms: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        }))
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

    /// Writes messages to the log, those of one call in as few entries as chatdb would, and returns when they are
    /// durable and applied.
    ///
    /// Whoever finds nobody committing commits for all who wait, on its own thread; the entries are applied in the
    /// order of the log by the thread that made them durable, while the next commit is on its way.
    pub(super) fn write(self: &Arc<Self>, messages: &[Message<'_>]) -> Result<()> {
        let payloads = rows::entries(messages);
        self.hold_back(payloads.iter().map(Bytes::len).sum())?;
        let mut rows = Vec::with_capacity(payloads.len());
        let mut newest_ms = 0;
        for payload in &payloads {
            let (changes, written_ms) = changes(payload, None)?;
            newest_ms = newest_ms.max(written_ms);
            rows.push(changes);
        }
        let node = Arc::clone(self);
        {
            let mut indexes = self.indexes.lock();
            let first = indexes.logged + 1;
            indexes.logged += payloads.len() as u64;
            let mut applicable = Vec::with_capacity(rows.len());
            for (changes, index) in rows.into_iter().zip(indexes.loaded + first..) {
                let timestamp = indexes.stamp(changes.len());
                applicable.push(Applicable {
                    index,
                    timestamp,
                    changes,
                });
            }
            let entries = payloads.into_iter().zip(first..).map(|(payload, index)| {
                let leader = LEADER;
                let id = LogId { leader, index };
                Entry { id, payload }
            });
            let completion = Box::new(move |synced: lsm::Result<()>| {
                synced.expect("the disk under the benchmark takes writes");
                node.apply(&applicable).expect("a generated row is valid");
                node.applied(newest_ms);
            });
            self.log.append(GROUP, entries.collect(), completion)?;
        }
        Ok(self.log.commit()?)
    }

    fn apply(&self, entries: &[Applicable]) -> lsm::Result<()> {
        for entry in entries {
            self.tablet
                .apply(entry.index, entry.timestamp, &entry.changes)?;
        }
        Ok(())
    }

    fn applied(&self, newest_ms: u64) {
        self.now_ms.fetch_max(newest_ms, Ordering::Relaxed);
        self.memory_bytes
            .store(self.tablet.memory_bytes() as u64, Ordering::Relaxed);
    }

    /// Applies changes of `bytes` bytes that are not in the log.
    pub(super) fn load(&self, changes: Vec<Change>, bytes: usize, newest_ms: u64) -> Result<()> {
        let mut indexes = self.indexes.lock();
        anyhow::ensure!(indexes.logged == 0, "load before the first durable write");
        indexes.loaded += 1;
        let entry = Applicable {
            index: indexes.loaded,
            timestamp: indexes.stamp(changes.len()),
            changes,
        };
        self.apply(&[entry])?;
        drop(indexes);
        self.applied(newest_ms);
        self.hold_back(bytes)
    }

    /// Applies what the log holds and the files do not.
    pub(super) fn recover(&self) -> Result<()> {
        let Some(last) = self.log.state(GROUP).last else {
            return Ok(());
        };
        let mut next = self.tablet.flushed().index + 1;
        let mut indexes = Indexes {
            stamp: self.tablet.last_timestamp().0,
            ..Indexes::default()
        };
        while next <= last.index {
            let entries = self.log.read(GROUP, next..last.index + 1, REPLAY_BYTES)?;
            let mut newest_ms = 0;
            for entry in &entries {
                let (changes, written_ms) = changes(&entry.payload, None)?;
                newest_ms = newest_ms.max(written_ms);
                let entry = Applicable {
                    index: entry.id.index,
                    timestamp: indexes.stamp(changes.len()),
                    changes,
                };
                self.apply(&[entry])?;
            }
            next += entries.len() as u64;
            self.applied(newest_ms);
            self.wait_for_room();
        }
        indexes.logged = last.index;
        *self.indexes.lock() = indexes;
        Ok(())
    }

    /// Waits while memtables hold as much as they may.
    fn wait_for_room(&self) {
        while self.tablet.memory_bytes() >= self.memtable_bytes.saturating_mul(3) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the caller wait as long as the work that waits asks for, as chatdb does before it proposes.
    fn hold_back(&self, bytes: usize) -> Result<()> {
        let now_us = u64::try_from(self.started.elapsed().as_micros())?;
        let memory_bytes = self.memory_bytes.load(Ordering::Relaxed);
        let delay = self.pace.delay_us(bytes as u64, memory_bytes, now_us)?;
        let delay = Duration::from_micros(delay);
        if delay >= DELAY_MIN {
            std::thread::sleep(delay);
        }
        Ok(())
    }

    /// Tells the pace what work waits.
    fn measure(&self) {
        self.pace.update(self.tablet.debt(self.now_ms()));
    }

    /// Flushes whenever a memtable is full, and walks over deleted rows in between.
    pub(super) fn flush_full(&self) {
        while !self.is_closing() {
            if self.tablet.memory_bytes() >= self.memtable_bytes {
                self.flush().expect("flushing generated rows succeeds");
            } else if !self.tablet.sweep_step().expect("sweeping succeeds") {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }

    /// Compacts whenever there is something to do, and gives the files that are not used any more back to the file
    /// system piece by piece.
    pub(super) fn compact_always(&self) {
        while !self.is_closing() {
            let outcome = self
                .tablet
                .compact(self.now_ms(), &Unpaced)
                .expect("compaction of generated rows succeeds");
            let mut freed = 0;
            while let bytes @ 1.. = self.tablet.remove_step() + self.log.remove_step() {
                freed += bytes;
            }
            if outcome == CompactionOutcome::Idle && freed == 0 {
                std::thread::park_timeout(Duration::from_millis(5));
            } else {
                self.measure();
            }
        }
    }

    /// Drops what has expired at `now_ms`; its files are removed by the thread that compacts.
    pub(super) fn drop_expired(&self, now_ms: u64) -> Result<()> {
        while self.tablet.compact(now_ms, &Unpaced)? != CompactionOutcome::Idle {}
        Ok(())
    }

    /// Waits until no file waits to be removed.
    pub(super) fn wait_for_space(&self) {
        while self.tablet.metrics().removing_files > 0 {
            std::thread::park_timeout(Duration::from_millis(1));
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
        self.applied(0);
        self.measure();
        Ok(())
    }

    /// Compacts until nothing is left to do at `now_ms`.
    pub(super) fn compact(&self, now_ms: u64) -> Result<()> {
        while self.tablet.compact_step(now_ms)? {}
        Ok(())
    }
}
