//! Reading all partitions of a token range.
//!
//! Sources are asked for their next partition; each partition is then read as a slice is. A page
//! reads the sources of the moment at which it began.

use std::sync::Arc;

use bytes::Bytes;

use super::Engine;
use super::read::{open_partition, visible_static};
use super::request::{ReadStats, ScanPage, ScanPartition, ScanPosition, ScanRead};
use super::state::State;
use crate::error::Result;
use crate::iter::{Cursor, PageMemory, Reading, RowLimits};
use crate::memtable::SharedMemtable;
use crate::metrics::add;
use crate::row::range::{Edge, Place, Side};
use crate::row::{PartitionKey, TableId, Window};
use crate::sstable::{Slice, TableReader};

/// A source of partitions and the next one it has.
#[derive(Debug)]
struct Head {
    source: Source,
    next: Option<(u64, Bytes, Window)>,
}

#[derive(Debug)]
enum Source {
    Memory(SharedMemtable),
    /// `None` while the reader is lent to a partition.
    File(Option<TableReader>, Window),
}

impl Engine {
    /// Reads one page of all partitions of a token range.
    ///
    /// Fails with [`crate::ErrorKind::Overloaded`] as [`Engine::read`] does.
    pub fn scan(&self, scan: &ScanRead) -> Result<ScanPage> {
        let permit = self.options.reads.admit()?;
        self.scan_within(scan, PageMemory::new(Some(permit)))
    }

    /// The same in some memory, of which the page may take what it is granted.
    pub(super) fn scan_within(&self, scan: &ScanRead, mut memory: PageMemory) -> Result<ScanPage> {
        let state = self.state();
        let mut heads = self.heads(&state, scan)?;
        let mut page = ScanPage::default();
        let mut limits = RowLimits {
            rows: scan.limit_rows,
            bytes: scan.limit_bytes,
            tombstones: scan.tombstone_budget,
            run_rows: usize::MAX,
            now_ms: scan.now_ms,
        };
        while let Some((token, key)) = lowest(&heads).filter(|it| it.0 <= *scan.tokens.end()) {
            let after = scan
                .after
                .as_ref()
                .filter(|after| (after.token, &after.key) == (token, &key));
            let after = after.and_then(|after| after.clustering.clone());
            let is_resumed = after.is_some();
            let from = after.map_or(Place::START.to_edge(), |key| Edge::At(key, Side::After));
            let to = Edge::End;
            let slice = Slice {
                table: scan.table,
                token,
                key,
                from,
                to,
                reverse: false,
            };
            let slice = Arc::new(slice);
            let sources = (&*state, heads.as_mut_slice());
            let (found, resume, used) = read_partition(sources, &slice, limits, memory)?;
            memory = used.memory;
            page.stats.add(&used.stats);
            limits.tombstones = limits.tombstones.saturating_sub(used.dead_rows.max(1));
            if !found.rows.is_empty() || (!found.static_row.is_empty() && !is_resumed) {
                limits.tombstones = limits.tombstones.saturating_add(1);
                limits.rows = limits.rows.saturating_sub(found.rows.len().max(1));
                limits.bytes = limits.bytes.saturating_sub(used.bytes);
                page.partitions.push(found);
            }
            let is_full = limits.rows == 0 || limits.bytes == 0 || limits.tombstones == 0;
            if resume.is_some() || is_full {
                let key = slice.key.clone();
                page.resume = Some(ScanPosition {
                    token,
                    key,
                    clustering: resume,
                });
                break;
            }
            for head in &mut heads {
                head.pass(scan.table, token, &slice.key)?;
            }
        }
        for head in heads {
            if let Source::File(Some(reader), _) = head.source {
                page.stats.add(&reader.stats);
            }
        }
        add(&self.counters.scans, 1);
        self.counters.read.add(&page.stats);
        Ok(page)
    }

    /// All sources, each at the first partition of the page.
    fn heads(&self, state: &State, scan: &ScanRead) -> Result<Vec<Head>> {
        let memtables = std::iter::once(&state.active)
            .chain(state.frozen.iter().map(|frozen| &frozen.memtable));
        let memtables = memtables.map(|memtable| Source::Memory(Arc::clone(memtable)));
        let files = state
            .version
            .table(scan.table)
            .map(|file| Source::File(Some(self.reader(&file.table)), file.meta.properties.window));
        let mut heads = Vec::new();
        for source in memtables.chain(files) {
            let mut head = Head { source, next: None };
            match &scan.after {
                None => head.seek(scan.table, *scan.tokens.start(), None)?,
                Some(after) if after.clustering.is_none() => {
                    head.seek(scan.table, after.token, Some(&after.key))?;
                }
                Some(after) => head.seek_from(scan.table, after.token, &after.key)?,
            }
            heads.push(head);
        }
        Ok(heads)
    }
}

