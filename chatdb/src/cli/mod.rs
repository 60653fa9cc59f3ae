//! The `chatdb` program: serve, shell, query, status, cluster, tablet.
//!
//! Exit status: 0 done, 1 the operation failed, 2 the command line is wrong. A reader of the output
//! that goes away is success.

mod cluster;
mod complete;
mod connect;
mod describe;
mod progress;
mod query;
mod recover;
pub(crate) mod render;
mod screen;
mod secured;
mod serve;
mod session;
pub mod settings;
mod shell;
mod split;
mod status;
mod tablet;

use crate::cli::connect::Target;
use crate::cli::screen::Screen;
pub use crate::cli::secured::{TlsArguments, tls_files};
use crate::cli::settings::Asked;
use crate::db::options::{ClusterOptions, EmbeddedOptions};
use crate::db::statement::Consistency;
use crate::error::Error;
use crate::rpc::client::url;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a thread that worked on files waits for more. A node that opens a hundred tablets has about as many of them for a
/// moment; each keeps its stack and its share of the allocator.
const THREAD_KEEP: Duration = Duration::from_secs(1);

/// Where a server listens and a client connects when nothing else is said.
const ADDRESS_DEFAULT: &str = "127.0.0.1:7400";
/// How long threads that work on files are waited for when the program ends.
const THREADS_LIMIT: Duration = Duration::from_secs(1);

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
    chatdb cluster status --at 127.0.0.1:7400\n  \
    chatdb tablet verify --data ./data\n\n\
    Exit status: 0 done, 1 failed, 2 wrong command line. Log level: CHATDB_LOG=debug.")]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the database of a directory and serves gRPC.
    Serve(Box<Serve>),
    /// Opens an interactive CQL shell.
    Shell(Shell),
    /// Runs CQL statements and prints their rows.
    Query(Query),
    /// Prints what a node is, holds and does.
    Status(Status),
    /// Shows and changes the nodes of a cluster and what they hold.
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Verifies, merges and shows the files of a stopped database.
    #[command(subcommand)]
    Tablet(tablet::Tablet),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Every option can be set in the file of --config under its long name, and by an \
    environment variable: CHATDB_ and the name in capitals. The command line goes first, then the environment, \
    then the file.\n\nExample: chatdb serve --config chatdb.toml --print-config"
)]
struct Serve {
    /// Data directory; created when absent
    #[arg(long, value_name = "DIR", env = "CHATDB_DATA")]
    data: PathBuf,
    /// Address of the gRPC service; port 0 chooses one
    #[arg(long, value_name = "ADDR", default_value = ADDRESS_DEFAULT, env = "CHATDB_GRPC")]
    grpc: SocketAddr,
    #[command(flatten)]
    storage: Storage,
    #[command(flatten)]
    membership: Membership,
    #[command(flatten)]
    tls: TlsArguments,
    /// Also serve /metrics (Prometheus) and /healthz over HTTP, for example on 127.0.0.1:7401. Without
    /// a password: whoever reaches the address can read them
    #[arg(long, value_name = "ADDR", env = "CHATDB_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// TOML file with values for these options
    #[arg(long, value_name = "FILE", env = "CHATDB_CONFIG")]
    config: Option<PathBuf>,
    /// Print these options with their values as such a file, and exit
    #[arg(long)]
    print_config: bool,
}

