//! Accounts: one's own and those of others.

use axum::Json;
use axum::extract::State;
use futures::future::try_join_all;
use serde::Deserialize;

use super::Shared;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form, Path, Query};
use crate::clock;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::guild::OwnGuild;
use crate::model::user::{Application, CurrentUser, User};
use crate::store::{Announcement, members, users};

/// `GET /users/@me`
pub(crate) async fn me(State(app): State<Shared>, caller: Caller) -> ApiResult<Json<CurrentUser>> {
    let row = app.directory.user(caller.id).await?.ok_or(Unknown::User)?;
    Ok(Json(CurrentUser::from(&*row)))
}

/// `PATCH /users/@me {global_name?, username?}`: what others see. The name to log in with stays.
pub(crate) async fn change_me(
    State(app): State<Shared>,
    caller: Caller,
    mut form: Form,
) -> ApiResult<Json<CurrentUser>> {
    let mut row = (*app.directory.user(caller.id).await?.ok_or(Unknown::User)?).clone();
    if form.has("global_name") {
        row.global_name = form.text("global_name", 1..=32);
    }
    if let Some(name) = form.text("username", 2..=32) {
        row.global_name = Some(name);
    }
    form.finish()?;
    let current = CurrentUser::from(&row);
    let note = Note::with(EventKind::UserUpdate, &current);
    let heard = Announcement::users(&[caller.id], &note);
    users::update(&app.db, &row, &heard).await?;
    app.directory.forget_user(caller.id);
    Ok(Json(current))
}

/// `GET /users/{user}`
pub(crate) async fn get(
    State(app): State<Shared>,
    _: Caller,
    Path(user): Path<Id>,
) -> ApiResult<Json<User>> {
    let row = app.directory.user(user).await?.ok_or(Unknown::User)?;
    Ok(Json(User::from(&*row)))
}

/// Which of one's guilds to list.
#[derive(Debug, Deserialize)]
pub(crate) struct GuildsQuery {
    before: Option<Id>,
    after: Option<Id>,
    limit: Option<usize>,
}

/// `GET /users/@me/guilds`
pub(crate) async fn my_guilds(
    State(app): State<Shared>,
    caller: Caller,
    Query(query): Query<GuildsQuery>,
) -> ApiResult<Json<Vec<OwnGuild>>> {
    let ids = members::guilds_of(&app.db, caller.id).await?;
    let wanted = |id: &Id| {
        query.before.is_none_or(|before| *id < before)
            && query.after.is_none_or(|after| *id > after)
    };
    let mut ids: Vec<Id> = ids.into_iter().filter(wanted).collect();
    let limit = query.limit.unwrap_or(200).clamp(1, 200);
    if query.before.is_some() && query.after.is_none() {
        ids.drain(..ids.len().saturating_sub(limit));
    }
    ids.truncate(limit);
    let guilds = try_join_all(ids.into_iter().map(|id| own_guild(&app, caller, id))).await?;
    Ok(Json(guilds.into_iter().flatten().collect()))
}

/// `None` when the guild is gone; the list then forgets it.
async fn own_guild(app: &Shared, caller: Caller, id: Id) -> ApiResult<Option<OwnGuild>> {
    let member = app.directory.member(id, caller.id).await?;
    let (Some(state), Some(member)) = (app.directory.guild(id).await?, member) else {
        members::forget_guild(&app.db, caller.id, id).await?;
        return Ok(None);
    };
    Ok(Some(OwnGuild {
        id,
        name: state.guild.name.clone(),
        icon: state.guild.icon.clone(),
        banner: (),
        owner: state.guild.owner_id == caller.id,
        permissions: state.rights(&member, clock::now_ms()),
        features: [],
    }))
}

/// `GET /applications/@me` and `GET /oauth2/applications/@me`
pub(crate) async fn application(
    State(app): State<Shared>,
    caller: Caller,
) -> ApiResult<Json<Application>> {
    let row = app.directory.user(caller.id).await?.ok_or(Unknown::User)?;
    if !row.bot {
        return Err(ApiError::refused(20002, "Only bots can use this endpoint"));
    }
    let guilds = members::guilds_of(&app.db, caller.id).await?;
    Ok(Json(Application {
        id: caller.id,
        name: row.username.clone(),
        icon: row.avatar.clone(),
        description: "",
        bot_public: true,
        bot_require_code_grant: false,
        verify_key: "0000000000000000000000000000000000000000000000000000000000000000",
        // Presence, members and message content: privileged intents are granted here.
        flags: 1 << 12 | 1 << 14 | 1 << 18,
        owner: app.wire_user(row.owner_id.unwrap_or(caller.id)).await?,
        bot: User::from(&*row),
        team: (),
        summary: "",
        terms_of_service_url: (),
        privacy_policy_url: (),
        interactions_endpoint_url: (),
        approximate_guild_count: guilds.len(),
    }))
}
