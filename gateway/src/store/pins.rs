//! Pinned messages of a channel, newest pin first.
//!
//! The list changes before the `pinned` mark on the message, which is what everybody hears of: a
//! crash between the two is repaired by doing it again.

use chatdb::{Db, Result, Statement, Value};

use super::fields::Fields;
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS flux.pins (
        channel_id bigint, message_id bigint, pinned_at timestamp,
        PRIMARY KEY ((channel_id), message_id))"];

/// Most pins of a channel.
pub(crate) const PINS_MAX: usize = 250;

/// Pins a message.
pub(crate) async fn add(
    db: &Db,
    (channel, message): (Id, Id),
    at_ms: i64,
    heard: &Announcement,
) -> Result<()> {
    let text = "INSERT INTO flux.pins (channel_id, message_id, pinned_at) VALUES (?, ?, ?)";
    let values = vec![channel.into(), message.into(), Value::Timestamp(at_ms)];
    db.execute(Statement::new(text).bind(values)).await?;
    db.execute(heard.on(mark(channel, message, true))).await?;
    Ok(())
}

/// Unpins a message.
pub(crate) async fn remove(
    db: &Db,
    (channel, message): (Id, Id),
    heard: &Announcement,
) -> Result<()> {
    let text = "DELETE FROM flux.pins WHERE channel_id = ? AND message_id = ?";
    db.execute(Statement::new(text).bind(vec![channel.into(), message.into()]))
        .await?;
    db.execute(heard.on(mark(channel, message, false))).await?;
    Ok(())
}

fn mark(channel: Id, message: Id, pinned: bool) -> Statement {
    let text = "UPDATE flux.messages SET pinned = ?
        WHERE channel_id = ? AND bucket = ? AND message_id = ?";
    Statement::new(text).bind(vec![
        pinned.into(),
        channel.into(),
        message.bucket().into(),
        message.into(),
    ])
}

/// Pinned messages and when each was pinned, newest pin first.
pub(crate) async fn list(db: &Db, channel: Id) -> Result<Vec<(Id, i64)>> {
    let text = "SELECT message_id, pinned_at FROM flux.pins WHERE channel_id = ?";
    let statement = Statement::new(text)
        .bind(vec![channel.into()])
        .page_size(1000);
    let mut pins = rows(&db.execute(statement).await?, |row| {
        Ok((row.id("message_id")?, row.time("pinned_at")?))
    })?;
    pins.sort_by_key(|(message, at)| std::cmp::Reverse((*at, *message)));
    Ok(pins)
}
