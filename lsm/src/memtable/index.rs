//! Where the rows of a partition lie, in clustering order.
//!
//! A list of short sorted lists: finding a row is two binary searches, adding one moves at most one
//! short list, and adding one before or after all others, which is what messages do, moves nothing.
//! The first bytes of each key are kept beside its place, so that a search seldom looks at the rows
//! themselves. A B-tree of the standard library would do the same with one comparison function for
//! all, but its keys have to be complete: here they lie in the chunks of the store.

use std::cmp::Ordering;
use std::collections::VecDeque;

use crate::row::view::RowAt;

/// Most rows of one list: 6 KiB, of which an insertion moves a quarter on average.
const LIST_ROWS_MAX: usize = 256;

/// Where a row lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowRef {
    /// The first eight bytes of the key, padded with zeros, as a number: in the order of the keys
    /// but for those that it does not tell apart.
    prefix: u64,
    /// The chunk.
    pub(super) chunk: u32,
    /// The place within.
    pub(super) at: RowAt,
}

/// Bytes of a [`RowRef`].
pub(super) const REF_BYTES: usize = size_of::<RowRef>();

/// A place in an index: list, then row within it. One past the last row is `(number of lists, 0)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    list: usize,
    row: usize,
}

/// Rows in the order of their keys. No list is empty.
#[derive(Debug, Default)]
pub(super) struct RowIndex {
    lists: VecDeque<VecDeque<RowRef>>,
    len: usize,
}

/// Which way a search goes at a row.
struct Probe<'a, K> {
    prefix: u64,
    key: &'a [u8],
    key_of: K,
}

impl RowRef {
    /// A row with key `key` at a place.
    pub(super) fn new(key: &[u8], chunk: u32, at: RowAt) -> Self {
        let prefix = prefix(key);
        Self { prefix, chunk, at }
    }
}

fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => key.iter().zip((0..8).rev()).fold(0, |prefix, (byte, at)| {
            prefix | u64::from(*byte) << (at * 8)
        }),
    }
}

impl<'k, K: Fn(&RowRef) -> &'k [u8]> Probe<'_, K> {
    /// How a stored row compares with the key.
    fn compare(&self, row: &RowRef) -> Ordering {
        let by_prefix = row.prefix.cmp(&self.prefix);
        by_prefix.then_with(|| (self.key_of)(row).cmp(self.key))
    }
}

impl RowIndex {
    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The position of the row with `key`, or where it would be. `key_of` gives the key of a row.
    pub(super) fn find<'k>(
        &self,
        key: &[u8],
        key_of: impl Fn(&RowRef) -> &'k [u8],
    ) -> Result<Position, Position> {
        let probe = Probe {
            prefix: prefix(key),
            key,
            key_of,
        };
        let is_before_all = self
            .first()
            .is_none_or(|first| probe.compare(first).is_gt());
        if is_before_all {
            return Err(Position { list: 0, row: 0 });
        }
        let starts_after =
            |list: &VecDeque<RowRef>| list.front().is_some_and(|row| probe.compare(row).is_gt());
        // The last list that does not start behind the key: there is one.
        let list = self.lists.partition_point(|list| !starts_after(list)) - 1;
        match self.lists[list].binary_search_by(|row| probe.compare(row)) {
            Ok(row) => Ok(Position { list, row }),
            Err(row) => Err(Position { list, row }),
        }
    }

    fn first(&self) -> Option<&RowRef> {
        self.lists.front().and_then(VecDeque::front)
    }

    /// The row at a position.
    pub(super) fn get(&self, at: Position) -> Option<RowRef> {
        self.lists.get(at.list)?.get(at.row).copied()
    }

    /// Replaces the row at a position that [`Self::find`] found.
    pub(super) fn replace(&mut self, at: Position, row: RowRef) {
        self.lists[at.list][at.row] = row;
    }

    /// Adds a row where [`Self::find`] did not find it.
    pub(super) fn insert(&mut self, at: Position, row: RowRef) {
        self.len += 1;
        let Some(list) = self.lists.get_mut(at.list) else {
            self.lists.push_back(list_of(row));
            return;
        };
        if list.len() < LIST_ROWS_MAX {
            list.insert(at.row, row);
            return;
        }
        // Rows that come in order leave full lists behind.
        if at.row == list.len() {
            self.lists.insert(at.list + 1, list_of(row));
            return;
        }
        if at.row == 0 {
            self.lists.insert(at.list, list_of(row));
            return;
        }
        let middle = LIST_ROWS_MAX / 2;
        let mut upper = list.split_off(middle);
        if at.row <= middle {
            list.insert(at.row, row);
        } else {
            upper.insert(at.row - middle, row);
        }
        self.lists.insert(at.list + 1, upper);
    }

    /// Removes the rows from one position up to another; `removed` is called with each.
    pub(super) fn remove(&mut self, span: (Position, Position), mut removed: impl FnMut(&RowRef)) {
        let (from, to) = span;
        if from >= to {
            return;
        }
        for number in from.list..(to.list + 1).min(self.lists.len()) {
            let list = &mut self.lists[number];
            let start = if number == from.list { from.row } else { 0 };
            let end = if number == to.list {
                to.row
            } else {
                list.len()
            };
            for row in list.drain(start..end.max(start)) {
                removed(&row);
                self.len -= 1;
            }
        }
        self.lists.retain(|list| !list.is_empty());
    }

    /// Changes every row, in order; the keys stay.
    pub(super) fn for_each_mut(&mut self, change: impl FnMut(&mut RowRef)) {
        self.lists.iter_mut().flatten().for_each(change);
    }

    /// Behind the last row.
    pub(super) fn end(&self) -> Position {
        let list = self.lists.len();
        Position { list, row: 0 }
    }

    /// The same position, where one past the end of a list is the start of the next.
    pub(super) fn normal(&self, at: Position) -> Position {
        match self.lists.get(at.list) {
            Some(list) if at.row >= list.len() => Position {
                list: at.list + 1,
                row: 0,
            },
            _ => at,
        }
    }

    /// The position behind one.
    pub(super) fn behind(&self, at: Position) -> Position {
        let Position { list, row } = at;
        self.normal(Position { list, row: row + 1 })
    }

    /// All rows.
    pub(super) fn all(&self) -> Span<'_> {
        self.span(Position { list: 0, row: 0 }, self.end())
    }

    /// The rows from one normal position up to another.
    pub(super) fn span(&self, from: Position, to: Position) -> Span<'_> {
        let to = to.max(from);
        Span {
            index: self,
            from,
            to,
        }
    }
}

