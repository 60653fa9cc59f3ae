//! Flux: REST, WebSocket sessions, fan-out, permissions, imports.

pub mod app;
pub mod cli;
pub mod config;
pub mod error;
pub mod events;
#[doc(hidden)]
pub mod fuzzing;
pub mod id;
pub mod metrics;
pub mod model;
pub mod permission;
pub mod session;
pub mod ws;

mod auth;
mod clock;
mod directory;
mod fanout;
mod import;
mod presence;
mod render;
mod rest;
mod store;
mod token;
mod typing;
mod web;
mod worker;
