//! What the shared log makes of a disk: durable appends per second beside the disk's bare rate.
//!
//! `cargo run --release -p lsm --example group_commit [DIR] [WRITERS] [ROUNDS] [MILLISECONDS]`
//!
//! Measures in turns, so that what else the machine does hits all alike, and prints the median of
//! the rounds, the median latency of one write, and the ratio to the bare disk in the same round:
//!
//! * bare disk: `pwrite` of one 4 KiB page and `fdatasync`, into a file that was written before, so
//!   that no sync changes anything but data: the best a log can do that way;
//! * the same into space that is reserved and was never written;
//! * one writer that commits on its own thread (`Log::append`, `Log::commit`);
//! * one writer that waits for a thread which commits (`Log::wait`, `Log::flush`);
//! * WRITERS writers that commit on their own threads, each into its own group.
//!
//! An entry has 256 bytes; one page holds one commit of one entry.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program is the owner: it has the clock, the threads and the terminal"
)]

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogMetrics, LogOptions};
use lsm::vfs::{OsVfs, Vfs};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PAGE: usize = 4096;
const RAW_BYTES: u64 = 64 * 1024 * 1024;

/// Durable writes of one slice of time.
struct Slice {
    rate: f64,
    latencies: Vec<Duration>,
}

/// All slices of one way to write.
struct Series {
    name: String,
    slices: Vec<Slice>,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("group-commit"), PathBuf::from);
    let mut number = |default: u64| {
        arguments
            .next()
            .map_or(Ok(default), |word| word.parse::<u64>())
    };
    let (writers, rounds, slice) = (number(64)?, number(9)?, number(400)?);
    let slice = Duration::from_millis(slice);
    std::fs::create_dir_all(&dir)?;
    let mut written = Raw::create(&dir.join("raw-written"), true)?;
    let mut fresh = Raw::create(&dir.join("raw-reserved"), false)?;
    let log = Log::open(Arc::new(OsVfs), &dir.join("log"), LogOptions::default())?;
    let driven = Log::open(Arc::new(OsVfs), &dir.join("driven"), LogOptions::default())?;
    let driver = spawn_driver(&driven);
    let mut groups = Groups::default();
    let names = [
        "bare disk, written space".to_owned(),
        "bare disk, reserved space".to_owned(),
        "log, one writer commits itself".to_owned(),
        "log, one writer and a log thread".to_owned(),
        format!("log, {writers} writers commit"),
    ];
    let mut all = names.map(|name| Series {
        name,
        slices: Vec::new(),
    });
    for _ in 0..rounds {
        let slices = [
            written.measure(slice)?,
            fresh.measure(slice)?,
            measure(slice, vec![groups.next()], |entry| commit(&log, entry))?,
            measure(slice, vec![groups.next()], |entry| wait(&driven, entry))?,
            measure(
                slice,
                (0..writers).map(|_| groups.next()).collect(),
                |entry| commit(&log, entry),
            )?,
        ];
        for (series, slice) in all.iter_mut().zip(slices) {
            series.slices.push(slice);
        }
    }
    report(&mut all);
    let metrics = log.metrics();
    print_metrics(&metrics);
    log.close()?;
    driven.close()?;
    driver.join().map_err(|_| "the log thread panicked")?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// A file that is written page by page, over and over.
struct Raw {
    file: File,
    next: u64,
}

