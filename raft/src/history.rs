//! Which leader wrote an applied index, and who belonged to the group then.
//!
//! When the state machine says "durable up to index i", the raft snapshot point needs the full id of
//! entry i and the membership as of i. Both change rarely, so only the changes are kept, and what
//! lies before the last durable index is forgotten.

use crate::id::LogId;
use crate::membership::StoredMembership;

/// The changes of leader and of membership among the entries from the durable one to the last.
#[derive(Debug)]
pub(crate) struct History {
    /// The first entry of each run of entries by one leader, ascending.
    leaders: Vec<LogId>,
    /// Memberships, ascending; the first is the one as of the durable index.
    memberships: Vec<StoredMembership>,
    last: Option<LogId>,
}

impl History {
    /// The history of a state machine whose durable state is `applied` and `membership`.
    pub(crate) fn new(applied: Option<LogId>, membership: StoredMembership) -> Self {
        let leaders = applied.into_iter().collect();
        Self {
            leaders,
            memberships: vec![membership],
            last: applied,
        }
    }

    /// Entry `id` was applied.
    pub(crate) fn advance(&mut self, id: LogId) {
        let same = self
            .leaders
            .last()
            .is_some_and(|first| first.leader == id.leader);
        if !same {
            self.leaders.push(id);
        }
        self.last = Some(id);
    }

    /// Entry `stored.id` was applied and changed the membership.
    pub(crate) fn change_membership(&mut self, stored: StoredMembership) {
        self.memberships.push(stored);
    }

    /// The last applied entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.last
    }

    /// The membership as of the last applied entry.
    pub(crate) fn membership(&self) -> StoredMembership {
        self.memberships.last().cloned().unwrap_or_default()
    }

    /// The id of applied entry `index` and the membership as of it; `None` for an index that was
    /// not applied or was forgotten.
    pub(crate) fn at(&self, index: u64) -> Option<(LogId, StoredMembership)> {
        if self.last.is_none_or(|last| last.index < index) {
            return None;
        }
        let run = self
            .leaders
            .iter()
            .rev()
            .find(|first| first.index <= index)?;
        let id = LogId {
            leader: run.leader,
            index,
        };
        let known = |stored: &&StoredMembership| stored.id.is_none_or(|id| id.index <= index);
        let stored = self
            .memberships
            .iter()
            .rev()
            .find(known)
            .cloned()
            .unwrap_or_default();
        Some((id, stored))
    }

    /// Forgets what only indexes below `index` need.
    pub(crate) fn forget_before(&mut self, index: u64) {
        let runs = self.leaders.partition_point(|first| first.index <= index);
        self.leaders.drain(..runs.saturating_sub(1));
        let known = |stored: &StoredMembership| stored.id.is_none_or(|id| id.index <= index);
        let memberships = self.memberships.partition_point(known);
        self.memberships.drain(..memberships.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{LeaderId, ReplicaId};
    use crate::membership::Membership;

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            leader: LeaderId { term, node: 1 },
            index,
        }
    }

    fn stored(term: u64, index: u64, replica: u64) -> StoredMembership {
        let membership = Membership::single(ReplicaId(replica));
        StoredMembership {
            id: Some(id(term, index)),
            membership,
        }
    }

    #[test]
    fn an_index_has_the_leader_and_the_membership_of_its_time() {
        let mut history = History::new(None, StoredMembership::default());
        history.advance(id(0, 0));
        history.change_membership(stored(0, 0, 7));
        history.advance(id(1, 1));
        history.advance(id(1, 2));
        history.advance(id(3, 3));
        history.change_membership(stored(3, 3, 8));
        assert_eq!(history.at(0), Some((id(0, 0), stored(0, 0, 7))));
        assert_eq!(history.at(2), Some((id(1, 2), stored(0, 0, 7))));
        assert_eq!(history.at(3), Some((id(3, 3), stored(3, 3, 8))));
        assert_eq!(history.at(4), None);
        history.forget_before(2);
        assert_eq!(history.at(0), None);
        assert_eq!(history.at(2), Some((id(1, 2), stored(0, 0, 7))));
        history.forget_before(3);
        assert_eq!(history.at(3), Some((id(3, 3), stored(3, 3, 8))));
        assert_eq!(history.membership(), stored(3, 3, 8));
    }
}
