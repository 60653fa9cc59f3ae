//! What one run of one engine costs: operations, latencies, processor time, bytes written.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

/// The cost of one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// Operations finished.
    pub(crate) operations: u64,
    /// Operations per second of wall time.
    pub(crate) per_second: f64,
    /// Median latency in microseconds.
    pub(crate) p50_us: f64,
    /// 99th percentile of the latency in microseconds.
    pub(crate) p99_us: f64,
    /// Processor time of the whole process per operation, in microseconds.
    pub(crate) cpu_us: f64,
    /// Bytes that the process sent to storage, per operation.
    pub(crate) written_bytes: f64,
}

/// Starts measuring; [`Meter::finish`] ends it.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    cpu: Duration,
    written_bytes: u64,
}

impl Meter {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            cpu: cpu_time()?,
            written_bytes: written_bytes()?,
            start: Instant::now(),
        })
    }

    /// `latencies_ns` holds one value per operation; it is sorted here.
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of one run are far below 2^53"
    )]
    pub(crate) fn finish(self, mut latencies_ns: Vec<u64>) -> Result<Sample> {
        let elapsed = self.start.elapsed();
        anyhow::ensure!(!latencies_ns.is_empty(), "the run finished no operation");
        latencies_ns.sort_unstable();
        let operations = latencies_ns.len() as f64;
        let at = |hundredths: usize| {
            let index = (latencies_ns.len() - 1) * hundredths / 100;
            latencies_ns[index] as f64 / 1000.0
        };
        Ok(Sample {
            operations: latencies_ns.len() as u64,
            per_second: operations / elapsed.as_secs_f64(),
            p50_us: at(50),
            p99_us: at(99),
            cpu_us: cpu_time()?.saturating_sub(self.cpu).as_secs_f64() * 1e6 / operations,
            written_bytes: (written_bytes()? - self.written_bytes) as f64 / operations,
        })
    }
}

/// User and system time of this process, from `/proc/self/stat` (clock ticks of 10 ms).
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("read /proc/self/stat")?;
    let after_name = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?
        .1;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks =
        || -> Result<u64> { Ok(fields.next().context("short /proc/self/stat")?.parse()?) };
    Ok(Duration::from_millis((ticks()? + ticks()?) * 10))
}

/// Bytes this process caused to be sent to storage, from `/proc/self/io`.
fn written_bytes() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io").context("read /proc/self/io")?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("no write_bytes in /proc/self/io")?.parse()?)
}
