//! The pulse of a host: one task that times the heartbeats and the candidacies of all its groups.
//!
//! openraft can do both by itself, with a ticking task per group. We leave its tick off, for three
//! reasons (`docs/decisions/0010-time-of-elections.md` has the figures):
//!
//! * It adds a random election timeout to the lease. A candidacy right after the lease is as safe,
//!   because nobody can win one earlier, and a group is without a leader for half the time.
//! * A hundred idle groups that tick for themselves wake up sixteen hundred times a second. Here all
//!   groups share one wakeup, and their heartbeats leave together: one write per peer.
//! * Its timeouts come from the system's randomness, so that no seed could repeat a run.
//!
//! # Rules
//!
//! * A leader sends heartbeats every [`Timing::heartbeat_ms`].
//! * A voter that has heard of no leader for [`Timing::lease_ms`] and a spread of its own asks for
//!   a pre-vote, and again after pauses that grow, until it hears of a leader.
//! * Who has just granted a pre-vote leaves that candidate half a lease to go on.
//! * A new term is a candidacy that is going on, its own or that of another member: it gets between a
//!   half and one and a half leases to succeed.
//! * A host that was itself stopped or starved (the pulse comes late) listens for the length of two
//!   heartbeats first: what its leaders sent meanwhile is still on its sockets.
//!
//! # Invariants
//!
//! * Nothing here is needed for safety: whether somebody may lead is decided by openraft, by votes,
//!   logs and leases, and by `promise` after a restart. A pulse that is wrong costs time.
//! * No group can hold up the pulse of the others: what a group does not take at once is left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::clock;
use crate::group::Group;
use crate::id::{NodeId, ReplicaId};
use crate::options::Timing;

/// Pulses per heartbeat.
const PULSES: u64 = 6;
/// First pause between two pre-votes; doubles up to a lease.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// After so many the pause grows no more.
const DOUBLINGS_MAX: u32 = 6;

/// When a replica last heard of a leader, or began to listen; and of a candidate that it would vote for.
#[derive(Debug)]
pub(crate) struct Heard {
    began: Instant,
    leader_us: AtomicU64,
    candidate_us: AtomicU64,
}

/// What the pulse remembers of a group that it does not lead here.
#[derive(Debug)]
pub(crate) struct Patience(Mutex<State>);

#[derive(Debug)]
struct State {
    term: u64,
    tries: u32,
    next_try: Instant,
}

/// What openraft says of a replica.
#[derive(Clone, Copy, Debug)]
struct Role {
    term: u64,
    leads: bool,
    is_voter: bool,
    others: Others,
}

/// Who else is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Nobody,
    Learners,
    Voters,
}

/// The moment of one pulse.
#[derive(Clone, Copy, Debug)]
struct Beat {
    now: Instant,
    /// Leaders send heartbeats with this pulse.
    is_heartbeat: bool,
    /// The host was stopped a moment ago.
    is_late: bool,
    timing: Timing,
}

impl Default for Heard {
    fn default() -> Self {
        Self {
            began: clock::instant(),
            leader_us: AtomicU64::new(0),
            candidate_us: AtomicU64::new(0),
        }
    }
}

impl Heard {
    /// A leader has called.
    pub(crate) fn leader(&self) {
        self.leader_us.fetch_max(self.now_us(), Ordering::Relaxed);
    }

    /// A candidate has called and got a pre-vote.
    pub(crate) fn candidate(&self) {
        self.candidate_us
            .fetch_max(self.now_us(), Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        let after = clock::instant().saturating_duration_since(self.began);
        u64::try_from(after.as_micros()).unwrap_or(u64::MAX)
    }

    /// When this replica was opened.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    fn at(&self, us: &AtomicU64) -> Instant {
        self.began + Duration::from_micros(us.load(Ordering::Relaxed))
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self(Mutex::new(State {
            term: 0,
            tries: 0,
            next_try: clock::instant(),
        }))
    }
}

