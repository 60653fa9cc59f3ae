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

    /// Pushes the chunks that answer a request for members; always at least one.
    fn request_members<'a>(
        &'a self,
        session: &'a Arc<Session>,
        request: &'a RequestMembers,
    ) -> BoxFuture<'a, ()>;

    /// The session's presence changed: it connected, lost its connection, or chose another one.
    fn presence_changed(&self, session: &Arc<Session>);

    /// The session is over: nothing is delivered to it any more.
    fn leave(&self, session: &Arc<Session>);
}
