//! What only the administrator of the instance may do, over the wire and on a stopped directory.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use http::StatusCode;
use serde::Serialize;

use super::Shared;
use super::accounts::check_name;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form};
use crate::app::App;
use crate::error::{Error, ErrorKind};
use crate::id::Id;
use crate::import::local::LocalSink;
use crate::model::permission::Permissions;
use crate::model::user::User;
use crate::store::Announcement;
use crate::store::roles::{self, RoleRow};
use crate::store::users::UserRow;

/// A new bot and the token that it logs in with, which is shown once.
#[derive(Debug, Serialize)]
pub(crate) struct NewBot {
    pub(crate) token: String,
    pub(crate) user: User,
}

/// Fails unless the caller administers the instance.
pub(crate) async fn check(app: &App, caller: Caller) -> ApiResult<()> {
    if app.auth.administrator().await? == Some(caller.id) {
        Ok(())
    } else {
        Err(ApiError::missing_permissions())
    }
}

/// `POST /admin/bots {username, guild_id?, permissions?}`
pub(crate) async fn bots(
    State(app): State<Shared>,
    caller: Caller,
    mut form: Form,
) -> ApiResult<(StatusCode, Json<NewBot>)> {
    check(&app, caller).await?;
    let name = check_name(&mut form);
    let guild: Option<Id> = form.get("guild_id");
    let permissions: Option<Permissions> = form.get("permissions");
    form.finish()?;
    let bot = create_bot(&app, &name, guild, permissions).await?;
    Ok((StatusCode::CREATED, Json(bot)))
}

/// `POST /admin/import`: one step of an import that runs elsewhere; see [`crate::import`].
pub(crate) async fn import(
    State(app): State<Shared>,
    caller: Caller,
    request: Request,
) -> ApiResult<Json<serde_json::Value>> {
    check(&app, caller).await?;
    let bytes_max = app.config.body_bytes_max;
    let body = to_bytes(request.into_body(), bytes_max).await;
    let body = body.map_err(|_| ApiError::too_large(bytes_max))?;
    let step = serde_json::from_slice(&body).map_err(|error| ApiError::not_json(&error))?;
    let answer = LocalSink::new(app).answer(step).await.map_err(|error| {
        match error.downcast::<chatdb::Error>() {
            Ok(refused) => ApiError::from(refused),
            Err(other) => Error::new(ErrorKind::Bug, format!("import: {other:#}")).into(),
        }
    })?;
    Ok(Json(answer))
}

/// Makes a bot account, lets it into a guild, and makes its token. With permissions the bot gets a
/// role of its own that grants them.
pub(crate) async fn create_bot(
    app: &App,
    name: &str,
    guild: Option<Id>,
    permissions: Option<Permissions>,
) -> ApiResult<NewBot> {
    if let Some(guild) = guild {
        app.directory.guild(guild).await?.ok_or(Unknown::Guild)?;
    }
    let row = UserRow {
        user_id: app.ids.next_id()?,
        username: name.to_owned(),
        bot: true,
        owner_id: app.auth.administrator().await?,
        ..UserRow::default()
    };
    app.create_account(&row).await?;
    if let Some(guild) = guild {
        let mut given = Vec::new();
        if let Some(permissions) = permissions {
            given.push(bot_role(app, guild, name, permissions).await?);
        }
        app.join(guild, row.user_id, &given).await?;
    }
    let token = app
        .auth
        .issue(row.user_id, app.ids.next_id()?, "bot")
        .await?;
    Ok(NewBot {
        token,
        user: User::from(&row),
    })
}

async fn bot_role(app: &App, guild: Id, name: &str, permissions: Permissions) -> ApiResult<Id> {
    let row = RoleRow {
        guild_id: guild,
        role_id: app.ids.next_id()?,
        name: name.to_owned(),
        position: 1,
        permissions: permissions & Permissions::ALL,
        managed: true,
        ..RoleRow::default()
    };
    roles::put(&app.db, &row, &Announcement::silent()).await?;
    app.directory.forget_guild(guild);
    Ok(row.role_id)
}
