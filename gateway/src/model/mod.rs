//! Wire types: what REST answers and events carry, with every documented key.
//!
//! Typed client libraries refuse an object in which a key is missing, so each type writes all of
//! them, also those for which this server has no feature yet (`()` is `null`, `[(); 0]` is `[]`).
//! Types are built from the rows of the store and are never stored.

pub mod permission;
pub(crate) mod timestamp;
