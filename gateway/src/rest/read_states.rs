//! Read states: how far an account has read.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;
use super::error::{ApiError, ApiResult};
use super::extract::{Caller, Path};
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::store::{Announcement, read_states};

/// `POST /channels/{channel}/messages/{message}/ack`
pub(crate) async fn acknowledge(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, message)): Path<(Id, Id)>,
) -> ApiResult<Json<Value>> {
    if caller.bot {
        return Err(ApiError::refused(20001, "Bots cannot use this endpoint"));
    }
    app.channel_access(caller, channel).await?;
    let event = json!({"channel_id": channel, "message_id": message});
    let note = Note::with(EventKind::MessageAck, &event);
    let heard = Announcement::users(&[caller.id], &note);
    read_states::acknowledge(&app.db, caller.id, (channel, message), &heard).await?;
    Ok(Json(json!({"token": null})))
}
