//! Block cache: decompressed blocks, bounded by bytes, shared by all engines of a process.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::sstable::{DataBlock, IndexBlock};

/// A block as the cache holds it.
#[derive(Clone, Debug)]
pub(crate) enum CachedBlock {
    /// Rows.
    Data(Arc<DataBlock>),
    /// Index entries.
    Index(Arc<IndexBlock>),
}

/// Identity of an open file and offset in it.
type Key = (u64, u64);

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, CachedBlock> for ByBytes {
    fn weight(&self, _: &Key, block: &CachedBlock) -> u64 {
        match block {
            CachedBlock::Data(block) => block.weight(),
            CachedBlock::Index(block) => block.weight(),
        }
    }
}

/// Decompressed blocks; the least useful are evicted when their bytes exceed the capacity.
#[derive(Debug)]
pub struct BlockCache {
    blocks: Arc<Cache<Key, CachedBlock, ByBytes>>,
    /// Whether readers do without what is not here, instead of reading it from files.
    is_alone: bool,
}

/// Size and success of a [`BlockCache`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheMetrics {
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes allowed.
    pub capacity_bytes: u64,
    /// Blocks in use.
    pub blocks: u64,
}

impl BlockCache {
    /// An empty cache of at most `capacity_bytes`.
    pub fn new(capacity_bytes: u64) -> Self {
        let blocks = usize::try_from(capacity_bytes / (16 * 1024))
            .unwrap_or(usize::MAX)
            .max(16);
        Self {
            blocks: Arc::new(Cache::with_weighter(blocks, capacity_bytes, ByBytes)),
            is_alone: false,
        }
    }

    /// The same blocks for readers that must not wait for a disk.
    pub(crate) fn alone(&self) -> Self {
        Self {
            blocks: Arc::clone(&self.blocks),
            is_alone: true,
        }
    }

    /// Whether its readers must not read files.
    pub(crate) fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Size of the cache.
    pub fn metrics(&self) -> CacheMetrics {
        CacheMetrics {
            bytes: self.blocks.weight(),
            capacity_bytes: self.blocks.capacity(),
            blocks: self.blocks.len() as u64,
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<CachedBlock> {
        self.blocks.get(&key)
    }

    pub(crate) fn insert(&self, key: Key, block: CachedBlock) {
        self.blocks.insert(key, block);
    }
}
