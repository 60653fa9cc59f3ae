//! One guild on this node: who listens to it, what each listener sees, who is online.
//!
//! A relay exists while a session of the guild is here. Everything that changes it or goes through it
//! takes its lock, so that the stream and a session that enters see one order: what the session's
//! `GUILD_CREATE` does not show comes after it.
//!
//! Cost of an event: one encoding, one question per class of listeners, one push per listener.

use std::collections::HashMap;
use std::sync::Arc;

use chatdb::Result;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::visibility::{ClassId, Classes};
use crate::directory::GuildState;
use crate::events::compose::Composer;
use crate::events::{Event, EventKind, Intents, Live, Note, guild_create};
use crate::id::Id;
use crate::model::channel::GuildChannel;
use crate::presence::Presence;
use crate::session::Session;
use crate::store::members;

/// A session that listens.
#[derive(Debug)]
struct Listener {
    session: Arc<Session>,
    class: ClassId,
}

/// What a relay knows.
#[derive(Debug, Default)]
pub(super) struct Relay {
    listeners: Vec<Listener>,
    classes: Classes,
    member_count: Option<usize>,
    online: HashMap<Id, Presence>,
    /// Nobody listened any more; whoever waited for the lock must take a new relay.
    pub(super) closed: bool,
}

/// The parts of a payload that decide who gets it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Peek<'a> {
    #[serde(default)]
    pub(super) id: Option<Id>,
    #[serde(default)]
    pub(super) channel_id: Option<Id>,
    #[serde(default)]
    pub(super) user_id: Option<Id>,
    #[serde(default)]
    user: Option<PeekUser>,
    #[serde(borrow, default)]
    status: Option<&'a str>,
    #[serde(borrow, default)]
    activities: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct PeekUser {
    id: Id,
}

impl Peek<'_> {
    /// The presence that the payload tells; `None` if it says offline or nothing that is known.
    pub(super) fn presence(&self) -> Option<Presence> {
        Presence::from_wire(self.status.unwrap_or("offline"), self.activities)
    }

    /// The account that the payload is about.
    pub(super) fn account(&self) -> Option<Id> {
        self.user.as_ref().map(|user| user.id).or(self.user_id)
    }
}

impl Relay {
    /// Adds a session and pushes its `GUILD_CREATE`; nothing if its account is no member, or it
    /// listens already. `joined` when the account has just joined. Returns whether it listens now.
    pub(super) async fn enter(
        &mut self,
        composer: Composer<'_>,
        guild: Id,
        session: &Arc<Session>,
        joined: bool,
    ) -> Result<bool> {
        if self
            .listeners
            .iter()
            .any(|listener| listener.session.id == session.id)
        {
            return Ok(true);
        }
        let account = session.facts.account;
        let Some(state) = composer.directory.guild(guild).await? else {
            return Ok(false);
        };
        let Some(own) = composer.directory.member(guild, account).await? else {
            return Ok(false);
        };
        let member_count = match self.member_count {
            Some(count) => count,
            None => members::count(composer.db, guild).await?,
        };
        self.member_count = Some(member_count);
        let class = self.classes.class_of(&state, &own);
        if session.facts.intents.contains(Intents::GUILDS) {
            let visible = self.classes.visible(class);
            let live = Live {
                state: &state,
                member_count,
                online: &self.online,
                visible,
            };
            let data = guild_create(composer, live, &session.facts, &own, joined).await?;
            session.push(&Event::new(EventKind::GuildCreate, true, &data).share());
        }
        self.listeners.push(Listener {
            session: Arc::clone(session),
            class,
        });
        Ok(true)
    }

    /// Removes a session; true if nobody listens any more.
    pub(super) fn leave(&mut self, session: &Session) -> bool {
        self.listeners
            .retain(|listener| listener.session.id != session.id);
        self.listeners.is_empty()
    }

