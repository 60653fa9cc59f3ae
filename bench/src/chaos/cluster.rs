//! The nodes of a run: `chatdb serve` processes with directories and addresses of their own.
//!
//! Every node listens on a loopback address of its own, and gives the others the addresses of its proxies. The
//! processes are started, stopped and watched here and nowhere else.

use super::proxy::{self, Links};
use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

/// How long a node may take until it serves.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a process that was killed may take until it is gone.
const END_TIMEOUT: Duration = Duration::from_secs(10);
const RPC_PORT: u16 = 7400;
const NODE_PORT: u16 = 7500;
const METRICS_PORT: u16 = 7600;
/// Added to a port for the proxy in front of it.
const PROXY: u16 = 10_000;

/// One node: where it is and, when it runs, its process.
#[derive(Debug)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) number: usize,
    address: Ipv4Addr,
    pub(crate) data: PathBuf,
    log: PathBuf,
    child: Option<Child>,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The `chatdb` program.
    pub(crate) program: PathBuf,
    pub(crate) nodes: usize,
    /// More options for every `chatdb serve`.
    pub(crate) serve: Vec<String>,
    /// Whether nodes and clients reach each other through proxies, for faults.
    pub(crate) has_proxies: bool,
}

/// All nodes of a run.
#[derive(Debug)]
pub(crate) struct Cluster {
    plan: Plan,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Arc<Links>,
}

impl Cluster {
    /// Prepares directories and proxies; nothing runs yet.
    pub(crate) async fn prepare(plan: Plan, dir: &Path) -> Result<Self> {
        let links = Links::new(plan.nodes);
        let process = std::process::id().to_le_bytes();
        let mut nodes = Vec::new();
        for number in 1..=plan.nodes {
            // A part of loopback for each run, so that runs do not meet.
            let last = u8::try_from(number).context("at most 250 nodes")?;
            let address = Ipv4Addr::new(127, 16 + process[1] % 200, process[0], last);
            let node = Node {
                number,
                address,
                data: dir.join(format!("node{number}")),
                log: dir.join(format!("node{number}.log")),
                child: None,
            };
            std::fs::create_dir_all(&node.data)?;
            let ports: &[u16] = if plan.has_proxies {
                &[RPC_PORT, NODE_PORT]
            } else {
                &[]
            };
            for &port in ports {
                proxy::start(&links, number, node.at(port + PROXY), node.at(port)).await?;
            }
            nodes.push(node);
        }
        Ok(Self { plan, nodes, links })
    }

    /// Where others reach this port of a node.
    fn reached(&self, node: &Node, port: u16) -> SocketAddr {
        node.at(if self.plan.has_proxies {
            port + PROXY
        } else {
            port
        })
    }

    /// Where clients of each node connect.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let endpoint = |node: &Node| format!("http://{}", self.reached(node, RPC_PORT));
        self.nodes.iter().map(endpoint).collect()
    }

    /// A figure of a node's page of metrics, added up over its labels.
    pub(crate) async fn metric(&self, number: usize, name: &str) -> Result<f64> {
        let page = page(self.nodes[number - 1].at(METRICS_PORT)).await?;
        Ok(sum(&page, name))
    }

    fn command(&self, node: &Node) -> Command {
        let mut command = Command::new(&self.plan.program);
        command.arg("serve").arg("--data").arg(&node.data);
        let mut set = |name: &str, value: String| {
            command.arg(name).arg(value);
        };
        set("--grpc", node.at(RPC_PORT).to_string());
        set("--metrics-listen", node.at(METRICS_PORT).to_string());
        if self.nodes.len() > 1 {
            set("--node-listen", node.at(NODE_PORT).to_string());
            set("--advertise", self.reached(node, RPC_PORT).to_string());
            set(
                "--node-advertise",
                self.reached(node, NODE_PORT).to_string(),
            );
            set("--zone", format!("zone{}", node.number));
            if node.number > 1 {
                let first = self.reached(&self.nodes[0], RPC_PORT);
                set("--join", format!("http://{first}"));
            }
        }
        command
            .args(&self.plan.serve)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Starts a node's process. It serves when [`Self::wait_ready`] returns.
    fn spawn(&mut self, number: usize) -> Result<oneshot::Receiver<()>> {
        let mut command = self.command(&self.nodes[number - 1]);
        let node = &mut self.nodes[number - 1];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&node.log)?;
        let mut child = command.stderr(log).spawn().context("start chatdb")?;
        self.links.set_process(number, child.id().unwrap_or(0));
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (ready, is_ready) = oneshot::channel();
        tokio::spawn(async move {
            let mut ready = Some(ready);
            let mut lines = BufReader::new(stdout).lines();
            // What it says later is read too, so that it never waits for us.
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("is ready")
                    && let Some(ready) = ready.take()
                {
                    // Who waited may have given up.
                    ready.send(()).unwrap_or_default();
                }
            }
        });
        node.child = Some(child);
        Ok(is_ready)
    }

    async fn wait_ready(&mut self, number: usize, ready: oneshot::Receiver<()>) -> Result<()> {
        let why = match tokio::time::timeout(READY_TIMEOUT, ready).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => "it ended before it was ready",
            Err(_) => "it is not ready in time",
        };
        self.kill(number).await?;
        let words = self.nodes[number - 1].last_words();
        bail!("node {number}: {why}: {words}")
    }

    /// Starts a node and waits until it serves. An error says how it ended instead.
    pub(crate) async fn start(&mut self, number: usize) -> Result<()> {
        let ready = self.spawn(number)?;
        self.wait_ready(number, ready).await
    }

    /// Starts all nodes that do not run: at the same time, because one may need the others to be ready.
    pub(crate) async fn start_all(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for number in 1..=self.nodes.len() {
            if self.nodes[number - 1].child.is_none() {
                started.push((number, self.spawn(number)?));
            }
        }
        for (number, ready) in started {
            self.wait_ready(number, ready).await?;
        }
        Ok(())
    }

    /// Ends a node as a power cut would end it.
    pub(crate) async fn kill(&mut self, number: usize) -> Result<()> {
        let node = &mut self.nodes[number - 1];
        self.links.set_process(number, 0);
        if let Some(mut child) = node.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, number: usize, name: &str) -> Result<()> {
        let node = &self.nodes[number - 1];
        let process = node.process().context("the node does not run")?;
        let status = std::process::Command::new("kill")
            .args([format!("-{name}"), process.to_string()])
            .status()?;
        anyhow::ensure!(status.success(), "kill -{name} {process}: {status}");
        Ok(())
    }

    /// Asks a node to stop and waits until it has.
    pub(crate) async fn terminate(&mut self, number: usize) -> Result<ExitStatus> {
        self.signal(number, "TERM")?;
        let node = &mut self.nodes[number - 1];
        let mut child = node.child.take().context("the node does not run")?;
        self.links.set_process(number, 0);
        Ok(tokio::time::timeout(READY_TIMEOUT, child.wait()).await??)
    }

    /// How a node ended that nobody stopped, if it did.
    pub(crate) fn ended(&mut self, number: usize) -> Option<(ExitStatus, String)> {
        let node = &mut self.nodes[number - 1];
        let status = node.child.as_mut()?.try_wait().ok()??;
        node.child = None;
        self.links.set_process(number, 0);
        Some((status, node.last_words()))
    }

    /// Waits until a node has ended by itself; `false` when it still runs then.
    pub(crate) async fn wait_ended(&mut self, number: usize, within: Duration) -> bool {
        let node = &mut self.nodes[number - 1];
        let Some(child) = &mut node.child else {
            return true;
        };
        let has_ended = tokio::time::timeout(within, child.wait()).await.is_ok();
        if has_ended {
            node.child = None;
            self.links.set_process(number, 0);
        }
        has_ended
    }
}

