//! The `chatdb` program: serve, shell, query, status, tablet.
//!
//! Exit status: 0 done, 1 the operation failed, 2 the command line is wrong. A reader of the output
//! that goes away is success.

mod complete;
mod connect;
mod describe;
mod progress;
mod query;
mod render;
mod screen;
mod serve;
mod session;
mod shell;
mod split;
mod status;
mod tablet;

use crate::cli::connect::Target;
use crate::cli::screen::Screen;
use crate::error::Error;
use clap::{Args, Parser, Subcommand};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Where a server listens and a client connects when nothing else is said.
const ADDRESS_DEFAULT: &str = "127.0.0.1:7400";

/// A replicated wide-column database in one program.
#[derive(Debug, Parser)]
#[command(
    name = "chatdb",
    version,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(after_help = "Examples:\n  \
    chatdb serve --data ./data --grpc 127.0.0.1:7400\n  \
    chatdb shell --at 127.0.0.1:7400\n  \
    chatdb query 'SELECT COUNT(*) FROM flux.messages' --json\n  \
    chatdb tablet verify --data ./data\n\n\
    Exit status: 0 done, 1 failed, 2 wrong command line. Log level: CHATDB_LOG=debug.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the database of a directory and serves gRPC.
    Serve(Serve),
    /// Opens an interactive CQL shell.
    Shell(Shell),
    /// Runs CQL statements and prints their rows.
    Query(Query),
    /// Prints what a node is, holds and does.
    Status(Status),
    /// Verifies, merges and shows the files of a stopped database.
    #[command(subcommand)]
    Tablet(tablet::Tablet),
}

#[derive(Debug, Args)]
struct Serve {
    /// Data directory; created when absent
    #[arg(long, value_name = "DIR", env = "CHATDB_DATA")]
    data: PathBuf,
    /// Address of the gRPC service; port 0 chooses one
    #[arg(long, value_name = "ADDR", default_value = ADDRESS_DEFAULT)]
    grpc: SocketAddr,
    /// Tablets of a new database, 1 to 256; an existing one keeps its own
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    tablets: u32,
    /// Also serve /metrics (Prometheus) and /healthz over HTTP, for example on 127.0.0.1:7401. Without
    /// a password: whoever reaches the address can read them
    #[arg(long, value_name = "ADDR", env = "CHATDB_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct Shell {
    #[command(flatten)]
    target: Target,
    /// Keyspace of unqualified table names
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
}

#[derive(Debug, Args)]
struct Query {
    /// Statements, separated by semicolons; - reads them from standard input
    #[arg(value_name = "CQL")]
    text: String,
    #[command(flatten)]
    target: Target,
    /// Keyspace of unqualified table names
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
    /// One JSON object per row and line
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values with a header
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
struct Status {
    #[command(flatten)]
    target: Target,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Why a command ended early.
#[derive(Debug)]
enum Stop {
    /// Say this and exit with 1.
    Failed(Error),
    /// It was said already; exit with 1.
    Told,
    /// The reader of the output went away.
    Unread,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(cause: io::Error) -> Self {
        if cause.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        let message = format!("cannot write the output: {cause}");
        Self::Failed(Error::new(crate::ErrorKind::Io, message))
    }
}

/// Runs the program with the arguments of the process.
#[doc(hidden)]
pub fn main() -> ExitCode {
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(message) => {
            let is_wrong = message.use_stderr();
            drop(message.print());
            return if is_wrong {
                ExitCode::from(2)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    let screen = Screen::new();
    start_log(matches!(command_line.command, Command::Serve(_)));
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            screen.error(&format!("cannot start threads: {cause}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match command_line.command {
        Command::Serve(arguments) => runtime.block_on(serve::run(arguments, &screen)),
        Command::Shell(arguments) => shell::run(&arguments, &runtime, &screen),
        Command::Query(arguments) => runtime.block_on(query::run(arguments, &screen)),
        Command::Status(arguments) => runtime.block_on(status::run(arguments, &screen)),
        Command::Tablet(command) => tablet::run(&command, &screen),
    };
    match outcome {
        Ok(()) | Err(Stop::Unread) => ExitCode::SUCCESS,
        Err(Stop::Told) => ExitCode::FAILURE,
        Err(Stop::Failed(error)) => {
            screen.error(&error_chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error with its help, and its causes at the end of the first line.
fn error_chain(error: &Error) -> String {
    let mut line = error.message().to_owned();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        let text = source.to_string();
        // A cause that was translated says the same words.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = source.source();
    }
    error.report().replacen(error.message(), &line, 1)
}

fn start_log(is_server: bool) {
    // What openraft says about itself is of no use to an operator.
    let level = if is_server {
        "info,openraft=error"
    } else {
        "error"
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("CHATDB_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .init();
}
