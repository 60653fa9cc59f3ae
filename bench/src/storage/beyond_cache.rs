//! Newest-50 pages of data that is at least ten times the block cache: Zipf over channels, any window.
//!
//! What misses the block cache is read from the page cache of the system, which holds all of it on this machine: a
//! miss costs a system call, a checksum and a decompression, and no disk. That is the same for every engine; a
//! bypass of the page cache is not, because not every peer has it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::pages::ensure_same;
use super::sustained::Filled;
use super::{PAGE_ROWS, Run};
use crate::engine::{Engine, Seen};
use crate::measure::{Meter, Sample, float, nanos};
use crate::messages::{Messages, Seeded};
use crate::report::names;

/// Pages whose rows are compared between engines, and which warm the cache.
const COMPARED: usize = 5_000;

pub(super) fn run(
    run: &mut Run<'_>,
    messages: &Messages,
    mut filled: Vec<Filled>,
    cache_bytes: usize,
) -> Result<()> {
    let most = filled.iter().map(|it| it.count).max().unwrap_or(0);
    // An engine whose ingest was cut early holds much less: its pages would be a smaller problem.
    filled.retain(|it| it.count >= most / 10 * 8);
    // The windows that all of them have whole.
    let all = filled.iter().map(|it| it.count).min().unwrap_or(0);
    let whole = messages.at(all).bucket();
    let time = Duration::from_millis(run.options.millis());
    let windows = whole.max(1);
    let seed = run.options.seed;
    for round in 0..run.options.rounds() {
        let mut seen_by = Vec::new();
        for it in &filled {
            run.step(names::PAGE_BEYOND_CACHE, it.kind, round);
            let engine = &*it.home.engine;
            let (mut sample, seen) = pages(engine, messages, (seed, round, windows), time)?;
            let cache = float(cache_bytes as u64);
            let on_disk = float(engine.file_bytes()?);
            sample.more.insert("files_per_cache", on_disk / cache);
            sample.more.insert("data_per_cache", float(it.raw) / cache);
            run.add(names::PAGE_BEYOND_CACHE, it.kind, round, sample);
            seen_by.push((it.kind.name(), seen));
        }
        ensure_same(&seen_by)?;
        filled.rotate_left(1);
    }
    Ok(())
}

fn pages(
    engine: &dyn Engine,
    messages: &Messages,
    (seed, round, windows): (u64, usize, u64),
    time: Duration,
) -> Result<(Sample, Seen)> {
    let mut seeded = Seeded::new(seed ^ 0xBEEF ^ ((round as u64) << 32));
    let windows = usize::try_from(windows)?;
    let mut read = |seen: &mut Seen| -> Result<u64> {
        let channel = 1 + messages.channels().sample(&mut seeded) as u64;
        let bucket = seeded.below(windows) as u64;
        let start = Instant::now();
        engine.page(channel, bucket, PAGE_ROWS, seen)?;
        Ok(nanos(start))
    };
    let mut warm = Seen::default();
    for _ in 0..COMPARED {
        read(&mut warm)?;
    }
    let mut rows = Seen::default();
    let mut meter = Meter::default();
    meter.stretch(|| {
        let end = Instant::now() + time;
        let mut latencies = Vec::with_capacity(1 << 18);
        while Instant::now() < end {
            latencies.push(read(&mut rows)?);
        }
        Ok(latencies)
    })?;
    let mut sample = meter.finish()?;
    let per_page = float(rows.rows) / float(sample.operations);
    sample.more.insert("rows_per_page", per_page);
    Ok((sample, warm))
}
