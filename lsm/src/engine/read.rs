//! Slices of one partition.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::dead_runs::Run;
use super::request::{ReadStats, SlicePage, SliceRead};
use super::state::State;
use crate::cache::BlockCache;
use crate::error::{Error, ErrorKind, Result};
use crate::iter::{Cursor, MemCursor, Merger, PageMemory, Reading, RowLimits};
use crate::manifest::TableFile;
use crate::memtable::{MemSlice, Memtable, SliceLimit};
use crate::metrics::add;
use crate::row::range::Place;
use crate::row::{Fragment, StaticRow, Timestamp, Window, codec, merge};
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

/// What a read takes of one memtable, under its lock.
#[derive(Debug, Default)]
struct Copied {
    deletion: Timestamp,
    static_row: Option<Bytes>,
    part: Option<MemSlice>,
}

/// A slice, or one of the pieces that are left of it, with what the active memtable has of it.
#[derive(Debug)]
pub(super) struct Piece {
    slice: Arc<Slice>,
    active: Copied,
}

/// What a read found.
#[derive(Debug)]
pub(super) struct Walked {
    /// The rows, and the runs of dead ones.
    pub(super) reading: Reading,
    /// The static row and the deletion of the partition.
    static_row: Option<(Fragment, Timestamp)>,
    /// The last row looked at, if there may be more.
    pub(super) resume_after: Option<Bytes>,
    /// What it cost.
    pub(super) stats: ReadStats,
    /// Everything up to this log index was looked at.
    pub(super) index: u64,
    /// What was stored when it began, see [`super::dead_runs::DeadRuns::mark`].
    pub(super) mark: u64,
}

/// What a read looks at.
#[derive(Debug)]
struct Plan {
    first: Piece,
    /// Further pieces, behind runs of dead rows that are skipped.
    others: Vec<Piece>,
    /// Everything up to this log index is looked at.
    index: u64,
    runs_skipped: u64,
}

impl Engine {
    /// Reads one page of one partition.
    ///
    /// Fails with [`crate::ErrorKind::Overloaded`] if too many reads run at once, see
    /// [`crate::EngineOptions::reads`]: nothing was read, try again soon.
    pub fn read(&self, read: &SliceRead) -> Result<SlicePage> {
        let permit = self.options.reads.admit()?;
        let memory = PageMemory::new(Some(permit));
        self.read_within(read, memory, &self.options.cache)
    }

