//! Time: the only file of this crate that reads a clock.
//!
//! Proposals are stamped by a hybrid clock: the wall clock in microseconds, but always greater than
//! every stamp that this process gave or saw before. So stamps order like cause and effect even when
//! the wall clock steps back, at the price that they run ahead of it until it has caught up.
//!
//! # Invariants
//!
//! * [`Clock::now_us`] never returns the same value twice and never goes back.
//! * A stamp seen in an applied entry is smaller than every later stamp ([`Clock::observe`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A source of wall time, in microseconds since the Unix epoch. Tests give their own.
pub trait WallClock: Send + Sync + 'static {
    /// Microseconds since the Unix epoch. May repeat or step back.
    fn wall_us(&self) -> u64;
}

struct SystemClock;

impl WallClock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the file through which time enters"
    )]
    fn wall_us(&self) -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The hybrid clock of one process. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    wall: Box<dyn WallClock>,
    last_us: AtomicU64,
}

impl Clock {
    /// A hybrid clock over `wall`.
    pub fn new(wall: impl WallClock) -> Self {
        Self(Arc::new(Inner {
            wall: Box::new(wall),
            last_us: AtomicU64::new(0),
        }))
    }

    /// A hybrid clock over the system's wall clock.
    pub fn system() -> Self {
        Self::new(SystemClock)
    }

    /// The next stamp, in microseconds since the Unix epoch: `max(wall, last + 1)`.
    pub fn now_us(&self) -> u64 {
        let wall = self.0.wall.wall_us();
        let next = |last: u64| Some(wall.max(last.saturating_add(1)));
        let last = self
            .0
            .last_us
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, next)
            .unwrap_or_else(|last| last);
        wall.max(last.saturating_add(1))
    }

    /// The wall clock alone: it may repeat or step back.
    pub fn wall_us(&self) -> u64 {
        self.0.wall.wall_us()
    }

    /// Makes every later stamp greater than `stamp_us`, which came from a log entry.
    pub fn observe(&self, stamp_us: u64) {
        self.0.last_us.fetch_max(stamp_us, Ordering::AcqRel);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("last_us", &self.0.last_us)
            .finish_non_exhaustive()
    }
}

/// The monotonic instant of leases and deadlines. The runtime's, so that paused time works.
pub(crate) fn instant() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
