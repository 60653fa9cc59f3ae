//! What a run says at its end: tables as Markdown, and a drawing of writes and faults over time.

use super::Shared;
use super::timeline::{Figures, Span};
use crate::measure::float;
use crate::report::machine;
use crate::report::svg::{Axis, Chart, Panel, Scale, Series};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;

/// The report and the drawing.
pub(crate) fn of(shared: &Shared, heard: &[(usize, u64)]) -> (String, String) {
    let figures = shared.timeline.figures();
    let mut text = String::new();
    let written = write(&mut text, shared, &figures, heard);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    (text, draw(&figures).to_svg())
}

fn write(
    text: &mut String,
    shared: &Shared,
    figures: &Figures,
    heard: &[(usize, u64)],
) -> std::fmt::Result {
    let (violations, violation_count) = shared.findings.violations();
    let verdict = if violation_count == 0 {
        "nothing lost, doubled, reordered or resurrected".to_owned()
    } else {
        format!("{violation_count} violations")
    };
    writeln!(text, "# Chaos: {verdict}\n")?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    writeln!(
        text,
        "`bench {}`, seed {}, {}\n",
        arguments.join(" "),
        shared.ledger.seed,
        machine()
    )?;
    for violation in &violations {
        writeln!(text, "- VIOLATION: {violation}")?;
    }
    if !violations.is_empty() {
        writeln!(text)?;
    }
    write_figures(text, shared, figures, heard)?;
    write_faults(text, &figures.spans)
}

fn write_figures(
    text: &mut String,
    shared: &Shared,
    figures: &Figures,
    heard: &[(usize, u64)],
) -> std::fmt::Result {
    let options = &shared.options;
    writeln!(text, "| what | |\n|---|---:|")?;
    let mut row = |name: &str, value: String| writeln!(text, "| {name} | {value} |");
    row("nodes", shared.doors.count().to_string())?;
    row("seconds", figures.seconds.len().to_string())?;
    row(
        "writers, readers",
        format!("{}, {}", options.writers, options.readers),
    )?;
    row("acknowledged writes", figures.acknowledged.to_string())?;
    row("reads that were checked", figures.reads.to_string())?;
    let registers = &shared.registers;
    let keys = registers.keys.load(Ordering::Relaxed);
    let calls = registers.calls.load(Ordering::Relaxed);
    let undecided = registers.undecided.load(Ordering::Relaxed);
    row(
        "registers, calls on them, undecided",
        format!("{keys}, {calls}, {undecided}"),
    )?;
    let changes: Vec<String> = heard
        .iter()
        .map(|(changes, _)| changes.to_string())
        .collect();
    row("changes heard by each listener", changes.join(", "))?;
    let begun: u64 = heard.iter().map(|(_, begun)| begun).sum();
    row("subscriptions begun", begun.to_string())?;
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.0} ms"));
    let latency = |share| ms(figures.latency_ms(share));
    row(
        "write latency p50, p99, most",
        [latency(500), latency(990), latency(1000)].join(", "),
    )?;
    row(
        "longest time without an acknowledged write",
        ms(Some(figures.longest.as_secs_f64() * 1e3)),
    )?;
    row(
        "seconds without an acknowledged write",
        figures.empty_seconds().to_string(),
    )?;
    let count = figures.failovers.len();
    let failover = |share| ms(figures.failover_ms(share));
    row(
        &format!("leader killed until its group's next write, p50, p99, most of {count}"),
        [failover(500), failover(990), failover(1000)].join(", "),
    )?;
    row(
        "groups of killed leaders without another write",
        figures.failovers_open.to_string(),
    )?;
    let errors = shared.findings.errors();
    let errors: Vec<String> = errors
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    row("tries that failed", errors.join(", "))
}

fn write_faults(text: &mut String, spans: &[Span]) -> std::fmt::Result {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for span in spans {
        *kinds.entry(span.kind).or_default() += 1;
    }
    let counts: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    writeln!(text, "\n{} faults: {}\n", spans.len(), counts.join(", "))?;
    writeln!(text, "| from s | to s | fault |\n|---:|---:|---|")?;
    for span in spans {
        let (from, to) = (span.from.as_secs_f64(), span.to.as_secs_f64());
        let what = span.text.replace('|', "/");
        writeln!(text, "| {from:.1} | {to:.1} | {}: {what} |", span.kind)?;
    }
    Ok(())
}

fn draw(figures: &Figures) -> Chart {
    let seconds = figures.seconds.iter().zip(1_u64..);
    let points = seconds.map(|(count, second)| (float(second), float(*count)));
    let axis = |scale, label| Axis { scale, label };
    let writes = Panel {
        title: "Acknowledged writes, each second".to_owned(),
        x: axis(Scale::Linear, "seconds"),
        y: axis(Scale::Linear, "writes per second"),
        series: vec![Series {
            color: 0,
            dashed: false,
            marked: false,
            points: points.collect(),
        }],
    };
    let mut kinds: Vec<&str> = figures.spans.iter().map(|span| span.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let end = float(figures.seconds.len() as u64);
    let line = |points, color, dashed| Series {
        color,
        dashed,
        marked: false,
        points,
    };
    // The two drawings have the same seconds above each other.
    let mut series = vec![line(vec![(end, 0.0), (end, 0.0)], 3, true)];
    for span in &figures.spans {
        let at = kinds
            .iter()
            .position(|kind| *kind == span.kind)
            .unwrap_or(0);
        let (from, to) = (span.from.as_secs_f64(), span.to.as_secs_f64());
        let height = float(at as u64);
        series.push(line(
            vec![(from, height), (to.max(from + 0.3), height)],
            1,
            false,
        ));
    }
    let faults = Panel {
        title: "Faults, until everything runs again".to_owned(),
        x: axis(Scale::Linear, "seconds"),
        y: axis(
            Scale::Named(kinds.iter().map(|kind| (*kind).to_owned()).collect()),
            "fault",
        ),
        series,
    };
    Chart {
        title: "Acknowledged writes under faults",
        legend: vec![
            ("writes".to_owned(), 0, false),
            ("fault".to_owned(), 1, false),
        ],
        columns: 1,
        wide: 2.0,
        panels: vec![writes, faults],
    }
}
