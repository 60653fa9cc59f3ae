//! Who listens to what on this node: guild relays, account listeners, and the interest of the node's
//! one subscription.
//!
//! Invariants:
//! - a topic is wanted exactly while somebody listens to it: `guild:<id>` while a relay exists,
//!   `user:<id>` while the account has a session;
//! - interest is added before the state is read, so that no change falls in between.

use std::collections::HashMap;
use std::sync::Arc;

use chatdb::{Db, Interest, Result};
use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::guild::Relay;
use super::members;
use crate::auth::Auth;
use crate::directory::Directory;
use crate::error::Error;
use crate::events::compose::Composer;
use crate::events::{Event, EventKind, ready};
use crate::id::Id;
use crate::metrics::GatewayMetrics;
use crate::session::{Account, MembersPlan, Platform, PlatformError, RequestMembers, Session};
use crate::store::{guild_topic, members as member_store, user_topic};

/// Accounts whose presence waits to be published; beyond that a change is dropped and logged.
const PRESENCE_QUEUE_MAX: usize = 8192;

/// An account with sessions on this node.
#[derive(Debug, Default)]
struct Present {
    sessions: Vec<Arc<Session>>,
    guilds: Vec<Id>,
}

/// An account whose presence must be told to these guilds.
#[derive(Debug)]
pub(super) struct PresenceChange {
    pub(super) account: Id,
    pub(super) guilds: Vec<Id>,
}

/// The listeners of a node.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(super) db: Db,
    pub(super) directory: Arc<Directory>,
    auth: Arc<Auth>,
    interest: Interest,
    relays: Mutex<HashMap<Id, Arc<AsyncMutex<Relay>>>>,
    accounts: Mutex<HashMap<Id, Present>>,
    presence: mpsc::Sender<PresenceChange>,
    pub(super) metrics: GatewayMetrics,
}

/// How much a node listens to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Depth {
    pub(crate) accounts: usize,
    pub(crate) guilds: usize,
    pub(crate) presence_waiting: usize,
    pub(crate) presence_limit: usize,
}

impl Hub {
    /// A hub without listeners, and the queue of presence changes that `presence::run` empties.
    pub(super) fn new(
        db: Db,
        (directory, auth, metrics): (Arc<Directory>, Arc<Auth>, GatewayMetrics),
        interest: Interest,
    ) -> (Arc<Self>, mpsc::Receiver<PresenceChange>) {
        let (presence, changes) = mpsc::channel(PRESENCE_QUEUE_MAX);
        let hub = Self {
            db,
            directory,
            auth,
            interest,
            relays: Mutex::default(),
            accounts: Mutex::default(),
            presence,
            metrics,
        };
        (Arc::new(hub), changes)
    }

    pub(crate) fn depth(&self) -> Depth {
        Depth {
            accounts: self.accounts.lock().len(),
            guilds: self.relays.lock().len(),
            presence_waiting: PRESENCE_QUEUE_MAX.saturating_sub(self.presence.capacity()),
            presence_limit: PRESENCE_QUEUE_MAX,
        }
    }

