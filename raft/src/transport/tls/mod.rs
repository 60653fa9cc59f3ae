//! Mutual TLS between the processes of a cluster and its clients.
//!
//! Both ends of every connection show a certificate that an authority of the other's choice has signed.
//! A certificate with the DNS name [`NODE_NAME`] is that of a node; any other is that of a client, which
//! may call the services for clients and nothing else, and which nobody takes for a node that they call.
//! Besides, whoever calls checks that the certificate is valid for the host name or IP that it called.
//!
//! # How it works
//!
//! TLS 1.3 only, one protocol name (ALPN) per kind of connection, no resumption: connections live for as
//! long as both processes do, and each handshake looks at the certificates anew. The files are looked at
//! with handshakes, at most every five seconds, and read again when they have changed; while new ones are
//! wrong the old ones stay in use, and the log says so. A connection keeps what it was made with.
//!
//! # Not there
//!
//! Revocation: a stolen certificate is good until it expires or the authority is exchanged.

mod files;

pub use files::TlsFiles;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use files::{Ends, Looks};

/// The DNS name (subjectAltName) that makes a certificate that of a node.
pub const NODE_NAME: &str = "node.chatdb.internal";

/// The files are looked at this often at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Refused connections are told this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Calls of [`TcpTransport`](crate::TcpTransport).
    Node,
    /// gRPC, that is, HTTP/2.
    Grpc,
}

impl Protocol {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Node => b"chatdb-raft",
            Self::Grpc => b"h2",
        }
    }
}

/// The certificate of this process and whom it believes.
pub struct Tls {
    files: TlsFiles,
    for_node: bool,
    loaded: Mutex<Loaded>,
    refused: Mutex<Refused>,
}

struct Loaded {
    ends: Arc<Ends>,
    looks: Looks,
    looked: Instant,
}

/// Refused connections that were not told yet.
#[derive(Default)]
struct Refused {
    told: Option<Instant>,
    untold: u64,
}

/// A connection after its handshake.
pub type Secured<S> = TlsStream<S>;

impl Tls {
    /// The files of a node: it calls and is called. `Invalid` if one of them is wrong.
    pub fn node(files: TlsFiles) -> Result<Arc<Self>> {
        Self::open(files, true)
    }

    /// The files of a client, which only calls. `Invalid` if one of them is wrong.
    pub fn client(files: TlsFiles) -> Result<Arc<Self>> {
        Self::open(files, false)
    }

    fn open(files: TlsFiles, for_node: bool) -> Result<Arc<Self>> {
        let looks = files.looks()?;
        let loaded = Loaded {
            ends: Arc::new(files.load(for_node)?),
            looks,
            looked: clock::instant(),
        };
        Ok(Arc::new(Self {
            files,
            for_node,
            loaded: Mutex::new(loaded),
            refused: Mutex::default(),
        }))
    }

    /// What the files say, as far as they can be used.
    fn ends(&self) -> Arc<Ends> {
        let mut loaded = self.loaded.lock();
        let now = clock::instant();
        if now.saturating_duration_since(loaded.looked) >= LOOK_EVERY {
            loaded.looked = now;
            if let Err(error) = self.look_again(&mut loaded) {
                tracing::error!(%error, "the TLS files have changed and are wrong; the old ones stay in use");
            }
        }
        Arc::clone(&loaded.ends)
    }

    fn look_again(&self, loaded: &mut Loaded) -> Result<()> {
        let looks = self.files.looks()?;
        if looks != loaded.looks {
            loaded.ends = Arc::new(self.files.load(self.for_node)?);
            loaded.looks = looks;
            tracing::info!("the TLS files have changed and are in use");
        }
        Ok(())
    }

    /// The handshake of a connection that came here, and whether a node called. Bound its time.
    pub async fn accept<S>(&self, protocol: Protocol, stream: S) -> Result<(Secured<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.ends().server(protocol));
        let stream = acceptor.accept(stream).await.map_err(|source| {
            let why = told_of_handshake(&source);
            let message = format!("the TLS handshake of a caller failed: {why}");
            Error::new(ErrorKind::Unavailable, message).with_source(source)
        })?;
        let caller = stream.get_ref().1.peer_certificates();
        let is_node = caller.and_then(<[_]>::first).is_some_and(is_node);
        Ok((stream.into(), is_node))
    }

    /// The handshake of a connection to a node, at a host name or IP. Bound its time.
    pub async fn connect<S>(&self, protocol: Protocol, host: &str, stream: S) -> Result<Secured<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|source| {
            let message = format!("{host} is neither a host name nor an IP");
            Error::new(ErrorKind::Invalid, message).with_source(source)
        })?;
        let connector = TlsConnector::from(self.ends().client(protocol));
        let stream = connector.connect(name, stream).await.map_err(|source| {
            let why = told_of_handshake(&source);
            let message = format!("the TLS handshake with {host} failed: {why}");
            Error::new(ErrorKind::Unavailable, message).with_source(source)
        })?;
        let called = stream.get_ref().1.peer_certificates();
        if !called.and_then(<[_]>::first).is_some_and(is_node) {
            let message = format!(
                "the certificate of {host} is not that of a node: its DNS names lack {NODE_NAME}"
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(stream.into())
    }

    /// Tells the log of a connection that was refused, unless it was told of one just now.
    pub fn tell_refused(&self, caller: Option<SocketAddr>, error: &Error) {
        let mut refused = self.refused.lock();
        let now = clock::instant();
        let told = refused.told;
        if told.is_some_and(|told| now.saturating_duration_since(told) < TELL_EVERY) {
            refused.untold += 1;
            return;
        }
        let others = std::mem::take(&mut refused.untold);
        refused.told = Some(now);
        drop(refused);
        let caller = caller.map_or_else(|| "an unknown address".to_owned(), |it| it.to_string());
        tracing::warn!(%error, caller, others, "a connection was refused");
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn is_node(certificate: &CertificateDer<'_>) -> bool {
    let Ok(name) = ServerName::try_from(NODE_NAME) else {
        return false;
    };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

/// What a failure of TLS means for an operator.
pub(crate) fn told(source: &io::Error) -> Option<String> {
    let error = source.get_ref().and_then(|it| it.downcast_ref())?;
    told_by(error).map(str::to_owned)
}

/// What a failed handshake means for an operator.
fn told_of_handshake(source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::UnexpectedEof {
        return "the other side ended it without a word; it may not use TLS".to_owned();
    }
    told(source).unwrap_or_else(|| source.to_string())
}

fn told_by(error: &rustls::Error) -> Option<&'static str> {
    use rustls::Error as Tls;
    Some(match error {
        Tls::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::MessageTooShort
            | InvalidMessage::InvalidEmptyPayload,
        ) => "the other side does not use TLS",
        Tls::NoCertificatesPresented => "the other side shows no certificate",
        Tls::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the certificate of the other side has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the certificate of the other side is not valid yet: check both clocks"
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the certificate of the other side is signed by an authority that is not known here"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the certificate of the other side is not for this name: it needs it as a DNS name or IP (subjectAltName)"
            }
            _ => return None,
        },
        Tls::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the other side does not know the authority of this certificate"
            }
            AlertDescription::CertificateRequired => "the other side asks for a certificate",
            AlertDescription::CertificateExpired => {
                "the other side says that this certificate has expired"
            }
            AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
                "the other side refuses this certificate"
            }
            AlertDescription::NoApplicationProtocol => {
                "the other side is another service: check the port"
            }
            _ => return None,
        },
        Tls::NoApplicationProtocol => "the caller wants another service: check its port",
        _ => return None,
    })
}
