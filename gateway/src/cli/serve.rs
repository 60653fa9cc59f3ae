//! `flux serve`: the server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chatdb::cli::{Storage, tls_files};
use chatdb::{ConnectOptions, Db, TlsFiles};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::render;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};

/// How long running requests may take after a signal.
const DRAIN: Duration = Duration::from_secs(10);

/// Arguments of `flux serve`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Every option can be set in the file of --config under its long name, and by an \
    environment variable: FLUX_ (CHATDB_ for those of the storage) and the name in capitals. The command line \
    goes first, then the environment, then the file.\n\nExamples:\n  \
    flux serve --data ./data --listen 127.0.0.1:8080\n  \
    flux serve --config flux.toml --print-config"
)]
pub(super) struct Args {
    /// Directory of the database; made when it is not there
    #[arg(long, value_name = "DIR", default_value = "./data", env = "FLUX_DATA")]
    data: PathBuf,
    /// Address for browsers and bots
    #[arg(
        long,
        value_name = "ADDR",
        default_value = "127.0.0.1:8080",
        env = "FLUX_LISTEN"
    )]
    listen: SocketAddr,
    /// Also serve the database itself (gRPC), for `chatdb shell --at`
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "db",
        env = "FLUX_DB_LISTEN"
    )]
    db_listen: Option<SocketAddr>,
    /// Also serve /metrics (Prometheus) and /healthz over HTTP, for example on 127.0.0.1:8081. Without
    /// a password: whoever reaches the address can read them
    #[arg(long, value_name = "ADDR", env = "FLUX_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// Use a database that runs elsewhere instead of --data, by the gRPC addresses of its nodes with
    /// commas between them
    #[arg(long, value_name = "URL,...", conflicts_with = "data", env = "FLUX_DB")]
    db: Option<String>,
    /// Certificate in PEM for the connections of the database (--db, --db-listen): with it they are TLS
    #[arg(long, value_name = "FILE", env = "FLUX_DB_TLS_CERTIFICATE")]
    db_tls_certificate: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE", env = "FLUX_DB_TLS_KEY")]
    db_tls_key: Option<PathBuf>,
    /// Certificates of the authorities that sign those of nodes and clients, in PEM
    #[arg(long, value_name = "FILE", env = "FLUX_DB_TLS_AUTHORITY")]
    db_tls_authority: Option<PathBuf>,
    /// Name of this instance, shown on its first page
    #[arg(long, value_name = "NAME", default_value = "Flux", env = "FLUX_NAME")]
    name: String,
    /// Let nobody register
    #[arg(long, env = "FLUX_CLOSED")]
    closed: bool,
    /// Do not limit how often anything may be asked
    #[arg(long, env = "FLUX_NO_RATE_LIMITS")]
    no_rate_limits: bool,
    /// Number of this process among those that share a database, 0 to 1023, if it must be this one;
    /// otherwise it takes the lowest that is free
    #[arg(long, value_name = "N", env = "FLUX_WORKER", value_parser = clap::value_parser!(u16).range(0..=1023))]
    worker: Option<u16>,
    /// TOML file with values for these options
    #[arg(long, value_name = "FILE", env = "FLUX_CONFIG")]
    config: Option<PathBuf>,
    /// Print these options with their values as such a file, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten, next_help_heading = "Storage")]
    storage: Storage,
}

impl Args {
    /// The files for the connections of the database, if they are named.
    fn tls(&self) -> chatdb::Result<Option<TlsFiles>> {
        let named = [
            &self.db_tls_certificate,
            &self.db_tls_key,
            &self.db_tls_authority,
        ];
        tls_files("--db-tls", named)
    }
}

/// Serves until a signal says stop.
pub(super) async fn run(args: Args) -> Result<()> {
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        let message = format!("cannot listen on {}", args.listen);
        Error::new(ErrorKind::Io, message).because(error)
    })?;
    let db = if let Some(endpoint) = &args.db {
        let mut options = ConnectOptions::parse(endpoint);
        options.tls = args.tls()?;
        Db::connect_with(&options).await?
    } else {
        let mut options = args.storage.options(&args.data);
        options.tls = args.tls()?;
        Db::open(options).await?
    };
    let served = serve(&db, listener, args).await;
    let closed = db.close().await;
    served?;
    Ok(closed?)
}

async fn serve(db: &Db, listener: TcpListener, args: Args) -> Result<()> {
    let address = listener
        .local_addr()
        .map_err(|error| Error::new(ErrorKind::Io, "the listener has no address").because(error))?;
    let defaults = Config::default();
    let config = Config {
        instance_name: args.name,
        registration_open: !args.closed,
        worker: args.worker,
        limits: defaults.limits.filter(|_| !args.no_rate_limits),
        ..Config::default()
    };
    let app = App::start(db.clone(), config).await?;
    let grpc = match args.db_listen {
        Some(listen) => Some(db.serve(listen).await?),
        None => None,
    };
    let metrics = match args.metrics_listen {
        Some(listen) => Some(app.serve_metrics(listen).await?),
        None => None,
    };
    let stopping = tokio::spawn(stop_on_signal(Arc::clone(&app)));
    render::result(&format!("Flux is ready: http://{}", reachable(address)));
    if let Some(metrics) = &metrics {
        render::note(&format!("metrics: http://{}/metrics", metrics.address()));
    }
    let serving = Arc::clone(&app).serve(listener);
    let served = tokio::select! {
        served = serving => served,
        () = overdue(&app) => {
            tracing::warn!("some requests took too long to stop and were cut");
            Ok(())
        }
    };
    stopping.abort();
    app.stop();
    drop((grpc, metrics));
    served
}

/// An address that can be opened from here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}

async fn stop_on_signal(app: Arc<App>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be heard: stop with SIGKILL, nothing acknowledged is lost");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    app.stop();
}

async fn overdue(app: &App) {
    app.stop.cancelled().await;
    tokio::time::sleep(DRAIN).await;
}