fn list_of(row: RowRef) -> VecDeque<RowRef> {
    // Many partitions have one row.
    let mut list = VecDeque::with_capacity(1);
    list.push_back(row);
    list
}

/// Rows between two positions.
#[derive(Clone, Debug)]
pub(super) struct Span<'a> {
    index: &'a RowIndex,
    from: Position,
    to: Position,
}

impl Iterator for Span<'_> {
    type Item = RowRef;

    #[inline]
    fn next(&mut self) -> Option<RowRef> {
        if self.from >= self.to {
            return None;
        }
        let row = self.index.get(self.from)?;
        self.from = self.index.behind(self.from);
        Some(row)
    }
}

impl DoubleEndedIterator for Span<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<RowRef> {
        if self.from >= self.to {
            return None;
        }
        if self.to.row == 0 {
            self.to.list -= 1;
            self.to.row = self.index.lists[self.to.list].len();
        }
        self.to.row -= 1;
        self.index.get(self.to)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys that agree in their prefix, end in zeros, or are short.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(0_u8..2, 0..11),
            (0_u64..2000).prop_map(|number| number.to_be_bytes().to_vec()),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(Vec<u8>),
        Before,
        Remove(Vec<u8>, Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            40 => key().prop_map(Step::Insert),
            20 => Just(Step::Before),
            1 => (key(), key()).prop_map(|(from, to)| Step::Remove(from, to)),
        ]
    }

    fn place(number: usize) -> RowAt {
        let at = u32::try_from(number).unwrap_or_default();
        RowAt {
            key_at: at,
            body_at: at,
            end: at,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn an_index_holds_what_a_sorted_map_holds(steps in proptest::collection::vec(step(), 1..1500)) {
            let mut keys: Vec<Vec<u8>> = Vec::new();
            let mut index = RowIndex::default();
            let mut model: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            let mut smallest = u64::MAX;
            for step in steps {
                let key = match step {
                    Step::Remove(from, to) => {
                        let span = {
                            let key_of = |row: &RowRef| keys[row.at.key_at as usize].as_slice();
                            let find = |key: &[u8]| index.find(key, key_of).unwrap_or_else(|at| at);
                            (find(&from), find(&to))
                        };
                        let mut removed = 0;
                        index.remove(span, |_| removed += 1);
                        let gone: Vec<_> = if from < to { model.range(from..to).map(|(key, _)| key.clone()).collect() } else { Vec::new() };
                        prop_assert_eq!(removed, gone.len());
                        for key in gone {
                            model.remove(&key);
                        }
                        continue;
                    }
                    Step::Insert(key) => key,
                    Step::Before => {
                        smallest -= 1;
                        smallest.to_be_bytes().to_vec()
                    }
                };
                let number = keys.len();
                keys.push(key.clone());
                let row = RowRef::new(&key, 0, place(number));
                let found = {
                    let key_of = |row: &RowRef| keys[row.at.key_at as usize].as_slice();
                    index.find(&key, key_of)
                };
                prop_assert_eq!(found.is_ok(), model.contains_key(&key));
                match found {
                    Ok(at) => index.replace(at, row),
                    Err(at) => index.insert(at, row),
                }
                model.insert(key, number);
            }
            let expected: Vec<usize> = model.values().copied().collect();
            let forward: Vec<usize> = index.all().map(|row| row.at.key_at as usize).collect();
            let mut backward: Vec<usize> = index.all().rev().map(|row| row.at.key_at as usize).collect();
            backward.reverse();
            prop_assert_eq!(index.len(), expected.len());
            prop_assert_eq!(&forward, &expected);
            prop_assert_eq!(&backward, &expected);
            prop_assert!(index.lists.iter().all(|list| !list.is_empty() && list.len() <= LIST_ROWS_MAX));
        }
    }
}
