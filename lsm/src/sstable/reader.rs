//! Reads blocks of one SSTable, through the cache, and finds partitions.

use std::sync::Arc;

use bytes::Bytes;

use super::block::DataBlock;
use super::directory;
use super::format::{Extent, FrameKind, INDEX_ENTRIES};
use super::frame::FRAME_HEADER_BYTES;
use super::index::{BlockProperties, IndexBlock};
use super::open::SsTable;
use crate::cache::{BlockCache, CachedBlock};
use crate::encoding::DecodeError;
use crate::engine::ReadStats;
use crate::error::{Error, Result};
use crate::row::range::Place;
use crate::row::{Timestamp, Window};

/// What a file knows of a partition besides its rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartitionHead {
    /// Deletion of the partition, or zero.
    pub(crate) deletion: Timestamp,
    /// Encoded static row and the base of its timestamps.
    pub(crate) static_row: Option<(Bytes, Timestamp)>,
}

/// The blocks of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Number of the first block.
    pub(crate) first: u32,
    /// Number of the last block.
    pub(crate) last: u32,
    /// Where the first block is, if it need not be asked for in the index.
    pub(crate) head: Option<Extent>,
}

/// Reads one SSTable on behalf of one read or compaction. Remembers the last blocks, so that
/// neighbors cost no second look into the cache.
#[derive(Debug)]
pub(crate) struct TableReader {
    table: Arc<SsTable>,
    cache: Option<Arc<BlockCache>>,
    last_index: Option<(usize, Arc<IndexBlock>)>,
    last_data: Option<(u32, Arc<DataBlock>)>,
    /// The data block that was looked for last, and its offset.
    last_offset: (u32, u64),
    /// What the reads cost.
    pub(crate) stats: ReadStats,
}

impl TableReader {
    /// A reader that goes through `cache`; without one (compaction, verification) it reads the
    /// file and leaves the cache alone.
    pub(crate) fn new(table: Arc<SsTable>, cache: Option<Arc<BlockCache>>) -> Self {
        let stats = ReadStats::default();
        Self {
            table,
            cache,
            last_index: None,
            last_data: None,
            last_offset: (0, 0),
            stats,
        }
    }

    /// The file.
    pub(crate) fn table(&self) -> &Arc<SsTable> {
        &self.table
    }

    /// Number of data blocks.
    pub(crate) fn block_count(&self) -> u32 {
        self.table.properties().blocks
    }

    /// What the index knows about block `number`: an index block and the position in it.
    pub(crate) fn index(&mut self, number: u32) -> Result<(Arc<IndexBlock>, usize)> {
        let number = number as usize;
        let block = self.index_block(number / INDEX_ENTRIES)?;
        Ok((block, number % INDEX_ENTRIES))
    }

    /// The properties of block `number`.
    pub(crate) fn properties(&mut self, number: u32) -> Result<BlockProperties> {
        let (block, at) = self.index(number)?;
        block
            .entries
            .get(at)
            .cloned()
            .ok_or_else(|| self.index_error("an entry for every block"))
    }

    fn index_block(&mut self, number: usize) -> Result<Arc<IndexBlock>> {
        if let Some((last, block)) = &self.last_index
            && *last == number
        {
            return Ok(Arc::clone(block));
        }
        let Some(top) = self.table.top.get(number) else {
            return Err(self.index_error("an index block for every 64 blocks"));
        };
        let extent = top.extent;
        let key = (self.table.cache_id, extent.offset);
        let cached = self.cache.as_ref().and_then(|cache| cache.get(key));
        let block = if let Some(CachedBlock::Index(block)) = cached {
            self.stats.blocks_cached += 1;
            block
        } else {
            let payload = self.read(FrameKind::Index, extent)?;
            let block = IndexBlock::decode(&payload).map_err(|e| self.in_file(e, extent.offset))?;
            let block = Arc::new(block);
            if let Some(cache) = &self.cache {
                cache.insert(key, CachedBlock::Index(Arc::clone(&block)));
            }
            block
        };
        self.last_index = Some((number, Arc::clone(&block)));
        Ok(block)
    }

    /// Data block `number`.
    pub(crate) fn data(&mut self, number: u32) -> Result<Arc<DataBlock>> {
        if let Some((last, block)) = &self.last_data
            && *last == number
        {
            return Ok(Arc::clone(block));
        }
        let (index, at) = self.index(number)?;
        let Some(entry) = index.entries.get(at) else {
            return Err(self.index_error("an entry for every block"));
        };
        self.data_at(number, entry.extent)
    }

    /// Data block `number`, which is known to be at `extent`.
    pub(crate) fn data_at(&mut self, number: u32, extent: Extent) -> Result<Arc<DataBlock>> {
        if let Some((last, block)) = &self.last_data
            && *last == number
        {
            return Ok(Arc::clone(block));
        }
        self.last_offset = (number, extent.offset);
        let key = (self.table.cache_id, extent.offset);
        let cached = self.cache.as_ref().and_then(|cache| cache.get(key));
        let block = if let Some(CachedBlock::Data(block)) = cached {
            self.stats.blocks_cached += 1;
            block
        } else {
            let payload = self.read(FrameKind::Data, extent)?;
            let block =
                DataBlock::decode(payload).map_err(|error| self.in_file(error, extent.offset))?;
            let block = Arc::new(block);
            if let Some(cache) = &self.cache {
                cache.insert(key, CachedBlock::Data(Arc::clone(&block)));
            }
            block
        };
        self.last_data = Some((number, Arc::clone(&block)));
        Ok(block)
    }

