//! `bench`: workloads in the shape of a real community, and the peers beside us in the same run.
//!
//! `bench storage --peer rocksdb --peer fjall` measures every engine on the same rows, in turns, and prints tables;
//! `--out DIR` keeps them with every sample as JSON and with plots. Peers are built with `--features peers`.
//! `bench cluster` measures three nodes of a cluster, etcd beside them.
//! `bench chaos` writes to a cluster while its nodes are killed, and checks that nothing was lost.

// The database runs inside some workloads: the state of its futures is nested deeper than the default.
#![recursion_limit = "256"]

use std::process::ExitCode;

use clap::Parser;

mod chaos;
mod cluster;
mod counters;
mod engine;
mod measure;
mod messages;
mod progress;
mod report;
mod storage;

/// Measure chatdb's parts beside their peers.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The storage engine: ingest, pages, deletion, expiry, recovery
    Storage(storage::Options),
    /// A cluster under faults: nothing acknowledged may be lost, doubled, reordered or back
    Chaos(chaos::Options),
    /// A cluster of three nodes: writes, reads, restarts, growth, idle cost
    Cluster(cluster::Options),
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is this program's output"
)]
fn main() -> ExitCode {
    let result = match Cli::parse().what {
        What::Storage(options) => storage::run(&options),
        What::Chaos(options) => chaos::run(options),
        What::Cluster(options) => cluster::run(options),
    };
    match result {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
