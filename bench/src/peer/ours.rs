//! chatdb's engine as a node drives it: one log entry and one synced commit shared by all waiting writers, then the
//! memtable; flush and compaction on a thread of their own.
//!
//! Raft, CQL and the network are left out, as they are for the peers.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogOptions};
use lsm::vfs::{OsVfs, Vfs};
use lsm::{
    BlockCache, CellValue, CellWrite, Change, ColumnId, Engine as Tablet, EngineOptions, Liveness,
    Mutation, Operation, PartitionKey, SliceRead, TableId, TableOptions, Timestamp, Window,
    WindowOptions,
};
use parking_lot::Mutex;

use super::Engine;
use crate::workload::{BUCKET_MS, Message};

const GROUP: GroupId = GroupId(1);
const TABLE: TableId = TableId(1);
const AUTHOR: ColumnId = ColumnId(1);
const CONTENT: ColumnId = ColumnId(2);
const LEADER: LeaderId = LeaderId { term: 1, node: 1 };
/// The memtable is flushed at this size, as RocksDB's write buffer in this harness.
const MEMTABLE_BYTES: usize = 64 << 20;
/// Writes that may wait to be applied.
const APPLY_QUEUE: usize = 4096;
/// Reads happen long after every generated message.
const NOW_MS: u64 = 4_000_000_000_000;

/// An open tablet with its log.
pub(super) struct Ours {
    node: Arc<Node>,
    apply: SyncSender<Applied>,
    threads: Vec<JoinHandle<()>>,
}

struct Node {
    log: Log,
    tablet: Tablet,
    /// Indexes given out; held while an entry enters the log, so that the log is in index order.
    indexes: Mutex<Indexes>,
    closing: AtomicBool,
}

/// Loaded messages have an index in the tablet and none in the log.
#[derive(Clone, Copy, Default)]
struct Indexes {
    loaded: u64,
    logged: u64,
}

/// A committed entry on its way to the memtable.
struct Applied {
    index: u64,
    change: Change,
    writer: Thread,
    done: Arc<AtomicBool>,
}

