//! The lease of a leader: since when a majority is known to follow it.
//!
//! A member that takes a call of a leader gives no vote to another one for the length of the lease. The time
//! counts from when the call *left* here, because it arrived later than that.
//!
//! openraft (0.10.0-alpha.37) has such a clock of its own, which is not used here:
//!
//! * It credits an answer to the newest call that ends at the same entry, so an answer that was long on its way
//!   counts for a call without entries that has only just left. A leader that is cut off then takes itself for
//!   confirmed at a time when nobody heard it; its reads by lease and by read index rest on that.
//! * It keeps its lease while it hands the leadership over, although the one that takes over waits for nobody's lease.
//!
//! # Invariants
//!
//! * A stamp counts for a member only when an answer to the call that carried it says that the member follows
//!   this leadership.
//! * A leadership that was given up holds no lease any more.
//! * Stamps are ordered by number, not by time: a clock may stand still while calls leave.
//!
//! Cost: one short lock when a call leaves and one when it is answered; looking at the lease allocates nothing.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::clock;
use crate::id::{LeaderId, ReplicaId};

/// When a call left, and after which others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp {
    number: u64,
    pub(crate) at: Instant,
}

/// Who follows the leadership of this replica, and since when at least.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    state: Mutex<State>,
    /// Something was confirmed.
    moved: Notify,
}

#[derive(Debug, Default)]
struct State {
    stamps: u64,
    /// The newest leadership that anybody confirmed.
    leader: Option<LeaderId>,
    given_up: Option<LeaderId>,
    /// The newest call that each member answered.
    answered: BTreeMap<ReplicaId, Stamp>,
}

impl Lease {
    /// The stamp of a call that leaves now.
    pub(crate) fn stamp(&self) -> Stamp {
        let mut state = self.state.lock();
        state.stamps += 1;
        Stamp {
            number: state.stamps,
            at: clock::instant(),
        }
    }

    /// `member` has answered a call of `leader` that left at `sent`, and follows it.
    pub(crate) fn confirmed(&self, leader: LeaderId, member: ReplicaId, sent: Stamp) {
        let mut state = self.state.lock();
        if state.leader < Some(leader) {
            state.leader = Some(leader);
            state.answered.clear();
        }
        if state.leader != Some(leader) {
            return;
        }
        let newest = state.answered.entry(member).or_insert(sent);
        *newest = sent.max(*newest);
        drop(state);
        self.moved.notify_waiters();
    }

    /// Ends the lease of `leader` for good: somebody else is about to be asked to lead.
    pub(crate) fn give_up(&self, leader: LeaderId) {
        let mut state = self.state.lock();
        state.given_up = state.given_up.max(Some(leader));
    }

    /// The newest stamp with which a majority of each of `sets`, this replica included, followed `leader`;
    /// `None` without one, or when the leadership was given up. Stamps of this replica's own are not asked for.
    pub(crate) fn held_since(
        &self,
        leader: LeaderId,
        own: ReplicaId,
        sets: &[BTreeSet<u64>],
    ) -> Option<Stamp> {
        let state = self.state.lock();
        if state.leader != Some(leader) || state.given_up >= Some(leader) {
            return None;
        }
        let held = |set: &BTreeSet<u64>| {
            // This replica counts from any time on.
            let needed = set.len() / 2 + 1 - usize::from(set.contains(&own.0));
            let others = set.iter().filter(|member| **member != own.0);
            let stamps = others.filter_map(|member| state.answered.get(&ReplicaId(*member)));
            // A handful of members: quicker than sorting them, and nothing is allocated for a read.
            let since = |stamp: &Stamp| stamps.clone().filter(|it| *it >= stamp).count();
            stamps
                .clone()
                .filter(|it| since(it) >= needed)
                .max()
                .copied()
        };
        let mut oldest: Option<Stamp> = None;
        for set in sets {
            let is_alone = set.len() == 1 && set.contains(&own.0);
            if !is_alone {
                let stamp = held(set)?;
                oldest = Some(oldest.map_or(stamp, |oldest| oldest.min(stamp)));
            }
        }
        oldest
    }

    /// Resolves at the next confirmation after this call.
    pub(crate) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: ReplicaId = ReplicaId(1);
    const FIRST: LeaderId = LeaderId { term: 3, node: 1 };

    fn sets(sets: &[&[u64]]) -> Vec<BTreeSet<u64>> {
        let set = |members: &&[u64]| members.iter().copied().collect();
        sets.iter().map(set).collect()
    }

    #[test]
    fn a_lease_counts_from_the_call_that_the_slowest_of_a_majority_has_answered() {
        let lease = Lease::default();
        let five = sets(&[&[1, 2, 3, 4, 5]]);
        let held = || lease.held_since(FIRST, OWN, &five);
        let stamps: Vec<Stamp> = (0..4).map(|_| lease.stamp()).collect();
        assert_eq!(held(), None);
        lease.confirmed(FIRST, ReplicaId(2), stamps[3]);
        assert_eq!(held(), None, "two of five are no majority");
        lease.confirmed(FIRST, ReplicaId(3), stamps[0]);
        assert_eq!(held(), Some(stamps[0]));
        lease.confirmed(FIRST, ReplicaId(4), stamps[2]);
        assert_eq!(held(), Some(stamps[2]));
        lease.confirmed(FIRST, ReplicaId(4), stamps[1]);
        assert_eq!(
            held(),
            Some(stamps[2]),
            "an older answer takes nothing back"
        );
        lease.confirmed(FIRST, ReplicaId(9), stamps[3]);
        assert_eq!(held(), Some(stamps[2]), "who does not vote does not count");
    }

    #[test]
    fn both_sets_of_a_joint_membership_have_to_follow() {
        let lease = Lease::default();
        let joint = sets(&[&[1, 2, 3], &[3, 4, 5]]);
        let held = || lease.held_since(FIRST, OWN, &joint);
        let [one, two] = [lease.stamp(), lease.stamp()];
        lease.confirmed(FIRST, ReplicaId(3), two);
        assert_eq!(
            held(),
            None,
            "one of three is no majority where this replica is no member"
        );
        lease.confirmed(FIRST, ReplicaId(5), one);
        assert_eq!(held(), Some(one));
        let alone = sets(&[&[1], &[3, 4, 5]]);
        assert_eq!(lease.held_since(FIRST, OWN, &alone), Some(one));
    }

    #[test]
    fn what_was_confirmed_to_another_leadership_or_was_given_up_counts_for_none() {
        let lease = Lease::default();
        let three = sets(&[&[1, 2, 3]]);
        let later = LeaderId { term: 5, node: 1 };
        let stamp = lease.stamp();
        lease.confirmed(FIRST, ReplicaId(2), stamp);
        assert_eq!(lease.held_since(FIRST, OWN, &three), Some(stamp));
        assert_eq!(lease.held_since(later, OWN, &three), None);
        lease.give_up(FIRST);
        assert_eq!(lease.held_since(FIRST, OWN, &three), None);
        lease.confirmed(later, ReplicaId(3), stamp);
        assert_eq!(lease.held_since(later, OWN, &three), Some(stamp));
        lease.confirmed(FIRST, ReplicaId(2), lease.stamp());
        assert_eq!(lease.held_since(FIRST, OWN, &three), None);
        assert_eq!(lease.held_since(later, OWN, &three), Some(stamp));
    }
}
