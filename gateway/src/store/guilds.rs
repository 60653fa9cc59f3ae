//! Guilds.

use chatdb::{Db, Result, Statement};

use super::Announcement;
use super::fields::{Fields, nullable, optional};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.guilds (
        guild_id bigint, name text, icon text, description text, owner_id bigint,
        system_channel_id bigint, verification_level int, default_notifications int,
        content_filter int, locale text, PRIMARY KEY (guild_id))"];

/// One guild.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GuildRow {
    pub(crate) guild_id: Id,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) owner_id: Id,
    pub(crate) system_channel_id: Option<Id>,
    pub(crate) verification_level: u8,
    pub(crate) default_notifications: u8,
    pub(crate) content_filter: u8,
    pub(crate) locale: String,
}

impl GuildRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            guild_id: fields.id("guild_id")?,
            name: fields.text("name")?,
            icon: fields.opt_text("icon")?,
            description: fields.opt_text("description")?,
            owner_id: fields.id("owner_id")?,
            system_channel_id: fields.opt_id("system_channel_id")?,
            verification_level: fields.number("verification_level")?,
            default_notifications: fields.number("default_notifications")?,
            content_filter: fields.number("content_filter")?,
            locale: fields
                .opt_text("locale")?
                .unwrap_or_else(|| "en-US".to_owned()),
        })
    }
}

pub(crate) async fn insert(db: &Db, row: &GuildRow) -> Result<()> {
    let text = "INSERT INTO flux.guilds (guild_id, name, icon, description, owner_id,
        system_channel_id, verification_level, default_notifications, content_filter, locale)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let values = vec![
        row.guild_id.into(),
        row.name.as_str().into(),
        optional(row.icon.as_deref()),
        optional(row.description.as_deref()),
        row.owner_id.into(),
        optional(row.system_channel_id),
        i32::from(row.verification_level).into(),
        i32::from(row.default_notifications).into(),
        i32::from(row.content_filter).into(),
        row.locale.as_str().into(),
    ];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}

pub(crate) async fn get(db: &Db, guild: Id) -> Result<Option<GuildRow>> {
    let text = "SELECT * FROM flux.guilds WHERE guild_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![guild.into()]))
        .await?;
    found.first().map(GuildRow::read).transpose()
}

pub(crate) async fn update(db: &Db, row: &GuildRow, heard: &Announcement) -> Result<()> {
    let text = "UPDATE flux.guilds SET name = ?, icon = ?, description = ?, owner_id = ?,
        system_channel_id = ?, verification_level = ?, default_notifications = ?,
        content_filter = ?, locale = ? WHERE guild_id = ?";
    let values = vec![
        row.name.as_str().into(),
        nullable(row.icon.as_deref()),
        nullable(row.description.as_deref()),
        row.owner_id.into(),
        nullable(row.system_channel_id),
        i32::from(row.verification_level).into(),
        i32::from(row.default_notifications).into(),
        i32::from(row.content_filter).into(),
        row.locale.as_str().into(),
        row.guild_id.into(),
    ];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// Deletes the guild's own row; its channels, roles and members go with their own calls.
pub(crate) async fn delete(db: &Db, guild: Id, heard: &Announcement) -> Result<()> {
    let text = "DELETE FROM flux.guilds WHERE guild_id = ?";
    db.execute(heard.on(Statement::new(text).bind(vec![guild.into()])))
        .await?;
    Ok(())
}
