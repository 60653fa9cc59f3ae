//! Events: from what the database changed to what a socket receives.
//!
//! Reading order: [`EventKind`] (names and intents), [`Note`] (what a writer says
//! about its write), [`Event`] (what goes to sockets).

mod event;
mod kind;
mod note;

pub use event::Event;
pub use kind::{EventKind, Intents};
pub use note::{NOTE_BYTES_MAX, Note};
