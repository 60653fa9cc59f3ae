//! Streams: every applied write that names topics is an event for the subscribers of these topics.

pub(crate) mod cursor;
pub(crate) mod event;
pub(crate) mod subscription;
