//! Everything one run measured, and what is made of it: a table against the requirements, a table of costs, the
//! samples as JSON, and plots.

pub(crate) mod names;
mod plots;
mod requirements;
pub(crate) mod svg;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::measure::{Sample, median};

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The command that was run.
    command: String,
    machine: String,
    /// Whether sizes were the small ones.
    quick: bool,
    /// Engine to what it was opened with.
    engines: BTreeMap<&'static str, String>,
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

/// Median of a figure over the rounds, and its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Report {
    pub(crate) fn new(quick: bool) -> Self {
        // Where the result goes and where the databases were says nothing about the run.
        let mut arguments = std::env::args().skip(1);
        let mut command = String::from("bench");
        while let Some(argument) = arguments.next() {
            if argument == "--out" || argument == "--dir" {
                arguments.next();
            } else {
                command.push(' ');
                command.push_str(&argument);
            }
        }
        Self {
            command,
            machine: machine(),
            quick,
            engines: BTreeMap::new(),
            samples: Vec::new(),
        }
    }

    /// Keeps what an engine was opened with, as of the first time.
    pub(crate) fn describe(&mut self, engine: &'static str, options: String) {
        self.engines.entry(engine).or_insert(options);
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

    /// Writes `storage.md`, `storage.json` and the plots.
    pub(crate) fn write_to(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let mut files = vec![("storage.md", self.to_markdown()), ("storage.json", json)];
        files.extend(plots::all(self));
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The tables.
    pub(crate) fn to_markdown(&self) -> String {
        tables::markdown(self)
    }

    /// Samples of one engine in one workload, by round.
    fn of<'a>(
        &'a self,
        workload: &'a str,
        engine: &'a str,
    ) -> impl Iterator<Item = &'a Sample> + Clone {
        self.samples
            .iter()
            .filter(move |row| row.workload == workload && row.engine == engine)
            .map(|row| &row.sample)
    }

    /// A figure of one engine in one workload; `None` if it was not measured.
    fn figure(
        &self,
        workload: &str,
        engine: &str,
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.of(workload, engine).filter_map(figure))
    }

    /// The same of one engine over another, round by round.
    fn ratio(
        &self,
        workload: &str,
        (engine, other): (&str, &str),
        figure: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Spread> {
        let pairs = self.of(workload, engine).zip(self.of(workload, other));
        Spread::of(pairs.filter_map(|(ours, theirs)| Some(figure(ours)? / figure(theirs)?)))
    }

    /// Workloads in the order in which they were measured.
    fn workloads(&self) -> Vec<&str> {
        let mut workloads: Vec<&str> = Vec::new();
        for row in &self.samples {
            if !workloads.contains(&row.workload.as_str()) {
                workloads.push(&row.workload);
            }
        }
        workloads
    }

    /// Engines of one workload, in a fixed order.
    fn engines_of(&self, workload: &str) -> Vec<&'static str> {
        let known = ["chatdb", "rocksdb", "fjall", names::RAW_DISK];
        known
            .into_iter()
            .filter(|engine| self.of(workload, engine).next().is_some())
            .collect()
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        Some(Self {
            min: values.iter().copied().reduce(f64::min)?,
            max: values.iter().copied().reduce(f64::max)?,
            median: median(values),
        })
    }
}

/// A figure that only some workloads have.
fn more(name: &'static str) -> impl Fn(&Sample) -> Option<f64> {
    move |sample| sample.more.get(name).copied()
}

/// Processor, cores and kernel of this machine, in one line.
pub(crate) fn machine() -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut report = Report::new(true);
        for (round, (ours, theirs)) in [(10.0, 5.0), (30.0, 10.0), (8.0, 8.0)].iter().enumerate() {
            report.add("w", "chatdb", round, Sample::of(1, *ours, &[]));
            report.add("w", "rocksdb", round, Sample::of(1, *theirs, &[]));
        }
        let ratio = report.ratio("w", ("chatdb", "rocksdb"), |it| Some(it.per_second));
        let expected = Spread {
            min: 1.0,
            median: 2.0,
            max: 3.0,
        };
        assert_eq!(ratio, Some(expected));
        assert_eq!(report.ratio("w", ("chatdb", "fjall"), |_| Some(1.0)), None);
    }
}
