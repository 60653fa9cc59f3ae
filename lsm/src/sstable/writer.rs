//! Writes one SSTable from partitions, rows and edges that come in order.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::block_builder::{BlockBuilder, Header, Mark as BuilderMark};
use super::dictionary::Trained;
use super::directory::DirectoryEntry;
use super::filter::FilterBuilder;
use super::format::{Extent, Footer, FrameKind, INDEX_ENTRIES, version_of};
use super::frame::FrameEncoder;
use super::index::BlockProperties;
use super::mark::Mark;
use super::properties::Properties;
use crate::budget::MemoryBudget;
use crate::error::{Error, Result};
use crate::row::range::{Edge, Place, Side};
use crate::row::{CellValue, Fragment, PlainRow, TableId, Timestamp, Window};
use crate::vfs::{File, Vfs};

/// A block is never larger than this before compression, unless a single row is.
const BLOCK_BYTES_HARD: usize = 64 * 1024;
/// A partition that does not fit is begun in a block of its own if what comes before it is at least
/// one in so many parts of a block. Less would make many small blocks: that much stays in front of it, in a
/// block that grows by it.
const SPLIT_SHARE: usize = 4;
/// Bytes collected before they are written to the file.
const WRITE_BYTES: usize = 256 * 1024;

/// What a file is to be.
#[derive(Clone, Debug)]
pub(crate) struct WriterOptions {
    /// Identity of the file.
    pub(crate) uid: u64,
    /// Table of all rows.
    pub(crate) table: TableId,
    /// First and last window that it may have rows of; the same of most files.
    pub(crate) windows: (Window, Window),
    /// First and last log index whose changes are in it.
    pub(crate) indexes: (u64, u64),
    /// Bytes of a block before compression.
    pub(crate) block_bytes: usize,
    /// zstd level.
    pub(crate) level: i32,
    /// Dictionary of the data blocks.
    pub(crate) dictionary: Option<Arc<Trained>>,
    /// The file will not soon be merged, so a dearer filter pays.
    pub(crate) stays: bool,
    /// Data blocks are not compressed while memtables overrun this: for flushing, which has to keep up.
    pub(crate) hurry: Option<Arc<MemoryBudget>>,
}

/// The partition being written.
#[derive(Debug)]
struct OpenPartition {
    token: u64,
    key: Bytes,
    deletion: Timestamp,
    /// Set in files of many windows.
    window: Option<Window>,
    first_block: u32,
    has_static: bool,
    rows: u64,
    range_deletion: Timestamp,
}

/// What is known of the block being written.
#[derive(Debug)]
struct OpenBlock {
    token: u64,
    key: Bytes,
    first: Edge,
    open: Timestamp,
    last: Mark,
    min_timestamp: Timestamp,
    max_timestamp: Timestamp,
    dead_after_ms: u64,
    rows: u32,
    dead_rows: u32,
}

/// What the block being written holds of partitions before the current one.
#[derive(Debug)]
struct Earlier {
    block: OpenBlock,
    /// Where it ends.
    mark: BuilderMark,
    has_edges: bool,
}

/// Writes one SSTable.
#[derive(Debug)]
pub(crate) struct TableWriter {
    file: Arc<dyn File>,
    uid: u64,
    block_bytes: usize,
    encoder: FrameEncoder,
    /// Bytes not yet written; the first belongs at `written`.
    pending: Vec<u8>,
    written: u64,
    dictionary_len: u32,
    builder: BlockBuilder,
    earlier: Option<Earlier>,
    /// The block being written, as far as the current partition goes.
    block: Option<OpenBlock>,
    partition: Option<OpenPartition>,
    /// Of the next partition, in a file of many windows.
    window: Option<Window>,
    index: Vec<BlockProperties>,
    directory: Vec<u8>,
    filter: FilterBuilder,
    stays: bool,
    properties: Properties,
}

