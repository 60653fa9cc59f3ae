//! Bits per second of what passes, and a bound on it.

use super::{MILLISECOND, Micros, SECOND};

const WINDOW: Micros = 500 * MILLISECOND;

/// Measures over windows of half a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    began: Micros,
    bytes: u64,
    bps: u64,
}

impl Rate {
    pub(crate) fn note(&mut self, bytes: usize, now: Micros) {
        self.roll(now);
        self.bytes += bytes as u64;
    }

    fn roll(&mut self, now: Micros) {
        let span = now.saturating_sub(self.began);
        if span >= WINDOW {
            let measured = self.bytes * 8 * SECOND / span;
            self.bps = if span >= 3 * WINDOW || self.bps == 0 {
                measured
            } else {
                u64::midpoint(self.bps, measured)
            };
            self.began = now;
            self.bytes = 0;
        }
    }

    /// Bits per second of the last windows; 0 before the first is over and after silence.
    pub(crate) fn bps(&mut self, now: Micros) -> u64 {
        self.roll(now);
        self.bps
    }
}

/// Lets `bps` through and a burst of a fourth of a second above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    bps: u64,
    bits: u64,
    at: Micros,
}

impl Bucket {
    pub(crate) const fn new(bps: u64) -> Self {
        Self {
            bps,
            bits: bps / 4,
            at: 0,
        }
    }

    /// Whether a packet may pass.
    pub(crate) fn take(&mut self, bytes: usize, now: Micros) -> bool {
        let span = now.saturating_sub(self.at).min(SECOND);
        self.at = self.at.max(now);
        self.bits = (self.bits + self.bps * span / SECOND).min(self.bps / 4);
        let cost = 8 * bytes as u64;
        if self.bits < cost {
            return false;
        }
        self.bits -= cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_silence_ends_it() {
        let mut rate = Rate::default();
        let mut now = 0;
        for _ in 0..300 {
            rate.note(1250, now);
            now += 10 * MILLISECOND;
        }
        let bps = rate.bps(now);
        assert!((950_000..1_050_000).contains(&bps), "{bps}");
        assert_eq!(
            rate.bps(now + 2 * SECOND).min(100_000),
            rate.bps(now + 2 * SECOND)
        );
        assert_eq!(rate.bps(now + 4 * SECOND), 0);
    }

    #[test]
    fn a_tenfold_sender_gets_a_tenth_through() {
        let mut bucket = Bucket::new(1_000_000);
        let passed = (0..10_000_u64)
            .filter(|i| bucket.take(1250, i * MILLISECOND))
            .count();
        assert!((1000..1040).contains(&passed), "{passed}");
    }
}
