//! Flux: REST, WebSocket sessions, fan-out, permissions, imports.

pub mod events;
pub mod ws;