impl TableWriter {
    /// Creates the file.
    pub(crate) fn create(vfs: &dyn Vfs, path: &Path, options: WriterOptions) -> Result<Self> {
        let dictionary = options.dictionary.clone();
        let (window, last_window) = options.windows;
        let empty = Properties::empty(options.table, window, options.indexes);
        let mut writer = Self {
            file: vfs.create(path)?,
            uid: options.uid,
            block_bytes: options.block_bytes,
            encoder: FrameEncoder::new(
                options.uid,
                options.level,
                options.dictionary.as_deref(),
                options.hurry,
            )?,
            pending: Vec::with_capacity(WRITE_BYTES + BLOCK_BYTES_HARD),
            written: 0,
            dictionary_len: 0,
            builder: BlockBuilder::default(),
            earlier: None,
            block: None,
            partition: None,
            window: None,
            index: Vec::new(),
            directory: Vec::new(),
            filter: FilterBuilder::default(),
            stays: options.stays,
            properties: Properties {
                last_window,
                ..empty
            },
        };
        if let Some(dictionary) = dictionary {
            writer.dictionary_len = writer.frame(FrameKind::Dictionary, &dictionary.bytes)?.len;
        }
        Ok(writer)
    }

    /// Says what window the next partition is of. A file of one window does not store it.
    pub(crate) fn window(&mut self, window: Window) {
        self.window = self.properties.has_many_windows().then_some(window);
    }

    /// Begins a partition, which comes after all others.
    pub(crate) fn partition(
        &mut self,
        token: u64,
        key: &[u8],
        deletion: Timestamp,
        static_row: Option<&Fragment>,
    ) -> Result<()> {
        self.end_partition()?;
        if self.builder_is_full(key.len()) {
            self.finish_block()?;
        }
        self.leave_earlier();
        let key = Bytes::copy_from_slice(key);
        self.filter.add(token, &key);
        if self.properties.partitions == 0 {
            self.properties.first_token = token;
            self.properties.first_key = key.clone();
        }
        self.properties.last_token = token;
        self.properties.last_key = key.clone();
        self.properties.partitions += 1;
        self.partition = Some(OpenPartition {
            token,
            key,
            deletion,
            window: self.window,
            first_block: block_number(self.index.len())?,
            has_static: static_row.is_some(),
            rows: 0,
            range_deletion: Timestamp::ZERO,
        });
        self.header(static_row, false);
        if deletion != Timestamp::ZERO {
            self.note_range(deletion);
        }
        if let Some(fragment) = static_row {
            self.note_fragment(fragment, deletion);
        }
        Ok(())
    }

    /// Adds a row to the partition.
    pub(crate) fn row(&mut self, key: &[u8], fragment: &Fragment) -> Result<()> {
        self.make_room(key.len() + fragment.size_hint(), Place::row(key))?;
        self.builder.row(key, fragment);
        let dead_after_ms = self.note_fragment(fragment, self.deletion());
        self.note_row(key, dead_after_ms);
        Ok(())
    }

    /// Adds a row that stays as it is.
    pub(crate) fn plain_row(&mut self, key: &[u8], row: &PlainRow<'_>) -> Result<()> {
        self.make_room(key.len() + row.size_hint(), Place::row(key))?;
        self.builder.plain_row(key, row);
        self.note_timestamp(row.timestamp);
        // As `Fragment::dead_after_ms` says of such a row.
        let is_live = row.timestamp > self.deletion();
        let dead_after_ms = if is_live { u64::MAX } else { 0 };
        self.properties.dead_after_ms = self.properties.dead_after_ms.max(dead_after_ms);
        self.note_row(key, dead_after_ms);
        Ok(())
    }

    /// The newest deletion of this file that covers what comes next.
    fn deletion(&self) -> Timestamp {
        let partition = self.partition.as_ref();
        partition.map_or(Timestamp::ZERO, |it| it.deletion.max(it.range_deletion))
    }

