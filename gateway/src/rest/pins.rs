//! Pinned messages, by the old and the new routes.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Shared;
use super::access::ChannelAccess;
use super::error::{ApiError, ApiResult};
use super::extract::{Caller, Path, Query};
use crate::clock;
use crate::directory::Place;
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::message::Message;
use crate::model::permission::Permissions;
use crate::model::timestamp::Timestamp;
use crate::store::{channels, messages, pins};

/// A pin of the new list.
#[derive(Debug, Serialize)]
pub(crate) struct Pin {
    pinned_at: Timestamp,
    message: Message,
}

/// The new list.
#[derive(Debug, Serialize)]
pub(crate) struct Pins {
    items: Vec<Pin>,
    has_more: bool,
}

/// A page of the new list.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /channels/{channel}/messages/pins`
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Pins>> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::READ_MESSAGE_HISTORY)?;
    let before = query.before.as_deref().and_then(Timestamp::parse);
    let mut found = pins::list(&app.db, channel).await?;
    found.retain(|(_, at)| before.is_none_or(|before| *at < before.0));
    let limit = query.limit.unwrap_or(50).clamp(1, 50);
    let has_more = found.len() > limit;
    found.truncate(limit);
    let items = pinned(&app, caller, &access, found).await?;
    Ok(Json(Pins { items, has_more }))
}

async fn pinned(
    app: &Shared,
    caller: Caller,
    access: &ChannelAccess,
    found: Vec<(Id, i64)>,
) -> ApiResult<Vec<Pin>> {
    let mut items = Vec::with_capacity(found.len());
    for (message, at) in found {
        if let Some(row) = messages::get(&app.db, access.id, message).await? {
            let message = app.render_one(caller.id, access.guild_id(), &row).await?;
            items.push(Pin {
                pinned_at: Timestamp(at),
                message,
            });
        }
    }
    Ok(items)
}

/// `GET /channels/{channel}/pins`
pub(crate) async fn list_old(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
) -> ApiResult<Json<Vec<Message>>> {
    let access = app.channel_access(caller, channel).await?;
    access.need(Permissions::READ_MESSAGE_HISTORY)?;
    let mut found = pins::list(&app.db, channel).await?;
    found.truncate(50);
    let items = pinned(&app, caller, &access, found).await?;
    Ok(Json(items.into_iter().map(|pin| pin.message).collect()))
}

/// Pinning is a right of its own; who manages messages has it too.
fn may_pin(access: &ChannelAccess) -> ApiResult<()> {
    if access.may(Permissions::MANAGE_MESSAGES) {
        return Ok(());
    }
    access.need(Permissions::PIN_MESSAGES)
}

/// `PUT /channels/{channel}/pins/{message}`
pub(crate) async fn add(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    may_pin(&access)?;
    if app.message(channel, message).await?.pinned {
        return Ok(StatusCode::NO_CONTENT);
    }
    if pins::list(&app.db, channel).await?.len() >= pins::PINS_MAX {
        return Err(ApiError::refused(
            30003,
            "Maximum number of pins reached for the channel (250)",
        ));
    }
    let now_ms = clock::now_ms();
    let heard = access.announce(&Note::new(EventKind::MessageUpdate));
    pins::add(&app.db, (channel, message), now_ms, &heard).await?;
    moved(&app, &access, now_ms).await
}

/// `DELETE /channels/{channel}/pins/{message}`
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    may_pin(&access)?;
    if !app.message(channel, message).await?.pinned {
        return Ok(StatusCode::NO_CONTENT);
    }
    let heard = access.announce(&Note::new(EventKind::MessageUpdate));
    pins::remove(&app.db, (channel, message), &heard).await?;
    let left = pins::list(&app.db, channel).await?;
    let newest = left.first().map_or(0, |(_, at)| *at);
    moved(&app, &access, newest).await
}

/// Tells everybody when the newest pin was made.
async fn moved(app: &Shared, access: &ChannelAccess, at_ms: i64) -> ApiResult<StatusCode> {
    let mut event = json!({
        "channel_id": access.id,
        "last_pin_timestamp": Timestamp(at_ms),
    });
    if let (Some(guild), Some(fields)) = (access.guild_id(), event.as_object_mut()) {
        fields.insert("guild_id".to_owned(), json!(guild));
    }
    let heard = access.announce(&Note::with(EventKind::ChannelPinsUpdate, &event));
    match &access.place {
        Place::Guild(state, row) => {
            channels::set_last_pin(&app.db, row, at_ms, &heard).await?;
            app.directory.forget_guild(state.id());
        }
        Place::Direct(_) => {
            for topic in heard.topics() {
                app.db.publish(topic, heard.note().clone()).await?;
            }
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
