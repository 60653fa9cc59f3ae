//! Payloads that are made here, from rows and the directory: messages, guilds, READY.
//!
//! A created message is made from the columns of the change itself and names from the directory,
//! so that hearing of a message costs no read when its author is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use chatdb::{Db, Result};
use serde_json::value::RawValue;

use crate::directory::Directory;
use crate::id::Id;
use crate::model::channel;
use crate::model::member::{Mention, PartialMember};
use crate::model::message::{CountDetails, Emoji, Message, REPLY, Reaction, Reference, Referenced};
use crate::model::timestamp::Timestamp;
use crate::model::user::User;
use crate::store::messages::{self, MessageRow};
use crate::store::reactions;

/// Makes wire objects out of rows.
#[derive(Clone, Copy)]
pub(crate) struct Composer<'a> {
    pub(crate) db: &'a Db,
    pub(crate) directory: &'a Directory,
}

impl Composer<'_> {
    /// The account, or a stand-in if it is gone.
    pub(crate) async fn user(&self, id: Id) -> Result<User> {
        let row = self.directory.user(id).await?;
        Ok(row.map_or_else(|| User::deleted(id), |row| User::from(&*row)))
    }

    /// The message of an event; `guild` is where it was written, if in a guild.
    pub(crate) async fn message(&self, row: &MessageRow, guild: Option<Id>) -> Result<Message> {
        let mut message = self.plain_message(row, guild).await?;
        message.guild_id = guild;
        message.channel_type = Some(match guild {
            None => channel::DIRECT,
            Some(guild) => {
                let state = self.directory.guild(guild).await?;
                let channel = state
                    .as_ref()
                    .and_then(|state| state.channel(row.channel_id));
                channel.map_or(channel::TEXT, |channel| channel.kind)
            }
        });
        message.member = self.membership(guild, row.author_id).await?;
        if let Some(answered) = row.reply_to {
            message.reference = Some(Reference {
                kind: 0,
                message_id: answered,
                channel_id: row.channel_id,
                guild_id: guild,
            });
        }
        if row.kind == REPLY {
            message.referenced = self.referenced(row, guild).await?;
        }
        Ok(message)
    }

    async fn referenced(&self, row: &MessageRow, guild: Option<Id>) -> Result<Referenced> {
        let Some(answered) = row.reply_to else {
            return Ok(Referenced::Absent);
        };
        let Some(found) = messages::get(self.db, row.channel_id, answered).await? else {
            return Ok(Referenced::Deleted);
        };
        Ok(Referenced::Present(Box::new(
            self.plain_message(&found, guild).await?,
        )))
    }

    /// A message without what only events and replies carry, and without reactions.
    pub(crate) async fn plain_message(
        &self,
        row: &MessageRow,
        guild: Option<Id>,
    ) -> Result<Message> {
        let mut mentions = Vec::with_capacity(row.mentions.len());
        for id in &row.mentions {
            let member = self.membership(guild, *id).await?;
            mentions.push(Mention {
                user: self.user(*id).await?,
                member,
            });
        }
        let embeds = row.embeds.clone().unwrap_or_else(|| "[]".to_owned());
        let embeds = RawValue::from_string(embeds).unwrap_or_else(|_| empty_list());
        Ok(Message {
            id: row.message_id,
            channel_id: row.channel_id,
            kind: row.kind,
            author: self.user(row.author_id).await?,
            content: row.content.clone(),
            timestamp: Timestamp(row.sent_ms()),
            edited_timestamp: row.edited_at_ms.map(Timestamp),
            tts: row.tts,
            mention_everyone: row.mention_everyone,
            mentions,
            mention_roles: row.mention_roles.clone(),
            mention_channels: [],
            attachments: [],
            embeds: Arc::from(embeds),
            components: [],
            sticker_items: [],
            pinned: row.pinned,
            flags: row.flags,
            reactions: Vec::new(),
            nonce: None,
            reference: None,
            referenced: Referenced::Absent,
            guild_id: None,
            member: None,
            channel_type: None,
        })
    }

    async fn membership(&self, guild: Option<Id>, user: Id) -> Result<Option<PartialMember>> {
        let Some(guild) = guild else {
            return Ok(None);
        };
        let row = self.directory.member(guild, user).await?;
        Ok(row.as_deref().map(PartialMember::from))
    }

    /// The reactions of a message as nobody in particular sees them.
    pub(crate) async fn reactions(&self, channel: Id, message: Id) -> Result<Vec<Reaction>> {
        let rows = reactions::range(self.db, channel, (message, message)).await?;
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for row in &rows {
            *counts.entry(row.emoji.as_str()).or_default() += 1;
        }
        let reaction = |(key, count): (&str, u32)| {
            Emoji::parse(key).map(|emoji| Reaction {
                emoji,
                count,
                count_details: CountDetails {
                    burst: 0,
                    normal: count,
                },
                me: false,
                me_burst: false,
                burst_colors: [],
            })
        };
        Ok(counts.into_iter().filter_map(reaction).collect())
    }
}

/// `[]`
fn empty_list() -> Box<RawValue> {
    RawValue::from_string("[]".to_owned()).expect("an empty list is JSON")
}

/// The same message for those who may not read content.
pub(crate) fn without_content(message: &Message) -> Message {
    let mut blank = message.clone();
    blank.content = String::new();
    blank.embeds = Arc::from(empty_list());
    if let Referenced::Present(referenced) = &mut blank.referenced {
        referenced.content = String::new();
        referenced.embeds = Arc::from(empty_list());
    }
    blank
}
