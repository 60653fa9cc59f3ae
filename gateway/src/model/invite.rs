//! Invites.

use serde::Serialize;

use super::timestamp::Timestamp;
use super::user::User;
use super::{Empty, Null};
use crate::id::Id;

/// An invite as its opener sees it, and as the lists of a guild show it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Invite {
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) code: String,
    pub(crate) guild_id: Id,
    pub(crate) guild: InviteGuild,
    pub(crate) channel: InviteChannel,
    pub(crate) inviter: Option<User>,
    pub(crate) approximate_member_count: Option<usize>,
    pub(crate) approximate_presence_count: Option<usize>,
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) uses: InviteUses,
}

/// How an invite was made and how often it was taken.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InviteUses {
    pub(crate) uses: u32,
    pub(crate) max_uses: u32,
    /// Seconds; 0 is for ever.
    pub(crate) max_age: u32,
    pub(crate) temporary: bool,
    pub(crate) created_at: Timestamp,
}

/// The guild behind an invite.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InviteGuild {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) splash: Null,
    pub(crate) banner: Null,
    pub(crate) description: Option<String>,
    pub(crate) features: Empty,
    pub(crate) verification_level: u8,
    pub(crate) vanity_url_code: Null,
    pub(crate) nsfw_level: u8,
    pub(crate) premium_subscription_count: u32,
}

/// The channel behind an invite.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InviteChannel {
    pub(crate) id: Id,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
}

/// The `INVITE_CREATE` event.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct InviteCreate {
    pub(crate) channel_id: Id,
    pub(crate) guild_id: Id,
    pub(crate) code: String,
    pub(crate) inviter: Option<User>,
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(flatten)]
    pub(crate) uses: InviteUses,
}
