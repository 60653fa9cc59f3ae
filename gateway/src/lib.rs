//! Flux: REST, WebSocket sessions, fan-out, permissions, imports.
