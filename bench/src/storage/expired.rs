//! The drop of a window in which everything has expired.
//!
//! The texts do not compress, so that the window has its size on disk as well. The drop is over when the call returns
//! and nothing of the window can be read; how long the disk takes to have its space back is told beside it.

use std::time::Instant;

use anyhow::Result;

use super::Run;
use crate::engine::{Engine, Kind};
use crate::measure::{Sample, Used, float};
use crate::messages::{BUCKET_MS, Message, Seeded, id_at};
use crate::report::names;

const CHANNELS: u64 = 100;
const CONTENT_BYTES: usize = 1000;
const BATCH: u64 = 256;
/// When everything expires: long after the window is over and compacted.
const EXPIRES_AT_MS: u64 = 10 * BUCKET_MS;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    for kind in run.kinds.clone() {
        run.step(names::EXPIRED, kind, 0);
        let mut home = run.open(kind, run.options.setup())?;
        fill(&*home.engine, run.options.window_bytes())?;
        home.engine.settle()?;
        let bytes = home.engine.file_bytes()?;
        // Asking costs a read as well.
        let asked = Used::now()?;
        let before = Used::now()?;
        let asking = before.since(asked).read_bytes;
        let start = Instant::now();
        home.engine.drop_expired(EXPIRES_AT_MS + 1)?;
        let seconds = start.elapsed().as_secs_f64();
        home.engine.wait_for_space()?;
        let free_seconds = start.elapsed().as_secs_f64();
        let used = Used::now()?.since(before);
        let more = [
            ("window_bytes", float(bytes)),
            ("read_bytes", float(used.read_bytes.saturating_sub(asking))),
            ("written_bytes", float(used.written_bytes)),
            ("milliseconds", seconds * 1000.0),
            ("milliseconds_until_space_is_back", free_seconds * 1000.0),
        ];
        add(run, kind, Sample::of(1, 1.0 / seconds, &more));
    }
    Ok(())
}

fn add(run: &mut Run<'_>, kind: Kind, sample: Sample) {
    run.add(names::EXPIRED, kind, 0, sample);
}

fn fill(engine: &dyn Engine, bytes: u64) -> Result<()> {
    let mut seeded = Seeded::new(3);
    let noise: Vec<u8> = (0..(1_usize << 20)).map(|_| byte(&mut seeded)).collect();
    let count = bytes / (CONTENT_BYTES as u64 + 32);
    let mut from = 0;
    while from < count {
        let to = count.min(from + BATCH);
        let batch: Vec<_> = (from..to)
            .map(|number| {
                let at = seeded.below(noise.len() - CONTENT_BYTES);
                Message {
                    channel: 1 + number % CHANNELS,
                    id: id_at(1 + number / 8, number),
                    author: number,
                    content: &noise[at..at + CONTENT_BYTES],
                }
            })
            .collect();
        engine.load_expiring(&batch, EXPIRES_AT_MS)?;
        from = to;
    }
    Ok(())
}

fn byte(seeded: &mut Seeded) -> u8 {
    u8::try_from(seeded.next() >> 56).unwrap_or(0)
}
