//! All sessions of this node, and the clock that ends them.
//!
//! Invariants: every live session is in the map; every live connection and every detached session is
//! in the wheel. One task ticks once per second for all of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::link::Link;
use super::wheel::Wheel;
use super::{CloseCode, Platform, Session, SessionId};
use crate::metrics::{SessionDepth, SessionMetrics};

/// Time between two heartbeats of a client.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(41_250);
/// Silence after which a connection counts as dead, in seconds.
const SILENCE_MAX_S: u64 = 62;
/// How long a session waits for its client to come back, in seconds.
const DETACHED_MAX_S: u64 = 300;
/// Sessions that may wait at once; beyond that a lost connection ends its session.
const DETACHED_SESSIONS_MAX: usize = 50_000;

/// How long clients may take to go when the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// What waits in the wheel.
#[derive(Debug)]
enum Timer {
    Connection(Weak<Link>),
    Session(SessionId),
}

/// The sessions of a node.
pub struct Sessions {
    /// What sessions ask of the rest.
    pub(super) platform: Arc<dyn Platform>,
    by_id: Mutex<HashMap<SessionId, Arc<Session>>>,
    wheel: Mutex<Wheel<Timer>>,
    detached: AtomicUsize,
    /// The tasks of connections.
    pub(super) connections: TaskTracker,
    started: Instant,
    stop: CancellationToken,
    /// What sessions count.
    pub(super) metrics: Arc<SessionMetrics>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// An empty registry, with its ticking task, which ends when `stop` is cancelled. Must be called
    /// inside of a tokio runtime.
    pub fn start(
        platform: Arc<dyn Platform>,
        metrics: Arc<SessionMetrics>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let sessions = Arc::new(Self {
            platform,
            by_id: Mutex::default(),
            wheel: Mutex::new(Wheel::new(0)),
            detached: AtomicUsize::new(0),
            connections: TaskTracker::new(),
            started: Instant::now(),
            stop,
            metrics,
        });
        tokio::spawn(tick(Arc::clone(&sessions)));
        sessions
    }

    /// Number of sessions, with those that wait for their client.
    pub fn count(&self) -> usize {
        self.by_id.lock().len()
    }

    /// What waits for the sockets. Takes every session's lock once.
    pub(crate) fn depth(&self) -> SessionDepth {
        let sessions: Vec<_> = self.by_id.lock().values().map(Arc::clone).collect();
        let mut depth = SessionDepth {
            sessions: sessions.len(),
            detached: self.detached.load(Ordering::Relaxed),
            connections: self.connections.len(),
            ..SessionDepth::default()
        };
        for session in sessions {
            session.measure(&mut depth);
        }
        depth
    }

    /// Waits until every client has been sent elsewhere, after the node began to stop; not for long.
    pub async fn drained(&self) {
        self.connections.close();
        if tokio::time::timeout(DRAIN_MAX, self.connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                left = self.connections.len(),
                "connections did not end in time"
            );
        }
    }

    /// Seconds since this registry started.
    pub(super) fn now_s(&self) -> u64 {
        self.started.elapsed().as_secs()
    }

    /// Whether the node goes down.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A new connection, which must be heard of in time.
    pub(super) fn connect(&self) -> Arc<Link> {
        let deadline_s = self.now_s() + SILENCE_MAX_S;
        let link = Arc::new(Link::new(deadline_s));
        self.wheel
            .lock()
            .insert(deadline_s, Timer::Connection(Arc::downgrade(&link)));
        link
    }

    /// The client of a connection was heard of.
    pub(super) fn heard(&self, link: &Link) {
        link.extend(self.now_s() + SILENCE_MAX_S);
    }

    /// Adds a session.
    pub(super) fn insert(&self, session: &Arc<Session>) {
        self.by_id.lock().insert(session.id, Arc::clone(session));
    }

    /// The session with this name.
    pub(super) fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.by_id.lock().get(&id).map(Arc::clone)
    }

    /// A detached session is served again.
    pub(super) fn resumed(&self) {
        let count = self.detached.load(Ordering::Relaxed);
        self.detached
            .store(count.saturating_sub(1), Ordering::Relaxed);
    }

    /// The connection of a session is gone: the session waits for its client, or ends.
    pub(super) fn disconnected(&self, session: &Arc<Session>, link: &Arc<Link>, keep: bool) {
        let expires_s = self.now_s() + DETACHED_MAX_S;
        let room = self.detached.load(Ordering::Relaxed) < DETACHED_SESSIONS_MAX;
        if keep && room && !self.is_stopping() {
            if session.detach(link, expires_s) {
                self.detached.fetch_add(1, Ordering::Relaxed);
                self.wheel
                    .lock()
                    .insert(expires_s, Timer::Session(session.id));
                self.platform.presence_changed(session);
            }
        } else if session.end_by(link) {
            self.remove(session);
        }
    }

    fn remove(&self, session: &Arc<Session>) {
        self.by_id.lock().remove(&session.id);
        self.platform.leave(session);
    }

    fn tick_at(&self, now_s: u64) {
        let due = self.wheel.lock().advance(now_s);
        for timer in due {
            match timer {
                Timer::Connection(link) => self.check_connection(now_s, &link),
                Timer::Session(id) => self.check_session(now_s, id),
            }
        }
    }

    fn check_connection(&self, now_s: u64, weak: &Weak<Link>) {
        let Some(link) = weak.upgrade() else { return };
        let deadline_s = link.deadline_s();
        if deadline_s <= now_s {
            link.close(CloseCode::SessionTimedOut);
        } else {
            self.wheel
                .lock()
                .insert(deadline_s, Timer::Connection(Weak::clone(weak)));
        }
    }

    fn check_session(&self, now_s: u64, id: SessionId) {
        let Some(session) = self.get(id) else { return };
        match session.expire(now_s) {
            Ok(()) => {
                self.resumed();
                self.remove(&session);
            }
            Err(Some(again_s)) => self.wheel.lock().insert(again_s, Timer::Session(id)),
            Err(None) => {}
        }
    }

    /// Sends every client elsewhere.
    fn drain(&self) {
        let sessions: Vec<_> = self.by_id.lock().values().map(Arc::clone).collect();
        for link in sessions.iter().filter_map(|session| session.link()) {
            link.reconnect();
        }
    }
}

async fn tick(sessions: Arc<Sessions>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = interval.tick() => sessions.tick_at(sessions.now_s()),
            () = sessions.stop.cancelled() => break,
        }
    }
    sessions.drain();
}
