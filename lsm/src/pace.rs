//! How fast writes may come while flushing and merging lag: smoothly slower, never a wall.
//!
//! Three debts count: bytes in memtables, bytes that merges still have to read, and sorted
//! runs that a read has to merge. Each has a soft limit, below which it slows nobody down, and a hard limit.
//! The worst of them, as a share of the way from soft to hard, sets the rate at which bytes are
//! admitted: [`PaceOptions::rate_max`] at the soft limit, [`PaceOptions::rate_min`] at the hard one,
//! and in between the same factor less for the same share more. Whatever rate the disk sustains
//! between the two, there is one share at which writes come exactly as fast as the work is done, so
//! the debt settles there: it has no steps, and it stays below the hard limit as long as the disk
//! does more than the least rate.
//!
//! A write is delayed where it is proposed and never where it is applied: a replica that applies
//! late only falls behind. The delays of all writers add up in one queue in which a byte takes its
//! time, so that it does not matter how many they are. There is no clock here: the caller tells the
//! time and waits.

use parking_lot::Mutex;

use crate::engine::Debt;
use crate::error::{Error, Result};

/// Where a debt begins to slow writes down and where it does so most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Up to here no write is delayed.
    pub soft: u64,
    /// From here on writes are admitted at the least rate; larger than `soft`.
    pub hard: u64,
}

/// Settings of a [`Pace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceOptions {
    /// Bytes of all memtables. Default: 64 MiB to 128 MiB.
    ///
    /// More: longer bursts at full speed, for as much more memory.
    pub memory_bytes: Limits,
    /// Bytes that merges have to read. Default: 1 GiB to 8 GiB.
    ///
    /// More: a longer burst before it is held back to what compaction sustains, for more space on
    /// disk and slower reads meanwhile.
    pub compaction_bytes: Limits,
    /// Sorted runs of one table and window. Default: 24 to 96.
    ///
    /// Fewer: reads merge fewer runs at worst, but a burst is held back sooner.
    pub runs: Limits,
    /// Bytes per second admitted where slowing down begins. Default: 512 MiB. More than any disk
    /// takes, or the beginning is a step.
    pub rate_max: u64,
    /// Bytes per second admitted at the hard limit. Default: 256 KiB. Less than any disk sustains, or
    /// the debt outgrows the limit.
    pub rate_min: u64,
    /// Longest delay of one write, in milliseconds; a write that would have to wait longer is
    /// refused as [`crate::ErrorKind::Overloaded`]. Default: 5000. Below the caller's own timeout.
    pub delay_max_ms: u64,
}

impl Default for PaceOptions {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            memory_bytes: Limits {
                soft: 64 * MIB,
                hard: 128 * MIB,
            },
            compaction_bytes: Limits {
                soft: 1024 * MIB,
                hard: 8 * 1024 * MIB,
            },
            runs: Limits { soft: 24, hard: 96 },
            rate_max: 512 * MIB,
            rate_min: MIB / 4,
            delay_max_ms: 5000,
        }
    }
}

/// Admits writes at the rate that the debt allows. Thread-safe; one for all engines of a process.
#[derive(Debug)]
pub struct Pace {
    options: PaceOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    debt: Debt,
    /// When the last admitted byte has had its time, in microseconds of the caller's clock.
    free_at_us: u64,
}

impl Limits {
    /// How far `debt` is on the way from soft to hard: 0 to 1.
    fn share(self, debt: u64) -> f64 {
        let over = debt.saturating_sub(self.soft);
        let width = self.hard.saturating_sub(self.soft).max(1);
        to_f64(over.min(width)) / to_f64(width)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "byte counts below 2^52, and a ratio"
)]
fn to_f64(number: u64) -> f64 {
    number as f64
}

impl PaceOptions {
    /// Fails with [`crate::ErrorKind::Invalid`] if a setting contradicts another.
    pub fn validate(&self) -> Result<()> {
        let limits = [self.memory_bytes, self.compaction_bytes, self.runs];
        if limits.iter().any(|limits| limits.soft >= limits.hard) {
            return Err(Error::invalid("a soft limit must be below its hard limit"));
        }
        if self.rate_min == 0 || self.rate_min > self.rate_max {
            return Err(Error::invalid("rate_min: use 1 to rate_max"));
        }
        Ok(())
    }

