//! `GUILD_CREATE`: everything that a session must know about a guild, in one payload.

use std::collections::HashMap;

use chatdb::Result;
use serde::Serialize;

use super::compose::Composer;
use crate::directory::GuildState;
use crate::id::Id;
use crate::model::channel::GuildChannel;
use crate::model::guild::Guild;
use crate::model::member::Member;
use crate::model::timestamp::Timestamp;
use crate::presence::{Presence, WirePresence};
use crate::session::SessionFacts;
use crate::store::members::{self, MemberRow};

/// Most members and presences of a large guild in the payload; the others come by op 8.
const ONLINE_MAX: usize = 1000;

/// The payload.
#[derive(Debug, Serialize)]
struct GuildCreate<'a> {
    #[serde(flatten)]
    guild: Guild,
    joined_at: Timestamp,
    large: bool,
    /// False at the beginning of a session; absent when the account has just joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<bool>,
    member_count: usize,
    voice_states: [(); 0],
    members: Vec<Member>,
    channels: Vec<GuildChannel>,
    threads: [(); 0],
    presences: Vec<WirePresence>,
    stage_instances: [(); 0],
    guild_scheduled_events: [(); 0],
    soundboard_sounds: &'a [()],
}

/// What a guild knows beside its stored state.
#[derive(Clone, Copy)]
pub(crate) struct Live<'a> {
    pub(crate) state: &'a GuildState,
    pub(crate) member_count: usize,
    pub(crate) online: &'a HashMap<Id, Presence>,
    /// Channels that the listener sees, sorted.
    pub(crate) visible: &'a [Id],
}

/// The payload for one listener in JSON. `joined` when the account has just joined.
pub(crate) async fn guild_create(
    composer: Composer<'_>,
    live: Live<'_>,
    facts: &SessionFacts,
    own: &MemberRow,
    joined: bool,
) -> Result<Vec<u8>> {
    let large = live.member_count > facts.large_threshold as usize;
    let mut channels = Vec::with_capacity(live.visible.len());
    for row in &live.state.channels {
        if live.visible.binary_search(&row.channel_id).is_ok() {
            let newest = composer.directory.newest(row.channel_id).await?;
            channels.push(GuildChannel::new(row, newest));
        }
    }
    let presences = live.online.iter().take(ONLINE_MAX);
    let presences =
        presences.map(|(user, presence)| WirePresence::new(*user, None, Some(presence)));
    let payload = GuildCreate {
        guild: live.state.wire(),
        joined_at: Timestamp(own.joined_at_ms),
        large,
        unavailable: (!joined).then_some(false),
        member_count: live.member_count,
        voice_states: [],
        members: first_members(composer, live, own, large).await?,
        channels,
        threads: [],
        presences: presences.collect(),
        stage_instances: [],
        guild_scheduled_events: [],
        soundboard_sounds: &[],
    };
    Ok(serde_json::to_vec(&payload).unwrap_or_default())
}

/// Everybody in a small guild; the account itself and who is online in a large one.
async fn first_members(
    composer: Composer<'_>,
    live: Live<'_>,
    own: &MemberRow,
    large: bool,
) -> Result<Vec<Member>> {
    let guild = live.state.id();
    let mut rows = Vec::new();
    if large {
        rows.push(own.clone());
        for user in live
            .online
            .keys()
            .filter(|user| **user != own.user_id)
            .take(ONLINE_MAX)
        {
            let row = composer.directory.member(guild, *user).await?;
            rows.extend(row.map(|row| MemberRow::clone(&row)));
        }
    } else {
        rows = members::page(composer.db, guild, None, members::PAGE_MAX).await?;
    }
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        members.push(Member::new(composer.user(row.user_id).await?, row));
    }
    Ok(members)
}
