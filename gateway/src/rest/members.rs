//! Members of guilds: list, search, change, remove, leave.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::access::GuildAccess;
use super::error::{ApiError, ApiResult, FormErrors, Unknown};
use super::extract::{Caller, Form, Path, Query};
use crate::app::App;
use crate::clock;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::member::{GuildMember, Member};
use crate::model::permission::Permissions;
use crate::model::timestamp::Timestamp;
use crate::permission::Rank;
use crate::store::Announcement;
use crate::store::members::{self, MemberRow};

/// Longest timeout: 28 days.
const TIMEOUT_MS_MAX: i64 = 28 * 86_400_000;

impl App {
    pub(crate) async fn wire_member(&self, row: &MemberRow) -> chatdb::Result<Member> {
        Ok(Member::new(self.wire_user(row.user_id).await?, row))
    }

    /// The news of a member to its guild.
    pub(crate) async fn member_event(
        &self,
        kind: EventKind,
        row: &MemberRow,
    ) -> ApiResult<Announcement> {
        let (guild_id, member) = (row.guild_id, self.wire_member(row).await?);
        let note = Note::with(kind, &GuildMember { guild_id, member });
        Ok(Announcement::guild(guild_id, &note))
    }

    /// Takes an account out of a guild. Both hear of it.
    pub(crate) async fn part(&self, guild: Id, user: Id) -> ApiResult<bool> {
        let event = json!({"guild_id": guild, "user": self.wire_user(user).await?});
        let removed = Announcement::guild(guild, &Note::with(EventKind::GuildMemberRemove, &event));
        let left = Note::with(EventKind::GuildDelete, &json!({"id": guild}));
        let account = Announcement::users(&[user], &left);
        let gone = members::leave(&self.db, (guild, user), &removed, &account).await?;
        self.directory.forget_member(guild, user);
        Ok(gone)
    }

    async fn target(&self, guild: Id, user: Id) -> ApiResult<MemberRow> {
        let row = self
            .directory
            .member(guild, user)
            .await?
            .ok_or(Unknown::Member)?;
        Ok((*row).clone())
    }

    async fn wire_members(&self, rows: &[MemberRow]) -> ApiResult<Json<Vec<Member>>> {
        let mut found = Vec::with_capacity(rows.len());
        for row in rows {
            found.push(self.wire_member(row).await?);
        }
        Ok(Json(found))
    }
}

/// A page of members.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    limit: Option<u32>,
    after: Option<u64>,
}

/// `GET /guilds/{guild}/members`
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Vec<Member>>> {
    app.guild_access(caller, guild).await?;
    let limit = query.limit.unwrap_or(1).clamp(1, members::PAGE_MAX);
    let after = query.after.and_then(Id::new);
    let rows = members::page(&app.db, guild, after, limit).await?;
    app.wire_members(&rows).await
}

/// Beginning of a name or nick.
#[derive(Debug, Deserialize)]
pub(crate) struct SearchQuery {
    query: String,
    limit: Option<usize>,
}

/// `GET /guilds/{guild}/members/search`. Walks the members in pages: O(members) until an index
/// of names exists.
pub(crate) async fn search(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    Query(query): Query<SearchQuery>,
) -> ApiResult<Json<Vec<Member>>> {
    app.guild_access(caller, guild).await?;
    let wanted = query.query.to_lowercase();
    let limit = query.limit.unwrap_or(1).clamp(1, 1000);
    let fits = |text: &str| text.to_lowercase().starts_with(&wanted);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let rows = members::page(&app.db, guild, after, members::PAGE_MAX).await?;
        let Some(last) = rows.last() else { break };
        after = Some(last.user_id);
        for row in &rows {
            let member = app.wire_member(row).await?;
            let names = [row.nick.as_deref(), member.user.global_name.as_deref()];
            if fits(&member.user.username) || names.into_iter().flatten().any(fits) {
                found.push(member);
            }
        }
        if found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(Json(found))
}

/// `GET /guilds/{guild}/members/{user}`
pub(crate) async fn get(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
) -> ApiResult<Json<Member>> {
    app.guild_access(caller, guild).await?;
    let row = app.target(guild, user).await?;
    Ok(Json(app.wire_member(&row).await?))
}

/// `GET /users/@me/guilds/{guild}/member`
pub(crate) async fn me(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<Json<Member>> {
    let access = app.guild_access(caller, guild).await?;
    Ok(Json(app.wire_member(&access.member).await?))
}

/// `PATCH /guilds/{guild}/members/@me {nick}`
pub(crate) async fn change_me(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
    mut form: Form,
) -> ApiResult<Json<Member>> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::CHANGE_NICKNAME)?;
    let mut row = (*access.member).clone();
    if form.has("nick") {
        row.nick = form.text("nick", 0..=32).filter(|nick| !nick.is_empty());
    }
    form.finish()?;
    save(&app, &row).await
}

async fn save(app: &Shared, row: &MemberRow) -> ApiResult<Json<Member>> {
    let heard = app.member_event(EventKind::GuildMemberUpdate, row).await?;
    let there = members::update(&app.db, row, &heard).await?;
    app.directory.forget_member(row.guild_id, row.user_id);
    if !there {
        return Err(Unknown::Member.into());
    }
    Ok(Json(app.wire_member(row).await?))
}

