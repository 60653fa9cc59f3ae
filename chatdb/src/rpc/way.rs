//! The way of a gRPC connection, in the clear or under TLS: made by callers, taken by the server.
//!
//! Who may call what is decided by the certificate of the caller: calls between nodes ask for that of a
//! node ([`check_node`]). In the clear nobody can be told
//! apart, and whoever reaches the port may call everything.
//!
//! # Invariants
//!
//! * A process with a certificate never speaks in the clear, neither as caller nor as called.
//! * A handshake ends within [`HANDSHAKE_LIMIT`] and at most [`HANDSHAKES_MAX`] go on at once, so that who
//!   connects and says nothing keeps the others out for no longer than that.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::error::to_status;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use raft::{NODE_NAME, Protocol, Secured, Tls};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::codegen::Service;
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

/// How long a caller may take for its handshake, and how many may be at it.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(3);
const HANDSHAKES_MAX: usize = 1024;
/// Connections after their handshake that the server has not taken yet.
const TAKEN_MAX: usize = 64;
/// Pause after a connection that could not be taken: descriptors are out, mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes connections under TLS, to the host and port of an address, whatever its scheme.
#[derive(Clone, Debug)]
pub(crate) struct Dial {
    tls: Arc<Tls>,
}

impl Dial {
    pub(crate) fn new(tls: &Arc<Tls>) -> Self {
        Self {
            tls: Arc::clone(tls),
        }
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Secured<TcpStream>>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Uri) -> Self::Future {
        let tls = Arc::clone(&self.tls);
        Box::pin(async move {
            let host = address.host().unwrap_or_default();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let port = address.port_u16().unwrap_or(443);
            let cannot = |cause: io::Error| {
                let message = format!("cannot connect to {host}:{port}: {cause}");
                Error::new(ErrorKind::Unavailable, message)
            };
            let stream = TcpStream::connect((bare, port)).await.map_err(cannot)?;
            stream.set_nodelay(true).map_err(cannot)?;
            let secured = tls.connect(Protocol::Grpc, host, stream).await?;
            Ok(TokioIo::new(secured))
        })
    }
}

/// A connection that the server took.
#[derive(Debug)]
pub(crate) enum Accepted {
    Plain(TcpStream),
    Secured(Box<Secured<TcpStream>>, Caller),
}

/// What is known of who called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    is_node: bool,
}

impl Connected for Accepted {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        match self {
            Self::Plain(_) => Caller { is_node: false },
            Self::Secured(_, caller) => *caller,
        }
    }
}

/// Refuses whoever is no node, where that can be told.
pub(crate) fn check_node<T>(
    is_secured: bool,
    request: &Request<T>,
) -> std::result::Result<(), Status> {
    let caller = request.extensions().get::<Caller>();
    if !is_secured || caller.is_some_and(|caller| caller.is_node) {
        return Ok(());
    }
    let message = "this call is for nodes, and the certificate of the caller is not that of a node";
    let error = Error::new(ErrorKind::Denied, message);
    let needed = format!("{NODE_NAME} among the DNS names of the certificate");
    Err(to_status(&error.with_help("a node has", needed)))
}

/// The connections that come to a listener.
pub(crate) fn incoming(
    listener: TcpListener,
    certificate: Option<Arc<Tls>>,
) -> BoxStream<'static, io::Result<Accepted>> {
    let Some(tls) = certificate else {
        let streams = TcpListenerStream::new(listener).map(|came| {
            let stream = came?;
            // The server's own option does nothing for connections that it is given. One that is broken
            // already breaks when it is read.
            drop(stream.set_nodelay(true));
            Ok(Accepted::Plain(stream))
        });
        return streams.boxed();
    };
    let (taken, accepted) = mpsc::channel(TAKEN_MAX);
    let task = AbortOnDropHandle::new(tokio::spawn(take_all(listener, tls, taken)));
    let state = (accepted, task);
    futures::stream::unfold(state, |(mut accepted, task)| async move {
        let next = accepted.recv().await?;
        Some((Ok(next), (accepted, task)))
    })
    .boxed()
}

