//! Channels of guilds, and the index from a channel to its guild.
//!
//! A guild's channels are one partition. `channel_guilds` is written before the channel and never
//! changes: a channel never moves to another guild.

use chatdb::{Db, Error, Result, Statement};

use super::fields::{Fields, nullable, optional};
use super::{Announcement, rows};
use crate::id::Id;
use crate::model::permission::Overwrite;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.channels (
        guild_id bigint, channel_id bigint, kind int, name text, topic text, position int,
        parent_id bigint, nsfw boolean, slowmode_s int, overwrites text, last_pin timestamp,
        PRIMARY KEY ((guild_id), channel_id)) WITH upsert = false",
    "CREATE TABLE IF NOT EXISTS flux.channel_guilds (
        channel_id bigint, guild_id bigint, PRIMARY KEY (channel_id))",
];

/// One channel of a guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelRow {
    pub(crate) guild_id: Id,
    pub(crate) channel_id: Id,
    pub(crate) kind: u8,
    pub(crate) name: String,
    pub(crate) topic: Option<String>,
    pub(crate) position: i32,
    pub(crate) parent_id: Option<Id>,
    pub(crate) nsfw: bool,
    pub(crate) slowmode_s: u32,
    /// Stored as a JSON array.
    pub(crate) overwrites: Vec<Overwrite>,
    pub(crate) last_pin_ms: Option<i64>,
}

impl ChannelRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        let overwrites = match fields.opt_text("overwrites")? {
            Some(json) => serde_json::from_str(&json).map_err(|source| {
                Error::bug("column overwrites is not a list of overwrites").with_source(source)
            })?,
            None => Vec::new(),
        };
        Ok(Self {
            guild_id: fields.id("guild_id")?,
            channel_id: fields.id("channel_id")?,
            kind: fields.number("kind")?,
            name: fields.text("name")?,
            topic: fields.opt_text("topic")?,
            position: fields.number("position")?,
            parent_id: fields.opt_id("parent_id")?,
            nsfw: fields.flag("nsfw")?,
            slowmode_s: fields.number("slowmode_s")?,
            overwrites,
            last_pin_ms: fields.opt_time("last_pin")?,
        })
    }

    fn overwrites_json(&self) -> Option<String> {
        let json = || serde_json::to_string(&self.overwrites).expect("overwrites are plain JSON");
        (!self.overwrites.is_empty()).then(json)
    }
}

pub(crate) async fn insert(db: &Db, row: &ChannelRow, heard: &Announcement) -> Result<()> {
    let index = "INSERT INTO flux.channel_guilds (channel_id, guild_id) VALUES (?, ?)";
    let values = vec![row.channel_id.into(), row.guild_id.into()];
    db.execute(Statement::new(index).bind(values)).await?;
    let text = "INSERT INTO flux.channels (guild_id, channel_id, kind, name, topic, position,
        parent_id, nsfw, slowmode_s, overwrites) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = vec![
        row.guild_id.into(),
        row.channel_id.into(),
        i32::from(row.kind).into(),
        row.name.as_str().into(),
        optional(row.topic.as_deref()),
        row.position.into(),
        optional(row.parent_id),
        row.nsfw.into(),
        row.slowmode_s.cast_signed().into(),
        optional(row.overwrites_json()),
    ];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// Writes everything that can change; answers false when the channel is gone.
pub(crate) async fn update(db: &Db, row: &ChannelRow, heard: &Announcement) -> Result<bool> {
    let text = "UPDATE flux.channels SET kind = ?, name = ?, topic = ?, position = ?,
        parent_id = ?, nsfw = ?, slowmode_s = ?, overwrites = ?
        WHERE guild_id = ? AND channel_id = ? IF EXISTS";
    let values = vec![
        i32::from(row.kind).into(),
        row.name.as_str().into(),
        nullable(row.topic.as_deref()),
        row.position.into(),
        nullable(row.parent_id),
        row.nsfw.into(),
        row.slowmode_s.cast_signed().into(),
        nullable(row.overwrites_json()),
        row.guild_id.into(),
        row.channel_id.into(),
    ];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// Remembers when something was pinned last.
pub(crate) async fn set_last_pin(
    db: &Db,
    row: &ChannelRow,
    at_ms: i64,
    heard: &Announcement,
) -> Result<()> {
    let text = "UPDATE flux.channels SET last_pin = ? WHERE guild_id = ? AND channel_id = ?";
    let at = chatdb::Value::Timestamp(at_ms);
    let values = vec![at, row.guild_id.into(), row.channel_id.into()];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// Deletes a channel; answers false when it was gone. Its messages stay until they are purged.
pub(crate) async fn delete(db: &Db, row: &ChannelRow, heard: &Announcement) -> Result<bool> {
    let text = "DELETE FROM flux.channels WHERE guild_id = ? AND channel_id = ? IF EXISTS";
    let values = vec![row.guild_id.into(), row.channel_id.into()];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    let index = "DELETE FROM flux.channel_guilds WHERE channel_id = ?";
    db.execute(Statement::new(index).bind(vec![row.channel_id.into()]))
        .await?;
    Ok(done.was_applied())
}

/// All channels of a guild, by id.
pub(crate) async fn list(db: &Db, guild: Id) -> Result<Vec<ChannelRow>> {
    let text = "SELECT * FROM flux.channels WHERE guild_id = ?";
    let statement = Statement::new(text)
        .bind(vec![guild.into()])
        .page_size(5000);
    rows(&db.execute(statement).await?, ChannelRow::read)
}

/// The guild of a channel; `None` for a direct channel and for one that is gone.
pub(crate) async fn guild_of(db: &Db, channel: Id) -> Result<Option<Id>> {
    let text = "SELECT guild_id FROM flux.channel_guilds WHERE channel_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![channel.into()]))
        .await?;
    found.first().map(|row| row.id("guild_id")).transpose()
}
