//! RocksDB as a user who knows it would set it up for this work: leveled, zstd, filters on the page prefix, synced
//! writes with its own group commit, recycled log files, iterators that lend their bytes.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DB, DBCompressionType,
    Options, ReadOptions, SliceTransform, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use super::{Engine, Seen, Setup, Touched, Written, bytes_below, flat_key, flat_value, see_flat};
use crate::messages::Message;

/// An open database.
pub(super) struct Rocks {
    db: DB,
    options: Options,
    synced: WriteOptions,
    dir: PathBuf,
    setup: Setup,
}

impl Rocks {
    pub(super) fn open(dir: &Path, setup: Setup) -> Result<Self> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(setup.cache_bytes));
        table.set_block_size(16 * 1024);
        table.set_bloom_filter(10.0, false);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::Zstd);
        options.set_write_buffer_size(setup.memtable_bytes);
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(16));
        options.set_recycle_log_file_num(4);
        options.increase_parallelism(2);
        if setup.counts {
            options.enable_statistics();
            options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
        }
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(Self {
            db: DB::open(&options, dir)?,
            options,
            synced,
            dir: dir.to_path_buf(),
            setup,
        })
    }
}

fn batch(messages: &[Message<'_>]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for message in messages {
        let key = flat_key(message.channel, message.bucket(), message.id);
        batch.put(key, flat_value(message));
    }
    batch
}

impl Engine for Rocks {
    fn write(&self, messages: &[Message<'_>]) -> Result<()> {
        if let [message] = messages {
            let key = flat_key(message.channel, message.bucket(), message.id);
            return Ok(self.db.put_opt(key, flat_value(message), &self.synced)?);
        }
        Ok(self.db.write_opt(batch(messages), &self.synced)?)
    }

    fn load(&self, messages: &[Message<'_>]) -> Result<()> {
        Ok(self.db.write(batch(messages))?)
    }

    fn delete(&self, channel: u64, bucket: u64, ids: &[u64]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for id in ids {
            batch.delete(flat_key(channel, bucket, *id));
        }
        Ok(self.db.write(batch)?)
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize, seen: &mut Seen) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(flat_key(channel, bucket + 1, u64::MAX));
        options.set_prefix_same_as_start(true);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(flat_key(channel, bucket, u64::MAX));
        for at in 0..limit {
            if at > 0 {
                rows.next();
            }
            let Some((key, value)) = rows.item() else {
                rows.status()?;
                break;
            };
            see_flat(key, value, seen)?;
        }
        Ok(())
    }

    fn touched(&self, channel: u64, bucket: u64, limit: usize) -> Result<Option<Touched>> {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut context = PerfContext::default();
        context.reset();
        let read = self.page(channel, bucket, limit, &mut Seen::default());
        set_perf_stats(PerfStatsLevel::Disable);
        read?;
        let blocks = context.metric(PerfMetric::BlockCacheHitCount)
            + context.metric(PerfMetric::BlockReadCount);
        let dead_rows = context.metric(PerfMetric::InternalDeleteSkippedCount);
        Ok(Some(Touched { blocks, dead_rows }))
    }

    fn idle(&self) -> Result<()> {
        let mut options = WaitForCompactOptions::default();
        options.set_flush(true);
        Ok(self.db.wait_for_compact(&options)?)
    }

    fn settle(&self) -> Result<()> {
        self.idle()?;
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
        self.db
            .compact_range_opt(None::<&[u8]>, None::<&[u8]>, &options);
        Ok(())
    }

    fn written(&self) -> Option<Written> {
        let count = |ticker| self.options.get_ticker_count(ticker);
        self.setup.counts.then(|| Written {
            log: count(Ticker::WalFileBytes),
            flush: count(Ticker::FlushWriteBytes),
            compaction: count(Ticker::CompactWriteBytes),
        })
    }

    fn file_bytes(&self) -> Result<u64> {
        let is_table = |name: &str| Path::new(name).extension().is_some_and(|it| it == "sst");
        bytes_below(&self.dir, &is_table)
    }

    fn load_expiring(&self, messages: &[Message<'_>], _: u64) -> Result<()> {
        self.load(messages)
    }

    fn drop_expired(&mut self, _: u64) -> Result<()> {
        self.db.delete_file_in_range([0_u8; 24], [0xFF_u8; 24])?;
        let left = self.file_bytes()?;
        anyhow::ensure!(left < 64 << 20, "{left} bytes are still there");
        Ok(())
    }

    fn options(&self) -> String {
        format!(
            "RocksDB 11.8: leveled, zstd (its default level 3) on every level, 16 KiB blocks, 10-bit Bloom filter on keys \
             and on the 16-byte page prefix, index and filter in the cache with L0 pinned; write buffer {} MiB x2, \
             cache {} MiB (LRU), two background jobs, recycled log files; `sync = true`; pages through a raw iterator \
             with upper bound and `prefix_same_as_start`; the expired window is a database of its own, removed with \
             DeleteFilesInRange",
            self.setup.memtable_bytes >> 20,
            self.setup.cache_bytes >> 20
        )
    }
}
