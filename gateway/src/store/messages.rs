//! Messages: ten-day partitions per channel, newest first, and the list of those partitions.
//!
//! A page walks `channel_buckets` from newest to oldest and opens only windows that hold (or held)
//! something, so that a channel which slept for years costs what a busy one costs.
//!
//! # Invariants
//!
//! * A bucket is listed before its first message.
//! * An edit or a deletion never makes a row (`upsert = false`).
//! * A claimed nonce names the id under which its message is or will be stored: a retry finishes
//!   what the first attempt began.

use chatdb::{ChangeEvent, Db, Result, Statement, Value};

use super::fields::{Fields, id_set, nullable, optional};
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.messages (
        channel_id bigint, bucket int, message_id bigint, author_id bigint, kind int, content text,
        sent_at timestamp, edited_at timestamp, flags int, tts boolean, mention_everyone boolean,
        mentions set<bigint>, mention_roles set<bigint>, embeds text, reply_to bigint,
        pinned boolean, PRIMARY KEY ((channel_id, bucket), message_id))
        WITH CLUSTERING ORDER BY (message_id DESC) AND placement = (channel_id)
        AND bucket = {'column': 'bucket', 'days': 10, 'origin_ms': 1420070400000}
        AND upsert = false",
    "CREATE TABLE IF NOT EXISTS flux.channel_buckets (
        channel_id bigint, bucket int, PRIMARY KEY ((channel_id), bucket))
        WITH CLUSTERING ORDER BY (bucket DESC)",
    "CREATE TABLE IF NOT EXISTS flux.nonces (
        channel_id bigint, author_id bigint, nonce text, message_id bigint,
        PRIMARY KEY ((channel_id, author_id), nonce)) WITH placement = (channel_id)",
];

/// How long a nonce is remembered, in seconds.
const NONCE_TTL_S: i32 = 600;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageRow {
    pub(crate) channel_id: Id,
    pub(crate) message_id: Id,
    pub(crate) author_id: Id,
    pub(crate) kind: u8,
    pub(crate) content: String,
    /// When it was written, if that is not what its id says (imports from before 2015).
    pub(crate) sent_at_ms: Option<i64>,
    pub(crate) edited_at_ms: Option<i64>,
    pub(crate) flags: u32,
    pub(crate) tts: bool,
    pub(crate) mention_everyone: bool,
    pub(crate) mentions: Vec<Id>,
    pub(crate) mention_roles: Vec<Id>,
    /// JSON array as it was sent.
    pub(crate) embeds: Option<String>,
    /// The message of the same channel that this one answers.
    pub(crate) reply_to: Option<Id>,
    pub(crate) pinned: bool,
}

impl MessageRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            channel_id: fields.id("channel_id")?,
            message_id: fields.id("message_id")?,
            author_id: fields.id("author_id")?,
            kind: fields.number("kind")?,
            content: fields.text("content")?,
            sent_at_ms: fields.opt_time("sent_at")?,
            edited_at_ms: fields.opt_time("edited_at")?,
            flags: fields.number("flags")?,
            tts: fields.flag("tts")?,
            mention_everyone: fields.flag("mention_everyone")?,
            mentions: fields.ids("mentions")?,
            mention_roles: fields.ids("mention_roles")?,
            embeds: fields.opt_text("embeds")?,
            reply_to: fields.opt_id("reply_to")?,
            pinned: fields.flag("pinned")?,
        })
    }

    /// The message that an insert of the stream wrote.
    pub(crate) fn from_change(change: &ChangeEvent) -> Result<Self> {
        Self::read(change)
    }

    /// When it was written, in Unix milliseconds.
    pub(crate) fn sent_ms(&self) -> i64 {
        self.sent_at_ms.unwrap_or_else(|| self.message_id.unix_ms())
    }
}

/// The write of a message, without its bucket. Absent columns are not written at all.
pub(crate) fn insert_statement(row: &MessageRow) -> Statement {
    let text = "INSERT INTO flux.messages (channel_id, bucket, message_id, author_id, kind,
        content, sent_at, edited_at, flags, tts, mention_everyone, mentions, mention_roles, embeds,
        reply_to, pinned) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let set = |value: bool| if value { true.into() } else { Value::Unset };
    let number = |value: i32| {
        if value == 0 {
            Value::Unset
        } else {
            value.into()
        }
    };
    Statement::new(text).bind(vec![
        row.channel_id.into(),
        row.message_id.bucket().into(),
        row.message_id.into(),
        row.author_id.into(),
        number(row.kind.into()),
        row.content.as_str().into(),
        optional(row.sent_at_ms.map(Value::Timestamp)),
        optional(row.edited_at_ms.map(Value::Timestamp)),
        number(row.flags.cast_signed()),
        set(row.tts),
        set(row.mention_everyone),
        id_set(&row.mentions),
        id_set(&row.mention_roles),
        optional(row.embeds.as_deref()),
        optional(row.reply_to),
        set(row.pinned),
    ])
}

/// The write that lists a bucket; needed once per channel and bucket.
pub(crate) fn bucket_statement(channel: Id, bucket: i32) -> Statement {
    let text = "INSERT INTO flux.channel_buckets (channel_id, bucket) VALUES (?, ?)";
    Statement::new(text).bind(vec![channel.into(), bucket.into()])
}

/// Writes a message; `new_bucket` when its bucket may not be listed yet.
pub(crate) async fn insert(
    db: &Db,
    row: &MessageRow,
    new_bucket: bool,
    heard: &Announcement,
) -> Result<()> {
    if new_bucket {
        db.execute(bucket_statement(row.channel_id, row.message_id.bucket()))
            .await?;
    }
    db.execute(heard.on(insert_statement(row))).await?;
    Ok(())
}

