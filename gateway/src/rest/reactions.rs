//! Reactions to messages.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Shared;
use super::access::ChannelAccess;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Path, Query};
use crate::clock;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::message::{Emoji, ReactionEvent};
use crate::model::permission::Permissions;
use crate::model::user::User;
use crate::store::Announcement;
use crate::store::reactions::{self, ReactionRow};

/// Most different emoji on one message.
const EMOJI_MAX: usize = 20;

fn emoji(text: &str) -> ApiResult<Emoji> {
    Emoji::parse(text).ok_or_else(|| {
        let (status, code) = (StatusCode::BAD_REQUEST, 10014);
        ApiError::new(status, code, "Unknown Emoji")
    })
}

async fn news(
    app: &Shared,
    access: &ChannelAccess,
    row: &ReactionRow,
    (emoji, author): (Emoji, Option<Id>),
) -> ApiResult<Announcement> {
    let guild = access.guild_id();
    let mut member = None;
    if let (Some(guild), Some(_)) = (guild, author)
        && let Some(row) = app.directory.member(guild, row.user_id).await?
    {
        member = Some(app.wire_member(&row).await?);
    }
    let event = ReactionEvent {
        user_id: row.user_id,
        channel_id: row.channel_id,
        message_id: row.message_id,
        guild_id: guild,
        member,
        emoji,
        message_author_id: author,
        burst: false,
        kind: 0,
    };
    let kind = match author {
        Some(_) => EventKind::MessageReactionAdd,
        None => EventKind::MessageReactionRemove,
    };
    Ok(access.announce(&Note::with(kind, &event)))
}

/// `PUT .../reactions/{emoji}/@me`: a second time changes nothing and is no event.
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message, text)): Path<(Id, Id, String)>,
) -> ApiResult<StatusCode> {
    let emoji = emoji(&text)?;
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::READ_MESSAGE_HISTORY)?;
    let target = app.message(channel, message).await?;
    let key = emoji.key();
    let there = reactions::range(&app.db, channel, (message, message)).await?;
    if !there.iter().any(|row| row.emoji == key) {
        access.need(Permissions::ADD_REACTIONS)?;
        let mut different: Vec<&str> = there.iter().map(|row| row.emoji.as_str()).collect();
        different.dedup();
        if different.len() >= EMOJI_MAX {
            return Err(ApiError::refused(
                30010,
                "Maximum number of reactions reached (20)",
            ));
        }
    }
    let row = ReactionRow {
        channel_id: channel,
        message_id: message,
        emoji: key,
        user_id: caller.id,
        added_at_ms: clock::now_ms(),
    };
    let heard = news(&app, &access, &row, (emoji, Some(target.author_id))).await?;
    reactions::add(&app.db, &row, &heard).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE .../reactions/{emoji}/@me`
pub(crate) async fn remove_mine(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message, text)): Path<(Id, Id, String)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    remove_of(&app, &access, message, (&text, caller.id)).await
}

/// `DELETE .../reactions/{emoji}/{user}`
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message, text, user)): Path<(Id, Id, String, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    if user != caller.id {
        access.need(Permissions::MANAGE_MESSAGES)?;
    }
    remove_of(&app, &access, message, (&text, user)).await
}

async fn remove_of(
    app: &Shared,
    access: &ChannelAccess,
    message: Id,
    (text, user): (&str, Id),
) -> ApiResult<StatusCode> {
    let emoji = emoji(text)?;
    app.message(access.id, message).await?;
    let row = ReactionRow {
        channel_id: access.id,
        message_id: message,
        emoji: emoji.key(),
        user_id: user,
        added_at_ms: 0,
    };
    let heard = news(app, access, &row, (emoji, None)).await?;
    reactions::remove(&app.db, &row, &heard).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A page of accounts.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    after: Option<Id>,
    limit: Option<u32>,
}

/// `GET .../reactions/{emoji}`: who reacted with it.
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message, text)): Path<(Id, Id, String)>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Vec<User>>> {
    let key = emoji(&text)?.key();
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::READ_MESSAGE_HISTORY)?;
    app.message(channel, message).await?;
    let limit = query.limit.unwrap_or(25).clamp(1, 100);
    let mut found = Vec::new();
    for user in reactions::users(&app.db, (channel, message), &key, query.after, limit).await? {
        found.push(app.wire_user(user).await?);
    }
    Ok(Json(found))
}

/// `DELETE .../reactions`
pub(crate) async fn clear(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    clear_of(&app, caller, (channel, message), None).await
}

/// `DELETE .../reactions/{emoji}`
pub(crate) async fn clear_emoji(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message, text)): Path<(Id, Id, String)>,
) -> ApiResult<StatusCode> {
    let emoji = Emoji::parse(&text).ok_or(Unknown::Emoji)?;
    clear_of(&app, caller, (channel, message), Some(emoji)).await
}

async fn clear_of(
    app: &Shared,
    caller: Caller,
    (channel, message): (Id, Id),
    emoji: Option<Emoji>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::MANAGE_MESSAGES)?;
    app.message(channel, message).await?;
    let mut event = json!({"channel_id": channel, "message_id": message});
    if let (Some(guild), Some(fields)) = (access.guild_id(), event.as_object_mut()) {
        fields.insert("guild_id".to_owned(), json!(guild));
    }
    let kind = match &emoji {
        None => EventKind::MessageReactionRemoveAll,
        Some(emoji) => {
            if let Some(fields) = event.as_object_mut() {
                fields.insert("emoji".to_owned(), json!(emoji));
            }
            EventKind::MessageReactionRemoveEmoji
        }
    };
    let heard = access.announce(&Note::with(kind, &event));
    let key = emoji.as_ref().map(Emoji::key);
    reactions::clear(&app.db, (channel, message), key.as_deref(), &heard).await?;
    Ok(StatusCode::NO_CONTENT)
}
