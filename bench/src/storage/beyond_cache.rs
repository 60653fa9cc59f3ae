//! Newest-50 pages of data that is ten times the block cache: Zipf over channels, any window.
//!
//! The databases are those of the sustained ingest, opened again with a cache of a tenth of the bytes that their messages
//! have. What is measured is the state that lasts: before the first round each engine reads pages that hold four times the
//! bytes of its cache.
//!
//! What misses the block cache is read from the page cache of the system, which holds all of it on this machine: a
//! miss costs a system call, a checksum and a decompression, and no disk. That is the same for every engine; a
//! bypass of the page cache is not, because not every peer has it.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::pages::ensure_same;
use super::sustained::Filled;
use super::{PAGE_ROWS, Run};
use crate::engine::{Engine, Seen, Setup};
use crate::measure::{Meter, Sample, float, nanos};
use crate::messages::{Messages, Seeded};
use crate::report::names;

/// Pages whose rows are compared between engines in each round.
const COMPARED: usize = 5_000;
/// Bytes of messages per byte of cache.
const DATA_PER_CACHE: u64 = 10;
/// The pages that are read before the first round hold so many times the bytes of the cache.
const WARM_CACHES: u64 = 4;

pub(super) fn run(
    run: &mut Run<'_>,
    messages: &Messages,
    mut filled: Vec<Filled>,
    setup: Setup,
) -> Result<()> {
    let most = filled.iter().map(|it| it.count).max().unwrap_or(0);
    // An engine whose ingest was cut early holds much less: its pages would be a smaller problem.
    filled.retain(|it| it.count >= most / 10 * 8);
    let raw = filled.iter().map(|it| it.raw).max().unwrap_or(0);
    let cache_bytes = raw / DATA_PER_CACHE;
    let setup = Setup {
        cache_bytes: usize::try_from(cache_bytes)?,
        ..setup
    };
    let mut filled = filled
        .into_iter()
        .map(|it| it.reopen(run, setup))
        .collect::<Result<Vec<_>>>()?;
    // The windows that all of them have whole.
    let all = filled.iter().map(|it| it.count).min().unwrap_or(0);
    let windows = usize::try_from(messages.at(all).bucket().max(1))?;
    let time = Duration::from_millis(run.options.millis());
    let seed = run.options.seed ^ 0xBEEF;
    for it in &filled {
        run.step("pages to warm the cache", it.kind, 0);
        let mut pages = Pages::new(&*it.home.engine, messages, windows, !seed);
        let mut seen = Seen::default();
        while seen.bytes < WARM_CACHES * cache_bytes {
            pages.read(&mut seen)?;
        }
    }
    for round in 0..run.options.rounds() {
        let mut seen_by = Vec::new();
        for it in &filled {
            run.step(names::PAGE_BEYOND_CACHE, it.kind, round);
            let engine = &*it.home.engine;
            let pages = Pages::new(engine, messages, windows, seed ^ ((round as u64) << 32));
            let (mut sample, seen) = measure(pages, time)?;
            let (cache, on_disk) = (float(cache_bytes), float(engine.file_bytes()?));
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

/// Reads one page after the other: channels by Zipf, any window.
struct Pages<'a> {
    engine: &'a dyn Engine,
    messages: &'a Messages,
    windows: usize,
    seeded: Seeded,
}

impl<'a> Pages<'a> {
    fn new(engine: &'a dyn Engine, messages: &'a Messages, windows: usize, seed: u64) -> Self {
        let seeded = Seeded::new(seed);
        Self {
            engine,
            messages,
            windows,
            seeded,
        }
    }

    /// Reads the next page, and returns how long that took, in nanoseconds.
    fn read(&mut self, seen: &mut Seen) -> Result<u64> {
        let channel = 1 + self.messages.channels().sample(&mut self.seeded) as u64;
        let bucket = self.seeded.below(self.windows) as u64;
        let start = Instant::now();
        self.engine.page(channel, bucket, PAGE_ROWS, seen)?;
        Ok(nanos(start))
    }
}

/// Pages that are compared, then pages that are timed.
fn measure(mut pages: Pages<'_>, time: Duration) -> Result<(Sample, Seen)> {
    let mut compared = Seen::default();
    for _ in 0..COMPARED {
        pages.read(&mut compared)?;
    }
    let mut rows = Seen::default();
    let mut meter = Meter::default();
    meter.stretch(|| {
        let end = Instant::now() + time;
        let mut latencies = Vec::with_capacity(1 << 18);
        while Instant::now() < end {
            latencies.push(pages.read(&mut rows)?);
        }
        Ok(latencies)
    })?;
    let mut sample = meter.finish()?;
    let per_page = float(rows.rows) / float(sample.operations);
    sample.more.insert("rows_per_page", per_page);
    Ok((sample, compared))
}
