//! Commands of the log that published nothing, because their condition failed or they were retries.
//!
//! A subscriber that catches up reads commands from the log, where a failed condition does not
//! show. This set, replicated state like the rest, tells it which to leave out.

use std::collections::BTreeSet;

/// Most commands remembered; the oldest are forgotten first.
pub(super) const SILENT_MAX: usize = 64 * 1024;

/// Places of silent commands as (log index, number in the entry).
#[derive(Debug, Default)]
pub(super) struct Silent {
    places: BTreeSet<(u64, u32)>,
    /// Nothing is known about entries before this index.
    known_from: u64,
}

impl Silent {
    pub(super) fn new(known_from: u64, places: BTreeSet<(u64, u32)>) -> Self {
        Self { places, known_from }
    }

    pub(super) fn insert(&mut self, index: u64, op: u32) {
        self.places.insert((index, op));
        while self.places.len() > SILENT_MAX {
            if let Some((index, _)) = self.places.pop_first() {
                self.known_from = index + 1;
            }
        }
    }

    /// Whether the command published nothing; `None` when that is forgotten.
    pub(super) fn contains(&self, index: u64, op: u32) -> Option<bool> {
        (index >= self.known_from).then(|| self.places.contains(&(index, op)))
    }

    /// Forgets everything before `index`.
    pub(super) fn forget_before(&mut self, index: u64) {
        self.places = self.places.split_off(&(index, 0));
        self.known_from = self.known_from.max(index);
    }

    pub(super) fn known_from(&self) -> u64 {
        self.known_from
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> + '_ {
        self.places.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }
}
