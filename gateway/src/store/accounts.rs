//! Names, passwords and tokens of accounts, and the settings of the instance.
//!
//! A name is claimed by one conditional insert, so that two registrations never share it. A token
//! is valid while its row is there; its text also carries a signature, so that guesses never reach
//! the database.

use bytes::Bytes;
use chatdb::{Db, Result, Statement, Value};

use super::fields::Fields;
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.usernames (
        username text, user_id bigint, PRIMARY KEY (username))",
    "CREATE TABLE IF NOT EXISTS flux.credentials (
        user_id bigint, password_hash text, PRIMARY KEY (user_id))",
    "CREATE TABLE IF NOT EXISTS flux.tokens (
        user_id bigint, token_id bigint, label text, PRIMARY KEY ((user_id), token_id))",
    "CREATE TABLE IF NOT EXISTS flux.instance (
        name text, value blob, PRIMARY KEY (name))",
];

/// Claims a name (in its folded form). False when it is taken.
pub(crate) async fn claim_name(db: &Db, folded: &str, user: Id) -> Result<bool> {
    let text = "INSERT INTO flux.usernames (username, user_id) VALUES (?, ?) IF NOT EXISTS";
    let values = vec![folded.into(), user.into()];
    Ok(db
        .execute(Statement::new(text).bind(values))
        .await?
        .was_applied())
}

/// Whose name this is.
pub(crate) async fn find_name(db: &Db, folded: &str) -> Result<Option<Id>> {
    let text = "SELECT user_id FROM flux.usernames WHERE username = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![folded.into()]))
        .await?;
    found.first().map(|row| row.id("user_id")).transpose()
}

/// Stores the hash of a password.
pub(crate) async fn set_password(db: &Db, user: Id, hash: &str) -> Result<()> {
    let text = "INSERT INTO flux.credentials (user_id, password_hash) VALUES (?, ?)";
    let values = vec![user.into(), hash.into()];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}

/// The hash of the account's password; `None` for bots and imported accounts.
pub(crate) async fn password(db: &Db, user: Id) -> Result<Option<String>> {
    let text = "SELECT password_hash FROM flux.credentials WHERE user_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![user.into()]))
        .await?;
    Ok(found
        .first()
        .map(|row| Fields::opt_text(row, "password_hash"))
        .transpose()?
        .flatten())
}

/// Makes a token valid.
pub(crate) async fn add_token(db: &Db, user: Id, token: Id, label: &str) -> Result<()> {
    let text = "INSERT INTO flux.tokens (user_id, token_id, label) VALUES (?, ?, ?)";
    let values = vec![user.into(), token.into(), label.into()];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}

/// Whether a token is valid.
pub(crate) async fn has_token(db: &Db, user: Id, token: Id) -> Result<bool> {
    let text = "SELECT token_id FROM flux.tokens WHERE user_id = ? AND token_id = ?";
    let values = vec![user.into(), token.into()];
    Ok(!db
        .execute(Statement::new(text).bind(values))
        .await?
        .is_empty())
}

/// Revokes a token.
pub(crate) async fn remove_token(db: &Db, user: Id, token: Id) -> Result<()> {
    let text = "DELETE FROM flux.tokens WHERE user_id = ? AND token_id = ?";
    let values = vec![user.into(), token.into()];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}

/// Sets a setting of the instance unless it is set; answers what it is now.
pub(crate) async fn settle(db: &Db, name: &'static str, value: Bytes) -> Result<Bytes> {
    let text = "INSERT INTO flux.instance (name, value) VALUES (?, ?) IF NOT EXISTS";
    let values = vec![name.into(), value.clone().into()];
    if db
        .execute(Statement::new(text).bind(values))
        .await?
        .was_applied()
    {
        return Ok(value);
    }
    Ok(setting(db, name).await?.unwrap_or(value))
}

/// A setting of the instance.
pub(crate) async fn setting(db: &Db, name: &'static str) -> Result<Option<Bytes>> {
    let text = "SELECT value FROM flux.instance WHERE name = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![name.into()]))
        .await?;
    let Some(row) = found.first() else {
        return Ok(None);
    };
    match row.value("value") {
        Value::Blob(value) => Ok(Some(value.clone())),
        _ => Ok(None),
    }
}