    pub(super) fn composer(&self) -> Composer<'_> {
        Composer {
            db: &self.db,
            directory: &self.directory,
        }
    }

    /// The relay of a guild, if anybody listens to it here.
    pub(super) fn relay(&self, guild: Id) -> Option<Arc<AsyncMutex<Relay>>> {
        self.relays.lock().get(&guild).map(Arc::clone)
    }

    /// All guilds that anybody listens to here.
    pub(super) fn guilds(&self) -> Vec<Id> {
        self.relays.lock().keys().copied().collect()
    }

    /// The sessions of an account.
    pub(super) fn sessions_of(&self, account: Id) -> Vec<Arc<Session>> {
        let accounts = self.accounts.lock();
        let present = accounts.get(&account);
        present
            .map(|present| present.sessions.clone())
            .unwrap_or_default()
    }

    fn relay_or_new(&self, guild: Id) -> Arc<AsyncMutex<Relay>> {
        let mut relays = self.relays.lock();
        let relay = relays.entry(guild).or_insert_with(|| {
            self.interest.add(guild_topic(guild));
            self.directory.forget_guild(guild);
            Arc::default()
        });
        Arc::clone(relay)
    }

    /// Lets a session listen to a guild.
    pub(super) async fn enter(
        &self,
        session: &Arc<Session>,
        guild: Id,
        joined: bool,
    ) -> Result<()> {
        loop {
            let shared = self.relay_or_new(guild);
            let mut relay = shared.lock().await;
            if relay.closed {
                continue;
            }
            let entered = relay.enter(self.composer(), guild, session, joined).await;
            if !matches!(entered, Ok(true)) && relay.leave(session) {
                self.close_relay(guild, &mut relay);
            }
            drop(relay);
            if entered? {
                self.remember_guild(session, guild);
            }
            return Ok(());
        }
    }

    /// Remembers the guild for presences; takes the session out again if it ended meanwhile.
    fn remember_guild(&self, session: &Arc<Session>, guild: Id) {
        if let Some(present) = self.accounts.lock().get_mut(&session.facts.account)
            && present.sessions.iter().any(|other| other.id == session.id)
        {
            if !present.guilds.contains(&guild) {
                present.guilds.push(guild);
            }
            return;
        }
        tracing::debug!("session ended while it entered a guild");
    }

    /// Ends the listening of one session to one guild.
    pub(super) async fn leave_guild(&self, session: &Session, guild: Id) {
        if let Some(shared) = self.relay(guild) {
            let mut relay = shared.lock().await;
            if !relay.closed && relay.leave(session) {
                self.close_relay(guild, &mut relay);
            }
        }
    }

    /// An account is no member any more: its sessions stop to listen and are told.
    pub(super) async fn expel(&self, guild: Id, account: Id) {
        let Some(shared) = self.relay(guild) else {
            return;
        };
        let mut relay = shared.lock().await;
        if !relay.closed {
            relay.expel(guild, account);
            if relay.is_empty() {
                self.close_relay(guild, &mut relay);
            }
        }
        drop(relay);
        if let Some(present) = self.accounts.lock().get_mut(&account) {
            present.guilds.retain(|known| *known != guild);
        }
    }

    fn close_relay(&self, guild: Id, relay: &mut Relay) {
        relay.closed = true;
        self.relays.lock().remove(&guild);
        self.interest.remove(&guild_topic(guild));
    }

    fn add_session(&self, session: &Arc<Session>) {
        let account = session.facts.account;
        let mut accounts = self.accounts.lock();
        let present = accounts.entry(account).or_insert_with(|| {
            self.interest.add(user_topic(account));
            Present::default()
        });
        present.sessions.push(Arc::clone(session));
    }

    /// Takes a session out of its account; answers the guilds that it may listen to.
    fn remove_session(&self, session: &Session) -> Vec<Id> {
        let account = session.facts.account;
        let mut accounts = self.accounts.lock();
        let Some(present) = accounts.get_mut(&account) else {
            return Vec::new();
        };
        present.sessions.retain(|other| other.id != session.id);
        let guilds = present.guilds.clone();
        if present.sessions.is_empty() {
            accounts.remove(&account);
            self.interest.remove(&user_topic(account));
        }
        guilds
    }

    fn tell_presence(&self, account: Id, guilds: Vec<Id>) {
        if guilds.is_empty() {
            return;
        }
        if self
            .presence
            .try_send(PresenceChange { account, guilds })
            .is_err()
        {
            self.metrics.presence_dropped.inc();
            tracing::warn!("presence queue is full, a change was dropped");
        }
    }

    /// Tells the guilds of a session's account what its presence is.
    pub(super) fn presence_of(&self, session: &Session) {
        let account = session.facts.account;
        let guilds = self
            .accounts
            .lock()
            .get(&account)
            .map(|present| present.guilds.clone());
        self.tell_presence(account, guilds.unwrap_or_default());
    }

    async fn open(&self, session: &Arc<Session>, resume_url: &str) -> Result<Option<Vec<Id>>> {
        self.add_session(session);
        let mut guilds = member_store::guilds_of(&self.db, session.facts.account).await?;
        guilds.retain(|guild| session.facts.has_guild(*guild));
        let data = ready(self.composer(), session, &guilds, resume_url).await?;
        let Some(data) = data else {
            return Ok(None);
        };
        session.push(&Event::new(EventKind::Ready, false, &data).share());
        Ok(Some(guilds))
    }
}

/// Logs what the database said; the connection is closed with a code that allows to come back.
fn unavailable(error: impl Into<Error>) -> PlatformError {
    let error: Error = error.into();
    tracing::warn!(%error, "a session could not be served");
    PlatformError
}

/// The platform as sessions see it. A type of its own, because leaving a guild needs a task that
/// outlives the call.
#[derive(Debug)]
pub(crate) struct HubPlatform(pub(super) Arc<Hub>);

impl Platform for HubPlatform {
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, std::result::Result<Option<Account>, PlatformError>> {
        async move {
            let checked = self.0.auth.check(token).await.map_err(unavailable)?;
            let Some((id, _)) = checked else {
                return Ok(None);
            };
            let user = self.0.directory.user(id).await.map_err(unavailable)?;
            Ok(user.map(|user| Account { id, bot: user.bot }))
        }
        .boxed()
    }

    fn ready<'a>(
        &'a self,
        session: &'a Arc<Session>,
        resume_url: &'a str,
    ) -> BoxFuture<'a, std::result::Result<Vec<Id>, PlatformError>> {
        async move {
            let guilds = self
                .0
                .open(session, resume_url)
                .await
                .map_err(unavailable)?;
            guilds.ok_or(PlatformError)
        }
        .boxed()
    }

    fn enter_guild<'a>(
        &'a self,
        session: &'a Arc<Session>,
        guild: Id,
    ) -> BoxFuture<'a, std::result::Result<(), PlatformError>> {
        async move {
            self.0
                .enter(session, guild, false)
                .await
                .map_err(unavailable)
        }
        .boxed()
    }

    fn plan_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
    ) -> BoxFuture<'a, std::result::Result<MembersPlan, PlatformError>> {
        async move {
            members::plan(&self.0, session, request)
                .await
                .map_err(unavailable)
        }
        .boxed()
    }

    fn push_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
        (plan, chunk): (&'a MembersPlan, usize),
    ) -> BoxFuture<'a, std::result::Result<(), PlatformError>> {
        async move {
            members::push(&self.0, session, (request, plan, chunk))
                .await
                .map_err(unavailable)
        }
        .boxed()
    }

    fn presence_changed(&self, session: &Arc<Session>) {
        self.0.presence_of(session);
    }

    fn leave(&self, session: &Arc<Session>) {
        let guilds = self.0.remove_session(session);
        let (hub, session) = (Arc::clone(&self.0), Arc::clone(session));
        tokio::spawn(async move {
            for guild in &guilds {
                hub.leave_guild(&session, *guild).await;
            }
            hub.tell_presence(session.facts.account, guilds);
        });
    }
}