/// `PATCH /guilds/{guild}/members/{user} {nick?, roles?, mute?, deaf?,
/// communication_disabled_until?}`
pub(crate) async fn change(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
    mut form: Form,
) -> ApiResult<Json<Member>> {
    let access = app.guild_access(caller, guild).await?;
    let mut row = app.target(guild, user).await?;
    if user != caller.id {
        access.outrank_member(&row)?;
    }
    if form.has("nick") {
        access.need(Permissions::MANAGE_NICKNAMES)?;
        row.nick = form.text("nick", 0..=32).filter(|nick| !nick.is_empty());
    }
    if let Some(mute) = form.get("mute") {
        access.need(Permissions::MUTE_MEMBERS)?;
        row.mute = mute;
    }
    if let Some(deaf) = form.get("deaf") {
        access.need(Permissions::DEAFEN_MEMBERS)?;
        row.deaf = deaf;
    }
    if form.has("communication_disabled_until") {
        access.need(Permissions::MODERATE_MEMBERS)?;
        row.timeout_until_ms = timeout(&mut form);
    }
    let roles: Option<Vec<Id>> = form.get("roles");
    form.finish()?;
    if let Some(roles) = roles {
        replace_roles(&app, &access, &mut row, roles).await?;
    }
    save(&app, &row).await
}

fn timeout(form: &mut Form) -> Option<i64> {
    let key = "communication_disabled_until";
    let text: String = form.get(key)?;
    let until = Timestamp::parse(&text).map(|Timestamp(ms)| ms);
    match until {
        Some(ms) if ms <= clock::now_ms() + TIMEOUT_MS_MAX => Some(ms),
        Some(_) => {
            form.fault(key, "DATETIME_TYPE_MAX", "At most 28 days from now.");
            None
        }
        None => {
            form.fault(key, "DATETIME_TYPE_PARSE", "Not an ISO 8601 time.");
            None
        }
    }
}

/// Gives and takes what differs, after checking each role.
async fn replace_roles(
    app: &Shared,
    access: &GuildAccess,
    row: &mut MemberRow,
    mut roles: Vec<Id>,
) -> ApiResult<()> {
    access.need(Permissions::MANAGE_ROLES)?;
    roles.sort_unstable();
    roles.dedup();
    roles.retain(|role| *role != row.guild_id);
    let only = |these: &[Id], those: &[Id]| -> Vec<Id> {
        these
            .iter()
            .copied()
            .filter(|role| !those.contains(role))
            .collect()
    };
    let (add, remove) = (only(&roles, &row.roles), only(&row.roles, &roles));
    for role in add.iter().chain(&remove) {
        check_role(access, *role)?;
    }
    if add.is_empty() && remove.is_empty() {
        return Ok(());
    }
    // The member's other fields are written next and tell everybody of both.
    let silent = Announcement::silent();
    let member = (row.guild_id, row.user_id);
    if !members::change_roles(&app.db, member, &add, &remove, &silent).await? {
        return Err(Unknown::Member.into());
    }
    row.roles = roles;
    Ok(())
}

fn check_role(access: &GuildAccess, role: Id) -> ApiResult<()> {
    let known = access.state.role(role).ok_or(Unknown::Role)?;
    if known.managed || role == access.state.id() {
        return Err(FormErrors::one(
            &["roles"],
            "ROLE_MANAGED",
            "This role cannot be given or taken",
        ));
    }
    access.outrank(Rank::of(known.position, role))
}

/// `PUT /guilds/{guild}/members/{user}/roles/{role}`
pub(crate) async fn give_role(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user, role)): Path<(Id, Id, Id)>,
) -> ApiResult<StatusCode> {
    change_role(&app, caller, (guild, user), role, true).await
}

/// `DELETE /guilds/{guild}/members/{user}/roles/{role}`
pub(crate) async fn take_role(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user, role)): Path<(Id, Id, Id)>,
) -> ApiResult<StatusCode> {
    change_role(&app, caller, (guild, user), role, false).await
}

async fn change_role(
    app: &Shared,
    caller: Caller,
    (guild, user): (Id, Id),
    role: Id,
    give: bool,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::MANAGE_ROLES)?;
    check_role(&access, role)?;
    let mut row = app.target(guild, user).await?;
    if row.roles.contains(&role) == give {
        return Ok(StatusCode::NO_CONTENT);
    }
    row.roles.retain(|old| *old != role);
    if give {
        row.roles.push(role);
    }
    let heard = app.member_event(EventKind::GuildMemberUpdate, &row).await?;
    let changed = [role];
    let (add, remove): (&[Id], &[Id]) = if give {
        (&changed, &[])
    } else {
        (&[], &changed)
    };
    let there = members::change_roles(&app.db, (guild, user), add, remove, &heard).await?;
    app.directory.forget_member(guild, user);
    if there {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Unknown::Member.into())
    }
}

/// `DELETE /guilds/{guild}/members/{user}`
pub(crate) async fn kick(
    State(app): State<Shared>,
    caller: Caller,
    Path((guild, user)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    access.need(Permissions::KICK_MEMBERS)?;
    let row = app.target(guild, user).await?;
    access.outrank_member(&row)?;
    if !app.part(guild, user).await? {
        return Err(Unknown::Member.into());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /users/@me/guilds/{guild}`
pub(crate) async fn leave(
    State(app): State<Shared>,
    caller: Caller,
    Path(guild): Path<Id>,
) -> ApiResult<StatusCode> {
    let access = app.guild_access(caller, guild).await?;
    if access.is_owner() {
        let message = "The owner cannot leave: hand the guild over or delete it";
        return Err(ApiError::refused(50055, message));
    }
    app.part(guild, caller.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
