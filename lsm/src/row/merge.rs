//! Reconciling: the only rule that chooses between two versions of the same datum.
//!
//! The newer timestamp wins; a deletion wins over a datum that is not newer. Equal timestamps
//! mean the same operation met twice, or data that was imported: the tie is broken by the
//! content alone (deletion, then expiring, then later expiry, then larger value), so that the
//! order in which sources are merged never shows.
//!
//! # Invariants
//!
//! * [`merge`] is associative, commutative and idempotent over shadowed fragments.
//! * The result is shadowed: it holds nothing that its own deletions hide.
//!
//! # Cost
//!
//! Linear in the cells of both; cells are sorted by (column, path).

use std::cmp::Ordering;

use super::fragment::Fragment;
use super::{Cell, CellValue, ColumnId, RowLiveness, Timestamp};

/// Merges two versions of one row.
pub(crate) fn merge(left: Fragment, right: Fragment) -> Fragment {
    let mut merged = Fragment {
        deletion: left.deletion.max(right.deletion),
        liveness: merge_liveness(left.liveness, right.liveness),
        complex: merge_complex(left.complex, &right.complex),
        cells: merge_cells(left.cells, right.cells),
    };
    merged.shadow(Timestamp::ZERO);
    merged
}

/// Chooses between two versions of a cell of one (column, path).
pub(crate) fn reconcile(left: Cell, right: Cell) -> Cell {
    if rank(&left).cmp(&rank(&right)) == Ordering::Less {
        right
    } else {
        left
    }
}

/// Sorts cells by (column, path) and reconciles those of the same pair.
pub(crate) fn sort_cells(cells: &mut Vec<Cell>) {
    if cells
        .windows(2)
        .all(|pair| place(&pair[0]) < place(&pair[1]))
    {
        return;
    }
    cells.sort_by(|left, right| place(left).cmp(&place(right)));
    let mut sorted: Vec<Cell> = Vec::with_capacity(cells.len());
    for cell in cells.drain(..) {
        match sorted.pop() {
            Some(last) if place(&last) == place(&cell) => sorted.push(reconcile(last, cell)),
            Some(last) => sorted.extend([last, cell]),
            None => sorted.push(cell),
        }
    }
    *cells = sorted;
}

/// The deletion of the whole collection `column`, or [`Timestamp::ZERO`].
pub(crate) fn complex_deletion(fragment: &Fragment, column: ColumnId) -> Timestamp {
    lookup(&fragment.complex, column)
}

/// Finds `column` in sorted collection deletions.
pub(super) fn lookup(complex: &[(ColumnId, Timestamp)], column: ColumnId) -> Timestamp {
    if complex.is_empty() {
        return Timestamp::ZERO;
    }
    complex
        .binary_search_by_key(&column, |(column, _)| *column)
        .map_or(Timestamp::ZERO, |at| complex[at].1)
}

/// Larger wins: timestamp, then deletion, then expiring, then later expiry, then larger value.
fn rank(cell: &Cell) -> (Timestamp, u8, u64, &[u8]) {
    match &cell.value {
        CellValue::Live(value) => (cell.timestamp, 0, 0, value),
        CellValue::Expiring {
            value,
            expires_at_ms,
        } => (cell.timestamp, 1, *expires_at_ms, value),
        CellValue::Tombstone => (cell.timestamp, 2, 0, &[]),
    }
}

fn place(cell: &Cell) -> (ColumnId, &[u8]) {
    (cell.column, &cell.path)
}

fn merge_liveness(left: Option<RowLiveness>, right: Option<RowLiveness>) -> Option<RowLiveness> {
    let rank = |marker: &RowLiveness| {
        (
            marker.timestamp,
            marker.expires_at_ms.is_some(),
            marker.expires_at_ms,
        )
    };
    match (left, right) {
        (Some(left), Some(right)) if rank(&left) < rank(&right) => Some(right),
        (Some(left), _) => Some(left),
        (None, right) => right,
    }
}

