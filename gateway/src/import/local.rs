//! The sink on a database of this process: also what the server runs for a remote import.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};
use chatdb::Statement;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::mint::SLOTS;
use super::sink::{Author, ChannelSpec, GuildSpec, Message, Request, SourceState};
use crate::app::App;
use crate::clock;
use crate::id::Id;
use crate::model::message::{DEFAULT, REPLY};
use crate::model::permission::Permissions;
use crate::rest::fresh_code;
use crate::store::channels::{self, ChannelRow};
use crate::store::guilds::{self, GuildRow};
use crate::store::imports::{self, SourceRow};
use crate::store::invites::{self, InviteRow};
use crate::store::members::{self, MemberRow};
use crate::store::messages::{self, MessageRow};
use crate::store::pins;
use crate::store::reactions::{self, ReactionRow};
use crate::store::roles::{self, RoleRow};
use crate::store::users::{self, UserRow};
use crate::store::{Announcement, accounts};

/// Rows written as one command: they share a channel and so a tablet.
const BATCH_ROWS: usize = 100;
/// Commands under way at once, so that the log can group them.
const IN_FLIGHT: usize = 32;
/// Account that owns guilds imported before anybody registered; see [`super::heir`].
pub(super) const IMPORTER: &str = "importer";

/// Writes history into the database of an [`App`].
#[derive(Debug)]
pub(crate) struct LocalSink {
    app: Arc<App>,
    /// Buckets known to be listed, so that each is listed once per run.
    listed: Mutex<BTreeSet<(Id, i32)>>,
}

