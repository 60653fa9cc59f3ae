//! Accounts.

use chatdb::{Db, Result, Statement, Value};

use super::Announcement;
use super::fields::{Fields, nullable, optional};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.users (
        user_id bigint, username text, global_name text, avatar text, bot boolean,
        owner_id bigint, PRIMARY KEY (user_id))"];

/// One account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserRow {
    pub(crate) user_id: Id,
    pub(crate) username: String,
    pub(crate) global_name: Option<String>,
    pub(crate) avatar: Option<String>,
    pub(crate) bot: bool,
    /// Of a bot: the account that made it.
    pub(crate) owner_id: Option<Id>,
}

impl UserRow {
    pub(crate) fn read(fields: &impl Fields) -> Result<Self> {
        Ok(Self {
            user_id: fields.id("user_id")?,
            username: fields.text("username")?,
            global_name: fields.opt_text("global_name")?,
            avatar: fields.opt_text("avatar")?,
            bot: fields.flag("bot")?,
            owner_id: fields.opt_id("owner_id")?,
        })
    }
}

/// The write of an account; nobody hears of it.
pub(crate) fn insert_statement(row: &UserRow) -> Statement {
    let text = "INSERT INTO flux.users (user_id, username, global_name, avatar, bot, owner_id)
        VALUES (?, ?, ?, ?, ?, ?)";
    Statement::new(text).bind(vec![
        row.user_id.into(),
        row.username.as_str().into(),
        optional(row.global_name.as_deref()),
        optional(row.avatar.as_deref()),
        if row.bot { true.into() } else { Value::Unset },
        optional(row.owner_id),
    ])
}

pub(crate) async fn insert(db: &Db, row: &UserRow) -> Result<()> {
    db.execute(insert_statement(row)).await?;
    Ok(())
}

pub(crate) async fn get(db: &Db, user: Id) -> Result<Option<UserRow>> {
    let text = "SELECT * FROM flux.users WHERE user_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![user.into()]))
        .await?;
    found.first().map(UserRow::read).transpose()
}

/// Writes what an account can change about itself.
pub(crate) async fn update(db: &Db, row: &UserRow, heard: &Announcement) -> Result<()> {
    let text = "UPDATE flux.users SET username = ?, global_name = ?, avatar = ? WHERE user_id = ?";
    let values = vec![
        row.username.as_str().into(),
        nullable(row.global_name.as_deref()),
        nullable(row.avatar.as_deref()),
        row.user_id.into(),
    ];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}