    /// Bytes per second admitted at a debt; `None` = any.
    pub fn rate(&self, debt: &Debt) -> Option<u64> {
        let share = self
            .memory_bytes
            .share(debt.memory_bytes)
            .max(self.compaction_bytes.share(debt.compaction_bytes))
            .max(self.runs.share(debt.runs as u64));
        if share <= 0.0 {
            return None;
        }
        let (min, max) = (to_f64(self.rate_min), to_f64(self.rate_max));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between rate_min and rate_max"
        )]
        let rate = (max * (min / max).powf(share)) as u64;
        Some(rate.max(1))
    }
}

impl Pace {
    /// A pace without debt.
    pub fn new(options: PaceOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            options,
            state: Mutex::default(),
        })
    }

    /// Tells how much work waits now, in all engines together.
    pub fn update(&self, debt: Debt) {
        self.state.lock().debt = debt;
    }

    /// The debt that was last told.
    pub fn debt(&self) -> Debt {
        self.state.lock().debt
    }

    /// How long a write of `bytes` bytes has to wait before it is proposed, in microseconds.
    /// `memory_bytes` are those of all memtables now, which change faster than the rest of the debt.
    ///
    /// `now_us` is a clock that does not go back. A delay is due even if the caller does not wait:
    /// short ones may be left out, and the next write waits for them.
    pub fn delay_us(&self, bytes: u64, memory_bytes: u64, now_us: u64) -> Result<u64> {
        let mut state = self.state.lock();
        state.debt.memory_bytes = memory_bytes;
        let Some(rate) = self.options.rate(&state.debt) else {
            state.free_at_us = now_us;
            return Ok(0);
        };
        let begin = state.free_at_us.max(now_us);
        let delay = begin - now_us;
        if delay > self.options.delay_max_ms.saturating_mul(1000) {
            return Err(Error::overloaded(format!(
                "writes are admitted at {rate} bytes/s until flushing and compaction catch up, and the queue is \
                 {} ms long; retry later",
                delay / 1000
            )));
        }
        let takes = u128::from(bytes) * 1_000_000 / u128::from(rate);
        state.free_at_us = begin.saturating_add(u64::try_from(takes).unwrap_or(u64::MAX));
        Ok(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// A node in simulated time: writers, memtables, a disk that flushes and merges.
    struct Node {
        pace: Pace,
        memory: u64,
        backlog: u64,
        now_us: u64,
        flush_rate: u64,
        merge_rate: u64,
    }

    /// What ten milliseconds brought.
    #[derive(Clone, Copy, Debug)]
    struct Tick {
        admitted: u64,
        delay_us: u64,
        debt: Debt,
    }

    const TICK_US: u64 = 10_000;
    const WRITE: u64 = 4096;

    fn options() -> PaceOptions {
        PaceOptions {
            compaction_bytes: Limits {
                soft: 256 * MIB,
                hard: 1024 * MIB,
            },
            ..PaceOptions::default()
        }
    }

    impl Node {
        fn new(flush_rate: u64, merge_rate: u64) -> Self {
            Self {
                pace: Pace::new(options()).unwrap(),
                memory: 0,
                backlog: 0,
                now_us: 0,
                flush_rate,
                merge_rate,
            }
        }

        /// Writers that offer `rate` bytes per second, each of which waits for its delay.
        fn tick(&mut self, rate: u64) -> Tick {
            let end = self.now_us + TICK_US;
            let (mut admitted, mut delay_us) = (0, 0);
            while self.now_us < end && admitted < rate / 100 {
                delay_us = self.pace.delay_us(WRITE, self.memory, self.now_us).unwrap();
                self.now_us += delay_us;
                admitted += WRITE;
                self.memory += WRITE;
            }
            self.now_us = self.now_us.max(end);
            let seconds = |rate: u64, us: u64| rate * us / 1_000_000;
            let us = TICK_US + (self.now_us - end);
            let flushed = self.memory.min(seconds(self.flush_rate, us));
            self.memory -= flushed;
            self.backlog += flushed;
            self.backlog -= self.backlog.min(seconds(self.merge_rate, us));
            let debt = Debt {
                memory_bytes: self.memory,
                compaction_bytes: self.backlog,
                ..Debt::default()
            };
            self.pace.update(debt);
            Tick {
                admitted,
                delay_us,
                debt,
            }
        }
    }

    /// Longest delay and admitted bytes per second, second by second.
    fn seconds(ticks: &[Tick]) -> Vec<(u64, u64)> {
        ticks
            .chunks(100)
            .map(|ticks| {
                let delay = ticks.iter().map(|tick| tick.delay_us).max().unwrap_or(0);
                (delay, ticks.iter().map(|tick| tick.admitted).sum())
            })
            .collect()
    }

    fn overload(flush_rate: u64, merge_rate: u64) -> (Node, Vec<Tick>) {
        let mut node = Node::new(flush_rate, merge_rate);
        let ticks = (0..12_000).map(|_| node.tick(200 * MIB)).collect();
        (node, ticks)
    }

    #[test]
    fn under_more_load_than_the_disk_takes_debt_settles_below_its_hard_limit() {
        for (flush, merge) in [(100, 20), (30, 60), (5, 5), (90, 1)] {
            let (_, ticks) = overload(flush * MIB, merge * MIB);
            let options = options();
            for Tick { debt, .. } in &ticks {
                assert!(debt.memory_bytes < options.memory_bytes.hard, "{debt:?}");
                assert!(
                    debt.compaction_bytes < options.compaction_bytes.hard,
                    "{debt:?}"
                );
            }
            let settled = seconds(&ticks[9_000..]);
            let sustained = flush.min(merge) * MIB;
            for (_, bytes) in settled {
                assert!(
                    bytes * 2 > sustained && bytes < sustained * 2,
                    "{bytes} admitted in a second, the disk does {sustained}"
                );
            }
        }
    }

    #[test]
    fn the_delay_rises_without_a_step_and_falls_back_to_nothing() {
        let (mut node, ticks) = overload(100 * MIB, 20 * MIB);
        let seconds = seconds(&ticks);
        // The backlog grows by up to 80 MiB in a second, a tenth of the way from soft to hard, in which
        // the rate falls 2048-fold: 2.2-fold in a second.
        for pair in seconds.windows(2) {
            let [(before, admitted_before), (after, admitted)] = pair else {
                continue;
            };
            assert!(
                *after < before * 3 + 200,
                "{before} to {after} us in a second"
            );
            assert!(
                admitted * 3 > *admitted_before,
                "{admitted_before} to {admitted} bytes/s"
            );
        }
        let highest = seconds.iter().map(|(delay, _)| *delay).max();
        assert!(
            highest.is_some_and(|delay| delay > 50),
            "never delayed: {highest:?}"
        );
        // A pause, and the next burst starts at full speed.
        for _ in 0..6_000 {
            node.tick(0);
        }
        assert_eq!(node.tick(100 * MIB).delay_us, 0);
    }

    #[test]
    fn a_load_that_the_disk_takes_is_never_delayed() {
        let mut node = Node::new(100 * MIB, 60 * MIB);
        for _ in 0..6_000 {
            let tick = node.tick(50 * MIB);
            assert_eq!(tick.delay_us, 0, "{tick:?}");
        }
    }

    #[test]
    fn a_queue_that_would_be_too_long_is_refused_and_not_joined() {
        let pace = Pace::new(PaceOptions::default()).unwrap();
        let full = 1024 * MIB;
        assert_eq!(pace.delay_us(MIB, full, 0).unwrap(), 0);
        assert_eq!(pace.delay_us(MIB, full, 0).unwrap(), 4_000_000);
        let refused = pace.delay_us(MIB, full, 0).unwrap_err();
        assert_eq!(refused.kind(), crate::ErrorKind::Overloaded);
        assert_eq!(pace.delay_us(1, full, 4_000_000).unwrap(), 4_000_000);
        assert_eq!(pace.delay_us(1, 0, 4_000_000).unwrap(), 0);
    }
}
