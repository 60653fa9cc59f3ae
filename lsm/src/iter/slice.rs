//! Reads the visible rows of a slice.

use bytes::Bytes;

use super::merger::{Merger, Next};
use crate::engine::ReadStats;
use crate::error::Result;
use crate::row::Row;

/// When a page is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Bytes of keys and values.
    pub(crate) bytes: usize,
    /// Most dead rows to look at.
    pub(crate) tombstones: usize,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
}

/// Visible rows and where the page was cut.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// Rows in reading order.
    pub(crate) rows: Vec<Row>,
    /// Bytes of their keys and values.
    pub(crate) bytes: usize,
    /// The last row looked at, if the page was cut.
    pub(crate) resume_after: Option<Bytes>,
}

/// Reads rows until the slice ends or a limit is reached.
pub(crate) fn read_rows(
    merger: &mut Merger,
    limits: RowLimits,
    stats: &mut ReadStats,
) -> Result<Page> {
    let mut page = Page::default();
    if limits.rows == 0 {
        return Ok(page);
    }
    let mut dead_rows = 0;
    loop {
        match merger.settle()? {
            Next::Edge => {
                merger.advance()?;
                continue;
            }
            Next::Row => {}
            Next::Cut => {
                page.resume_after = merger.cut_key();
                break;
            }
            Next::End => break,
        }
        stats.rows_scanned += 1;
        match visible(merger, limits.now_ms)? {
            Some(row) => {
                page.bytes += size_of_row(&row);
                page.rows.push(row);
            }
            None => dead_rows += 1,
        }
        let is_full = page.rows.len() >= limits.rows
            || page.bytes >= limits.bytes
            || dead_rows >= limits.tombstones.max(1);
        if is_full {
            let last = Bytes::copy_from_slice(merger.key());
            merger.advance()?;
            page.resume_after = (!merger.is_done()).then_some(last);
            break;
        }
        merger.advance()?;
    }
    stats.tombstones += dead_rows as u64;
    Ok(page)
}

fn visible(merger: &Merger, now_ms: u64) -> Result<Option<Row>> {
    if !merger.may_be_live(now_ms)? {
        return Ok(None);
    }
    let clustering = || Bytes::copy_from_slice(merger.key());
    Ok(merger
        .fragment()?
        .visible(clustering, merger.deletion(), now_ms))
}

fn size_of_row(row: &Row) -> usize {
    let cells = row.cells.iter();
    let values = cells.map(|cell| cell.path.len() + cell.value.bytes().map_or(0, Bytes::len));
    row.clustering.len() + values.sum::<usize>()
}
