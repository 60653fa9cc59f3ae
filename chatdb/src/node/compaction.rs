//! The compaction of all tablets: two threads share them, the one furthest behind first.
//!
//! A tablet has one merge at a time. Every fourth merge goes to the tablet that has waited longest,
//! however little is due there, so that a busy tablet starves no other.
//!
//! # Pace
//!
//! Merges read and write through one token bucket. It lets [`BASE_BYTES_PER_SECOND`] pass while little
//! is due, so that merges leave the disk to reads and syncs, and so much more for every
//! [`BACKLOG_STEP_BYTES`] that are due, so that they do not fall behind. A merge that is to stop is
//! cancelled within [`SLICE`]. Files that merges replaced, and those of windows that were dropped, are given back to
//! the file system in steps of a few milliseconds through the same bucket.

use crate::error::Result;
use crate::node::tablets::Tablets;
use crate::tablet::Tablet;
use lsm::{CompactionOutcome, MergePace};
use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes read and written by all merges together while little is due.
const BASE_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// For every so many bytes that are due, merges go as fast again.
const BACKLOG_STEP_BYTES: u64 = 128 * 1024 * 1024;
/// Longest sleep before the order to stop is looked at.
const SLICE: Duration = Duration::from_millis(50);
/// Giving bytes back to the file system costs the disk about this share of what writing them does.
const REMOVAL_SHARE: u64 = 8;
/// Every so many merges, the tablet that waited longest has its turn.
const FAIR_TURN: u64 = 4;

/// What is due where, and how fast it may go.
#[derive(Debug)]
pub(super) struct Scheduler {
    tablets: Arc<Tablets>,
    state: Mutex<State>,
    changed: Condvar,
    bucket: Arc<Bucket>,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// By group.
    places: BTreeMap<u64, Place>,
    turns: u64,
}

/// A tablet as the scheduler sees it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// A merge runs.
    is_busy: bool,
    /// Something may be due.
    is_due: bool,
    /// Bytes due when it was last looked at.
    backlog_bytes: u64,
    /// Turn of its last merge.
    served: u64,
}

impl State {
    /// The tablet for the next merge: the one furthest behind, or in every fourth turn the one that
    /// waited longest.
    fn choose(&mut self) -> Option<u64> {
        let is_fair_turn = (self.turns + 1).is_multiple_of(FAIR_TURN);
        let candidates = self
            .places
            .iter_mut()
            .filter(|(_, place)| place.is_due && !place.is_busy);
        let (group, place) = candidates.max_by_key(|(_, place)| {
            let waited = u64::MAX - place.served;
            if is_fair_turn {
                (waited, place.backlog_bytes)
            } else {
                (place.backlog_bytes, waited)
            }
        })?;
        self.turns += 1;
        place.is_busy = true;
        // Cleared before the merge looks, so that what comes meanwhile is not forgotten.
        place.is_due = false;
        place.served = self.turns;
        Some(*group)
    }
}

impl Scheduler {
    pub(super) fn new(tablets: Arc<Tablets>, bucket: Arc<Bucket>) -> Self {
        Self {
            tablets,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
            bucket,
            stop: AtomicBool::new(false),
        }
    }

    /// Something may be due in every tablet.
    pub(super) fn wake(&self) {
        let open = self.tablets.list();
        {
            let mut state = self.state.lock();
            for place in open {
                let entry = state.places.entry(place.tablet.group_id());
                entry.or_default().is_due = true;
            }
        }
        self.changed.notify_all();
    }

