//! One session: an account that listens, across the connections that come and go.

use std::sync::Arc;

use parking_lot::Mutex;

use super::link::Link;
use super::outbox::{Outbox, Push};
use super::{CloseCode, PresenceCommand};
use crate::events::{Event, EventKind, Intents};
use crate::id::Id;
use crate::metrics::{SessionDepth, SessionMetrics};

/// Name of a session: 128 random bits, 32 hexadecimal digits on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

impl SessionId {
    /// A new one that nobody can guess.
    pub fn random() -> Self {
        Self(u128::from_le_bytes(crate::clock::random_bytes()))
    }

    /// Reads the wire form.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits)
            .map(Self)
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What a session is from its identify on.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts {
    /// The account.
    pub account: Id,
    /// Whether the account is a bot.
    pub bot: bool,
    /// Event classes that it wants.
    pub intents: Intents,
    /// Shard id and count.
    pub shard: [u32; 2],
    /// Guilds with more members than this get no offline members in `GUILD_CREATE`.
    pub large_threshold: u32,
}

impl SessionFacts {
    /// Whether the guild belongs to the shard of this session.
    pub fn has_guild(&self, guild: Id) -> bool {
        let [shard, count] = self.shard;
        (guild.get() >> 22) % u64::from(count.max(1)) == u64::from(shard)
    }

    /// Whether direct messages belong to the shard of this session.
    pub const fn has_direct_messages(&self) -> bool {
        self.shard[0] == 0
    }
}

/// Where the session stands with its connection.
#[derive(Debug)]
enum Attachment {
    /// A connection serves it.
    Attached(Arc<Link>),
    /// None does, until this second of the session clock.
    Detached { expires_s: u64 },
    /// It is over.
    Ended,
}

/// Most events that may come before READY.
const EARLY_MAX: usize = 256;

#[derive(Debug)]
struct State {
    outbox: Outbox,
    attachment: Attachment,
    /// Events that came before READY, which must be the first; `None` from then on.
    early: Option<Vec<Arc<Event>>>,
    presence: Option<Box<PresenceCommand>>,
}

impl State {
    fn is_served_by(&self, link: &Arc<Link>) -> bool {
        matches!(&self.attachment, Attachment::Attached(now) if Arc::ptr_eq(now, link))
    }

    fn end(&mut self) {
        self.attachment = Attachment::Ended;
        self.outbox = Outbox::default();
        self.early = None;
    }

    /// Queues an event behind READY.
    fn push(&mut self, event: &Arc<Event>) -> Push {
        let Some(early) = &mut self.early else {
            return self.outbox.push(event);
        };
        if event.kind() != EventKind::Ready {
            if early.len() == EARLY_MAX {
                return Push::Overflow;
            }
            early.push(Arc::clone(event));
            return Push::Coalesced;
        }
        let early = self.early.take().unwrap_or_default();
        let ready = self.outbox.push(event);
        early
            .iter()
            .map(|event| self.outbox.push(event))
            .fold(ready, Push::worst)
    }
}

/// A session. Shared by its connection, the registry and every guild that it hears.
#[derive(Debug)]
pub struct Session {
    /// Name.
    pub id: SessionId,
    /// What it is.
    pub facts: SessionFacts,
    pub(super) metrics: Arc<SessionMetrics>,
    state: Mutex<State>,
}

impl Session {
    /// A session that `link` serves.
    pub fn new(facts: SessionFacts, link: Arc<Link>, metrics: Arc<SessionMetrics>) -> Arc<Self> {
        Arc::new(Self {
            id: SessionId::random(),
            facts,
            metrics,
            state: Mutex::new(State {
                outbox: Outbox::default(),
                attachment: Attachment::Attached(link),
                early: Some(Vec::new()),
                presence: None,
            }),
        })
    }

    /// Gives the session an event; it decides by its backlog what becomes of it.
    pub fn push(&self, event: &Arc<Event>) {
        let mut state = self.state.lock();
        if matches!(state.attachment, Attachment::Ended) {
            return;
        }
        let pushed = state.push(event);
        match pushed {
            Push::Queued => self.metrics.queued.inc(),
            Push::Coalesced if event.is_ephemeral() => self.metrics.coalesced.inc(),
            Push::Coalesced | Push::Overflow => 0,
        };
        let Attachment::Attached(link) = &state.attachment else {
            return;
        };
        match pushed {
            Push::Queued => link.wake(),
            Push::Coalesced => {}
            Push::Overflow => {
                if link.close(CloseCode::Unknown) {
                    self.metrics.overflowed.inc();
                }
            }
        }
    }

