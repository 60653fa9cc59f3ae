//! A network in memory: connections between hosts whose ways are slow, cut in one direction, or both.
//!
//! Bytes arrive in the order in which they were written, each piece a random number of milliseconds later and
//! never within the one in which it was sent: that is what lets each host run a millisecond ahead of the others.
//! A way that is cut holds what is on it, as TCP does, until it is healed or somebody loses patience. When a host
//! dies its connections are reset.

use super::system::split_mix;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tonic::transport::server::Connected;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Bytes that may be on a way at the same time.
const WINDOW_BYTES: usize = 1 << 20;
/// How often a dialer looks whether the way is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A host. Clients have numbers of their own.
pub(super) type HostId = u32;

/// All hosts that can reach each other.
#[derive(Clone, Debug)]
pub(super) struct Net(Arc<Mutex<State>>);

struct State {
    random: u64,
    delay_max_ms: u64,
    cut: BTreeSet<(HostId, HostId)>,
    /// Who takes connections.
    listeners: BTreeMap<HostId, mpsc::UnboundedSender<End>>,
    /// All that is under way.
    pipes: Vec<Weak<Mutex<Pipe>>>,
    started: Instant,
    trace: u64,
    pieces: u64,
    is_told: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("cut", &self.cut)
            .finish_non_exhaustive()
    }
}

/// One direction of a connection.
#[derive(Debug)]
struct Pipe {
    from: HostId,
    to: HostId,
    pieces: VecDeque<(Instant, Vec<u8>, usize)>,
    bytes: usize,
    /// Nothing written later arrives earlier.
    last: Instant,
    is_closed: bool,
    is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
pub(super) struct End {
    net: Net,
    reads: Arc<Mutex<Pipe>>,
    writes: Arc<Mutex<Pipe>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("End").finish_non_exhaustive()
    }
}

impl Net {
    pub(super) fn new(seed: u64, delay_max_ms: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: seed,
            delay_max_ms,
            cut: BTreeSet::new(),
            listeners: BTreeMap::new(),
            pipes: Vec::new(),
            started: Instant::now(),
            trace: 0,
            pieces: 0,
            is_told: std::env::var_os("CALLS").is_some(),
        })))
    }

    /// The delay of one piece.
    pub(super) fn delay(&self) -> Duration {
        let mut state = self.0.lock();
        let (mixed, next) = split_mix(state.random);
        state.random = next;
        Duration::from_millis(1 + mixed % state.delay_max_ms)
    }

    pub(super) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.0.lock().cut.contains(&(from, to))
    }

    /// Nothing from `from` reaches `to` any more.
    pub(super) fn cut(&self, from: HostId, to: HostId) {
        self.0.lock().cut.insert((from, to));
    }

    pub(super) fn heal(&self) {
        let pipes = {
            let mut state = self.0.lock();
            state.cut.clear();
            state.live_pipes()
        };
        for pipe in pipes {
            pipe.lock().wake();
        }
    }

    /// From now on connections to the host arrive here.
    pub(super) fn listen(&self, host: HostId) -> mpsc::UnboundedReceiver<End> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().listeners.insert(host, sender);
        receiver
    }

    /// The host is dead: nobody listens there, and its connections are reset.
    pub(super) fn unplug(&self, host: HostId) {
        let pipes = {
            let mut state = self.0.lock();
            state.listeners.remove(&host);
            state.live_pipes()
        };
        for pipe in pipes {
            let mut pipe = pipe.lock();
            if pipe.from == host || pipe.to == host {
                pipe.reset();
            }
        }
    }

    /// Connects two hosts. A way that is cut keeps it waiting.
    pub(super) async fn dial(&self, from: HostId, to: HostId) -> io::Result<End> {
        tokio::time::sleep(self.delay()).await;
        while self.is_cut(from, to) || self.is_cut(to, from) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let (own, other) = self.pair(from, to);
        let taken = {
            let state = self.0.lock();
            let listener = state.listeners.get(&to);
            listener.is_some_and(|listener| listener.send(other).is_ok())
        };
        tokio::time::sleep(self.delay()).await;
        if taken {
            Ok(own)
        } else {
            Err(io::ErrorKind::ConnectionRefused.into())
        }
    }

    fn pair(&self, from: HostId, to: HostId) -> (End, End) {
        let pipe = |from, to| {
            let pipe = Arc::new(Mutex::new(Pipe::new(from, to)));
            self.0.lock().pipes.push(Arc::downgrade(&pipe));
            pipe
        };
        let (there, back) = (pipe(from, to), pipe(to, from));
        let end = |reads: &Arc<Mutex<Pipe>>, writes: &Arc<Mutex<Pipe>>| End {
            net: self.clone(),
            reads: Arc::clone(reads),
            writes: Arc::clone(writes),
            sleep: None,
        };
        (end(&back, &there), end(&there, &back))
    }

    /// Takes note of bytes that were sent: when, from whom, to whom, what.
    pub(super) fn note(&self, from: HostId, to: HostId, what: &[u8]) {
        let mut state = self.0.lock();
        let at_us = u64::try_from(state.started_ago().as_micros()).unwrap_or(u64::MAX);
        state.pieces += 1;
        for part in [at_us, u64::from(from), u64::from(to)] {
            state.trace = xxh3_64_with_seed(&part.to_le_bytes(), state.trace);
        }
        state.trace = xxh3_64_with_seed(what, state.trace);
        if state.is_told {
            let trace = state.trace;
            let text = String::from_utf8_lossy(what).escape_debug().to_string();
            tell(&format!("{at_us} {from} to {to} {trace:016x} {text}"));
        }
    }

    /// A number that differs between runs whose hosts did not say the same at the same time, and how much they said.
    pub(super) fn trace(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.trace, state.pieces)
    }
}

