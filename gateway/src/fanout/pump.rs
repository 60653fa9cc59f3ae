//! From the node's subscription to relays and accounts: the one task through which every event goes.
//!
//! Order is kept because there is one task. It waits for a relay's lock and, for an edited message,
//! for one read; never for a socket. When the database says that changes were lost ([`Gap`]), every
//! client is told to come back, and finds the new state when it does.
//!
//! [`Gap`]: chatdb::StreamItem::Gap

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chatdb::{ChangeEvent, ChangeKind, Db, Result, StreamItem, SubscribeOptions, Subscription};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::guild::Peek;
use super::hub::{Hub, PresenceChange};
use crate::clock;
use crate::events::compose::without_content;
use crate::events::{Event, EventKind, Note};
use crate::id::Id;
use crate::model::message::Message;
use crate::presence::{Presence, WirePresence};
use crate::session::Session;
use crate::store::fields::Fields;
use crate::store::guild_topic;
use crate::store::messages::{self, MessageRow};

/// Pause before a broken subscription is opened again.
const RETRY: Duration = Duration::from_millis(500);

/// Announced notes that are remembered.
const RECENT_MAX: usize = 64;

/// Who a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Guild(Id),
    Account(Id),
}

pub(super) fn target(topic: &str) -> Option<Target> {
    let (kind, id) = topic.split_once(':')?;
    match kind {
        "guild" => Some(Target::Guild(id.parse().ok()?)),
        "user" => Some(Target::Account(id.parse().ok()?)),
        _ => None,
    }
}

/// Notes that were announced lately. All changes of a batch carry the note of the batch, which is one
/// event; they follow each other closely.
#[derive(Debug, Default)]
struct Recent(VecDeque<(u64, Bytes)>);

impl Recent {
    /// Whether the note of this change is announced for the first time.
    fn is_new(&mut self, change: &ChangeEvent) -> bool {
        let same =
            |(time, note): &(u64, Bytes)| *time == change.timestamp_us && *note == change.note;
        if self.0.iter().any(same) {
            return false;
        }
        if self.0.len() == RECENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((change.timestamp_us, change.note.clone()));
        true
    }
}

/// Reads the subscription until `stop`.
pub(super) async fn run(hub: Arc<Hub>, mut subscription: Subscription, stop: CancellationToken) {
    let mut recent = Recent::default();
    loop {
        let item = tokio::select! {
            item = subscription.next() => item,
            () = stop.cancelled() => return,
        };
        match item {
            Some(Ok(item)) => {
                let committed_us = match &item {
                    StreamItem::Change(change) => Some(change.timestamp_us),
                    _ => None,
                };
                let accepted = hub.accept(item, &mut recent).await;
                if let Some(committed_us) = committed_us {
                    let after_us = clock::now_us().saturating_sub(committed_us);
                    hub.metrics.dispatched(Duration::from_micros(after_us));
                }
                if let Err(error) = accepted {
                    hub.metrics.stumbles.inc();
                    tracing::warn!(%error, "an event could not be delivered");
                }
            }
            Some(Err(error)) if error.is_retryable() => {
                hub.metrics.stumbles.inc();
                tracing::warn!(%error, "the event stream stumbled");
                tokio::time::sleep(RETRY).await;
            }
            Some(Err(error)) => {
                hub.metrics.stumbles.inc();
                tracing::error!(%error, "the event stream ended");
                return;
            }
            None => return,
        }
    }
}

/// Opens the node's subscription.
pub(super) async fn subscribe(db: &Db) -> Result<Subscription> {
    db.subscribe(SubscribeOptions::default()).await
}