fn merge_complex(
    mut left: Vec<(ColumnId, Timestamp)>,
    right: &[(ColumnId, Timestamp)],
) -> Vec<(ColumnId, Timestamp)> {
    for &(column, timestamp) in right {
        match left.binary_search_by_key(&column, |(column, _)| *column) {
            Ok(at) => left[at].1 = left[at].1.max(timestamp),
            Err(at) => left.insert(at, (column, timestamp)),
        }
    }
    left
}

fn merge_cells(left: Vec<Cell>, right: Vec<Cell>) -> Vec<Cell> {
    if left.is_empty() {
        return right;
    }
    if right.is_empty() {
        return left;
    }
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        match place(a).cmp(&place(b)) {
            Ordering::Less => merged.extend(left.next()),
            Ordering::Greater => merged.extend(right.next()),
            Ordering::Equal => merged.extend(
                left.next()
                    .zip(right.next())
                    .map(|(left, right)| reconcile(left, right)),
            ),
        }
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn cell_value() -> impl Strategy<Value = CellValue> {
        let value = proptest::collection::vec(0_u8..3, 0..2).prop_map(Bytes::from);
        prop_oneof![
            value.clone().prop_map(CellValue::Live),
            (value, 0_u64..3).prop_map(|(value, expires_at_ms)| CellValue::Expiring {
                value,
                expires_at_ms
            }),
            Just(CellValue::Tombstone),
        ]
    }

    fn cell() -> impl Strategy<Value = Cell> {
        let path = proptest::collection::vec(0_u8..2, 0..2).prop_map(Bytes::from);
        (0_u32..3, path, 0_u64..6, cell_value()).prop_map(|(column, path, timestamp, value)| Cell {
            column: ColumnId(column),
            path,
            timestamp: Timestamp(timestamp),
            value,
        })
    }

    fn fragment() -> impl Strategy<Value = Fragment> {
        let liveness = proptest::option::of((0_u64..6, proptest::option::of(0_u64..3)));
        let complex = proptest::collection::btree_map(0_u32..3, 1_u64..6, 0..3);
        let cells = proptest::collection::vec(cell(), 0..6);
        (0_u64..4, liveness, complex, cells).prop_map(|(deletion, liveness, complex, mut cells)| {
            sort_cells(&mut cells);
            let mut fragment = Fragment {
                deletion: Timestamp(deletion),
                liveness: liveness.map(|(timestamp, expires_at_ms)| RowLiveness {
                    timestamp: Timestamp(timestamp),
                    expires_at_ms,
                }),
                complex: complex
                    .into_iter()
                    .map(|(c, t)| (ColumnId(c), Timestamp(t)))
                    .collect(),
                cells,
            };
            fragment.shadow(Timestamp::ZERO);
            fragment
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn merge_is_commutative(a in fragment(), b in fragment()) {
            prop_assert_eq!(merge(a.clone(), b.clone()), merge(b, a));
        }

        #[test]
        fn merge_is_associative(a in fragment(), b in fragment(), c in fragment()) {
            let left = merge(merge(a.clone(), b.clone()), c.clone());
            prop_assert_eq!(left, merge(a, merge(b, c)));
        }

        #[test]
        fn merge_is_idempotent(a in fragment(), b in fragment()) {
            let both = merge(a.clone(), b.clone());
            prop_assert_eq!(&merge(a.clone(), a.clone()), &a);
            prop_assert_eq!(merge(both.clone(), b), both);
        }

        #[test]
        fn nothing_is_visible_from_dead_after_on(a in fragment(), deletion in 0_u64..6) {
            let deletion = Timestamp(deletion);
            let dead_after_ms = a.dead_after_ms(deletion);
            let at_end = a.clone().visible(deletion, dead_after_ms);
            prop_assert_eq!(at_end.is_some(), dead_after_ms == u64::MAX);
            if let Some(before) = dead_after_ms.checked_sub(1) {
                prop_assert!(a.visible(deletion, before).is_some());
            }
        }
    }
}
