//! Newest-50 pages that fit the cache: read by one thread, so that the figure is the cost on one core.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::durable::write_until;
use super::{LOAD_BATCH, PAGE_ROWS, Run};
use crate::engine::{Engine, Seen};
use crate::measure::{Meter, Sample, nanos};
use crate::messages::{Messages, Seeded, Zipf};
use crate::report::names;

const CHANNELS: usize = 1000;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let count = run.options.messages();
    let messages = Messages::new(run.options.seed, CHANNELS, count * 4, 1);
    let newest = newest_buckets(&messages, count);
    for round in 0..run.options.rounds() {
        let mut seen_by: Vec<(&'static str, Seen)> = Vec::new();
        for kind in run.order(round) {
            run.step("newest-50 pages", kind, round);
            let home = run.open(kind, run.options.setup())?;
            let engine = &*home.engine;
            load(engine, &messages, 0..count)?;
            let time = Duration::from_millis(run.options.millis());
            let (sample, seen) = pages(engine, &newest, run.options.seed, time)?;
            run.add(names::PAGE_UNSETTLED, kind, round, sample);
            engine.settle()?;
            let (sample, again) = pages(engine, &newest, run.options.seed, time)?;
            anyhow::ensure!(seen == again, "{} reads other rows settled", kind.name());
            run.add(names::PAGE_SETTLED, kind, round, sample);
            seen_by.push((kind.name(), seen));
            let sample = mixed(run, engine, &messages, &newest)?;
            run.add(names::PAGE_MIXED, kind, round, sample);
        }
        ensure_same(&seen_by)?;
    }
    Ok(())
}

/// Fails unless every engine showed the same rows with the same bytes.
pub(super) fn ensure_same(seen_by: &[(&'static str, Seen)]) -> Result<()> {
    for pair in seen_by.windows(2) {
        if let [(one, a), (other, b)] = pair {
            anyhow::ensure!(
                a == b,
                "{one} and {other} read different rows: {a:?}, {b:?}"
            );
        }
    }
    Ok(())
}

/// Loads a range of the history.
pub(super) fn load(
    engine: &dyn Engine,
    messages: &Messages,
    range: std::ops::Range<u64>,
) -> Result<()> {
    let mut from = range.start;
    while from < range.end {
        let to = range.end.min(from + LOAD_BATCH);
        let batch: Vec<_> = (from..to).map(|number| messages.at(number)).collect();
        engine.load(&batch)?;
        from = to;
    }
    Ok(())
}

/// The newest bucket of each channel that has messages.
fn newest_buckets(messages: &Messages, count: u64) -> Vec<(u64, u64)> {
    let newest: BTreeMap<u64, u64> = (0..count)
        .map(|number| messages.at(number))
        .map(|message| (message.channel, message.bucket()))
        .collect();
    newest.into_iter().collect()
}

/// Reads Zipf-chosen pages for some time; also says what the first of them, a fixed number, showed.
fn pages(
    engine: &dyn Engine,
    newest: &[(u64, u64)],
    seed: u64,
    time: Duration,
) -> Result<(Sample, Seen)> {
    let zipf = Zipf::new(newest.len(), 1.0);
    let mut seeded = Seeded::new(seed ^ 0xFACE);
    let mut read = |seen: &mut Seen| -> Result<u64> {
        let (channel, bucket) = newest[zipf.sample(&mut seeded)];
        let mut page = Seen::default();
        let start = Instant::now();
        engine.page(channel, bucket, PAGE_ROWS, &mut page)?;
        let latency = nanos(start);
        anyhow::ensure!(page.rows > 0, "channel {channel} bucket {bucket} is empty");
        seen.add(page);
        Ok(latency)
    };
    let mut warm = Seen::default();
    for _ in 0..newest.len() * 2 {
        read(&mut warm)?; // fills the cache
    }
    let mut meter = Meter::default();
    meter.stretch(|| {
        let end = Instant::now() + time;
        let mut latencies = Vec::with_capacity(1 << 18);
        while Instant::now() < end {
            latencies.push(read(&mut Seen::default())?);
        }
        Ok(latencies)
    })?;
    Ok((meter.finish()?, warm))
}

/// Pages from one thread while half of the writers write.
fn mixed(
    run: &Run<'_>,
    engine: &dyn Engine,
    messages: &Messages,
    newest: &[(u64, u64)],
) -> Result<Sample> {
    let next = AtomicU64::new(run.options.messages());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..run.options.writers.div_ceil(2))
            .map(|_| scope.spawn(|| write_until(engine, messages, &next, &stop)))
            .collect();
        let time = Duration::from_millis(run.options.millis());
        let sample = pages(engine, newest, run.options.seed, time);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok(sample?.0)
    })
}
