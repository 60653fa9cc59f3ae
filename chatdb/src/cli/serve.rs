//! `chatdb serve`: the database of a directory behind gRPC, until a signal stops it.

use crate::cli::render::{DOT, counted, duration};
use crate::cli::screen::Screen;
use crate::cli::{Serve, Stop};
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::server::Server;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// How long stopping may take. Its steps have limits of their own, which come to less.
const STOP_LIMIT: Duration = Duration::from_secs(14);

pub(crate) async fn run(arguments: Serve, screen: &Screen) -> std::result::Result<(), Stop> {
    let begun = Instant::now();
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut options = arguments.storage.options(&arguments.data);
    options.tls = arguments.tls.files()?;
    options.replication = arguments.membership.replication;
    options.cluster = arguments
        .membership
        .options(arguments.grpc, options.tls.is_some());
    let db = Db::open(options).await?;
    let server = db.serve(arguments.grpc).await?;
    let metrics = match arguments.metrics_listen {
        Some(listen) => Some(db.serve_metrics(listen).await?),
        None => None,
    };
    let status = db.status().await?;
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let facts = [
        format!("chatdb is ready: {}", server.url()),
        format!("node n{}", status.node),
        arguments.data.display().to_string(),
        counted(status.tablets.len() as u64, "tablet"),
        counted(status.table_count, "table"),
        duration(took),
    ];
    screen.line(&facts.join(DOT))?;
    if let Some(metrics) = &metrics {
        screen.line(&format!("metrics: http://{}/metrics", metrics.address()))?;
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        error = db.failed() => return Err(error.into()),
    }
    tracing::info!("stopping; a second signal stops at once");
    tokio::select! {
        result = stop_in_time(db, server) => result?,
        _ = interrupt.recv() => return Err(Stop::Told),
        _ = terminate.recv() => return Err(Stop::Told),
    }
    screen.line("chatdb has stopped")?;
    Ok(())
}

/// Stops, or gives up: whoever waits for the process must not have to kill it. Everything that was
/// acknowledged is on disk by then, as after a power cut.
async fn stop_in_time(db: Db, server: Server) -> Result<()> {
    let (steps, at) = watch::channel("beginning to stop");
    // A task of its own, so that a step that blocks its thread does not block the clock.
    let stopping = tokio::spawn(stop(db, server, steps));
    match tokio::time::timeout(STOP_LIMIT, stopping).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(cause)) => Err(Error::bug("stopping panicked").with_source(cause)),
        Err(_) => {
            let (seconds, step) = (STOP_LIMIT.as_secs(), *at.borrow());
            let message = format!("gave up after {seconds} s of stopping, while {step}");
            Err(Error::new(ErrorKind::Unavailable, message)
                .with_help("lost", "nothing that was acknowledged"))
        }
    }
}

/// First nobody is told to come here any more, then the node is made one that nobody misses, and only
/// then the door closes: the others find the new leaders before they lose this one.
async fn stop(db: Db, server: Server, steps: watch::Sender<&'static str>) -> Result<()> {
    server.retire();
    steps.send_replace("handing leaderships over");
    db.retire().await;
    steps.send_replace("waiting for running calls");
    server.stop().await?;
    steps.send_replace("stopping the groups and the log");
    db.close().await
}

fn on(kind: SignalKind) -> Result<Signal> {
    signal(kind)
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot listen for signals").with_source(cause))
}
