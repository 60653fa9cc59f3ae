//! Direct channels: one per pair of accounts.
//!
//! The pair claims its channel by a conditional insert, so that two people who write to each other
//! at the same moment meet in one channel. The index of each account follows and is repaired by
//! opening the channel again.

use chatdb::{Db, Result, Statement};

use super::fields::Fields;
use super::rows;
use crate::id::Id;

pub(crate) const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS flux.direct_pairs (
        low_id bigint, high_id bigint, channel_id bigint, PRIMARY KEY ((low_id, high_id)))",
    "CREATE TABLE IF NOT EXISTS flux.direct_channels (
        channel_id bigint, low_id bigint, high_id bigint, PRIMARY KEY (channel_id))",
    "CREATE TABLE IF NOT EXISTS flux.user_direct_channels (
        user_id bigint, channel_id bigint, other_id bigint,
        PRIMARY KEY ((user_id), channel_id))",
];

/// One direct channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectRow {
    pub(crate) channel_id: Id,
    pub(crate) low: Id,
    pub(crate) high: Id,
}

impl DirectRow {
    /// The two accounts.
    pub(crate) fn users(self) -> [Id; 2] {
        [self.low, self.high]
    }

    /// The account that `user` talks to here; `None` when `user` has no part in it.
    pub(crate) fn other(self, user: Id) -> Option<Id> {
        match user {
            user if user == self.low => Some(self.high),
            user if user == self.high => Some(self.low),
            _ => None,
        }
    }
}

/// The channel of two accounts, with `fresh` as its id when they have none yet.
pub(crate) async fn open(db: &Db, users: (Id, Id), fresh: Id) -> Result<DirectRow> {
    let (low, high) = (users.0.min(users.1), users.0.max(users.1));
    let channel_id = claim(db, (low, high), fresh).await?;
    let text = "INSERT INTO flux.direct_channels (channel_id, low_id, high_id) VALUES (?, ?, ?)";
    let values = vec![channel_id.into(), low.into(), high.into()];
    db.execute(Statement::new(text).bind(values)).await?;
    for (user, other) in [(low, high), (high, low)] {
        let text = "INSERT INTO flux.user_direct_channels (user_id, channel_id, other_id)
            VALUES (?, ?, ?)";
        let values = vec![user.into(), channel_id.into(), other.into()];
        db.execute(Statement::new(text).bind(values)).await?;
    }
    Ok(DirectRow {
        channel_id,
        low,
        high,
    })
}

async fn claim(db: &Db, (low, high): (Id, Id), fresh: Id) -> Result<Id> {
    let text = "SELECT channel_id FROM flux.direct_pairs WHERE low_id = ? AND high_id = ?";
    let find = || Statement::new(text).bind(vec![low.into(), high.into()]);
    if let Some(row) = db.execute(find()).await?.first() {
        return row.id("channel_id");
    }
    let text = "INSERT INTO flux.direct_pairs (low_id, high_id, channel_id) VALUES (?, ?, ?)
        IF NOT EXISTS";
    let values = vec![low.into(), high.into(), fresh.into()];
    if db
        .execute(Statement::new(text).bind(values))
        .await?
        .was_applied()
    {
        return Ok(fresh);
    }
    let found = db.execute(find()).await?;
    found.first().map_or(Ok(fresh), |row| row.id("channel_id"))
}

pub(crate) async fn get(db: &Db, channel: Id) -> Result<Option<DirectRow>> {
    let text = "SELECT * FROM flux.direct_channels WHERE channel_id = ?";
    let found = db
        .execute(Statement::new(text).bind(vec![channel.into()]))
        .await?;
    let read = |row: &chatdb::Row| {
        Ok(DirectRow {
            channel_id: row.id("channel_id")?,
            low: row.id("low_id")?,
            high: row.id("high_id")?,
        })
    };
    found.first().map(read).transpose()
}

/// Direct channels of an account with the other account of each, by channel id.
pub(crate) async fn list(db: &Db, user: Id) -> Result<Vec<(Id, Id)>> {
    let text = "SELECT channel_id, other_id FROM flux.user_direct_channels WHERE user_id = ?";
    let statement = Statement::new(text).bind(vec![user.into()]).page_size(5000);
    rows(&db.execute(statement).await?, |row| {
        Ok((row.id("channel_id")?, row.id("other_id")?))
    })
}