/// Publishes presences until `stop`: always the newest, one account after the other.
pub(super) async fn tell_presences(
    hub: Arc<Hub>,
    mut changes: mpsc::Receiver<PresenceChange>,
    stop: CancellationToken,
) {
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = stop.cancelled() => return,
        };
        let Some(PresenceChange { account, guilds }) = change else {
            return;
        };
        let sessions = hub.sessions_of(account);
        let presence = Presence::combine(sessions.iter().filter_map(|session| session.presence()));
        for guild in guilds {
            let wire = WirePresence::new(account, Some(guild), presence.as_ref());
            let payload = Note::with(EventKind::PresenceUpdate, &wire).encode();
            if let Err(error) = hub.db.publish(&guild_topic(guild), payload).await {
                tracing::warn!(%error, "a presence could not be published");
            }
        }
    }
}

impl Hub {
    async fn accept(self: &Arc<Self>, item: StreamItem, recent: &mut Recent) -> Result<()> {
        match item {
            StreamItem::Change(change) => self.changed(&change, recent).await,
            StreamItem::Ephemeral { topic, payload } => {
                match (target(&topic), Note::decode(&payload)) {
                    (Some(target), Some(note)) => self.announce(target, &note).await,
                    _ => Ok(()),
                }
            }
            StreamItem::Gap { group, from, to } => {
                self.metrics.gaps.inc();
                tracing::warn!(group, from, to, "changes were lost, clients start afresh");
                self.start_afresh().await;
                Ok(())
            }
            StreamItem::Progress(_) => Ok(()),
        }
    }

    async fn changed(self: &Arc<Self>, change: &ChangeEvent, recent: &mut Recent) -> Result<()> {
        self.directory.observe(change)?;
        let Some(note) = Note::decode(&change.note) else {
            return Ok(());
        };
        let targets: Vec<Target> = change
            .topics
            .iter()
            .filter_map(|topic| target(topic))
            .collect();
        if !matches!(
            note.kind,
            EventKind::MessageCreate | EventKind::MessageUpdate
        ) {
            let fresh = recent.is_new(change);
            for target in targets.into_iter().filter(|_| fresh) {
                self.announce(target, &note).await?;
            }
            return Ok(());
        }
        if change.table != "flux.messages" {
            return Ok(());
        }
        let guild = targets.iter().find_map(|target| match target {
            Target::Guild(guild) => Some(*guild),
            Target::Account(_) => None,
        });
        let Some(message) = self.message(change, note, guild).await? else {
            return Ok(());
        };
        for target in targets {
            self.deliver_message(target, &message).await;
        }
        Ok(())
    }

    /// The message of a change; `None` if it is gone already.
    async fn message(
        &self,
        change: &ChangeEvent,
        note: Note,
        guild: Option<Id>,
    ) -> Result<Option<(EventKind, Message)>> {
        let composer = self.composer();
        let created = change.kind == ChangeKind::Insert && note.kind == EventKind::MessageCreate;
        if created {
            let row = MessageRow::from_change(change)?;
            let mut message = composer.message(&row, guild).await?;
            message.nonce = note.nonce;
            return Ok(Some((note.kind, message)));
        }
        let (channel, id) = (change.id("channel_id")?, change.id("message_id")?);
        let Some(row) = messages::get(&self.db, channel, id).await? else {
            return Ok(None);
        };
        let mut message = composer.message(&row, guild).await?;
        message.reactions = composer.reactions(channel, id).await?;
        Ok(Some((note.kind, message)))
    }

    async fn deliver_message(&self, target: Target, (kind, message): &(EventKind, Message)) {
        let data = serde_json::to_vec(message).unwrap_or_default();
        match target {
            Target::Guild(guild) => {
                let Some(shared) = self.relay(guild) else {
                    return;
                };
                let relay = shared.lock().await;
                let mut event = Event::new(*kind, true, &data);
                if relay.has_blind_listeners() {
                    let blank = serde_json::to_vec(&without_content(message)).unwrap_or_default();
                    let mut readers: Vec<Id> = message
                        .mentions
                        .iter()
                        .map(|mention| mention.user.id)
                        .collect();
                    readers.push(message.author.id);
                    event = event.blank(&blank, readers);
                }
                relay.deliver(&event.share(), Some(message.channel_id));
            }
            Target::Account(account) => {
                self.deliver_to_account(account, &Event::new(*kind, false, &data).share());
            }
        }
    }

