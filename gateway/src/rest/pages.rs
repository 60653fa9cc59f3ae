//! Pages of history, across ten-day buckets without end.
//!
//! A page begins in the newest listed bucket that can hold what is asked and walks until it is full.
//! Buckets that never held a message are not listed and so never opened; one that was emptied costs
//! one read that finds nothing.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;

use super::Shared;
use super::error::{ApiResult, FormErrors};
use super::extract::{Caller, Path, Query};
use crate::app::App;
use crate::id::Id;
use crate::model::message::Message;
use crate::model::permission::Permissions;
use crate::store::messages::{self, MessageRow, Side};

/// Which page. An id of 0 is the beginning of time.
#[derive(Debug, Deserialize)]
pub(crate) struct PageQuery {
    before: Option<u64>,
    after: Option<u64>,
    around: Option<u64>,
    limit: Option<u32>,
}

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 100;

/// `GET /channels/{channel}/messages`: newest first, whichever way it was found.
pub(crate) async fn page(
    State(app): State<Shared>,
    caller: Caller,
    Path(channel): Path<Id>,
    Query(query): Query<PageQuery>,
) -> ApiResult<Json<Vec<Message>>> {
    let access = app.channel_access(caller, channel).await?;
    if !access.may(Permissions::READ_MESSAGE_HISTORY) {
        return Ok(Json(Vec::new()));
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        let message = "int value should be between 1 and 100.";
        return Err(FormErrors::one(&["limit"], "NUMBER_TYPE_RANGE", message));
    }
    let rows = match (query.around, query.after, query.before) {
        (Some(id), _, _) => app.around(channel, lenient(id), limit).await?,
        (None, Some(id), _) => {
            let mut rows = app.walk(channel, Side::After(lenient(id)), limit).await?;
            rows.reverse();
            rows
        }
        (None, None, Some(id)) => app.walk(channel, Side::Before(lenient(id)), limit).await?,
        (None, None, None) => {
            app.walk(channel, Side::Before(lenient(u64::MAX)), limit)
                .await?
        }
    };
    Ok(Json(app.render(caller.id, access.guild_id(), &rows).await?))
}

/// Clients invent ids from times; whatever they ask for is somewhere in the order.
fn lenient(id: u64) -> Id {
    Id::from_bigint(i64::try_from(id).unwrap_or(i64::MAX))
}

impl App {
    /// Messages on one side of an id, nearest first.
    pub(crate) async fn walk(
        &self,
        channel: Id,
        side: Side,
        limit: u32,
    ) -> chatdb::Result<Vec<MessageRow>> {
        let mut buckets = messages::buckets(&self.db, channel).await?;
        match side {
            Side::Before(id) => buckets.retain(|bucket| *bucket <= id.bucket()),
            Side::After(id) => {
                buckets.retain(|bucket| *bucket >= id.bucket());
                buckets.reverse();
            }
        }
        let mut rows: Vec<MessageRow> = Vec::new();
        for bucket in buckets {
            let have = u32::try_from(rows.len()).unwrap_or(limit);
            let missing = limit.saturating_sub(have);
            if missing == 0 {
                break;
            }
            rows.append(&mut messages::slice(&self.db, channel, bucket, side, missing).await?);
        }
        rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(rows)
    }

    /// Messages around an id and the message itself, newest first.
    async fn around(&self, channel: Id, id: Id, limit: u32) -> chatdb::Result<Vec<MessageRow>> {
        let half = limit / 2;
        let mut rows = Vec::new();
        if half > 0 {
            rows = self.walk(channel, Side::After(id), half).await?;
            rows.reverse();
        }
        // The message itself and what is before it.
        let next = Id::from_bigint(id.bigint().saturating_add(1));
        let older = self.walk(channel, Side::Before(next), limit - half).await?;
        rows.extend(older);
        Ok(rows)
    }
}