impl LocalSink {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self {
            app,
            listed: Mutex::new(BTreeSet::new()),
        }
    }

    /// The guild to fill, made when it is not there.
    pub(crate) async fn guild(&self, spec: &GuildSpec) -> Result<Id> {
        let db = &self.app.db;
        let known = match spec.id {
            Some(id) => {
                let id = Id::new(id).context("a guild has no valid id")?;
                guilds::get(db, id).await?.map(|row| row.guild_id).ok_or(id)
            }
            None => imports::guild(db, &spec.name)
                .await?
                .map_or_else(|| self.app.ids.next_id().map(Err), |known| Ok(Ok(known)))?,
        };
        let guild = match known {
            Ok(guild) => return Ok(guild),
            Err(fresh) => fresh,
        };
        self.make_guild(guild, &spec.name).await?;
        if spec.id.is_none() {
            imports::set_guild(db, &spec.name, guild).await?;
        }
        Ok(guild)
    }

    async fn make_guild(&self, guild: Id, name: &str) -> Result<()> {
        let db = &self.app.db;
        let owner = self.owner().await?;
        let everyone = RoleRow {
            guild_id: guild,
            role_id: guild,
            name: "@everyone".to_owned(),
            permissions: Permissions::DEFAULT,
            ..RoleRow::default()
        };
        roles::put(db, &everyone, &Announcement::silent()).await?;
        let member = MemberRow {
            guild_id: guild,
            user_id: owner,
            joined_at_ms: clock::now_ms(),
            ..MemberRow::default()
        };
        for statement in members::insert_statements(&member) {
            db.execute(statement).await?;
        }
        // Last, because a guild is there when its row is.
        let row = GuildRow {
            guild_id: guild,
            name: name.to_owned(),
            owner_id: owner,
            locale: "en-US".to_owned(),
            ..GuildRow::default()
        };
        guilds::insert(db, &row).await?;
        self.app.directory.forget_guild(guild);
        Ok(())
    }

    /// The administrator, or an account without a password until there is one.
    async fn owner(&self) -> Result<Id> {
        if let Some(administrator) = self.app.auth.administrator().await? {
            return Ok(administrator);
        }
        let db = &self.app.db;
        if let Some(importer) = accounts::find_name(db, IMPORTER).await? {
            return Ok(importer);
        }
        let user_id = self.app.ids.next_id()?;
        users::insert(
            db,
            &UserRow {
                user_id,
                username: IMPORTER.to_owned(),
                ..UserRow::default()
            },
        )
        .await?;
        accounts::claim_name(db, IMPORTER, user_id).await?;
        Ok(user_id)
    }

    /// The channel of this id or name, made when it is not there.
    pub(crate) async fn channel(&self, spec: &ChannelSpec) -> Result<Id> {
        let db = &self.app.db;
        let guild = Id::new(spec.guild).context("a channel has no valid guild")?;
        let wanted = spec
            .id
            .map(|id| Id::new(id).context("a channel has no valid id"))
            .transpose()?;
        let existing = channels::list(db, guild).await?;
        let found = existing.iter().find(|row| match wanted {
            Some(id) => row.channel_id == id,
            None => row.name == spec.name,
        });
        if let Some(row) = found {
            return Ok(row.channel_id);
        }
        let channel = wanted.map_or_else(|| self.app.ids.next_id(), Ok)?;
        let row = ChannelRow {
            guild_id: guild,
            channel_id: channel,
            name: spec.name.clone(),
            topic: spec.topic.clone(),
            position: i32::try_from(existing.len()).unwrap_or(i32::MAX),
            ..ChannelRow::default()
        };
        channels::insert(db, &row, &Announcement::silent()).await?;
        self.app.directory.forget_guild(guild);
        Ok(channel)
    }

    /// How far a source is; registers it with a slot of its own when it is new.
    pub(crate) async fn source(&self, guild: u64, name: &str) -> Result<SourceState> {
        let (db, guild) = (
            &self.app.db,
            Id::new(guild).context("a source has no valid guild")?,
        );
        if let Some(row) = imports::source(db, guild, name).await? {
            return state_of(row);
        }
        let slot = imports::count_sources(db, guild).await? % i32::try_from(SLOTS)?;
        let row = SourceRow {
            slot,
            ..SourceRow::default()
        };
        imports::set_source(db, guild, name, row).await?;
        state_of(row)
    }

    /// Notes how far a source is.
    pub(crate) async fn note_progress(
        &self,
        guild: u64,
        name: &str,
        state: SourceState,
    ) -> Result<()> {
        let guild = Id::new(guild).context("a source has no valid guild")?;
        let row = SourceRow {
            slot: i32::try_from(state.slot)?,
            done: i64::try_from(state.done)?,
        };
        Ok(imports::set_source(&self.app.db, guild, name, row).await?)
    }

    /// Accounts for the authors, in their order. They have no password and claim no name.
    pub(crate) async fn authors(&self, guild: u64, authors: &[Author]) -> Result<Vec<u64>> {
        let (db, guild) = (
            &self.app.db,
            Id::new(guild).context("authors have no valid guild")?,
        );
        let resolve = |author: &Author| {
            let author = author.clone();
            async move {
                let known = match author.id {
                    Some(id) => {
                        let id = Id::new(id).context("an author has no valid id")?;
                        users::get(db, id).await?.map(|row| row.user_id).ok_or(id)
                    }
                    None => imports::author(db, guild, &author.name)
                        .await?
                        .map_or_else(|| self.app.ids.next_id().map(Err), |known| Ok(Ok(known)))?,
                };
                if let Err(user_id) = known {
                    let username = author.name.clone();
                    users::insert(
                        db,
                        &UserRow {
                            user_id,
                            username,
                            bot: author.bot,
                            ..UserRow::default()
                        },
                    )
                    .await?;
                    let is_new = author.id.is_none();
                    return anyhow::Ok((user_id, is_new.then_some(author.name)));
                }
                Ok((known.unwrap_or_else(|id| id), None))
            }
        };
        let resolved: Vec<(Id, Option<String>)> = stream::iter(authors)
            .map(resolve)
            .buffered(IN_FLIGHT * 4)
            .try_collect()
            .await?;
        let names = resolved
            .iter()
            .filter_map(|(id, name)| Some((id, name.as_deref()?)));
        let statements: Vec<Statement> = names
            .map(|(id, name)| imports::author_statement(guild, name, *id))
            .collect();
        self.write(statements).await?;
        Ok(resolved.into_iter().map(|(id, _)| id.get()).collect())
    }

    /// Stores messages with their reactions and pins; one that is there already is written again, the same.
    pub(crate) async fn messages(&self, channel: u64, history: &[Message]) -> Result<()> {
        let channel = Id::new(channel).context("messages have no valid channel")?;
        let mut statements = self.bucket_statements(channel, history).await?;
        for message in history {
            let row = message_row(channel, message)?;
            statements.push(messages::insert_statement(&row));
            for (emoji, users) in &message.reactions {
                for user in users {
                    let reaction = ReactionRow {
                        channel_id: channel,
                        message_id: row.message_id,
                        emoji: emoji.clone(),
                        user_id: Id::new(*user).context("a reaction has no valid account")?,
                        added_at_ms: message.sent_ms,
                    };
                    statements.push(reactions::insert_statement(&reaction));
                }
            }
        }
        self.write(statements).await?;
        for message in history.iter().filter(|message| message.pinned) {
            let id = Id::new(message.id).context("a message has no valid id")?;
            pins::add(
                &self.app.db,
                (channel, id),
                message.sent_ms,
                &Announcement::silent(),
            )
            .await?;
        }
        if let Some(newest) = history
            .iter()
            .map(|message| message.id)
            .max()
            .and_then(Id::new)
        {
            self.app.directory.arrived(channel, newest);
        }
        Ok(())
    }

    /// Lists buckets before messages are in them.
    async fn bucket_statements(&self, channel: Id, history: &[Message]) -> Result<Vec<Statement>> {
        let mut listed = self.listed.lock().await;
        let mut fresh = BTreeMap::new();
        for message in history {
            let bucket = Id::new(message.id)
                .context("a message has no valid id")?
                .bucket();
            if !listed.contains(&(channel, bucket)) {
                fresh.insert(bucket, messages::bucket_statement(channel, bucket));
            }
        }
        for (bucket, statement) in fresh {
            self.app.db.execute(statement).await?;
            listed.insert((channel, bucket));
        }
        Ok(Vec::with_capacity(history.len()))
    }

    /// Writes statements of one tablet, in batches, several at once.
    async fn write(&self, mut statements: Vec<Statement>) -> Result<()> {
        let mut batches = Vec::with_capacity(statements.len() / BATCH_ROWS + 1);
        while !statements.is_empty() {
            let rest = statements.split_off(statements.len().min(BATCH_ROWS));
            batches.push(std::mem::replace(&mut statements, rest));
        }
        stream::iter(batches)
            .map(|batch| self.app.db.execute_batch(batch))
            .buffer_unordered(IN_FLIGHT)
            .try_for_each(|_| async { Ok(()) })
            .await?;
        Ok(())
    }

    /// An invite to the guild that never ends; the same one in every run.
    pub(crate) async fn finish(&self, guild: u64) -> Result<String> {
        let db = &self.app.db;
        let guild = Id::new(guild).context("no valid guild")?;
        for code in invites::codes(db, guild).await? {
            if invites::get(db, &code)
                .await?
                .is_some_and(|invite| invite.max_age_s == 0 && invite.max_uses == 0)
            {
                return Ok(code);
            }
        }
        let first = channels::list(db, guild)
            .await?
            .into_iter()
            .min_by_key(|row| row.position);
        let invite = InviteRow {
            code: fresh_code(),
            guild_id: guild,
            channel_id: first
                .context("the guild has no channel to invite to")?
                .channel_id,
            inviter_id: self.owner().await?,
            created_at_ms: clock::now_ms(),
            ..InviteRow::default()
        };
        invites::insert(db, &invite, &Announcement::silent()).await?;
        Ok(invite.code)
    }
}

