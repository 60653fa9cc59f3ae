//! What sessions ask of the rest of the gateway.
//!
//! A trait, so that the whole life of a connection is tested without a database.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{RequestMembers, Session};
use crate::id::Id;

/// Who a token belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub id: Id,
    /// Whether it is a bot.
    pub bot: bool,
}

/// The platform could not answer; the reason is logged where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the platform could not answer")]
pub struct PlatformError;

/// Members per chunk of an answer to op 8.
pub const MEMBERS_PER_CHUNK: usize = 1000;

/// Which members answer a request (op 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembersPlan {
    /// The members, in the order in which they are sent.
    pub members: Vec<Id>,
    /// Accounts that were asked for by id and are no members.
    pub not_found: Vec<Id>,
}

impl MembersPlan {
    /// Number of chunks: at least one, because every request is answered.
    pub fn chunk_count(&self) -> usize {
        self.members.len().div_ceil(MEMBERS_PER_CHUNK).max(1)
    }
}

/// Everything that a connection needs and does not do itself.
pub trait Platform: Send + Sync + 'static {
    /// Whose token it is; `None` if nobody's.
    fn authenticate<'a>(
        &'a self,
        token: &'a str,
    ) -> BoxFuture<'a, Result<Option<Account>, PlatformError>>;

    /// Begins to deliver the account's own events, pushes READY and returns the guilds that it lists.
    fn ready<'a>(
        &'a self,
        session: &'a Arc<Session>,
        resume_url: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Id>, PlatformError>>;

    /// Begins to deliver a guild's events and pushes its first `GUILD_CREATE`.
    fn enter_guild<'a>(
        &'a self,
        session: &'a Arc<Session>,
        guild: Id,
    ) -> BoxFuture<'a, Result<(), PlatformError>>;

    /// Which members answer a request.
    fn plan_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
    ) -> BoxFuture<'a, Result<MembersPlan, PlatformError>>;

    /// Pushes one chunk of the answer.
    fn push_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
        chunk: (&'a MembersPlan, usize),
    ) -> BoxFuture<'a, Result<(), PlatformError>>;

    /// The session's presence changed: it connected, lost its connection, or chose another one.
    fn presence_changed(&self, session: &Arc<Session>);

    /// The session is over: nothing is delivered to it any more.
    fn leave(&self, session: &Arc<Session>);
}
