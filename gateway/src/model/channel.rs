//! Channels: of guilds, and direct ones between two accounts.

use serde::Serialize;

use super::Null;
use super::permission::Overwrite;
use super::timestamp::Timestamp;
use super::user::User;
use crate::id::Id;
use crate::store::channels::ChannelRow;

/// Text channel of a guild.
pub(crate) const TEXT: u8 = 0;
/// Direct messages between two accounts.
pub(crate) const DIRECT: u8 = 1;
/// Voice channel of a guild.
pub(crate) const VOICE: u8 = 2;
/// Group of channels.
pub(crate) const CATEGORY: u8 = 4;
/// Announcement channel of a guild.
pub(crate) const ANNOUNCEMENT: u8 = 5;

/// A channel of a guild.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GuildChannel {
    pub(crate) id: Id,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) guild_id: Id,
    pub(crate) name: String,
    pub(crate) position: i32,
    pub(crate) permission_overwrites: Vec<Overwrite>,
    pub(crate) parent_id: Option<Id>,
    pub(crate) topic: Option<String>,
    pub(crate) nsfw: bool,
    pub(crate) last_message_id: Option<Id>,
    pub(crate) last_pin_timestamp: Option<Timestamp>,
    pub(crate) rate_limit_per_user: u32,
    pub(crate) flags: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bitrate: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rtc_region: Option<Null>,
}

impl GuildChannel {
    /// The channel with the id of its newest message, which is not stored in its row.
    pub(crate) fn new(row: &ChannelRow, last_message_id: Option<Id>) -> Self {
        let voice = row.kind == VOICE;
        Self {
            id: row.channel_id,
            kind: row.kind,
            guild_id: row.guild_id,
            name: row.name.clone(),
            position: row.position,
            permission_overwrites: row.overwrites.clone(),
            parent_id: row.parent_id,
            topic: row.topic.clone(),
            nsfw: row.nsfw,
            last_message_id,
            last_pin_timestamp: row.last_pin_ms.map(Timestamp),
            rate_limit_per_user: row.slowmode_s,
            flags: 0,
            bitrate: voice.then_some(64_000),
            user_limit: voice.then_some(0),
            rtc_region: voice.then_some(()),
        }
    }
}

/// A direct channel, as one of its two accounts sees it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct DirectChannel {
    pub(crate) id: Id,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) last_message_id: Option<Id>,
    pub(crate) last_pin_timestamp: Option<Timestamp>,
    pub(crate) flags: u32,
    /// The other account.
    pub(crate) recipients: [User; 1],
}