impl Ours {
    pub(super) fn open(dir: &Path, cache_bytes: usize) -> Result<Self> {
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let cache = Arc::new(BlockCache::new(cache_bytes as u64));
        let options = EngineOptions {
            cache,
            ..EngineOptions::default()
        };
        let log = Log::open(Arc::clone(&vfs), &dir.join("log"), LogOptions::default())?;
        let tablet = Tablet::open(vfs, &dir.join("tablet"), options)?;
        let windowed = Some(WindowOptions {
            window_ms: BUCKET_MS,
            origin_ms: 0,
        });
        tablet.define_table(TABLE, TableOptions { windowed })?;
        let node = Node {
            log,
            tablet,
            indexes: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        let node = Arc::new(node);
        let (apply, committed) = sync_channel(APPLY_QUEUE);
        let threads = vec![
            node.spawn("log", Node::sync_log),
            node.spawn("maintenance", Node::maintain),
            node.spawn("apply", move |node| {
                for entry in committed {
                    node.apply(&entry);
                }
            }),
        ];
        Ok(Self {
            node,
            apply,
            threads,
        })
    }
}

impl Node {
    fn spawn(
        self: &Arc<Self>,
        name: &str,
        run: impl FnOnce(&Self) + Send + 'static,
    ) -> JoinHandle<()> {
        let node = Arc::clone(self);
        let thread = std::thread::Builder::new().name(name.to_owned());
        thread
            .spawn(move || run(&node))
            .expect("the system gives a thread to a benchmark")
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn sync_log(&self) {
        while !self.is_closing() {
            if !self.log.wait(Duration::from_millis(50)) {
                continue;
            }
            if let Err(error) = self.log.flush() {
                // Closing the log is what ends this loop; nothing waits for it any more.
                assert!(
                    self.is_closing(),
                    "the disk under the benchmark takes writes: {error}"
                );
            }
        }
    }

    fn apply(&self, entry: &Applied) {
        let stamp = Timestamp(entry.index);
        let applied = self
            .tablet
            .apply(entry.index, stamp, std::slice::from_ref(&entry.change));
        applied.expect("a generated row is valid");
        entry.done.store(true, Ordering::Release);
        entry.writer.unpark();
    }

    fn maintain(&self) {
        while !self.is_closing() {
            let full = self.tablet.memory_bytes() >= MEMTABLE_BYTES;
            let worked = self
                .work(full)
                .expect("flush and compaction of generated rows succeed");
            if !worked {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    /// One step of flush or compaction. False if there was nothing to do.
    fn work(&self, freeze: bool) -> Result<bool> {
        if freeze {
            self.tablet.freeze(Bytes::new())?;
            while self.tablet.flush_step()? {}
            let flushed = self.tablet.flushed().index;
            let loaded = self.indexes.lock().loaded;
            if let Some(index) = flushed.checked_sub(loaded).filter(|index| *index > 0) {
                self.log.purge(
                    GROUP,
                    LogId {
                        leader: LEADER,
                        index,
                    },
                )?;
            }
        }
        Ok(self.tablet.compact_step(NOW_MS)? || freeze)
    }
}

impl Engine for Ours {
    fn write(&self, message: &Message) -> Result<()> {
        let change = change(message);
        let payload = payload(message);
        let done = Arc::new(AtomicBool::new(false));
        let (apply, writer) = (self.apply.clone(), std::thread::current());
        let finished = Arc::clone(&done);
        {
            let mut indexes = self.node.indexes.lock();
            indexes.logged += 1;
            let index = indexes.loaded + indexes.logged;
            let id = LogId {
                leader: LEADER,
                index: indexes.logged,
            };
            let entry = Entry { id, payload };
            let committed = Box::new(move |synced: lsm::Result<()>| {
                synced.expect("the disk under the benchmark takes writes");
                let entry = Applied {
                    index,
                    change,
                    writer,
                    done: finished,
                };
                apply
                    .send(entry)
                    .expect("the apply thread outlives the writers");
            });
            self.node.log.append(GROUP, vec![entry], committed)?;
        }
        while !done.load(Ordering::Acquire) {
            std::thread::park();
        }
        Ok(())
    }

    fn load(&self, messages: &[Message]) -> Result<()> {
        let changes: Vec<Change> = messages.iter().map(change).collect();
        let mut indexes = self.node.indexes.lock();
        anyhow::ensure!(indexes.logged == 0, "load before the first durable write");
        for change in changes {
            indexes.loaded += 1;
            let stamp = Timestamp(indexes.loaded);
            self.node
                .tablet
                .apply(indexes.loaded, stamp, std::slice::from_ref(&change))?;
        }
        drop(indexes);
        while self.node.tablet.memory_bytes() >= 2 * MEMTABLE_BYTES {
            std::thread::yield_now(); // the maintenance thread is flushing
        }
        Ok(())
    }

    fn page(&self, channel: u64, bucket: u64, limit: usize) -> Result<(usize, usize)> {
        let page = self.node.tablet.read(&SliceRead::all(
            TABLE,
            partition(channel, bucket),
            limit,
            NOW_MS,
        ))?;
        let content = page
            .rows
            .iter()
            .flat_map(|row| &row.cells)
            .filter(|cell| cell.column == CONTENT);
        let bytes = content
            .map(|cell| match &cell.value {
                CellValue::Live(value) => value.len(),
                CellValue::Expiring { .. } | CellValue::Tombstone => 0,
            })
            .sum();
        Ok((page.rows.len(), bytes))
    }

    fn settle(&self) -> Result<()> {
        self.node.work(true)?;
        while self.node.work(false)? {}
        Ok(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.node.closing.store(true, Ordering::Release);
        // A benchmark that ends has nothing left to lose: its directory goes next.
        drop(self.node.log.close());
        let (closed, _) = sync_channel(1);
        drop(std::mem::replace(&mut self.apply, closed)); // ends the apply thread
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn partition(channel: u64, bucket: u64) -> PartitionKey {
    let mut key = BytesMut::with_capacity(16);
    key.put_u64(channel);
    key.put_u64(bucket);
    let token = channel.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    PartitionKey {
        token,
        key: key.freeze(),
        window: Window(bucket.cast_signed()),
    }
}

fn change(message: &Message) -> Change {
    let cell = |column, value| CellWrite {
        column,
        path: Bytes::new(),
        value: CellValue::Live(value),
    };
    let operation = Operation::Upsert {
        clustering: Bytes::copy_from_slice(&(!message.id).to_be_bytes()),
        liveness: Some(Liveness {
            expires_at_ms: None,
        }),
        cells: vec![
            cell(
                AUTHOR,
                Bytes::copy_from_slice(&message.author.to_le_bytes()),
            ),
            cell(CONTENT, Bytes::copy_from_slice(message.content.as_bytes())),
        ],
    };
    let partition = partition(message.channel, message.bucket());
    Change::Mutation(Mutation {
        table: TABLE,
        partition,
        operations: vec![operation],
    })
}

/// What the log keeps of a write: the same fields, length first.
fn payload(message: &Message) -> Bytes {
    let mut payload = BytesMut::with_capacity(24 + message.content.len());
    payload.put_u64_le(message.channel);
    payload.put_u64_le(message.id);
    payload.put_u64_le(message.author);
    payload.put_slice(message.content.as_bytes());
    payload.freeze()
}
