//! Tests of the crate through its public surface, in one binary.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "test helpers fail by panicking, and tell what they saw"
)]

#[path = "../../../raft/tests/it/certificates.rs"]
mod certificates;
mod cli_commands;
mod cli_tablet;
mod cluster;
mod cluster_recover;
mod cluster_requests;
mod cluster_split;
mod cluster_tls;
mod command_codec;
mod counters;
mod cql_parser;
mod db_both;
mod db_reopen;
mod dependencies;
mod harness;
mod kill9;
mod memory_budget;
mod metrics_page;
mod remote;
mod stopping;
mod store_apply;
mod store_support;
mod store_transcripts;
mod stream_slow;
mod support;
mod upgrade;
