//! Guilds, in the forms of REST and of the account's own list.
//!
//! The `GUILD_CREATE` event adds members, presences and so on; the session side owns that form and
//! flattens [`Guild`] into it.

use serde::Serialize;

use super::permission::Permissions;
use super::role::Role;
use super::{Empty, Null};
use crate::id::Id;
use crate::store::guilds::GuildRow;

/// A guild with its roles.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Guild {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) splash: Null,
    pub(crate) discovery_splash: Null,
    pub(crate) owner_id: Id,
    pub(crate) afk_channel_id: Null,
    pub(crate) afk_timeout: u32,
    pub(crate) widget_enabled: bool,
    pub(crate) widget_channel_id: Null,
    pub(crate) verification_level: u8,
    pub(crate) default_message_notifications: u8,
    pub(crate) explicit_content_filter: u8,
    pub(crate) roles: Vec<Role>,
    pub(crate) emojis: Empty,
    pub(crate) stickers: Empty,
    pub(crate) features: Empty,
    pub(crate) mfa_level: u8,
    pub(crate) application_id: Null,
    pub(crate) system_channel_id: Option<Id>,
    pub(crate) system_channel_flags: u32,
    pub(crate) rules_channel_id: Null,
    pub(crate) max_members: u32,
    pub(crate) max_presences: Null,
    pub(crate) max_video_channel_users: u32,
    pub(crate) vanity_url_code: Null,
    pub(crate) description: Option<String>,
    pub(crate) banner: Null,
    pub(crate) premium_tier: u8,
    pub(crate) premium_subscription_count: u32,
    pub(crate) preferred_locale: String,
    pub(crate) public_updates_channel_id: Null,
    pub(crate) nsfw_level: u8,
    pub(crate) premium_progress_bar_enabled: bool,
    pub(crate) safety_alerts_channel_id: Null,
    pub(crate) incidents_data: Null,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approximate_member_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) approximate_presence_count: Option<usize>,
}

impl Guild {
    pub(crate) fn new(row: &GuildRow, roles: Vec<Role>) -> Self {
        Self {
            id: row.guild_id,
            name: row.name.clone(),
            icon: row.icon.clone(),
            splash: (),
            discovery_splash: (),
            owner_id: row.owner_id,
            afk_channel_id: (),
            afk_timeout: 300,
            widget_enabled: false,
            widget_channel_id: (),
            verification_level: row.verification_level,
            default_message_notifications: row.default_notifications,
            explicit_content_filter: row.content_filter,
            roles,
            emojis: [],
            stickers: [],
            features: [],
            mfa_level: 0,
            application_id: (),
            system_channel_id: row.system_channel_id,
            system_channel_flags: 0,
            rules_channel_id: (),
            max_members: 500_000,
            max_presences: (),
            max_video_channel_users: 25,
            vanity_url_code: (),
            description: row.description.clone(),
            banner: (),
            premium_tier: 0,
            premium_subscription_count: 0,
            preferred_locale: row.locale.clone(),
            public_updates_channel_id: (),
            nsfw_level: 0,
            premium_progress_bar_enabled: false,
            safety_alerts_channel_id: (),
            incidents_data: (),
            approximate_member_count: None,
            approximate_presence_count: None,
        }
    }
}

/// An entry of `GET /users/@me/guilds`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct OwnGuild {
    pub(crate) id: Id,
    pub(crate) name: String,
    pub(crate) icon: Option<String>,
    pub(crate) banner: Null,
    pub(crate) owner: bool,
    pub(crate) permissions: Permissions,
    pub(crate) features: Empty,
}
