//! Members: an account inside one guild.

use serde::Serialize;

use super::Null;
use super::timestamp::Timestamp;
use super::user::User;
use crate::id::Id;
use crate::store::members::MemberRow;

/// A member without the account, as messages carry it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PartialMember {
    pub(crate) nick: Option<String>,
    pub(crate) avatar: Null,
    pub(crate) banner: Null,
    pub(crate) roles: Vec<Id>,
    pub(crate) joined_at: Timestamp,
    pub(crate) premium_since: Null,
    pub(crate) deaf: bool,
    pub(crate) mute: bool,
    pub(crate) flags: u32,
    pub(crate) pending: bool,
    pub(crate) communication_disabled_until: Option<Timestamp>,
}

impl From<&MemberRow> for PartialMember {
    fn from(row: &MemberRow) -> Self {
        Self {
            nick: row.nick.clone(),
            avatar: (),
            banner: (),
            roles: row.roles.clone(),
            joined_at: Timestamp(row.joined_at_ms),
            premium_since: (),
            deaf: row.deaf,
            mute: row.mute,
            flags: 0,
            pending: false,
            communication_disabled_until: row.timeout_until_ms.map(Timestamp),
        }
    }
}

/// A member with the account.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Member {
    pub(crate) user: User,
    #[serde(flatten)]
    pub(crate) member: PartialMember,
}

impl Member {
    pub(crate) fn new(user: User, row: &MemberRow) -> Self {
        Self {
            user,
            member: PartialMember::from(row),
        }
    }
}

/// A member in an event: with the guild it belongs to.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct GuildMember {
    pub(crate) guild_id: Id,
    #[serde(flatten)]
    pub(crate) member: Member,
}

/// A ban.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ban {
    pub(crate) reason: Option<String>,
    pub(crate) user: User,
}

/// A mentioned account of a guild message: the account with its membership inside.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Mention {
    #[serde(flatten)]
    pub(crate) user: User,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<PartialMember>,
}