/// The next run of this process has the same addresses: none of these processes may outlive it.
impl Drop for Cluster {
    fn drop(&mut self) {
        let children = self.nodes.iter_mut().filter_map(|it| it.child.take());
        let mut children: Vec<Child> = children.collect();
        // An error says that it has ended already.
        children.retain_mut(|child| child.start_kill().is_ok());
        let end = Instant::now() + END_TIMEOUT;
        for mut child in children {
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < end {
                std::thread::yield_now();
            }
        }
    }
}

/// A shared handle on the cluster's nodes for those who only ask.
#[derive(Debug)]
pub(crate) struct Pages(Mutex<Vec<SocketAddr>>);

impl Pages {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let page = |node: &Node| node.at(METRICS_PORT);
        Self(Mutex::new(cluster.nodes.iter().map(page).collect()))
    }

    /// The groups that a node leads now, as its page of metrics tells.
    pub(crate) async fn led_by(&self, number: usize) -> BTreeSet<u64> {
        let address = self.0.lock()[number - 1];
        let reading = tokio::time::timeout(Duration::from_secs(1), page(address)).await;
        let Ok(Ok(page)) = reading else {
            return BTreeSet::new();
        };
        led(&page)
    }
}

/// The groups whose `raft_leads` is 1. Group 0 takes no writes of ours.
fn led(page: &str) -> BTreeSet<u64> {
    page.lines()
        .filter_map(|line| line.strip_prefix("raft_leads{group=\""))
        .filter_map(|rest| rest.split_once("\"} "))
        .filter(|(_, value)| value.trim() == "1")
        .filter_map(|(group, _)| group.parse().ok())
        .filter(|group| *group != 0)
        .collect()
}

/// The values of all lines of a metric.
pub(crate) fn sum(page: &str, name: &str) -> f64 {
    page.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with([' ', '{']))
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

/// What `http://ADDRESS/metrics` answers.
pub(crate) async fn page(address: SocketAddr) -> Result<String> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

impl Node {
    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.address), port)
    }

    /// Where its gRPC service listens.
    pub(crate) fn rpc(&self) -> SocketAddr {
        self.at(RPC_PORT)
    }

    /// Where it takes the calls of other nodes.
    pub(crate) fn node(&self) -> SocketAddr {
        self.at(NODE_PORT)
    }

    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// The end of what the node said on standard error.
    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        last.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_that_a_page_says_are_led_are_found() {
        let page = "# TYPE raft_leads gauge\nraft_leads{group=\"0\"} 1\nraft_leads{group=\"1\"} 1\n\
                    raft_leads{group=\"2\"} 0\nraft_leads{group=\"17\"} 1\n# EOF\n";
        assert_eq!(led(page), BTreeSet::from([1, 17]));
        assert!((sum(page, "raft_leads") - 3.0).abs() < 1e-9);
    }
}
