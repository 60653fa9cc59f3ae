//! The storage workloads: durable ingest, newest-50 pages, and both at once.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use crate::measure::{Meter, Sample};
use crate::peer::{Engine, Kind};
use crate::report::Report;
use crate::workload::{Generator, Message, Seeded, Zipf};

const PAGE_ROWS: usize = 50;
const LOAD_BATCH: usize = 1000;

/// Which workload to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Durable writes from many threads.
    Ingest,
    /// Newest-50 pages of Zipf-chosen channels, before and after compaction.
    Page,
    /// Durable writes and pages at once; the pages are counted.
    Mixed,
    /// All of the above.
    All,
}

/// Options of `bench storage`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What to run
    workload: Workload,
    /// Engine to run beside chatdb's, in the same minute; may be repeated
    #[arg(long)]
    peer: Vec<Kind>,
    /// Messages loaded before pages are measured
    #[arg(long, default_value_t = 500_000)]
    messages: usize,
    /// Channels of the workload
    #[arg(long, default_value_t = 1_000)]
    channels: usize,
    /// Threads that write
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Seconds of each run
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Interleaved rounds: every engine once in each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Block cache of each engine, in MiB
    #[arg(long, default_value_t = 256)]
    cache_mib: usize,
    /// Seed of the workload
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Directory for the databases; emptied after each run [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also write the samples to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the workloads and returns the report.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut engines = vec![Kind::Chatdb];
    engines.extend(options.peer.iter().filter(|kind| **kind != Kind::Chatdb));
    let mut report = Report::new(format!("{options:?}"));
    for round in 0..options.rounds {
        for kind in &engines {
            run_engine(options, *kind, round, &mut report)
                .with_context(|| format!("{} in round {round}", kind.name()))?;
        }
        engines.rotate_left(1); // no engine always runs first
    }
    if let Some(path) = &options.json {
        std::fs::write(path, report.to_json()?)
            .with_context(|| format!("write {}", path.display()))?;
    }
    Ok(report)
}

fn run_engine(options: &Options, kind: Kind, round: usize, report: &mut Report) -> Result<()> {
    let wants = |workload| options.workload == workload || options.workload == Workload::All;
    let open = |dir: &Path| kind.open(dir, options.cache_mib << 20);
    let fresh = || match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir),
        None => tempfile::tempdir(),
    };
    let mut add = |what: &str, sample| report.add(what, kind.name(), round, sample);
    if wants(Workload::Ingest) {
        let dir = fresh()?;
        let many = ingest(options, &*open(dir.path())?, options.writers)?;
        add(
            &format!("durable ingest, {} writers", options.writers),
            many,
        );
        let dir = fresh()?;
        add(
            "durable ingest, 1 writer",
            ingest(options, &*open(dir.path())?, 1)?,
        );
    }
    if wants(Workload::Page) || wants(Workload::Mixed) {
        let dir = fresh()?;
        let engine = open(dir.path())?;
        let newest = load(options, &*engine)?;
        if wants(Workload::Page) {
            add(
                "newest-50 page, before compaction",
                pages(options, &*engine, &newest)?,
            );
        }
        engine.settle()?;
        if wants(Workload::Page) {
            add(
                "newest-50 page, compacted",
                pages(options, &*engine, &newest)?,
            );
        }
        if wants(Workload::Mixed) {
            add(
                "newest-50 page, under ingest",
                mixed(options, &*engine, &newest)?,
            );
        }
    }
    Ok(())
}

/// Writes from `writers` threads until the time is up; one latency per write.
fn ingest(options: &Options, engine: &dyn Engine, writers: usize) -> Result<Sample> {
    let source = Source::new(options, 0);
    let stop = AtomicBool::new(false);
    let meter = Meter::start()?;
    let latencies = std::thread::scope(|scope| -> Result<Vec<u64>> {
        let threads: Vec<_> = (0..writers)
            .map(|_| scope.spawn(|| write_until(engine, &source, &stop)))
            .collect();
        std::thread::sleep(Duration::from_secs(options.seconds));
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            all.extend(
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a writer panicked"))??,
            );
        }
        Ok(all)
    })?;
    meter.finish(latencies)
}

