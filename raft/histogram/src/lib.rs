//! Takes the place of the crate `base2histogram` under openraft (`[patch.crates-io]` in the workspace).
//!
//! openraft notes how many entries each of its calls carries, in one histogram per group, and shows them only with a
//! feature that we do not use. The crate that it asks for makes the tables of all sixteen of its resolutions at the first
//! use of one: 26 MB that stay resident in every process. This one has a counter per power of two, 520 bytes per group.
//!
//! Not here: other resolutions, slots, interpolation. A percentile is the least value of its bucket.

use std::fmt;
use std::marker::PhantomData;

/// Bucket 0 holds 0, bucket n the values of n binary digits.
const BUCKETS: usize = 65;

/// Counts values by their number of binary digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: [u64; BUCKETS],
    slots: PhantomData<T>,
}

/// Percentiles of what a histogram has seen; each is exact to a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Histogram<T> {
    /// One that has seen nothing.
    pub const fn new() -> Self {
        Self {
            counts: [0; BUCKETS],
            slots: PhantomData,
        }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value that came so many times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let digits = usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(0);
        if let Some(count) = self.counts.get_mut(digits) {
            *count = count.saturating_add(times);
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        let counts = self.counts.iter();
        counts.fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Percentiles; 0 when nothing was counted.
    pub fn percentile_stats(&self) -> PercentileStats {
        let samples = self.total();
        let at = |thousandths: u64| self.at(samples, thousandths);
        PercentileStats {
            samples,
            p0_1: at(1),
            p1: at(10),
            p5: at(50),
            p10: at(100),
            p50: at(500),
            p90: at(900),
            p99: at(990),
            p99_9: at(999),
        }
    }

    /// The least value of the bucket in which so many thousandths of the values end.
    fn at(&self, samples: u64, thousandths: u64) -> u64 {
        let wanted = u128::from(samples) * u128::from(thousandths);
        let (mut seen, mut least) = (0_u128, 0);
        for (count, digits) in self.counts.iter().zip(0_u32..) {
            if *count > 0 {
                least = 1_u64
                    .checked_shl(digits.saturating_sub(1))
                    .filter(|_| digits > 0)
                    .unwrap_or(0);
            }
            seen += u128::from(*count) * 1000;
            if seen >= wanted {
                break;
            }
        }
        least
    }
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            samples, p50, p99, ..
        } = self;
        write!(f, "{samples} samples, p50 {p50}, p99 {p99}")
    }
}

/// Histograms one below the other.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart(Vec<(&'static str, Histogram)>);

impl AsciiChart {
    /// An empty one.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// With one more line.
    #[must_use]
    pub fn add(mut self, name: &'static str, histogram: Histogram) -> Self {
        self.0.push((name, histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0 {
            let stats = histogram.percentile_stats();
            writeln!(f, "{name}: {stats}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_a_power_of_two() {
        let mut histogram = Histogram::<()>::new();
        assert_eq!(histogram.percentile_stats().p50, 0);
        for value in 0..1000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 1000);
        assert_eq!((stats.p0_1, stats.p1, stats.p10), (0, 8, 64));
        assert_eq!((stats.p50, stats.p90, stats.p99_9), (256, 512, 512));
        histogram.record(u64::MAX);
        assert_eq!(histogram.total(), 1001);
        assert_eq!(histogram.at(1001, 1000), 1 << 63);
    }
}
