//! `flux import`: history from elsewhere, into a stopped directory or a running server.

use std::path::PathBuf;

use chatdb::{Db, EmbeddedOptions};

use super::render;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::import::command::{self, Format};
use crate::import::local::LocalSink;
use crate::import::report::Report;
use crate::import::sink::{RemoteSink, Sink};

/// Arguments of `flux import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flux import irc logs/ --channel ubuntu --guild Ubuntu --data ./data       (the server is stopped)
  flux import discord general.json --at http://127.0.0.1:8080 --token TOKEN
An import that was interrupted goes on when it is run again; nothing is doubled.")]
pub(super) struct Args {
    #[command(subcommand)]
    format: Format,
    /// Directory of a stopped server; made when it is not there
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "./data",
        env = "FLUX_DATA"
    )]
    data: PathBuf,
    /// Address of a running server instead of --data
    #[arg(long, global = true, value_name = "URL")]
    at: Option<String>,
    /// Token of the administrator, for --at
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "FLUX_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
}

/// Runs `flux import`; an error if anything was left out.
pub(super) async fn run(args: Args) -> Result<()> {
    let report = match (&args.at, &args.token) {
        (Some(server), Some(token)) => {
            let sink = Sink::Remote(RemoteSink::new(server, token));
            command::run(args.format, &sink)
                .await
                .map_err(|error| failed(&error))?
        }
        (Some(_), None) => {
            return Err(Error::new(
                ErrorKind::Denied,
                "--at needs --token with the administrator's token",
            ));
        }
        (None, _) => write(args).await?,
    };
    render::result(report.to_string().trim_end());
    if report.is_complete() {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Invalid,
            "not everything could be imported: see the lines above",
        ))
    }
}

/// Imports into a directory that no server has open.
async fn write(args: Args) -> Result<Report> {
    let db = Db::open(EmbeddedOptions::new(&args.data))
        .await
        .map_err(|error| {
            let message = "cannot open the directory (if its server is running, use --at URL)";
            Error::new(ErrorKind::Conflict, message).because(error)
        })?;
    let imported = import(&db, args.format).await;
    let closed = db.close().await;
    let report = imported?;
    closed?;
    Ok(report)
}

async fn import(db: &Db, format: Format) -> Result<Report> {
    let app = App::start(db.clone(), Config::default()).await?;
    let sink = Sink::Local(LocalSink::new(std::sync::Arc::clone(&app)));
    let report = command::run(format, &sink).await;
    app.stop();
    app.release().await;
    report.map_err(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> Error {
    Error::new(ErrorKind::Invalid, format!("the import stopped: {error:#}"))
}
