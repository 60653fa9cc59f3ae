//! The storage workloads: each in a file of its own, all engines of a round one after the other.

mod beyond_cache;
mod deleted;
mod durable;
mod expired;
mod late;
mod options;
mod pages;
mod recovery;
mod sustained;

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

pub(crate) use options::Options;
use options::Workload;

use crate::engine::{Engine, Kind, Setup};
use crate::measure::Sample;
use crate::progress::Progress;
use crate::report::Report;

/// Rows of a page.
const PAGE_ROWS: usize = 50;
/// Messages that are loaded at once, where loading is not what is measured.
const LOAD_BATCH: u64 = 1000;

/// One run: what to measure, with whom, and where the results go.
struct Run<'a> {
    options: &'a Options,
    kinds: Vec<Kind>,
    report: Report,
    progress: Progress,
}

/// Runs one workload.
type Measure = fn(&mut Run<'_>) -> Result<()>;

/// An engine and the directory that it lives in, which is removed with it.
struct Home {
    engine: Box<dyn Engine>,
    /// Empty if the database is kept in another one.
    dir: TempDir,
}

/// Runs the workloads and returns the tables.
pub(crate) fn run(options: &Options) -> Result<String> {
    let mut kinds = vec![Kind::Chatdb];
    kinds.extend(options.peer.iter().filter(|kind| **kind != Kind::Chatdb));
    let mut run = Run {
        options,
        kinds,
        report: Report::new(options.quick),
        progress: Progress::start(),
    };
    let workloads: [(Workload, Measure); 7] = [
        (Workload::Durable, durable::run),
        (Workload::Pages, pages::run),
        (Workload::Sustained, sustained::run),
        (Workload::Late, late::run),
        (Workload::Deleted, deleted::run),
        (Workload::Expired, expired::run),
        (Workload::Recovery, recovery::run),
    ];
    for (workload, measure) in workloads {
        if options.wants(workload) {
            measure(&mut run).with_context(|| format!("{workload:?}"))?;
            // After each, so that a run that is stopped leaves what it has.
            if let Some(out) = &options.out {
                run.report.write_to(out)?;
            }
        }
    }
    run.progress.finish();
    Ok(run.report.to_markdown())
}

impl Run<'_> {
    /// The engines in the order of a round, so that none always runs first.
    fn order(&self, round: usize) -> Vec<Kind> {
        let mut kinds = self.kinds.clone();
        let turn = round % kinds.len();
        kinds.rotate_left(turn);
        kinds
    }

    fn fresh_dir(&self) -> Result<TempDir> {
        let dir = match &self.options.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        dir.context("make a directory for a database")
    }

    /// Opens an engine in a directory of its own.
    fn open(&mut self, kind: Kind, setup: Setup) -> Result<Home> {
        let dir = self.fresh_dir()?;
        let engine = kind
            .open(dir.path(), setup)
            .with_context(|| format!("open {}", kind.name()))?;
        self.report.describe(kind.name(), engine.options());
        Ok(Home { engine, dir })
    }

    /// Opens an engine in a directory that stays.
    fn open_in(&mut self, kind: Kind, setup: Setup, dir: &Path) -> Result<Home> {
        std::fs::create_dir_all(dir)?;
        let engine = kind
            .open(dir, setup)
            .with_context(|| format!("open {}", kind.name()))?;
        self.report.describe(kind.name(), engine.options());
        let dir = self.fresh_dir()?;
        Ok(Home { engine, dir })
    }

    fn add(&mut self, workload: &str, kind: Kind, round: usize, sample: Sample) {
        self.report.add(workload, kind.name(), round, sample);
    }

    fn step(&self, workload: &str, kind: Kind, round: usize) {
        let rounds = self.options.rounds();
        let text = format!(
            "{workload}: {}, round {} of {rounds}",
            kind.name(),
            round + 1
        );
        self.progress.step(&text);
    }
}
