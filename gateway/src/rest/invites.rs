//! Invites: make, look, take, end.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use super::Shared;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form, Path};
use super::guilds::GUILDS_PER_USER_MAX;
use crate::app::App;
use crate::clock;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::invite::{Invite, InviteChannel, InviteCreate, InviteGuild, InviteUses};
use crate::model::permission::Permissions;
use crate::model::timestamp::Timestamp;
use crate::model::user::User;
use crate::store::invites::{self, InviteRow};
use crate::store::{Announcement, bans, members};

/// Letters of a code: those that are not mistaken for each other.
const LETTERS: &[u8; 57] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Length of a code: 57^10 is beyond guessing at any rate limit.
const CODE_LETTERS: usize = 10;
/// Attempts to count a use while others count theirs.
const COUNT_ATTEMPTS: usize = 16;
/// A day, in seconds.
const MAX_AGE_S: u32 = 86_400;

/// A code that nobody can guess.
pub(crate) fn fresh_code() -> String {
    let letter = |byte: u8| {
        let place = usize::from(byte) % LETTERS.len();
        char::from(*LETTERS.get(place).unwrap_or(&b'a'))
    };
    clock::random_bytes::<CODE_LETTERS>()
        .into_iter()
        .map(letter)
        .collect()
}

fn uses(row: &InviteRow) -> InviteUses {
    InviteUses {
        uses: row.uses,
        max_uses: row.max_uses,
        max_age: row.max_age_s,
        temporary: row.temporary,
        created_at: Timestamp(row.created_at_ms),
    }
}

impl App {
    async fn wire_invite(&self, row: &InviteRow) -> ApiResult<Invite> {
        let state = self
            .directory
            .guild(row.guild_id)
            .await?
            .ok_or(Unknown::Invite)?;
        let channel = state.channel(row.channel_id).ok_or(Unknown::Invite)?;
        let guild = &state.guild;
        Ok(Invite {
            kind: 0,
            code: row.code.clone(),
            guild_id: row.guild_id,
            guild: InviteGuild {
                id: guild.guild_id,
                name: guild.name.clone(),
                icon: guild.icon.clone(),
                splash: (),
                banner: (),
                description: guild.description.clone(),
                features: [],
                verification_level: guild.verification_level,
                vanity_url_code: (),
                nsfw_level: 0,
                premium_subscription_count: 0,
            },
            channel: InviteChannel {
                id: channel.channel_id,
                name: channel.name.clone(),
                kind: channel.kind,
            },
            inviter: self.inviter(row).await?,
            approximate_member_count: Some(members::count(&self.db, row.guild_id).await?),
            approximate_presence_count: Some(0),
            expires_at: row.expires_at_ms().map(Timestamp),
            uses: uses(row),
        })
    }

    async fn inviter(&self, row: &InviteRow) -> ApiResult<Option<User>> {
        let user = self.directory.user(row.inviter_id).await?;
        Ok(user.map(|user| User::from(&*user)))
    }

    async fn invite(&self, code: &str) -> ApiResult<InviteRow> {
        let row = invites::get(&self.db, code).await?;
        Ok(row.ok_or(Unknown::Invite)?)
    }

    async fn guild_invites(&self, guild: Id, channel: Option<Id>) -> ApiResult<Json<Vec<Invite>>> {
        let mut found = Vec::new();
        for code in invites::codes(&self.db, guild).await? {
            let Some(row) = invites::get(&self.db, &code).await? else {
                continue;
            };
            if channel.is_none_or(|channel| row.channel_id == channel) {
                found.push(self.wire_invite(&row).await?);
            }
        }
        Ok(Json(found))
    }
}

