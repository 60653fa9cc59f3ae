//! Places between rows, and the deletions of clustering ranges.
//!
//! Overlapping range deletions are kept as a list of non-overlapping pieces, each with the
//! newest deletion that covers it: the older one is redundant wherever both cover. Merging two
//! lists is therefore the maximum at every place, which is associative, commutative and
//! idempotent by construction.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::Timestamp;

/// A place in clustering order: just before, at, or just after a key, or after all keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place<'a> {
    /// Relative to a key, which need not exist.
    At(&'a [u8], Side),
    /// After every key.
    End,
}

/// Which side of a key a [`Place`] is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Just before the key.
    Before,
    /// The row of the key.
    Row,
    /// Just after the key.
    After,
}

impl<'a> Place<'a> {
    /// Before every key.
    pub(crate) const START: Place<'static> = Place::At(&[], Side::Before);

    /// The row `key`.
    pub(crate) fn row(key: &'a [u8]) -> Self {
        Self::At(key, Side::Row)
    }

    /// The place where a range that starts with `bound` begins.
    pub(crate) fn from_start(bound: &'a Bound<Bytes>) -> Self {
        match bound {
            Bound::Included(key) => Self::At(key, Side::Before),
            Bound::Excluded(key) => Self::At(key, Side::After),
            Bound::Unbounded => Self::START,
        }
    }

    /// The place where a range that ends with `bound` is over.
    pub(crate) fn from_end(bound: &'a Bound<Bytes>) -> Self {
        match bound {
            Bound::Included(key) => Self::At(key, Side::After),
            Bound::Excluded(key) => Self::At(key, Side::Before),
            Bound::Unbounded => Self::End,
        }
    }

    /// The same place with a key of its own.
    pub(crate) fn to_edge(self) -> Edge {
        match self {
            Self::At(key, side) => Edge::At(Bytes::copy_from_slice(key), side),
            Self::End => Edge::End,
        }
    }
}

/// A [`Place`] that owns its key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Edge {
    /// Relative to a key.
    At(Bytes, Side),
    /// After every key.
    End,
}

impl Edge {
    /// Borrows it.
    pub(crate) fn place(&self) -> Place<'_> {
        match self {
            Self::At(key, side) => Place::At(key, *side),
            Self::End => Place::End,
        }
    }

    /// Length of the key, in bytes.
    pub(crate) fn key_len(&self) -> usize {
        match self {
            Self::At(key, _) => key.len(),
            Self::End => 0,
        }
    }
}

/// The range deletions of one partition: at each edge, the deletion in force from there on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RangeDeletions {
    changes: BTreeMap<Edge, Timestamp>,
}

impl RangeDeletions {
    /// Whether no range is deleted.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many edges there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Deletes `start..end` at `timestamp`. An empty range is ignored.
    pub(crate) fn insert(&mut self, start: &Edge, end: &Edge, timestamp: Timestamp) {
        if start >= end {
            return;
        }
        let after = self.at(end.place());
        let before = self.at(start.place());
        self.changes.entry(end.clone()).or_insert(after);
        self.changes.entry(start.clone()).or_insert(before);
        for (_, deletion) in self.changes.range_mut(start..end) {
            *deletion = (*deletion).max(timestamp);
        }
        self.simplify(start, end);
    }

    /// The deletion in force at `place`.
    pub(crate) fn at(&self, place: Place<'_>) -> Timestamp {
        if self.changes.is_empty() {
            return Timestamp::ZERO;
        }
        let edge = place.to_edge();
        self.changes
            .range(..=edge)
            .next_back()
            .map_or(Timestamp::ZERO, |(_, deletion)| *deletion)
    }

    /// All edges in order, each with the deletion in force from there on.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (&Edge, Timestamp)> {
        self.changes
            .iter()
            .map(|(edge, deletion)| (edge, *deletion))
    }

    /// The edges after `start` and before `end`.
    pub(crate) fn between(
        &self,
        start: &Edge,
        end: &Edge,
    ) -> impl DoubleEndedIterator<Item = (&Edge, Timestamp)> {
        let range = (start < end).then(|| {
            self.changes
                .range::<Edge, _>((Bound::Excluded(start), Bound::Excluded(end)))
        });
        range
            .into_iter()
            .flatten()
            .map(|(edge, deletion)| (edge, *deletion))
    }

    /// Removes edges at which nothing changes.
    fn simplify(&mut self, start: &Edge, end: &Edge) {
        let mut in_force = self
            .changes
            .range::<Edge, _>(..start)
            .next_back()
            .map_or(Timestamp::ZERO, |(_, deletion)| *deletion);
        let mut redundant = Vec::new();
        for (edge, deletion) in self.changes.range::<Edge, _>(start..=end) {
            if *deletion == in_force {
                redundant.push(edge.clone());
            }
            in_force = *deletion;
        }
        for edge in redundant {
            self.changes.remove(&edge);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn edge(number: u8) -> Edge {
        let side = if number.is_multiple_of(2) {
            Side::Before
        } else {
            Side::After
        };
        if number > 14 {
            Edge::End
        } else {
            Edge::At(Bytes::from(vec![number / 2]), side)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn newest_covering_deletion_is_in_force(
            ranges in proptest::collection::vec((0_u8..16, 0_u8..16, 1_u64..9), 0..8),
            swap in any::<bool>(),
        ) {
            let mut deletions = RangeDeletions::default();
            let mut ordered = ranges.clone();
            if swap { ordered.reverse(); }
            for (start, end, timestamp) in ordered {
                deletions.insert(&edge(start), &edge(end), Timestamp(timestamp));
            }
            for key in 0_u8..9 {
                let place = [key];
                let place = Place::row(&place);
                let expected = ranges
                    .iter()
                    .filter(|(start, end, _)| edge(*start).place() <= place && place < edge(*end).place())
                    .map(|(_, _, timestamp)| Timestamp(*timestamp))
                    .max()
                    .unwrap_or_default();
                prop_assert_eq!(deletions.at(place), expected);
            }
            prop_assert_eq!(deletions.at(Place::End), Timestamp::ZERO);
            let steps: Vec<Timestamp> = deletions.iter().map(|(_, deletion)| deletion).collect();
            prop_assert!(steps.windows(2).all(|pair| pair[0] != pair[1]));
            prop_assert!(steps.last().is_none_or(|last| *last == Timestamp::ZERO));
        }
    }
}
