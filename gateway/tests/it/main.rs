//! Integration tests.

mod auth_tokens;
mod fanout_live;
mod fanout_support;
mod import_history;
mod metrics_page;
mod permission_matrix;
mod rest_bad_input;
mod rest_cli;
mod rest_guilds;
mod rest_messages;
mod rest_support;
mod rest_typed;
mod session_harness;
mod session_life;
mod session_outbox;
mod ws_decoder;
