//! `bench chaos`: real processes, real faults, and a check that nothing acknowledged was lost, doubled, reordered or
//! resurrected.
//!
//! Writers, readers, registers and listeners work through the remote `Db`; a nemesis kills, stops, cuts and damages. The
//! truth is what the writers were told (`ledger`), the witness for what nobody was told is the change stream
//! (`verdict`), single keys are searched for an order (`linear`). A seed decides workload and faults; what the machine
//! makes of them it does not decide, so a run with the same seed is alike and not the same.

pub(crate) mod cluster;
mod damage;
mod disk;
mod doors;
mod findings;
mod ledger;
mod load;
mod nemesis;
pub(crate) mod options;
mod proxy;
mod report;
#[cfg(test)]
mod tests;
pub(crate) mod timeline;
mod verdict;

use crate::progress::Progress;
use anyhow::{Context, Result, bail};
use cluster::Cluster;
use disk::SmallDisk;
use doors::Doors;
use findings::Findings;
use ledger::Ledger;
use load::listener::{self, Listener};
use nemesis::Nemesis;
use options::Kind;
pub(crate) use options::Options;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use timeline::Timeline;

/// How long listeners may take until they have heard what was acknowledged.
const HEARD_WITHIN: Duration = Duration::from_mins(1);
/// How long the clients may take to end their last request.
const CLIENTS_END_WITHIN: Duration = Duration::from_mins(1);

/// What all tasks of a run share.
struct Shared {
    options: Options,
    ledger: Ledger,
    doors: Doors,
    findings: Findings,
    timeline: Timeline,
    registers: Registers,
    is_stopped: AtomicBool,
    is_checked: AtomicBool,
}

/// What became of the registers.
#[derive(Debug, Default)]
struct Registers {
    keys: AtomicUsize,
    calls: AtomicUsize,
    undecided: AtomicUsize,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }

    /// Whether nobody needs to hear any more.
    fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }
}

/// Runs load and faults; the report, or an error that holds it when something was violated.
pub(crate) fn run(options: Options) -> Result<String> {
    let runtime = tokio::runtime::Runtime::new()?;
    let dir = match &options.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let progress = Progress::start();
    let result = runtime.block_on(run_in(options, dir.path(), &progress));
    progress.finish();
    let is_clean = matches!(&result, Ok((_, true)));
    if !is_clean {
        let kept = dir.keep();
        let (text, _) = result.with_context(|| format!("see {}", kept.display()))?;
        bail!("data and logs are in {}\n\n{text}", kept.display());
    }
    Ok(result?.0)
}

/// The report, and whether nothing was violated.
async fn run_in(options: Options, dir: &Path, progress: &Progress) -> Result<(String, bool)> {
    progress.step("starting the nodes");
    let (cluster, disk) = if options.attach.is_empty() {
        let cluster = Cluster::prepare(options.plan()?, dir).await?;
        let disk = small_disk(&options, &cluster)?;
        (Some(cluster), disk)
    } else {
        (None, None)
    };
    let endpoints = match &cluster {
        Some(cluster) => cluster.endpoints(),
        None => options.attach.clone(),
    };
    let seed = options.seed.unwrap_or_else(clock_seed);
    let mut shared = Shared {
        ledger: Ledger::new(seed, options.writers),
        doors: Doors::new(endpoints),
        findings: Findings::default(),
        timeline: Timeline::new(),
        registers: Registers::default(),
        is_stopped: AtomicBool::new(false),
        is_checked: AtomicBool::new(false),
        options,
    };
    let cluster = match cluster {
        Some(mut cluster) => {
            // One after the other: the first makes the cluster that the others join.
            for number in 1..=cluster.nodes.len() {
                cluster.start(number).await?;
            }
            Some(cluster)
        }
        None => None,
    };
    load::make_tables(&shared).await?;
    shared.timeline = Timeline::new();
    let shared = Arc::new(shared);
    let mut nemesis = cluster.map(|cluster| Nemesis::new(&shared, cluster, disk));
    let listeners = work(&shared, nemesis.as_mut(), progress).await?;
    let heard: Vec<_> = listeners.iter().map(|it| it.heard.lock().clone()).collect();
    progress.step("checking");
    verdict::check(&shared, &heard.iter().collect::<Vec<_>>()).await?;
    let counts = listeners.iter().zip(&heard);
    let counts: Vec<_> = counts
        .map(|(it, heard)| (heard.len(), *it.begun.lock()))
        .collect();
    let (text, svg) = report::of(&shared, &counts);
    if let Some(out) = &shared.options.out {
        std::fs::create_dir_all(out)?;
        std::fs::write(out.join("chaos.md"), &text)?;
        std::fs::write(out.join("chaos.svg"), svg)?;
    }
    Ok((text, !shared.findings.has_any()))
}

