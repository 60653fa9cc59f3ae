//! Sessions: who listens, what waits for them, and the life of a connection.
//!
//! Reading order: [`Command`] (what clients send), [`CloseCode`], [`outbox`] (what waits and what
//! can be replayed), [`Session`] (one listener), [`Sessions`] (all of them and their clock),
//! `connection` (the loop that serves a socket), [`upgrade`] (how a socket gets here).
//!
//! Cost of an idle session: see `docs/formats/gateway-protocol.md`.

mod close;
mod command;
mod connection;
pub(crate) mod fuzz;
mod link;
pub mod outbox;
mod platform;
mod rate;
mod registry;
#[expect(clippy::module_inception, reason = "the file is named after its type")]
mod session;
mod upgrade;
mod wheel;
mod writer;

pub use close::CloseCode;
pub use command::{Command, Identify, PresenceCommand, RequestMembers, Resume};
pub use link::Link;
pub use platform::{Account, MEMBERS_PER_CHUNK, MembersPlan, Platform, PlatformError};
pub use registry::{HEARTBEAT_INTERVAL, Sessions};
pub use session::{ResumeError, Session, SessionFacts, SessionId};
pub use upgrade::upgrade;
