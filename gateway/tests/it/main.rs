//! Integration tests.

mod permission_matrix;
mod session_harness;
mod session_life;
mod session_outbox;
mod ws_decoder;
