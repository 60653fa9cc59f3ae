//! Reactions: one row per message, emoji and account.
//!
//! Adding is a conditional insert and removing a conditional deletion, so that a reaction that is
//! there already is no event. A page of messages reads its reactions with one slice per bucket.

use chatdb::{Db, Result, Statement, Value};

use super::fields::Fields;
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.reactions (
        channel_id bigint, bucket int, message_id bigint, emoji text, user_id bigint,
        added_at timestamp, PRIMARY KEY ((channel_id, bucket), message_id, emoji, user_id))
        WITH placement = (channel_id)
        AND bucket = {'column': 'bucket', 'days': 10, 'origin_ms': 1420070400000}"];

/// One reaction of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReactionRow {
    pub(crate) channel_id: Id,
    pub(crate) message_id: Id,
    /// Form of [`crate::model::message::Emoji::key`].
    pub(crate) emoji: String,
    pub(crate) user_id: Id,
    pub(crate) added_at_ms: i64,
}

impl ReactionRow {
    fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            channel_id: fields.id("channel_id")?,
            message_id: fields.id("message_id")?,
            emoji: fields.text("emoji")?,
            user_id: fields.id("user_id")?,
            added_at_ms: fields.time("added_at")?,
        })
    }

    fn key(&self) -> Vec<Value> {
        vec![
            self.channel_id.into(),
            self.message_id.bucket().into(),
            self.message_id.into(),
            self.emoji.as_str().into(),
            self.user_id.into(),
        ]
    }
}

/// Adds a reaction; answers false when it was there.
pub(crate) async fn add(db: &Db, row: &ReactionRow, heard: &Announcement) -> Result<bool> {
    let text = "INSERT INTO flux.reactions (channel_id, bucket, message_id, emoji, user_id,
        added_at) VALUES (?, ?, ?, ?, ?, ?) IF NOT EXISTS";
    let mut values = row.key();
    values.push(Value::Timestamp(row.added_at_ms));
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// The write of a reaction that nobody hears of; for imports.
pub(crate) fn insert_statement(row: &ReactionRow) -> Statement {
    let text = "INSERT INTO flux.reactions (channel_id, bucket, message_id, emoji, user_id,
        added_at) VALUES (?, ?, ?, ?, ?, ?)";
    let mut values = row.key();
    values.push(Value::Timestamp(row.added_at_ms));
    Statement::new(text).bind(values)
}

/// Removes a reaction; answers false when there was none.
pub(crate) async fn remove(db: &Db, row: &ReactionRow, heard: &Announcement) -> Result<bool> {
    let text = "DELETE FROM flux.reactions WHERE channel_id = ? AND bucket = ? AND message_id = ?
        AND emoji = ? AND user_id = ? IF EXISTS";
    let done = db
        .execute(heard.on(Statement::new(text).bind(row.key())))
        .await?;
    Ok(done.was_applied())
}

/// Removes all reactions of a message, or those of one emoji.
pub(crate) async fn clear(
    db: &Db,
    (channel, message): (Id, Id),
    emoji: Option<&str>,
    heard: &Announcement,
) -> Result<()> {
    let mut values = vec![channel.into(), message.bucket().into(), message.into()];
    let text = if let Some(emoji) = emoji {
        values.push(emoji.into());
        "DELETE FROM flux.reactions WHERE channel_id = ? AND bucket = ? AND message_id = ?
        AND emoji = ?"
    } else {
        "DELETE FROM flux.reactions WHERE channel_id = ? AND bucket = ? AND message_id = ?"
    };
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// Reactions of the messages `first..=last` of one bucket, by message, emoji, account.
pub(crate) async fn range(
    db: &Db,
    channel: Id,
    (first, last): (Id, Id),
) -> Result<Vec<ReactionRow>> {
    let text = "SELECT * FROM flux.reactions WHERE channel_id = ? AND bucket = ?
        AND message_id >= ? AND message_id <= ?";
    let values: Vec<Value> = vec![
        channel.into(),
        first.bucket().into(),
        first.into(),
        last.into(),
    ];
    let mut found = Vec::new();
    let mut state = None;
    loop {
        let statement = Statement::new(text).bind(values.clone()).page_size(5000);
        let result = db.execute(statement.page_state(state)).await?;
        found.append(&mut rows(&result, ReactionRow::read)?);
        state = result.page_state;
        if state.is_none() {
            return Ok(found);
        }
    }
}

/// Up to `limit` accounts above `after` that reacted with an emoji, by id.
pub(crate) async fn users(
    db: &Db,
    (channel, message): (Id, Id),
    emoji: &str,
    after: Option<Id>,
    limit: u32,
) -> Result<Vec<Id>> {
    let text = "SELECT user_id FROM flux.reactions WHERE channel_id = ? AND bucket = ?
        AND message_id = ? AND emoji = ? AND user_id > ? LIMIT ?";
    let values = vec![
        channel.into(),
        message.bucket().into(),
        message.into(),
        emoji.into(),
        after.map_or(0, Id::bigint).into(),
        limit.cast_signed().into(),
    ];
    let statement = Statement::new(text).bind(values).page_size(limit);
    rows(&db.execute(statement).await?, |row| row.id("user_id"))
}
