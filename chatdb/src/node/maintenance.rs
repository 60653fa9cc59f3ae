//! The threads of a node that keep memory, log and files in bounds.
//!
//! * **flush**: freezes the memtables of a tablet that is too big, of the biggest one when all
//!   together are too big, or of the one that pins the oldest log segment when the log is too long;
//!   writes the frozen ones to SSTables; tells raft what became durable, so that the log is purged; walks
//!   over rows that were deleted one by one, so that no reader has to.
//! * **compact**: tells the mergers that something may be due, after a flush and once a minute.
//! * **merge**, two of them: merge the files of all tablets, see `node/compaction.rs`.
//!
//! All sleep until an apply, a flush or a timer wakes them. An error is logged once and tried again
//! after a pause: a full disk that gets room goes on by itself. In an environment without threads one task
//! does all of it in turns.
//!
//! While they lag, proposals are delayed, smoothly more the more work waits (see [`lsm::Pace`]);
//! applies never are. Beyond twice the memory budget, which only a flush that fails leads to, writes
//! are refused with `Overloaded`, so that memory stays bounded.

use crate::db::options::EmbeddedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::System;
use crate::node::compaction::{Bucket, Scheduler};
use crate::node::environment::Environment;
use crate::node::open::blocking;
use crate::node::tablets::Tablets;
use crate::tablet::Tablet;
use lsm::log::Log;
use lsm::{Debt, Limits, MemoryBudget, Pace, PaceOptions};
use parking_lot::{Condvar, Mutex};
use raft::Group;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// How often the log's length is looked at when nothing else wakes the flush.
const FLUSH_INTERVAL: Duration = Duration::from_secs(2);
/// Steps of a sweep between two looks at what has to be flushed: each takes a millisecond or two.
const SWEEP_STEPS_MAX: usize = 100;
/// Threads that merge, each in another tablet.
const MERGERS: usize = 2;
/// How often expired windows are looked for when nothing else wakes the compaction.
const COMPACT_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest delay of a write.
const DELAY_MIN: Duration = Duration::from_millis(1);
/// Pause after an error.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How far threads of maintenance stand behind those that serve, in steps of `nice`: on busy processors
/// a merge gets about a tenth of what a request gets.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Lets requests go before the work of this thread. What waits too long holds writes back
/// ([`Pressure::admit`]), so it is never starved.
fn step_back() {
    // Linux alone takes this call as one of a thread; elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(cause) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%cause, "maintenance runs at the priority of requests");
    }
}

/// Wakes a thread or a task; calls before it sleeps are not lost.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
    notify: Notify,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock() = true;
        self.changed.notify_one();
        self.notify.notify_one();
    }

    /// The same as [`Self::wait`], for a task.
    async fn hear(&self, limit: Duration) {
        // Silence is an answer too.
        drop(tokio::time::timeout(limit, self.notify.notified()).await);
    }

    fn wait(&self, limit: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.changed.wait_for(&mut rung, limit);
        }
        *rung = false;
    }
}

/// What applies report and writers ask: how full memory is.
#[derive(Debug)]
pub(crate) struct Pressure {
    tablet_bytes_max: u64,
    /// The memtables of all tablets.
    memory: Arc<MemoryBudget>,
    pace: Pace,
    /// The pace of merges.
    merges: Arc<Bucket>,
    started: Instant,
    applied: AtomicU64,
    flush: Bell,
    compact: Bell,
    stop: AtomicBool,
}

