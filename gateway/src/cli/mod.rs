//! The `flux` command: what can be asked of it, and how it answers.
//!
//! One file per subcommand with its arguments and its `run`. Results go to standard output, so that
//! scripts can use them; everything for people goes to standard error. Exit codes: 0 done,
//! 1 it failed and one line says why, 2 the command line is wrong.

mod bot;
mod import;
mod render;
mod serve;

use std::process::ExitCode;

use chatdb::cli::settings::{self, Asked};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::{Error, ErrorKind, Result};

/// Chat for your community in one program.
#[derive(Debug, Parser)]
#[command(name = "flux", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server, with its database inside.
    Serve(serve::Args),
    /// Bring history in: IRC logs, DiscordChatExporter files.
    Import(import::Args),
    /// Make bot accounts.
    Bot(bot::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let asked = settings::parse(&Cli::command(), "serve", std::env::args_os());
    let parsed = asked.and_then(|asked| match asked {
        Asked::Run(matches) => Cli::from_arg_matches(&matches).map(Ok),
        Asked::Print(text) => Ok(Err(text)),
    });
    let cli = match parsed {
        Ok(Ok(cli)) => cli,
        Ok(Err(text)) => {
            render::result(text.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(_) => ExitCode::FAILURE,
            };
        }
    };
    render::start_log();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            render::note(&format!("error: {}", error.chain()));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let failed = |error| Error::new(ErrorKind::Io, "the runtime cannot start").because(error);
    let runtime = runtime.map_err(failed)?;
    runtime.block_on(async {
        match command {
            Command::Serve(args) => Box::pin(serve::run(args)).await,
            Command::Import(args) => Box::pin(import::run(args)).await,
            Command::Bot(args) => Box::pin(bot::run(args)).await,
        }
    })
}
