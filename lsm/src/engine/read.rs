//! Slices of one partition.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::request::{ReadStats, SlicePage, SliceRead};
use super::state::State;
use crate::error::{Error, Result};
use crate::iter::{Cursor, MemCursor, Merger, RowLimits, read_rows};
use crate::memtable::{SharedMemtable, SliceLimit};
use crate::metrics::add;
use crate::row::range::Place;
use crate::row::{Fragment, StaticRow, Timestamp, codec, merge};
use crate::sstable::{FileCursor, Slice, TableReader};

/// Rows that a frozen memtable copies out at first.
const FROZEN_ROWS: usize = 64;

/// A partition with all its sources open.
#[derive(Debug)]
pub(super) struct OpenPartition {
    /// Walks the rows.
    pub(super) merger: Merger,
    /// The static row, merged but not yet shadowed by `deletion`.
    pub(super) static_row: Fragment,
    /// Newest deletion of the whole partition.
    pub(super) deletion: Timestamp,
    /// Readers of files that do not hold the partition.
    pub(super) idle: Vec<TableReader>,
}

/// What the sources add up to while they are opened.
#[derive(Debug, Default)]
struct Opening {
    cursors: Vec<Cursor>,
    static_row: Fragment,
    deletion: Timestamp,
    idle: Vec<TableReader>,
}

impl Engine {
    /// Reads one page of one partition.
    pub fn read(&self, read: &SliceRead) -> Result<SlicePage> {
        let state = self.state();
        let slice = Arc::new(Slice {
            table: read.table,
            token: read.partition.token,
            key: read.partition.key.clone(),
            from: Place::from_start(&read.start).to_edge(),
            to: Place::from_end(&read.end).to_edge(),
            reverse: read.reverse,
        });
        let limits = RowLimits {
            rows: if slice.from < slice.to {
                read.limit_rows
            } else {
                0
            },
            bytes: read.limit_bytes,
            tombstones: read.tombstone_budget,
            now_ms: read.now_ms,
        };
        let files = state.version.group(read.table, read.partition.window);
        let readers = files.iter().map(|file| self.reader(&file.table)).collect();
        let mut open = open_partition(&state, &slice, readers, limits)?;
        let mut stats = ReadStats::default();
        let page = read_rows(&mut open.merger, limits, &mut stats)?;
        open.merger.add_stats(&mut stats);
        for reader in &open.idle {
            stats.add(&reader.stats);
        }
        add(&self.counters.reads, 1);
        self.counters.read.add(&stats);
        Ok(SlicePage {
            static_row: visible_static(open.static_row, open.deletion, read.now_ms),
            rows: page.rows,
            resume_after: page.resume_after,
            stats,
        })
    }

    /// A reader of a file, through the block cache.
    pub(super) fn reader(&self, table: &Arc<crate::sstable::SsTable>) -> TableReader {
        TableReader::new(Arc::clone(table), Some(Arc::clone(&self.options.cache)))
    }
}

/// Opens a partition in the memtables of `state` and in the files of `readers`.
pub(super) fn open_partition(
    state: &State,
    slice: &Arc<Slice>,
    readers: Vec<TableReader>,
    limits: RowLimits,
) -> Result<OpenPartition> {
    let mut opening = Opening::default();
    // The active memtable first: what it holds now decides what the read sees.
    let rows = limits.rows.saturating_add(limits.tombstones);
    let limit = SliceLimit {
        live_rows: limits.rows,
        rows,
        bytes: limits.bytes,
        now_ms: limits.now_ms,
    };
    opening.memory(&state.active, slice, limit, false)?;
    let first = limits.rows.clamp(1, FROZEN_ROWS);
    let limit = SliceLimit {
        live_rows: first,
        rows: FROZEN_ROWS,
        bytes: limits.bytes,
        now_ms: limits.now_ms,
    };
    for frozen in state.frozen.iter().rev() {
        opening.memory(&frozen.memtable, slice, limit, true)?;
    }
    let epoch = state
        .version
        .epochs
        .deletion(slice.table, slice.token, &slice.key);
    opening.deletion = opening.deletion.max(epoch);
    for reader in readers {
        opening.file(reader, slice)?;
    }
    let merger = Merger::new(
        opening.cursors,
        slice.reverse,
        opening.deletion,
        Some(limits.now_ms),
    );
    let Opening {
        static_row,
        deletion,
        idle,
        ..
    } = Opening {
        cursors: Vec::new(),
        ..opening
    };
    Ok(OpenPartition {
        merger,
        static_row,
        deletion,
        idle,
    })
}

/// What a read sees of a static row.
pub(super) fn visible_static(row: Fragment, deletion: Timestamp, now_ms: u64) -> StaticRow {
    StaticRow::new(row.visible(deletion, now_ms).as_ref())
}

impl Opening {
    fn memory(
        &mut self,
        memtable: &SharedMemtable,
        slice: &Arc<Slice>,
        limit: SliceLimit,
        can_refill: bool,
    ) -> Result<()> {
        let guard = memtable.read();
        let epoch = guard
            .epochs()
            .deletion(slice.table, slice.token, &slice.key);
        self.deletion = self.deletion.max(epoch);
        let Some(partition) = guard.partition(slice.table, slice.token, &slice.key) else {
            return Ok(());
        };
        self.deletion = self.deletion.max(partition.deletion());
        let static_row = partition.static_row().cloned();
        let part = partition.slice(slice.from.place(), slice.to.place(), slice.reverse, limit);
        drop(guard);
        if let Some(body) = static_row {
            self.static_row(&body, Timestamp::ZERO, |error| {
                error.in_file(std::path::Path::new("memtable"), 0)
            })?;
        }
        self.cursors.push(Cursor::Memory(if can_refill {
            MemCursor::refilling(part, memtable, slice, limit)
        } else {
            MemCursor::new(part, slice.reverse)
        }));
        Ok(())
    }

    fn file(&mut self, reader: TableReader, slice: &Arc<Slice>) -> Result<()> {
        match FileCursor::open(reader, slice)? {
            Err(reader) => self.idle.push(reader),
            Ok((cursor, head)) => {
                self.deletion = self.deletion.max(head.deletion);
                if let Some((body, base)) = head.static_row {
                    self.static_row(&body, base, |error| cursor.row_error(error))?;
                }
                self.cursors.push(Cursor::File(cursor));
            }
        }
        Ok(())
    }

    fn static_row(
        &mut self,
        body: &Bytes,
        base: Timestamp,
        in_source: impl FnOnce(crate::encoding::DecodeError) -> Error,
    ) -> Result<()> {
        let fragment = codec::decode(body, base).map_err(in_source)?;
        self.static_row = merge::merge(std::mem::take(&mut self.static_row), fragment);
        Ok(())
    }
}