impl Head {
    /// Finds the first partition after (token, key), or from the token on without a key.
    fn seek(&mut self, table: TableId, token: u64, key: Option<&[u8]>) -> Result<()> {
        self.next = match &mut self.source {
            Source::Memory(memtable) => memtable.read().next_partition(table, token, key),
            Source::File(Some(reader), window) => {
                let next = reader.next_partition(token, key)?;
                next.map(|(token, key, own)| (token, key, own.unwrap_or(*window)))
            }
            Source::File(None, _) => None,
        };
        Ok(())
    }

    /// Finds the first partition that is not before (token, key).
    fn seek_from(&mut self, table: TableId, token: u64, key: &Bytes) -> Result<()> {
        self.seek(table, token, None)?;
        while let Some((at, before, _)) =
            self.next.clone().filter(|it| (it.0, &it.1) < (token, key))
        {
            self.seek(table, at, Some(&before))?;
        }
        Ok(())
    }

    /// Moves on if it stands at the partition.
    fn pass(&mut self, table: TableId, token: u64, key: &Bytes) -> Result<()> {
        let stands_there = self
            .next
            .as_ref()
            .is_some_and(|(at, found, _)| (*at, found) == (token, key));
        if stands_there {
            self.seek(table, token, Some(key))
        } else {
            Ok(())
        }
    }
}

fn lowest(heads: &[Head]) -> Option<(u64, Bytes)> {
    let next = heads.iter().filter_map(|head| head.next.as_ref());
    next.map(|(token, key, _)| (*token, key))
        .min()
        .map(|(token, key)| (token, key.clone()))
}

/// What a partition took of the limits of the page.
#[derive(Debug)]
struct Used {
    memory: PageMemory,
    stats: ReadStats,
    dead_rows: usize,
    bytes: usize,
}

/// Reads `partition`, from behind the row `after` if it is given.
fn read_partition(
    (state, heads): (&State, &mut [Head]),
    slice: &Arc<Slice>,
    limits: RowLimits,
    memory: PageMemory,
) -> Result<(ScanPartition, Option<Bytes>, Used)> {
    let (mut readers, mut lenders, mut window) = (Vec::new(), Vec::new(), Window::TIMELESS);
    for (number, head) in heads.iter_mut().enumerate() {
        let Some((_, _, found)) = head.next.as_ref().filter(|it| (it.0, &it.1) == slice.id())
        else {
            continue;
        };
        window = *found;
        if let Source::File(reader, _) = &mut head.source
            && let Some(reader) = reader.take()
        {
            lenders.push((number, Arc::clone(reader.table())));
            readers.push(reader);
        }
    }
    let mut open = open_partition(state, slice, readers, limits)?;
    let mut stats = ReadStats::default();
    let mut reading = Reading::new(limits, memory);
    let resume_after = reading.read(&mut open.merger, slice, &mut stats)?;
    let bytes = reading.bytes();
    let (rows, memory) = reading.finish();
    let used = Used {
        memory,
        dead_rows: usize::try_from(stats.tombstones).unwrap_or(usize::MAX),
        bytes,
        stats,
    };
    let cursors = open.merger.into_cursors().into_iter();
    let lent = cursors.filter_map(|cursor| match cursor {
        Cursor::File(cursor) => Some(cursor.into_reader()),
        Cursor::Memory(_) => None,
    });
    for reader in lent.chain(open.idle) {
        let lender = lenders
            .iter()
            .find(|(_, table)| Arc::ptr_eq(table, reader.table()));
        if let Some((number, _)) = lender
            && let Source::File(slot, _) = &mut heads[*number].source
        {
            *slot = Some(reader);
        }
    }
    let found = ScanPartition {
        partition: PartitionKey {
            token: slice.token,
            key: slice.key.clone(),
            window,
        },
        static_row: visible_static(open.static_row, open.deletion, limits.now_ms),
        rows,
    };
    Ok((found, resume_after, used))
}
