//! A page from a channel in which one message lives and N newer ones were deleted, one by one.
//!
//! The messages are stored and compacted first; the deletions come after. The page is read right after the deletions,
//! and when the engine has done, by its own rules, what it does about them. The first page of each state is a figure
//! of its own, `first us`: whatever an engine learns from walking over the deletions, it has to walk once.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{LOAD_BATCH, PAGE_ROWS, Run};
use crate::engine::{Engine, Kind, Seen};
use crate::measure::{Meter, float, nanos};
use crate::messages::{BUCKET_MS, Message, Messages, Seeded, id_at};
use crate::report::names;

/// The channel without deletions.
const CLEAN: u64 = 1;
const CLEAN_MESSAGES: u64 = 1000;
/// The newest of them may be deleted: the only row of its page that lives is the oldest one.
const CONTENT_BYTES: usize = 48;
/// A peer whose page takes longer than a second is measured by few of them.
const PAGES_MIN: usize = 3;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let messages = Messages::new(run.options.seed, 1, 1, 1);
    for kind in run.kinds.clone() {
        let mut counts = Vec::new();
        let mut count = 10_000;
        // fjall takes minutes for ten million; a tenth shows its slope.
        let most = run.options.deleted() / if kind == Kind::Fjall { 10 } else { 1 };
        while count <= most.max(10_000) {
            counts.push(count);
            count *= 10;
        }
        measure(run, kind, &messages, &counts)?;
    }
    Ok(())
}

fn measure(run: &mut Run<'_>, kind: Kind, messages: &Messages, counts: &[u64]) -> Result<()> {
    let home = run.open(kind, run.options.setup())?;
    let engine = &*home.engine;
    run.step("deleted messages: load", kind, 0);
    fill(engine, messages, CLEAN, CLEAN_MESSAGES)?;
    for (channel, count) in (CLEAN + 1..).zip(counts) {
        fill(engine, messages, channel, count + 1)?;
    }
    engine.settle()?;
    run.step("deleted messages: delete", kind, 0);
    for (channel, count) in (CLEAN + 1..).zip(counts) {
        delete(engine, channel, *count)?;
    }
    for (state, name) in [
        ("at once", names::DELETED_AT_ONCE),
        ("idle", names::DELETED_IDLE),
    ] {
        run.step(&format!("deleted messages, {state}"), kind, 0);
        if name == names::DELETED_IDLE {
            engine.idle()?;
        }
        page(run, kind, engine, (name, CLEAN, 0))?;
        for (channel, count) in (CLEAN + 1..).zip(counts) {
            page(run, kind, engine, (name, channel, *count))?;
        }
    }
    Ok(())
}

/// Stores `count` messages in a channel, all in one bucket.
fn fill(engine: &dyn Engine, messages: &Messages, channel: u64, count: u64) -> Result<()> {
    let mut seeded = Seeded::new(channel);
    let mut from = 0;
    while from < count {
        let to = count.min(from + LOAD_BATCH);
        let batch: Vec<_> = (from..to)
            .map(|number| Message {
                channel,
                id: id_of(number),
                author: 7,
                content: messages.text(seeded.next(), CONTENT_BYTES),
            })
            .collect();
        engine.load(&batch)?;
        from = to;
    }
    Ok(())
}

/// Deletes all messages of a channel but the oldest.
fn delete(engine: &dyn Engine, channel: u64, count: u64) -> Result<()> {
    let mut from = 1;
    while from <= count {
        let to = (count + 1).min(from + LOAD_BATCH);
        let ids: Vec<u64> = (from..to).map(id_of).collect();
        engine.delete(channel, bucket(), &ids)?;
        from = to;
    }
    Ok(())
}

fn id_of(number: u64) -> u64 {
    id_at(BUCKET_MS + number / 1000, number)
}

fn bucket() -> u64 {
    1
}

fn page(
    run: &mut Run<'_>,
    kind: Kind,
    engine: &dyn Engine,
    (name, channel, count): (&str, u64, u64),
) -> Result<()> {
    let expected = if channel == CLEAN {
        PAGE_ROWS as u64
    } else {
        1
    };
    let mut seen = Seen::default();
    let start = Instant::now();
    engine.page(channel, bucket(), PAGE_ROWS, &mut seen)?;
    let first = nanos(start);
    anyhow::ensure!(seen.rows == expected, "{} rows of {expected}", seen.rows);
    let end = Instant::now() + Duration::from_millis(run.options.millis() / 2);
    let mut meter = Meter::default();
    meter.stretch(|| {
        let mut latencies = Vec::new();
        while latencies.len() < PAGES_MIN || Instant::now() < end {
            let start = Instant::now();
            engine.page(channel, bucket(), PAGE_ROWS, &mut Seen::default())?;
            latencies.push(nanos(start));
        }
        Ok(latencies)
    })?;
    let mut sample = meter.finish()?;
    sample.more.insert("deleted", float(count));
    sample.more.insert("first_us", float(first) / 1000.0);
    if let Some(touched) = engine.touched(channel, bucket(), PAGE_ROWS)? {
        sample.more.insert("blocks", float(touched.blocks));
        sample.more.insert("dead_rows", float(touched.dead_rows));
    }
    run.add(&names::deleted(name, count), kind, 0, sample);
    Ok(())
}
