//! Ingest of more than the memory budget over 30 windows, compaction included.
//!
//! Eight writers hand in 64 messages at a time, each lump durable before the next, as an import or a busy node does:
//! with single messages the disk's syncs would be the limit and not the engine. The rate counts until the engine
//! has nothing left to compact by its own rules, so that work put off is work counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Home, Run, beyond_cache};
use crate::engine::{Engine, Kind, Setup, Written};
use crate::measure::{Meter, Sample, float, median};
use crate::messages::Messages;
use crate::report::names;

const WRITERS: usize = 8;
const LUMP: u64 = 64;
pub(super) const CHANNELS: usize = 2000;
pub(super) const WINDOWS: u64 = 30;
/// In the directory of a kept database: how many messages it holds.
const FILLED: &str = "FILLED";

/// An engine full of messages.
pub(super) struct Filled {
    pub(super) kind: Kind,
    pub(super) home: Home,
    /// Messages in it: the first ones of the history.
    pub(super) count: u64,
    /// Their bytes.
    pub(super) raw: u64,
}

impl Filled {
    /// Closes the engine and opens it again in the same directory.
    pub(super) fn reopen(self, run: &Run<'_>, setup: Setup) -> Result<Self> {
        let Home { engine, dir } = self.home;
        drop(engine);
        let kept = run.options.kept(self.kind);
        let path = kept.as_deref().unwrap_or(dir.path());
        let engine = self.kind.open(path, setup)?;
        let home = Home { engine, dir };
        Ok(Self { home, ..self })
    }
}

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let count = run.options.sustained();
    let messages = Messages::new(run.options.seed, CHANNELS, count, WINDOWS);
    let setup = share(run.options.setup(), count);
    let mut filled = Vec::new();
    for kind in run.kinds.clone() {
        run.step(names::SUSTAINED, kind, 0);
        if let Some(kept) = kept(run, kind, setup)? {
            filled.push(Filled {
                raw: raw_bytes(&messages, kept.count),
                ..kept
            });
            continue;
        }
        let home = match run.options.kept(kind) {
            Some(dir) => run.open_in(kind, setup, &dir)?,
            None => run.open(kind, setup)?,
        };
        let (mut sample, written) = ingest(run, (kind, &*home.engine), (&messages, count))?;
        run.step("full compaction after it", kind, 0);
        let raw = raw_bytes(&messages, written);
        add_written(&mut sample, &*home.engine, raw);
        let start = Instant::now();
        home.engine.settle()?;
        let settled = home.engine.file_bytes()?;
        sample
            .more
            .insert("settle_seconds", start.elapsed().as_secs_f64());
        sample.more.insert("raw_bytes", float(raw));
        sample.more.insert("settled_bytes", float(settled));
        sample
            .more
            .insert("bytes_per_raw_byte", float(settled) / float(raw));
        run.add(names::SUSTAINED, kind, 0, sample);
        if let Some(dir) = run.options.kept(kind) {
            std::fs::write(dir.join(FILLED), written.to_string())?;
        }
        filled.push(Filled {
            kind,
            home,
            count: written,
            raw,
        });
    }
    beyond_cache::run(run, &messages, filled, setup)
}

/// The cache and the memtable for `count` messages: in a small run they shrink along, so that the data is beyond
/// both.
pub(super) fn share(setup: Setup, count: u64) -> Setup {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Setup {
        cache_bytes: setup.cache_bytes.min(count.saturating_mul(24)),
        memtable_bytes: setup.memtable_bytes.min(count.saturating_mul(8)),
        counts: true,
    }
}

/// A database that an earlier run filled and kept.
fn kept(run: &mut Run<'_>, kind: Kind, setup: Setup) -> Result<Option<Filled>> {
    let Some(dir) = run.options.kept(kind) else {
        return Ok(None);
    };
    let Ok(count) = std::fs::read_to_string(dir.join(FILLED)) else {
        return Ok(None);
    };
    Ok(Some(Filled {
        kind,
        home: run.open_in(kind, setup, &dir)?,
        count: count.parse()?,
        raw: 0,
    }))
}