fn tell(line: &str) {
    println!("{line}");
}

impl State {
    fn started_ago(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    fn live_pipes(&mut self) -> Vec<Arc<Mutex<Pipe>>> {
        self.pipes.retain(|pipe| pipe.strong_count() > 0);
        self.pipes.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Pipe {
    fn new(from: HostId, to: HostId) -> Self {
        Self {
            from,
            to,
            pieces: VecDeque::new(),
            bytes: 0,
            last: Instant::now(),
            is_closed: false,
            is_reset: false,
            reader: None,
            writer: None,
        }
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }

    /// Moves what fits of the first piece.
    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let Some((_, bytes, begun)) = self.pieces.front_mut() else {
            return;
        };
        let rest = bytes.get(*begun..).unwrap_or_default();
        let count = rest.len().min(into.remaining());
        into.put_slice(rest.get(..count).unwrap_or_default());
        *begun += count;
        if *begun == bytes.len() {
            self.pieces.pop_front();
        }
        self.bytes -= count;
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn reset(&mut self) {
        self.is_reset = true;
        self.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let due = {
                let mut pipe = this.reads.lock();
                if this.net.is_cut(pipe.from, pipe.to) {
                    pipe.reader = Some(context.waker().clone());
                    return Poll::Pending;
                }
                if pipe.is_reset {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
                let (now, is_closed) = (Instant::now(), pipe.is_closed);
                match pipe.pieces.front() {
                    Some((due, ..)) if *due <= now => {
                        pipe.take(into);
                        return Poll::Ready(Ok(()));
                    }
                    Some((due, ..)) => *due,
                    None if is_closed => return Poll::Ready(Ok(())),
                    None => {
                        pipe.reader = Some(context.waker().clone());
                        return Poll::Pending;
                    }
                }
            };
            // A reset or a cut may come before it is due.
            this.reads.lock().reader = Some(context.waker().clone());
            let mut sleep = Box::pin(tokio::time::sleep_until(due));
            if sleep.as_mut().poll(context).is_pending() {
                this.sleep = Some(sleep);
                return Poll::Pending;
            }
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let delay = self.net.delay();
        let (from, to, sent) = {
            let mut pipe = self.writes.lock();
            if pipe.is_reset || pipe.is_closed {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if pipe.bytes >= WINDOW_BYTES {
                pipe.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            let sent = bytes.len().min(WINDOW_BYTES);
            pipe.last = pipe.last.max(Instant::now() + delay);
            let due = pipe.last;
            let piece = bytes.get(..sent).unwrap_or_default().to_vec();
            pipe.bytes += sent;
            pipe.pieces.push_back((due, piece, 0));
            if let Some(reader) = pipe.reader.take() {
                reader.wake();
            }
            (pipe.from, pipe.to, sent)
        };
        self.net
            .note(from, to, bytes.get(..sent).unwrap_or_default());
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.writes.lock();
        pipe.is_closed = true;
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}

impl Connected for End {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl Drop for End {
    fn drop(&mut self) {
        let mut writes = self.writes.lock();
        writes.is_closed = true;
        writes.wake();
        drop(writes);
        self.reads.lock().reset();
    }
}
