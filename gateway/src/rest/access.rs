//! May this account do this here? The question that every handler asks first.

use std::sync::Arc;

use super::error::{ApiError, ApiResult, Unknown};
use super::extract::Caller;
use crate::app::App;
use crate::clock;
use crate::directory::{GuildState, Place};
use crate::events::Note;
use crate::id::Id;
use crate::model::permission::Permissions;
use crate::permission::Rank;
use crate::store::members::MemberRow;
use crate::store::messages::{self, MessageRow};
use crate::store::{Announcement, guild_topic, user_topic};

/// Rights in a direct channel: everything that makes sense between two accounts.
const DIRECT: Permissions = Permissions(
    Permissions::VIEW_CHANNEL.0
        | Permissions::SEND_MESSAGES.0
        | Permissions::READ_MESSAGE_HISTORY.0
        | Permissions::ADD_REACTIONS.0
        | Permissions::EMBED_LINKS.0
        | Permissions::ATTACH_FILES.0
        | Permissions::PIN_MESSAGES.0,
);

/// A guild that the caller is a member of.
#[derive(Debug)]
pub(crate) struct GuildAccess {
    pub(crate) state: Arc<GuildState>,
    pub(crate) member: Arc<MemberRow>,
    pub(crate) rights: Permissions,
}

/// A channel that the caller sees.
#[derive(Debug)]
pub(crate) struct ChannelAccess {
    pub(crate) id: Id,
    pub(crate) place: Place,
    pub(crate) rights: Permissions,
}

fn need(rights: Permissions, needed: Permissions) -> ApiResult<()> {
    if rights.contains(needed) {
        Ok(())
    } else {
        Err(ApiError::missing_permissions())
    }
}

impl GuildAccess {
    /// Fails unless the caller has all these rights in the guild.
    pub(crate) fn need(&self, needed: Permissions) -> ApiResult<()> {
        need(self.rights, needed)
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.state.guild.owner_id == self.member.user_id
    }

    /// Fails unless the caller stands above this rank.
    pub(crate) fn outrank(&self, rank: Rank) -> ApiResult<()> {
        if self.is_owner() || self.state.rank(&self.member) > rank {
            Ok(())
        } else {
            Err(ApiError::missing_permissions())
        }
    }

    /// Fails unless the caller may act on this member: not the owner, and below the caller.
    pub(crate) fn outrank_member(&self, target: &MemberRow) -> ApiResult<()> {
        if target.user_id == self.state.guild.owner_id {
            return Err(ApiError::missing_permissions());
        }
        self.outrank(self.state.rank(target))
    }
}

impl ChannelAccess {
    /// Fails unless the caller has all these rights in the channel.
    pub(crate) fn need(&self, needed: Permissions) -> ApiResult<()> {
        need(self.rights, needed)
    }

    /// Whether the caller has all these rights.
    pub(crate) fn may(&self, needed: Permissions) -> bool {
        self.rights.contains(needed)
    }

    pub(crate) fn guild_id(&self) -> Option<Id> {
        self.place.guild_id()
    }

    /// Topics of everybody who may hear of this channel.
    pub(crate) fn topics(&self) -> Vec<String> {
        match &self.place {
            Place::Guild(state, _) => vec![guild_topic(state.id())],
            Place::Direct(row) => row.users().map(user_topic).to_vec(),
        }
    }

    /// A note to everybody who may hear of this channel.
    pub(crate) fn announce(&self, note: &Note) -> Announcement {
        match &self.place {
            Place::Guild(state, _) => Announcement::guild(state.id(), note),
            Place::Direct(row) => Announcement::users(&row.users(), note),
        }
    }
}

impl App {
    /// The guild, if the caller is in it.
    pub(crate) async fn guild_access(&self, caller: Caller, guild: Id) -> ApiResult<GuildAccess> {
        let state = self.directory.guild(guild).await?.ok_or(Unknown::Guild)?;
        let member = self.directory.member(guild, caller.id).await?;
        let member = member.ok_or_else(ApiError::missing_access)?;
        let rights = state.rights(&member, clock::now_ms());
        Ok(GuildAccess {
            state,
            member,
            rights,
        })
    }

    /// The channel, if the caller sees it.
    pub(crate) async fn channel_access(
        &self,
        caller: Caller,
        channel: Id,
    ) -> ApiResult<ChannelAccess> {
        let place = self
            .directory
            .place(channel)
            .await?
            .ok_or(Unknown::Channel)?;
        let rights = match &place {
            Place::Direct(row) => row.other(caller.id).map(|_| DIRECT),
            Place::Guild(state, row) => {
                let member = self.directory.member(state.id(), caller.id).await?;
                member.map(|member| state.rights_in(&member, row, clock::now_ms()))
            }
        };
        let rights = rights.ok_or_else(ApiError::missing_access)?;
        if !rights.contains(Permissions::VIEW_CHANNEL) {
            return Err(ApiError::missing_access());
        }
        Ok(ChannelAccess {
            id: channel,
            place,
            rights,
        })
    }

    /// A message of a channel.
    pub(crate) async fn message(&self, channel: Id, message: Id) -> ApiResult<MessageRow> {
        let row = messages::get(&self.db, channel, message).await?;
        Ok(row.ok_or(Unknown::Message)?)
    }
}
