//! Guilds.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form, Path, Query};
use crate::app::App;
use crate::clock;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::channel;
use crate::model::guild::Guild;
use crate::model::permission::Permissions;
use crate::store::channels::{self, ChannelRow};
use crate::store::guilds::{self, GuildRow};
use crate::store::members::{self, MemberRow};
use crate::store::roles::{self, RoleRow};
use crate::store::{Announcement, purge};

/// Most guilds that one account is in.
pub(crate) const GUILDS_PER_USER_MAX: usize = 100;

impl App {
    /// Makes a guild with one text channel and its owner as the only member.
    pub(crate) async fn create_guild(&self, owner: Id, name: &str) -> ApiResult<Id> {
        let guild_id = self.ids.next_id()?;
        let general = ChannelRow {
            guild_id,
            channel_id: self.ids.next_id()?,
            kind: channel::TEXT,
            name: "general".to_owned(),
            ..ChannelRow::default()
        };
        let everybody = RoleRow {
            guild_id,
            role_id: guild_id,
            name: "@everyone".to_owned(),
            permissions: Permissions::DEFAULT,
            ..RoleRow::default()
        };
        let guild = GuildRow {
            guild_id,
            name: name.to_owned(),
            owner_id: owner,
            system_channel_id: Some(general.channel_id),
            locale: "en-US".to_owned(),
            ..GuildRow::default()
        };
        let silent = Announcement::silent();
        roles::put(&self.db, &everybody, &silent).await?;
        channels::insert(&self.db, &general, &silent).await?;
        guilds::insert(&self.db, &guild).await?;
        self.directory.forget_guild(guild_id);
        self.join(guild_id, owner, &[]).await?;
        Ok(guild_id)
    }

    /// Makes an account a member; nothing happens when it is one.
    pub(crate) async fn join(&self, guild: Id, user: Id, roles: &[Id]) -> ApiResult<bool> {
        let row = MemberRow {
            guild_id: guild,
            user_id: user,
            roles: roles.to_vec(),
            joined_at_ms: clock::now_ms(),
            ..MemberRow::default()
        };
        let added = self.member_event(EventKind::GuildMemberAdd, &row).await?;
        let entered = Note::with(EventKind::GuildCreate, &json!({"id": guild}));
        let account = Announcement::users(&[user], &entered);
        let joined = members::join(&self.db, &row, &added, &account).await?;
        self.directory.forget_member(guild, user);
        Ok(joined)
    }
}

/// `POST /guilds {name}`
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    mut form: Form,
) -> ApiResult<(StatusCode, Json<Guild>)> {
    let name = form.required("name", 1..=100);
    form.finish()?;
    if members::guilds_of(&app.db, caller.id).await?.len() >= GUILDS_PER_USER_MAX {
        return Err(ApiError::refused(
            30001,
            "Maximum number of guilds reached (100)",
        ));
    }
    let id = app.create_guild(caller.id, name.trim()).await?;
    let state = app.directory.guild(id).await?.ok_or(Unknown::Guild)?;
    Ok((StatusCode::CREATED, Json(state.wire())))
}

/// Whether to count members.
#[derive(Debug, Deserialize)]
pub(crate) struct CountsQuery {
    with_counts: Option<bool>,
}

/// `GET /guilds/{guild}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    Query(query): Query<CountsQuery>,
) -> ApiResult<Json<Guild>> {
    let access = app.guild_access(caller, guild).await?;
    let mut wire = access.state.wire();
    if query.with_counts == Some(true) {
        let count = members::count(&app.db, guild).await?;
        wire.approximate_member_count = Some(count);
        wire.approximate_presence_count = Some(0);
    }
    Ok(Json(wire))
}

/// `PATCH /guilds/{guild}`
pub(crate) async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<Guild>> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::MANAGE_GUILD)?;
    let mut row = access.state.guild.clone();
    if let Some(name) = form.text("name", 1..=100) {
        name.trim().clone_into(&mut row.name);
    }
    if form.has("description") {
        row.description = form.text("description", 0..=300);
    }
    if let Some(channel) = form.change("system_channel_id") {
        row.system_channel_id = channel;
    }
    let levels = [
        ("verification_level", &mut row.verification_level, 4),
        (
            "default_message_notifications",
            &mut row.default_notifications,
            1,
        ),
        ("explicit_content_filter", &mut row.content_filter, 2),
    ];
    for (key, level, highest) in levels {
        let new = form
            .number(key, 0..=highest)
            .and_then(|level| u8::try_from(level).ok());
        *level = new.unwrap_or(*level);
    }
    if let Some(locale) = form.text("preferred_locale", 2..=10) {
        row.locale = locale;
    }
    let owner: Option<Id> = form.get("owner_id");
    form.finish()?;
    if let Some(owner) = owner.filter(|owner| *owner != row.owner_id) {
        if !access.is_owner() {
            return Err(ApiError::missing_permissions());
        }
        app.directory
            .member(guild, owner)
            .await?
            .ok_or(Unknown::Member)?;
        row.owner_id = owner;
    }
    let wire = Guild::new(&row, access.state.wire_roles());
    let note = Note::with(EventKind::GuildUpdate, &wire);
    guilds::update(&app.db, &row, &Announcement::guild(guild, &note)).await?;
    app.directory.forget_guild(guild);
    Ok(Json(wire))
}

/// `DELETE /guilds/{guild}`: the owner ends it.
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    if !access.is_owner() {
        return Err(ApiError::missing_permissions());
    }
    let note = Note::with(EventKind::GuildDelete, &json!({"id": guild}));
    guilds::delete(&app.db, guild, &Announcement::guild(guild, &note)).await?;
    app.directory.forget_guild(guild);
    purge::guild(&app.db, guild).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /guilds/{guild}/emojis`: there are no custom ones yet.
pub(crate) async fn emojis(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<Json<[(); 0]>> {
    app.guild_access(caller, guild).await?;
    Ok(Json([]))
}
