//! What a run costs: operations, latencies, processor time, allocations, syncs and bytes written.
//!
//! Everything but the latencies is read for the whole process, so what an engine does on its own threads while it
//! is measured counts as well.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::counters;

/// The shares of all operations for which a latency is kept, in thousandths.
const SHARES: [usize; 7] = [500, 750, 900, 950, 990, 999, 1000];

/// The cost of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Operations finished.
    pub(crate) operations: u64,
    /// Operations per second of wall time.
    pub(crate) per_second: f64,
    /// Latency in microseconds by thousandths of all operations; empty if single ones were not timed.
    pub(crate) latency_us: BTreeMap<usize, f64>,
    /// Processor time of the whole process per operation, in microseconds.
    pub(crate) cpu_us: f64,
    /// Allocations of the whole process per operation.
    pub(crate) allocations: f64,
    /// `fsync` and `fdatasync` calls of the whole process per operation.
    pub(crate) syncs: f64,
    /// Bytes that the process sent to storage, per operation.
    pub(crate) written_bytes: f64,
    /// Figures that only this workload has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) more: BTreeMap<&'static str, f64>,
    /// Operations finished in each second, for workloads that are watched over time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) each_second: Vec<u64>,
}

impl Sample {
    /// A sample that holds only figures of its workload.
    pub(crate) fn of(operations: u64, per_second: f64, more: &[(&'static str, f64)]) -> Self {
        Self {
            operations,
            per_second,
            latency_us: BTreeMap::new(),
            cpu_us: 0.0,
            allocations: 0.0,
            syncs: 0.0,
            written_bytes: 0.0,
            more: more.iter().copied().collect(),
            each_second: Vec::new(),
        }
    }

    /// The latency that `thousandths` of all operations did not exceed.
    pub(crate) fn latency(&self, thousandths: usize) -> Option<f64> {
        self.latency_us.get(&thousandths).copied()
    }
}

/// What the process has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) allocations: u64,
    pub(crate) syncs: u64,
    /// Bytes given to writing system calls. Not `write_bytes`: that counts pages made dirty, and a
    /// small write into a large folio of the page cache dirties all of it for that counter alone.
    pub(crate) written_bytes: u64,
    /// Bytes asked for by reading system calls, from the page cache or not.
    pub(crate) read_bytes: u64,
}

impl Used {
    pub(crate) fn now() -> Result<Self> {
        let io = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
        let field = |name: &str| -> Result<u64> {
            let line = io.lines().find_map(|line| line.strip_prefix(name));
            let value = line.with_context(|| format!("no {name} in /proc/self/io"))?;
            Ok(value.trim().parse()?)
        };
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        let seconds = Duration::from_secs(cpu.tv_sec.unsigned_abs());
        Ok(Self {
            cpu: seconds + Duration::from_nanos(cpu.tv_nsec.unsigned_abs()),
            allocations: counters::allocations(),
            syncs: counters::syncs(),
            written_bytes: field("wchar:")?,
            read_bytes: field("rchar:")?,
        })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            allocations: self.allocations - before.allocations,
            syncs: self.syncs - before.syncs,
            written_bytes: self.written_bytes.saturating_sub(before.written_bytes),
            read_bytes: self.read_bytes - before.read_bytes,
        }
    }

    fn add(&mut self, more: Self) {
        self.cpu += more.cpu;
        self.allocations += more.allocations;
        self.syncs += more.syncs;
        self.written_bytes += more.written_bytes;
        self.read_bytes += more.read_bytes;
    }
}

/// Adds up stretches of one run; the time between them belongs to others.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    elapsed: Duration,
    used: Used,
    operations: u64,
    latencies_ns: Vec<u64>,
}

impl Meter {
    /// Measures one stretch. `run` returns a latency in nanoseconds for each operation that it finished.
    pub(crate) fn stretch(&mut self, run: impl FnOnce() -> Result<Vec<u64>>) -> Result<()> {
        let before = Used::now()?;
        let start = Instant::now();
        let latencies = run()?;
        self.elapsed += start.elapsed();
        self.used.add(Used::now()?.since(before));
        self.operations += latencies.len() as u64;
        self.latencies_ns.extend(latencies);
        Ok(())
    }

    /// Measures one stretch whose operations are not timed singly; `run` returns how many there were.
    pub(crate) fn stretch_counted(&mut self, run: impl FnOnce() -> Result<u64>) -> Result<()> {
        let before = Used::now()?;
        let start = Instant::now();
        self.operations += run()?;
        self.elapsed += start.elapsed();
        self.used.add(Used::now()?.since(before));
        Ok(())
    }

    /// What all stretches cost together.
    pub(crate) fn finish(mut self) -> Result<Sample> {
        anyhow::ensure!(self.operations > 0, "the run finished no operation");
        self.latencies_ns.sort_unstable();
        let latency_us = SHARES.iter().filter_map(|share| {
            let at = self.latencies_ns.len().checked_sub(1)? * share / 1000;
            Some((*share, float(*self.latencies_ns.get(at)?) / 1000.0))
        });
        let latency_us = latency_us.collect();
        let operations = float(self.operations);
        Ok(Sample {
            operations: self.operations,
            per_second: operations / self.elapsed.as_secs_f64(),
            latency_us,
            cpu_us: self.used.cpu.as_secs_f64() * 1e6 / operations,
            allocations: float(self.used.allocations) / operations,
            syncs: float(self.used.syncs) / operations,
            written_bytes: float(self.used.written_bytes) / operations,
            more: BTreeMap::new(),
            each_second: Vec::new(),
        })
    }
}

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of one run are far below 2^53"
)]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// Nanoseconds since `start`.
pub(crate) fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The middle of some numbers; the upper one of two. NaN if there is none.
pub(crate) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_latencies_and_stretches_add_up() {
        let mut meter = Meter::default();
        meter
            .stretch(|| Ok((1..=500).map(|it| it * 1000).collect()))
            .expect("a stretch");
        meter
            .stretch(|| Ok((501..=1000).map(|it| it * 1000).collect()))
            .expect("a stretch");
        let sample = meter.finish().expect("a sample");
        assert_eq!(sample.operations, 1000);
        assert_eq!(sample.latency(500), Some(500.0));
        assert_eq!(sample.latency(990), Some(990.0));
        assert_eq!(sample.latency(1000), Some(1000.0));
    }
}
