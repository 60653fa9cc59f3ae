//! One partition of a memtable.

use std::ops::Bound;

use bytes::Bytes;

use super::index::Position;
use super::store::RowStore;
use crate::row::range::{Edge, Place, RangeDeletions};
use crate::row::{CellWrite, Fragment, Liveness, Operation, Timestamp, Window, codec, merge};

/// Counted for every edge of a range deletion on top of its key, in bytes.
const EDGE_OVERHEAD_BYTES: usize = 64;

/// Rows and deletions of one partition. Bodies are encoded with base 0.
#[derive(Debug)]
pub(crate) struct MemPartition {
    window: Window,
    deletion: Timestamp,
    static_row: Option<Bytes>,
    rows: RowStore,
    ranges: RangeDeletions,
    range_bytes: usize,
}

impl MemPartition {
    /// An empty partition.
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            deletion: Timestamp::ZERO,
            static_row: None,
            rows: RowStore::default(),
            ranges: RangeDeletions::default(),
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

    /// Encoded rows.
    pub(crate) fn rows(&self) -> &RowStore {
        &self.rows
    }

    /// Range deletions.
    pub(crate) fn ranges(&self) -> &RangeDeletions {
        &self.ranges
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes() + self.range_bytes + self.static_row.as_ref().map_or(0, Bytes::len)
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
                encode(&Fragment::deleted(at), scratch);
                self.put(self.rows.find(clustering), clustering, scratch);
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
        match self.rows.find(clustering) {
            Err(at_row) if is_sorted => {
                scratch.clear();
                let summary = codec::encode_upsert(at, liveness, cells, scratch);
                self.rows.insert(at_row, clustering, scratch, summary);
            }
            found => {
                let fragment = Fragment::upsert(at, liveness, cells);
                self.merge(found, clustering, fragment, scratch);
            }
        }
    }

    fn merge_row(&mut self, clustering: &[u8], fragment: Fragment, scratch: &mut Vec<u8>) {
        self.merge(self.rows.find(clustering), clustering, fragment, scratch);
    }

    /// Merges into the row that was found, or adds it.
    fn merge(
        &mut self,
        found: Result<Position, Position>,
        clustering: &[u8],
        fragment: Fragment,
        scratch: &mut Vec<u8>,
    ) {
        let fragment = match found {
            Ok(at) => {
                let stored = Bytes::copy_from_slice(self.rows.body_at(at));
                merge::merge(decode(&stored), fragment)
            }
            Err(_) => fragment,
        };
        encode(&fragment, scratch);
        self.put(found, clustering, scratch);
    }

    /// Stores the body of a row, new or not.
    fn put(&mut self, found: Result<Position, Position>, clustering: &[u8], body: &[u8]) {
        let summary = codec::inspect(body, Timestamp::ZERO);
        let summary = summary.expect("a memtable inspects only what it encoded");
        match found {
            Ok(at) => self.rows.replace(at, clustering, body, summary),
            Err(at) => self.rows.insert(at, clustering, body, summary),
        }
    }

    fn merge_static(&mut self, fragment: Fragment, scratch: &mut Vec<u8>) {
        let merged = match self.static_row.as_ref().map(decode) {
            Some(stored) => merge::merge(stored, fragment),
            None => fragment,
        };
        encode(&merged, scratch);
        self.static_row = Some(Bytes::copy_from_slice(scratch));
    }

    /// Bytes in use, counted again from the content.
    #[cfg(test)]
    pub(super) fn recount(&self) -> usize {
        let edges = self.ranges.iter();
        let edges: usize = edges
            .map(|(edge, _)| EDGE_OVERHEAD_BYTES + edge.key_len())
            .sum();
        self.rows.recount() + edges + self.static_row.as_ref().map_or(0, Bytes::len)
    }

    fn delete_range(&mut self, start: &Bound<Bytes>, end: &Bound<Bytes>, at: Timestamp) {
        let (from, to) = (Place::from_start(start), Place::from_end(end));
        if from >= to {
            return;
        }
        self.rows.remove(from, to);
        self.ranges.insert(&from.to_edge(), &to.to_edge(), at);
        let keys: usize = self.ranges.iter().map(|(edge, _)| edge.key_len()).sum();
        self.range_bytes = self.ranges.len() * EDGE_OVERHEAD_BYTES + keys;
    }
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

fn encode(fragment: &Fragment, scratch: &mut Vec<u8>) {
    scratch.clear();
    codec::encode(fragment, Timestamp::ZERO, scratch);
}

fn decode(body: &Bytes) -> Fragment {
    codec::decode(body, Timestamp::ZERO).expect("a memtable decodes only what it encoded")
}