impl Raw {
    fn create(path: &Path, is_written: bool) -> Result<Self> {
        if path.exists() {
            std::fs::remove_file(path)?;
        }
        OsVfs.create(path)?.allocate(RAW_BYTES)?;
        let file = OpenOptions::new().write(true).open(path)?;
        if is_written {
            file.write_all_at(&vec![1; usize::try_from(RAW_BYTES)?], 0)?;
        }
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    fn measure(&mut self, length: Duration) -> Result<Slice> {
        let page = vec![2; PAGE];
        let mut latencies = Vec::new();
        let start = Instant::now();
        while start.elapsed() < length {
            let begun = Instant::now();
            self.file.write_all_at(&page, self.next)?;
            self.file.sync_data()?;
            latencies.push(begun.elapsed());
            self.next = (self.next + PAGE as u64) % RAW_BYTES;
        }
        Ok(slice(latencies, start.elapsed()))
    }
}

#[derive(Default)]
struct Groups(u64);

impl Groups {
    fn next(&mut self) -> GroupId {
        self.0 += 1;
        GroupId(self.0)
    }
}

fn spawn_driver(log: &Log) -> thread::JoinHandle<()> {
    let log = log.clone();
    thread::spawn(move || while !log.wait(Duration::from_millis(100)) || log.flush().is_ok() {})
}

/// Runs one thread per group, each of which writes one entry after the other.
fn measure(
    length: Duration,
    groups: Vec<GroupId>,
    write: impl Fn(Append) -> Result<()> + Sync,
) -> Result<Slice> {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let outcome: Result<Vec<Duration>> = thread::scope(|scope| {
        let threads: Vec<_> = groups
            .into_iter()
            .map(|group| {
                scope.spawn({
                    let (stop, write) = (&stop, &write);
                    move || write_until(stop, group, write)
                })
            })
            .collect();
        thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for thread in threads {
            latencies.extend(thread.join().map_err(|_| "a writer panicked")??);
        }
        Ok(latencies)
    });
    Ok(slice(outcome?, start.elapsed()))
}

/// One entry to be written; every thousandth forgets those before it.
struct Append {
    group: GroupId,
    entry: Entry,
    purges: bool,
}

fn write_until(
    stop: &AtomicBool,
    group: GroupId,
    write: impl Fn(Append) -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut index = 0;
    let leader = LeaderId { term: 1, node: 1 };
    while !stop.load(Ordering::Relaxed) {
        index += 1;
        let entry = Entry {
            id: LogId { leader, index },
            payload: vec![7; 256].into(),
        };
        let begun = Instant::now();
        write(Append {
            group,
            entry,
            purges: index.is_multiple_of(1000),
        })?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

fn commit(log: &Log, append: Append) -> Result<()> {
    let id = append.entry.id;
    log.append_durable(append.group, vec![append.entry])?;
    if append.purges {
        log.purge(append.group, id)?;
    }
    Ok(())
}

fn wait(log: &Log, append: Append) -> Result<()> {
    let id = append.entry.id;
    let (sender, receiver) = mpsc::sync_channel(1);
    let done = Box::new(move |result| {
        // A writer that is gone does not want to know.
        drop(sender.send(result));
    });
    log.append(append.group, vec![append.entry], done)?;
    receiver.recv()??;
    if append.purges {
        log.purge(append.group, id)?;
    }
    Ok(())
}

fn slice(latencies: Vec<Duration>, elapsed: Duration) -> Slice {
    let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    Slice {
        rate: f64::from(count) / elapsed.as_secs_f64(),
        latencies,
    }
}

fn report(all: &mut [Series]) {
    println!(
        "{:34} {:>9} {:>8} {:>8} {:>8}   rate to bare disk: median (min - max)",
        "", "writes/s", "p10 us", "p50 us", "p99 us"
    );
    let bare: Vec<f64> = all
        .first()
        .map(|bare| bare.slices.iter().map(|slice| slice.rate).collect())
        .unwrap_or_default();
    for series in all {
        let mut rates: Vec<f64> = series.slices.iter().map(|slice| slice.rate).collect();
        let mut ratios: Vec<f64> = rates
            .iter()
            .zip(&bare)
            .map(|(rate, bare)| rate / bare)
            .collect();
        let mut latencies: Vec<Duration> = series
            .slices
            .iter_mut()
            .flat_map(|slice| slice.latencies.drain(..))
            .collect();
        rates.sort_by(f64::total_cmp);
        ratios.sort_by(f64::total_cmp);
        latencies.sort_unstable();
        let at = |part: usize| {
            latencies
                .get(latencies.len() * part / 100)
                .map_or(0, Duration::as_micros)
        };
        let middle = |sorted: &[f64]| sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        println!(
            "{:34} {:>9.0} {:>8} {:>8} {:>8}   {:.2} ({:.2} - {:.2})",
            series.name,
            middle(&rates),
            at(10),
            at(50),
            at(99),
            middle(&ratios),
            ratios.first().copied().unwrap_or_default(),
            ratios.last().copied().unwrap_or_default(),
        );
    }
}

fn print_metrics(metrics: &LogMetrics) {
    println!(
        "log: {} entries in {} commits, {} syncs, {} bytes written, {} segments begun, {} of them reused",
        metrics.entries,
        metrics.commits,
        metrics.syncs,
        metrics.written_bytes,
        metrics.rolls,
        metrics.recycled
    );
}
