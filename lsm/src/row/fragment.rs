//! What one source knows about one row: cells, insertion marker, deletions.

use bytes::Bytes;

use super::merge;
use super::{Cell, CellWrite, ColumnId, Liveness, RowLiveness, Timestamp};

/// A version of a row as one source holds it; several are merged into what is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// Deletion of the row; [`Timestamp::ZERO`] = none.
    pub(crate) deletion: Timestamp,
    /// The insertion marker.
    pub(crate) liveness: Option<RowLiveness>,
    /// Deletions of whole collections, sorted by column, one per column.
    pub(crate) complex: Vec<(ColumnId, Timestamp)>,
    /// Cells sorted by (column, path), one per pair.
    pub(crate) cells: Vec<Cell>,
}

impl Fragment {
    /// What an upsert writes.
    pub(crate) fn upsert(
        timestamp: Timestamp,
        liveness: Option<Liveness>,
        cells: &[CellWrite],
    ) -> Self {
        let mut written: Vec<Cell> = cells
            .iter()
            .map(|cell| Cell {
                column: cell.column,
                path: cell.path.clone(),
                timestamp,
                value: cell.value.clone(),
            })
            .collect();
        merge::sort_cells(&mut written);
        let liveness = liveness.map(|marker| RowLiveness {
            timestamp,
            expires_at_ms: marker.expires_at_ms,
        });
        Self {
            liveness,
            cells: written,
            ..Self::default()
        }
    }

    /// A deleted row.
    pub(crate) fn deleted(timestamp: Timestamp) -> Self {
        Self {
            deletion: timestamp,
            ..Self::default()
        }
    }

    /// A deleted collection.
    pub(crate) fn complex_deleted(column: ColumnId, timestamp: Timestamp) -> Self {
        Self {
            complex: vec![(column, timestamp)],
            ..Self::default()
        }
    }

    /// Whether it says nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.deletion == Timestamp::ZERO
            && self.liveness.is_none()
            && self.complex.is_empty()
            && self.cells.is_empty()
    }

    /// About how many bytes it takes when encoded; never less than its values and paths.
    pub(crate) fn size_hint(&self) -> usize {
        let cells = self
            .cells
            .iter()
            .map(|cell| cell.path.len() + cell.value.bytes().map_or(0, Bytes::len) + 8);
        cells.sum::<usize>() + 12 * self.complex.len() + 32
    }

    /// Visits the timestamp of every datum and deletion.
    pub(crate) fn timestamps(&self) -> impl Iterator<Item = Timestamp> {
        (self.deletion != Timestamp::ZERO)
            .then_some(self.deletion)
            .into_iter()
            .chain(self.liveness.map(|marker| marker.timestamp))
            .chain(self.complex.iter().map(|(_, timestamp)| *timestamp))
            .chain(self.cells.iter().map(|cell| cell.timestamp))
    }

    /// First millisecond from which nothing of it is visible below `deletion`: 0 = already now,
    /// [`u64::MAX`] = some of it never expires.
    pub(crate) fn dead_after_ms(&self, deletion: Timestamp) -> u64 {
        let row = deletion.max(self.deletion);
        let marker = self
            .liveness
            .filter(|marker| marker.timestamp > row)
            .map_or(0, |marker| marker.expires_at_ms.unwrap_or(u64::MAX));
        self.cells
            .iter()
            .filter(|cell| cell.timestamp > row.max(merge::complex_deletion(self, cell.column)))
            .map(|cell| match &cell.value {
                super::CellValue::Live(_) => u64::MAX,
                super::CellValue::Expiring { expires_at_ms, .. } => *expires_at_ms,
                super::CellValue::Tombstone => 0,
            })
            .fold(marker, u64::max)
    }

    /// What a read at `now_ms` sees of it below `deletion`, or `None` if that is nothing.
    pub(crate) fn visible(mut self, deletion: Timestamp, now_ms: u64) -> Option<Self> {
        self.shadow(deletion);
        self.deletion = Timestamp::ZERO;
        self.complex.clear();
        self.liveness = self.liveness.filter(|marker| marker.is_live_at(now_ms));
        self.cells.retain(|cell| cell.value.is_live_at(now_ms));
        (!self.is_empty()).then_some(self)
    }

    /// Forgets everything that `deletion` or its own deletions shadow. The deletions stay.
    pub(crate) fn shadow(&mut self, deletion: Timestamp) {
        let row = deletion.max(self.deletion);
        self.liveness = self.liveness.filter(|marker| marker.timestamp > row);
        self.complex.retain(|(_, timestamp)| *timestamp > row);
        let complex = &self.complex;
        self.cells.retain(|cell| {
            cell.timestamp > row && cell.timestamp > merge::lookup(complex, cell.column)
        });
    }
}
