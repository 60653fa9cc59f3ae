//! Direct channels of an account.

use axum::Json;
use axum::extract::State;
use futures::future::try_join_all;

use super::Shared;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form};
use crate::events::{EventKind, Note};
use crate::id::Id;
use crate::model::channel::DirectChannel;
use crate::store::direct::{self, DirectRow};
use crate::store::user_topic;

/// `GET /users/@me/channels`
pub(crate) async fn list(
    State(app): State<Shared>,
    caller: Caller,
) -> ApiResult<Json<Vec<DirectChannel>>> {
    let channels = direct::list(&app.db, caller.id).await?;
    let wire = channels
        .into_iter()
        .map(|(id, other)| app.wire_direct(id, other));
    Ok(Json(try_join_all(wire).await?))
}

/// `POST /users/@me/channels {recipient_id}`: the one channel of the two, made when it is missing.
pub(crate) async fn open(
    State(app): State<Shared>,
    caller: Caller,
    mut form: Form,
) -> ApiResult<Json<DirectChannel>> {
    let mut other: Option<Id> = form.get("recipient_id");
    if other.is_none() {
        let list: Vec<Id> = form.get("recipients").unwrap_or_default();
        if list.len() > 1 {
            return Err(ApiError::refused(
                50007,
                "This server has no group channels yet",
            ));
        }
        other = list.first().copied();
    }
    if other.is_none() {
        form.fault(
            "recipient_id",
            "BASE_TYPE_REQUIRED",
            "This field is required",
        );
    }
    form.finish()?;
    let other = other.ok_or(Unknown::User)?;
    app.directory.user(other).await?.ok_or(Unknown::User)?;
    if other == caller.id {
        return Err(ApiError::refused(
            50007,
            "Cannot send messages to this user",
        ));
    }
    let fresh = app.ids.next_id()?;
    let row = direct::open(&app.db, (caller.id, other), fresh).await?;
    if row.channel_id == fresh {
        tell(&app, row).await?;
    }
    Ok(Json(app.wire_direct(row.channel_id, other).await?))
}

/// Tells both that they have a channel. Not stored: READY lists it anyway.
async fn tell(app: &Shared, row: DirectRow) -> ApiResult<()> {
    for user in row.users() {
        let Some(other) = row.other(user) else {
            continue;
        };
        let channel = app.wire_direct(row.channel_id, other).await?;
        let payload = Note::with(EventKind::ChannelCreate, &channel).encode();
        app.db.publish(&user_topic(user), payload).await?;
    }
    Ok(())
}