    fn deliver_to_account(&self, account: Id, event: &Arc<Event>) {
        for session in self.sessions_of(account) {
            let facts = &session.facts;
            let for_people = event.kind() == EventKind::MessageAck;
            let wants = facts.intents.allows(event.intent()) && facts.has_direct_messages();
            if wants && !(for_people && facts.bot) {
                session.push(event);
            }
        }
    }

    /// Everything that is not a message.
    async fn announce(self: &Arc<Self>, target: Target, note: &Note) -> Result<()> {
        let data = note.data.as_deref().map_or("null", RawValue::get);
        let peek: Peek<'_> = serde_json::from_str(data).unwrap_or_default();
        match (target, note.kind) {
            (Target::Account(account), EventKind::GuildCreate) => {
                if let Some(guild) = peek.id {
                    self.joined(account, guild);
                }
            }
            (Target::Account(account), EventKind::GuildDelete) => {
                if let Some(guild) = peek.id {
                    self.expel(guild, account).await;
                }
            }
            (Target::Account(account), kind) => {
                let event = Event::new(kind, false, data.as_bytes()).share();
                self.deliver_to_account(account, &event);
            }
            (Target::Guild(guild), EventKind::GuildDelete) => self.guild_deleted(guild).await,
            (Target::Guild(guild), kind) => {
                let Some(shared) = self.relay(guild) else {
                    return Ok(());
                };
                let completed = self.completed(guild, note, &peek).await?;
                let note = completed.as_ref().unwrap_or(note);
                shared
                    .lock()
                    .await
                    .apply(self.composer(), guild, note)
                    .await?;
                if kind == EventKind::GuildMemberRemove
                    && let Some(account) = peek.account()
                {
                    self.expel(guild, account).await;
                }
            }
        }
        Ok(())
    }

    /// A guild's own settings, when they did not fit in the note.
    async fn completed(&self, guild: Id, note: &Note, peek: &Peek<'_>) -> Result<Option<Note>> {
        if note.data.is_some() || note.kind != EventKind::GuildUpdate || peek.id.is_some() {
            return Ok(None);
        }
        let state = self.directory.guild(guild).await?;
        Ok(state.map(|state| Note::with(note.kind, &state.wire())))
    }

    /// The account has joined a guild: its sessions enter, each in its own time.
    fn joined(self: &Arc<Self>, account: Id, guild: Id) {
        for session in self.sessions_of(account) {
            if session.facts.has_guild(guild) {
                let hub = Arc::clone(self);
                tokio::spawn(async move { hub.enter_later(&session, guild).await });
            }
        }
    }

    async fn enter_later(&self, session: &Arc<Session>, guild: Id) {
        if let Err(error) = self.enter(session, guild, true).await {
            tracing::warn!(%error, "a session could not enter a guild");
        }
        self.presence_of(session);
    }

    async fn guild_deleted(&self, guild: Id) {
        let Some(shared) = self.relay(guild) else {
            return;
        };
        let accounts = shared.lock().await.accounts();
        for account in accounts {
            self.expel(guild, account).await;
        }
    }

    /// Changes are missing: every session ends, so that its client identifies again.
    async fn start_afresh(&self) {
        for guild in self.guilds() {
            self.directory.forget_guild(guild);
            let Some(shared) = self.relay(guild) else {
                continue;
            };
            for session in shared.lock().await.sessions() {
                session.invalidate();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_name_guilds_and_accounts_and_nothing_else() {
        let id = Id::new(7).unwrap();
        assert_eq!(target("guild:7"), Some(Target::Guild(id)));
        assert_eq!(target("user:7"), Some(Target::Account(id)));
        for topic in ["guild:", "guild:0", "room:7", "7", ""] {
            assert_eq!(target(topic), None, "{topic}");
        }
    }
}
