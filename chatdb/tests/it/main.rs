//! Tests of the crate through its public surface, in one binary.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test helpers fail by panicking"
)]

mod cql_parser;
mod support;
