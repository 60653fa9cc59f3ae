//! `bench cluster`: what a cluster of three `chatdb serve` processes does on this machine, row by row of the table that
//! it must meet, etcd beside it where both do the same.
//!
//! Nodes listen on loopback addresses of their own, with directories of their own on one disk. The clients are in this
//! process, through the remote `Db`. Each part is a file, whose head tells what it measures.

mod etcd;
mod fixture;
mod grow;
mod idle;
mod kill;
mod latency;
mod load;
mod options;
mod processes;
mod reads;
mod report;
mod rolling;
mod writes;

use crate::progress::Progress;
use anyhow::{Context, Result};
use chatdb::Db;
use fixture::Fixture;
use load::Window;
pub(crate) use options::Options;
use options::Part;
use report::{Line, Report};
use std::time::Duration;

/// One invocation: what is wanted, what was found.
struct Run {
    options: Options,
    report: Report,
    progress: Progress,
    /// Writes per second of the closed loop, when it was measured.
    knee: Option<f64>,
}

/// Runs the parts; the tables.
pub(crate) fn run(options: Options) -> Result<String> {
    let runtime = tokio::runtime::Runtime::new()?;
    let mut run = Run {
        report: Report::new(options.quick),
        progress: Progress::start(),
        knee: None,
        options,
    };
    let outcome = runtime.block_on(run.parts());
    run.progress.finish();
    outcome?;
    Ok(run.report.to_markdown())
}

impl Run {
    async fn parts(&mut self) -> Result<()> {
        self.options.program()?;
        if self.wants(Part::Writes) || self.wants(Part::Latency) {
            self.step("writes: starting the nodes");
            let fixture = Fixture::start(&self.options, 3, &[]).await?;
            writes::run(self, &fixture).await.context("writes")?;
            self.keep()?;
            if self.wants(Part::Latency) {
                latency::run(self, &fixture).await.context("latency")?;
                self.keep()?;
            }
        }
        if self.wants(Part::Reads) {
            reads::run(self).await.context("reads")?;
            self.keep()?;
        }
        if self.wants(Part::Kill) || self.wants(Part::Rolling) {
            self.step("kill: starting the nodes");
            let mut fixture = Fixture::start(&self.options, 3, &[]).await?;
            if self.wants(Part::Rolling) {
                rolling::run(self, &mut fixture).await.context("rolling")?;
                self.keep()?;
            }
            if self.wants(Part::Kill) {
                kill::run(self, &mut fixture).await.context("kill")?;
                self.keep()?;
            }
        }
        if self.wants(Part::Grow) {
            grow::run(self).await.context("grow")?;
            self.keep()?;
        }
        if self.wants(Part::Idle) {
            idle::run(self).await.context("idle")?;
            self.keep()?;
        }
        Ok(())
    }

    fn wants(&self, part: Part) -> bool {
        self.options.wants(part)
    }

    /// After each part, so that a run that is stopped leaves what it has.
    fn keep(&self) -> Result<()> {
        match &self.options.out {
            Some(out) => self.report.write_to(out),
            None => Ok(()),
        }
    }

    fn step(&self, text: &str) {
        self.progress.step(text);
    }

    fn tell(&mut self, line: Line) {
        let holds = match line.holds {
            Some(true) => ": holds",
            Some(false) => ": does not hold",
            None => "",
        };
        self.progress
            .step(&format!("{}: {}{holds}", line.what, line.measured));
        self.report.tell(line);
    }

    fn note(&mut self, text: String) {
        self.report.note(text);
    }

    fn figures(&mut self, group: &str, figures: &[(&str, Vec<f64>)]) {
        self.report.figures(group, figures);
    }

    fn series(&mut self, name: &str, points: Vec<(f64, f64)>) {
        self.report.series(name, points);
    }

    fn window(&self, warm_up: Duration) -> Window {
        Window {
            warm_up,
            length: Duration::from_secs(self.options.seconds()),
        }
    }

    /// The handles that the clients share.
    async fn clients(&self, fixture: &Fixture) -> Result<Vec<Db>> {
        let mut dbs = Vec::new();
        for _ in 0..self.options.connections.max(1) {
            dbs.push(fixture.connect().await?);
        }
        Ok(dbs)
    }
}
