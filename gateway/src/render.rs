//! From stored rows to messages on the wire.
//!
//! A stored message is its author's id and its text; readers want the author, who is mentioned, what
//! it answers and who reacted. One page costs: accounts from memory, one slice of reactions per
//! ten-day bucket, one read per answered message that is not on the page itself.

use std::collections::BTreeMap;

use chatdb::{Error, Result};
use futures::future::try_join_all;

use crate::app::App;
use crate::events::compose::Composer;
use crate::id::Id;
use crate::model::message::{CountDetails, Emoji, Message, Reaction, Reference, Referenced};
use crate::model::user::User;
use crate::store::messages::{self, MessageRow};
use crate::store::reactions::{self, ReactionRow};

/// Reactions of some messages, by message.
type Reactions = BTreeMap<Id, Vec<ReactionRow>>;

impl App {
    /// An account on the wire; one that is gone has a name that says so.
    pub(crate) async fn wire_user(&self, id: Id) -> Result<User> {
        let row = self.directory.user(id).await?;
        Ok(row.map_or_else(|| User::deleted(id), |row| User::from(&*row)))
    }

    /// Messages of one channel, any number of buckets, as `viewer` sees them.
    pub(crate) async fn render(
        &self,
        viewer: Id,
        guild: Option<Id>,
        rows: &[MessageRow],
    ) -> Result<Vec<Message>> {
        let reactions = self.reactions(rows).await?;
        let answered = self.answered(rows).await?;
        let mut rendered = Vec::with_capacity(rows.len());
        for row in rows {
            let mut message = self.render_bare(guild, row).await?;
            message.reactions = summarize(reactions.get(&row.message_id), viewer);
            if let Some(id) = row.reply_to {
                message.referenced = match answered.get(&id) {
                    Some(row) => Referenced::Present(Box::new(self.render_bare(guild, row).await?)),
                    None => Referenced::Deleted,
                };
            }
            rendered.push(message);
        }
        Ok(rendered)
    }

    /// One message as `viewer` sees it.
    pub(crate) async fn render_one(
        &self,
        viewer: Id,
        guild: Option<Id>,
        row: &MessageRow,
    ) -> Result<Message> {
        let mut rendered = self
            .render(viewer, guild, std::slice::from_ref(row))
            .await?;
        rendered
            .pop()
            .ok_or_else(|| Error::bug("a message rendered to nothing"))
    }

    /// A message without reactions and without the message that it answers.
    async fn render_bare(&self, guild: Option<Id>, row: &MessageRow) -> Result<Message> {
        let composer = Composer {
            db: &self.db,
            directory: &self.directory,
        };
        let mut message = composer.plain_message(row, guild).await?;
        message.reference = row.reply_to.map(|message_id| Reference {
            kind: 0,
            message_id,
            channel_id: row.channel_id,
            guild_id: guild,
        });
        Ok(message)
    }

    async fn reactions(&self, rows: &[MessageRow]) -> Result<Reactions> {
        let mut ranges: BTreeMap<(Id, i32), (Id, Id)> = BTreeMap::new();
        for row in rows {
            let id = row.message_id;
            let range = ranges
                .entry((row.channel_id, id.bucket()))
                .or_insert((id, id));
            *range = (range.0.min(id), range.1.max(id));
        }
        let reads = ranges
            .into_iter()
            .map(|((channel, _), range)| reactions::range(&self.db, channel, range));
        let mut found = Reactions::new();
        for row in try_join_all(reads).await?.into_iter().flatten() {
            found.entry(row.message_id).or_default().push(row);
        }
        Ok(found)
    }

    async fn answered(&self, rows: &[MessageRow]) -> Result<BTreeMap<Id, MessageRow>> {
        let page: BTreeMap<Id, &MessageRow> =
            rows.iter().map(|row| (row.message_id, row)).collect();
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for row in rows {
            match row.reply_to {
                Some(id) if found.contains_key(&id) => {}
                Some(id) => match page.get(&id) {
                    Some(row) => drop(found.insert(id, (*row).clone())),
                    None => missing.push(messages::get(&self.db, row.channel_id, id)),
                },
                None => {}
            }
        }
        for row in try_join_all(missing).await?.into_iter().flatten() {
            found.insert(row.message_id, row);
        }
        Ok(found)
    }
}

/// Counts per emoji, in the order in which each was first used.
fn summarize(rows: Option<&Vec<ReactionRow>>, viewer: Id) -> Vec<Reaction> {
    let mut emoji: BTreeMap<&str, (i64, u32, bool)> = BTreeMap::new();
    for row in rows.into_iter().flatten() {
        let entry = emoji
            .entry(&row.emoji)
            .or_insert((row.added_at_ms, 0, false));
        let first_ms = entry.0.min(row.added_at_ms);
        *entry = (first_ms, entry.1 + 1, entry.2 || row.user_id == viewer);
    }
    let mut sorted: Vec<_> = emoji.into_iter().collect();
    sorted.sort_by_key(|(_, (first_ms, _, _))| *first_ms);
    let reaction = |(key, (_, count, me)): (&str, (i64, u32, bool))| Reaction {
        emoji: Emoji::parse(key).unwrap_or(Emoji {
            id: None,
            name: Some(key.to_owned()),
            animated: false,
        }),
        count,
        count_details: CountDetails {
            burst: 0,
            normal: count,
        },
        me,
        me_burst: false,
        burst_colors: [],
    };
    sorted.into_iter().map(reaction).collect()
}
