//! Tests of the crate through its public surface, in one binary.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test helpers fail by panicking"
)]

mod command_codec;
mod cql_parser;
mod store_apply;
mod store_support;
mod store_transcripts;
mod support;
