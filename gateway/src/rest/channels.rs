//! Channels: of a guild, and what is common to them and direct ones.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Shared;
use super::access::GuildAccess;
use super::error::{ApiError, ApiResult, FormErrors, Unknown};
use super::extract::{Caller, Form, Path};
use crate::app::App;
use crate::clock;
use crate::directory::Place;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::channel::{self, DirectChannel, GuildChannel};
use crate::model::permission::{Overwrite, Permissions};
use crate::store::Announcement;
use crate::store::channels::{self, ChannelRow};
use crate::store::direct::DirectRow;
use crate::typing::{self, Typing};

/// Most channels of a guild.
const CHANNELS_MAX: usize = 500;
/// Longest slow mode in seconds.
const SLOWMODE_S_MAX: u32 = 21_600;

/// A channel of either sort.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Channel {
    Guild(GuildChannel),
    Direct(DirectChannel),
}

impl App {
    /// A guild channel on the wire, with its newest message.
    pub(crate) async fn wire_channel(&self, row: &ChannelRow) -> chatdb::Result<GuildChannel> {
        let newest = self.directory.newest(row.channel_id).await?;
        Ok(GuildChannel::new(row, newest))
    }

    /// A direct channel as one of its accounts sees it.
    pub(crate) async fn wire_direct(&self, id: Id, other: Id) -> chatdb::Result<DirectChannel> {
        Ok(DirectChannel {
            id,
            kind: channel::DIRECT,
            last_message_id: self.directory.newest(id).await?,
            last_pin_timestamp: None,
            flags: 0,
            recipients: [self.wire_user(other).await?],
        })
    }

    pub(crate) async fn channel_event(
        &self,
        kind: EventKind,
        row: &ChannelRow,
    ) -> ApiResult<(GuildChannel, Announcement)> {
        let wire = self.wire_channel(row).await?;
        let heard = Announcement::guild(row.guild_id, &Note::with(kind, &wire));
        Ok((wire, heard))
    }
}

/// `GET /guilds/{guild}/channels`: those that the caller sees.
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<Json<Vec<GuildChannel>>> {
    let access = app.guild_access(caller, guild).await?;
    let mut found = Vec::new();
    for row in &access.state.channels {
        let rights = access.state.rights_in(&access.member, row, clock::now_ms());
        if rights.contains(Permissions::VIEW_CHANNEL) {
            found.push(app.wire_channel(row).await?);
        }
    }
    Ok(Json(found))
}

/// `POST /guilds/{guild}/channels`
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    mut form: Form,
) -> ApiResult<(StatusCode, Json<GuildChannel>)> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::MANAGE_CHANNELS)?;
    if access.state.channels.len() >= CHANNELS_MAX {
        return Err(ApiError::refused(
            30013,
            "Maximum number of guild channels reached (500)",
        ));
    }
    let last = access.state.channels.iter().map(|row| row.position).max();
    let mut row = ChannelRow {
        guild_id: guild,
        channel_id: app.ids.next_id()?,
        position: last.map_or(0, |last| last.saturating_add(1)),
        ..ChannelRow::default()
    };
    if !form.has("name") {
        form.fault("name", "BASE_TYPE_REQUIRED", "This field is required");
    }
    fill(&mut form, &mut row, &access)?;
    let (wire, heard) = app.channel_event(EventKind::ChannelCreate, &row).await?;
    channels::insert(&app.db, &row, &heard).await?;
    app.directory.forget_guild(guild);
    Ok((StatusCode::CREATED, Json(wire)))
}

/// Takes what a form says about a channel.
fn fill(form: &mut Form, row: &mut ChannelRow, access: &GuildAccess) -> ApiResult<()> {
    if let Some(kind) = form.get::<u8>("type") {
        match kind {
            channel::TEXT | channel::VOICE | channel::CATEGORY | channel::ANNOUNCEMENT => {
                row.kind = kind;
            }
            _ => form.fault(
                "type",
                "BASE_TYPE_CHOICES",
                "Value must be one of (0, 2, 4, 5).",
            ),
        }
    }
    if let Some(name) = form.text("name", 1..=100) {
        row.name = shape_name(row.kind, &name);
    }
    if form.has("topic") {
        row.topic = form
            .text("topic", 0..=1024)
            .filter(|topic| !topic.is_empty());
    }
    if let Some(position) = form.get("position") {
        row.position = position;
    }
    if let Some(nsfw) = form.get("nsfw") {
        row.nsfw = nsfw;
    }
    if form.has("rate_limit_per_user") {
        row.slowmode_s = form
            .number("rate_limit_per_user", 0..=SLOWMODE_S_MAX)
            .unwrap_or(0);
    }
    if let Some(parent) = form.change::<Id>("parent_id") {
        let is_category = |id| {
            let parent = access.state.channel(id);
            parent.is_some_and(|parent| parent.kind == channel::CATEGORY)
        };
        if parent.is_some_and(|id| !is_category(id)) {
            form.fault(
                "parent_id",
                "CHANNEL_PARENT_INVALID",
                "Category does not exist",
            );
        }
        row.parent_id = parent;
    }
    if let Some(overwrites) = form.get::<Vec<Overwrite>>("permission_overwrites") {
        access.need(Permissions::MANAGE_ROLES)?;
        row.overwrites = overwrites;
    }
    form.finish()
}

