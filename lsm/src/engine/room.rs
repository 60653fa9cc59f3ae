//! How large a row would become: asked before a write is proposed, because an apply must not fail.
//!
//! A row grows by many writes to its collections, or by large values in several columns, each of
//! which is small enough. Whoever proposes asks [`Engine::check_room`] first. What is on its way to
//! the engine meanwhile is not seen, so rows are admitted only up to a quarter of what the formats
//! hold; owners keep less than the rest on its way.

use std::ops::Bound;

use bytes::Bytes;

use super::{Engine, SliceRead};
use crate::error::{Error, Result};
use crate::limits::{CELLS_ADMITTED_MAX, ROW_ADMITTED_BYTES_MAX};
use crate::row::{PartitionKey, TableId};

/// Writes without elements up to this size are not looked at, in bytes: what all plain columns of a
/// row can sum up to in such steps stays within the limit.
const SMALL_BYTES: usize = 64 * 1024;
/// Bytes that a cell takes beside its path and value, at most about.
const CELL_OVERHEAD_BYTES: usize = 24;

/// By how much a write can make a row grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// Bytes of values and paths.
    pub bytes: usize,
    /// Cells with a path, which do not replace what was there before.
    pub elements: usize,
}

impl Growth {
    /// Whether [`Engine::check_room`] has to look at the row at all, which may read files.
    pub fn needs_check(&self) -> bool {
        self.elements > 0 || self.bytes > SMALL_BYTES
    }
}

impl Engine {
    /// Refuses a write that would make a row too large: of more than
    /// [`crate::limits::ROW_ADMITTED_BYTES_MAX`] bytes or
    /// [`crate::limits::CELLS_ADMITTED_MAX`] cells, with [`crate::ErrorKind::Invalid`]. `row` is the
    /// clustering key; `None` = the static row. Deletions need not ask.
    ///
    /// Costs a look into the memtables if they have the row and it is small there, otherwise a
    /// read of the row.
    pub fn check_room(
        &self,
        table: TableId,
        partition: &PartitionKey,
        row: Option<&Bytes>,
        growth: Growth,
    ) -> Result<()> {
        if !growth.needs_check() {
            return Ok(());
        }
        let held = self.held_bytes(table, partition, row);
        // It was looked at when its first write came to these memtables, and has not grown much.
        if held > 0 && held.saturating_add(growth.bytes) <= SMALL_BYTES {
            return Ok(());
        }
        let (bytes, cells) = self.stored(table, partition, row)?;
        let added = growth.bytes + growth.elements * CELL_OVERHEAD_BYTES;
        let bytes = bytes.max(held).saturating_add(added);
        let cells = cells.saturating_add(growth.elements);
        if bytes <= ROW_ADMITTED_BYTES_MAX && cells <= CELLS_ADMITTED_MAX {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "the row would have {bytes} bytes in {cells} cells: at most {ROW_ADMITTED_BYTES_MAX} bytes in \
             {CELLS_ADMITTED_MAX} cells, delete the row or its collection, or use several rows"
        )))
    }

    /// Bytes of the row in memtables, deletions of cells included.
    fn held_bytes(&self, table: TableId, id: &PartitionKey, row: Option<&Bytes>) -> usize {
        let state = self.state();
        let frozen = state.frozen.iter().map(|it| &it.memtable);
        let memtables = std::iter::once(&state.active).chain(frozen);
        let bytes = memtables.map(|memtable| {
            let memtable = memtable.read();
            let partition = memtable.partition(table, id.token, &id.key);
            let body = partition.and_then(|partition| match row {
                Some(row) => partition.rows().get(row),
                None => partition.static_row().map(Bytes::as_ref),
            });
            body.map_or(0, <[u8]>::len)
        });
        bytes.sum()
    }

    /// Bytes and cells of what a read sees of the row, expired or not.
    fn stored(
        &self,
        table: TableId,
        partition: &PartitionKey,
        row: Option<&Bytes>,
    ) -> Result<(usize, usize)> {
        let mut read = SliceRead::all(table, partition.clone(), usize::from(row.is_some()), 0);
        if let Some(row) = row {
            read.start = Bound::Included(row.clone());
            read.end = Bound::Included(row.clone());
        }
        let page = self.read(&read)?;
        let cells = match row {
            Some(_) => page.rows.first().map(|row| row.cells()),
            None => Some(page.static_row.cells()),
        };
        let (mut bytes, mut count) = (0, 0);
        for cell in cells.into_iter().flatten() {
            bytes += cell.size() + CELL_OVERHEAD_BYTES;
            count += 1;
        }
        Ok((bytes, count))
    }
}
