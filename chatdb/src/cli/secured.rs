//! `--tls-certificate`, `--tls-key`, `--tls-authority`: the same for every command that connects or serves.

use crate::error::{Error, Result};
use clap::Args;
use raft::{Tls, TlsFiles};
use std::path::PathBuf;
use std::sync::Arc;

/// The files of a process that speaks TLS: all three or none.
#[derive(Clone, Debug, Args)]
pub struct TlsArguments {
    /// Certificate of this process in PEM, with those between it and the authority. With it every connection is TLS
    #[arg(
        id = "tls_certificate",
        long = "tls-certificate",
        value_name = "FILE",
        env = "CHATDB_TLS_CERTIFICATE"
    )]
    certificate: Option<PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(
        id = "tls_key",
        long = "tls-key",
        value_name = "FILE",
        env = "CHATDB_TLS_KEY"
    )]
    key: Option<PathBuf>,
    /// Certificates of the authorities that sign those of nodes and clients, in PEM
    #[arg(
        id = "tls_authority",
        long = "tls-authority",
        value_name = "FILE",
        env = "CHATDB_TLS_AUTHORITY"
    )]
    authority: Option<PathBuf>,
}

impl TlsArguments {
    /// The files, if they are named. `Invalid` if only some are.
    pub fn files(&self) -> Result<Option<TlsFiles>> {
        let named = [&self.certificate, &self.key, &self.authority];
        tls_files("--tls", named)
    }

    /// The certificate of a command, which is a client.
    pub(crate) fn identity(&self) -> Result<Option<Arc<Tls>>> {
        Ok(match self.files()? {
            Some(files) => Some(Tls::client(files)?),
            None => None,
        })
    }
}

/// Certificate, key and authority as three options with this prefix name them. `Invalid` if only some are named:
/// whoever asks for TLS must not get less.
pub fn tls_files(prefix: &str, named: [&Option<PathBuf>; 3]) -> Result<Option<TlsFiles>> {
    match named {
        [None, None, None] => Ok(None),
        [Some(certificate), Some(key), Some(authority)] => Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            authority: authority.clone(),
        })),
        some => {
            let all = ["certificate", "key", "authority"].into_iter().zip(some);
            let missing = all.filter(|(_, named)| named.is_none());
            let missing: Vec<String> = missing.map(|(it, _)| format!("{prefix}-{it}")).collect();
            let message = format!(
                "TLS needs three files, and {} is missing",
                missing.join(" and ")
            );
            Err(Error::invalid(message))
        }
    }
}
