//! What a run found: a table against the requirements, figures, JSON and plots.

use crate::measure::{float, median};
use crate::report::machine;
use crate::report::svg::{Axis, Chart, Panel, Scale, Series};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) must: String,
    pub(super) measured: String,
    /// Whether it is as it must be; nothing where nothing is asked for.
    pub(super) holds: Option<bool>,
}

/// A figure by name, once for each round or node.
#[derive(Clone, Debug, Serialize)]
struct Figure {
    group: String,
    name: String,
    values: Vec<f64>,
}

/// Everything that one invocation measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    command: String,
    machine: String,
    /// Processes that wanted to run when the run began, by the kernel's average over one minute.
    load_before: f64,
    quick: bool,
    lines: Vec<Line>,
    notes: Vec<String>,
    figures: Vec<Figure>,
    series: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Report {
    pub(super) fn new(quick: bool) -> Self {
        // Where the result goes and where the programs and data were says nothing about the run.
        let mut arguments = std::env::args().skip(1);
        let mut command = String::from("bench");
        while let Some(argument) = arguments.next() {
            if ["--out", "--dir", "--chatdb", "--etcd"].contains(&argument.as_str()) {
                arguments.next();
            } else {
                command.push(' ');
                command.push_str(&argument);
            }
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().and_then(|it| it.parse().ok());
        Self {
            command,
            machine: machine(),
            load_before: load.unwrap_or(f64::NAN),
            quick,
            lines: Vec::new(),
            notes: Vec::new(),
            figures: Vec::new(),
            series: BTreeMap::new(),
        }
    }

    pub(super) fn tell(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(super) fn figures(&mut self, group: &str, figures: &[(&str, Vec<f64>)]) {
        for (name, values) in figures {
            self.figures.push(Figure {
                group: group.to_owned(),
                name: (*name).to_owned(),
                values: values.clone(),
            });
        }
    }

    pub(super) fn series(&mut self, name: &str, points: Vec<(f64, f64)>) {
        self.series.insert(name.to_owned(), points);
    }

    pub(super) fn write_to(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let files = [
            ("cluster.md", self.to_markdown()),
            ("cluster.json", json),
            ("cluster.svg", self.chart().to_svg()),
        ];
        for (name, text) in files {
            let path = dir.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    pub(super) fn to_markdown(&self) -> String {
        let mut text = String::new();
        let written = self.write(&mut text);
        debug_assert!(written.is_ok(), "writing to a String cannot fail");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "<!-- Written by `bench cluster`; do not edit. -->")?;
        writeln!(text, "# A cluster of three nodes in numbers\n")?;
        writeln!(text, "```sh\n{}\n```\n", self.command)?;
        writeln!(
            text,
            "{}; load average before the run {:.1}. Nodes, clients and etcd shared these processors and one disk; every \
             node is a process with a directory of its own. What a row means is told at the head of its file in \
             `bench/src/cluster/`. Faults are in [faults.md](faults.md).\n",
            self.machine, self.load_before
        )?;
        if self.quick {
            writeln!(
                text,
                "**A quick run with small sizes: to try things, not to compare.**\n"
            )?;
        }
        writeln!(
            text,
            "| what | must | measured | holds |\n|---|---|---|---|"
        )?;
        for line in &self.lines {
            let holds = match line.holds {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "-",
            };
            writeln!(
                text,
                "| {} | {} | {} | {holds} |",
                line.what, line.must, line.measured
            )?;
        }
        for note in &self.notes {
            writeln!(text, "\n{note}")?;
        }
        writeln!(text, "\n![the plots of this run](cluster.svg)")?;
        let mut group = "";
        for figure in &self.figures {
            if figure.group != group {
                group = &figure.group;
                writeln!(
                    text,
                    "\n## {group}\n\n| what | median (least-most) |\n|---|---:|"
                )?;
            }
            writeln!(text, "| {} | {} |", figure.name, spread(&figure.values, 2))?;
        }
        Ok(())
    }

    /// The values of a figure; none when it was not measured.
    fn values(&self, group: &str, name: &str) -> Vec<f64> {
        let found = self
            .figures
            .iter()
            .find(|it| it.group == group && it.name == name);
        found.map(|it| it.values.clone()).unwrap_or_default()
    }

    fn chart(&self) -> Chart {
        let rounds = |name: &str| -> Vec<(f64, f64)> {
            let values = self.values(&format!("writes, {name}"), "writes per second");
            (1_u64..).map(float).zip(values).collect()
        };
        let found = |name: &str| self.series.get(name).cloned().unwrap_or_default();
        let names = ["50", "75", "90", "95", "99", "99.9", "100"].map(str::to_owned);
        let panels = [
            panel(
                "Durable writes with many in flight, by round",
                (Scale::Linear, "round"),
                (Scale::Linear, "writes per second"),
                [rounds("chatdb"), rounds("etcd")],
            ),
            panel(
                "Durable writes at half the knee, and the disk",
                (Scale::Named(names.to_vec()), "% of the writes are faster"),
                (Scale::Log, "ms"),
                [found("latency: writes"), found("latency: disk")],
            ),
            panel(
                "All nodes restarted in turn",
                (Scale::Linear, "seconds"),
                (Scale::Linear, "answered each second"),
                [found("rolling: answered each second"), Vec::new()],
            ),
        ];
        Chart {
            title: "A cluster of three nodes",
            legend: vec![
                ("chatdb".to_owned(), 0, false),
                ("etcd; the disk itself".to_owned(), 1, false),
            ],
            columns: 3,
            wide: 1.0,
            panels: panels
                .into_iter()
                .filter(|it| !it.series.is_empty())
                .collect(),
        }
    }
}

fn panel(
    title: &str,
    (x, x_label): (Scale, &'static str),
    (y, y_label): (Scale, &'static str),
    lines: [Vec<(f64, f64)>; 2],
) -> Panel {
    let series = lines
        .into_iter()
        .enumerate()
        .filter(|(_, points)| !points.is_empty());
    let series = series.map(|(color, points)| Series {
        color,
        dashed: false,
        marked: points.len() <= 10,
        points,
    });
    Panel {
        title: title.to_owned(),
        x: Axis {
            scale: x,
            label: x_label,
        },
        y: Axis {
            scale: y,
            label: y_label,
        },
        series: series.collect(),
    }
}

/// The median of some values, and their ends when there are several.
pub(super) fn spread(values: &[f64], digits: usize) -> String {
    let number = |value: f64| grouped(value, digits);
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let middle = number(median(values.iter().copied()));
    if values.len() < 2 {
        middle
    } else {
        format!("{middle} ({}-{})", number(least), number(most))
    }
}

/// A number with commas between thousands, and fewer digits after the point the larger it is.
fn grouped(value: f64, digits: usize) -> String {
    let digits = if value.abs() >= 1000.0 { 0 } else { digits };
    let text = format!("{value:.digits$}");
    let (whole, rest) = match text.split_once('.') {
        Some((whole, rest)) => (whole, format!(".{rest}")),
        None => (text.as_str(), String::new()),
    };
    let mut out = String::new();
    for (at, letter) in whole.chars().enumerate() {
        if at > 0
            && (whole.len() - at).is_multiple_of(3)
            && letter.is_ascii_digit()
            && !out.ends_with('-')
        {
            out.push(',');
        }
        out.push(letter);
    }
    out + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_holds_and_what_does_not() {
        let mut report = Report::new(true);
        for (holds, what) in [(Some(true), "a"), (Some(false), "b"), (None, "c")] {
            report.tell(Line {
                what: what.to_owned(),
                must: ">= 1".to_owned(),
                measured: "2".to_owned(),
                holds,
            });
        }
        report.figures(
            "writes, chatdb",
            &[("writes per second", vec![12_345.6, 11_000.0, 14_000.0])],
        );
        let text = report.to_markdown();
        assert!(text.contains("| a | >= 1 | 2 | yes |"), "{text}");
        assert!(text.contains("| b | >= 1 | 2 | **no** |"), "{text}");
        assert!(text.contains("| c | >= 1 | 2 | - |"), "{text}");
        assert!(text.contains("12,346 (11,000-14,000)"), "{text}");
        assert!(report.chart().to_svg().contains("by round"));
    }

    #[test]
    fn numbers_have_commas_between_thousands() {
        assert_eq!(grouped(1_234_567.0, 2), "1,234,567");
        assert_eq!(grouped(999.5, 1), "999.5");
        assert_eq!(grouped(-123_456.0, 0), "-123,456");
        assert_eq!(grouped(0.031, 3), "0.031");
    }
}
