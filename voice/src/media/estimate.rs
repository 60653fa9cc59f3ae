//! How much a receiver's way carries, from its transport-wide feedback.
//!
//! The signals are loss and the delay that queues add, measured against the smallest one-way delay of the last half
//! minute (both clocks run free, only differences count). Growth is slow and bounded by what was proven to arrive; a caller
//! that holds a better layer back says what a trial needs ([`Estimate::allow`]). No probing with padding yet.

use super::rate::Rate;
use super::{MILLISECOND, Micros, SECOND};
use crate::bits::{extend, float, low16, whole};
use crate::rtcp::transport::Arrival;

const START_BPS: u64 = 1_000_000;
const MIN_BPS: u64 = 50_000;
const MAX_BPS: u64 = 50_000_000;
const HISTORY: usize = 4096;
const QUEUE_HIGH: i64 = 80_000;
const QUEUE_LOW: i64 = 30_000;
const BASELINE_SPAN: Micros = 15 * SECOND;
const DECREASE_PAUSE: Micros = 300 * MILLISECOND;
const SILENCE: Micros = SECOND;
const TRIAL_PAUSE: Micros = 5 * SECOND;
const TRIAL_PAUSE_MAX: Micros = 60 * SECOND;
const GROWTH_PER_SECOND: f64 = 0.16;

/// What a sender thinks of one receiver's way; another algorithm can take this one's place behind these calls.
pub(crate) trait Estimator {
    /// A packet goes out: its number for the feedback.
    fn sent(&mut self, bytes: usize, now: Micros) -> u16;
    /// A feedback came.
    fn feedback(&mut self, arrivals: &[Arrival], now: Micros);
    /// Bits per second that may be sent.
    fn bps(&self) -> u64;
    /// Somebody would like to send up to `bps`: the estimate may grow to there although nothing proves it yet.
    fn allow(&mut self, bps: u64);
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    index: u64,
    at: Micros,
    bytes: u32,
    waiting: bool,
}

/// Loss and queueing delay.
#[derive(Debug)]
pub(crate) struct Estimate {
    history: Vec<Sent>,
    next: u64,
    bps: f64,
    allowed: u64,
    acked: Rate,
    queue_us: f64,
    /// Smallest one-way delay of this and of the span before.
    baseline: (i64, i64),
    baseline_since: Micros,
    last_feedback: Option<Micros>,
    last_sent: Option<Micros>,
    /// When the way last said anything, or silence about it was last punished.
    heard: Micros,
    decreased: Option<Micros>,
    trial_pause: Micros,
    /// Packets reported and lost since the last decision.
    counted: (u32, u32),
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            history: Vec::new(),
            next: 1 << 16,
            bps: float(START_BPS),
            allowed: 0,
            acked: Rate::default(),
            queue_us: 0.0,
            baseline: (i64::MAX, i64::MAX),
            baseline_since: 0,
            last_feedback: None,
            last_sent: None,
            heard: 0,
            decreased: None,
            trial_pause: TRIAL_PAUSE,
            counted: (0, 0),
        }
    }
}

impl Estimator for Estimate {
    fn sent(&mut self, bytes: usize, now: Micros) -> u16 {
        self.note_silence(now);
        let index = self.next;
        self.next += 1;
        let place = usize::from(low16(index)) % HISTORY;
        if self.history.is_empty() {
            self.history.resize(HISTORY, Sent::default());
        }
        self.history[place] = Sent {
            index,
            at: now,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            waiting: true,
        };
        low16(index)
    }

    fn feedback(&mut self, arrivals: &[Arrival], now: Micros) {
        for arrival in arrivals {
            let index = extend(self.next, arrival.sequence);
            let place = usize::from(arrival.sequence) % HISTORY;
            let Some(sent) = self
                .history
                .get_mut(place)
                .filter(|sent| sent.index == index && sent.waiting)
            else {
                continue;
            };
            self.counted.0 += 1;
            let Some(at_us) = arrival.at_us else {
                self.counted.1 += 1;
                continue;
            };
            sent.waiting = false;
            let sent = *sent;
            self.note_delay(at_us - sent.at.cast_signed(), now);
            self.acked.note(sent.bytes as usize, now);
        }
        self.decide(now);
    }

    fn bps(&self) -> u64 {
        whole(self.bps)
    }

    fn allow(&mut self, bps: u64) {
        self.allowed = bps;
    }
}

impl Estimate {
    /// Halves the estimate for each second in which packets went and nothing was said of them.
    fn note_silence(&mut self, now: Micros) {
        let paused = self
            .last_sent
            .is_none_or(|at| now.saturating_sub(at) > SILENCE / 2);
        self.last_sent = Some(now);
        if paused {
            self.heard = now;
        } else if now.saturating_sub(self.heard) > SILENCE {
            self.heard = now;
            self.bps = (self.bps / 2.0).max(float(MIN_BPS));
        }
    }

    fn note_delay(&mut self, delay: i64, now: Micros) {
        if now.saturating_sub(self.baseline_since) >= BASELINE_SPAN {
            self.baseline = (i64::MAX, self.baseline.0);
            self.baseline_since = now;
        }
        self.baseline.0 = self.baseline.0.min(delay);
        let queue = delay - self.baseline.0.min(self.baseline.1);
        let queue = float(queue.cast_unsigned().min(10 * SECOND));
        self.queue_us += (queue - self.queue_us) / 8.0;
    }

