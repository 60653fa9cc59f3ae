//! What the engine must reach, and whether this run says that it does.

use std::collections::BTreeMap;

use super::{Report, Spread, more, names};
use crate::measure::Sample;

const OURS: &str = "chatdb";
const PEER: &str = "rocksdb";

/// One line of the table.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) what: &'static str,
    pub(super) must: &'static str,
    pub(super) measured: String,
    pub(super) holds: bool,
}

/// The lines for which this run has figures.
pub(super) fn lines(report: &Report) -> Vec<Line> {
    let makers: [fn(&Report) -> Option<Line>; 15] = [
        many_writers,
        one_writer,
        sustained,
        slowest_second,
        page_settled,
        page_unsettled,
        page_beyond_cache,
        deleted_idle,
        deleted_at_once,
        amplification,
        amplification_late,
        size,
        expired,
        recovery,
        instructions,
    ];
    makers.iter().filter_map(|make| make(report)).collect()
}

fn rate(sample: &Sample) -> Option<f64> {
    (sample.per_second > 0.0).then_some(sample.per_second)
}

fn times(ratio: Spread) -> String {
    let Spread { min, median, max } = ratio;
    format!("{median:.2}x ({min:.2}-{max:.2})")
}

/// A line about our rate over the peer's.
fn faster(
    report: &Report,
    workload: &str,
    (what, must, at_least): (&'static str, &'static str, f64),
) -> Option<Line> {
    let ratio = report.ratio(workload, (OURS, PEER), rate)?;
    let (ours, theirs) = (
        report.figure(workload, OURS, rate)?.median,
        report.figure(workload, PEER, rate)?.median,
    );
    Some(Line {
        what,
        must,
        measured: format!("{}: {ours:.0}/s against {theirs:.0}/s", times(ratio)),
        holds: ratio.median >= at_least,
    })
}

fn many_writers(report: &Report) -> Option<Line> {
    let line = (
        "durable ingest, 64 writers, group commit",
        ">= 1.3x RocksDB",
        1.3,
    );
    faster(report, names::MANY_WRITERS, line)
}

fn one_writer(report: &Report) -> Option<Line> {
    let ratio = report.ratio(names::ONE_WRITER, (OURS, names::RAW_DISK), rate)?;
    let figure = |engine| report.figure(names::ONE_WRITER, engine, rate);
    let (ours, raw) = (figure(OURS)?.median, figure(names::RAW_DISK)?.median);
    Some(Line {
        what: "durable ingest, one writer",
        must: ">= 0.9x raw fdatasync",
        measured: format!("{}: {ours:.0}/s against {raw:.0}/s", times(ratio)),
        holds: ratio.median >= 0.9,
    })
}

fn sustained(report: &Report) -> Option<Line> {
    let line = (
        "sustained ingest beyond the memory budget, compaction included",
        ">= 1.2x RocksDB",
        1.2,
    );
    faster(report, names::SUSTAINED, line)
}

fn slowest_second(report: &Report) -> Option<Line> {
    let share = |engine| report.figure(names::SUSTAINED, engine, more("slowest_second_share"));
    let ours = share(OURS)?.median;
    let theirs = share(PEER).map_or(String::new(), |it| {
        format!(" (RocksDB: {:.0} %)", it.median * 100.0)
    });
    Some(Line {
        what: "its slowest second against its median second",
        must: ">= 50 %",
        measured: format!("{:.0} %{theirs}", ours * 100.0),
        holds: ours >= 0.5,
    })
}

fn page_settled(report: &Report) -> Option<Line> {
    let line = (
        "newest-50 page, cached, one core, both fully compacted",
        ">= 1.3x RocksDB",
        1.3,
    );
    faster(report, names::PAGE_SETTLED, line)
}

fn page_unsettled(report: &Report) -> Option<Line> {
    let line = (
        "the same before compaction has settled",
        ">= 1.5x RocksDB",
        1.5,
    );
    faster(report, names::PAGE_UNSETTLED, line)
}

fn page_beyond_cache(report: &Report) -> Option<Line> {
    let line = (
        "newest-50 page, data 10x the cache, Zipf",
        ">= 1.5x RocksDB, p99 <= 0.7x",
        1.5,
    );
    let mut line = faster(report, names::PAGE_BEYOND_CACHE, line)?;
    let p99 = |sample: &Sample| sample.latency(990);
    let tail = report.ratio(names::PAGE_BEYOND_CACHE, (OURS, PEER), p99)?;
    line.measured = format!("{}; p99 {}", line.measured, times(tail));
    line.holds &= tail.median <= 0.7;
    Some(line)
}

fn deleted_idle(report: &Report) -> Option<Line> {
    deleted(
        report,
        names::DELETED_IDLE,
        "page from a channel with N deleted and 1 live message, engine idle",
    )
}

fn deleted_at_once(report: &Report) -> Option<Line> {
    deleted(
        report,
        names::DELETED_AT_ONCE,
        "the same right after the deletions",
    )
}

