//! What the harness asks of a storage engine, and the engines that answer.
//!
//! Every engine gets the same rows: key `(channel, bucket, message id descending)`, value author and content. A
//! write returns when it is durable (synced to disk, shared with other writers where the engine can group them) and
//! visible to reads. A page is the newest rows of one channel and bucket; the reader gets id, author and content of
//! each and touches every cache line of them, without a copy where the engine can lend its bytes.

use std::path::Path;

use anyhow::Result;

use crate::messages::Message;

#[cfg(feature = "peers")]
mod fjall;
mod ours;
mod raw;
#[cfg(feature = "peers")]
mod rocksdb;

pub(crate) use raw::RawDisk;

/// How an engine is opened. Sizes are the same for all engines of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Block cache, in bytes.
    pub(crate) cache_bytes: usize,
    /// A memtable is flushed at this size, in bytes.
    pub(crate) memtable_bytes: usize,
    /// Whether the engine counts what it writes, if that is not free.
    pub(crate) counts: bool,
}

/// Rows seen by a reader, and proof that it looked at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) rows: u64,
    /// Bytes of content.
    pub(crate) bytes: u64,
    /// Depends on every id, author and cache line of content; the same for all engines.
    pub(crate) digest: u64,
}

impl Seen {
    /// Looks at one row.
    pub(crate) fn row(&mut self, id: u64, author: u64, content: &[u8]) {
        self.rows += 1;
        self.bytes += content.len() as u64;
        let touched = content
            .chunks(64)
            .filter_map(|line| line.last())
            .fold(0_u64, |sum, byte| sum.rotate_left(5) ^ u64::from(*byte));
        self.digest = self.digest.rotate_left(7) ^ id ^ author ^ touched;
    }

    /// Adds another page.
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.digest = self.digest.rotate_left(11) ^ other.digest;
    }
}

/// What a read did inside the engine, where the engine tells.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touched {
    /// Data and index blocks used, from the cache or not.
    pub(crate) blocks: u64,
    /// Dead rows or tombstones stepped over.
    pub(crate) dead_rows: u64,
}

/// Bytes that an engine wrote, by its own counters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) log: u64,
    pub(crate) flush: u64,
    pub(crate) compaction: u64,
}

/// One engine under measurement.
pub(crate) trait Engine: Send + Sync {
    /// Stores messages; durable and visible when it returns. Called from many threads.
    fn write(&self, messages: &[Message<'_>]) -> Result<()>;

    /// Stores messages without waiting for the disk, to load data before reads are measured.
    fn load(&self, messages: &[Message<'_>]) -> Result<()>;

    /// Deletes single messages of one channel and bucket, without waiting for the disk.
    fn delete(&self, channel: u64, bucket: u64, ids: &[u64]) -> Result<()>;

    /// Visits the newest `limit` rows of one channel and bucket.
    fn page(&self, channel: u64, bucket: u64, limit: usize, seen: &mut Seen) -> Result<()>;

    /// Reads a page and says what it touched; `None` if the engine does not tell.
    fn touched(&self, channel: u64, bucket: u64, limit: usize) -> Result<Option<Touched>>;

    /// Flushes memory and waits until the engine has nothing to compact by its own rules.
    fn idle(&self) -> Result<()>;

    /// Flushes memory and compacts everything that there is.
    fn settle(&self) -> Result<()>;

    /// What was written since the engine was opened; `None` if the engine does not tell.
    fn written(&self) -> Option<Written>;

    /// Bytes of the files that hold data, the log left out.
    fn file_bytes(&self) -> Result<u64>;

    /// Stores messages that all expire at `expires_at_ms`, for an engine that has expiry; others just store them.
    fn load_expiring(&self, messages: &[Message<'_>], expires_at_ms: u64) -> Result<()>;

    /// Removes what [`Self::load_expiring`] stored, in the cheapest way the engine has. `Err` if it is still there.
    fn drop_expired(&mut self, now_ms: u64) -> Result<()>;

    /// Waits until the space of what [`Self::drop_expired`] removed is back, for an engine that gives it back later.
    fn wait_for_space(&self) -> Result<()> {
        Ok(())
    }

    /// What the engine was opened with, in one line.
    fn options(&self) -> String;
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

    /// Opens the engine in a directory: an empty one, or one that the same engine left; then all that was written
    /// durably is there when this returns.
    pub(crate) fn open(self, dir: &Path, setup: Setup) -> Result<Box<dyn Engine>> {
        match self {
            Self::Chatdb => Ok(Box::new(ours::Ours::open(dir, setup)?)),
            #[cfg(feature = "peers")]
            Self::Rocksdb => Ok(Box::new(rocksdb::Rocks::open(dir, setup)?)),
            #[cfg(feature = "peers")]
            Self::Fjall => Ok(Box::new(fjall::Fjall::open(dir, setup)?)),
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
fn flat_key(channel: u64, bucket: u64, id: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[0..8].copy_from_slice(&channel.to_be_bytes());
    key[8..16].copy_from_slice(&bucket.to_be_bytes());
    key[16..24].copy_from_slice(&(!id).to_be_bytes());
    key
}

/// Value bytes for those engines: author, then content.
#[cfg(feature = "peers")]
fn flat_value(message: &Message<'_>) -> Vec<u8> {
    let mut value = Vec::with_capacity(8 + message.content.len());
    value.extend_from_slice(&message.author.to_le_bytes());
    value.extend_from_slice(message.content);
    value
}

/// Shows a key and a value of those engines to a reader.
#[cfg(feature = "peers")]
fn see_flat(key: &[u8], value: &[u8], seen: &mut Seen) -> Result<()> {
    let id = key.last_chunk::<8>().map(|id| !u64::from_be_bytes(*id));
    let (author, content) = value
        .split_first_chunk::<8>()
        .ok_or_else(|| anyhow::anyhow!("a value of {} bytes", value.len()))?;
    let id = id.ok_or_else(|| anyhow::anyhow!("a key of {} bytes", key.len()))?;
    seen.row(id, u64::from_le_bytes(*author), content);
    Ok(())
}

/// Bytes of all files below `dir` whose name passes.
#[cfg(feature = "peers")]
fn bytes_below(dir: &Path, counts: &dyn Fn(&str) -> bool) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            // A compaction may remove a file while the directory is read.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error.into()),
        };
        if metadata.is_dir() {
            bytes += bytes_below(&entry.path(), counts)?;
        } else if counts(&entry.file_name().to_string_lossy()) {
            bytes += metadata.len();
        }
    }
    Ok(bytes)
}
