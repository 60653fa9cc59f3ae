//! Members of guilds, and the index from an account to its guilds.
//!
//! The member row decides. The index row is written after it and removed before it is missed: a
//! crash in between is repaired when the account joins or leaves again.

use chatdb::{Db, Result, Statement, Value};

use super::fields::{Fields, id_set, nullable};
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.members (
        guild_id bigint, user_id bigint, nick text, roles set<bigint>, joined_at timestamp,
        deaf boolean, mute boolean, timeout_until timestamp,
        PRIMARY KEY ((guild_id), user_id)) WITH upsert = false",
    "CREATE TABLE IF NOT EXISTS flux.user_guilds (
        user_id bigint, guild_id bigint, joined_at timestamp,
        PRIMARY KEY ((user_id), guild_id))",
];

/// Most members that one page of [`page`] holds.
pub(crate) const PAGE_MAX: u32 = 1000;

/// One member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberRow {
    pub(crate) guild_id: Id,
    pub(crate) user_id: Id,
    pub(crate) nick: Option<String>,
    /// Without the role of everybody.
    pub(crate) roles: Vec<Id>,
    pub(crate) joined_at_ms: i64,
    pub(crate) deaf: bool,
    pub(crate) mute: bool,
    pub(crate) timeout_until_ms: Option<i64>,
}

impl MemberRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            guild_id: fields.id("guild_id")?,
            user_id: fields.id("user_id")?,
            nick: fields.opt_text("nick")?,
            roles: fields.ids("roles")?,
            joined_at_ms: fields.time("joined_at")?,
            deaf: fields.flag("deaf")?,
            mute: fields.flag("mute")?,
            timeout_until_ms: fields.opt_time("timeout_until")?,
        })
    }
}

/// The two writes of a membership: the member and the index. Nobody hears of them; for imports.
pub(crate) fn insert_statements(row: &MemberRow) -> [Statement; 2] {
    let text = "INSERT INTO flux.members (guild_id, user_id, roles, joined_at) VALUES (?, ?, ?, ?)";
    let joined = Value::Timestamp(row.joined_at_ms);
    let member = vec![
        row.guild_id.into(),
        row.user_id.into(),
        id_set(&row.roles),
        joined.clone(),
    ];
    let index = "INSERT INTO flux.user_guilds (user_id, guild_id, joined_at) VALUES (?, ?, ?)";
    let values = vec![row.user_id.into(), row.guild_id.into(), joined];
    [
        Statement::new(text).bind(member),
        Statement::new(index).bind(values),
    ]
}

/// Adds a member; answers false when the account was a member already. The guild hears of the
/// member, the account itself of the guild.
pub(crate) async fn join(
    db: &Db,
    row: &MemberRow,
    guild: &Announcement,
    account: &Announcement,
) -> Result<bool> {
    let text = "INSERT INTO flux.members (guild_id, user_id, roles, joined_at)
        VALUES (?, ?, ?, ?) IF NOT EXISTS";
    let values = vec![
        row.guild_id.into(),
        row.user_id.into(),
        id_set(&row.roles),
        Value::Timestamp(row.joined_at_ms),
    ];
    let done = db
        .execute(guild.on(Statement::new(text).bind(values)))
        .await?;
    let [_, index] = insert_statements(row);
    let new = done.was_applied();
    db.execute(if new { account.on(index) } else { index })
        .await?;
    Ok(new)
}

/// Removes a member; answers false when the account was none.
pub(crate) async fn leave(
    db: &Db,
    (guild_id, user_id): (Id, Id),
    guild: &Announcement,
    account: &Announcement,
) -> Result<bool> {
    let text = "DELETE FROM flux.members WHERE guild_id = ? AND user_id = ? IF EXISTS";
    let values = vec![guild_id.into(), user_id.into()];
    let done = db
        .execute(guild.on(Statement::new(text).bind(values)))
        .await?;
    let gone = done.was_applied();
    let index = forget_statement(user_id, guild_id);
    db.execute(if gone { account.on(index) } else { index })
        .await?;
    Ok(gone)
}

