//! Permission overwrites of a channel.

use axum::extract::State;
use http::StatusCode;

use super::Shared;
use super::access::ChannelAccess;
use super::error::{ApiError, ApiResult, Unknown};
use super::extract::{Caller, Form, Path};
use crate::directory::Place;
use crate::events::EventKind;
use crate::id::Id;
use crate::model::permission::{Overwrite, Permissions};
use crate::store::channels::{self, ChannelRow};

fn row(access: &ChannelAccess) -> ApiResult<ChannelRow> {
    match &access.place {
        Place::Guild(_, row) => Ok(row.clone()),
        Place::Direct(_) => Err(ApiError::refused(
            50003,
            "Cannot execute action on a DM channel",
        )),
    }
}

async fn save(app: &Shared, row: &ChannelRow) -> ApiResult<StatusCode> {
    let (_, heard) = app.channel_event(EventKind::ChannelUpdate, row).await?;
    if !channels::update(&app.db, row, &heard).await? {
        return Err(Unknown::Channel.into());
    }
    app.directory.forget_guild(row.guild_id);
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /channels/{channel}/permissions/{target} {type, allow?, deny?}`
pub(crate) async fn put(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, target)): Path<(Id, Id)>,
    mut form: Form,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    let mut row = row(&access)?;
    access.need(Permissions::MANAGE_ROLES)?;
    let kind: Option<u8> = form.get("type");
    let allow: Permissions = form.get("allow").unwrap_or_default();
    let deny: Permissions = form.get("deny").unwrap_or_default();
    if kind.is_none_or(|kind| kind > 1) {
        form.fault("type", "BASE_TYPE_CHOICES", "Value must be one of (0, 1).");
    }
    form.finish()?;
    // Nobody gives away what they do not have themselves.
    access.need(allow)?;
    row.overwrites.retain(|overwrite| overwrite.id != target);
    row.overwrites.push(Overwrite {
        id: target,
        kind: kind.unwrap_or(0),
        allow,
        deny,
    });
    save(&app, &row).await
}

/// `DELETE /channels/{channel}/permissions/{target}`
pub(crate) async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    Path((channel, target)): Path<(Id, Id)>,
) -> ApiResult<StatusCode> {
    let access = app.channel_access(caller, channel).await?;
    let mut row = row(&access)?;
    access.need(Permissions::MANAGE_ROLES)?;
    let before = row.overwrites.len();
    row.overwrites.retain(|overwrite| overwrite.id != target);
    if row.overwrites.len() == before {
        return Err(Unknown::Overwrite.into());
    }
    save(&app, &row).await
}