impl Pressure {
    pub(crate) fn new(options: &EmbeddedOptions) -> Result<Self> {
        let limits = |soft: u64, factor: u64| Limits {
            soft,
            hard: soft.saturating_mul(factor),
        };
        let pace = Pace::new(PaceOptions {
            memory_bytes: limits(options.total_memtable_bytes, 2),
            compaction_bytes: limits(options.compaction_debt_bytes, 8),
            ..PaceOptions::default()
        })?;
        Ok(Self {
            tablet_bytes_max: options.tablet_memtable_bytes,
            memory: Arc::new(MemoryBudget::new(options.total_memtable_bytes)),
            pace,
            merges: Arc::new(Bucket::new()),
            started: Instant::now(),
            applied: AtomicU64::new(0),
            flush: Bell::default(),
            compact: Bell::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Where all tablets count their memtables.
    pub(crate) fn memory(&self) -> &Arc<MemoryBudget> {
        &self.memory
    }

    /// The pace of merges.
    pub(super) fn merges(&self) -> &Bucket {
        &self.merges
    }

    /// A tablet's memtables hold this many bytes after an apply.
    pub(crate) fn observe(&self, tablet_bytes: usize) {
        // The length of the log is looked at once in a while.
        let is_due = self
            .applied
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(256);
        let is_big = tablet_bytes as u64 > self.tablet_bytes_max;
        if is_due || is_big || self.memory.is_used_up() {
            self.flush.ring();
        }
    }

    /// Holds a write of `bytes` bytes back for as long as the waiting work asks for, before it is
    /// proposed. Refuses it when the flush does not get on at all.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<()> {
        let used = self.memory.used();
        let limit = self.memory.bytes_max().saturating_mul(2);
        if used > limit {
            self.flush.ring();
            let message =
                format!("{used} bytes wait to be flushed, more than {limit}; retry later");
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let now_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let delay = Duration::from_micros(self.pace.delay_us(bytes as u64, used, now_us)?);
        // The timer cannot do less; what is left out falls due to the next write.
        if delay >= DELAY_MIN {
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }
}

/// What the threads work on.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) options: EmbeddedOptions,
    pub(crate) environment: Environment,
    pub(crate) pressure: Arc<Pressure>,
    pub(crate) tablets: Arc<Tablets>,
    pub(crate) system: Arc<System>,
    pub(crate) group0: Group,
    pub(crate) log: Log,
}

/// The running threads.
#[derive(Debug)]
pub(crate) struct Maintenance {
    pressure: Arc<Pressure>,
    scheduler: Arc<Scheduler>,
    threads: Vec<JoinHandle<()>>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Maintenance {
    pub(crate) fn start(work: &Work) -> Result<Self> {
        let mut maintenance = Self {
            pressure: Arc::clone(&work.pressure),
            scheduler: Arc::new(Scheduler::new(
                Arc::clone(&work.tablets),
                Arc::clone(&work.pressure.merges),
            )),
            threads: Vec::new(),
            task: None,
        };
        if !work.environment.has_threads() {
            let (work, scheduler) = (work.clone(), Arc::clone(&maintenance.scheduler));
            let task = tokio::spawn(async move { work.run_in_turns(&scheduler).await });
            maintenance.task = Some(AbortOnDropHandle::new(task));
            return Ok(maintenance);
        }
        let (flush, compact) = (work.clone(), work.clone());
        let scheduler = Arc::clone(&maintenance.scheduler);
        maintenance.spawn("chatdb-flush", move || flush.run_flush())?;
        maintenance.spawn("chatdb-compact", move || compact.run_compact(&scheduler))?;
        for number in 0..MERGERS {
            let (merge, scheduler) = (work.clone(), Arc::clone(&maintenance.scheduler));
            maintenance.spawn(&format!("chatdb-merge-{number}"), move || {
                merge.run_merge(&scheduler);
            })?;
        }
        Ok(maintenance)
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                step_back();
                body();
            });
        let thread = thread.map_err(|cause| {
            Error::new(ErrorKind::Io, "cannot start a thread").with_source(cause)
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Lets the running steps end and joins the threads.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.ask_to_stop();
        if let Some(task) = self.task.take()
            && task.await.is_err()
        {
            tracing::error!("the task of maintenance panicked");
        }
        let threads = std::mem::take(&mut self.threads);
        blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a maintenance thread panicked");
                }
            }
            Ok(())
        })
        .await
    }

