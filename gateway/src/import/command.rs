//! `flux import`: its arguments, and how it begins and ends.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use time::Date;
use time::format_description::well_known::Iso8601;

use super::report::Report;
use super::run::Import;
use super::sink::Sink;
use super::source;

/// What to read.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Format {
    /// IRC logs: .raw, .raw.txt or .log files, or directories with them
    Irc(IrcArgs),
    /// DiscordChatExporter JSON files, one channel each; ids are kept
    Discord(DiscordArgs),
}

/// Arguments of `flux import irc`.
#[derive(Clone, Debug, Args)]
pub(crate) struct IrcArgs {
    /// Files, or directories that are searched for logs
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Guild to fill; made when there is none of this name from an earlier import
    #[arg(long, default_value = "IRC archive")]
    guild: String,
    /// Channel of dated logs such as 2008-12-11.log [default: the name of their directory]
    #[arg(long)]
    channel: Option<String>,
    /// First day of logs whose name has no date
    #[arg(long, default_value = "2000-01-01", value_parser = parse_day)]
    day: Date,
}

/// Arguments of `flux import discord`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DiscordArgs {
    /// Exported files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn parse_day(text: &str) -> Result<Date, String> {
    Date::parse(text, &Iso8601::DATE).map_err(|_| "expected a day such as 2004-11-15".to_owned())
}

/// Runs an import. Ctrl-C ends it between two lumps; running it again goes on from there.
pub(crate) async fn run(format: Format, sink: &Sink) -> Result<Report> {
    let work = async {
        match format {
            Format::Irc(args) => {
                let files = source::irc_files(&args.paths, args.channel.as_deref(), args.day)?;
                let total_bytes = files.iter().map(|file| file.bytes).sum();
                Import::new(sink, total_bytes).irc(&args.guild, files).await
            }
            Format::Discord(args) => {
                let mut total_bytes = 0;
                for file in &args.files {
                    let meta = std::fs::metadata(file);
                    total_bytes += meta
                        .with_context(|| format!("cannot read {}", file.display()))?
                        .len();
                }
                Import::new(sink, total_bytes).discord(args.files).await
            }
        }
    };
    tokio::select! {
        report = work => report,
        _ = tokio::signal::ctrl_c() => {
            anyhow::bail!("interrupted: run the same command again to go on where it stopped")
        }
    }
}
