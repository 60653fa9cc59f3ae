//! Bans of guilds.

use axum::Json;
use axum::extract::State;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::error::{ApiResult, Unknown};
use super::extract::{Caller, Form, Path, Query};
use crate::app::App;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::member::Ban;
use crate::model::permission::Permissions;
use crate::store::Announcement;
use crate::store::bans::{self, BanRow};

impl App {
    async fn wire_ban(&self, row: BanRow) -> ApiResult<Ban> {
        let user = self.wire_user(row.user_id).await?;
        Ok(Ban {
            reason: row.reason,
            user,
        })
    }

    async fn ban_news(&self, kind: EventKind, guild: Id, user: Id) -> ApiResult<Announcement> {
        let event = json!({"guild_id": guild, "user": self.wire_user(user).await?});
        Ok(Announcement::guild(guild, &Note::with(kind, &event)))
    }
}

/// A page of bans.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    after: Option<Id>,
}

/// `GET /guilds/{guild}/bans`
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Vec<Ban>>> {
    app.guild_access(caller, guild)
        .await?
        .need(Permissions::BAN_MEMBERS)?;
    let limit = query.limit.unwrap_or(1000).clamp(1, 1000);
    let mut found = Vec::new();
    for row in bans::page(&app.db, guild, query.after, limit).await? {
        found.push(app.wire_ban(row).await?);
    }
    Ok(Json(found))
}

/// `GET /guilds/{guild}/bans/{user}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
) -> ApiResult<Json<Ban>> {
    app.guild_access(caller, guild)
        .await?
        .need(Permissions::BAN_MEMBERS)?;
    let row = bans::get(&app.db, guild, user).await?.ok_or(Unknown::Ban)?;
    Ok(Json(app.wire_ban(row).await?))
}

/// `PUT /guilds/{guild}/bans/{user}`: removes the member and keeps the account out.
pub(crate) async fn put(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
    headers: HeaderMap,
    mut form: Form,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::BAN_MEMBERS)?;
    app.directory.user(user).await?.ok_or(Unknown::User)?;
    if let Some(member) = app.directory.member(guild, user).await? {
        access.outrank_member(&member)?;
    }
    let header = headers
        .get("x-audit-log-reason")
        .and_then(|reason| reason.to_str().ok());
    let reason = form.text("reason", 0..=512);
    form.finish()?;
    let row = BanRow {
        guild_id: guild,
        user_id: user,
        reason: reason.or(header.map(ToOwned::to_owned)),
    };
    let heard = app.ban_news(EventKind::GuildBanAdd, guild, user).await?;
    bans::put(&app.db, &row, &heard).await?;
    app.part(guild, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /guilds/{guild}/bans/{user}`
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    app.guild_access(caller, guild)
        .await?
        .need(Permissions::BAN_MEMBERS)?;
    let heard = app.ban_news(EventKind::GuildBanRemove, guild, user).await?;
    if !bans::delete(&app.db, guild, user, &heard).await? {
        return Err(Unknown::Ban.into());
    }
    Ok(StatusCode::NO_CONTENT)
}
