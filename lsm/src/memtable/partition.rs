//! One partition of a memtable.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::row::range::{Edge, Place, RangeDeletions};
use crate::row::{Fragment, Operation, Timestamp, Window, codec, merge};

/// Counted for every row on top of its key and body: its share of a tree node, in bytes.
const ROW_OVERHEAD_BYTES: usize = 72;
/// Counted for every edge of a range deletion on top of its key, in bytes.
const EDGE_OVERHEAD_BYTES: usize = 64;

/// Rows and deletions of one partition. Bodies are encoded with base 0.
#[derive(Debug)]
pub(crate) struct MemPartition {
    window: Window,
    deletion: Timestamp,
    static_row: Option<Bytes>,
    rows: BTreeMap<Box<[u8]>, Bytes>,
    ranges: RangeDeletions,
    row_bytes: usize,
    range_bytes: usize,
}

impl MemPartition {
    /// An empty partition.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            deletion: Timestamp::ZERO,
            static_row: None,
            rows: BTreeMap::new(),
            ranges: RangeDeletions::default(),
            row_bytes: 0,
            range_bytes: 0,
        }
    }

    /// The window of the partition.
    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// The deletion of the whole partition, or zero.
    pub(crate) fn deletion(&self) -> Timestamp {
        self.deletion
    }

    /// The encoded static row.
    pub(crate) fn static_row(&self) -> Option<&Bytes> {
        self.static_row.as_ref()
    }

    /// Encoded rows by clustering key.
    pub(crate) fn rows(&self) -> &BTreeMap<Box<[u8]>, Bytes> {
        &self.rows
    }

    /// Range deletions.
    pub(crate) fn ranges(&self) -> &RangeDeletions {
        &self.ranges
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.row_bytes + self.range_bytes + self.static_row.as_ref().map_or(0, Bytes::len)
    }

    /// Applies one operation, which is newer than everything here.
    pub(crate) fn apply(&mut self, operation: &Operation, at: Timestamp) {
        match operation {
            Operation::Upsert {
                clustering,
                liveness,
                cells,
            } => {
                self.merge_row(clustering, Fragment::upsert(at, *liveness, cells));
            }
            Operation::UpsertStatic { cells } => {
                self.merge_static(Fragment::upsert(at, None, cells));
            }
            Operation::DeleteComplex {
                clustering: Some(clustering),
                column,
            } => {
                self.merge_row(clustering, Fragment::complex_deleted(*column, at));
            }
            Operation::DeleteComplex {
                clustering: None,
                column,
            } => {
                self.merge_static(Fragment::complex_deleted(*column, at));
            }
            Operation::DeleteRow { clustering } => {
                self.put_row(clustering, &Fragment::deleted(at));
            }
            Operation::DeleteRange { start, end } => self.delete_range(start, end, at),
            Operation::DeletePartition => {
                *self = Self {
                    deletion: at,
                    ..Self::new(self.window)
                };
            }
        }
    }

    fn merge_row(&mut self, clustering: &[u8], fragment: Fragment) {
        match self.rows.get(clustering).map(decode) {
            Some(stored) => self.put_row(clustering, &merge::merge(stored, fragment)),
            None => self.put_row(clustering, &fragment),
        }
    }

    fn put_row(&mut self, clustering: &[u8], fragment: &Fragment) {
        let body = encode(fragment);
        self.row_bytes += body.len();
        if let Some(stored) = self.rows.get_mut(clustering) {
            self.row_bytes -= stored.len();
            *stored = body;
        } else {
            self.row_bytes += ROW_OVERHEAD_BYTES + clustering.len();
            self.rows.insert(clustering.into(), body);
        }
    }

    fn merge_static(&mut self, fragment: Fragment) {
        let merged = match self.static_row.as_ref().map(decode) {
            Some(stored) => merge::merge(stored, fragment),
            None => fragment,
        };
        self.static_row = Some(encode(&merged));
    }

    fn delete_range(&mut self, start: &Bound<Bytes>, end: &Bound<Bytes>, at: Timestamp) {
        let (from, to) = (Place::from_start(start), Place::from_end(end));
        if from >= to {
            return;
        }
        let shadowed: Vec<Box<[u8]>> = rows_between(&self.rows, from, to)
            .map(|(key, _)| key.clone())
            .collect();
        for key in shadowed {
            if let Some(body) = self.rows.remove(&key) {
                self.row_bytes -= ROW_OVERHEAD_BYTES + key.len() + body.len();
            }
        }
        self.ranges.insert(&from.to_edge(), &to.to_edge(), at);
        let keys: usize = self.ranges.iter().map(|(edge, _)| edge.key_len()).sum();
        self.range_bytes = self.ranges.len() * EDGE_OVERHEAD_BYTES + keys;
    }
}

/// Rows between two places.
pub(super) fn rows_between<'a>(
    rows: &'a BTreeMap<Box<[u8]>, Bytes>,
    from: Place<'_>,
    to: Place<'_>,
) -> impl DoubleEndedIterator<Item = (&'a Box<[u8]>, &'a Bytes)> {
    let lower = match from {
        Place::At(key, crate::row::range::Side::After) => Some(Bound::Excluded(key)),
        Place::At(key, _) => Some(Bound::Included(key)),
        Place::End => None,
    };
    let upper = match to {
        Place::At(key, crate::row::range::Side::Before) => Bound::Excluded(key),
        Place::At(key, _) => Bound::Included(key),
        Place::End => Bound::Unbounded,
    };
    let range = lower
        .filter(|_| from < to)
        .map(|lower| rows.range::<[u8], _>((lower, upper)));
    range.into_iter().flatten()
}

/// Edges of `ranges` between two places, both excluded.
pub(super) fn edges_between(
    ranges: &RangeDeletions,
    from: Place<'_>,
    to: Place<'_>,
) -> Vec<(Edge, Timestamp)> {
    if ranges.is_empty() {
        return Vec::new();
    }
    let (from, to) = (from.to_edge(), to.to_edge());
    let edges = ranges.between(&from, &to);
    edges
        .map(|(edge, deletion)| (edge.clone(), deletion))
        .collect()
}

fn encode(fragment: &Fragment) -> Bytes {
    let mut body = Vec::with_capacity(64);
    codec::encode(fragment, Timestamp::ZERO, &mut body);
    body.shrink_to_fit();
    Bytes::from(body)
}

fn decode(body: &Bytes) -> Fragment {
    codec::decode(body, Timestamp::ZERO).expect("a memtable decodes only what it encoded")
}