/// Beats until it is dropped.
pub(crate) async fn run(node: NodeId, timing: Timing, groups: impl Fn() -> Vec<Group> + Send) {
    let heartbeat = Duration::from_millis(timing.heartbeat_ms);
    let period = heartbeat / u32::try_from(PULSES).unwrap_or(1);
    // Hosts that start together do not beat together.
    let mut due = clock::instant() + spread(ReplicaId::new(node, 0), (0, 0), period);
    let mut listen_until = due;
    for number in 0u64.. {
        due += period;
        tokio::time::sleep_until(due).await;
        let now = clock::instant();
        if now.saturating_duration_since(due) > heartbeat {
            listen_until = now + heartbeat * 2;
            due = now;
        }
        let beat = Beat {
            now,
            is_heartbeat: number % PULSES == 0,
            is_late: now < listen_until,
            timing,
        };
        for group in groups() {
            group.beat(beat);
        }
    }
}

impl Group {
    fn role(&self) -> Option<Role> {
        let replica = self.replica();
        let metrics = self.metrics().borrow_watched();
        if metrics.running_state.is_err() {
            return None;
        }
        let members = metrics.membership_config.membership();
        let own = replica.id.0;
        let applied = || replica.history.lock().membership().membership;
        Some(Role {
            term: metrics.current_term,
            leads: metrics.state.is_leader(),
            // A voter that is leaving may have to lead once more, so that the others learn of it.
            is_voter: members.voter_ids().any(|id| id == own) || applied().is_voter(replica.id),
            others: if members.voter_ids().any(|id| id != own) {
                Others::Voters
            } else if members.nodes().any(|(id, ())| *id != own) {
                Others::Learners
            } else {
                Others::Nobody
            },
        })
    }

    fn beat(&self, beat: Beat) {
        let Some(role) = self.role() else { return };
        let trigger = self.raft().trigger();
        if beat.is_late {
            self.replica().freshness.forget();
        }
        if role.leads {
            if beat.is_heartbeat && role.others != Others::Nobody {
                // Left out if the group is too busy to take it: its entries are heartbeats too.
                drop(trigger.heartbeat().now_or_never());
            }
        } else if role.is_voter && !beat.is_late && self.is_due(beat, role) {
            drop(trigger.elect(true).now_or_never());
        }
    }

    /// Whether this voter should run for election now.
    fn is_due(&self, beat: Beat, role: Role) -> bool {
        let lease = Duration::from_millis(beat.timing.lease_ms);
        let most = Duration::from_millis(beat.timing.spread_ms);
        let (id, term, heard) = (self.replica().id, role.term, &self.replica().heard);
        let mut state = self.patience().0.lock();
        if state.term != term {
            state.term = term;
            state.tries = 0;
            state.next_try = beat.now + lease / 2 + spread(id, (term, 0), lease);
        }
        if beat.now < heard.at(&heard.leader_us) + lease + spread(id, (term, 1), most)
            && role.others == Others::Voters
        {
            state.tries = 0;
            state.next_try = beat.now;
            return false;
        }
        let candidate = heard.at(&heard.candidate_us);
        let yields = candidate > heard.began && beat.now < candidate + lease / 2;
        if beat.now < state.next_try || yields {
            return false;
        }
        let pause = lease.min(RETRY_FIRST * (1 << state.tries.min(DOUBLINGS_MAX)));
        state.tries += 1;
        let step = u64::from(state.tries) + 1;
        state.next_try = beat.now + pause + spread(id, (term, step), pause);
        true
    }
}

/// A delay below `most` that differs between replicas, terms and tries, and is the same every time.
fn spread(replica: ReplicaId, (term, step): (u64, u64), most: Duration) -> Duration {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&replica.0.to_le_bytes());
    bytes[8..16].copy_from_slice(&term.to_le_bytes());
    bytes[16..].copy_from_slice(&step.to_le_bytes());
    let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(xxh3_64(&bytes) % most_us)
}
