//! What forwarding costs without sockets: one publisher, 20 subscribers, sealed packets in memory.
//!
//! `cargo run --release -p voice --example fanout`: processor time of this thread (`/proc/thread-self/schedstat`) per
//! copy that goes out, the decrypt of the incoming packet included; the least of several runs.

use std::io::Write;
use std::time::Duration;

use voice::fuzzing::Fanout;

const SUBSCRIBERS: u8 = 20;
const PACKETS: u16 = 2000;
const RUNS: usize = 9;

fn main() -> anyhow::Result<()> {
    for (name, len, video, gap_us) in [
        ("video, 1100 bytes", 1100, true, 1000),
        ("voice, 80 bytes", 80, false, 20_000),
    ] {
        let mut least = u64::MAX;
        let mut copies = 0;
        for _ in 0..RUNS {
            let mut fanout = Fanout::new(SUBSCRIBERS, PACKETS, len, video);
            let before = processor_time()?;
            (copies, _) = fanout.run(Duration::from_micros(gap_us));
            least = least.min((processor_time()? - before) / copies.max(1));
        }
        writeln!(
            std::io::stdout(),
            "{name}: {least} ns per copy, {copies} copies to {SUBSCRIBERS} subscribers"
        )?;
    }
    Ok(())
}

fn processor_time() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let field = text.split_ascii_whitespace().next();
    Ok(field
        .ok_or_else(|| anyhow::anyhow!("schedstat is empty"))?
        .parse()?)
}
