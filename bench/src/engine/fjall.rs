//! fjall with its defaults (it has LZ4, not zstd) and a sync of the journal for every write.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Engine, Seen, Setup, Touched, Written, bytes_below, flat_key, flat_value, see_flat};
use crate::messages::Message;

/// An open database.
pub(super) struct Fjall {
    db: Database,
    /// `None` after it was dropped.
    messages: Option<Keyspace>,
    dir: PathBuf,
    setup: Setup,
}

impl Fjall {
    pub(super) fn open(dir: &Path, setup: Setup) -> Result<Self> {
        let db = Database::builder(dir)
            .cache_size(setup.cache_bytes as u64)
            .max_journaling_size((4 * setup.memtable_bytes as u64).max(512 << 20))
            .open()?;
        let memtable_bytes = setup.memtable_bytes as u64;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        Ok(Self {
            messages: Some(db.keyspace("messages", options)?),
            db,
            dir: dir.to_path_buf(),
            setup,
        })
    }

    fn messages(&self) -> Result<&Keyspace> {
        self.messages.as_ref().context("the keyspace was dropped")
    }

    fn insert(&self, messages: &[Message<'_>], durable: Option<PersistMode>) -> Result<()> {
        let keyspace = self.messages()?;
        let mut batch = self.db.batch().durability(durable);
        for message in messages {
            let key = flat_key(message.channel, message.bucket(), message.id);
            batch.insert(keyspace, key, flat_value(message));
        }
        Ok(batch.commit()?)
    }
}

impl Engine for Fjall {
    fn write(&self, messages: &[Message<'_>]) -> Result<()> {
        if let [message] = messages {
            let key = flat_key(message.channel, message.bucket(), message.id);
            self.messages()?.insert(key, flat_value(message))?;
            return Ok(self.db.persist(PersistMode::SyncData)?);
        }
        self.insert(messages, Some(PersistMode::SyncData))
    }

    fn load(&self, messages: &[Message<'_>]) -> Result<()> {
        self.insert(messages, None)
    }

    fn delete(&self, channel: u64, bucket: u64, ids: &[u64]) -> Result<()> {
        let keyspace = self.messages()?;
        let mut batch = self.db.batch();
        for id in ids {
            batch.remove(keyspace, flat_key(channel, bucket, *id));
        }
        Ok(batch.commit()?)
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize, seen: &mut Seen) -> Result<()> {
        let range = flat_key(channel, bucket, u64::MAX)..flat_key(channel, bucket + 1, u64::MAX);
        for row in self.messages()?.range(range).take(limit) {
            let (key, value) = row.into_inner()?;
            see_flat(&key, &value, seen)?;
        }
        Ok(())
    }

    fn touched(&self, _: u64, _: u64, _: usize) -> Result<Option<Touched>> {
        Ok(None)
    }

    fn idle(&self) -> Result<()> {
        self.messages()?.rotate_memtable_and_wait()?;
        let mut quiet = 0;
        while quiet < 5 {
            std::thread::sleep(Duration::from_millis(20)); // it says what runs, not what is due
            let is_quiet = self.db.active_compactions() == 0 && self.db.outstanding_flushes() == 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
        }
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.idle()?;
        Ok(self.messages()?.major_compact()?)
    }

    fn written(&self) -> Option<Written> {
        None
    }

    fn file_bytes(&self) -> Result<u64> {
        Ok(self.messages()?.disk_space())
    }

    fn load_expiring(&self, messages: &[Message<'_>], _: u64) -> Result<()> {
        self.load(messages)
    }

    fn drop_expired(&mut self, _: u64) -> Result<()> {
        let keyspace = self.messages.take().context("dropped before")?;
        self.db.delete_keyspace(keyspace)?;
        let left = bytes_below(&self.dir.join("keyspaces"), &|_| true)?;
        anyhow::ensure!(left < 64 << 20, "{left} bytes are still there");
        Ok(())
    }

    fn options(&self) -> String {
        format!(
            "fjall 3.1: leveled, LZ4 (it has no zstd), its default block size and filters; memtable {} MiB, cache {} \
             MiB; insert and then `persist(SyncData)`, for several rows one batch with that durability; the expired \
             window is a keyspace of its own, dropped as a whole",
            self.setup.memtable_bytes >> 20,
            self.setup.cache_bytes >> 20
        )
    }
}
