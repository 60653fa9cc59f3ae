//! Reads the visible rows of a slice.

use bytes::Bytes;

use super::merger::{Merger, Next};
use super::page::PageBuilder;
use crate::engine::ReadStats;
use crate::error::Result;
use crate::row::{Fragment, Rows};

/// When a page is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Bytes of keys and encoded rows.
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
    pub(crate) rows: Rows,
    /// Bytes of their keys and encoded cells.
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
    if limits.rows == 0 {
        return Ok(Page::default());
    }
    let mut page = PageBuilder::new(limits);
    let mut dead_rows = 0;
    let mut resume_after = None;
    loop {
        match merger.settle()? {
            Next::Edge => {
                merger.advance()?;
                continue;
            }
            Next::Row => {}
            Next::Cut => {
                resume_after = merger.cut_key();
                break;
            }
            Next::End => break,
        }
        let taken = merger.take_run(limits.now_ms, &mut page)?;
        if taken > 0 {
            stats.rows_scanned += taken as u64;
            if page.is_full() {
                resume_after = if merger.is_done() {
                    None
                } else {
                    page.last_key()
                };
                break;
            }
            continue;
        }
        stats.rows_scanned += 1;
        match visible(merger, limits.now_ms)? {
            Some(row) => page.add(merger.key(), &row),
            None => dead_rows += 1,
        }
        if page.is_full() || dead_rows >= limits.tombstones.max(1) {
            let last = Bytes::copy_from_slice(merger.key());
            merger.advance()?;
            resume_after = (!merger.is_done()).then_some(last);
            break;
        }
        merger.advance()?;
    }
    stats.tombstones += dead_rows as u64;
    Ok(Page {
        bytes: page.bytes,
        rows: page.finish(),
        resume_after,
    })
}

fn visible(merger: &Merger, now_ms: u64) -> Result<Option<Fragment>> {
    if !merger.may_be_live(now_ms)? {
        return Ok(None);
    }
    Ok(merger.fragment()?.visible(merger.deletion(), now_ms))
}
