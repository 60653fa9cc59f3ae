//! A node: workers, each a thread with a socket and a [`Core`], behind one handle.
//!
//! Calls go to a worker as closures through a bounded queue and wait for their answer; events come back through another.
//! Rooms are laid where the fewest connections are, and stay there. This file is where the clock and the socket enter.
//!
//! A worker is a thread with a runtime of its own: nothing of the packet path runs on the caller's. It reads until the
//! socket is empty (or [`BATCH`] datagrams), then sends what came of it. A datagram that the socket does not take at once is
//! dropped and counted, as a network would: whoever misses it asks again.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use crate::core::slab::worker_of;
use crate::{
    Core, CoreOptions, Error, ErrorKind, Event, Joined, Limits, ParticipantId, PeerId, PeerStats,
    Result, Role, RoomId, RoomOptions, Stats, TrackId, Watch,
};

const COMMANDS_MAX: usize = 1024;
const EVENTS_MAX: usize = 16_384;
/// Datagrams read before something is sent.
const BATCH: usize = 64;
/// The largest datagram read; a longer one is cut, and refused because its tag is.
const DATAGRAM_MAX: usize = 2048;
/// What the system may keep for us: a tenth of a second at 100 Mbit/s and more.
const SOCKET_BUFFER: usize = 4 << 20;

type Command = Box<dyn FnOnce(&mut Core, Instant) + Send>;

/// What a node is made with.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// One worker for each: where its socket is bound. Port 0 lets the system choose.
    pub listen: Vec<SocketAddr>,
    /// Addresses that clients are told, with each worker's port: those under which the host is reached from outside. Without
    /// any it is the bound one, which must not be `0.0.0.0` or `[::]` then.
    pub advertised: Vec<IpAddr>,
    /// What each worker takes on.
    pub limits: Limits,
}

/// The node. Clones are handles to the same; it stops when [`VoiceNode::stop`] is called or the last one is dropped.
#[derive(Clone, Debug)]
pub struct VoiceNode {
    workers: Arc<[Worker]>,
}

/// What happens in all rooms of a node.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` when the node has stopped. Whoever does not take them loses the oldest at some time.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }
}

#[derive(Debug)]
struct Worker {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    address: SocketAddr,
    thread: parking_lot::Mutex<Option<JoinHandle<()>>>,
}

/// What a worker tells without being asked.
#[derive(Debug, Default)]
struct Shared {
    peers: AtomicUsize,
    unsent: AtomicU64,
}

impl VoiceNode {
    /// Binds the sockets and starts the workers.
    pub fn start(options: &NodeOptions) -> Result<(Self, Events)> {
        if options.listen.is_empty() {
            return Err(Error::invalid("a node needs an address to listen on"));
        }
        let (tell, queue) = mpsc::channel(EVENTS_MAX);
        let mut workers = Vec::new();
        for (number, listen) in options.listen.iter().enumerate() {
            let number = u8::try_from(number)
                .map_err(|_| Error::invalid("a node has at most 256 workers"))?;
            workers.push(Worker::start(number, *listen, options, tell.clone())?);
        }
        Ok((
            Self {
                workers: workers.into(),
            },
            Events { queue },
        ))
    }

    /// Where the workers' sockets are bound.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.workers.iter().map(|worker| worker.address).collect()
    }

    /// Opens an empty room on the worker with the fewest connections.
    pub async fn create_room(&self, options: RoomOptions) -> Result<RoomId> {
        let load = |worker: &&Worker| worker.shared.peers.load(Ordering::Relaxed);
        let worker = self.workers.iter().min_by_key(load).ok_or_else(stopped)?;
        worker
            .call(move |core, _| core.create_room(options))
            .await?
    }

    /// Ends every connection of a room and the room.
    pub async fn close_room(&self, room: RoomId) -> Result<()> {
        self.worker(room.0)?
            .call(move |core, now| core.close_room(room, now))
            .await?
    }

    /// Takes a client into a room: its offer, our answer.
    pub async fn join(
        &self,
        room: RoomId,
        participant: ParticipantId,
        role: Role,
        offer: String,
    ) -> Result<Joined> {
        let join = move |core: &mut Core, now| {
            core.join(
                &crate::Join {
                    room,
                    participant,
                    role,
                    offer: &offer,
                },
                now,
            )
        };
        self.worker(room.0)?.call(join).await?
    }

    /// Ends a connection.
    pub async fn leave(&self, peer: PeerId) -> Result<()> {
        self.worker(peer.0)?
            .call(move |core, now| core.leave(peer, now))
            .await?
    }

    /// Chooses what a subscriber's video slot shows.
    pub async fn watch(&self, peer: PeerId, mid: String, watch: Watch) -> Result<()> {
        self.worker(peer.0)?
            .call(move |core, _| core.watch(peer, &mid, watch))
            .await?
    }

    /// Lets nothing of a track through, or again.
    pub async fn mute(&self, track: TrackId, muted: bool) -> Result<()> {
        self.worker(track.0)?
            .call(move |core, _| core.mute(track, muted))
            .await?
    }

    /// One connection in numbers; `None` if it is not here.
    pub async fn peer_stats(&self, peer: PeerId) -> Result<Option<PeerStats>> {
        self.worker(peer.0)?
            .call(move |core, _| core.peer_stats(peer))
            .await
    }

    /// Counters of each worker. What its socket did not take counts as dropped at the outbox.
    pub async fn stats(&self) -> Result<Vec<Stats>> {
        let mut all = Vec::new();
        for worker in self.workers.iter() {
            let mut stats = worker.call(|core, _| core.stats()).await?;
            stats.dropped.outbox += worker.shared.unsent.load(Ordering::Relaxed);
            all.push(stats);
        }
        Ok(all)
    }

    /// Says goodbye to every client and ends the workers. Handles that are left answer with [`ErrorKind::Closed`].
    pub async fn stop(&self) -> Result<()> {
        for worker in self.workers.iter() {
            let thread = worker.thread.lock().take();
            let Some(thread) = thread else { continue };
            let end = worker.call(Core::close).await;
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if end.is_err() || !matches!(joined, Ok(Ok(()))) {
                return Err(Error::new(
                    ErrorKind::Bug,
                    "a voice worker had ended in a panic",
                ));
            }
        }
        Ok(())
    }

    fn worker(&self, id: u64) -> Result<&Worker> {
        let worker = self.workers.get(usize::from(worker_of(id)));
        worker.ok_or_else(|| Error::new(ErrorKind::NotFound, "the number is of another node"))
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Closed, "the voice node was stopped")
}

