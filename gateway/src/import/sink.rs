//! Where an import writes to: this process's database, or a running server.
//!
//! Both speak the same six operations. Every operation can be repeated: names and slots are registered once, and a
//! message has an id that does not depend on when it is imported.

use serde::{Deserialize, Serialize};

/// An account that history speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// Its id, if the archive has ids; else one is made for the name, once per guild.
    pub(crate) id: Option<u64>,
    /// The name as the archive writes it.
    pub(crate) name: String,
    /// True for a bot account.
    pub(crate) bot: bool,
}

/// One message of history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: u64,
    pub(crate) author: u64,
    /// Milliseconds since 1970: what people see, also where the id had to be folded.
    pub(crate) sent_ms: i64,
    pub(crate) edited_ms: Option<i64>,
    pub(crate) reply_to: Option<u64>,
    pub(crate) pinned: bool,
    pub(crate) content: String,
    /// Emoji key and the accounts that reacted with it.
    pub(crate) reactions: Vec<(String, Vec<u64>)>,
}

/// The guild that an import fills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuildSpec {
    /// Its id, if the archive has one; else the guild of this name that an import made before, or a new one.
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
}

/// A channel of that guild, found again by name (or id, if the archive has one).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelSpec {
    pub(crate) guild: u64,
    pub(crate) id: Option<u64>,
    pub(crate) name: String,
    pub(crate) topic: Option<String>,
}

/// What is known of a source (one file of an archive).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceState {
    /// Tells its ids apart from those of other sources of the guild.
    pub(crate) slot: u32,
    /// Items (lines or messages) that are stored for certain.
    pub(crate) done: u64,
    /// Messages among them.
    pub(crate) messages: u64,
}
