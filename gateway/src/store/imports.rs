//! What imports remember: guilds by name, authors by name, and how far each source is.

use chatdb::{Db, Result, Statement};

use super::fields::Fields;
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.import_guilds (
        name text, guild_id bigint, invite text, PRIMARY KEY (name))",
    "CREATE TABLE IF NOT EXISTS flux.import_authors (
        guild_id bigint, name text, user_id bigint, PRIMARY KEY ((guild_id), name))",
    "CREATE TABLE IF NOT EXISTS flux.import_sources (
        guild_id bigint, source text, slot int, done bigint, PRIMARY KEY ((guild_id), source))",
];

/// How far one source of a guild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SourceRow {
    pub(crate) slot: i32,
    /// Items of the source that are stored.
    pub(crate) done: i64,
}

/// The guild that imports of this name fill.
pub(crate) async fn guild(db: &Db, name: &str) -> Result<Option<Id>> {
    let text = "SELECT guild_id FROM flux.import_guilds WHERE name = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![name.into()]))
        .await?;
    found.first().map(|row| row.id("guild_id")).transpose()
}

/// Remembers the guild of a name.
pub(crate) async fn set_guild(db: &Db, name: &str, guild: Id) -> Result<()> {
    let text = "INSERT INTO flux.import_guilds (name, guild_id) VALUES (?, ?)";
    db.execute(Statement::new(text).bind(vec![name.into(), guild.into()]))
        .await?;
    Ok(())
}

/// The account that stands for a name.
pub(crate) async fn author(db: &Db, guild: Id, name: &str) -> Result<Option<Id>> {
    let text = "SELECT user_id FROM flux.import_authors WHERE guild_id = ? AND name = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![guild.into(), name.into()]))
        .await?;
    found.first().map(|row| row.id("user_id")).transpose()
}

/// The write that remembers the account of a name; all of a guild fit in one batch.
pub(crate) fn author_statement(guild: Id, name: &str, user: Id) -> Statement {
    let text = "INSERT INTO flux.import_authors (guild_id, name, user_id) VALUES (?, ?, ?)";
    Statement::new(text).bind(vec![guild.into(), name.into(), user.into()])
}

/// How far a source is.
pub(crate) async fn source(db: &Db, guild: Id, source: &str) -> Result<Option<SourceRow>> {
    let text = "SELECT * FROM flux.import_sources WHERE guild_id = ? AND source = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![guild.into(), source.into()]))
        .await?;
    let read = |row: &chatdb::Row| {
        Ok(SourceRow {
            slot: row.number("slot")?,
            done: row.opt_bigint("done")?.unwrap_or_default(),
        })
    };
    found.first().map(read).transpose()
}

/// Number of sources of a guild: the next slot.
pub(crate) async fn count_sources(db: &Db, guild: Id) -> Result<i32> {
    let text = "SELECT slot FROM flux.import_sources WHERE guild_id = ?";
    let (mut next, mut state) = (0, None);
    loop {
        let statement = Statement::new(text)
            .bind(vec![guild.into()])
            .page_size(5000);
        let page = db.execute(statement.page_state(state)).await?;
        for row in &page.rows {
            next = next.max(row.number::<i32>("slot")? + 1);
        }
        state = page.page_state;
        if state.is_none() {
            return Ok(next);
        }
    }
}

/// Notes how far a source is.
pub(crate) async fn set_source(db: &Db, guild: Id, source: &str, row: SourceRow) -> Result<()> {
    let text = "INSERT INTO flux.import_sources (guild_id, source, slot, done)
        VALUES (?, ?, ?, ?)";
    let values = vec![
        guild.into(),
        source.into(),
        row.slot.into(),
        row.done.into(),
    ];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}