    fn decide(&mut self, now: Micros) {
        self.heard = now;
        let since = self
            .last_feedback
            .map_or(0, |last| now.saturating_sub(last))
            .min(SECOND);
        self.last_feedback = Some(now);
        let (counted, lost) = self.counted;
        let enough = counted >= 20;
        let loss = if enough {
            f64::from(lost) / f64::from(counted)
        } else {
            0.0
        };
        if enough {
            self.counted = (0, 0);
        }
        let acked = float(self.acked.bps(now));
        let may_decrease = self
            .decreased
            .is_none_or(|at| now.saturating_sub(at) >= DECREASE_PAUSE);
        let queue_high = self.queue_us > float(QUEUE_HIGH.cast_unsigned());
        if (queue_high || loss > 0.1) && may_decrease {
            let by_delay = if queue_high && acked > 0.0 {
                0.85 * acked
            } else {
                self.bps
            };
            let by_loss = if loss > 0.1 {
                self.bps * (1.0 - 0.5 * loss)
            } else {
                self.bps
            };
            self.bps = by_delay.min(by_loss).max(float(MIN_BPS));
            if self
                .decreased
                .is_some_and(|at| now.saturating_sub(at) < 2 * self.trial_pause)
            {
                self.trial_pause = (2 * self.trial_pause).min(TRIAL_PAUSE_MAX);
            }
            self.decreased = Some(now);
        } else if self.queue_us < float(QUEUE_LOW.cast_unsigned()) && loss < 0.02 {
            let calm = self
                .decreased
                .is_none_or(|at| now.saturating_sub(at) >= self.trial_pause);
            let proven = (1.5 * acked).max(if calm { float(self.allowed) } else { 0.0 });
            let grown = self.bps * (1.0 + GROWTH_PER_SECOND * float(since) / float(SECOND));
            self.bps = self.bps.max(grown.min(proven)).min(float(MAX_BPS));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const SHALLOW: Micros = 300 * MILLISECOND;

    /// Sends at `min(estimate, want)` through a link of `link` bits per second with `queue` of queue for `seconds`.
    fn run(
        estimate: &mut Estimate,
        from: Micros,
        seconds: u64,
        (want, link): (u64, u64),
        queue: Micros,
    ) -> u64 {
        const BYTES: usize = 1200;
        let bits = 8 * BYTES as u64;
        let (mut now, mut free, mut next) = (from, from, from);
        let mut flight: VecDeque<(u16, Option<Micros>)> = VecDeque::new();
        estimate.allow(want);
        let mut feedback_at = from + 50 * MILLISECOND;
        while now < from + seconds * SECOND {
            now += MILLISECOND;
            while next <= now {
                let rate = estimate.bps().min(want);
                next += bits * SECOND / rate;
                let sequence = estimate.sent(BYTES, now);
                free = free.max(now);
                if free - now > queue {
                    flight.push_back((sequence, None));
                } else {
                    free += bits * SECOND / link;
                    flight.push_back((sequence, Some(free + 20 * MILLISECOND)));
                }
            }
            if now >= feedback_at {
                feedback_at = now + 50 * MILLISECOND;
                let came = flight
                    .iter()
                    .take_while(|(_, at)| at.is_none_or(|at| at <= now))
                    .count();
                let arrivals: Vec<_> = flight
                    .drain(..came)
                    .map(|(sequence, at)| Arrival {
                        sequence,
                        at_us: at.map(|at| at.cast_signed() + 77_000_000),
                    })
                    .collect();
                estimate.feedback(&arrivals, now);
            }
        }
        estimate.bps().min(want)
    }

    #[test]
    fn the_estimate_finds_the_narrow_link_and_grows_again_when_it_widens() {
        let mut estimate = Estimate::default();
        let narrow = run(&mut estimate, 0, 30, (5_000_000, 600_000), SHALLOW);
        assert!(
            (300_000..700_000).contains(&narrow),
            "{narrow} on a link of 600 kbit/s"
        );
        let wide = run(
            &mut estimate,
            30 * SECOND,
            60,
            (3_000_000, 4_000_000),
            SHALLOW,
        );
        assert!(wide > 2_000_000, "{wide} on a link of 4 Mbit/s");
    }

    #[test]
    fn a_queue_that_loses_nothing_is_noticed_by_its_delay() {
        let mut estimate = Estimate::default();
        let found = run(&mut estimate, 0, 20, (5_000_000, 600_000), 1000 * SECOND);
        assert!(
            (200_000..700_000).contains(&found),
            "{found} on a link of 600 kbit/s"
        );
    }

    #[test]
    fn a_way_that_says_nothing_is_trusted_less_each_second_and_a_pause_is_no_silence() {
        let mut estimate = Estimate::default();
        for at in [0, 1, 5000, 5001] {
            estimate.sent(1000, at * SECOND);
        }
        assert_eq!(estimate.bps(), START_BPS);
        for i in 0..310 {
            estimate.sent(1000, 6000 * SECOND + i * 10 * MILLISECOND);
        }
        assert_eq!(estimate.bps(), START_BPS / 8);
    }

    #[test]
    fn heavy_random_loss_lowers_the_estimate() {
        let mut estimate = Estimate::default();
        for round in 0..40_u64 {
            let now = round * 100 * MILLISECOND;
            let arrivals: Vec<_> = (0..30_u64)
                .map(|i| {
                    let sequence = estimate.sent(1000, now + i);
                    Arrival {
                        sequence,
                        at_us: (i % 4 != 0).then_some((now + i).cast_signed()),
                    }
                })
                .collect();
            estimate.feedback(&arrivals, now + 50 * MILLISECOND);
        }
        assert!(estimate.bps() < START_BPS / 2, "{}", estimate.bps());
    }
}