    /// Adds what waits here.
    pub(crate) fn measure(&self, depth: &mut SessionDepth) {
        self.state.lock().outbox.measure(depth);
    }

    /// The next events to write; none if `link` serves the session no longer.
    pub fn next_batch(&self, link: &Arc<Link>, max: usize) -> Vec<(u64, Arc<Event>)> {
        let state = self.state.lock();
        if state.is_served_by(link) {
            state.outbox.next_batch(max)
        } else {
            Vec::new()
        }
    }

    /// `count` events of the last batch are written by `link`.
    pub fn advance(&self, link: &Arc<Link>, count: usize) {
        let mut state = self.state.lock();
        if state.is_served_by(link) {
            state.outbox.advance(count);
        }
    }

    /// The client says that it received everything up to `sequence`.
    pub fn acknowledge(&self, sequence: u64) {
        self.state.lock().outbox.acknowledge(sequence);
    }

    /// Lets `link` serve the session from the event after `sequence` on. The connection that served
    /// it until now is closed. Returns whether it was detached.
    pub fn resume(&self, link: &Arc<Link>, sequence: u64) -> Result<bool, ResumeError> {
        let mut state = self.state.lock();
        if matches!(state.attachment, Attachment::Ended) {
            return Err(ResumeError::Gone);
        }
        if state.outbox.is_future(sequence) && !state.outbox.has_overflowed() {
            return Err(ResumeError::Future);
        }
        if !state.outbox.rewind(sequence) {
            return Err(ResumeError::Gone);
        }
        let next = Attachment::Attached(Arc::clone(link));
        match std::mem::replace(&mut state.attachment, next) {
            Attachment::Attached(old) => {
                old.close(CloseCode::Unknown);
                Ok(false)
            }
            Attachment::Detached { .. } | Attachment::Ended => Ok(true),
        }
    }

    /// The connection behind `link` is gone. Returns whether the session waits for a resume now.
    pub fn detach(&self, link: &Arc<Link>, expires_s: u64) -> bool {
        let mut state = self.state.lock();
        let served = state.is_served_by(link);
        if served {
            state.attachment = Attachment::Detached { expires_s };
        }
        served
    }

    /// Ends the session if `link` still serves it. Returns whether it did.
    pub fn end_by(&self, link: &Arc<Link>) -> bool {
        let mut state = self.state.lock();
        let served = state.is_served_by(link);
        if served {
            state.end();
        }
        served
    }

    /// Ends the session if nobody came back until `now_s`. If it is not over, the error says in which
    /// second to ask again, or nothing if a connection serves it.
    pub fn expire(&self, now_s: u64) -> Result<(), Option<u64>> {
        let mut state = self.state.lock();
        match state.attachment {
            Attachment::Ended => Ok(()),
            Attachment::Attached(_) => Err(None),
            Attachment::Detached { expires_s } if expires_s > now_s => Err(Some(expires_s)),
            Attachment::Detached { .. } => {
                state.end();
                Ok(())
            }
        }
    }

    /// Events are missing: the client is cut off and must identify again.
    pub fn invalidate(&self) {
        let mut state = self.state.lock();
        state.outbox.invalidate();
        if let Attachment::Attached(link) = &state.attachment {
            link.close(CloseCode::Unknown);
        }
    }

    /// Remembers the presence that the client chose.
    pub fn set_presence(&self, presence: PresenceCommand) {
        self.state.lock().presence = Some(Box::new(presence));
    }

    /// The presence that the client chose; `None` while no connection serves the session.
    pub fn presence(&self) -> Option<PresenceCommand> {
        let state = self.state.lock();
        let attached = matches!(state.attachment, Attachment::Attached(_));
        let chosen = state.presence.as_deref().cloned();
        attached.then(|| chosen.unwrap_or_default())
    }

    /// The connection that serves the session.
    pub fn link(&self) -> Option<Arc<Link>> {
        match &self.state.lock().attachment {
            Attachment::Attached(link) => Some(Arc::clone(link)),
            _ => None,
        }
    }
}

/// Why a session cannot be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeError {
    /// It is over, or too much was missed.
    Gone,
    /// The client names a number that was never sent.
    Future,
}