async fn take_all(listener: TcpListener, tls: Arc<Tls>, taken: mpsc::Sender<Accepted>) {
    let mut handshakes = JoinSet::new();
    loop {
        let may_take = handshakes.len() < HANDSHAKES_MAX;
        tokio::select! {
            came = listener.accept(), if may_take => match came {
                Ok((stream, _)) => {
                    handshakes.spawn(take(Arc::clone(&tls), stream, taken.clone()));
                }
                Err(cause) => {
                    tracing::warn!(%cause, "cannot take a connection of gRPC");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(_) = handshakes.join_next() => {}
        }
    }
}

/// The handshake of one connection.
async fn take(tls: Arc<Tls>, stream: TcpStream, taken: mpsc::Sender<Accepted>) {
    let caller = stream.peer_addr().ok();
    // A connection that breaks here breaks below, with a reason.
    drop(stream.set_nodelay(true));
    let secured = tls.accept(Protocol::Grpc, stream);
    let secured = tokio::time::timeout(HANDSHAKE_LIMIT, secured).await;
    let secured = secured.unwrap_or_else(|_| {
        let message = "a caller did not finish its TLS handshake in time";
        Err(raft::Error::new(raft::ErrorKind::Unavailable, message))
    });
    match secured {
        Ok((secured, is_node)) => {
            let accepted = Accepted::Secured(Box::new(secured), Caller { is_node });
            // Nobody takes it when the server ends.
            drop(taken.send(accepted).await);
        }
        Err(error) => tls.tell_refused(caller, &error),
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Secured(stream, _) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Secured(stream, _) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Self::Secured(stream, _) => Pin::new(stream).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Secured(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Secured(stream, _) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Secured(stream, _) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use crate::db::options::EmbeddedOptions;
    use crate::group0::NodePlace;
    use crate::node::environment::Environment;
    use crate::node::network::Network;
    use crate::rpc::certificates::{Authority, client, node};
    use crate::rpc::client::{channel, named};
    use crate::rpc::cluster::Contacts;
    use crate::rpc::error::from_status;
    use crate::rpc::proto;
    use crate::rpc::proto::peer_client::PeerClient;
    use tempfile::TempDir;

    fn over(certificate: Option<Arc<Tls>>) -> Arc<dyn Network> {
        Environment::secured(certificate).network
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_between_nodes_are_refused_to_clients_and_clients_are_nodes_to_nobody() {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new(directory.path(), "own");
        let mut options = EmbeddedOptions::new(directory.path().join("data"));
        options.tls = Some(authority.sign(node("n1", "127.0.0.1")));
        let db = Db::open(options).await.unwrap();
        let server = db.serve("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let user = Tls::client(authority.sign(client("user"))).unwrap();
        let other = Tls::node(authority.sign(node("n2", "127.0.0.1"))).unwrap();
        for (tls, refused) in [(user, true), (other, false)] {
            let network = over(Some(tls));
            let line = network.line(&channel(&server.url()).unwrap());
            let mut peer = PeerClient::new(line);
            let status = peer.forward(proto::ForwardRequest::default()).await;
            let error = from_status(&status.unwrap_err());
            // Without a caller it is invalid, to whom it is not denied before anybody looks.
            let expected = if refused {
                ErrorKind::Denied
            } else {
                ErrorKind::Invalid
            };
            assert_eq!(error.kind(), expected, "{error}");
            let contacts = Contacts::new(&network);
            let url = server.url();
            let place = NodePlace::default();
            let calls = [
                contacts.join(&url, 7, place).await.map(|_| ()),
                contacts.newest(&url, 7).await.map(|_| ()),
                contacts.decide(&url, 7, "".into()).await.map(|_| ()),
            ];
            for call in calls {
                let error = call.unwrap_err();
                let is_told = error.message().contains("this call is for nodes");
                assert_eq!(is_told, refused, "{error}");
            }
            // What clients may call, nodes may as well.
            let limit = Duration::from_secs(10);
            contacts.describe(&url, limit).await.unwrap();
        }
        server.stop().await.unwrap();
        db.close().await.unwrap();
    }

    #[test]
    fn a_scheme_that_does_not_fit_is_told_with_what_to_do() {
        let directory = TempDir::new().unwrap();
        let authority = Authority::new(directory.path(), "own");
        let tls = Some(Tls::client(authority.sign(client("user"))).unwrap());
        let (secured, plain) = (over(tls), over(None));
        let error = named("https://127.0.0.1:1", &plain).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.report().contains("--tls-certificate"), "{error}");
        let error = named("http://127.0.0.1:1", &secured).unwrap_err();
        assert!(error.message().contains("is in the clear"), "{error}");
        for address in ["127.0.0.1:1", "https://127.0.0.1:1"] {
            assert_eq!(named(address, &secured).unwrap(), "https://127.0.0.1:1");
        }
        for address in ["127.0.0.1:1", "http://127.0.0.1:1"] {
            assert_eq!(named(address, &plain).unwrap(), "http://127.0.0.1:1");
        }
    }
}
