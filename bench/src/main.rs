//! `bench`: workloads in the shape of a real community, and the peers beside us in the same run.
//!
//! `bench storage all --peer rocksdb --peer fjall` prints a table of medians over interleaved rounds; `--json FILE`
//! keeps every sample. Peers are built with `--features peers`.

use std::process::ExitCode;

use clap::Parser;

mod measure;
mod peer;
mod report;
mod storage;
mod workload;

/// Measure chatdb's parts beside their peers.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The storage engine: durable ingest and newest-50 pages
    Storage(storage::Options),
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the report is this program's output"
)]
fn main() -> ExitCode {
    let What::Storage(options) = Cli::parse().what;
    match storage::run(&options) {
        Ok(report) => {
            println!("{}", report.to_markdown());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
