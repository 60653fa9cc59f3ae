//! The calling end of a connection.

use std::collections::BTreeMap;
use std::io::ErrorKind as ErrorsOf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::TcpOptions;
use super::frame::{Call, Greeting, Welcome, codec, grow};
use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::tls::told;
use crate::transport::{Peer, Protocol, Secured};

/// Frames that are written before the connection is flushed.
const BURST: usize = 64;

type Answer = oneshot::Sender<Result<Bytes>>;

/// A call that waits to leave.
#[derive(Debug)]
struct Outgoing {
    number: u64,
    frame: Bytes,
    waiting: Waiting,
}

/// Whom to tell, and the room that the call takes until then.
#[derive(Debug)]
struct Waiting {
    answer: Answer,
    _room: OwnedSemaphorePermit,
}

/// Calls that left and were not answered.
type Pending = Arc<Mutex<BTreeMap<u64, Waiting>>>;

/// One lane to one peer. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    bytes_max: u32,
    next: AtomicU64,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// A lane that connects when it is first used.
    pub(super) fn open(address: String, greeting: Greeting, options: TcpOptions) -> Self {
        let (outgoing, calls) = mpsc::channel(options.calls_max.max(1));
        let bytes_max = u32::try_from(options.bytes_max.max(1)).unwrap_or(u32::MAX);
        let most = usize::try_from(bytes_max).unwrap_or(Semaphore::MAX_PERMITS);
        let dialer = Dialer {
            address,
            greeting,
            options,
            pending: Pending::default(),
        };
        Self {
            outgoing,
            room: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            bytes_max,
            next: AtomicU64::new(1),
            task: tokio::spawn(dialer.run(calls)),
        }
    }

    /// Queues a call; it leaves in order.
    pub(super) fn send(
        &self,
        peer: Peer,
        bytes: Bytes,
    ) -> Result<oneshot::Receiver<Result<Bytes>>> {
        let overloaded = || {
            let message = format!("too many calls wait for replica {}", peer.replica);
            Error::new(ErrorKind::Overloaded, message)
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let frame = Call {
            number,
            peer,
            bytes,
        };
        let frame = frame.encode()?;
        let size = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .try_acquire_many_owned(size.min(self.bytes_max))
            .map_err(|_| overloaded())?;
        let (answer, answered) = oneshot::channel();
        let call = Outgoing {
            number,
            frame,
            waiting: Waiting {
                answer,
                _room: room,
            },
        };
        self.outgoing.try_send(call).map_err(|_| overloaded())?;
        Ok(answered)
    }
}

/// A connection that was greeted.
#[derive(Debug)]
enum Line {
    Plain(TcpStream),
    Secured(Box<Secured<TcpStream>>),
}

/// Keeps one lane connected while there are calls.
struct Dialer {
    address: String,
    greeting: Greeting,
    options: TcpOptions,
    pending: Pending,
}

impl Dialer {
    async fn run(self, mut calls: mpsc::Receiver<Outgoing>) {
        while let Some(first) = calls.recv().await {
            if first.waiting.answer.is_closed() {
                continue;
            }
            let stream = match self.connect().await {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(node = %self.greeting.to, %error, "a peer is not reachable");
                    refuse(first, &error);
                    self.refuse_for_a_while(&mut calls, &error).await;
                    continue;
                }
            };
            let ended = match stream {
                Line::Plain(stream) => {
                    let (read, write) = stream.into_split();
                    self.carry(read, write, (first, &mut calls)).await
                }
                Line::Secured(stream) => {
                    let (read, write) = tokio::io::split(*stream);
                    self.carry(read, write, (first, &mut calls)).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(node = %self.greeting.to, %error, "a connection to a peer ended");
            }
            // Whoever waits for an answer is told by the end of the channel.
            self.pending.lock().clear();
        }
    }

