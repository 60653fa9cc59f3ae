//! What happened when: acknowledged writes in each second, the longest time without one, and how long after a leader's
//! death its groups took the next.

use crate::measure::float;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A fault, from when to when.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
}

/// A node that led some groups when it died.
#[derive(Debug)]
struct Death {
    at: Instant,
    groups: BTreeSet<u64>,
    next: BTreeMap<u64, Duration>,
}

/// The record of a run.
#[derive(Debug)]
pub(crate) struct Timeline {
    start: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    seconds: Vec<u64>,
    /// Latencies of acknowledged writes in microseconds.
    latencies: Vec<u32>,
    last: Instant,
    longest: Duration,
    deaths: Vec<Death>,
    spans: Vec<Span>,
    reads: u64,
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: Vec<u64>,
    pub(crate) acknowledged: u64,
    pub(crate) reads: u64,
    pub(crate) longest: Duration,
    /// Latencies, in order.
    pub(crate) latencies_us: Vec<u32>,
    /// For each group of each dead leader the time until its next acknowledged write, in order.
    pub(crate) failovers: Vec<Duration>,
    /// Groups of dead leaders that were not written to again.
    pub(crate) failovers_open: usize,
    pub(crate) spans: Vec<Span>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let inner = Inner {
            seconds: Vec::new(),
            latencies: Vec::new(),
            last: start,
            longest: Duration::ZERO,
            deaths: Vec::new(),
            spans: Vec::new(),
            reads: 0,
        };
        Self {
            start,
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Nanoseconds since the start.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A write of `group` was acknowledged, whose last try began at `sent`.
    pub(crate) fn acknowledged(&self, group: Option<u64>, sent: Instant) {
        let now = Instant::now();
        let second = (now - self.start).as_secs();
        let second = usize::try_from(second).unwrap_or(usize::MAX);
        let mut inner = self.inner.lock();
        if inner.seconds.len() <= second {
            inner.seconds.resize(second + 1, 0);
        }
        inner.seconds[second] += 1;
        let latency = u32::try_from((now - sent).as_micros()).unwrap_or(u32::MAX);
        inner.latencies.push(latency);
        inner.longest = inner.longest.max(now.saturating_duration_since(inner.last));
        inner.last = now;
        let Some(group) = group else { return };
        // What was sent before the death may have been answered before it.
        for death in inner.deaths.iter_mut().filter(|death| sent >= death.at) {
            if death.groups.contains(&group) {
                death.next.entry(group).or_insert_with(|| now - death.at);
            }
        }
    }

    pub(crate) fn read(&self) {
        self.inner.lock().reads += 1;
    }

    /// How many writes were acknowledged by now.
    pub(crate) fn count(&self) -> usize {
        self.inner.lock().latencies.len()
    }

    /// A node died at that time that led these groups.
    pub(crate) fn death(&self, at: Instant, groups: BTreeSet<u64>) {
        let death = Death {
            at,
            groups,
            next: BTreeMap::new(),
        };
        self.inner.lock().deaths.push(death);
    }

    pub(crate) fn span(&self, from: Duration, kind: &'static str, text: String) {
        let to = self.elapsed();
        let span = Span {
            from,
            to,
            kind,
            text,
        };
        self.inner.lock().spans.push(span);
    }

    /// The figures.
    pub(crate) fn figures(&self) -> Figures {
        let inner = self.inner.lock();
        let mut latencies_us = inner.latencies.clone();
        latencies_us.sort_unstable();
        let next = |death: &Death| death.next.values().copied().collect::<Vec<_>>();
        let mut failovers: Vec<Duration> = inner.deaths.iter().flat_map(next).collect();
        failovers.sort_unstable();
        let wanted: usize = inner.deaths.iter().map(|death| death.groups.len()).sum();
        Figures {
            seconds: inner.seconds.clone(),
            acknowledged: inner.seconds.iter().sum(),
            reads: inner.reads,
            longest: inner.longest,
            latencies_us,
            failovers_open: wanted - failovers.len(),
            failovers,
            spans: inner.spans.clone(),
        }
    }
}

impl Figures {
    /// The latency in milliseconds that this many thousandths of all acknowledged writes did not exceed.
    pub(crate) fn latency_ms(&self, thousandths: usize) -> Option<f64> {
        let at = self.latencies_us.len().checked_sub(1)? * thousandths / 1000;
        self.latencies_us
            .get(at)
            .map(|us| float(u64::from(*us)) / 1000.0)
    }

    /// The same of the time from a leader's death to the next write of its group.
    pub(crate) fn failover_ms(&self, thousandths: usize) -> Option<f64> {
        let at = self.failovers.len().checked_sub(1)? * thousandths / 1000;
        self.failovers.get(at).map(|it| it.as_secs_f64() * 1000.0)
    }

    /// Seconds in which nothing was acknowledged, the last one excepted, which was cut.
    pub(crate) fn empty_seconds(&self) -> usize {
        let whole = self.seconds.len().saturating_sub(1);
        self.seconds
            .iter()
            .take(whole)
            .filter(|it| **it == 0)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_write_after_a_death_is_of_the_same_group_and_sent_later() {
        let timeline = Timeline::new();
        let before = Instant::now();
        timeline.acknowledged(Some(1), before);
        timeline.death(Instant::now(), BTreeSet::from([1, 2]));
        timeline.acknowledged(Some(1), before);
        timeline.acknowledged(Some(3), Instant::now());
        assert_eq!(timeline.figures().failovers_open, 2);
        timeline.acknowledged(Some(2), Instant::now());
        let figures = timeline.figures();
        assert_eq!((figures.failovers.len(), figures.failovers_open), (1, 1));
        assert_eq!(figures.acknowledged, 4);
        assert!(figures.longest < Duration::from_secs(5));
    }
}
