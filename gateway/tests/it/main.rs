//! Integration tests.

mod session_harness;
mod session_life;
mod session_outbox;
mod ws_decoder;
