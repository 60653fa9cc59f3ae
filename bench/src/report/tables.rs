//! The tables of a run as Markdown.

use std::fmt::Write as _;

use super::{Report, requirements};
use crate::measure::Sample;

/// Requirements, costs, further figures, options.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!(
        "<!-- Written by `bench storage`; do not edit. -->\n# Storage engine beside its peers\n\n```sh\n{}\n```\n\n{}\n",
        report.command, report.machine
    );
    if report.quick {
        text.push_str("\n**A quick run with small sizes: to try things, not to compare.**\n");
    }
    text.push_str(&requirements_table(report));
    text.push_str(&costs_table(report));
    text.push_str(&further_table(report));
    text.push_str("\n## What each engine was opened with\n\n");
    for options in report.engines.values() {
        put(&mut text, format_args!("* {options}\n"));
    }
    text
}

fn requirements_table(report: &Report) -> String {
    let lines = requirements::lines(report);
    if lines.is_empty() {
        return String::new();
    }
    let mut text =
        "\n## What it must reach\n\nRatios are medians over the rounds (least-most).\n\n\
         | what | must | measured | holds |\n|---|---|---|---|\n"
            .to_owned();
    for line in lines {
        let holds = if line.holds { "yes" } else { "**no**" };
        put(
            &mut text,
            format_args!(
                "| {} | {} | {} | {holds} |\n",
                line.what, line.must, line.measured
            ),
        );
    }
    text
}

fn costs_table(report: &Report) -> String {
    let mut text = "\n## Cost of each operation\n\nMedians over the rounds. Processor time, allocations, syncs and bytes \
         are those of the whole process, background work included.\n\n\
         | workload | engine | ops/s, median (min-max) | p50 us | p99 us | p99.9 us | CPU us | allocations | syncs | bytes written |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for workload in report.workloads() {
        for engine in report.engines_of(workload) {
            let Some(rate) = report.figure(workload, engine, |it| Some(it.per_second)) else {
                continue;
            };
            let of = |figure: &dyn Fn(&Sample) -> Option<f64>| {
                report
                    .figure(workload, engine, figure)
                    .map_or_else(String::new, |it| short(it.median))
            };
            // A sample without costs holds only figures of its workload.
            if report
                .figure(workload, engine, |it| Some(it.cpu_us))
                .is_some_and(|it| it.max <= 0.0)
            {
                continue;
            }
            put(
                &mut text,
                format_args!(
                    "| {workload} | {engine} | {} ({}-{}) | {} | {} | {} | {} | {} | {} | {} |\n",
                    short(rate.median),
                    short(rate.min),
                    short(rate.max),
                    of(&|it| it.latency(500)),
                    of(&|it| it.latency(990)),
                    of(&|it| it.latency(999)),
                    of(&|it| Some(it.cpu_us)),
                    of(&|it| Some(it.allocations)),
                    of(&|it| Some(it.syncs)),
                    of(&|it| Some(it.written_bytes)),
                ),
            );
        }
    }
    text
}

fn further_table(report: &Report) -> String {
    let mut text =
        "\n## Further figures\n\n| workload | engine | figures |\n|---|---|---|\n".to_owned();
    for workload in report.workloads() {
        for engine in report.engines_of(workload) {
            let Some(sample) = report.of(workload, engine).last() else {
                continue;
            };
            if sample.more.is_empty() {
                continue;
            }
            let figures: Vec<String> = sample
                .more
                .iter()
                .map(|(name, value)| format!("{} {}", name.replace('_', " "), short(*value)))
                .collect();
            put(
                &mut text,
                format_args!("| {workload} | {engine} | {} |\n", figures.join(", ")),
            );
        }
    }
    text
}

/// Three digits where there are decimals, whole numbers otherwise.
fn short(value: f64) -> String {
    match value.abs() {
        v if v < 0.000_5 => "0".to_owned(),
        v if v < 1.0 => format!("{value:.3}"),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn put(text: &mut String, more: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(more);
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
}
