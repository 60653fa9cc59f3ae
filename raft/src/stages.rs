//! Where the time of commands goes: one histogram per stage, over all groups of a host.
//!
//! A command waits for its place in an entry (`queued`), the entry is written and synced here (`synced`), a majority has
//! it and its turn to be applied has come (`committed`, which contains `synced` on the leader), it is applied
//! (`applied`), and its callers are told (`answered`). A leader notes all of them, other members what is written and
//! applied there.
//!
//! Cost: a look at the clock per command and stage of an entry, two relaxed additions per entry and stage.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::add;

/// Upper bounds of the buckets, in microseconds; one more has no bound.
const BOUNDS_US: [u64; 16] = [
    50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 25_000, 50_000,
    100_000, 1_000_000,
];
const BUCKETS: usize = BOUNDS_US.len() + 1;

/// A part of the way of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From the call until it is part of an entry that is offered; of the command of an entry that waited longest.
    Queued,
    /// From when entries are given to the log until they are durable here.
    Synced,
    /// From the offer of an entry until it is its turn to be applied.
    Committed,
    /// Applying the entry.
    Applied,
    /// From there until its callers are told.
    Answered,
}

impl Stage {
    /// All stages in order.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Synced,
        Self::Committed,
        Self::Applied,
        Self::Answered,
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Synced => "synced",
            Self::Committed => "committed",
            Self::Applied => "applied",
            Self::Answered => "answered",
        }
    }
}

/// What one stage took.
#[derive(Clone, Debug, PartialEq)]
pub struct StageTimes {
    /// All of it together, in seconds.
    pub sum_s: f64,
    /// How often.
    pub count: u64,
    /// Upper bound in seconds and number of each bucket; the last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

/// The times of all stages since the host was started.
#[derive(Debug, Default)]
pub struct Stages([Times; Stage::ALL.len()]);

#[derive(Debug, Default)]
struct Times {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

impl Stages {
    pub(crate) fn note(&self, stage: Stage, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(times) = self.0.get(stage as usize) {
            add(&times.sum_us, us);
            if let Some(count) = times.counts.get(bucket) {
                add(count, 1);
            }
        }
    }

    /// What a stage took so far.
    pub fn read(&self, stage: Stage) -> StageTimes {
        let Some(times) = self.0.get(stage as usize) else {
            return StageTimes {
                sum_s: 0.0,
                count: 0,
                buckets: Vec::new(),
            };
        };
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        let bounds = BOUNDS_US.iter().map(|bound| seconds(*bound));
        let counts = times.counts.iter().map(|it| it.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        StageTimes {
            sum_s: seconds(times.sum_us.load(Ordering::Relaxed)),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_is_not_below_it() {
        let stages = Stages::default();
        for us in [0, 50, 51, 2_000_000] {
            stages.note(Stage::Applied, Duration::from_micros(us));
        }
        let read = stages.read(Stage::Applied);
        let filled: Vec<_> = read
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(filled, [&(0.000_05, 2), &(0.000_1, 1), &(f64::INFINITY, 1)]);
        assert_eq!(read.count, 4);
        assert!((read.sum_s - 2.000_101).abs() < 1e-9);
        assert_eq!(stages.read(Stage::Queued).count, 0);
    }
}
