//! Latency of durable writes at half the knee, and of the disk's own syncs in the same minute.
//!
//! The knee is taken as the rate of the closed loop with all clients in flight. Writes come at fixed times, one client
//! library handle after the other; a latency counts from when a write was due. Between stretches of load one thread
//! writes pages of 4 KiB to a file and syncs each, on the same file system.

use super::Run;
use super::fixture::{Fixture, Writes, write};
use super::load::{Outcome, open, share_ms};
use super::report::Line;
use crate::engine::RawDisk;
use anyhow::{Context, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

const STRETCHES: u64 = 3;

pub(super) async fn run(run: &mut Run, fixture: &Fixture) -> Result<()> {
    let knee = run
        .knee
        .context("the knee is measured by the part `writes`")?;
    let rate = knee / 2.0;
    let dbs = run.clients(fixture).await?;
    let length = Duration::from_secs(run.options.seconds() * 2);
    let mut outcome = Outcome::default();
    let mut disk = Vec::new();
    let raw = Fixture::dir(&run.options)?;
    for stretch in 0..STRETCHES {
        run.step(&format!("latency: the disk, stretch {}", stretch + 1));
        disk.extend(sync_for(raw.path(), stretch, length / 2).await?);
        run.step(&format!(
            "latency: {rate:.0} writes/s, stretch {}",
            stretch + 1
        ));
        let (dbs, writes) = (dbs.clone(), Writes::new(100_000 + stretch * 1000));
        let operation = move |number: u64| {
            let client = usize::try_from(number).unwrap_or(0) % dbs.len();
            let db = dbs[client].clone();
            let statement = writes.insert(client, number);
            async move { write(&db, statement).await.map(drop) }
        };
        let is_stopped = Arc::new(AtomicBool::new(false));
        outcome.add(open(rate, length, is_stopped, operation).await?);
    }
    disk.sort_unstable();
    let (p99, disk_p99) = (outcome.latency_ms(990), share_ms(&disk, 990));
    let most = 4.0 * disk_p99 + 2.0;
    run.tell(Line {
        what: format!("p99 of a durable write at half the knee ({rate:.0}/s), open loop"),
        must: format!("<= 4 x {disk_p99:.2} ms (p99 of the disk's own sync) + 2 ms = {most:.1} ms"),
        measured: format!("{p99:.2} ms"),
        holds: Some(p99 <= most && outcome.failed == 0),
    });
    run.figures(
        "latency at half the knee",
        &[
            ("writes per second", vec![outcome.per_second]),
            (
                "writes that failed",
                vec![crate::measure::float(outcome.failed)],
            ),
            ("p50, ms", vec![outcome.latency_ms(500)]),
            ("p99, ms", vec![p99]),
            ("p99.9, ms", vec![outcome.latency_ms(999)]),
            ("most, ms", vec![outcome.latency_ms(1000)]),
            ("disk p50, ms", vec![share_ms(&disk, 500)]),
            ("disk p99, ms", vec![disk_p99]),
            ("disk p99.9, ms", vec![share_ms(&disk, 999)]),
        ],
    );
    let shares = [500, 750, 900, 950, 990, 999, 1000];
    let points = |of: &dyn Fn(usize) -> f64| {
        (0_u32..)
            .zip(shares)
            .map(|(at, share)| (f64::from(at), of(share)))
            .collect()
    };
    run.series(
        "latency: writes",
        points(&|share| outcome.latency_ms(share)),
    );
    run.series("latency: disk", points(&|share| share_ms(&disk, share)));
    Ok(())
}

/// Syncs page after page for a while; the time of each in microseconds.
async fn sync_for(dir: &Path, stretch: u64, time: Duration) -> Result<Vec<u32>> {
    let dir = dir.join(stretch.to_string());
    let syncing = tokio::task::spawn_blocking(move || -> Result<Vec<u32>> {
        std::fs::create_dir_all(&dir)?;
        let mut disk = RawDisk::create(&dir)?;
        let (begun, mut times) = (Instant::now(), Vec::new());
        while begun.elapsed() < time {
            let start = Instant::now();
            disk.write()?;
            times.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        std::fs::remove_dir_all(&dir)?;
        Ok(times)
    });
    syncing.await?
}
