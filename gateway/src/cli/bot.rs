//! `flux bot create`: an account for a program, and the token that it logs in with.

use std::path::PathBuf;

use chatdb::{Db, EmbeddedOptions};
use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::render;
use crate::app::App;
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::id::Id;
use crate::model::permission::Permissions;
use crate::rest;

/// Arguments of `flux bot`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a bot account and print its token, which is shown only here.
    Create(Create),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  flux bot create helper --guild 1234 --data ./data            (the server is stopped)
  flux bot create helper --guild 1234 --at http://127.0.0.1:8080 --token TOKEN")]
struct Create {
    /// Name of the bot: 2 to 32 letters, digits, '_', '.', '-'
    name: String,
    /// Guild that the bot joins
    #[arg(long, value_name = "ID")]
    guild: Option<Id>,
    /// Rights of the bot's own role, as the decimal number that bot libraries print
    #[arg(long, value_name = "BITS")]
    permissions: Option<u64>,
    /// Directory of a stopped server
    #[arg(long, value_name = "DIR", default_value = "./data", env = "FLUX_DATA")]
    data: PathBuf,
    /// Address of a running server instead of --data
    #[arg(long, value_name = "URL", requires = "token")]
    at: Option<String>,
    /// Token of the administrator, for --at
    #[arg(long, value_name = "TOKEN", env = "FLUX_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Runs `flux bot`.
pub(super) async fn run(args: Args) -> Result<()> {
    let Command::Create(create) = args.command;
    let token = match &create.at {
        Some(server) => ask(server, &create).await?,
        None => write(&create).await?,
    };
    render::note(&format!("bot {} is ready; its token is:", create.name));
    render::result(&token);
    Ok(())
}

/// Makes the bot in a directory that no server has open.
async fn write(create: &Create) -> Result<String> {
    if !create.data.is_dir() {
        let message = format!("there is no directory {}", create.data.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let db = Db::open(EmbeddedOptions::new(&create.data))
        .await
        .map_err(|error| {
            let message = "cannot open the directory (if its server is running, use --at URL)";
            Error::new(ErrorKind::Conflict, message).because(error)
        })?;
    let made = make(&db, create).await;
    let closed = db.close().await;
    let token = made?;
    closed?;
    Ok(token)
}

async fn make(db: &Db, create: &Create) -> Result<String> {
    let app = App::start(db.clone(), Config::default()).await?;
    let permissions = create.permissions.map(Permissions);
    let name = create.name.to_lowercase();
    let made = rest::create_bot(&app, &name, create.guild, permissions).await;
    app.stop();
    app.release().await;
    let bot = made.map_err(|error| Error::new(ErrorKind::Invalid, error.line()))?;
    Ok(bot.token)
}

/// What a server answers.
#[derive(Debug, Deserialize)]
struct Answer {
    token: Option<String>,
    message: Option<String>,
    errors: Option<Value>,
}

/// Has a running server make the bot.
async fn ask(server: &str, create: &Create) -> Result<String> {
    let unreachable = |error: reqwest::Error| {
        let message = format!("cannot reach the server at {server}");
        Error::new(ErrorKind::Unavailable, message).because(error)
    };
    let url = format!("{}/api/v10/admin/bots", server.trim_end_matches('/'));
    let body = json!({
        "username": create.name,
        "guild_id": create.guild,
        "permissions": create.permissions.map(|bits| bits.to_string()),
    });
    let request = reqwest::Client::new()
        .post(url)
        .header("authorization", create.token.as_deref().unwrap_or_default())
        .json(&body);
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let answer: Answer = response.json().await.map_err(unreachable)?;
    if let Some(token) = answer.token {
        return Ok(token);
    }
    let mut message = format!("the server refused ({status})");
    let details = answer.errors.map(|errors| errors.to_string());
    for part in [answer.message, details].into_iter().flatten() {
        message.push_str(": ");
        message.push_str(&part);
    }
    Err(Error::new(ErrorKind::Denied, message))
}