    /// Removes all sessions of an account, after telling them that the guild is gone for them.
    pub(super) fn expel(&mut self, guild: Id, account: Id) {
        let data = json!({"id": guild}).to_string();
        let event = Event::new(EventKind::GuildDelete, true, data.as_bytes()).share();
        self.listeners.retain(|Listener { session, .. }| {
            let stays = session.facts.account != account;
            if !stays && session.facts.intents.allows(event.intent()) {
                session.push(&event);
            }
            stays
        });
    }

    /// Whether anybody here may not read content.
    pub(super) fn has_blind_listeners(&self) -> bool {
        let blind = |listener: &Listener| {
            !listener
                .session
                .facts
                .intents
                .contains(Intents::MESSAGE_CONTENT)
        };
        self.listeners.iter().any(blind)
    }

    /// Gives an event to everybody who wants it and may see its channel.
    pub(super) fn deliver(&self, event: &Arc<Event>, channel: Option<Id>) {
        let views = self.classes.views(channel);
        for listener in &self.listeners {
            let wants = listener.session.facts.intents.allows(event.intent());
            if wants && views.has(listener.class) {
                listener.session.push(event);
            }
        }
    }

    /// Applies what is not a message: updates this relay and tells everybody. `note` has a payload.
    pub(super) async fn apply(
        &mut self,
        composer: Composer<'_>,
        guild: Id,
        note: &Note,
    ) -> Result<()> {
        let Some(data) = note.data.as_deref().map(RawValue::get) else {
            return Ok(());
        };
        let peek: Peek<'_> = serde_json::from_str(data).unwrap_or_default();
        let event = Event::new(note.kind, true, data.as_bytes());
        match note.kind {
            EventKind::GuildMemberAdd => {
                self.member_count = self.member_count.map(|count| count + 1);
                self.deliver(&event.share(), None);
            }
            EventKind::GuildMemberRemove => {
                self.member_count = self.member_count.map(|count| count.saturating_sub(1));
                if let Some(account) = peek.account() {
                    self.online.remove(&account);
                }
                self.deliver(&event.share(), None);
            }
            EventKind::GuildMemberUpdate => {
                self.deliver_member(&event.share(), peek.account());
                self.reclassify(composer, guild, peek.account()).await?;
            }
            EventKind::GuildRoleCreate
            | EventKind::GuildRoleUpdate
            | EventKind::GuildRoleDelete
            | EventKind::GuildUpdate => {
                self.deliver(&event.share(), None);
                self.reclassify(composer, guild, None).await?;
            }
            EventKind::ChannelCreate | EventKind::ChannelUpdate | EventKind::ChannelDelete => {
                self.channel_changed(composer, guild, (peek.id, event.share()))
                    .await?;
            }
            EventKind::PresenceUpdate => {
                let Some(account) = peek.account() else {
                    return Ok(());
                };
                match peek.presence() {
                    Some(presence) => drop(self.online.insert(account, presence)),
                    None => drop(self.online.remove(&account)),
                }
                self.deliver(&event.about(account.get()).share(), None);
            }
            _ => self.deliver(&event.share(), peek.channel_id),
        }
        Ok(())
    }

    /// A member's own sessions hear of it whatever they asked for.
    fn deliver_member(&self, event: &Arc<Event>, account: Option<Id>) {
        for Listener { session, .. } in &self.listeners {
            let own = account == Some(session.facts.account);
            if own || session.facts.intents.allows(event.intent()) {
                session.push(event);
            }
        }
    }

    /// Classes before and after a channel changed decide what each listener hears: a channel that
    /// it sees now appears, one that it sees no longer disappears.
    async fn channel_changed(
        &mut self,
        composer: Composer<'_>,
        guild: Id,
        (channel, event): (Option<Id>, Arc<Event>),
    ) -> Result<()> {
        let before = self.views_of_listeners(channel);
        let Some(state) = self.rebuild(composer, guild).await? else {
            return Ok(());
        };
        let after = self.views_of_listeners(channel);
        let appears = match (event.kind(), channel.and_then(|id| state.channel(id))) {
            (EventKind::ChannelUpdate, Some(row)) => Some(appears(composer, row).await?),
            _ => None,
        };
        let disappears = disappears(guild, channel);
        let wanting = |session: &Session| session.facts.intents.contains(Intents::GUILDS);
        for (listener, (saw, sees)) in self.listeners.iter().zip(before.into_iter().zip(after)) {
            let session = &listener.session;
            let deleted = event.kind() == EventKind::ChannelDelete;
            match (saw, sees) {
                _ if !wanting(session) => {}
                (false, true) => session.push(appears.as_ref().unwrap_or(&event)),
                (true, false) if !deleted => session.push(&disappears),
                (true, _) => session.push(&event),
                (false, false) => {}
            }
        }
        Ok(())
    }

