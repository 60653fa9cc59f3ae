//! Flux: REST, WebSocket sessions, fan-out, permissions, imports.

pub mod events;
pub mod id;
pub mod model;
pub mod permission;
pub mod ws;

mod clock;
