//! Durable appends per second of the shared log, beside the bare sync rate of the same disk.
//!
//! `cargo run --release -p lsm --example group_commit [DIR] [WRITERS] [SECONDS]`
//!
//! Every writer appends one entry of 256 bytes to its own group and waits until it is durable.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program is the owner: it has the clock, the threads and the terminal"
)]

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogOptions};
use lsm::vfs::OsVfs;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("group-commit"), PathBuf::from);
    let writers: u64 = arguments.next().map_or(Ok(64), |word| word.parse())?;
    let length = Duration::from_secs(arguments.next().map_or(Ok(5), |word| word.parse())?);
    std::fs::create_dir_all(&dir)?;
    for pages in [1, 5] {
        let rate = raw_syncs(&dir.join("raw"), pages * 4096, length)?;
        println!(
            "raw:  {rate:>8.0} writes of {:>2} KiB with fdatasync per second",
            pages * 4
        );
    }
    measure_log(&dir.join("log"), writers, length)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Overwrites a file of one segment's size in order, with a sync after each write.
fn raw_syncs(path: &Path, bytes: usize, length: Duration) -> Result<f64> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .open(path)?;
    let size: usize = 64 * 1024 * 1024;
    file.write_all_at(&vec![1; size], 0)?;
    file.sync_all()?;
    let buffer = vec![2; bytes];
    let (start, mut count, mut offset) = (Instant::now(), 0_u32, 0);
    while start.elapsed() < length {
        file.write_all_at(&buffer, offset as u64)?;
        file.sync_data()?;
        count += 1;
        offset = (offset + bytes) % (size - bytes);
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

fn measure_log(dir: &Path, writers: u64, length: Duration) -> Result<()> {
    let log = Log::open(Arc::new(OsVfs), dir, LogOptions::default())?;
    let stop = Arc::new(AtomicBool::new(false));
    let owner = {
        let log = log.clone();
        thread::spawn(
            move || {
                while !log.wait(Duration::from_millis(100)) || log.flush().is_ok() {}
            },
        )
    };
    let start = Instant::now();
    let threads: Vec<_> = (0..writers)
        .map(|group| {
            let (log, stop) = (log.clone(), Arc::clone(&stop));
            thread::spawn(move || write(&log, GroupId(group), &stop))
        })
        .collect();
    thread::sleep(length);
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for thread in threads {
        latencies.extend(thread.join().map_err(|_| "a writer panicked")??);
    }
    let seconds = start.elapsed().as_secs_f64();
    let metrics = log.metrics();
    log.close()?;
    owner.join().map_err(|_| "the log thread panicked")?;
    latencies.sort_unstable();
    let at = |part: usize| {
        latencies
            .get(latencies.len() * part / 1000)
            .copied()
            .unwrap_or_default()
    };
    let per_second = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / seconds;
    println!(
        "log:  {:>8.0} durable entries per second from {writers} writers, in {:.0} commits per second",
        per_second(metrics.entries),
        per_second(metrics.commits)
    );
    println!(
        "wait: {:?} median, {:?} 99 %, {:?} 99.9 %",
        at(500),
        at(990),
        at(999)
    );
    println!("{metrics:?}");
    Ok(())
}

fn write(log: &Log, group: GroupId, stop: &AtomicBool) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let (sender, receiver) = mpsc::channel();
    let mut index = 0;
    while !stop.load(Ordering::Relaxed) {
        index += 1;
        let id = LogId {
            leader: LeaderId { term: 1, node: 1 },
            index,
        };
        let entry = Entry {
            id,
            payload: vec![7; 256].into(),
        };
        let sender = sender.clone();
        let start = Instant::now();
        log.append(
            group,
            vec![entry],
            Box::new(move |result| {
                // A writer that is gone does not want to know.
                drop(sender.send(result));
            }),
        )?;
        receiver.recv()??;
        latencies.push(start.elapsed());
        if index.is_multiple_of(1000) {
            log.purge(group, id)?;
        }
    }
    Ok(latencies)
}
