//! Everything that is stored: the schema and the text of every statement, one file per entity.
//!
//! Nothing else in the crate contains CQL. Each file has its table, its row type and the
//! functions that read and write it; a write that others should hear of takes the topic and the
//! [`Note`](crate::events::Note) from its caller. `docs/formats/schema.md` shows all tables and
//! which write is which event.
//!
//! # Invariants
//!
//! * Rows of a guild are one partition per table, so that loading its state is three slices.
//! * A member row decides who is in a guild, `user_guilds` only finds it again.
//! * Everything of one channel (messages, reactions, pins, buckets) has the placement key
//!   `channel_id` and so lives in one tablet.

pub(crate) mod accounts;
pub(crate) mod bans;
pub(crate) mod channels;
pub(crate) mod direct;
pub(crate) mod fields;
pub(crate) mod guilds;
pub(crate) mod imports;
pub(crate) mod invites;
pub(crate) mod members;
pub(crate) mod messages;
pub(crate) mod pins;
pub(crate) mod purge;
pub(crate) mod reactions;
pub(crate) mod read_states;
pub(crate) mod roles;
pub(crate) mod schema;
pub(crate) mod users;
pub(crate) mod workers;

use bytes::Bytes;
use chatdb::{Result, Statement};

use crate::events::Note;
use crate::id::Id;

/// Topic of everything that happens in a guild.
pub(crate) fn guild_topic(guild: Id) -> String {
    format!("guild:{guild}")
}

/// Topic of what only one account sees.
pub(crate) fn user_topic(user: Id) -> String {
    format!("user:{user}")
}

/// Who hears of a write, and as what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announcement {
    topics: Vec<String>,
    note: Bytes,
}

impl Announcement {
    /// Nobody hears of the write.
    pub(crate) fn silent() -> Self {
        Self::default()
    }

    /// Everybody in a guild hears of it.
    pub(crate) fn guild(guild: Id, note: &Note) -> Self {
        Self {
            topics: vec![guild_topic(guild)],
            note: note.encode(),
        }
    }

    /// These accounts hear of it.
    pub(crate) fn users(users: &[Id], note: &Note) -> Self {
        Self {
            topics: users.iter().copied().map(user_topic).collect(),
            note: note.encode(),
        }
    }

    /// The topics.
    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// The encoded note.
    pub(crate) fn note(&self) -> &Bytes {
        &self.note
    }

    /// The statement with topics and note.
    pub(crate) fn on(&self, statement: Statement) -> Statement {
        let named = self.topics.iter().fold(statement, Statement::topic);
        named.note(self.note.clone())
    }
}

/// Reads every row of a result.
fn rows<T>(result: &chatdb::ResultSet, read: impl Fn(&chatdb::Row) -> Result<T>) -> Result<Vec<T>> {
    result.rows.iter().map(read).collect()
}
