//! Imports of real history: IRC logs and DiscordChatExporter files.
//!
//! A file is read as a stream on a thread of its own ([`source`], [`irc`], [`discord`]); every message gets its id
//! ([`mint`]) and author ([`run`]) and goes, in lumps, to a [`sink`]: the database of this process, or a running
//! server that does the same on its side.
//!
//! # Invariants
//!
//! * An id does not depend on when or how often an import runs, so a message is never doubled.
//! * Progress is noted after the messages it speaks of are durable; an interruption repeats at most one lump.
//! * What is left out is counted and told, and the exit status says that something was.

pub(crate) mod command;
mod discord;
pub(crate) mod fuzz;
mod heir;
mod irc;
pub(crate) mod local;
mod mint;
mod progress;
pub(crate) mod report;
mod run;
pub(crate) mod sink;
mod source;
