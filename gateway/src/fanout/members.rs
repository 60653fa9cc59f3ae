//! Answers to requests for members (op 8), in chunks of at most a thousand.
//!
//! First the ids that match are collected, which says how many chunks there will be; then one chunk
//! after the other is made and written, so that a guild of any size passes through one chunk of
//! memory. A request for a guild that the session does not hear gets one empty chunk.

use chatdb::Result;
use serde::Serialize;
use std::sync::Arc;

use super::hub::Hub;
use crate::events::{Event, EventKind};
use crate::id::Id;
use crate::model::member::Member;
use crate::presence::WirePresence;
use crate::session::{MEMBERS_PER_CHUNK, MembersPlan, RequestMembers, Session};
use crate::store::members;

/// Most members that a search by name answers.
const QUERY_MAX: usize = 100;

#[derive(Debug, Serialize)]
struct MembersChunk<'a> {
    guild_id: Id,
    members: Vec<Member>,
    chunk_index: usize,
    chunk_count: usize,
    not_found: &'a [Id],
    #[serde(skip_serializing_if = "Option::is_none")]
    presences: Option<Vec<WirePresence>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
}

/// Which members will be sent.
pub(super) async fn plan(
    hub: &Hub,
    session: &Session,
    request: &RequestMembers,
) -> Result<MembersPlan> {
    let mut plan = MembersPlan::default();
    let Some(shared) = hub.relay(request.guild) else {
        return Ok(plan);
    };
    if !shared.lock().await.has(session) {
        return Ok(plan);
    }
    if let Some(users) = &request.users {
        for user in users {
            let found = hub.directory.member(request.guild, *user).await?.is_some();
            let list = if found {
                &mut plan.members
            } else {
                &mut plan.not_found
            };
            list.push(*user);
        }
        return Ok(plan);
    }
    let query = request.query.as_deref().unwrap_or_default().to_lowercase();
    let limit = match (request.limit, query.is_empty()) {
        (0, true) => usize::MAX,
        (limit, true) => limit,
        (limit, false) => limit.clamp(1, QUERY_MAX),
    };
    let mut after = None;
    while plan.members.len() < limit {
        let page = members::page(&hub.db, request.guild, after, members::PAGE_MAX).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.user_id);
        for row in &page {
            if plan.members.len() < limit && matches(hub, row, &query).await? {
                plan.members.push(row.user_id);
            }
        }
    }
    Ok(plan)
}

async fn matches(hub: &Hub, row: &members::MemberRow, query: &str) -> Result<bool> {
    let begins = |name: &str| name.to_lowercase().starts_with(query);
    if query.is_empty() || row.nick.as_deref().is_some_and(begins) {
        return Ok(true);
    }
    let user = hub.directory.user(row.user_id).await?;
    Ok(user.is_some_and(|user| {
        begins(&user.username) || user.global_name.as_deref().is_some_and(begins)
    }))
}

/// Pushes one chunk of a plan.
pub(super) async fn push(
    hub: &Hub,
    session: &Arc<Session>,
    (request, plan, index): (&RequestMembers, &MembersPlan, usize),
) -> Result<()> {
    let ids = plan
        .members
        .chunks(MEMBERS_PER_CHUNK)
        .nth(index)
        .unwrap_or_default();
    let mut members = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(row) = hub.directory.member(request.guild, *id).await? {
            members.push(Member::new(hub.composer().user(*id).await?, &row));
        }
    }
    let mut presences = None;
    if request.presences
        && let Some(shared) = hub.relay(request.guild)
    {
        let relay = shared.lock().await;
        let online = ids.iter().filter_map(|id| {
            let presence = relay.presence(*id)?;
            Some(WirePresence::new(*id, None, Some(presence)))
        });
        presences = Some(online.collect());
    }
    let chunk = MembersChunk {
        guild_id: request.guild,
        members,
        chunk_index: index,
        chunk_count: plan.chunk_count(),
        not_found: if index == 0 { &plan.not_found } else { &[] },
        presences,
        nonce: request.nonce.as_deref(),
    };
    let data = serde_json::to_vec(&chunk).unwrap_or_default();
    session.push(&Event::new(EventKind::GuildMembersChunk, true, &data).share());
    Ok(())
}
