//! Durable writes of single messages.
//!
//! One writer runs beside the raw disk: all contenders are open at once and write in turns of a fifth of a second,
//! because the speed of a shared disk changes from second to second. Many writers run an engine at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Home, Run};
use crate::engine::{Engine, Kind, RawDisk};
use crate::measure::{Meter, nanos};
use crate::messages::Messages;
use crate::report::names;

const SLICE: Duration = Duration::from_millis(200);
const CHANNELS: usize = 1000;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let messages = Messages::new(run.options.seed, CHANNELS, 5_000_000, 1);
    one_writer(run, &messages)?;
    many_writers(run, &messages)
}

fn one_writer(run: &mut Run<'_>, messages: &Messages) -> Result<()> {
    let dir = run.fresh_dir()?;
    let mut raw = RawDisk::create(dir.path())?;
    let mut homes: Vec<(Kind, Home, u64)> = Vec::new();
    for kind in run.kinds.clone() {
        let home = run.open(kind, run.options.setup())?;
        homes.push((kind, home, 0));
    }
    let slices = run.options.millis().div_ceil(200).max(1);
    for round in 0..run.options.rounds() {
        run.step(names::ONE_WRITER, Kind::Chatdb, round);
        let mut meters: Vec<Meter> = homes.iter().map(|_| Meter::default()).collect();
        let mut raw_meter = Meter::default();
        for _ in 0..slices {
            for ((_, home, next), meter) in homes.iter_mut().zip(&mut meters) {
                raw_meter.stretch(|| until(SLICE / 4, || raw.write()))?;
                let engine = &*home.engine;
                let write = || {
                    *next += 1;
                    engine.write(&[messages.at(*next)])
                };
                meter.stretch(|| until(SLICE, write))?;
            }
        }
        run.report.add(
            names::ONE_WRITER,
            names::RAW_DISK,
            round,
            raw_meter.finish()?,
        );
        for ((kind, ..), meter) in homes.iter().zip(meters) {
            run.add(names::ONE_WRITER, *kind, round, meter.finish()?);
        }
        homes.rotate_left(1);
    }
    Ok(())
}

/// Does something again and again for a while; one latency for each.
fn until(time: Duration, mut what: impl FnMut() -> Result<()>) -> Result<Vec<u64>> {
    let end = Instant::now() + time;
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        what()?;
        latencies.push(nanos(start));
    }
    Ok(latencies)
}

fn many_writers(run: &mut Run<'_>, messages: &Messages) -> Result<()> {
    let writers = run.options.writers;
    let time = Duration::from_millis(run.options.millis());
    for round in 0..run.options.rounds() {
        for kind in run.order(round) {
            run.step(names::MANY_WRITERS, kind, round);
            let home = run.open(kind, run.options.setup())?;
            let next = AtomicU64::new(0);
            write_from(&*home.engine, messages, (writers, &next), time / 4)?; // fills pools and opens files
            let mut meter = Meter::default();
            meter.stretch(|| write_from(&*home.engine, messages, (writers, &next), time))?;
            run.add(names::MANY_WRITERS, kind, round, meter.finish()?);
        }
    }
    Ok(())
}

/// Writes single messages from some threads until the time is up; one latency per write.
fn write_from(
    engine: &dyn Engine,
    messages: &Messages,
    (writers, next): (usize, &AtomicU64),
    time: Duration,
) -> Result<Vec<u64>> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|_| scope.spawn(|| write_until(engine, messages, next, &stop)))
            .collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for thread in threads {
            let latencies = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a writer panicked"))?;
            all.extend(latencies?);
        }
        Ok(all)
    })
}

/// Writes single messages until told to stop; one latency per write.
pub(super) fn write_until(
    engine: &dyn Engine,
    messages: &Messages,
    next: &AtomicU64,
    stop: &AtomicBool,
) -> Result<Vec<u64>> {
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let message = messages.at(next.fetch_add(1, Ordering::Relaxed));
        let start = Instant::now();
        engine.write(&[message])?;
        latencies.push(nanos(start));
    }
    Ok(latencies)
}
