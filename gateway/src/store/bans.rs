//! Bans of guilds.

use chatdb::{Db, Result, Statement};

use super::fields::{Fields, optional};
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.bans (
        guild_id bigint, user_id bigint, reason text, PRIMARY KEY ((guild_id), user_id))"];

/// One ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BanRow {
    pub(crate) guild_id: Id,
    pub(crate) user_id: Id,
    pub(crate) reason: Option<String>,
}

impl BanRow {
    fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            guild_id: fields.id("guild_id")?,
            user_id: fields.id("user_id")?,
            reason: fields.opt_text("reason")?,
        })
    }
}

/// Adds a ban; one that is there stays as it is and nobody hears of it again.
pub(crate) async fn put(db: &Db, row: &BanRow, heard: &Announcement) -> Result<bool> {
    let text = "INSERT INTO flux.bans (guild_id, user_id, reason) VALUES (?, ?, ?) IF NOT EXISTS";
    let values = vec![
        row.guild_id.into(),
        row.user_id.into(),
        optional(row.reason.as_deref()),
    ];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// Lifts a ban; answers false when there was none.
pub(crate) async fn delete(db: &Db, guild: Id, user: Id, heard: &Announcement) -> Result<bool> {
    let text = "DELETE FROM flux.bans WHERE guild_id = ? AND user_id = ? IF EXISTS";
    let values = vec![guild.into(), user.into()];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

pub(crate) async fn get(db: &Db, guild: Id, user: Id) -> Result<Option<BanRow>> {
    let text = "SELECT * FROM flux.bans WHERE guild_id = ? AND user_id = ?";
    let values = vec![guild.into(), user.into()];
    let found = db.execute(Statement::new(text).bind(values)).await?;
    found.first().map(BanRow::read).transpose()
}

/// Up to `limit` bans of accounts with ids above `after`, by id.
pub(crate) async fn page(db: &Db, guild: Id, after: Option<Id>, limit: u32) -> Result<Vec<BanRow>> {
    let text = "SELECT * FROM flux.bans WHERE guild_id = ? AND user_id > ? LIMIT ?";
    let after = after.map_or(0, Id::bigint);
    let values = vec![guild.into(), after.into(), limit.cast_signed().into()];
    let statement = Statement::new(text).bind(values).page_size(limit);
    rows(&db.execute(statement).await?, BanRow::read)
}
