//! What `bench chaos` can be told.

use super::cluster::Plan;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL of one node, and a restart
    Kill,
    /// SIGSTOP of one node for 0.5 to 10 seconds
    Pause,
    /// SIGKILL of all nodes at once
    KillAll,
    /// SIGTERM of one node, and a restart
    Restart,
    /// One node hears nobody and nobody hears it
    Isolate,
    /// One node is heard by nobody, or hears nobody
    OneWay,
    /// Slow links with jitter around one node
    Slow,
    /// Links around one node carry little
    Throttle,
    /// Connections of one node are reset, several times
    Reset,
    /// No space left on the disk of one node
    DiskFull,
    /// A flipped bit in a file of one node, while it is down
    Damage,
    /// fdatasync and fsync of one node fail (needs strace)
    FailSync,
}

/// Options of `bench chaos`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Nodes to start
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: usize,
    /// Seconds of load and faults
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Seed of the workload and the faults [default: from the clock]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only these faults, separated by commas [default: all that are possible here]
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Option<Vec<Kind>>,
    /// Load only, no faults
    #[arg(long, conflicts_with = "faults")]
    pub(crate) no_faults: bool,
    /// Nodes that run already, at their gRPC addresses: load and checks, no faults
    #[arg(long, value_delimiter = ',', value_name = "URL")]
    pub(crate) attach: Vec<String>,
    /// The chatdb program [default: the one beside this program]
    #[arg(long, value_name = "FILE")]
    chatdb: Option<PathBuf>,
    /// Another option for every `chatdb serve`; may be repeated, such as `--serve=--log-mib=64`
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    serve: Vec<String>,
    /// Writers
    #[arg(long, default_value_t = 24)]
    pub(crate) writers: usize,
    /// Writes each second that all writers together attempt at most
    #[arg(long, default_value_t = 1200)]
    rate: u32,
    /// Readers
    #[arg(long, default_value_t = 6)]
    pub(crate) readers: usize,
    /// Registers under way at a time
    #[arg(long, default_value_t = 3)]
    pub(crate) registers: usize,
    /// Subscribers
    #[arg(long, default_value_t = 3)]
    pub(crate) listeners: usize,
    /// Seconds within which writes must be acknowledged again after the last fault has ended
    #[arg(long, default_value_t = 30)]
    heal_seconds: u64,
    /// Directory for data and logs, kept after a violation [default: the system's temporary directory]
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Also write `chaos.md` and `chaos.svg` into this directory
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

impl Options {
    /// The time that one writer takes for one write at least.
    pub(crate) fn pace(&self) -> Duration {
        let writers = u32::try_from(self.writers).unwrap_or(u32::MAX);
        Duration::from_secs(1) * writers / self.rate.max(1)
    }

    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    pub(crate) fn heal_within(&self) -> Duration {
        Duration::from_secs(self.heal_seconds)
    }

    /// What to start.
    pub(crate) fn plan(&self) -> Result<Plan> {
        Ok(Plan {
            program: program(self.chatdb.as_deref())?,
            nodes: self.nodes,
            serve: self.serve.clone(),
            has_proxies: true,
        })
    }
}

/// The program of the nodes: the one that was named, or the one beside this program.
pub(crate) fn program(named: Option<&Path>) -> Result<PathBuf> {
    let program = match named {
        Some(program) => program.to_owned(),
        None => std::env::current_exe()?.with_file_name("chatdb"),
    };
    let missing = || format!("{} is not there; name it with --chatdb", program.display());
    std::fs::metadata(&program).with_context(missing)?;
    Ok(program)
}
