//! How old what a replica has applied may be.
//!
//! A leader says with each call how far the group has committed. What a replica has applied is as new
//! as the newest such call whose commits it has reached.
//!
//! # Invariants
//!
//! * [`Freshness::as_of`] never names a moment at which something was committed that is not applied
//!   here, but for the time that a call was on its way. A host that was stopped reads calls from its
//!   sockets that have waited there: its pulse forgets what it heard until that is over.
//! * Costs no memory: of the calls whose commits are not reached, the oldest is remembered. What
//!   comes after it counts with the next call.

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a replica knows of its own age.
#[derive(Debug, Default)]
pub(crate) struct Freshness(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Everything committed at this moment is applied.
    reached: Option<Instant>,
    /// A committed index that was not applied when a call named it, and when that came.
    awaited: Option<(u64, Instant)>,
}

impl Freshness {
    /// A leader called at `now` and said that everything up to `committed` is; here it is applied up
    /// to `applied`.
    pub(crate) fn heard(&self, committed: u64, applied: u64, now: Instant) {
        let mut state = self.0.lock();
        if applied >= committed {
            *state = State {
                reached: Some(now),
                awaited: None,
            };
            return;
        }
        match state.awaited {
            Some((index, at)) if applied >= index => {
                state.reached = Some(at);
                state.awaited = Some((committed, now));
            }
            Some(_) => {}
            None => state.awaited = Some((committed, now)),
        }
    }

    /// What was heard is not to be trusted: it may have waited somewhere.
    pub(crate) fn forget(&self) {
        *self.0.lock() = State::default();
    }

    /// A moment of which everything committed is applied, with `applied` entries; `None` if no leader
    /// was heard since the replica was opened.
    pub(crate) fn as_of(&self, applied: u64) -> Option<Instant> {
        let state = *self.0.lock();
        match state.awaited {
            Some((index, at)) if applied >= index => Some(at),
            _ => state.reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_replica_is_as_new_as_the_newest_call_whose_commits_it_has_applied() {
        let freshness = Freshness::default();
        let start = crate::clock::instant();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(freshness.as_of(100), None);
        freshness.heard(10, 10, at(1));
        assert_eq!(freshness.as_of(10), Some(at(1)));
        // Behind: it stays as new as it was, however often it hears of more.
        freshness.heard(20, 10, at(2));
        freshness.heard(30, 15, at(3));
        assert_eq!(freshness.as_of(19), Some(at(1)));
        // What the oldest of those calls named is there now; of the later one it is not known.
        assert_eq!(freshness.as_of(20), Some(at(2)));
        freshness.heard(40, 30, at(4));
        assert_eq!(freshness.as_of(30), Some(at(2)));
        assert_eq!(freshness.as_of(40), Some(at(4)));
        freshness.heard(40, 40, at(5));
        assert_eq!(freshness.as_of(40), Some(at(5)));
        freshness.forget();
        assert_eq!(freshness.as_of(40), None);
    }
}