    fn views_of_listeners(&self, channel: Option<Id>) -> Vec<bool> {
        let views = self.classes.views(channel);
        self.listeners
            .iter()
            .map(|listener| views.has(listener.class))
            .collect()
    }

    /// Roles or a member changed: every listener (of `account`, if given) hears of the channels that
    /// appear and disappear for it.
    async fn reclassify(
        &mut self,
        composer: Composer<'_>,
        guild: Id,
        account: Option<Id>,
    ) -> Result<()> {
        let visible = |relay: &Self| -> Vec<Vec<Id>> {
            let listeners = relay.listeners.iter();
            listeners
                .map(|listener| relay.classes.visible(listener.class).to_vec())
                .collect()
        };
        let before = visible(self);
        let Some(state) = self.rebuild(composer, guild).await? else {
            return Ok(());
        };
        for (listener, (saw, sees)) in self.listeners.iter().zip(before.iter().zip(visible(self))) {
            let facts = &listener.session.facts;
            let concerned = account.is_none_or(|account| account == facts.account);
            if saw == &sees || !concerned || !facts.intents.contains(Intents::GUILDS) {
                continue;
            }
            for gone in saw.iter().filter(|id| sees.binary_search(id).is_err()) {
                listener.session.push(&disappears(guild, Some(*gone)));
            }
            let new = sees.iter().filter(|id| saw.binary_search(id).is_err());
            for row in new.filter_map(|id| state.channel(*id)) {
                listener.session.push(&appears(composer, row).await?);
            }
        }
        Ok(())
    }

    /// Computes the class of every listener again.
    async fn rebuild(
        &mut self,
        composer: Composer<'_>,
        guild: Id,
    ) -> Result<Option<Arc<GuildState>>> {
        let Some(state) = composer.directory.guild(guild).await? else {
            return Ok(None);
        };
        self.classes.clear();
        for listener in &mut self.listeners {
            let account = listener.session.facts.account;
            if let Some(member) = composer.directory.member(guild, account).await? {
                listener.class = self.classes.class_of(&state, &member);
            }
        }
        Ok(Some(state))
    }

    /// Who of these is online, for chunks of members.
    pub(super) fn presence(&self, account: Id) -> Option<&Presence> {
        self.online.get(&account)
    }

    /// Whether nobody listens.
    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    /// The accounts that listen.
    pub(super) fn accounts(&self) -> Vec<Id> {
        self.listeners
            .iter()
            .map(|listener| listener.session.facts.account)
            .collect()
    }

    /// The sessions that listen.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.listeners.iter().map(|listener| &listener.session)
    }

    /// Whether the session listens here.
    pub(super) fn has(&self, session: &Session) -> bool {
        self.listeners
            .iter()
            .any(|listener| listener.session.id == session.id)
    }
}

async fn appears(
    composer: Composer<'_>,
    row: &crate::store::channels::ChannelRow,
) -> Result<Arc<Event>> {
    let newest = composer.directory.newest(row.channel_id).await?;
    let data = serde_json::to_vec(&GuildChannel::new(row, newest)).unwrap_or_default();
    Ok(Event::new(EventKind::ChannelCreate, true, &data).share())
}

fn disappears(guild: Id, channel: Option<Id>) -> Arc<Event> {
    let data = json!({"id": channel, "guild_id": guild, "type": 0}).to_string();
    Event::new(EventKind::ChannelDelete, true, data.as_bytes()).share()
}