impl Worker {
    fn start(
        number: u8,
        listen: SocketAddr,
        options: &NodeOptions,
        tell: mpsc::Sender<Event>,
    ) -> Result<Self> {
        let refused = |error| {
            Error::new(ErrorKind::Io, format!("no socket on {listen} for voice")).with_source(error)
        };
        let socket = bind(listen).map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        let candidates = candidates(address, &options.advertised)?;
        let core = Core::new(
            CoreOptions {
                worker: number,
                candidates,
                limits: options.limits.clone(),
            },
            Instant::now(),
        )?;
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Io, "no runtime for a voice worker").with_source(error)
            })?;
        let socket = {
            let _entered = runtime.enter();
            UdpSocket::from_std(socket).map_err(refused)?
        };
        let running = Running {
            core,
            socket,
            inbox,
            tell,
            shared: inside,
        };
        let thread = std::thread::Builder::new()
            .name(format!("voice-{number}"))
            .spawn(move || runtime.block_on(running.run()))
            .map_err(|error| {
                Error::new(ErrorKind::Io, "no thread for a voice worker").with_source(error)
            })?;
        Ok(Self {
            commands,
            shared,
            address,
            thread: parking_lot::Mutex::new(Some(thread)),
        })
    }

    async fn call<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Core, Instant) -> T + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let command: Command = Box::new(move |core, now| {
            if answer.send(f(core, now)).is_err() {
                tracing::debug!("who asked a voice worker does not wait any more");
            }
        });
        self.commands.send(command).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())
    }
}

fn bind(listen: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(listen),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// What clients are told.
fn candidates(bound: SocketAddr, advertised: &[IpAddr]) -> Result<Vec<SocketAddr>> {
    if !advertised.is_empty() {
        return Ok(advertised
            .iter()
            .map(|ip| SocketAddr::new(*ip, bound.port()))
            .collect());
    }
    if bound.ip().is_unspecified() {
        let message = format!(
            "voice listens on {bound}, which no client can send to: say which addresses to advertise"
        );
        return Err(Error::invalid(message));
    }
    Ok(vec![bound])
}

/// A worker at work.
struct Running {
    core: Core,
    socket: UdpSocket,
    inbox: mpsc::Receiver<Command>,
    tell: mpsc::Sender<Event>,
    shared: Arc<Shared>,
}

impl Running {
    async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        loop {
            let due = self.core.poll_timeout();
            tokio::select! {
                command = self.inbox.recv() => {
                    let Some(command) = command else { break };
                    command(&mut self.core, Instant::now());
                }
                ready = self.socket.readable() => {
                    if ready.is_ok() {
                        self.read(&mut buffer);
                    }
                }
                () = wait_until(due) => {}
            }
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                self.core.handle_timeout(now);
            }
            self.send();
            self.tell_events();
            self.shared
                .peers
                .store(self.core.stats().peers, Ordering::Relaxed);
            if self.core.is_closed() {
                break;
            }
        }
    }

    /// Each datagram gets its own time: a publisher's congestion control compares them to a fraction of a millisecond.
    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            match self.socket.try_recv_from(buffer) {
                Ok((len, from)) => self.core.handle(&mut buffer[..len], from, Instant::now()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // What the network said of an earlier datagram; its client expires by silence.
                Err(error) => tracing::trace!(%error, "a voice socket read nothing"),
            }
        }
    }

    fn send(&mut self) {
        while let Some(transmit) = self.core.poll_transmit() {
            if self
                .socket
                .try_send_to(transmit.bytes, transmit.to)
                .is_err()
            {
                self.shared.unsent.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What does not fit stays in the core's queue.
    fn tell_events(&mut self) {
        while let Ok(place) = self.tell.try_reserve() {
            let Some(event) = self.core.poll_event() else {
                return;
            };
            place.send(event);
        }
    }
}

async fn wait_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