/// `POST /channels/{channel}/invites {max_age?, max_uses?, temporary?}`
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<Invite>> {
    let access = app.channel_access(caller, channel).await?;
    let Some(guild_id) = access.guild_id() else {
        return Err(ApiError::refused(
            50003,
            "Cannot execute action on a DM channel",
        ));
    };
    access.need(Permissions::CREATE_INSTANT_INVITE)?;
    let row = InviteRow {
        code: fresh_code(),
        guild_id,
        channel_id: channel,
        inviter_id: caller.id,
        created_at_ms: clock::now_ms(),
        max_age_s: form
            .number("max_age", 0..=7 * MAX_AGE_S)
            .unwrap_or(MAX_AGE_S),
        max_uses: form.number("max_uses", 0..=100).unwrap_or(0),
        temporary: form.get("temporary").unwrap_or(false),
        uses: 0,
    };
    form.finish()?;
    let event = InviteCreate {
        channel_id: channel,
        guild_id,
        code: row.code.clone(),
        inviter: app.inviter(&row).await?,
        kind: 0,
        expires_at: row.expires_at_ms().map(Timestamp),
        uses: uses(&row),
    };
    let note = Note::with(EventKind::InviteCreate, &event);
    invites::insert(&app.db, &row, &Announcement::guild(guild_id, &note)).await?;
    Ok(Json(app.wire_invite(&row).await?))
}

/// `GET /channels/{channel}/invites`
pub(crate) async fn of_channel(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
) -> ApiResult<Json<Vec<Invite>>> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::MANAGE_CHANNELS)?;
    let guild = access.guild_id().ok_or(Unknown::Channel)?;
    app.guild_invites(guild, Some(channel)).await
}

/// `GET /guilds/{guild}/invites`
pub(crate) async fn of_guild(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<Json<Vec<Invite>>> {
    app.guild_access(caller, guild)
        .await?
        .need(Permissions::MANAGE_GUILD)?;
    app.guild_invites(guild, None).await
}

/// `GET /invites/{code}`: without an account too.
pub(crate) async fn get(
    State(app): State<Shared>,
    Path(code): Path<String>,
) -> ApiResult<Json<Invite>> {
    let row = app.invite(&code).await?;
    Ok(Json(app.wire_invite(&row).await?))
}

/// `POST /invites/{code}`: the caller becomes a member. Once one is, it changes nothing.
pub(crate) async fn accept(
    State(app): State<Shared>,
    caller: Caller,
    Path(code): Path<String>,
) -> ApiResult<Json<Invite>> {
    if caller.bot {
        return Err(ApiError::refused(20001, "Bots cannot use this endpoint"));
    }
    let mut row = app.invite(&code).await?;
    let guild = row.guild_id;
    if bans::get(&app.db, guild, caller.id).await?.is_some() {
        let message = "The user is banned from this guild.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, 40007, message));
    }
    if app.directory.member(guild, caller.id).await?.is_none() {
        if members::guilds_of(&app.db, caller.id).await?.len() >= GUILDS_PER_USER_MAX {
            return Err(ApiError::refused(
                30001,
                "Maximum number of guilds reached (100)",
            ));
        }
        row = count_use(&app, row).await?;
        app.join(guild, caller.id, &[]).await?;
    }
    Ok(Json(app.wire_invite(&row).await?))
}

/// Counts one use, unless the last one was taken.
async fn count_use(app: &Shared, mut row: InviteRow) -> ApiResult<InviteRow> {
    for _ in 0..COUNT_ATTEMPTS {
        if row.max_uses > 0 && row.uses >= row.max_uses {
            return Err(Unknown::Invite.into());
        }
        if invites::count_use(&app.db, &row, clock::now_ms()).await? {
            row.uses += 1;
            return Ok(row);
        }
        row = app.invite(&row.code).await?;
    }
    Err(ApiError::new(
        StatusCode::CONFLICT,
        0,
        "Too many join at once: try again",
    ))
}

/// `DELETE /invites/{code}`
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path(code): Path<String>,
) -> ApiResult<Json<Invite>> {
    let row = app.invite(&code).await?;
    let guild = app.guild_access(caller, row.guild_id).await?;
    if !guild.rights.contains(Permissions::MANAGE_GUILD) && row.inviter_id != caller.id {
        let access = app.channel_access(caller, row.channel_id).await?;
        access.need(Permissions::MANAGE_CHANNELS)?;
    }
    let wire = app.wire_invite(&row).await?;
    let event = json!({
        "channel_id": row.channel_id,
        "guild_id": row.guild_id,
        "code": row.code,
    });
    let note = Note::with(EventKind::InviteDelete, &event);
    invites::delete(&app.db, &row, &Announcement::guild(row.guild_id, &note)).await?;
    Ok(Json(wire))
}
