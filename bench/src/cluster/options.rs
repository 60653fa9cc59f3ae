//! What `bench cluster` can be told.

use crate::chaos::cluster::Plan;
use crate::chaos::options::program;
use anyhow::Result;
use std::path::PathBuf;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// Durable writes with many in flight, beside etcd
    Writes,
    /// Latency of writes at half the knee, beside the disk's own
    Latency,
    /// Reads under the leader's lease
    Reads,
    /// A leader is killed
    Kill,
    /// All nodes are restarted one after the other
    Rolling,
    /// A node is added and takes its share
    Grow,
    /// A hundred groups without work
    Idle,
}

/// Options of `bench cluster`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only this part; may be repeated
    #[arg(long)]
    only: Vec<Part>,
    /// Small sizes: everything in about two minutes, to try things; not for publishing
    #[arg(long)]
    pub(super) quick: bool,
    /// Interleaved rounds of writes: chatdb and etcd once in each [default: 5; quick: 2]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of each measurement [default: 5; quick: 2]
    #[arg(long)]
    seconds: Option<u64>,
    /// Writes in flight
    #[arg(long, default_value_t = 256)]
    pub(super) clients: usize,
    /// Handles of the database that share those writes, each with a connection of its own to each node
    #[arg(long, default_value_t = 6)]
    pub(super) connections: usize,
    /// Leaders killed [default: 8; quick: 2]
    #[arg(long)]
    kills: Option<usize>,
    /// Size of the data when the node is added, in MiB; three quarters of it move, so that 1366 moves half of 2 GiB
    /// [default: 1366; quick: 128]
    #[arg(long)]
    grow_mib: Option<u64>,
    /// The chatdb program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    chatdb: Option<PathBuf>,
    /// The etcd program; without it the ratio is left out
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    pub(super) etcd: PathBuf,
    /// Directory for the data [default: the system's temporary directory]
    #[arg(long)]
    pub(super) dir: Option<PathBuf>,
    /// Also write `cluster.md`, `cluster.json` and `cluster.svg` into this directory
    #[arg(long)]
    pub(super) out: Option<PathBuf>,
}

impl Options {
    pub(super) fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    pub(super) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub(super) fn seconds(&self) -> u64 {
        self.seconds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub(super) fn kills(&self) -> usize {
        self.kills.unwrap_or(if self.quick { 2 } else { 8 })
    }

    pub(super) fn grow_mib(&self) -> u64 {
        self.grow_mib.unwrap_or(if self.quick { 128 } else { 1366 })
    }

    pub(super) fn program(&self) -> Result<PathBuf> {
        program(self.chatdb.as_deref())
    }

    /// So many nodes, with more options for `chatdb serve`.
    pub(super) fn plan(&self, nodes: usize, serve: &[&str]) -> Result<Plan> {
        Ok(Plan {
            program: self.program()?,
            nodes,
            serve: serve.iter().map(|&option| option.to_owned()).collect(),
            has_proxies: false,
        })
    }
}