/// A node's place in a cluster of several.
#[derive(Clone, Debug, Args)]
struct Membership {
    /// Address for the calls of other nodes; without it the node is alone. Without a password: let only
    /// nodes reach it
    #[arg(long, value_name = "ADDR", env = "CHATDB_NODE_LISTEN")]
    node_listen: Option<SocketAddr>,
    /// Where other nodes reach --node-listen, HOST:PORT; the same address when left out
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "node_listen",
        env = "CHATDB_NODE_ADVERTISE"
    )]
    node_advertise: Option<String>,
    /// Where others reach --grpc, HOST:PORT; the same address when left out
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires = "node_listen",
        env = "CHATDB_ADVERTISE"
    )]
    advertise: Option<String>,
    /// What fails together with this node; replicas of a tablet spread over zones
    #[arg(
        long,
        value_name = "NAME",
        requires = "node_listen",
        env = "CHATDB_ZONE"
    )]
    zone: Option<String>,
    /// What is near to this node
    #[arg(
        long,
        value_name = "NAME",
        requires = "node_listen",
        env = "CHATDB_REGION"
    )]
    region: Option<String>,
    /// gRPC addresses of nodes whose cluster an empty directory joins, separated by commas
    #[arg(
        long,
        value_name = "URL,..",
        requires = "node_listen",
        env = "CHATDB_JOIN"
    )]
    join: Option<String>,
    /// Replicas that each tablet of a new cluster is to have, 1 to 9
    #[arg(long, value_name = "N", default_value_t = 3, env = "CHATDB_REPLICATION", value_parser = clap::value_parser!(u32).range(1..=9))]
    replication: u32,
}

impl Membership {
    fn options(&self, grpc: SocketAddr, is_secured: bool) -> Option<ClusterOptions> {
        let listen = self.node_listen?;
        let rpc = self.advertise.clone().unwrap_or_else(|| grpc.to_string());
        let url = |address: &str| url(address, is_secured);
        let mut options = ClusterOptions::new(listen, url(&rpc));
        if let Some(address) = &self.node_advertise {
            options.node_address.clone_from(address);
        }
        options.zone = self.zone.clone().unwrap_or_default();
        options.region = self.region.clone().unwrap_or_default();
        let join = self.join.as_deref().unwrap_or_default().split(',');
        let named = join.map(str::trim).filter(|address| !address.is_empty());
        options.join = named.map(url).collect();
        Some(options)
    }
}

/// How a database in this process uses memory and disk. The environment is that of `chatdb`, also
/// in other programs that take these options.
#[derive(Clone, Debug, Args)]
pub struct Storage {
    /// Tablets of a new database, 1 to 4096; an existing one keeps its own
    #[arg(long, value_name = "N", default_value_t = 4, env = "CHATDB_TABLETS", value_parser = clap::value_parser!(u32).range(1..=4096))]
    tablets: u32,
    /// Memtables of all tablets together, in MiB; beyond that they are flushed, and writes slow down up to
    /// twice as much. More: fewer and larger files, a longer replay after a crash
    #[arg(long, value_name = "MIB", default_value_t = 48, env = "CHATDB_MEMTABLES_MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memtables_mib: u64,
    /// Blocks of files kept in memory, in MiB. More: fewer reads from disk
    #[arg(long, value_name = "MIB", default_value_t = 32, env = "CHATDB_BLOCK_CACHE_MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    block_cache_mib: u64,
    /// The log, in MiB; beyond that the tablet that holds its oldest part is flushed. More: a longer
    /// replay after a crash
    #[arg(long, value_name = "MIB", default_value_t = 256, env = "CHATDB_LOG_MIB", value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    log_mib: u64,
    /// Recent log that subscribers can resume from, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, env = "CHATDB_STREAM_RETENTION_MIB", value_parser = clap::value_parser!(u64).range(0..=1 << 20))]
    stream_retention_mib: u64,
    /// What compaction may owe before writes slow down, in MiB. More: longer bursts at full speed, slower
    /// reads and more space on disk meanwhile
    #[arg(long, value_name = "MIB", default_value_t = 1024, env = "CHATDB_COMPACTION_DEBT_MIB", value_parser = clap::value_parser!(u64).range(16..=1 << 20))]
    compaction_debt_mib: u64,
    /// A tablet with more MiB in files is split in two; 0: never
    #[arg(long, value_name = "MIB", default_value_t = 16 * 1024, env = "CHATDB_SPLIT_MIB")]
    split_mib: u64,
    /// A tablet that is written more MiB a second, for a minute, is split in two; 0: never
    #[arg(
        long,
        value_name = "MIB",
        default_value_t = 16,
        env = "CHATDB_SPLIT_LOAD_MIB"
    )]
    split_load_mib: u64,
    /// Reads that run at once; eight times as many may wait
    #[arg(long, value_name = "N", default_value_t = 64, env = "CHATDB_CONCURRENT_READS", value_parser = clap::value_parser!(u16).range(1..))]
    concurrent_reads: u16,
    /// How old the data of a read with consistency ONE may be; an older replica passes it on to the leader
    #[arg(long, value_name = "SECONDS", default_value_t = 10, env = "CHATDB_STALE_READS", value_parser = clap::value_parser!(u32).range(1..))]
    stale_reads: u32,
}