    /// Cancels the running merges and lets no other begin.
    pub(super) fn stop(&self) {
        // Under the lock, or a thread that has just looked would sleep through it.
        let state = self.state.lock();
        self.stop.store(true, Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until something may be due, at most `limit`.
    pub(super) fn wait(&self, limit: Duration) {
        let mut state = self.state.lock();
        let is_due = state.places.values().any(|it| it.is_due && !it.is_busy);
        if !is_due && !self.stop.load(Ordering::Acquire) {
            self.changed.wait_for(&mut state, limit);
        }
    }

    /// Waits for `limit`, or until told that something may be due or to stop.
    pub(super) fn rest(&self, limit: Duration) {
        let mut state = self.state.lock();
        if !self.stop.load(Ordering::Acquire) {
            self.changed.wait_for(&mut state, limit);
        }
    }

    /// Merges until nothing is due, and calls `after_each` after every merge. After an error the
    /// tablet is left alone until the next [`Self::wake`].
    pub(super) fn work(&self, now_ms: impl Fn() -> u64, after_each: impl Fn()) -> Result<()> {
        while !self.stop.load(Ordering::Acquire) {
            self.measure(now_ms());
            let Some(group) = self.state.lock().choose() else {
                // What readers still had after the merge that replaced it, and dropped tables.
                for place in self.tablets.list() {
                    self.remove(&place.tablet);
                }
                return Ok(());
            };
            let Some(place) = self.tablets.get(group) else {
                // It has left the node.
                self.state.lock().places.remove(&group);
                continue;
            };
            let outcome = place.tablet.engine().compact(now_ms(), self);
            let is_done = matches!(outcome, Ok(CompactionOutcome::Done(_)));
            if let Some(place) = self.state.lock().places.get_mut(&group) {
                place.is_busy = false;
                place.is_due |= is_done;
            }
            after_each();
            self.remove(&place.tablet);
            if let CompactionOutcome::Done(report) = outcome? {
                tracing::debug!(
                    tablet = group,
                    reason = report.reason.name(),
                    table = report.table.0,
                    window = report.window.0,
                    files_read = report.inputs,
                    files_written = report.outputs,
                    bytes_read = report.read_bytes,
                    bytes_written = report.written_bytes,
                    rows_read = report.rows_read,
                    rows_written = report.rows_written,
                    tombstones_dropped = report.tombstones_dropped,
                    micros = report.micros,
                    "compacted a tablet"
                );
            }
        }
        Ok(())
    }

    /// Gives files that a tablet does not use any more back to the file system, step by step at the
    /// pace of merges.
    fn remove(&self, tablet: &Tablet) {
        while let freed @ 1.. = tablet.engine().remove_step() {
            if !self.spend(freed / REMOVAL_SHARE) {
                return;
            }
        }
    }

    /// Looks at what is due in each tablet; not under the lock, which finished merges wait for.
    fn measure(&self, now_ms: u64) {
        let backlogs: BTreeMap<u64, u64> = self
            .tablets
            .list()
            .iter()
            .map(|place| &place.tablet)
            .map(|tablet| (tablet.group_id(), tablet.engine().backlog_bytes(now_ms)))
            .collect();
        let total: u64 = backlogs.values().sum();
        self.bucket.backlog_bytes.store(total, Ordering::Relaxed);
        for (group, place) in &mut self.state.lock().places {
            place.backlog_bytes = backlogs.get(group).copied().unwrap_or(0);
        }
    }
}

impl MergePace for Scheduler {
    fn spend(&self, bytes: u64) -> bool {
        if !raft::may_block() {
            // A merge is one step there, and nobody waits in it.
            return !self.stop.load(Ordering::Acquire);
        }
        let began = Instant::now();
        let start = self.bucket.reserve(bytes, began);
        while !self.stop.load(Ordering::Acquire) {
            let left = start.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.bucket.passed(bytes, start - began);
                return true;
            }
            std::thread::sleep(left.min(SLICE));
        }
        false
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.bucket.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A token bucket: who comes reserves its bytes behind everybody before, and waits for its place.
#[derive(Debug)]
pub(super) struct Bucket {
    started: Instant,
    next: Mutex<Instant>,
    backlog_bytes: AtomicU64,
    passed_bytes: AtomicU64,
    waited_micros: AtomicU64,
}

impl Bucket {
    pub(super) fn new() -> Self {
        let started = Instant::now();
        Self {
            started,
            next: Mutex::new(started),
            backlog_bytes: AtomicU64::new(0),
            passed_bytes: AtomicU64::new(0),
            waited_micros: AtomicU64::new(0),
        }
    }

    /// Bytes that may pass in a second, by what was due when that was last looked at.
    pub(super) fn bytes_per_second(&self) -> u64 {
        let steps = self.backlog_bytes.load(Ordering::Relaxed) / BACKLOG_STEP_BYTES;
        BASE_BYTES_PER_SECOND.saturating_mul(steps.saturating_add(1))
    }

    /// Bytes that have passed.
    pub(super) fn passed_bytes(&self) -> u64 {
        self.passed_bytes.load(Ordering::Relaxed)
    }

    /// How long they have waited for that, all merges together, in microseconds.
    pub(super) fn waited_micros(&self) -> u64 {
        self.waited_micros.load(Ordering::Relaxed)
    }

    fn passed(&self, bytes: u64, waited: Duration) {
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.passed_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waited_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// When the next `bytes` may be worked on.
    fn reserve(&self, bytes: u64, now: Instant) -> Instant {
        let rate = self.bytes_per_second().max(1);
        let cost = Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / rate);
        let mut next = self.next.lock();
        let start = (*next).max(now);
        *next = start + cost;
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_go_at_the_base_rate_and_faster_the_more_is_due() {
        let bucket = Bucket::new();
        let now = Instant::now();
        let after = |bytes| {
            bucket.reserve(bytes, now);
            bucket.reserve(0, now).saturating_duration_since(now)
        };
        assert_eq!(after(BASE_BYTES_PER_SECOND), Duration::from_secs(1));
        bucket
            .backlog_bytes
            .store(3 * BACKLOG_STEP_BYTES, Ordering::Relaxed);
        let waited = after(BASE_BYTES_PER_SECOND);
        assert_eq!(waited, Duration::from_millis(1250));
    }

    #[test]
    fn the_tablet_furthest_behind_is_first_and_none_waits_for_ever() {
        let place = |backlog_bytes| Place {
            is_due: true,
            backlog_bytes,
            ..Place::default()
        };
        let mut state = State {
            places: BTreeMap::from([(0, place(10)), (1, place(1000)), (2, place(20))]),
            turns: 0,
        };
        let mut order = Vec::new();
        for _ in 0..12 {
            let at = state.choose().expect("due");
            let place = state.places.get_mut(&at).expect("a place");
            (place.is_busy, place.is_due) = (false, true);
            order.push(at);
        }
        assert_eq!(order, [1, 1, 1, 2, 1, 1, 1, 0, 1, 1, 1, 2]);
        // One that is busy is left alone, and nothing is left when all are.
        state.places.get_mut(&1).expect("a place").is_busy = true;
        assert_ne!(state.choose(), Some(1));
        assert!(state.choose().is_some());
        assert_eq!(state.choose(), None);
    }
}
