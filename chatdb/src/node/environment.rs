//! Where the wall clock and randomness enter this crate.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970; 0 on a clock that stands before it.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

/// A random number that is not zero.
pub(crate) fn random() -> u128 {
    uuid::Uuid::new_v4().as_u128().max(1)
}
