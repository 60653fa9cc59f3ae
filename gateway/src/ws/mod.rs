//! WebSocket server side: handshake and frames. Knows no session and no event.

pub mod frame;
pub mod handshake;