    /// Counts a row that nothing is visible of from `dead_after_ms` on.
    fn note_row(&mut self, key: &[u8], dead_after_ms: u64) {
        if let Some(partition) = &mut self.partition {
            partition.rows += 1;
        }
        self.properties.rows += 1;
        if let Some(block) = &mut self.block {
            block.dead_after_ms = block.dead_after_ms.max(dead_after_ms);
            block.rows += 1;
            block.dead_rows += u32::from(dead_after_ms == 0);
            block.last.set(Place::At(key, Side::After));
        }
    }

    /// From `place` on, `deletion` is in force in the partition; zero = none.
    pub(crate) fn edge(&mut self, place: Place<'_>, deletion: Timestamp) -> Result<()> {
        let key_len = place.to_edge().key_len();
        self.make_room(key_len, place)?;
        self.builder.edge(place, deletion);
        if let Some(partition) = &mut self.partition {
            partition.range_deletion = deletion;
        }
        if let Some(block) = &mut self.block {
            block.last.set(place);
        }
        if deletion != Timestamp::ZERO {
            self.note_range(deletion);
        }
        Ok(())
    }

    /// Writes everything, syncs the file, and returns its statistics and length in bytes.
    pub(crate) fn finish(mut self) -> Result<(Properties, u64)> {
        self.end_partition()?;
        self.finish_block()?;
        self.properties.blocks = block_number(self.index.len())?;
        self.properties.quarter_dead_after_ms = quarter_dead_after_ms(&self.index);
        let index_offset = self.offset();
        let top = self.write_index()?;
        let directory = std::mem::take(&mut self.directory);
        let directory = self.frame(FrameKind::Directory, &directory)?;
        let (filter_kind, filter) = std::mem::take(&mut self.filter).finish(self.stays);
        let filter = self.frame(FrameKind::Filter, &filter)?;
        let mut payload = Vec::new();
        self.properties.encode(&mut payload);
        let properties = self.frame(FrameKind::Properties, &payload)?;
        let top = self.frame(FrameKind::Top, &top)?;
        let footer = Footer {
            version: version_of(&self.properties),
            uid: self.uid,
            index_offset,
            directory,
            filter,
            filter_kind,
            properties,
            top,
            dictionary_len: self.dictionary_len,
        };
        self.pending.extend_from_slice(&footer.encode());
        self.write_pending()?;
        self.file.sync_data()?;
        Ok((self.properties, self.written))
    }

    fn end_partition(&mut self) -> Result<()> {
        if self
            .partition
            .as_ref()
            .is_some_and(|open| open.range_deletion != Timestamp::ZERO)
        {
            self.edge(Place::End, Timestamp::ZERO)?;
        }
        let current = block_number(self.index.len())?;
        let Some(partition) = self.partition.take() else {
            return Ok(());
        };
        if partition.first_block < current {
            let first = self.index.get(partition.first_block as usize);
            let entry = DirectoryEntry {
                token: partition.token,
                key: partition.key,
                first_block: partition.first_block,
                last_block: current,
                deletion: partition.deletion,
                has_static: partition.has_static,
                rows: partition.rows,
                head: first.and_then(BlockProperties::head),
            };
            entry.encode(&mut self.directory);
        }
        Ok(())
    }

    /// Writes the header of the current partition, in a new block if there is none.
    fn header(&mut self, static_row: Option<&Fragment>, continues: bool) {
        let Some(partition) = &self.partition else {
            return;
        };
        if self.block.is_none() {
            let open = if continues {
                partition.range_deletion
            } else {
                Timestamp::ZERO
            };
            if self.earlier.is_none() {
                self.builder.begin(open);
            }
            self.block = Some(OpenBlock {
                token: partition.token,
                key: partition.key.clone(),
                first: Place::START.to_edge(),
                open,
                last: Mark::default(),
                min_timestamp: Timestamp(u64::MAX),
                max_timestamp: Timestamp::ZERO,
                dead_after_ms: 0,
                rows: 0,
                dead_rows: 0,
            });
        }
        let Some(partition) = &self.partition else {
            return;
        };
        let header = Header {
            token: partition.token,
            key: &partition.key,
            deletion: partition.deletion,
            window: partition.window,
            continues,
        };
        self.builder.partition(header, static_row);
    }

