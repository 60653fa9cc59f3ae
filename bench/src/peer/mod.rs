//! What the harness asks of a storage engine, and the engines that answer.
//!
//! Every engine gets the same rows: key `(channel, bucket, message id descending)`, value author and content. A
//! write returns when it is durable (synced to disk, shared with other writers where the engine can group them) and
//! visible to reads. A page is the newest rows of one channel and bucket, every byte of them visited.

use std::path::Path;

use anyhow::Result;

use crate::workload::Message;

#[cfg(feature = "peers")]
mod fjall;
mod ours;
#[cfg(feature = "peers")]
mod rocksdb;

/// One engine under measurement.
pub(crate) trait Engine: Send + Sync {
    /// Stores one message; durable and visible when it returns. Called from many threads.
    fn write(&self, message: &Message) -> Result<()>;

    /// Stores messages without waiting for the disk, to load data before reads are measured.
    fn load(&self, messages: &[Message]) -> Result<()>;

    /// Visits the newest `limit` rows of one channel and bucket; returns rows and bytes of content seen.
    fn page(&self, channel: u64, bucket: u64, limit: usize) -> Result<(usize, usize)>;

    /// Flushes memory and runs compaction until nothing is left to do.
    fn settle(&self) -> Result<()>;
}

/// Which engine to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// chatdb's engine: shared log and LSM.
    Chatdb,
    /// RocksDB, leveled, zstd, synced group commit (build with `--features peers`).
    Rocksdb,
    /// fjall (build with `--features peers`).
    Fjall,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chatdb => "chatdb",
            Self::Rocksdb => "rocksdb",
            Self::Fjall => "fjall",
        }
    }

    /// Opens the engine on an empty directory. `cache_bytes` is its block cache.
    pub(crate) fn open(self, dir: &Path, cache_bytes: usize) -> Result<Box<dyn Engine>> {
        match self {
            Self::Chatdb => Ok(Box::new(ours::Ours::open(dir, cache_bytes)?)),
            #[cfg(feature = "peers")]
            Self::Rocksdb => Ok(Box::new(rocksdb::Rocks::open(dir, cache_bytes)?)),
            #[cfg(feature = "peers")]
            Self::Fjall => Ok(Box::new(fjall::Fjall::open(dir, cache_bytes)?)),
            #[cfg(not(feature = "peers"))]
            _ => anyhow::bail!(
                "{} is not built in: build bench with --features peers",
                self.name()
            ),
        }
    }
}

/// Key bytes for engines that know only byte strings: channel, bucket, complement of the message id.
#[cfg(feature = "peers")]
pub(crate) fn flat_key(channel: u64, bucket: u64, id: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[0..8].copy_from_slice(&channel.to_be_bytes());
    key[8..16].copy_from_slice(&bucket.to_be_bytes());
    key[16..24].copy_from_slice(&(!id).to_be_bytes());
    key
}

/// Value bytes for those engines: author, then content.
#[cfg(feature = "peers")]
pub(crate) fn flat_value(message: &Message) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + message.content.len());
    value.extend_from_slice(&message.author.to_le_bytes());
    value.extend_from_slice(message.content.as_bytes());
    value
}
