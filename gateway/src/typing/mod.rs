//! Typing: "somebody writes" for ten seconds, never stored.
//!
//! A typing event is published to the topic of the guild, or to both accounts of a direct channel.
//! Sessions with a backlog lose it first.

use chatdb::{Db, Result};
use serde::Serialize;

use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::member::Member;

/// `TYPING_START`.
#[derive(Debug, Serialize)]
pub(crate) struct Typing {
    pub(crate) channel_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) guild_id: Option<Id>,
    pub(crate) user_id: Id,
    /// Unix seconds.
    pub(crate) timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Member>,
}

/// Tells the subscribers of `topics` that somebody types.
pub(crate) async fn publish(db: &Db, topics: &[String], typing: &Typing) -> Result<()> {
    let payload = Note::with(EventKind::TypingStart, typing).encode();
    for topic in topics {
        db.publish(topic, payload.clone()).await?;
    }
    Ok(())
}
