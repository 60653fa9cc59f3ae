//! Streams: every applied write that names topics is an event for the subscribers of these topics.
//!
//! `hub` takes applied entries and finds subscribers, `subscriber` is one subscriber's bounded
//! queue, `receiver` its reading half with the catch-up from the raft log, `subscription` what a
//! program holds, `cursor` and `event` what it gets.

pub(crate) mod cursor;
pub(crate) mod event;
pub(crate) mod hub;
pub(crate) mod receiver;
mod subscriber;
pub(crate) mod subscription;
#[cfg(test)]
mod tests;