    /// Writes calls and reads answers until the connection ends.
    async fn carry(
        &self,
        read: impl AsyncRead + Unpin,
        write: impl AsyncWrite + Unpin,
        (first, calls): (Outgoing, &mut mpsc::Receiver<Outgoing>),
    ) -> Result<()> {
        let mut read = FramedRead::new(read, codec());
        let mut write = FramedWrite::new(write, codec());
        grow(read.decoder_mut());
        grow(write.encoder_mut());
        let reading = self.read(read);
        let writing = self.write(write, first, calls);
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        }
    }

    /// Peers that cannot be reached are left alone for a moment; calls to them fail at once.
    async fn refuse_for_a_while(&self, calls: &mut mpsc::Receiver<Outgoing>, error: &Error) {
        let until = clock::instant() + self.options.retry_pause;
        while let Ok(Some(call)) = tokio::time::timeout_at(until, calls.recv()).await {
            refuse(call, error);
        }
    }

    async fn connect(&self) -> Result<Line> {
        let limit = self.options.connect_timeout;
        let connected = tokio::time::timeout(limit, self.greet()).await;
        connected.unwrap_or_else(|_| {
            let message = format!(
                "node {} did not take a connection within {} ms",
                self.greeting.to,
                limit.as_millis()
            );
            Err(Error::new(ErrorKind::Unavailable, message))
        })
    }

    async fn greet(&self) -> Result<Line> {
        let failed = |source: std::io::Error| {
            io_error(&format!("cannot connect to {}", self.address), &source)
        };
        let mut stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        // Calls are small and answers are waited for: never hold a frame back.
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = &self.options.tls else {
            self.greet_on(&mut stream).await?;
            return Ok(Line::Plain(stream));
        };
        let host = self.address.rsplit_once(':');
        let host = host.map_or(self.address.as_str(), |(host, _)| host);
        let mut stream = tls.connect(Protocol::Node, host, stream).await?;
        self.greet_on(&mut stream).await?;
        Ok(Line::Secured(Box::new(stream)))
    }

    async fn greet_on(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
        let failed = |source: std::io::Error| {
            let address = &self.address;
            let why = match (told(&source), source.kind()) {
                (Some(why), _) if self.options.tls.is_some() => why,
                (_, ErrorsOf::UnexpectedEof) => {
                    "it ended the connection without an answer; its log may say why".to_owned()
                }
                (_, ErrorsOf::InvalidData) => {
                    "it does not answer as a node would; it may only take TLS".to_owned()
                }
                _ => source.to_string(),
            };
            let message = format!("cannot connect to {address}: {why}");
            Error::new(ErrorKind::Unavailable, message)
        };
        let (read, write) = tokio::io::split(stream);
        let mut write = FramedWrite::new(write, codec());
        write.send(self.greeting.encode()).await.map_err(failed)?;
        let mut read = FramedRead::new(read, codec());
        let frame = read
            .next()
            .await
            .unwrap_or_else(|| Err(ErrorsOf::UnexpectedEof.into()))
            .map_err(failed)?;
        Welcome::decode(frame.freeze())?.check(self.greeting.to)
    }

    async fn write(
        &self,
        mut connection: FramedWrite<impl AsyncWrite + Unpin, LengthDelimitedCodec>,
        first: Outgoing,
        calls: &mut mpsc::Receiver<Outgoing>,
    ) -> Result<()> {
        let failed = |source: std::io::Error| io_error("cannot send a call", &source);
        let mut burst = vec![first];
        loop {
            for call in burst.drain(..) {
                if call.waiting.answer.is_closed() {
                    continue;
                }
                self.make_room();
                self.pending.lock().insert(call.number, call.waiting);
                connection.feed(call.frame).await.map_err(failed)?;
            }
            SinkExt::<Bytes>::flush(&mut connection)
                .await
                .map_err(failed)?;
            if calls.recv_many(&mut burst, BURST).await == 0 {
                return Ok(());
            }
        }
    }

    /// Forgets calls that nobody waits for any more, when there are many.
    fn make_room(&self) {
        let mut pending = self.pending.lock();
        if pending.len() >= self.options.calls_max {
            pending.retain(|_, waiting| !waiting.answer.is_closed());
        }
    }

    async fn read(
        &self,
        mut connection: FramedRead<impl AsyncRead + Unpin, LengthDelimitedCodec>,
    ) -> Result<()> {
        let failed = |source: std::io::Error| io_error("cannot read an answer", &source);
        loop {
            let limit = self.options.silence_max;
            let frame = match tokio::time::timeout(limit, connection.next()).await {
                Ok(Some(frame)) => frame.map_err(failed)?,
                Ok(None) => return Ok(()),
                Err(_) if self.pending.lock().is_empty() => continue,
                Err(_) => {
                    let waited = limit.as_millis();
                    let message = format!("the peer said nothing for {waited} ms");
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            };
            let answer = Call::decode(frame.freeze())?;
            let waiting = self.pending.lock().remove(&answer.number);
            if let Some(waiting) = waiting {
                // Who asked may have given up meanwhile.
                drop(waiting.answer.send(Ok(answer.bytes)));
            }
        }
    }
}

fn refuse(call: Outgoing, error: &Error) {
    drop(call.waiting.answer.send(Err(error.clone())));
}

fn io_error(what: &str, source: &std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {source}"))
}
