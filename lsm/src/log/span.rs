//! The rules of one group's log: which indexes exist, and what may come next.
//!
//! The log has two views of each group: what callers see at once, and what is on disk. Both are a
//! [`Span`], so that the rules exist once: entries are consecutive, truncation removes a suffix,
//! purging a prefix. The items may begin later than the log does: the payloads in memory are
//! only the newest ones, and recovery may meet entries whose segment is gone because a later
//! record purges them.
//!
//! # Invariants
//!
//! * Entries `base ..= last` exist; items are those of `first ..= last`, and `base <= first`.
//! * Without entries, `last` is `purged`.

use std::collections::VecDeque;

use super::record::Checkpoint;
use super::types::{GroupState, LeaderId, LogId};

/// Something kept per entry.
pub(super) trait Item {
    fn leader(&self) -> LeaderId;
}

#[derive(Clone, Debug)]
pub(super) struct Span<T> {
    state: GroupState,
    base: u64,
    first: u64,
    items: VecDeque<T>,
}

impl<T> Default for Span<T> {
    fn default() -> Self {
        Self {
            state: GroupState::default(),
            base: 0,
            first: 0,
            items: VecDeque::new(),
        }
    }
}

impl<T: Item> Span<T> {
    /// A group as a checkpoint describes it, with none of its entries at hand.
    pub(super) fn from_checkpoint(checkpoint: &Checkpoint) -> Self {
        let Checkpoint { state, base } = *checkpoint;
        let mut span = Self {
            state,
            base,
            first: base,
            items: VecDeque::new(),
        };
        span.first = span.end();
        span
    }

    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            state: self.state,
            base: self.base,
        }
    }

    pub(super) fn state(&self) -> GroupState {
        self.state
    }

    /// For the fields that have no rules: vote and committed.
    pub(super) fn state_mut(&mut self) -> &mut GroupState {
        &mut self.state
    }

    /// Index of the first entry that exists.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Index of the first item at hand.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Index after the last entry.
    pub(super) fn end(&self) -> u64 {
        match self.state.last {
            Some(last) => last.index.saturating_add(1).max(self.base),
            None => self.base,
        }
    }

    /// Whether entries exist whose items are not at hand.
    pub(super) fn has_absent(&self) -> bool {
        self.base < self.first
    }

    pub(super) fn get(&self, index: u64) -> Option<&T> {
        let at = index.checked_sub(self.first)?;
        self.items.get(usize::try_from(at).ok()?)
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.items.front()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Adds the next entry. `Err` holds the index that would be the next one.
    pub(super) fn push(&mut self, index: u64, item: T) -> Result<(), u64> {
        let is_fresh = self.state.last.is_none();
        if is_fresh && index <= 1 {
            (self.base, self.first) = (index, index);
        } else if is_fresh || index != self.end() || index == u64::MAX {
            return Err(self.end());
        }
        self.state.last = Some(LogId {
            leader: item.leader(),
            index,
        });
        self.items.push_back(item);
        Ok(())
    }

    /// Removes all entries after `last_kept`, returning their items. `leader` is the leader of the
    /// entry `last_kept`, asked for when its item is not at hand. Keeping an entry that does not
    /// exist yet changes nothing; keeping one that is purged keeps none.
    pub(super) fn truncate(
        &mut self,
        last_kept: Option<u64>,
        leader: impl FnOnce() -> LeaderId,
    ) -> Vec<T> {
        let end = last_kept
            .map_or(0, |index| index.saturating_add(1))
            .max(self.base);
        if end >= self.end() {
            return Vec::new();
        }
        let kept = usize::try_from(end.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let removed = self.items.split_off(kept.min(self.items.len())).into();
        self.first = self.first.min(end);
        self.state.last = match last_kept {
            Some(index) if index >= self.base => {
                let leader = self.get(index).map_or_else(leader, Item::leader);
                Some(LogId { leader, index })
            }
            _ => self.state.purged,
        };
        removed
    }

    /// Removes all entries up to `upto`, returning their items.
    pub(super) fn purge(&mut self, upto: LogId) -> Vec<T> {
        let base = upto.index.saturating_add(1);
        if self
            .state
            .purged
            .is_some_and(|purged| purged.index >= upto.index)
            || base <= self.base
        {
            return Vec::new();
        }
        if base >= self.end() {
            self.state.last = Some(upto);
        }
        self.state.purged = Some(upto);
        self.base = base;
        self.evict_below(base)
    }

    /// Forgets everything, returning the items of all entries. What follows belongs to `owner`.
    pub(super) fn reset(&mut self, owner: u64) -> Vec<T> {
        let before = std::mem::take(self);
        self.state.owner = owner;
        before.items.into()
    }

    /// Forgets the items below `index`, not their entries.
    pub(super) fn evict_below(&mut self, index: u64) -> Vec<T> {
        let count = usize::try_from(index.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let removed: Vec<T> = self.items.drain(..count.min(self.items.len())).collect();
        self.first = self.first.max(index);
        removed
    }
}