/// The worst of all N against the page of the clean channel beside it, and the first page of each against the first
/// page there.
fn deleted(report: &Report, state: &str, what: &'static str) -> Option<Line> {
    let median = |sample: &Sample| sample.latency(500);
    let clean = report.figure(&names::deleted(state, 0), OURS, median)?;
    let clean_first = report.figure(&names::deleted(state, 0), OURS, more("first_us"))?;
    let mut parts = Vec::new();
    let mut worst: f64 = 0.0;
    for count in (4..=9).map(|zeros| 10_u64.pow(zeros)) {
        let name = names::deleted(state, count);
        let Some(page) = report.figure(&name, OURS, median) else {
            continue;
        };
        worst = worst.max(page.median / clean.median);
        let blocks = report.figure(&name, OURS, more("blocks"))?.median;
        let first = |engine| report.figure(&name, engine, more("first_us"));
        let ours_first = first(OURS)?.median;
        worst = worst.max(ours_first / clean_first.median);
        let theirs = report.figure(&name, PEER, median).zip(first(PEER));
        let theirs = theirs.map_or_else(String::new, |(page, first)| {
            format!(", RocksDB {:.0} ({:.0}) us", page.median, first.median)
        });
        parts.push(format!(
            "N = {count}: {:.1} us (the first page: {ours_first:.0} us), {blocks:.0} blocks{theirs}",
            page.median
        ));
    }
    Some(Line {
        what,
        must: "<= 2x a clean channel's page, flat in N",
        measured: format!(
            "{worst:.1}x at worst (clean: {:.1} us, the first page: {:.0} us); {}",
            clean.median,
            clean_first.median,
            parts.join("; ")
        ),
        holds: worst <= 2.0,
    })
}

fn amplification(report: &Report) -> Option<Line> {
    amplified(
        report,
        names::SUSTAINED,
        "write amplification over 30 windows",
    )
}

fn amplification_late(report: &Report) -> Option<Line> {
    amplified(
        report,
        names::LATE,
        "the same with 5 % of the messages late, into windows that are over",
    )
}

fn amplified(report: &Report, workload: &str, what: &'static str) -> Option<Line> {
    let of = |engine, name| report.figure(workload, engine, more(name));
    let ours = of(OURS, "write_amplification")?.median;
    let files = of(OURS, "write_amplification_files")?.median;
    let theirs = of(PEER, "write_amplification").zip(of(PEER, "write_amplification_files"));
    let theirs = theirs.map_or_else(String::new, |(all, files)| {
        format!(" (RocksDB: {:.2}, {:.2})", all.median, files.median)
    });
    Some(Line {
        what,
        must: "<= 3",
        measured: format!("{ours:.2} with the log, {files:.2} without{theirs}"),
        holds: ours <= 3.0,
    })
}

fn size(report: &Report) -> Option<Line> {
    let of = |engine| report.figure(names::SUSTAINED, engine, more("bytes_per_raw_byte"));
    let (ours, theirs) = (of(OURS)?.median, of(PEER)?.median);
    Some(Line {
        what: "bytes on disk per raw byte, sealed",
        must: "<= RocksDB zstd",
        measured: format!("{ours:.3} against {theirs:.3}: {:.2}x", ours / theirs),
        holds: ours <= theirs,
    })
}

fn expired(report: &Report) -> Option<Line> {
    let of = |engine, name| {
        report
            .figure(names::EXPIRED, engine, more(name))
            .map(|it| it.median)
    };
    let read = of(OURS, "read_bytes")?;
    let millis = of(OURS, "milliseconds")?;
    let size = of(OURS, "window_bytes")? / 1e9;
    let space = of(OURS, "milliseconds_until_space_is_back")?;
    let theirs = of(PEER, "milliseconds").map_or_else(String::new, |millis| {
        format!("; RocksDB, DeleteFilesInRange: {millis:.1} ms")
    });
    Some(Line {
        what: "drop of an expired window of 1 GB",
        must: "0 bytes read, < 10 ms",
        measured: format!(
            "{size:.2} GB: {read:.0} bytes read, {millis:.1} ms (space back after {space:.0} ms{theirs})"
        ),
        holds: read < 0.5 && millis < 10.0,
    })
}

fn recovery(report: &Report) -> Option<Line> {
    let of = |engine, name| {
        report
            .figure(names::RECOVERY, engine, more(name))
            .map(|it| it.median)
    };
    let seconds = of(OURS, "seconds")?;
    let size = of(OURS, "log_bytes")? / f64::from(1 << 30);
    let theirs = of(PEER, "seconds")
        .map_or_else(String::new, |seconds| format!(" (RocksDB: {seconds:.1} s)"));
    Some(Line {
        what: "recovery with 1 GB of log",
        must: "< 5 s",
        measured: format!("{size:.2} GiB: {seconds:.2} s{theirs}"),
        holds: seconds < 5.0,
    })
}

/// From the baseline that `make bench-gate` holds the engine to; callgrind does not run beside a peer.
fn instructions(_: &Report) -> Option<Line> {
    let baseline: BTreeMap<String, f64> =
        serde_json::from_str(include_str!("../../gate.json")).ok()?;
    let of = |name: &str| baseline.get(name).copied();
    Some(Line {
        what: "instructions per applied 128-byte row, engine only (callgrind)",
        must: "recorded, gate +-3 %",
        measured: format!(
            "{:.0} for log and memtable; {:.0} with flush and sealing merge; {:.0} for a cached newest-50 page",
            of("applied row, log and memtable")?,
            of("applied row, log to sealed file")?,
            of("page")?
        ),
        holds: true,
    })
}
