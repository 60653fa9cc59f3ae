//! Integration tests. Names are claims; nothing sleeps, time is what the test says it is.
//!
//! The clients are `str0m`: an implementation that shares no line with ours, neither for ICE, DTLS, SRTP nor SDP.

#![expect(clippy::panic, reason = "tests fail by panicking")]

mod forwarding;
mod fuzz_seeds;
mod limits;
mod loopback;
mod loss;
mod refusals;
mod simulcast;
mod speakers;
mod support;
