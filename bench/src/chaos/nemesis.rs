//! Who does the damage: one fault after the other, by a seed, and after each the time to heal.

use super::Shared;
use super::cluster::{Cluster, Pages};
use super::damage::Flip;
use super::disk::SmallDisk;
use super::options::Kind;
use crate::messages::Seeded;
use anyhow::Result;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Load before the first fault.
const WARM_UP: Duration = Duration::from_secs(3);
/// No fault begins so shortly before the end.
const TAIL: Duration = Duration::from_secs(6);
/// Acknowledged writes that show that the cluster works again.
const HEALTHY_WRITES: usize = 50;

/// The state of the one who does the damage.
pub(crate) struct Nemesis {
    shared: Arc<Shared>,
    pub(crate) cluster: Cluster,
    pages: Pages,
    random: Seeded,
    kinds: Vec<Kind>,
    /// The disk of the last node, if it has one of its own.
    disk: Option<SmallDisk>,
}

impl Nemesis {
    pub(crate) fn new(shared: &Arc<Shared>, cluster: Cluster, disk: Option<SmallDisk>) -> Self {
        let kinds = match &shared.options.faults {
            _ if shared.options.no_faults => Vec::new(),
            Some(kinds) => kinds.clone(),
            None => possible(disk.is_some()),
        };
        Self {
            pages: Pages::of(&cluster),
            cluster,
            random: Seeded::new(shared.ledger.seed ^ 0xbad),
            kinds,
            disk,
            shared: Arc::clone(shared),
        }
    }