    fn builder_is_full(&self, more: usize) -> bool {
        self.block.is_some()
            && (self.builder.size() >= self.block_bytes + self.in_front()
                || self.builder.size() + more > BLOCK_BYTES_HARD)
    }

    /// Bytes of earlier partitions that share a block with the first page of the current one.
    fn in_front(&self) -> usize {
        let earlier = self.earlier.as_ref().map_or(0, |it| it.mark.bytes());
        if earlier < self.block_bytes / SPLIT_SHARE {
            earlier
        } else {
            0
        }
    }

    /// Starts a new block if the current one is full.
    fn make_room(&mut self, more: usize, place: Place<'_>) -> Result<()> {
        if self.builder.item_count() == 0 || !self.builder_is_full(more) {
            return Ok(());
        }
        self.split()?;
        if self.builder.item_count() == 0 || !self.builder_is_full(more) {
            return Ok(());
        }
        self.finish_block()?;
        self.header(None, true);
        if let Some(block) = &mut self.block {
            block.first = match place {
                Place::At(key, Side::Row) => Place::At(key, Side::Before).to_edge(),
                other => other.to_edge(),
            };
            block.last.set(block.first.place());
        }
        Ok(())
    }

    /// What is in the block now belongs to partitions before the one that begins.
    fn leave_earlier(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        let block = match self.earlier.take() {
            Some(earlier) => earlier.block.with(block),
            None => block,
        };
        self.earlier = Some(Earlier {
            block,
            mark: self.builder.mark(),
            has_edges: self.builder.has_edges(),
        });
    }

    /// The current partition goes on in another block: if enough comes before it in this one, that
    /// ends there, so that the partition begins with a block and its first page is in one.
    fn split(&mut self) -> Result<()> {
        let least = self.block_bytes / SPLIT_SHARE;
        let Some(earlier) = self.earlier.take_if(|it| it.mark.bytes() >= least) else {
            return Ok(());
        };
        let tail = self.builder.split_off(earlier.mark, earlier.has_edges);
        self.write_block(earlier.block)?;
        self.builder.begin_with(tail);
        if let Some(partition) = &mut self.partition {
            partition.first_block = block_number(self.index.len())?;
        }
        Ok(())
    }

    fn finish_block(&mut self) -> Result<()> {
        let block = self.block.take().filter(|_| !self.builder.is_empty());
        let block = match (self.earlier.take(), block) {
            (Some(earlier), Some(block)) => earlier.block.with(block),
            (Some(Earlier { block, .. }), None) | (None, Some(block)) => block,
            (None, None) => return Ok(()),
        };
        self.write_block(block)
    }

    fn write_block(&mut self, block: OpenBlock) -> Result<()> {
        let is_one_partition = self.builder.partition_count() == 1;
        let offset = self.written + self.pending.len() as u64;
        let payload = self.builder.finish();
        let extent = self
            .encoder
            .append(FrameKind::Data, payload, offset, &mut self.pending)?;
        self.properties.raw_bytes += payload.len() as u64;
        self.properties.dead_rows += u64::from(block.dead_rows);
        let is_dense = block.dead_rows > 0 && block.dead_rows * 2 >= block.rows;
        self.properties.dense_blocks += u32::from(is_dense);
        self.index.push(BlockProperties {
            extent,
            token: block.token,
            key: block.key,
            first: block.first,
            last: block.last.to_edge(),
            open: block.open,
            min_timestamp: block.min_timestamp.min(block.max_timestamp),
            max_timestamp: block.max_timestamp,
            dead_after_ms: block.dead_after_ms,
            rows: block.rows,
            dead_rows: block.dead_rows,
            is_one_partition,
        });
        if self.pending.len() >= WRITE_BYTES {
            self.write_pending()
        } else {
            Ok(())
        }
    }

    /// Counts the deletion of a range or partition.
    fn note_range(&mut self, deletion: Timestamp) {
        self.note_timestamp(deletion);
        self.properties.tombstones += 1;
        self.properties.range_tombstones += 1;
    }