    fn read(&mut self, kind: FrameKind, extent: Extent) -> Result<Bytes> {
        if self.cache.as_ref().is_some_and(|cache| cache.is_alone()) {
            let message = "a block is not in memory";
            return Err(Error::overloaded(message));
        }
        self.stats.blocks_read += 1;
        self.stats.bytes_read += u64::from(extent.len);
        let table = &self.table;
        table.frames().read(table.file.as_ref(), kind, extent)
    }

    /// The last block that begins at or before the place; `None` if all begin after it.
    pub(crate) fn find_block(
        &mut self,
        token: u64,
        key: &[u8],
        place: Place<'_>,
    ) -> Result<Option<u32>> {
        let target = (token, key, place);
        let above = self
            .table
            .top
            .partition_point(|entry| entry.start() <= target);
        let Some(number) = above.checked_sub(1) else {
            return Ok(None);
        };
        let block = self.index_block(number)?;
        let within = block
            .entries
            .partition_point(|entry| entry.start() <= target);
        let position = number * INDEX_ENTRIES + within.saturating_sub(1);
        u32::try_from(position)
            .map(Some)
            .map_err(|_| self.index_error("block numbers of 32 bits"))
    }

    /// The blocks that hold the partition, if it may be here. A partition that is in no block
    /// may still get the one that would hold it.
    pub(crate) fn find_partition(&mut self, token: u64, key: &[u8]) -> Result<Option<Span>> {
        if !self.table.may_contain(token, key) {
            return Ok(None);
        }
        self.span(token, key)
    }

    fn span(&mut self, token: u64, key: &[u8]) -> Result<Option<Span>> {
        if let Some(entry) = directory::find(&self.table.directory, token, key) {
            return Ok(Some(Span {
                first: entry.first_block,
                last: entry.last_block,
                head: entry.head,
            }));
        }
        let block = self.find_block(token, key, Place::START)?;
        Ok(block.map(|number| Span {
            first: number,
            last: number,
            head: None,
        }))
    }

    /// Deletion and static row of the partition, or `None` if it is not in the first block of
    /// `span`.
    pub(crate) fn head(
        &mut self,
        token: u64,
        key: &[u8],
        span: Span,
    ) -> Result<Option<PartitionHead>> {
        if span.first < span.last
            && let Some(entry) = directory::find(&self.table.directory, token, key)
            && !entry.has_static
        {
            return Ok(Some(PartitionHead {
                deletion: entry.deletion,
                static_row: None,
            }));
        }
        let block = match span.head {
            Some(extent) => self.data_at(span.first, extent)?,
            None => self.data(span.first)?,
        };
        let in_file = |error| self.in_block(error, span.first);
        let at = block.seek_partition(token, key).map_err(in_file)?;
        let Some((header, ..)) = block.partition(at).map_err(in_file)? else {
            return Ok(None);
        };
        if (header.token, header.key) != (token, key) {
            return Ok(None);
        }
        let static_row = header
            .static_row
            .map(|body| (block.payload().slice_ref(body), block.base()));
        Ok(Some(PartitionHead {
            deletion: header.deletion,
            static_row,
        }))
    }

    /// The first partition after (token, key), or of the token and later ones without a key, and its
    /// window if the file says that of each partition.
    pub(crate) fn next_partition(
        &mut self,
        token: u64,
        key: Option<&[u8]>,
    ) -> Result<Option<(u64, Bytes, Option<Window>)>> {
        let (target, place) = match key {
            Some(key) => (key, Place::End),
            None => (&[][..], Place::START),
        };
        let mut number = self.find_block(token, target, place)?.unwrap_or(0);
        while number < self.block_count() {
            let block = self.data(number)?;
            let in_file = |error| self.in_block(error, number);
            let mut at = block.seek_partition(token, target).map_err(in_file)?;
            while let Some((header, ..)) = block.partition(at).map_err(in_file)? {
                let is_after = match key {
                    Some(key) => (header.token, header.key) > (token, key),
                    None => header.token >= token,
                };
                if is_after {
                    let key = block.payload().slice_ref(header.key);
                    return Ok(Some((header.token, key, header.window)));
                }
                at += 1;
            }
            number += 1;
        }
        Ok(None)
    }

    /// An error for something wrong within data block `number`, at the offset of the block.
    pub(crate) fn in_block(&self, error: DecodeError, number: u32) -> Error {
        let at = number as usize;
        let indexed = self
            .last_index
            .as_ref()
            .filter(|(index, _)| *index == at / INDEX_ENTRIES)
            .and_then(|(_, block)| block.entries.get(at % INDEX_ENTRIES))
            .map(|entry| entry.extent.offset);
        let (last, offset) = self.last_offset;
        let offset = indexed.unwrap_or(if last == number { offset } else { 0 });
        let expected = format!("{} at byte {} of the block", error.expected, error.at);
        Error::corrupt(&self.table.path, offset, expected, "something else")
    }

    fn in_file(&self, error: DecodeError, offset: u64) -> Error {
        error.in_file(&self.table.path, offset + FRAME_HEADER_BYTES as u64)
    }

    /// An error for an index that does not fit the file.
    pub(crate) fn index_error(&self, expected: &str) -> Error {
        let offset = self.table.footer.top.offset;
        Error::corrupt(
            &self.table.path,
            offset,
            expected,
            "an index that does not fit",
        )
    }
}
