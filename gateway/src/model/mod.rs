//! Wire types: what REST answers and events carry, with every documented key.
//!
//! Typed client libraries refuse an object in which a key is missing, so each type writes all of
//! them, also those for which this server has no feature yet (`()` is `null`, `[(); 0]` is `[]`).
//! Types are built from the rows of [`crate::store`] and are never stored.

pub(crate) mod channel;
pub(crate) mod guild;
pub(crate) mod invite;
pub(crate) mod member;
pub(crate) mod message;
pub mod permission;
pub(crate) mod role;
pub(crate) mod timestamp;
pub(crate) mod user;

/// `null` on the wire.
pub(crate) type Null = ();
/// `[]` on the wire.
pub(crate) type Empty = [(); 0];