/// Claims a nonce for `fresh`, or answers the id that an earlier attempt claimed it for.
pub(crate) async fn claim_nonce(db: &Db, place: (Id, Id), nonce: &str, fresh: Id) -> Result<Id> {
    let (channel, author) = place;
    let text = "INSERT INTO flux.nonces (channel_id, author_id, nonce, message_id)
        VALUES (?, ?, ?, ?) IF NOT EXISTS USING TTL ?";
    let values = vec![
        channel.into(),
        author.into(),
        nonce.into(),
        fresh.into(),
        NONCE_TTL_S.into(),
    ];
    if db
        .execute(Statement::new(text).bind(values))
        .await?
        .was_applied()
    {
        return Ok(fresh);
    }
    let text = "SELECT message_id FROM flux.nonces
        WHERE channel_id = ? AND author_id = ? AND nonce = ?";
    let values = vec![channel.into(), author.into(), nonce.into()];
    let found = db.execute(Statement::new(text).bind(values)).await?;
    found.first().map_or(Ok(fresh), |row| row.id("message_id"))
}

pub(crate) async fn get(db: &Db, channel: Id, message: Id) -> Result<Option<MessageRow>> {
    let text = "SELECT * FROM flux.messages WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    let values = vec![channel.into(), message.bucket().into(), message.into()];
    let found = db.execute(Statement::new(text).bind(values)).await?;
    found.first().map(MessageRow::read).transpose()
}

/// Writes the content and what follows from it; answers false when the message is gone.
pub(crate) async fn edit(db: &Db, row: &MessageRow, heard: &Announcement) -> Result<bool> {
    let text = "UPDATE flux.messages SET content = ?, edited_at = ?, flags = ?,
        mention_everyone = ?, mentions = ?, mention_roles = ?, embeds = ?
        WHERE channel_id = ? AND bucket = ? AND message_id = ? IF EXISTS";
    let ids = |ids: &[Id]| match id_set(ids) {
        Value::Unset => Value::Null,
        set => set,
    };
    let values = vec![
        row.content.as_str().into(),
        nullable(row.edited_at_ms.map(Value::Timestamp)),
        row.flags.cast_signed().into(),
        row.mention_everyone.into(),
        ids(&row.mentions),
        ids(&row.mention_roles),
        nullable(row.embeds.as_deref()),
        row.channel_id.into(),
        row.message_id.bucket().into(),
        row.message_id.into(),
    ];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// Deletes a message; answers false when it was gone.
pub(crate) async fn delete(
    db: &Db,
    channel: Id,
    message: Id,
    heard: &Announcement,
) -> Result<bool> {
    let text = "DELETE FROM flux.messages WHERE channel_id = ? AND bucket = ? AND message_id = ?
        IF EXISTS";
    let values = vec![channel.into(), message.bucket().into(), message.into()];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// Deletes messages of one channel; the write of the last one carries the announcement.
pub(crate) async fn delete_many(
    db: &Db,
    channel: Id,
    messages: &[Id],
    heard: &Announcement,
) -> Result<()> {
    let text = "DELETE FROM flux.messages WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    let delete = |message: &Id| {
        let values = vec![channel.into(), message.bucket().into(), (*message).into()];
        Statement::new(text).bind(values)
    };
    // Alone, because the news of a batch would be told once for each of its writes.
    let Some((last, others)) = messages.split_last() else {
        return Ok(());
    };
    if !others.is_empty() {
        db.execute_batch(others.iter().map(delete).collect())
            .await?;
    }
    db.execute(heard.on(delete(last))).await?;
    Ok(())
}

/// Listed buckets of a channel, newest first.
pub(crate) async fn buckets(db: &Db, channel: Id) -> Result<Vec<i32>> {
    let text = "SELECT bucket FROM flux.channel_buckets WHERE channel_id = ?";
    let statement = Statement::new(text)
        .bind(vec![channel.into()])
        .page_size(5000);
    rows(&db.execute(statement).await?, |row| row.int("bucket"))
}

/// Which side of an id a page takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Ids below it, newest first.
    Before(Id),
    /// Ids above it, oldest first.
    After(Id),
}

/// One bucket's part of a page, in the order of `side`.
pub(crate) async fn slice(
    db: &Db,
    channel: Id,
    bucket: i32,
    side: Side,
    limit: u32,
) -> Result<Vec<MessageRow>> {
    let (text, id) = match side {
        Side::Before(id) => (
            "SELECT * FROM flux.messages WHERE channel_id = ? AND bucket = ? AND message_id < ?
            LIMIT ?",
            id,
        ),
        Side::After(id) => (
            "SELECT * FROM flux.messages WHERE channel_id = ? AND bucket = ? AND message_id > ?
            ORDER BY message_id ASC LIMIT ?",
            id,
        ),
    };
    let values = vec![
        channel.into(),
        bucket.into(),
        id.into(),
        limit.cast_signed().into(),
    ];
    let mut found = Vec::new();
    let mut state = None;
    // A page of the database may end early (at a byte or tombstone budget) and go on.
    loop {
        let statement = Statement::new(text).bind(values.clone());
        let result = db
            .execute(statement.page_size(limit).page_state(state))
            .await?;
        found.append(&mut rows(&result, MessageRow::read)?);
        state = result.page_state;
        if state.is_none() || found.len() >= limit as usize {
            return Ok(found);
        }
    }
}