fn forget_statement(user: Id, guild: Id) -> Statement {
    let text = "DELETE FROM flux.user_guilds WHERE user_id = ? AND guild_id = ?";
    Statement::new(text).bind(vec![user.into(), guild.into()])
}

/// Drops a guild that is gone from an account's list; nobody hears of it.
pub(crate) async fn forget_guild(db: &Db, user: Id, guild: Id) -> Result<()> {
    db.execute(forget_statement(user, guild)).await?;
    Ok(())
}

/// Writes nick, voice flags and timeout; answers false when the member is gone.
pub(crate) async fn update(db: &Db, row: &MemberRow, heard: &Announcement) -> Result<bool> {
    let text = "UPDATE flux.members SET nick = ?, deaf = ?, mute = ?, timeout_until = ?
        WHERE guild_id = ? AND user_id = ? IF EXISTS";
    let values = vec![
        nullable(row.nick.as_deref()),
        row.deaf.into(),
        row.mute.into(),
        nullable(row.timeout_until_ms.map(Value::Timestamp)),
        row.guild_id.into(),
        row.user_id.into(),
    ];
    let done = db
        .execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(done.was_applied())
}

/// Gives and takes roles, and nothing else, so that two callers never undo each other; answers
/// false when the member is gone.
pub(crate) async fn change_roles(
    db: &Db,
    member: (Id, Id),
    add: &[Id],
    remove: &[Id],
    heard: &Announcement,
) -> Result<bool> {
    let (guild, user) = member;
    let change = |text: &'static str, roles: &[Id]| {
        let values = vec![id_set(roles), guild.into(), user.into()];
        Statement::new(text).bind(values)
    };
    let more =
        "UPDATE flux.members SET roles = roles + ? WHERE guild_id = ? AND user_id = ? IF EXISTS";
    let less =
        "UPDATE flux.members SET roles = roles - ? WHERE guild_id = ? AND user_id = ? IF EXISTS";
    let (first, last) = match (add, remove) {
        ([], _) => (None, change(less, remove)),
        (_, []) => (None, change(more, add)),
        _ => (Some(change(less, remove)), change(more, add)),
    };
    if let Some(first) = first {
        db.execute(first).await?;
    }
    Ok(db.execute(heard.on(last)).await?.was_applied())
}

pub(crate) async fn get(db: &Db, guild: Id, user: Id) -> Result<Option<MemberRow>> {
    let text = "SELECT * FROM flux.members WHERE guild_id = ? AND user_id = ?";
    let values = vec![guild.into(), user.into()];
    let found = db.execute(Statement::new(text).bind(values)).await?;
    found.first().map(MemberRow::read).transpose()
}

/// Up to `limit` (at most [`PAGE_MAX`]) members with ids above `after`, by id.
pub(crate) async fn page(
    db: &Db,
    guild: Id,
    after: Option<Id>,
    limit: u32,
) -> Result<Vec<MemberRow>> {
    let text = "SELECT * FROM flux.members WHERE guild_id = ? AND user_id > ? LIMIT ?";
    let limit = limit.min(PAGE_MAX);
    let values = vec![
        guild.into(),
        after.map_or(0, Id::bigint).into(),
        limit.cast_signed().into(),
    ];
    let statement = Statement::new(text).bind(values).page_size(limit);
    rows(&db.execute(statement).await?, MemberRow::read)
}

/// How many members a guild has.
pub(crate) async fn count(db: &Db, guild: Id) -> Result<usize> {
    let text = "SELECT COUNT(*) FROM flux.members WHERE guild_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![guild.into()]))
        .await?;
    let count = found.first().map_or(Ok(0), |row| row.bigint("count"))?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// The guilds of an account, by id.
pub(crate) async fn guilds_of(db: &Db, user: Id) -> Result<Vec<Id>> {
    let text = "SELECT guild_id FROM flux.user_guilds WHERE user_id = ?";
    let statement = Statement::new(text).bind(vec![user.into()]).page_size(5000);
    rows(&db.execute(statement).await?, |row| row.id("guild_id"))
}
