//! Reads the visible rows of a slice.

use bytes::Bytes;

use super::merger::{Merger, Next};
use super::page::{PageBuilder, PageMemory};
use crate::engine::ReadStats;
use crate::error::Result;
use crate::row::range::{Edge, Side};
use crate::row::{Fragment, Rows};
use crate::sstable::Slice;

/// When a page is full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimits {
    /// Most rows.
    pub(crate) rows: usize,
    /// Bytes of keys and encoded rows.
    pub(crate) bytes: usize,
    /// Most dead rows to look at.
    pub(crate) tombstones: usize,
    /// Dead rows one after another that are reported as a run.
    pub(crate) run_rows: usize,
    /// Time of the read, in milliseconds.
    pub(crate) now_ms: u64,
}

/// A page that is being read, from one slice or from several that follow one another.
#[derive(Debug)]
pub(crate) struct Reading {
    page: PageBuilder,
    limits: RowLimits,
    dead_rows: usize,
    /// Ranges in which all rows were dead, for longer than the limits ask.
    pub(crate) runs: Vec<DeadRange>,
}

/// A range in which all rows are dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeadRange {
    /// Where it begins.
    pub(crate) from: Edge,
    /// Where it ends.
    pub(crate) to: Edge,
    /// How many rows were looked at.
    pub(crate) rows: usize,
}

/// Dead rows seen one after another.
#[derive(Debug, Default)]
struct DeadRun {
    rows: usize,
    /// Rows of the page when the slice began: fewer than now if one of it is visible.
    page_rows: usize,
}

impl Reading {
    /// An empty page in this memory.
    pub(crate) fn new(limits: RowLimits, memory: PageMemory) -> Self {
        Self {
            page: PageBuilder::new(limits, memory),
            limits,
            dead_rows: 0,
            runs: Vec::new(),
        }
    }

    /// Reads rows of `slice` until that ends or a limit is reached; then returns the last row
    /// looked at.
    pub(crate) fn read(
        &mut self,
        merger: &mut Merger,
        slice: &Slice,
        stats: &mut ReadStats,
    ) -> Result<Option<Bytes>> {
        let dead_before = self.dead_rows;
        let resume_after = if self.limits.rows == 0 {
            Ok(None)
        } else {
            self.read_on(merger, slice, stats)
        };
        stats.tombstones += (self.dead_rows - dead_before) as u64;
        resume_after
    }

    fn read_on(
        &mut self,
        merger: &mut Merger,
        slice: &Slice,
        stats: &mut ReadStats,
    ) -> Result<Option<Bytes>> {
        let page_rows = self.page.len();
        let mut run = DeadRun { rows: 0, page_rows };
        loop {
            match merger.settle()? {
                Next::Edge => {
                    merger.advance()?;
                    continue;
                }
                Next::Row => {}
                Next::Cut => {
                    let key = merger.cut_key();
                    if let Some(key) = &key {
                        self.end_run(&mut run, slice, |far| Edge::At(key.clone(), far));
                    }
                    return Ok(key);
                }
                Next::End => {
                    self.end_run(&mut run, slice, |_| far_end(slice));
                    return Ok(None);
                }
            }
            let at = self.page.len();
            let taken = merger.take_run(self.limits.now_ms, &mut self.page)?;
            if taken > 0 {
                self.end_run_at(&mut run, slice, at);
                stats.rows_scanned += taken as u64;
                if self.page.is_at_limit() {
                    let last = self.last_key();
                    return Ok(last.filter(|_| !merger.is_done()));
                }
                continue;
            }
            stats.rows_scanned += 1;
            if let Some(row) = visible(merger, self.limits.now_ms)? {
                self.page.add(merger.key(), &row);
                self.end_run_at(&mut run, slice, at);
            } else {
                self.dead_rows += 1;
                run.rows += 1;
            }
            if self.page.is_at_limit() || self.dead_rows >= self.limits.tombstones.max(1) {
                let last = Bytes::copy_from_slice(merger.key());
                merger.advance()?;
                self.end_run(&mut run, slice, |far| Edge::At(last.clone(), far));
                return Ok((!merger.is_done()).then_some(last));
            }
            merger.advance()?;
        }
    }

    /// The run ended before the visible row number `at` of the page.
    fn end_run_at(&mut self, run: &mut DeadRun, slice: &Slice, at: usize) {
        if run.rows < self.limits.run_rows {
            run.rows = 0;
            return;
        }
        let key = self.page.key(at).unwrap_or_default();
        let near = if slice.reverse {
            Side::After
        } else {
            Side::Before
        };
        self.close_run(run, slice, at, Edge::At(key, near));
    }

    /// The run ended just behind the row that `edge` names, or where the slice ends.
    fn end_run(&mut self, run: &mut DeadRun, slice: &Slice, edge: impl FnOnce(Side) -> Edge) {
        if run.rows < self.limits.run_rows {
            return;
        }
        let far = if slice.reverse {
            Side::Before
        } else {
            Side::After
        };
        let at = self.page.len();
        self.close_run(run, slice, at, edge(far));
    }

    /// Reports a run that ended at `end` and began behind row `at - 1` of the page, or with the
    /// slice if that has no visible row before.
    fn close_run(&mut self, run: &mut DeadRun, slice: &Slice, at: usize, end: Edge) {
        let rows = std::mem::take(&mut run.rows);
        let before = (at > run.page_rows)
            .then(|| self.page.key(at - 1))
            .flatten();
        let (from, to) = match (slice.reverse, before) {
            (false, Some(key)) => (Edge::At(key, Side::After), end),
            (false, None) => (slice.from.clone(), end),
            (true, Some(key)) => (end, Edge::At(key, Side::Before)),
            (true, None) => (end, slice.to.clone()),
        };
        self.runs.push(DeadRange { from, to, rows });
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.page.len()
    }

    /// Whether no more rows fit.
    pub(crate) fn is_full(&self) -> bool {
        self.page.is_full()
    }

    /// The key of the last row.
    pub(crate) fn last_key(&self) -> Option<Bytes> {
        self.page.key(self.page.len().checked_sub(1)?)
    }

    /// Bytes of keys and encoded cells.
    pub(crate) fn bytes(&self) -> usize {
        self.page.bytes
    }

    /// The rows, and what memory they take.
    pub(crate) fn finish(self) -> (Rows, PageMemory) {
        self.page.finish()
    }
}

/// Where the slice ends in reading order.
fn far_end(slice: &Slice) -> Edge {
    if slice.reverse {
        slice.from.clone()
    } else {
        slice.to.clone()
    }
}

fn visible(merger: &Merger, now_ms: u64) -> Result<Option<Fragment>> {
    if !merger.may_be_live(now_ms)? {
        return Ok(None);
    }
    Ok(merger.fragment()?.visible(merger.deletion(), now_ms))
}