    /// Does damage until shortly before the end; everything is healed and runs when this returns.
    pub(crate) async fn run(&mut self) -> Result<()> {
        tokio::time::sleep(WARM_UP).await;
        let end = self.shared.options.length().saturating_sub(TAIL);
        let mut left: Vec<Kind> = Vec::new();
        while self.shared.timeline.elapsed() < end {
            if left.is_empty() {
                // All kinds in a new order, so that a short run has most of them.
                left.clone_from(&self.kinds);
            }
            if left.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let kind = left.swap_remove(self.random.below(left.len()));
            let from = self.shared.timeline.elapsed();
            let text = self.inject(kind).await?;
            self.heal().await?;
            self.shared.timeline.span(from, name(kind), text);
            self.wait_healthy().await;
            self.notice_deaths().await?;
            let pause = self.between(500, 3000);
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    fn between(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.random.next() % (to_ms - from_ms))
    }

    /// Any node; every second time the one that leads most.
    async fn victim(&mut self) -> (usize, BTreeSet<u64>) {
        let count = self.cluster.nodes.len();
        let any = 1 + self.random.below(count);
        let wants_leader = self.random.next().is_multiple_of(2);
        let mut best = (any, self.pages.led_by(any).await);
        if wants_leader {
            for number in 1..=count {
                let led = self.pages.led_by(number).await;
                if led.len() > best.1.len() {
                    best = (number, led);
                }
            }
        }
        best
    }

    async fn inject(&mut self, kind: Kind) -> Result<String> {
        match kind {
            Kind::Kill => self.kill().await,
            Kind::KillAll => self.kill_all().await,
            Kind::Restart => self.restart().await,
            Kind::Pause => self.pause().await,
            Kind::Isolate | Kind::OneWay | Kind::Slow | Kind::Throttle => {
                Ok(self.links(kind).await)
            }
            Kind::Reset => Ok(self.reset().await),
            Kind::DiskFull => self.fill_disk().await,
            Kind::Damage => self.damage().await,
            Kind::FailSync => self.fail_sync().await,
        }
    }

    async fn kill(&mut self) -> Result<String> {
        let (node, led) = self.victim().await;
        let count = led.len();
        let at = Instant::now();
        self.cluster.kill(node).await?;
        self.shared.timeline.death(at, led);
        let down = self.between(0, 5000);
        tokio::time::sleep(down).await;
        self.cluster.start(node).await?;
        Ok(format!(
            "kill -9 of node {node}, which led {count}, down for {down:.1?}"
        ))
    }

    async fn kill_all(&mut self) -> Result<String> {
        for node in 1..=self.cluster.nodes.len() {
            self.cluster.signal(node, "KILL")?;
        }
        for node in 1..=self.cluster.nodes.len() {
            self.cluster.kill(node).await?;
        }
        self.cluster.start_all().await?;
        Ok("kill -9 of all nodes".to_owned())
    }

    async fn restart(&mut self) -> Result<String> {
        let (node, _) = self.victim().await;
        let status = self.cluster.terminate(node).await?;
        if !status.success() {
            let text = format!("node {node} was asked to stop and ended with {status}");
            self.shared.findings.violation(text);
        }
        self.cluster.start(node).await?;
        Ok(format!("restart of node {node}"))
    }

    async fn pause(&mut self) -> Result<String> {
        let (node, _) = self.victim().await;
        let length = self.between(500, 10_000);
        self.cluster.signal(node, "STOP")?;
        tokio::time::sleep(length).await;
        self.cluster.signal(node, "CONT")?;
        Ok(format!("SIGSTOP of node {node} for {length:.1?}"))
    }

    async fn links(&mut self, kind: Kind) -> String {
        let (node, _) = self.victim().await;
        // Clients may still reach a node that its peers do not, unless there are no peers.
        let with_clients = self.cluster.nodes.len() == 1 || self.random.next().is_multiple_of(2);
        let towards = self.random.next().is_multiple_of(2);
        let delay = Duration::from_millis(2 + self.random.next() % 120);
        let rate = 20_000 + u32::try_from(self.random.below(200_000)).unwrap_or(0);
        for (from, to) in self.cluster.links.pairs() {
            let touches = from == node || to == node;
            if !touches || (from.min(to) == 0 && !with_clients) {
                continue;
            }
            self.cluster.links.change(from, to, |link| match kind {
                Kind::Isolate => link.is_cut = true,
                Kind::OneWay => link.is_cut = (to == node) == towards,
                Kind::Slow => (link.delay, link.jitter) = (delay, delay),
                _ => link.bytes_per_second = Some(rate),
            });
        }
        let length = self.between(1000, 8000);
        tokio::time::sleep(length).await;
        let clients = if with_clients { ", clients too" } else { "" };
        let what = match kind {
            Kind::Isolate => format!("node {node} cut off"),
            Kind::OneWay if towards => format!("nothing reaches node {node}"),
            Kind::OneWay => format!("nothing leaves node {node}"),
            Kind::Slow => format!(
                "links of node {node} slower by {delay:?} to {:?}",
                2 * delay
            ),
            _ => format!("links of node {node} carry {rate} bytes a second"),
        };
        format!("{what}{clients}, for {length:.1?}")
    }

    async fn reset(&mut self) -> String {
        let (node, _) = self.victim().await;
        let times = 1 + self.random.below(8);
        for _ in 0..times {
            for (from, to) in self.cluster.links.pairs() {
                if from == node || to == node {
                    self.cluster.links.change(from, to, |link| link.resets += 1);
                }
            }
            let pause = self.between(50, 600);
            tokio::time::sleep(pause).await;
        }
        format!("connections of node {node} reset {times} times")
    }

    async fn fill_disk(&mut self) -> Result<String> {
        let Some(disk) = &self.disk else {
            return Ok("no small disk here: skipped".to_owned());
        };
        let node = self.cluster.nodes.len();
        disk.fill()?;
        let length = Duration::from_millis(2000 + self.random.next() % 6000);
        let has_ended = self.cluster.wait_ended(node, length).await;
        if has_ended {
            // Nothing can be started on it, and nothing may be lost by trying.
            drop(self.cluster.start(node).await);
        }
        disk.free()?;
        let what = if has_ended { "ended" } else { "went on" };
        Ok(format!("disk of node {node} full; it {what}"))
    }

    async fn damage(&mut self) -> Result<String> {
        let node = 1 + self.random.below(self.cluster.nodes.len());
        self.cluster.kill(node).await?;
        let data = self.cluster.nodes[node - 1].data.clone();
        let Some(flip) = Flip::somewhere(&data, &mut self.random)? else {
            return Ok("no file to damage".to_owned());
        };
        let place = flip.place(&data);
        let started = self.cluster.start(node).await;
        let what = match &started {
            Ok(()) => {
                let length = self.between(1500, 4000);
                if self.cluster.wait_ended(node, length).await {
                    "it started and ended".to_owned()
                } else {
                    self.cluster.kill(node).await?;
                    "it ran".to_owned()
                }
            }
            Err(error) => format!("it refused: {error:#}"),
        };
        flip.undo()?;
        Ok(format!("node {node}: {place}: {what}"))
    }

    async fn fail_sync(&mut self) -> Result<String> {
        let (node, _) = self.victim().await;
        let Some(process) = self.cluster.nodes[node - 1].process() else {
            return Ok(format!("node {node} does not run"));
        };
        let mut strace = tokio::process::Command::new("strace")
            .args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=fdatasync,fsync",
            ])
            .args([
                "-e",
                "inject=fdatasync,fsync:error=EIO",
                "-p",
                &process.to_string(),
            ])
            .kill_on_drop(true)
            .spawn()?;
        let has_ended = self.cluster.wait_ended(node, Duration::from_secs(4)).await;
        strace.kill().await?;
        if has_ended {
            return Ok(format!("fdatasync of node {node} fails; it ended"));
        }
        if self.cluster.nodes.len() == 1 {
            let text = format!("node {node} went on for 4 s although its syncs failed");
            self.shared.findings.violation(text);
        }
        self.cluster.kill(node).await?;
        Ok(format!("fdatasync of node {node} fails; killed after 4 s"))
    }

    /// Ends all faults and starts what does not run.
    pub(crate) async fn heal(&mut self) -> Result<()> {
        self.cluster.links.heal();
        self.cluster.start_all().await
    }

    /// Waits until writes are acknowledged again.
    async fn wait_healthy(&self) {
        let begun = Instant::now();
        let before = self.shared.timeline.count();
        while self.shared.timeline.count() < before + HEALTHY_WRITES {
            if begun.elapsed() > self.shared.options.heal_within() {
                let seconds = begun.elapsed().as_secs();
                self.shared.findings.violation(format!(
                    "fewer than {HEALTHY_WRITES} writes were acknowledged in the {seconds} s after the fault that \
                     ended at {:.1?}",
                    self.shared.timeline.elapsed().saturating_sub(begun.elapsed())
                ));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A node that ends although nothing was done to it is a violation.
    async fn notice_deaths(&mut self) -> Result<()> {
        for node in 1..=self.cluster.nodes.len() {
            if let Some((status, words)) = self.cluster.ended(node) {
                let text = format!("node {node} ended by itself with {status}: {words}");
                self.shared.findings.violation(text);
                self.cluster.start(node).await?;
            }
        }
        Ok(())
    }
}

/// The faults that this machine can do.
fn possible(has_disk: bool) -> Vec<Kind> {
    let all = <Kind as clap::ValueEnum>::value_variants();
    let has_strace = std::process::Command::new("strace")
        .arg("-V")
        .output()
        .is_ok_and(|output| output.status.success());
    let is_possible = |kind: &Kind| match kind {
        Kind::DiskFull => has_disk,
        Kind::FailSync => has_strace,
        _ => true,
    };
    all.iter().copied().filter(is_possible).collect()
}

/// The word of a fault in reports.
fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Kill => "kill",
        Kind::Pause => "pause",
        Kind::KillAll => "kill-all",
        Kind::Restart => "restart",
        Kind::Isolate => "isolate",
        Kind::OneWay => "one-way",
        Kind::Slow => "slow",
        Kind::Throttle => "throttle",
        Kind::Reset => "reset",
        Kind::DiskFull => "disk-full",
        Kind::Damage => "damage",
        Kind::FailSync => "fail-sync",
    }
}
