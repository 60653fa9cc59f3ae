//! Opening an engine whose log holds everything and whose files hold nothing.
//!
//! The log is written with a memtable that never fills. The engine is then opened with the usual memtable, so that it
//! must flush while it replays. It has recovered when the first and the last message can be read.

use std::time::Instant;

use anyhow::{Context, Result};

use super::{Home, Run};
use crate::engine::{Engine, Seen, Setup};
use crate::measure::{Meter, float};
use crate::messages::{Message, Messages};
use crate::report::names;

/// Messages of one durable write: many, so that filling the log does not wait for the disk at each.
const LUMP: u64 = 2048;
const CHANNELS: usize = 1000;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let bytes = run.options.log_bytes();
    let messages = Messages::new(run.options.seed, CHANNELS, 4 << 20, 2);
    for kind in run.kinds.clone() {
        run.step(names::RECOVERY, kind, 0);
        let setup = Setup {
            memtable_bytes: 16 << 30,
            ..run.options.setup()
        };
        let Home { engine, dir } = run.open(kind, setup)?;
        let count = fill(&*engine, &messages, bytes)?;
        drop(engine);
        let mut opened = None;
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.stretch_counted(|| {
            let engine = kind.open(dir.path(), run.options.setup())?;
            check(&*engine, &messages, count)?;
            opened = Some(engine);
            Ok(count)
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let mut sample = meter.finish()?;
        sample
            .more
            .extend([("log_bytes", float(bytes)), ("seconds", seconds)]);
        run.add(names::RECOVERY, kind, 0, sample);
        let engine = opened.context("opened")?;
        run.report.describe(kind.name(), engine.options());
        drop(engine);
    }
    Ok(())
}

/// Writes messages of `bytes` bytes durably; returns how many.
fn fill(engine: &dyn Engine, messages: &Messages, bytes: u64) -> Result<u64> {
    let (mut count, mut written) = (0, 0);
    while written < bytes {
        let lump: Vec<_> = (count..count + LUMP).map(|at| messages.at(at)).collect();
        engine.write(&lump)?;
        count += LUMP;
        written += lump.iter().map(Message::raw_bytes).sum::<u64>();
    }
    Ok(count)
}

/// Reads the pages of the first and of the last message, and some between them.
fn check(engine: &dyn Engine, messages: &Messages, count: u64) -> Result<()> {
    for number in [0, count / 3, count / 2, count - 1] {
        let message = messages.at(number);
        let mut seen = Seen::default();
        engine.page(message.channel, message.bucket(), 1, &mut seen)?;
        anyhow::ensure!(seen.rows == 1, "message {number} is lost");
    }
    let newest = messages.at(count - 1);
    let mut seen = Seen::default();
    engine.page(newest.channel, newest.bucket(), 1, &mut seen)?;
    let mut expected = Seen::default();
    expected.row(newest.id, newest.author, newest.content);
    anyhow::ensure!(seen == expected, "the newest message is not the newest row");
    Ok(())
}