    /// The same without waiting for a disk, for callers that must not block: `None` when a block of a
    /// file is not in memory. The page is then to be read with [`Engine::read`].
    pub fn read_in_memory(&self, read: &SliceRead) -> Result<Option<SlicePage>> {
        let permit = self.options.reads.admit()?;
        let memory = PageMemory::new(Some(permit));
        let cache = Arc::new(self.options.cache.alone());
        match self.read_within(read, memory, &cache) {
            Ok(page) => Ok(Some(page)),
            Err(error) if error.kind() == ErrorKind::Overloaded => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same for whoever applies the log and needs what is stored to do so: never refused, and
    /// never cut for want of memory, because every replica must see the same.
    pub fn read_for_apply(&self, read: &SliceRead) -> Result<SlicePage> {
        self.read_within(read, PageMemory::new(None), &self.options.cache)
    }

    fn read_within(
        &self,
        read: &SliceRead,
        memory: PageMemory,
        cache: &Arc<BlockCache>,
    ) -> Result<SlicePage> {
        let slice = Slice {
            table: read.table,
            token: read.partition.token,
            key: read.partition.key.clone(),
            from: Place::from_start(&read.start).to_edge(),
            to: Place::from_end(&read.end).to_edge(),
            reverse: read.reverse,
        };
        let limits = RowLimits {
            rows: if slice.from < slice.to {
                read.limit_rows
            } else {
                0
            },
            bytes: read.limit_bytes,
            tombstones: read.tombstone_budget,
            run_rows: self.options.dead_run_rows,
            now_ms: read.now_ms,
        };
        let mut walked = self.walk(
            slice.clone(),
            read.partition.window,
            limits,
            (memory, Some(cache)),
        )?;
        self.remember(&slice, &mut walked, read.now_ms);
        add(&self.counters.reads, 1);
        self.counters.read.add(&walked.stats);
        let static_row = walked
            .static_row
            .map(|(row, deletion)| visible_static(row, deletion, read.now_ms));
        Ok(SlicePage {
            static_row: static_row.unwrap_or_default(),
            rows: walked.reading.finish().0,
            resume_after: walked.resume_after,
            stats: walked.stats,
        })
    }

    /// Reads a page of a slice into this memory, through this cache if there is one.
    pub(super) fn walk(
        &self,
        slice: Slice,
        window: Window,
        limits: RowLimits,
        (memory, cache): (PageMemory, Option<&Arc<BlockCache>>),
    ) -> Result<Walked> {
        let mark = self.dead_runs.mark(slice.token);
        let state = self.state();
        let table = slice.table;
        let plan = self.plan(&state, slice, limits);
        let mut stats = ReadStats {
            runs_skipped: plan.runs_skipped,
            ..ReadStats::default()
        };
        let version = &state.version;
        let files = version.group(table, window).iter();
        let files = files.chain(version.mixed(table, window));
        let mut reading = Reading::new(limits, memory);
        let (mut static_row, mut resume_after) = (None, None);
        let last = plan.others.len();
        let index = plan.index;
        for (number, piece) in std::iter::once(plan.first).chain(plan.others).enumerate() {
            let reader =
                |file: &Arc<TableFile>| TableReader::new(Arc::clone(&file.table), cache.cloned());
            let readers = files.clone().map(reader).collect();
            let slice = Arc::clone(&piece.slice);
            let mut open = open_piece(&state, piece, readers, limits)?;
            resume_after = reading.read(&mut open.merger, &slice, &mut stats)?;
            open.merger.add_stats(&mut stats);
            for reader in &open.idle {
                stats.add(&reader.stats);
            }
            static_row.get_or_insert((open.static_row, open.deletion));
            if number < last && resume_after.is_none() && reading.is_full() {
                resume_after = reading.last_key();
            }
            if resume_after.is_some() {
                break;
            }
        }
        Ok(Walked {
            reading,
            static_row,
            resume_after,
            stats,
            index,
            mark,
        })
    }

    /// Copies what the active memtable has of a slice, without the runs that are known to be dead.
    fn plan(&self, state: &State, slice: Slice, limits: RowLimits) -> Plan {
        // The active memtable first: what it holds now decides what the read sees.
        let active = state.active.read();
        let newest = active.indexes().map(|(_, last)| last);
        let newest = newest.or_else(|| state.frozen.last().map(|frozen| frozen.index));
        let index = newest.unwrap_or(state.version.flushed.index);
        let limit = active_limit(limits);
        let pieces = self.dead_runs.pieces(&slice, index, limits.now_ms);
        let is_cut = pieces.is_some();
        let copy = |slice: Slice| Piece {
            active: Copied::new(&active, &slice, limit),
            slice: Arc::new(slice),
        };
        let Some(pieces) = pieces else {
            return Plan {
                first: copy(slice),
                others: Vec::new(),
                index,
                runs_skipped: 0,
            };
        };
        let mut pieces = pieces.into_iter().map(|(from, to)| Slice {
            from,
            to,
            ..slice.clone()
        });
        // Nothing left: the partition has a static row all the same.
        let nothing = || Slice {
            from: slice.to.clone(),
            ..slice.clone()
        };
        let first = copy(pieces.next().unwrap_or_else(nothing));
        Plan {
            first,
            others: pieces.map(copy).collect(),
            index,
            runs_skipped: u64::from(is_cut),
        }
    }

    /// Notes the runs of dead rows that a read has walked over. Returns false if they must not be noted,
    /// because rows were stored meanwhile.
    pub(super) fn remember(&self, slice: &Slice, walked: &mut Walked, now_ms: u64) -> bool {
        if walked.reading.runs.is_empty() {
            return true;
        }
        let index = walked.index;
        let runs = walked.reading.runs.drain(..).map(|found| Run {
            from: found.from,
            to: found.to,
            rows: found.rows,
            index,
            now_ms,
        });
        self.dead_runs.note(slice, runs.collect(), walked.mark)
    }

    /// A reader of a file, through the block cache.
    pub(super) fn reader(&self, table: &Arc<crate::sstable::SsTable>) -> TableReader {
        TableReader::new(Arc::clone(table), Some(Arc::clone(&self.options.cache)))
    }
}

fn active_limit(limits: RowLimits) -> SliceLimit {
    SliceLimit {
        live_rows: limits.rows,
        rows: limits.rows.saturating_add(limits.tombstones),
        bytes: limits.bytes,
        now_ms: limits.now_ms,
    }
}

/// Opens a partition in the memtables of `state` and in the files of `readers`.
pub(super) fn open_partition(
    state: &State,
    slice: &Arc<Slice>,
    readers: Vec<TableReader>,
    limits: RowLimits,
) -> Result<OpenPartition> {
    let active = Copied::new(&state.active.read(), slice, active_limit(limits));
    let slice = Arc::clone(slice);
    open_piece(state, Piece { slice, active }, readers, limits)
}

fn open_piece(
    state: &State,
    piece: Piece,
    readers: Vec<TableReader>,
    limits: RowLimits,
) -> Result<OpenPartition> {
    let Piece { slice, active } = piece;
    let slice = &slice;
    let mut opening = Opening::default();
    opening.memory(active, |part| MemCursor::new(part, slice.reverse))?;
    let first = limits.rows.clamp(1, FROZEN_ROWS);
    let limit = SliceLimit {
        live_rows: first,
        rows: FROZEN_ROWS,
        bytes: limits.bytes,
        now_ms: limits.now_ms,
    };
    for frozen in state.frozen.iter().rev() {
        let memtable = &frozen.memtable;
        let copied = Copied::new(&memtable.read(), slice, limit);
        opening.memory(copied, |part| {
            MemCursor::refilling(part, memtable, slice, limit)
        })?;
    }
    let epoch = state
        .version
        .epochs
        .deletion(slice.table, slice.token, &slice.key);
    opening.deletion = opening.deletion.max(epoch);
    for reader in readers {
        opening.file(reader, slice)?;
    }
    let Opening {
        cursors,
        static_row,
        deletion,
        idle,
    } = opening;
    let merger = Merger::new(cursors, slice.reverse, deletion, Some(limits.now_ms));
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

impl Copied {
    fn new(memtable: &Memtable, slice: &Slice, limit: SliceLimit) -> Self {
        let (table, token, key) = (slice.table, slice.token, &slice.key);
        let epoch = memtable.epochs().deletion(table, token, key);
        let Some(partition) = memtable.partition(table, token, key) else {
            return Self {
                deletion: epoch,
                ..Self::default()
            };
        };
        let part = partition.slice(slice.from.place(), slice.to.place(), slice.reverse, limit);
        Self {
            deletion: epoch.max(partition.deletion()),
            static_row: partition.static_row().cloned(),
            part: Some(part),
        }
    }
}

impl Opening {
    fn memory(&mut self, copied: Copied, open: impl FnOnce(MemSlice) -> MemCursor) -> Result<()> {
        self.deletion = self.deletion.max(copied.deletion);
        if let Some(body) = copied.static_row {
            self.static_row(&body, Timestamp::ZERO, |error| {
                error.in_file(std::path::Path::new("memtable"), 0)
            })?;
        }
        self.cursors
            .extend(copied.part.map(|part| Cursor::Memory(open(part))));
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
