//! Which plots a run has: throughput over time, latency percentiles, page cost against deleted rows.

use super::svg::{Axis, Chart, Panel, Scale, Series};
use super::{Report, names};
use crate::measure::float;

/// Latencies shown, in thousandths of all operations.
const SHARES: [(usize, &str); 7] = [
    (500, "50 %"),
    (750, "75 %"),
    (900, "90 %"),
    (950, "95 %"),
    (990, "99 %"),
    (999, "99.9 %"),
    (1000, "all"),
];

/// File names and files; a plot without figures is left out.
pub(super) fn all(report: &Report) -> Vec<(&'static str, String)> {
    [
        ("throughput.svg", throughput(report)),
        ("latency.svg", latency(report)),
        ("deleted.svg", deleted(report)),
    ]
    .into_iter()
    .filter(|(_, chart)| !chart.panels.is_empty())
    .map(|(name, chart)| (name, chart.to_svg()))
    .collect()
}

fn color(engine: &str) -> usize {
    match engine {
        "chatdb" => 0,
        "rocksdb" => 1,
        "fjall" => 2,
        _ => 3,
    }
}

fn legend<'a>(engines: impl IntoIterator<Item = &'a str>) -> Vec<(String, usize, bool)> {
    engines
        .into_iter()
        .map(|engine| (engine.to_owned(), color(engine), false))
        .collect()
}

fn axis(scale: Scale, label: &'static str) -> Axis {
    Axis { scale, label }
}

/// Messages stored in each second of the sustained ingest.
fn throughput(report: &Report) -> Chart {
    let engines = report.engines_of(names::SUSTAINED);
    let series: Vec<Series> = engines
        .iter()
        .filter_map(|engine| {
            let sample = report.of(names::SUSTAINED, engine).next()?;
            let points = sample.each_second.iter().zip(1_u64..);
            let points = points.map(|(count, second)| (float(second), float(*count)));
            Some(Series {
                color: color(engine),
                dashed: false,
                marked: false,
                points: points.collect(),
            })
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    let panel = Panel {
        title: "Sustained durable ingest, each second".to_owned(),
        x: axis(Scale::Linear, "seconds since the start"),
        y: axis(Scale::Linear, "messages per second"),
        series,
    };
    let panels = Some(panel).filter(|panel| !panel.series.is_empty());
    Chart {
        title: "Throughput over time",
        legend: legend(engines),
        columns: 1,
        wide: 2.0,
        panels: panels.into_iter().collect(),
    }
}

/// Latencies of each workload that times single operations.
fn latency(report: &Report) -> Chart {
    let workloads = [
        names::ONE_WRITER,
        names::MANY_WRITERS,
        names::PAGE_SETTLED,
        names::PAGE_UNSETTLED,
        names::PAGE_MIXED,
        names::PAGE_BEYOND_CACHE,
    ];
    let mut shown: Vec<&str> = Vec::new();
    let mut panels = Vec::new();
    for workload in workloads {
        let mut series = Vec::new();
        for engine in report.engines_of(workload) {
            let points = SHARES.iter().zip(0_u64..).filter_map(|((share, _), at)| {
                let latency = report.figure(workload, engine, |it| it.latency(*share))?;
                Some((float(at), latency.median))
            });
            series.push(Series {
                color: color(engine),
                dashed: false,
                marked: true,
                points: points.collect(),
            });
            if !shown.contains(&engine) {
                shown.push(engine);
            }
        }
        if series.is_empty() {
            continue;
        }
        let named = SHARES.iter().map(|(_, name)| (*name).to_owned()).collect();
        panels.push(Panel {
            title: workload.to_owned(),
            x: axis(Scale::Named(named), "share of operations that are as fast"),
            y: axis(Scale::Log, "microseconds"),
            series,
        });
    }
    Chart {
        title: "Latency percentiles",
        legend: legend(shown),
        columns: 2,
        wide: 1.0,
        panels,
    }
}

/// Cost of a page against the number of deleted rows before its one live row.
fn deleted(report: &Report) -> Chart {
    let engines: Vec<&'static str> =
        report.engines_of(&names::deleted(names::DELETED_IDLE, 10_000));
    let states = [(names::DELETED_IDLE, false), (names::DELETED_AT_ONCE, true)];
    let mut series = Vec::new();
    let mut legend = Vec::new();
    for engine in &engines {
        for (state, dashed) in states {
            let points = (4..=9).filter_map(|zeros| {
                let count = 10_u64.pow(zeros);
                let name = names::deleted(state, count);
                let page = report.figure(&name, engine, |it| it.latency(500))?;
                Some((float(count), page.median))
            });
            series.push(Series {
                color: color(engine),
                dashed,
                marked: true,
                points: points.collect(),
            });
            let when = if dashed { "right after" } else { "idle" };
            legend.push((format!("{engine}, {when}"), color(engine), dashed));
        }
    }
    let panel = Panel {
        title: "Page with one live row behind N deleted ones".to_owned(),
        x: axis(Scale::Log, "deleted messages of the channel"),
        y: axis(Scale::Log, "microseconds, median"),
        series,
    };
    let panels = Some(panel).filter(|panel| !panel.series.is_empty());
    Chart {
        title: "Page cost against deleted rows",
        legend,
        columns: 1,
        wide: 2.0,
        panels: panels.into_iter().collect(),
    }
}
