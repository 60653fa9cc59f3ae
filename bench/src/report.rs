//! The table and the JSON of a run: medians over the rounds, their spread, and ratios against each peer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::measure::Sample;
use crate::peer::Kind;

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    options: String,
    machine: String,
    samples: Vec<Row>,
}

#[derive(Clone, Debug, Serialize)]
struct Row {
    workload: String,
    engine: &'static str,
    round: usize,
    #[serde(flatten)]
    sample: Sample,
}

impl Report {
    pub(crate) fn new(options: String) -> Self {
        Self {
            options,
            machine: machine(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn add(
        &mut self,
        workload: &str,
        engine: &'static str,
        round: usize,
        sample: Sample,
    ) {
        self.samples.push(Row {
            workload: workload.to_owned(),
            engine,
            round,
            sample,
        });
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Markdown: one line per workload and engine, chatdb first, then what it is against each peer.
    pub(crate) fn to_markdown(&self) -> String {
        let mut groups: BTreeMap<&str, BTreeMap<&str, Vec<&Row>>> = BTreeMap::new();
        for row in &self.samples {
            groups
                .entry(&row.workload)
                .or_default()
                .entry(row.engine)
                .or_default()
                .push(row);
        }
        let mut text = format!("{}\n\n", self.machine);
        text.push_str("| workload | engine | ops/s, median (min-max) | p50 us | p99 us | CPU us/op | bytes written/op | chatdb is |\n");
        text.push_str("|---|---|---:|---:|---:|---:|---:|---:|\n");
        for (workload, engines) in &groups {
            let ours = engines.get(Kind::Chatdb.name());
            for (engine, rows) in engines {
                let rates = spread(rows, |sample| sample.per_second);
                let ratio = ours.filter(|_| *engine != Kind::Chatdb.name()).map_or_else(
                    String::new,
                    |ours| {
                        format!(
                            "{:.2}x",
                            spread(ours, |sample| sample.per_second).1 / rates.1
                        )
                    },
                );
                let median = |figure: fn(&Sample) -> f64| spread(rows, figure).1;
                let written = writeln!(
                    text,
                    "| {workload} | {engine} | {:.0} ({:.0}-{:.0}) | {:.1} | {:.1} | {:.1} | {:.0} | {ratio} |",
                    rates.1,
                    rates.0,
                    rates.2,
                    median(|sample| sample.p50_us),
                    median(|sample| sample.p99_us),
                    median(|sample| sample.cpu_us),
                    median(|sample| sample.written_bytes),
                );
                debug_assert!(written.is_ok(), "writing to a String cannot fail");
            }
        }
        text
    }
}

/// Minimum, median and maximum of one figure over the rounds.
fn spread(rows: &[&Row], figure: fn(&Sample) -> f64) -> (f64, f64, f64) {
    let mut values: Vec<f64> = rows.iter().map(|row| figure(&row.sample)).collect();
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    (values[0], values[last / 2], values[last])
}

/// Processor, cores and kernel of this machine, in one line.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown processor");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} x{cores}, Linux {}",
        model.trim_start_matches([':', ' ', '\t']),
        kernel.trim()
    )
}