fn write_until(engine: &dyn Engine, source: &Source, stop: &AtomicBool) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let message = source.next();
        let start = Instant::now();
        engine.write(&message)?;
        latencies.push(nanos(start));
    }
    Ok(latencies)
}

/// Loads the history; returns the newest bucket of each channel that has messages.
fn load(options: &Options, engine: &dyn Engine) -> Result<Vec<(u64, u64)>> {
    let mut generator = Generator::new(options.seed, options.channels);
    let mut newest = std::collections::BTreeMap::new();
    let mut left = options.messages;
    while left > 0 {
        let batch: Vec<Message> = (0..left.min(LOAD_BATCH))
            .map(|_| generator.message())
            .collect();
        engine.load(&batch)?;
        for message in &batch {
            newest.insert(message.channel, message.bucket());
        }
        left -= batch.len();
    }
    Ok(newest.into_iter().collect())
}

/// Reads pages from one thread, so that the figure is the cost on one core.
fn pages(options: &Options, engine: &dyn Engine, newest: &[(u64, u64)]) -> Result<Sample> {
    let mut reader = PageReader::new(options, newest);
    for _ in 0..newest.len() * 2 {
        reader.read(engine)?; // fills the cache
    }
    let meter = Meter::start()?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        latencies.push(reader.read(engine)?);
    }
    meter.finish(latencies)
}

/// Pages from one thread while half of the writers write.
fn mixed(options: &Options, engine: &dyn Engine, newest: &[(u64, u64)]) -> Result<Sample> {
    let source = Source::new(options, options.messages as u64);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..options.writers.div_ceil(2))
            .map(|_| scope.spawn(|| write_until(engine, &source, &stop)))
            .collect();
        let sample = pages(options, engine, newest);
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        sample
    })
}

struct PageReader<'a> {
    newest: &'a [(u64, u64)],
    zipf: Zipf,
    seeded: Seeded,
}

impl<'a> PageReader<'a> {
    fn new(options: &Options, newest: &'a [(u64, u64)]) -> Self {
        Self {
            newest,
            zipf: Zipf::new(newest.len(), 1.0),
            seeded: Seeded::new(options.seed ^ 0xFACE),
        }
    }

    /// Reads one page; returns its latency in nanoseconds.
    fn read(&mut self, engine: &dyn Engine) -> Result<u64> {
        let (channel, bucket) = self.newest[self.zipf.sample(&mut self.seeded)];
        let start = Instant::now();
        let (rows, bytes) = engine.page(channel, bucket, PAGE_ROWS)?;
        let latency = nanos(start);
        anyhow::ensure!(
            rows > 0 && bytes > 0,
            "channel {channel} bucket {bucket} came back empty"
        );
        Ok(latency)
    }
}

/// One stream of messages shared by all writers, generated ahead in lumps so that a run measures the engine.
struct Source {
    messages: Vec<Message>,
    next: AtomicU64,
    overflow: Mutex<Generator>,
}

impl Source {
    /// Skips the `skip` messages that were loaded before.
    fn new(options: &Options, skip: u64) -> Self {
        let mut generator = Generator::new(options.seed, options.channels);
        for _ in 0..skip {
            generator.message();
        }
        let ahead = 200_000 * usize::try_from(options.seconds).unwrap_or(1);
        let messages = (0..ahead.min(1_000_000))
            .map(|_| generator.message())
            .collect();
        Self {
            messages,
            next: AtomicU64::new(0),
            overflow: Mutex::new(generator),
        }
    }

    fn next(&self) -> Message {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        let ready = usize::try_from(at)
            .ok()
            .and_then(|at| self.messages.get(at));
        ready
            .cloned()
            .unwrap_or_else(|| self.overflow.lock().message())
    }
}

fn nanos(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
