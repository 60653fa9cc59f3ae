//! Settings of a running server, with their defaults in one place.

use std::time::Duration;

/// How a server behaves. Where it listens and where its data is are arguments of the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the instance, shown on the first page. Default: `Flux`.
    pub instance_name: String,
    /// Whether anybody may make an account. Default: true.
    pub registration_open: bool,
    /// Number of this process among those that share a database, 0 to 1023, if it must be this one.
    /// Default: the lowest that is free.
    pub worker: Option<u16>,
    /// Longest request body in bytes. Default: 1 MiB.
    pub body_bytes_max: usize,
    /// Rate limits of REST; `None` counts nothing and limits nothing.
    pub limits: Option<Limits>,
    /// Passwords that are hashed at once; each takes 19 MiB. Default: 2.
    pub password_hashes_max: usize,
}

/// One rate limit: so many requests per window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests in one window.
    pub requests: u32,
    /// Length of the window.
    pub window: Duration,
}

impl Limit {
    /// `requests` per `window_ms` milliseconds.
    pub const fn new(requests: u32, window_ms: u64) -> Self {
        Self {
            requests,
            window: Duration::from_millis(window_ms),
        }
    }
}

/// Rate limits per account and major parameter (channel or guild).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one account over all routes. Default: 50 per second.
    pub global: Limit,
    /// Writing messages to one channel. Default: 5 per 5 s.
    pub send: Limit,
    /// Deleting messages of one channel. Default: 5 per second.
    pub delete: Limit,
    /// Adding and removing reactions in one channel. Default: 4 per second.
    pub react: Limit,
    /// Reading pages of one channel. Default: 25 per 5 s, so that scrolling back never waits.
    pub history: Limit,
    /// Registrations and logins from one address. Default: 10 per 10 s.
    pub auth: Limit,
    /// Everything else, per route. Default: 20 per second.
    pub other: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            global: Limit::new(50, 1000),
            send: Limit::new(5, 5000),
            delete: Limit::new(5, 1000),
            react: Limit::new(4, 1000),
            history: Limit::new(25, 5000),
            auth: Limit::new(10, 10_000),
            other: Limit::new(20, 1000),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            instance_name: "Flux".to_owned(),
            registration_open: true,
            worker: None,
            body_bytes_max: 1 << 20,
            limits: Some(Limits::default()),
            password_hashes_max: 2,
        }
    }
}