/// Text channels have names that can be typed after a `#`.
fn shape_name(kind: u8, name: &str) -> String {
    if matches!(kind, channel::TEXT | channel::ANNOUNCEMENT) {
        let words: Vec<String> = name.split_whitespace().map(str::to_lowercase).collect();
        return words.join("-");
    }
    name.trim().to_owned()
}

/// A channel's new place.
#[derive(Debug, Deserialize)]
pub(super) struct Move {
    id: Id,
    position: Option<i32>,
}

/// `PATCH /guilds/{guild}/channels [{id, position}]`
pub(crate) async fn reorder(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    body: axum::body::Bytes,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::MANAGE_CHANNELS)?;
    let moves: Vec<Move> = read_list(&body)?;
    for step in moves {
        let row = access.state.channel(step.id).ok_or(Unknown::Channel)?;
        let Some(position) = step.position.filter(|position| *position != row.position) else {
            continue;
        };
        let row = ChannelRow {
            position,
            ..row.clone()
        };
        let (_, heard) = app.channel_event(EventKind::ChannelUpdate, &row).await?;
        channels::update(&app.db, &row, &heard).await?;
    }
    app.directory.forget_guild(guild);
    Ok(StatusCode::NO_CONTENT)
}

/// A body that is a list.
pub(crate) fn read_list<T: serde::de::DeserializeOwned>(body: &[u8]) -> ApiResult<Vec<T>> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            FormErrors::one(&[], "BASE_TYPE_INVALID", error.to_string())
        }
        _ => ApiError::not_json(&error),
    })
}

/// `GET /channels/{channel}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
) -> ApiResult<Json<Channel>> {
    let access = app.channel_access(caller, channel).await?;
    Ok(Json(match &access.place {
        Place::Guild(_, row) => Channel::Guild(app.wire_channel(row).await?),
        Place::Direct(row) => Channel::Direct(direct(&app, caller, *row).await?),
    }))
}

async fn direct(app: &Shared, caller: Caller, row: DirectRow) -> ApiResult<DirectChannel> {
    let other = row.other(caller.id).ok_or_else(ApiError::missing_access)?;
    Ok(app.wire_direct(row.channel_id, other).await?)
}

/// `PATCH /channels/{channel}`
pub(crate) async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<GuildChannel>> {
    let access = app.channel_access(caller, channel).await?;
    let Place::Guild(state, row) = &access.place else {
        return Err(ApiError::refused(
            50003,
            "Cannot execute action on a DM channel",
        ));
    };
    access.need(Permissions::MANAGE_CHANNELS)?;
    let guild = app.guild_access(caller, state.id()).await?;
    let mut row = row.clone();
    fill(&mut form, &mut row, &guild)?;
    let (wire, heard) = app.channel_event(EventKind::ChannelUpdate, &row).await?;
    if !channels::update(&app.db, &row, &heard).await? {
        return Err(Unknown::Channel.into());
    }
    app.directory.forget_guild(row.guild_id);
    Ok(Json(wire))
}

/// `DELETE /channels/{channel}`. A direct channel stays; it only leaves the caller's sight.
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
) -> ApiResult<Json<Channel>> {
    let access = app.channel_access(caller, channel).await?;
    let row = match &access.place {
        Place::Direct(row) => return Ok(Json(Channel::Direct(direct(&app, caller, *row).await?))),
        Place::Guild(_, row) => row,
    };
    access.need(Permissions::MANAGE_CHANNELS)?;
    let (wire, heard) = app.channel_event(EventKind::ChannelDelete, row).await?;
    if !channels::delete(&app.db, row, &heard).await? {
        return Err(Unknown::Channel.into());
    }
    app.directory.forget_guild(row.guild_id);
    Ok(Json(Channel::Guild(wire)))
}

/// `POST /channels/{channel}/typing`: heard for ten seconds, stored nowhere.
pub(crate) async fn start_typing(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::SEND_MESSAGES)?;
    let guild_id = access.guild_id();
    let member = match guild_id {
        Some(guild) => app.directory.member(guild, caller.id).await?,
        None => None,
    };
    let event = Typing {
        channel_id: channel,
        guild_id,
        user_id: caller.id,
        timestamp: clock::now_ms() / 1000,
        member: match member {
            Some(row) => Some(app.wire_member(&row).await?),
            None => None,
        },
    };
    typing::publish(&app.db, &access.topics(), &event).await?;
    Ok(StatusCode::NO_CONTENT)
}
