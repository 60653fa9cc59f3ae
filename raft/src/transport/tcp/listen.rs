//! The called end of connections.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::frame::{Call, Greeting, Welcome, codec, grow};
use super::{Refused, TcpOptions};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::NodeId;
use crate::transport::{Inbound, NODE_NAME, Protocol, Session};

/// Calls of one connection that are being answered at once; more are not read.
const ANSWERING_MAX: usize = 256;
/// Connections at once: three per peer, and those that a dead peer has left behind.
const CONNECTIONS_MAX: usize = 1024;
/// Answers that are written before the connection is flushed.
const BURST: usize = 64;

/// Takes connections until it is dropped.
pub(super) async fn serve(
    options: &TcpOptions,
    (inbound, refused): (&OnceLock<Inbound>, &Refused),
    listener: TcpListener,
) -> Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(source) => {
                // Out of descriptors, mostly: waiting is all that helps.
                tracing::warn!(error = %source, "cannot take a connection of a peer");
                tokio::time::sleep(options.retry_pause).await;
                continue;
            }
        };
        let Some(inbound) = inbound
            .get()
            .filter(|_| connections.len() < CONNECTIONS_MAX)
        else {
            continue;
        };
        let refused = refused.subscribe();
        connections.spawn(take(options.clone(), (inbound.clone(), refused), stream));
    }
}

/// One connection, to its end.
async fn take(
    options: TcpOptions,
    (inbound, refused): (Inbound, watch::Receiver<BTreeSet<NodeId>>),
    stream: TcpStream,
) {
    let answered = async {
        stream.set_nodelay(true).map_err(broken)?;
        // One limit for the handshake and the greeting.
        let end = clock::instant() + options.connect_timeout;
        let Some(tls) = &options.tls else {
            let (read, write) = stream.into_split();
            return attend((&options, end), (&inbound, refused), read, write).await;
        };
        let caller = stream.peer_addr().ok();
        let secured = async {
            let (secured, is_node) = tls.accept(Protocol::Node, stream).await?;
            if is_node {
                return Ok(secured);
            }
            let message = format!(
                "the certificate of a caller is not that of a node: its DNS names lack {NODE_NAME}"
            );
            Err(Error::new(ErrorKind::Unavailable, message))
        };
        let secured = tokio::time::timeout_at(end, secured).await;
        let secured = secured.unwrap_or_else(|_| {
            let message = "a caller did not finish its TLS handshake in time";
            Err(Error::new(ErrorKind::Unavailable, message))
        });
        let secured = secured.inspect_err(|error| tls.tell_refused(caller, error))?;
        let (read, write) = tokio::io::split(secured);
        attend((&options, end), (&inbound, refused), read, write).await
    };
    if let Err(error) = answered.await {
        tracing::debug!(%error, "a connection of a peer ended");
    }
}

/// Greets until `end`, then answers until the connection ends.
async fn attend(
    (options, end): (&TcpOptions, Instant),
    (inbound, mut refused): (&Inbound, watch::Receiver<BTreeSet<NodeId>>),
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
) -> Result<()> {
    let mut read = FramedRead::new(read, codec());
    let mut write = FramedWrite::new(write, codec());
    let greeted = greet((options, &refused), &mut read, &mut write);
    let greeted = tokio::time::timeout_at(end, greeted).await;
    let caller = greeted.unwrap_or_else(|_| {
        let message = "a caller did not say who it is";
        Err(Error::new(ErrorKind::Unavailable, message))
    })?;
    let Some(caller) = caller else {
        return Ok(());
    };
    grow(read.decoder_mut());
    grow(write.encoder_mut());
    let is_refused = refused.wait_for(|refused| refused.contains(&caller));
    tokio::select! {
        answered = answer_all((options, inbound), read, write) => answered,
        _ = is_refused => Ok(()),
    }
}

type Reading<R> = FramedRead<R, LengthDelimitedCodec>;
type Writing<W> = FramedWrite<W, LengthDelimitedCodec>;

/// Who calls, if it is welcome.
async fn greet(
    (options, refused): (&TcpOptions, &watch::Receiver<BTreeSet<NodeId>>),
    read: &mut Reading<impl AsyncRead + Unpin>,
    write: &mut Writing<impl AsyncWrite + Unpin>,
) -> Result<Option<NodeId>> {
    let Some(frame) = read.next().await else {
        return Ok(None);
    };
    let greeting = Greeting::decode(frame.map_err(broken)?.freeze())?;
    let is_refused = |greeting: &Greeting| refused.borrow().contains(&greeting.from);
    let welcome = match &greeting {
        None => Welcome::OtherVersion(0),
        Some(greeting) if greeting.cluster != options.cluster => Welcome::OtherCluster,
        Some(greeting) if greeting.to != options.node => Welcome::OtherNode,
        Some(greeting) if is_refused(greeting) => Welcome::Removed,
        Some(_) => Welcome::Yes,
    };
    write.send(welcome.encode()).await.map_err(broken)?;
    let caller = greeting.map(|greeting| greeting.from);
    Ok(caller.filter(|_| welcome == Welcome::Yes))
}

/// Answers calls until the connection ends.
async fn answer_all(
    (options, inbound): (&TcpOptions, &Inbound),
    mut read: Reading<impl AsyncRead + Unpin>,
    write: Writing<impl AsyncWrite + Unpin>,
) -> Result<()> {
    let (answers, ready) = mpsc::channel(ANSWERING_MAX);
    let writing = write_all(write, ready);
    let answering = async {
        let mut session = inbound.session();
        let mut answering = FuturesUnordered::new();
        let mut bytes = 0;
        loop {
            tokio::select! {
                Some((size, answer)) = answering.next() => {
                    bytes -= size;
                    if answers.send(answer).await.is_err() {
                        return Ok(());
                    }
                }
                frame = read.next(), if answering.len() < ANSWERING_MAX && bytes < options.bytes_max => {
                    let Some(frame) = frame else { return Ok(()) };
                    let call = Call::decode(frame.map_err(broken)?.freeze())?;
                    let size = call.bytes.len();
                    bytes += size;
                    let answer = answer(&mut session, call);
                    answering.push(async move { (size, answer.await) });
                }
            }
        }
    };
    tokio::select! {
        ended = answering => ended,
        ended = writing => ended,
    }
}

/// Takes a call now, in order; the future is its answer.
fn answer(session: &mut Session, call: Call) -> impl Future<Output = Result<Bytes>> + use<> {
    let Call {
        number,
        peer,
        bytes,
    } = call;
    let answer = session.take(peer, bytes);
    async move {
        let answer = Call {
            number,
            peer,
            bytes: answer.await,
        };
        answer.encode()
    }
}

async fn write_all(
    mut write: Writing<impl AsyncWrite + Unpin>,
    mut ready: mpsc::Receiver<Result<Bytes>>,
) -> Result<()> {
    let mut burst = Vec::with_capacity(BURST);
    while ready.recv_many(&mut burst, BURST).await > 0 {
        for frame in burst.drain(..) {
            write.feed(frame?).await.map_err(broken)?;
        }
        SinkExt::<Bytes>::flush(&mut write).await.map_err(broken)?;
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn broken(source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the connection broke: {source}"),
    )
}