/// What the first `count` messages hold.
pub(super) fn raw_bytes(messages: &Messages, count: u64) -> u64 {
    (0..count).map(|at| messages.at(at).raw_bytes()).sum()
}

pub(super) fn ingest(
    run: &Run<'_>,
    (kind, engine): (Kind, &dyn Engine),
    (messages, count): (&Messages, u64),
) -> Result<(Sample, u64)> {
    let most_seconds = run.options.sustained_seconds(kind);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let mut each_second = Vec::new();
    let mut meter = Meter::default();
    let start = Instant::now();
    let mut ingest_seconds = 0.0;
    meter.stretch_counted(|| {
        std::thread::scope(|scope| -> Result<()> {
            let writers: Vec<_> = (0..WRITERS)
                .map(|_| {
                    scope.spawn(|| {
                        let written = write_lumps(engine, messages, (count, &next, &done), &stop);
                        stop.fetch_or(written.is_err(), Ordering::Relaxed);
                        written
                    })
                })
                .collect();
            each_second = watch(most_seconds, count, &done, &stop);
            for writer in writers {
                writer
                    .join()
                    .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
            }
            Ok(())
        })?;
        ingest_seconds = start.elapsed().as_secs_f64();
        engine.idle()?;
        Ok(done.load(Ordering::Relaxed))
    })?;
    let written = done.load(Ordering::Relaxed);
    let mut sample = meter.finish()?;
    let slowest = each_second.iter().copied().min().unwrap_or(0);
    let middle = median(each_second.iter().map(|count| float(*count)));
    sample.more.extend([
        ("ingest_seconds", ingest_seconds),
        ("ingest_per_second", float(written) / ingest_seconds),
        (
            "idle_seconds",
            start.elapsed().as_secs_f64() - ingest_seconds,
        ),
        ("slowest_second_share", float(slowest) / middle),
        ("cut", f64::from(u8::from(written < count))),
    ]);
    sample.each_second = each_second;
    Ok((sample, written))
}

/// Writes lumps until all messages are written or the run is cut.
fn write_lumps(
    engine: &dyn Engine,
    messages: &Messages,
    (count, next, done): (u64, &AtomicU64, &AtomicU64),
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let from = next.fetch_add(LUMP, Ordering::Relaxed);
        if from >= count {
            break;
        }
        let lump: Vec<_> = (from..count.min(from + LUMP))
            .map(|at| messages.at(at))
            .collect();
        engine.write(&lump)?;
        done.fetch_add(lump.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Counts what is done in each whole second until all is, or until the time is up.
fn watch(most_seconds: u64, count: u64, done: &AtomicU64, stop: &AtomicBool) -> Vec<u64> {
    let mut each_second = Vec::new();
    let mut before = 0;
    let start = Instant::now();
    for second in 1..=most_seconds {
        let end = start + Duration::from_secs(second);
        while Instant::now() < end {
            if done.load(Ordering::Relaxed) >= count || stop.load(Ordering::Relaxed) {
                return each_second;
            }
            std::thread::sleep(Duration::from_millis(10).min(end.duration_since(Instant::now())));
        }
        let now = done.load(Ordering::Relaxed);
        each_second.push(now - before);
        before = now;
    }
    stop.store(true, Ordering::Relaxed);
    each_second
}

pub(super) fn add_written(sample: &mut Sample, engine: &dyn Engine, raw: u64) {
    let Some(written) = engine.written() else {
        return;
    };
    let Written {
        log,
        flush,
        compaction,
    } = written;
    let files = flush + compaction;
    sample.more.extend([
        ("log_bytes", float(log)),
        ("flush_bytes", float(flush)),
        ("compaction_bytes", float(compaction)),
        ("write_amplification_files", float(files) / float(raw)),
        ("write_amplification", float(files + log) / float(raw)),
        ("rewrites", float(files) / float(flush.max(1))),
    ]);
}