    fn note_timestamp(&mut self, timestamp: Timestamp) {
        let properties = &mut self.properties;
        properties.min_timestamp = properties.min_timestamp.min(timestamp);
        properties.max_timestamp = properties.max_timestamp.max(timestamp);
        if let Some(block) = &mut self.block {
            block.min_timestamp = block.min_timestamp.min(timestamp);
            block.max_timestamp = block.max_timestamp.max(timestamp);
        }
    }

    /// Counts a row or static row and returns from when on it is dead.
    fn note_fragment(&mut self, fragment: &Fragment, deletion: Timestamp) -> u64 {
        for timestamp in fragment.timestamps() {
            self.note_timestamp(timestamp);
        }
        let dead_after_ms = fragment.dead_after_ms(deletion);
        let properties = &mut self.properties;
        properties.dead_after_ms = properties.dead_after_ms.max(dead_after_ms);
        properties.tombstones += u64::from(fragment.deletion != Timestamp::ZERO);
        properties.tombstones += fragment.complex.len() as u64;
        let marker = fragment.liveness.and_then(|marker| marker.expires_at_ms);
        let mut first_expiry_ms = marker.unwrap_or(u64::MAX);
        for cell in &fragment.cells {
            match &cell.value {
                CellValue::Live(_) => {}
                CellValue::Expiring { expires_at_ms, .. } => {
                    first_expiry_ms = first_expiry_ms.min(*expires_at_ms);
                }
                CellValue::Tombstone => properties.tombstones += 1,
            }
        }
        properties.first_expiry_ms = properties.first_expiry_ms.min(first_expiry_ms);
        dead_after_ms
    }

    /// Writes the index blocks and returns the payload of the top index.
    fn write_index(&mut self) -> Result<Vec<u8>> {
        let mut top = Vec::new();
        let index = std::mem::take(&mut self.index);
        for entries in index.chunks(INDEX_ENTRIES) {
            let mut payload = Vec::new();
            for entry in entries {
                entry.encode(&mut payload);
            }
            let extent = self.frame(FrameKind::Index, &payload)?;
            if let Some(group) = BlockProperties::group(extent, entries) {
                group.encode(&mut top);
            }
        }
        Ok(top)
    }

    fn frame(&mut self, kind: FrameKind, payload: &[u8]) -> Result<Extent> {
        let offset = self.offset();
        let extent = self
            .encoder
            .append(kind, payload, offset, &mut self.pending)?;
        if self.pending.len() >= WRITE_BYTES {
            self.write_pending()?;
        }
        Ok(extent)
    }

    /// Bytes of finished blocks so far.
    pub(crate) fn len(&self) -> u64 {
        self.offset()
    }

    fn offset(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn write_pending(&mut self) -> Result<()> {
        self.file.write_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

impl OpenBlock {
    /// The same block with more in it.
    fn with(self, more: Self) -> Self {
        Self {
            last: more.last,
            min_timestamp: self.min_timestamp.min(more.min_timestamp),
            max_timestamp: self.max_timestamp.max(more.max_timestamp),
            dead_after_ms: self.dead_after_ms.max(more.dead_after_ms),
            rows: self.rows + more.rows,
            dead_rows: self.dead_rows + more.dead_rows,
            ..self
        }
    }
}

/// First millisecond from which nothing is visible of a quarter of the blocks that hold rows. The
/// others, with static rows or edges of deletions alone, are what no rewriting makes fewer.
fn quarter_dead_after_ms(index: &[BlockProperties]) -> u64 {
    let with_rows = index.iter().filter(|block| block.rows > 0);
    let mut times: Vec<u64> = with_rows.map(|block| block.dead_after_ms).collect();
    let quarter = times.len().div_ceil(4).saturating_sub(1);
    if times.is_empty() {
        return u64::MAX;
    }
    *times.select_nth_unstable(quarter).1
}

fn block_number(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::invalid("an SSTable of more than 2^32 blocks"))
}
