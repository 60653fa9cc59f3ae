//! How far an account has read each channel, and the mentions it has not read.
//!
//! A mention is a row until it is read; the count is the number of rows. Acknowledging deletes them
//! by range, so that no counter can drift.

use chatdb::{Db, Result, Statement};

use super::fields::Fields;
use super::{Announcement, rows};
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.read_states (
        user_id bigint, channel_id bigint, last_message_id bigint,
        PRIMARY KEY ((user_id), channel_id))",
    "CREATE TABLE IF NOT EXISTS flux.unread_mentions (
        user_id bigint, channel_id bigint, message_id bigint,
        PRIMARY KEY ((user_id), channel_id, message_id))",
];

/// Seconds that an unread mention is kept: 90 days.
const MENTION_TTL_S: i32 = 90 * 86_400;

/// How far one channel is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadStateRow {
    pub(crate) channel_id: Id,
    pub(crate) last_message_id: Id,
    pub(crate) mention_count: u32,
}

/// Moves the mark of an account and forgets the mentions up to it.
pub(crate) async fn acknowledge(
    db: &Db,
    user: Id,
    (channel, message): (Id, Id),
    heard: &Announcement,
) -> Result<()> {
    let text = "DELETE FROM flux.unread_mentions
        WHERE user_id = ? AND channel_id = ? AND message_id <= ?";
    let values = vec![user.into(), channel.into(), message.into()];
    db.execute(Statement::new(text).bind(values)).await?;
    let text = "INSERT INTO flux.read_states (user_id, channel_id, last_message_id)
        VALUES (?, ?, ?)";
    let values = vec![user.into(), channel.into(), message.into()];
    db.execute(heard.on(Statement::new(text).bind(values)))
        .await?;
    Ok(())
}

/// Remembers that a message mentions an account.
pub(crate) async fn mention(db: &Db, user: Id, (channel, message): (Id, Id)) -> Result<()> {
    let text = "INSERT INTO flux.unread_mentions (user_id, channel_id, message_id)
        VALUES (?, ?, ?) USING TTL ?";
    let values = vec![
        user.into(),
        channel.into(),
        message.into(),
        MENTION_TTL_S.into(),
    ];
    db.execute(Statement::new(text).bind(values)).await?;
    Ok(())
}

/// Every channel that the account has a mark or an unread mention in, by channel id. A channel
/// that was never read has the mark 0.
pub(crate) async fn list(db: &Db, user: Id) -> Result<Vec<ReadStateRow>> {
    let text = "SELECT channel_id, last_message_id FROM flux.read_states WHERE user_id = ?";
    let statement = Statement::new(text).bind(vec![user.into()]).page_size(5000);
    let mut states = rows(&db.execute(statement).await?, |row| {
        Ok(ReadStateRow {
            channel_id: row.id("channel_id")?,
            last_message_id: row.opt_id("last_message_id")?.unwrap_or_default(),
            mention_count: 0,
        })
    })?;
    let text = "SELECT channel_id, message_id FROM flux.unread_mentions WHERE user_id = ?";
    let statement = Statement::new(text).bind(vec![user.into()]).page_size(5000);
    for row in &db.execute(statement).await?.rows {
        let channel_id = row.id("channel_id")?;
        let place = match states.binary_search_by_key(&channel_id, |state| state.channel_id) {
            Ok(place) => place,
            Err(place) => {
                let last_message_id = Id::default();
                let state = ReadStateRow {
                    channel_id,
                    last_message_id,
                    mention_count: 0,
                };
                states.insert(place, state);
                place
            }
        };
        if let Some(state) = states.get_mut(place) {
            state.mention_count += 1;
        }
    }
    Ok(states)
}
