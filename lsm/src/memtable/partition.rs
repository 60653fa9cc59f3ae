//! One partition of a memtable.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::row::range::{Edge, Place, RangeDeletions};
use crate::row::{CellWrite, Fragment, Liveness, Operation, Timestamp, Window, codec, merge};

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

    /// Applies one operation, which is newer than everything here. `scratch` is a buffer to encode
    /// in, so that a body is allocated once and at its size.
    pub(crate) fn apply(&mut self, operation: &Operation, at: Timestamp, scratch: &mut Vec<u8>) {
        match operation {
            Operation::Upsert {
                clustering,
                liveness,
                cells,
            } => self.upsert(clustering, (at, *liveness), cells, scratch),
            Operation::UpsertStatic { cells } => {
                self.merge_static(Fragment::upsert(at, None, cells), scratch);
            }
            Operation::DeleteComplex {
                clustering: Some(clustering),
                column,
            } => {
                let fragment = Fragment::complex_deleted(*column, at);
                self.merge_row(clustering, fragment, scratch);
            }
            Operation::DeleteComplex {
                clustering: None,
                column,
            } => {
                self.merge_static(Fragment::complex_deleted(*column, at), scratch);
            }
            Operation::DeleteRow { clustering } => {
                let body = encode(&Fragment::deleted(at), scratch);
                match self.rows.get_mut(clustering.as_ref()) {
                    Some(stored) => {
                        self.row_bytes = self.row_bytes + body.len() - stored.len();
                        *stored = body;
                    }
                    None => self.insert_row(clustering, body),
                }
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

    /// Most upserts make a new row that comes before or after all others: those search once.
    fn upsert(
        &mut self,
        clustering: &[u8],
        (at, liveness): (Timestamp, Option<Liveness>),
        cells: &[CellWrite],
        scratch: &mut Vec<u8>,
    ) {
        let is_sorted = cells
            .is_sorted_by(|left, right| (left.column, &left.path) < (right.column, &right.path));
        if !is_sorted || self.has_row(clustering) {
            self.merge_row(clustering, Fragment::upsert(at, liveness, cells), scratch);
            return;
        }
        scratch.clear();
        codec::encode_upsert(at, liveness, cells, scratch);
        self.insert_row(clustering, Bytes::copy_from_slice(scratch));
    }

    fn has_row(&self, clustering: &[u8]) -> bool {
        let is_first = self
            .rows
            .first_key_value()
            .is_none_or(|(first, _)| clustering < first.as_ref());
        let is_last = || {
            let last = self.rows.last_key_value();
            last.is_none_or(|(last, _)| clustering > last.as_ref())
        };
        !is_first && !is_last() && self.rows.contains_key(clustering)
    }

    fn merge_row(&mut self, clustering: &[u8], fragment: Fragment, scratch: &mut Vec<u8>) {
        if let Some(stored) = self.rows.get_mut(clustering) {
            let body = encode(&merge::merge(decode(stored), fragment), scratch);
            self.row_bytes = self.row_bytes + body.len() - stored.len();
            *stored = body;
        } else {
            let body = encode(&fragment, scratch);
            self.insert_row(clustering, body);
        }
    }

    /// Adds a row that is not there yet.
    fn insert_row(&mut self, clustering: &[u8], body: Bytes) {
        self.row_bytes += ROW_OVERHEAD_BYTES + clustering.len() + body.len();
        self.rows.insert(clustering.into(), body);
    }

    fn merge_static(&mut self, fragment: Fragment, scratch: &mut Vec<u8>) {
        let merged = match self.static_row.as_ref().map(decode) {
            Some(stored) => merge::merge(stored, fragment),
            None => fragment,
        };
        self.static_row = Some(encode(&merged, scratch));
    }

    /// Bytes in use, counted again from the content.
    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        let rows = self.rows.iter();
        let rows: usize = rows
            .map(|(key, body)| ROW_OVERHEAD_BYTES + key.len() + body.len())
            .sum();
        let edges = self.ranges.iter();
        let edges: usize = edges
            .map(|(edge, _)| EDGE_OVERHEAD_BYTES + edge.key_len())
            .sum();
        rows + edges + self.static_row.as_ref().map_or(0, Bytes::len)
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

fn encode(fragment: &Fragment, scratch: &mut Vec<u8>) -> Bytes {
    scratch.clear();
    codec::encode(fragment, Timestamp::ZERO, scratch);
    Bytes::copy_from_slice(scratch)
}

fn decode(body: &Bytes) -> Fragment {
    codec::decode(body, Timestamp::ZERO).expect("a memtable decodes only what it encoded")
}