impl LocalSink {
    /// Answers one request of a remote import.
    pub(crate) async fn answer(&self, request: Request) -> Result<serde_json::Value> {
        let answer = match request {
            Request::Guild(spec) => self.guild(&spec).await?.get().into(),
            Request::Channel(spec) => self.channel(&spec).await?.get().into(),
            Request::Source { guild, name } => {
                serde_json::to_value(self.source(guild, &name).await?)?
            }
            Request::Progress { guild, name, state } => {
                self.note_progress(guild, &name, state).await?;
                serde_json::Value::Null
            }
            Request::Authors { guild, authors } => self.authors(guild, &authors).await?.into(),
            Request::Messages { channel, messages } => {
                self.messages(channel, &messages).await?;
                serde_json::Value::Null
            }
            Request::Finish { guild } => self.finish(guild).await?.into(),
        };
        Ok(answer)
    }
}

fn state_of(row: SourceRow) -> Result<SourceState> {
    Ok(SourceState {
        slot: u32::try_from(row.slot).context("the slot of an import source is negative")?,
        done: u64::try_from(row.done).context("the progress of an import source is negative")?,
    })
}

pub(super) fn message_row(channel: Id, message: &Message) -> Result<MessageRow> {
    let message_id = Id::new(message.id).context("a message has no valid id")?;
    Ok(MessageRow {
        channel_id: channel,
        message_id,
        author_id: Id::new(message.author).context("a message has no valid author")?,
        kind: if message.reply_to.is_some() {
            REPLY
        } else {
            DEFAULT
        },
        content: message.content.clone(),
        sent_at_ms: (message.sent_ms != message_id.unix_ms()).then_some(message.sent_ms),
        edited_at_ms: message.edited_ms,
        reply_to: message.reply_to.and_then(Id::new),
        pinned: message.pinned,
        ..MessageRow::default()
    })
}
