//! Ingest over 30 windows of which one message in twenty comes late, into a window that is over: an import beside
//! the live traffic, or a backfill. What it costs is write amplification; the rate is a figure beside it.

use std::time::Instant;

use anyhow::Result;

use super::Run;
use super::sustained::{CHANNELS, WINDOWS, add_written, ingest, raw_bytes, share};
use crate::measure::float;
use crate::messages::Messages;
use crate::report::names;

/// One message in so many is late.
const LATE_ONE_IN: u64 = 20;

pub(super) fn run(run: &mut Run<'_>) -> Result<()> {
    let count = run.options.late();
    let seed = run.options.seed;
    let messages = Messages::new(seed, CHANNELS, count, WINDOWS).with_late(LATE_ONE_IN);
    let setup = share(run.options.setup(), count);
    for kind in run.kinds.clone() {
        run.step(names::LATE, kind, 0);
        let home = run.open(kind, setup)?;
        let (mut sample, written) = ingest(run, (kind, &*home.engine), (&messages, count))?;
        let raw = raw_bytes(&messages, written);
        add_written(&mut sample, &*home.engine, raw);
        run.step("full compaction after it", kind, 0);
        let start = Instant::now();
        home.engine.settle()?;
        let seconds = start.elapsed().as_secs_f64();
        let settled = home.engine.file_bytes()?;
        let settled_share = float(settled) / float(raw);
        sample.more.extend([
            ("settle_seconds", seconds),
            ("bytes_per_raw_byte", settled_share),
        ]);
        run.add(names::LATE, kind, 0, sample);
    }
    Ok(())
}
