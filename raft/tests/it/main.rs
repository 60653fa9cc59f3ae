//! Integration tests. Names are claims; nothing sleeps, everything waits for a condition.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail by panicking, print their seed"
)]

mod batching;
mod certificates;
mod cluster;
mod durability;
mod failover;
mod failure;
mod format;
mod fuzz_seeds;
mod lives;
mod network;
mod opening;
mod purge;
mod reads;
mod replicas;
mod same_seed;
mod simulation;
mod snapshots;
mod support;
mod survivor;
mod tls;
mod writers;
