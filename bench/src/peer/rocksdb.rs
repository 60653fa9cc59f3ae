//! RocksDB as a user would set it up for this work: leveled, zstd, 10-bit filter, synced writes.

use std::path::Path;

use anyhow::Result;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::{Engine, flat_key, flat_value};
use crate::workload::Message;

/// An open database.
pub(super) struct Rocks {
    db: DB,
    synced: WriteOptions,
}

impl Rocks {
    pub(super) fn open(dir: &Path, cache_bytes: usize) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(cache_bytes));
        table.set_block_size(16 * 1024);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Zstd);
        options.set_write_buffer_size(64 << 20);
        options.increase_parallelism(2);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self {
            db: DB::open(&options, dir)?,
            synced,
        })
    }
}

impl Engine for Rocks {
    fn write(&self, message: &Message) -> Result<()> {
        let key = flat_key(message.channel, message.bucket(), message.id);
        Ok(self.db.put_opt(key, flat_value(message), &self.synced)?)
    }

    fn load(&self, messages: &[Message]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for message in messages {
            batch.put(
                flat_key(message.channel, message.bucket(), message.id),
                flat_value(message),
            );
        }
        Ok(self.db.write(batch)?)
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize) -> Result<(usize, usize)> {
        let start = flat_key(channel, bucket, u64::MAX);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(flat_key(channel, bucket + 1, u64::MAX));
        let rows = self
            .db
            .iterator_opt(IteratorMode::From(&start, Direction::Forward), options);
        let (mut count, mut bytes) = (0, 0);
        for row in rows.take(limit) {
            let (_, value) = row?;
            count += 1;
            bytes += value.len() - 8;
        }
        Ok((count, bytes))
    }

    fn settle(&self) -> Result<()> {
        self.db.flush()?;
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }
}
