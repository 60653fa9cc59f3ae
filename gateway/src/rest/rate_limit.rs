//! Rate limits of REST: fixed windows per account, route and major parameter.
//!
//! Libraries count along with the headers of every answer and sleep before they would be refused; so
//! the bucket of a route never changes its name, and headers are there on success and on failure.
//!
//! # Cost
//!
//! One lock and one hash lookup per request; a window is 40 bytes and is dropped when it has passed
//! and the table is full.

use std::collections::HashMap;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use parking_lot::Mutex;
use serde_json::json;

use crate::config::{Limit, Limits};

/// Windows that are kept before passed ones are dropped.
const WINDOWS_MAX: usize = 100_000;

/// What a request is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Hash of method and route template; 0 counts all routes together.
    pub(crate) bucket: u64,
    /// Channel, guild or other first parameter of the path; 0 without.
    pub(crate) major: u64,
    /// Account, or a hash of the address of nobody in particular.
    pub(crate) subject: u64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    ends_ms: i64,
    left: u32,
}

/// What is left after a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    allowed: bool,
    global: bool,
    limit: u32,
    left: u32,
    ends_ms: i64,
    now_ms: i64,
    bucket: u64,
}

/// All windows of this process.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    limits: Option<Limits>,
    windows: Mutex<HashMap<Key, Window>>,
}

impl RateLimiter {
    pub(crate) fn new(limits: Option<Limits>) -> Self {
        Self {
            limits,
            windows: Mutex::default(),
        }
    }

    /// Windows in memory.
    pub(crate) fn len(&self) -> usize {
        self.windows.lock().len()
    }

    /// Counts a request of `route` (template without version prefix).
    pub(crate) fn count(&self, method: &Method, route: &str, key: Key, now_ms: i64) -> Verdict {
        let Some(limits) = &self.limits else {
            let free = Limit::new(1_000_000, 1000);
            return verdict(
                free,
                Window {
                    ends_ms: now_ms + 1000,
                    left: free.requests - 1,
                },
                key,
                now_ms,
            );
        };
        let all = Key {
            bucket: 0,
            major: 0,
            subject: key.subject,
        };
        let mut windows = self.windows.lock();
        if windows.len() >= WINDOWS_MAX {
            windows.retain(|_, window| window.ends_ms > now_ms);
        }
        let global = take(&mut windows, all, limits.global, now_ms);
        if !global.allowed {
            return Verdict {
                global: true,
                bucket: key.bucket,
                ..global
            };
        }
        take(&mut windows, key, class(limits, method, route), now_ms)
    }
}

fn take(windows: &mut HashMap<Key, Window>, key: Key, limit: Limit, now_ms: i64) -> Verdict {
    let length_ms = i64::try_from(limit.window.as_millis()).unwrap_or(i64::MAX);
    let fresh = Window {
        ends_ms: now_ms.saturating_add(length_ms),
        left: limit.requests,
    };
    let window = windows.entry(key).or_insert(fresh);
    if window.ends_ms <= now_ms {
        *window = fresh;
    }
    let before = *window;
    window.left = window.left.saturating_sub(1);
    let mut verdict = verdict(limit, *window, key, now_ms);
    verdict.allowed = before.left > 0;
    verdict
}

fn verdict(limit: Limit, window: Window, key: Key, now_ms: i64) -> Verdict {
    Verdict {
        allowed: true,
        global: false,
        limit: limit.requests,
        left: window.left,
        ends_ms: window.ends_ms,
        now_ms,
        bucket: key.bucket,
    }
}

/// Which limit a route has.
fn class(limits: &Limits, method: &Method, route: &str) -> Limit {
    match route {
        "/channels/{channel}/messages" if method == Method::POST => limits.send,
        "/channels/{channel}/messages" => limits.history,
        "/channels/{channel}/messages/{message}" if method == Method::DELETE => limits.delete,
        "/auth/register" | "/auth/login" => limits.auth,
        route if route.contains("/reactions") && method != Method::GET => limits.react,
        _ => limits.other,
    }
}

/// FNV-1a: a name for a bucket that is the same after every start.
pub(crate) fn bucket(method: &Method, route: &str) -> u64 {
    let bytes = method.as_str().bytes().chain(route.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl Verdict {
    /// Whether the request may go on.
    pub(crate) fn is_allowed(&self) -> bool {
        self.allowed
    }

    fn wait_ms(&self) -> i64 {
        (self.ends_ms - self.now_ms).max(1)
    }

    /// Adds the headers that every answer carries.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let scope = if self.global { "global" } else { "user" };
        let values = [
            ("x-ratelimit-limit", self.limit.to_string()),
            ("x-ratelimit-remaining", self.left.to_string()),
            ("x-ratelimit-reset", seconds(self.ends_ms)),
            ("x-ratelimit-reset-after", seconds(self.wait_ms())),
            ("x-ratelimit-bucket", format!("{:016x}", self.bucket)),
            ("x-ratelimit-scope", scope.to_owned()),
        ];
        for (name, value) in values {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }

    /// The answer to a request too many.
    pub(crate) fn refusal(&self) -> Response {
        let wait_ms = self.wait_ms();
        let milliseconds = u32::try_from(wait_ms).unwrap_or(u32::MAX);
        let body = json!({
            "message": "You are being rate limited.",
            "retry_after": f64::from(milliseconds) / 1000.0,
            "global": self.global,
            "code": 0,
        });
        let mut response = (StatusCode::TOO_MANY_REQUESTS, body.to_string()).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        headers.insert(header::VIA, HeaderValue::from_static("1.1 flux"));
        headers.insert(
            header::RETRY_AFTER,
            HeaderValue::from((wait_ms + 999) / 1000),
        );
        if self.global {
            let name = HeaderName::from_static("x-ratelimit-global");
            headers.insert(name, HeaderValue::from_static("true"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_too_many_is_refused_until_the_window_ends() {
        let limiter = RateLimiter::new(Some(Limits::default()));
        let route = "/channels/{channel}/messages";
        let key = Key {
            bucket: bucket(&Method::POST, route),
            major: 1,
            subject: 2,
        };
        let count = |key, now_ms| limiter.count(&Method::POST, route, key, now_ms);
        for left in (0..5).rev() {
            let verdict = count(key, 1000);
            assert!(verdict.is_allowed());
            assert_eq!(verdict.left, left);
        }
        let refused = count(key, 1500);
        assert!(!refused.is_allowed());
        let response = refused.refusal();
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        assert_eq!(response.headers()[header::VIA], "1.1 flux");
        assert!(count(Key { major: 9, ..key }, 1500).is_allowed());
        assert!(count(key, 6000).is_allowed());
    }
}