impl Storage {
    /// The options of the database in `data`.
    pub fn options(&self, data: &Path) -> EmbeddedOptions {
        const MIB: u64 = 1 << 20;
        let defaults = EmbeddedOptions::new(data);
        EmbeddedOptions {
            tablets: self.tablets,
            // A tablet may fill a third of all, as in the defaults, so that several are active.
            tablet_memtable_bytes: self.memtables_mib * MIB / 3,
            total_memtable_bytes: self.memtables_mib * MIB,
            block_cache_bytes: self.block_cache_mib * MIB,
            log_bytes_max: self.log_mib * MIB,
            stream_retention_bytes: self.stream_retention_mib * MIB,
            compaction_debt_bytes: self.compaction_debt_mib * MIB,
            split_bytes: self.split_mib * MIB,
            split_load: self.split_load_mib * MIB,
            concurrent_reads: usize::from(self.concurrent_reads),
            stale_reads: Duration::from_secs(u64::from(self.stale_reads)),
            ..defaults
        }
    }
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
    /// What reads must have seen: one (any replica answers with what it has, also when most are lost), quorum
    /// (everything acknowledged before) or serial (the same, confirmed by a round)
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "quorum")]
    consistency: Level,
}

/// [`Consistency`] as an option.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    One,
    Quorum,
    Serial,
}

impl From<Level> for Consistency {
    fn from(level: Level) -> Self {
        match level {
            Level::One => Self::One,
            Level::Quorum => Self::Quorum,
            Level::Serial => Self::Serial,
        }
    }
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
    let words = std::env::args_os();
    let asked = settings::parse(&CommandLine::command(), "serve", words);
    let parsed = asked.and_then(|asked| match asked {
        Asked::Run(matches) => CommandLine::from_arg_matches(&matches).map(Ok),
        Asked::Print(text) => Ok(Err(text)),
    });
    let command_line = match parsed {
        Ok(Ok(command_line)) => command_line,
        Ok(Err(text)) => {
            let printed = Screen::new().write(&text);
            return exit(printed.map_err(Stop::from), &Screen::new());
        }
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
        .thread_keep_alive(THREAD_KEEP)
        .build()
    {
        Ok(runtime) => runtime,
        Err(cause) => {
            screen.error(&format!("cannot start threads: {cause}"));
            return ExitCode::FAILURE;
        }
    };
    let outcome = match command_line.command {
        Command::Serve(arguments) => runtime.block_on(serve::run(*arguments, &screen)),
        Command::Shell(arguments) => shell::run(&arguments, &runtime, &screen),
        Command::Query(arguments) => runtime.block_on(query::run(arguments, &screen)),
        Command::Status(arguments) => runtime.block_on(status::run(arguments, &screen)),
        Command::Cluster(command) => runtime.block_on(cluster::run(command, &screen)),
        Command::Tablet(command) => tablet::run(&command, &screen),
    };
    // A read of a file that does not come to an end must not keep the process.
    runtime.shutdown_timeout(THREADS_LIMIT);
    exit(outcome, &screen)
}

/// The cluster as `cluster status` shows it, for a person and for a program.
pub(crate) fn shown(view: &crate::overview::Overview) -> (String, String) {
    const WIDTH: usize = 100;
    (cluster::text(view, WIDTH), cluster::json(view).to_string())
}

/// The exit status of an outcome; says why it failed.
fn exit(outcome: Result<(), Stop>, screen: &Screen) -> ExitCode {
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