    fn ask_to_stop(&self) {
        self.pressure.stop.store(true, Ordering::Release);
        self.scheduler.stop();
        self.pressure.flush.ring();
        self.pressure.compact.ring();
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

impl Work {
    fn is_stopped(&self) -> bool {
        self.pressure.stop.load(Ordering::Acquire)
    }

    fn run_flush(&self) {
        let mut told = None;
        while !self.is_stopped() {
            let outcome = self.flush();
            let failed = outcome.is_err();
            tell("flush", outcome, &mut told);
            self.pressure
                .flush
                .wait(if failed { RETRY_PAUSE } else { FLUSH_INTERVAL });
            if failed && !self.is_stopped() {
                self.pressure.flush.wait(RETRY_PAUSE);
            }
        }
    }

    /// The work of all threads, for an environment that has none.
    async fn run_in_turns(&self, scheduler: &Scheduler) {
        let (mut flush, mut merge) = (None, None);
        while !self.is_stopped() {
            let flushed = self.flush();
            scheduler.wake();
            let merged = scheduler.work(|| self.environment.now_ms(), || self.measure());
            let failed = flushed.is_err() || merged.is_err();
            tell("flush", flushed, &mut flush);
            tell("compaction", merged, &mut merge);
            if failed {
                tokio::time::sleep(RETRY_PAUSE).await;
            } else {
                self.pressure.flush.hear(FLUSH_INTERVAL).await;
            }
        }
    }

    fn run_compact(&self, scheduler: &Scheduler) {
        while !self.is_stopped() {
            scheduler.wake();
            self.pressure.compact.wait(COMPACT_INTERVAL);
        }
    }

    fn run_merge(&self, scheduler: &Scheduler) {
        let mut told = None;
        while !self.is_stopped() {
            let outcome = scheduler.work(|| self.environment.now_ms(), || self.measure());
            let failed = outcome.is_err();
            tell("compaction", outcome, &mut told);
            if failed {
                scheduler.rest(RETRY_PAUSE);
                scheduler.wake();
            } else {
                scheduler.wait(COMPACT_INTERVAL);
            }
        }
    }

    /// Freezes what has to be, and writes everything that is frozen.
    fn flush(&self) -> Result<()> {
        for tablet in self.due() {
            tablet.freeze()?;
        }
        for place in self.tablets.list() {
            let tablet = &place.tablet;
            let mut wrote = false;
            while tablet.engine().flush_step()? {
                wrote = true;
                if self.is_stopped() {
                    return Ok(());
                }
            }
            tablet.release_log(self.retention_per_tablet())?;
            if wrote {
                self.pressure.compact.ring();
            }
        }
        self.measure();
        self.sweep()?;
        self.release_group0()
    }

    /// Walks over rows that were deleted one by one, so that no reader has to. What is left waits for the
    /// next round, behind what has to be flushed.
    fn sweep(&self) -> Result<()> {
        for place in self.tablets.list() {
            let mut steps = 0;
            while steps < SWEEP_STEPS_MAX && place.tablet.engine().sweep_step()? {
                steps += 1;
            }
            if steps == SWEEP_STEPS_MAX {
                self.pressure.flush.ring();
            }
        }
        Ok(())
    }

    fn retention_per_tablet(&self) -> u64 {
        self.options.stream_retention_bytes / (self.tablets.len() as u64).max(1)
    }

    /// The tablets whose memtables have to be frozen now.
    fn due(&self) -> Vec<Arc<Tablet>> {
        let sized = |tablet: &Arc<Tablet>| tablet.engine().memory_bytes() as u64;
        let all: Vec<Arc<Tablet>> = self.open_tablets().collect();
        let is_big = |tablet: &&Arc<Tablet>| sized(tablet) > self.options.tablet_memtable_bytes;
        let mut due: Vec<Arc<Tablet>> = all.iter().filter(is_big).cloned().collect();
        self.measure();
        if due.is_empty() && self.pressure.memory.is_used_up() {
            due.extend(all.iter().max_by_key(|tablet| sized(tablet)).cloned());
        }
        if self.log.metrics().segment_bytes > self.options.log_bytes_max
            && let Some((group, _)) = self.log.oldest_pinned()
        {
            due.extend(all.into_iter().filter(|it| it.group_id() == group.0));
        }
        due
    }

    fn open_tablets(&self) -> impl Iterator<Item = Arc<Tablet>> {
        let places = self.tablets.list().into_iter();
        places.map(|place| Arc::clone(&place.tablet))
    }

    /// Tells the writers how much work waits.
    fn measure(&self) {
        let now_ms = self.environment.now_ms();
        let debts = self
            .open_tablets()
            .map(|tablet| tablet.engine().debt(now_ms));
        let debt = debts.fold(Debt::default(), Debt::and);
        self.pressure.pace.update(debt);
    }

    /// Group 0 is small: it is saved whole whenever it has moved on by then.
    fn release_group0(&self) -> Result<()> {
        let durable = self.group0.status().durable.map_or(0, |id| id.index);
        if self.system.applied_index() > durable {
            let index = self.system.save()?;
            self.group0.flushed(index, index + 1)?;
        }
        Ok(())
    }
}

/// Logs an error when it is another one than before, and the recovery from it.
fn tell(what: &str, outcome: Result<()>, told: &mut Option<String>) {
    match outcome {
        Ok(()) => {
            if told.take().is_some() {
                tracing::info!("{what} works again");
            }
        }
        Err(error) => {
            let text = error.to_string();
            if told.as_ref() != Some(&text) {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(cause, "{what} failed and will be tried again: {text}");
                *told = Some(text);
            }
        }
    }
}
