//! chatdb's engine as its log is made for: one synced commit for all waiting writers, made by one of them, then the
//! memtable; flush and compaction on threads of their own.
//!
//! Raft, CQL and the network are left out, as they are for the peers.

mod node;
mod rows;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Result;
use lsm::log::{Log, LogOptions};
use lsm::vfs::{OsVfs, Vfs};
use lsm::{
    BlockCache, Engine as Tablet, EngineOptions, MemoryBudget, SliceRead, TableOptions,
    WindowOptions,
};

use super::{Engine, Seen, Setup, Touched, Written};
use crate::messages::{BUCKET_MS, Message};
use node::Node;
use rows::{TABLE, partition};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// An open tablet with its log.
pub(super) struct Ours {
    node: Arc<Node>,
    threads: Vec<JoinHandle<()>>,
    setup: Setup,
}

impl Ours {
    pub(super) fn open(dir: &Path, setup: Setup) -> Result<Self> {
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let options = EngineOptions {
            cache: Arc::new(BlockCache::new(setup.cache_bytes as u64)),
            memory: Arc::new(MemoryBudget::new(setup.memtable_bytes as u64)),
            ..EngineOptions::default()
        };
        let log = Log::open(Arc::clone(&vfs), &dir.join("log"), LogOptions::default())?;
        let tablet = Tablet::open(vfs, &dir.join("tablet"), options)?;
        let windowed = Some(WindowOptions {
            window_ms: BUCKET_MS,
            origin_ms: 0,
        });
        tablet.define_table(TABLE, TableOptions { windowed })?;
        let node = Node::new(log, tablet, setup.memtable_bytes)?;
        // What is replayed may have to be flushed on the way; compaction can wait until the engine is open.
        let flush = node.spawn("flush", Node::flush_full);
        node.recover()?;
        let compact = node.spawn("compact", Node::compact_always);
        let threads = vec![flush, compact];
        Ok(Self {
            node,
            threads,
            setup,
        })
    }

    /// Stores messages without the log.
    fn store(&self, messages: &[Message<'_>], expires_at_ms: Option<u64>) -> Result<()> {
        for entry in rows::entries(messages) {
            let (changes, newest_ms) = node::changes(&entry, expires_at_ms)?;
            self.node.load(changes, entry.len(), newest_ms)?;
        }
        Ok(())
    }

    /// Reads a page, in several reads if the engine cuts it at its tombstone budget.
    fn read(&self, channel: u64, bucket: u64, limit: usize, seen: &mut Seen) -> Result<Touched> {
        let now_ms = self.node.now_ms();
        let mut read = SliceRead::all(TABLE, partition(channel, bucket), limit, now_ms);
        let mut touched = Touched::default();
        loop {
            let page = self.node.tablet.read(&read)?;
            for row in page.rows.iter() {
                rows::see(row, seen)?;
            }
            touched.blocks += page.stats.blocks_read + page.stats.blocks_cached;
            touched.dead_rows += page.stats.tombstones;
            read.limit_rows -= page.rows.len();
            match page.resume_after {
                Some(after) if read.limit_rows > 0 => read = read.resumed_after(after),
                _ => return Ok(touched),
            }
        }
    }
}

impl Engine for Ours {
    fn write(&self, messages: &[Message<'_>]) -> Result<()> {
        self.node.write(messages)
    }

    fn load(&self, messages: &[Message<'_>]) -> Result<()> {
        self.store(messages, None)
    }

    fn delete(&self, channel: u64, bucket: u64, ids: &[u64]) -> Result<()> {
        let changes = ids.iter().map(|id| rows::delete(channel, bucket, *id));
        self.node.load(changes.collect(), 32 * ids.len(), 0)
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize, seen: &mut Seen) -> Result<()> {
        self.read(channel, bucket, limit, seen).map(drop)
    }

    fn touched(&self, channel: u64, bucket: u64, limit: usize) -> Result<Option<Touched>> {
        self.read(channel, bucket, limit, &mut Seen::default())
            .map(Some)
    }

    fn idle(&self) -> Result<()> {
        self.node.flush()?;
        self.node.compact(self.node.now_ms())
    }

    fn settle(&self) -> Result<()> {
        self.node.flush()?;
        // Late enough for the newest window to be over, so that each window becomes one sealed file.
        self.node.compact(self.node.now_ms() + BUCKET_MS + DAY_MS)
    }

    fn written(&self) -> Option<Written> {
        let metrics = self.node.tablet.metrics();
        self.setup.counts.then(|| Written {
            log: self.node.log.metrics().written_bytes,
            flush: metrics.flushed_bytes,
            compaction: metrics.compaction_written_bytes,
        })
    }

    fn file_bytes(&self) -> Result<u64> {
        Ok(self.node.tablet.metrics().file_bytes)
    }

    fn load_expiring(&self, messages: &[Message<'_>], expires_at_ms: u64) -> Result<()> {
        self.store(messages, Some(expires_at_ms))
    }

    fn drop_expired(&mut self, now_ms: u64) -> Result<()> {
        self.node.drop_expired(now_ms)?;
        let left = self.file_bytes()?;
        anyhow::ensure!(left == 0, "{left} bytes are still there");
        Ok(())
    }

    fn wait_for_space(&self) -> Result<()> {
        self.node.wait_for_space();
        Ok(())
    }

    fn options(&self) -> String {
        let options = EngineOptions::default();
        format!(
            "chatdb: one window per ten days, zstd level {}, blocks of {} KiB, partition filters; memtable {} MiB \
             (writers are slowed from 1.5 of it on, more and more up to 3), cache {} MiB; log segments of {} MiB, one entry for \
             messages handed in together, one sync for all that wait, made by one of them; one thread each for flush and compaction; the expired window \
             has a time to live on every row",
            options.compression_level,
            options.block_bytes >> 10,
            self.setup.memtable_bytes >> 20,
            self.setup.cache_bytes >> 20,
            LogOptions::default().segment_bytes >> 20
        )
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.node.close();
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
        // A benchmark that ends has nothing left to lose: its directory goes next.
        drop(self.node.log.close());
    }
}
