//! Where a command finds its database: a running node, or a stopped directory.

use crate::cli::{ADDRESS_DEFAULT, TlsArguments};
use crate::db::Db;
use crate::db::options::{ConnectOptions, EmbeddedOptions};
use crate::error::{Error, ErrorKind, Result};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Address of a running node, or of several with commas between them
    #[arg(long, value_name = "ADDR,...", default_value = ADDRESS_DEFAULT, env = "CHATDB_AT")]
    at: String,
    /// Opens a stopped database's directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "at")]
    data: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsArguments,
}

impl Target {
    pub(crate) async fn open(&self) -> Result<Db> {
        let Some(data) = &self.data else {
            let mut options = ConnectOptions::parse(&self.at);
            options.tls = self.tls.files()?;
            let opened = Db::connect_with(&options).await;
            return opened.map_err(|error| {
                if error.kind() != ErrorKind::Unavailable {
                    return error;
                }
                error.with_help(
                    "start one",
                    format!("chatdb serve --data DIR --grpc {}", self.at),
                )
            });
        };
        if !data.is_dir() {
            return Err(Error::not_found(format!(
                "{} is no directory",
                data.display()
            )));
        }
        Db::open(EmbeddedOptions::new(data)).await
    }
}
