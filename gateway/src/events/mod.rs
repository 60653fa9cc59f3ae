//! Events: from what the database changed to what a socket receives.
//!
//! Reading order: [`EventKind`] (names and intents), [`Note`] (what a writer says about its write),
//! [`Event`] (what goes to sockets), `compose`, `ready`, `guild_create` (payloads that are made here).

pub(crate) mod compose;
mod event;
mod guild_create;
mod kind;
mod note;
mod ready;

pub use event::Event;
pub(crate) use guild_create::{Live, guild_create};
pub use kind::{EventKind, Intents};
pub use note::{NOTE_BYTES_MAX, Note};
pub(crate) use ready::ready;