/// Load and faults for as long as asked, then everything healed, and listeners that have heard everything.
async fn work(
    shared: &Arc<Shared>,
    nemesis: Option<&mut Nemesis>,
    progress: &Progress,
) -> Result<Vec<Arc<Listener>>> {
    let mut listeners = Vec::new();
    let mut listening = tokio::task::JoinSet::new();
    for number in 0..shared.options.listeners {
        let listener = Arc::new(Listener::default());
        listening.spawn(listener::run(
            Arc::clone(shared),
            Arc::clone(&listener),
            number,
        ));
        listeners.push(listener);
    }
    for listener in &listeners {
        let ready = listener.is_ready.notified();
        let ready = tokio::time::timeout(Duration::from_secs(30), ready).await;
        ready.context("a listener could not subscribe")?;
    }
    progress.step(&format!("load and faults, seed {}", shared.ledger.seed));
    let mut tasks = load::start(shared);
    if let Some(nemesis) = nemesis {
        let outcome = nemesis.run().await;
        if let Err(error) = outcome {
            shared
                .findings
                .violation(format!("a node did not come back: {error:#}"));
        }
        let rest = shared
            .options
            .length()
            .saturating_sub(shared.timeline.elapsed());
        tokio::time::sleep(rest).await;
    } else {
        tokio::time::sleep(shared.options.length()).await;
    }
    shared.is_stopped.store(true, Ordering::Relaxed);
    progress.step("waiting for the last answers");
    let ending = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(CLIENTS_END_WITHIN, ending)
        .await
        .is_err()
    {
        shared
            .findings
            .violation("a client got no answer and no error".to_owned());
    }
    wait_heard(shared, &listeners).await;
    shared.is_checked.store(true, Ordering::Relaxed);
    listening.shutdown().await;
    Ok(listeners)
}

/// Waits until every listener has heard as much as the others and at least what was acknowledged, or a minute. What is
/// missing then is found by the check.
async fn wait_heard(shared: &Shared, listeners: &[Arc<Listener>]) {
    let acknowledged: usize = (0..shared.ledger.writers())
        .map(|writer| {
            let known = shared.ledger.of(writer).lock();
            let is_done =
                |write: &&ledger::Write| matches!(write.outcome, ledger::Outcome::Done { .. });
            known.writes.iter().filter(is_done).count()
        })
        .sum();
    let begun = Instant::now();
    let mut before = Vec::new();
    loop {
        let counts: Vec<usize> = listeners.iter().map(|it| it.heard.lock().len()).collect();
        let is_level = counts.iter().all(|count| Some(count) == counts.first());
        let is_enough = counts.iter().all(|count| *count >= acknowledged);
        // Twice the same, so that a late write of unknown outcome is heard by all or none.
        if (is_level && is_enough && counts == before) || begun.elapsed() > HEARD_WITHIN {
            return;
        }
        before = counts;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A disk of its own for the last node, if full disks are wanted and possible.
fn small_disk(options: &Options, cluster: &Cluster) -> Result<Option<SmallDisk>> {
    let is_asked = options
        .faults
        .as_ref()
        .map(|it| it.contains(&Kind::DiskFull));
    let Some(node) = cluster.nodes.last() else {
        return Ok(None);
    };
    if options.no_faults || is_asked == Some(false) {
        return Ok(None);
    }
    match SmallDisk::mount(&node.data) {
        Ok(disk) => Ok(Some(disk)),
        Err(error) if is_asked == Some(true) => Err(error),
        // Not asked for by name: without it the other faults are possible.
        Err(_) => Ok(None),
    }
}

fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.as_secs() % 1_000_000)
}
