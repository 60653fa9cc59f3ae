//! `chatdb serve`: the database of a directory behind gRPC, until a signal stops it.

use crate::cli::render::{DOT, counted, duration};
use crate::cli::screen::Screen;
use crate::cli::{Serve, Stop};
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use std::time::Instant;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) async fn run(arguments: Serve, screen: &Screen) -> std::result::Result<(), Stop> {
    let begun = Instant::now();
    let mut interrupt = on(SignalKind::interrupt())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut options = arguments.storage.options(&arguments.data);
    options.replication = arguments.membership.replication;
    options.cluster = arguments.membership.options(arguments.grpc);
    let db = Db::open(options).await?;
    let server = db.serve(arguments.grpc).await?;
    let metrics = match arguments.metrics_listen {
        Some(listen) => Some(db.serve_metrics(listen).await?),
        None => None,
    };
    let status = db.status().await?;
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let facts = [
        format!("chatdb is ready: http://{}", server.address()),
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
        result = stop(&db, server) => result?,
        _ = interrupt.recv() => return Err(Stop::Told),
        _ = terminate.recv() => return Err(Stop::Told),
    }
    screen.line("chatdb has stopped")?;
    Ok(())
}

async fn stop(db: &Db, server: crate::Server) -> Result<()> {
    server.stop().await?;
    db.close().await
}

fn on(kind: SignalKind) -> Result<Signal> {
    signal(kind)
        .map_err(|cause| Error::new(ErrorKind::Io, "cannot listen for signals").with_source(cause))
}
