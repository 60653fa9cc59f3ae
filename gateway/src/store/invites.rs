//! Invites by code, and the index from a guild to its codes.
//!
//! An invite with a lifetime carries it as TTL, so that an expired one is simply not there. Uses are
//! counted by a conditional update that is repeated when two people join at once.

use chatdb::{Db, Result, Statement, Value};

use super::fields::Fields;
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.invites (
        code text, guild_id bigint, channel_id bigint, inviter_id bigint, created_at timestamp,
        max_age int, max_uses int, temporary boolean, uses int, PRIMARY KEY (code))
        WITH upsert = false",
    "CREATE TABLE IF NOT EXISTS flux.guild_invites (
        guild_id bigint, code text, PRIMARY KEY ((guild_id), code))",
];

/// One invite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InviteRow {
    pub(crate) code: String,
    pub(crate) guild_id: Id,
    pub(crate) channel_id: Id,
    pub(crate) inviter_id: Id,
    pub(crate) created_at_ms: i64,
    /// Seconds, 0 is for ever.
    pub(crate) max_age_s: u32,
    /// 0 is without limit.
    pub(crate) max_uses: u32,
    pub(crate) temporary: bool,
    pub(crate) uses: u32,
}

impl InviteRow {
    fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            code: fields.text("code")?,
            guild_id: fields.id("guild_id")?,
            channel_id: fields.id("channel_id")?,
            inviter_id: fields.id("inviter_id")?,
            created_at_ms: fields.time("created_at")?,
            max_age_s: fields.number("max_age")?,
            max_uses: fields.number("max_uses")?,
            temporary: fields.flag("temporary")?,
            uses: fields.number("uses")?,
        })
    }

    /// When it ends, in Unix milliseconds.
    pub(crate) fn expires_at_ms(&self) -> Option<i64> {
        (self.max_age_s > 0).then(|| self.created_at_ms + i64::from(self.max_age_s) * 1000)
    }
}

pub(crate) async fn insert(db: &Db, row: &InviteRow, heard: &Announcement) -> Result<()> {
    let ttl = || Value::from(row.max_age_s.cast_signed());
    let index = "INSERT INTO flux.guild_invites (guild_id, code) VALUES (?, ?) USING TTL ?";
    let values = vec![row.guild_id.into(), row.code.as_str().into(), ttl()];
    db.execute(Statement::new(index).bind(values)).await?;
    let text = "INSERT INTO flux.invites (code, guild_id, channel_id, inviter_id, created_at,
        max_age, max_uses, temporary, uses) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TTL ?";
    let values = vec![
        row.code.as_str().into(),
        row.guild_id.into(),
        row.channel_id.into(),
        row.inviter_id.into(),
        Value::Timestamp(row.created_at_ms),
        row.max_age_s.cast_signed().into(),
        row.max_uses.cast_signed().into(),
        row.temporary.into(),
        row.uses.cast_signed().into(),
        ttl(),
    ];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

pub(crate) async fn get(db: &Db, code: &str) -> Result<Option<InviteRow>> {
    let text = "SELECT * FROM flux.invites WHERE code = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![code.into()]))
        .await?;
    found.first().map(InviteRow::read).transpose()
}

/// Codes of a guild's invites; one may have ended since.
pub(crate) async fn codes(db: &Db, guild: Id) -> Result<Vec<String>> {
    let text = "SELECT code FROM flux.guild_invites WHERE guild_id = ?";
    let statement = Statement::new(text)
        .bind(vec![guild.into()])
        .page_size(1000);
    rows(&db.execute(statement).await?, |row| {
        Fields::text(row, "code")
    })
}

/// Counts one use more; false when somebody else counted at the same time: read again.
pub(crate) async fn count_use(db: &Db, row: &InviteRow, now_ms: i64) -> Result<bool> {
    let text = "UPDATE flux.invites USING TTL ? SET uses = ? WHERE code = ? IF uses = ?";
    let left_s = row
        .expires_at_ms()
        .map_or(0, |at| ((at - now_ms) / 1000).max(1));
    let values = vec![
        i32::try_from(left_s).unwrap_or(i32::MAX).into(),
        (row.uses + 1).cast_signed().into(),
        row.code.as_str().into(),
        row.uses.cast_signed().into(),
    ];
    Ok(db
        .execute(Statement::new(text).bind(values))
        .await?
        .was_applied())
}

pub(crate) async fn delete(db: &Db, row: &InviteRow, heard: &Announcement) -> Result<()> {
    let text = "DELETE FROM flux.invites WHERE code = ?";
    let values = vec![row.code.as_str().into()];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    let index = "DELETE FROM flux.guild_invites WHERE guild_id = ? AND code = ?";
    let values = vec![row.guild_id.into(), row.code.as_str().into()];
    db.execute(Statement::new(index).bind(values)).await?;
    Ok(())
}
