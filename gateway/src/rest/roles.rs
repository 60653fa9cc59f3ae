//! Roles of guilds.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::access::GuildAccess;
use super::channels::read_list;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form, Path};
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::permission::Permissions;
use crate::model::role::Role;
use crate::permission::Rank;
use crate::store::Announcement;
use crate::store::roles::{self, RoleRow};

/// Most roles of a guild.
const ROLES_MAX: usize = 250;

fn news(kind: EventKind, row: &RoleRow) -> Announcement {
    let event = json!({"guild_id": row.guild_id, "role": Role::from(row)});
    Announcement::guild(row.guild_id, &Note::with(kind, &event))
}

async fn save(app: &Shared, kind: EventKind, row: &RoleRow) -> ApiResult<Role> {
    roles::put(&app.db, row, &news(kind, row)).await?;
    app.directory.forget_guild(row.guild_id);
    Ok(Role::from(row))
}

/// `GET /guilds/{guild}/roles`
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<Json<Vec<Role>>> {
    Ok(Json(
        app.guild_access(caller, guild).await?.state.wire_roles(),
    ))
}

/// `GET /guilds/{guild}/roles/{role}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, role)): Path<(Id, Id)>,
) -> ApiResult<Json<Role>> {
    let access = app.guild_access(caller, guild).await?;
    Ok(Json(Role::from(
        access.state.role(role).ok_or(Unknown::Role)?,
    )))
}

/// `POST /guilds/{guild}/roles`
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<Role>> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::MANAGE_ROLES)?;
    if access.state.roles.len() >= ROLES_MAX {
        return Err(ApiError::refused(
            30005,
            "Maximum number of guild roles reached (250)",
        ));
    }
    let everybody = access.state.role(guild).map(|role| role.permissions);
    let mut row = RoleRow {
        guild_id: guild,
        role_id: app.ids.next_id()?,
        name: "new role".to_owned(),
        position: 1,
        permissions: everybody.unwrap_or(Permissions::DEFAULT),
        ..RoleRow::default()
    };
    fill(&mut form, &mut row, &access)?;
    Ok(Json(save(&app, EventKind::GuildRoleCreate, &row).await?))
}

/// Takes what a form says about a role.
fn fill(form: &mut Form, row: &mut RoleRow, access: &GuildAccess) -> ApiResult<()> {
    if let Some(name) = form.text("name", 1..=100) {
        row.name = name;
    }
    if let Some(permissions) = form.get::<Permissions>("permissions") {
        // Nobody gives away what they do not have themselves.
        let changed = Permissions(permissions.0 ^ row.permissions.0);
        if !access.is_owner() {
            access.need(changed & permissions)?;
        }
        row.permissions = permissions & Permissions::ALL;
    }
    let color = form.number("color", 0..=0x00ff_ffff);
    let colors: Option<serde_json::Value> = form.get("colors");
    let primary = colors.and_then(|colors| colors.get("primary_color")?.as_u64());
    let primary = primary.and_then(|color| u32::try_from(color).ok());
    row.color = color.or(primary).unwrap_or(row.color).min(0x00ff_ffff);
    row.hoist = form.get("hoist").unwrap_or(row.hoist);
    row.mentionable = form.get("mentionable").unwrap_or(row.mentionable);
    if form.has("unicode_emoji") {
        row.unicode_emoji = form.text("unicode_emoji", 0..=32);
    }
    form.finish()
}

/// A role that the caller stands above.
fn editable(access: &GuildAccess, role: Id) -> ApiResult<RoleRow> {
    access.need(Permissions::MANAGE_ROLES)?;
    let row = access.state.role(role).ok_or(Unknown::Role)?;
    if role != access.state.id() {
        access.outrank(Rank::of(row.position, role))?;
    }
    Ok(row.clone())
}

/// `PATCH /guilds/{guild}/roles/{role}`
pub(crate) async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, role)): Path<(Id, Id)>,
    mut form: Form,
) -> ApiResult<Json<Role>> {
    let access = app.guild_access(caller, guild).await?;
    let mut row = editable(&access, role)?;
    fill(&mut form, &mut row, &access)?;
    Ok(Json(save(&app, EventKind::GuildRoleUpdate, &row).await?))
}

/// A role's new place.
#[derive(Debug, Deserialize)]
pub(super) struct Move {
    id: Id,
    position: Option<i32>,
}

/// `PATCH /guilds/{guild}/roles [{id, position}]`
pub(crate) async fn reorder(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    body: axum::body::Bytes,
) -> ApiResult<Json<Vec<Role>>> {
    let access = app.guild_access(caller, guild).await?;
    let moves: Vec<Move> = read_list(&body)?;
    for step in moves {
        let row = editable(&access, step.id)?;
        let Some(position) = step.position.filter(|position| *position != row.position) else {
            continue;
        };
        access.outrank(Rank::of(position, step.id))?;
        save(
            &app,
            EventKind::GuildRoleUpdate,
            &RoleRow { position, ..row },
        )
        .await?;
    }
    let state = app.directory.guild(guild).await?.ok_or(Unknown::Guild)?;
    Ok(Json(state.wire_roles()))
}

/// `DELETE /guilds/{guild}/roles/{role}`. Members keep its id, which then grants nothing.
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, role)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    let row = editable(&access, role)?;
    if role == guild || row.managed {
        return Err(ApiError::refused(
            50028,
            "Invalid role: it cannot be deleted",
        ));
    }
    let note = Note::with(
        EventKind::GuildRoleDelete,
        &json!({"guild_id": guild, "role_id": role}),
    );
    roles::delete(&app.db, guild, role, &Announcement::guild(guild, &note)).await?;
    app.directory.forget_guild(guild);
    Ok(StatusCode::NO_CONTENT)
}
