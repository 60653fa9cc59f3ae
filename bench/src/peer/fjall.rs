//! fjall with its defaults (it has LZ4, not zstd) and a sync of the journal for every write.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Engine, flat_key, flat_value};
use crate::workload::Message;

/// An open database.
pub(super) struct Fjall {
    db: Database,
    messages: Keyspace,
}

impl Fjall {
    pub(super) fn open(dir: &Path, cache_bytes: usize) -> Result<Self> {
        let db = Database::builder(dir)
            .cache_size(cache_bytes as u64)
            .open()?;
        let messages = db.keyspace("messages", KeyspaceCreateOptions::default)?;
        Ok(Self { db, messages })
    }
}

impl Engine for Fjall {
    fn write(&self, message: &Message) -> Result<()> {
        let key = flat_key(message.channel, message.bucket(), message.id);
        self.messages.insert(key, flat_value(message))?;
        Ok(self.db.persist(PersistMode::SyncData)?)
    }

    fn load(&self, messages: &[Message]) -> Result<()> {
        for message in messages {
            let key = flat_key(message.channel, message.bucket(), message.id);
            self.messages.insert(key, flat_value(message))?;
        }
        Ok(())
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize) -> Result<(usize, usize)> {
        let range = flat_key(channel, bucket, u64::MAX)..flat_key(channel, bucket + 1, u64::MAX);
        let (mut count, mut bytes) = (0, 0);
        for row in self.messages.range(range).take(limit) {
            bytes += row.value()?.len() - 8;
            count += 1;
        }
        Ok((count, bytes))
    }

    fn settle(&self) -> Result<()> {
        self.messages.rotate_memtable_and_wait()?;
        Ok(self.messages.major_compact()?)
    }
}
