//! How long a process takes to come back: opens a log of some size, then applies all of it.
//!
//! `cargo run --release -p lsm --example recovery [DIR] [MEGABYTES]`
//!
//! Writes rows of 128 bytes (key and value) to the log, 64 to a group commit and none to a file, as
//! a process does that dies before its first flush. Then it measures opening the log, which reads
//! and checks every page, and reading all entries back and applying them to an engine.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measuring program is the owner: it has the clock and the terminal"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogOptions};
use lsm::vfs::{OsVfs, Vfs};
use lsm::{
    CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Mutation, Operation,
    PartitionKey, TableId, TableOptions, Timestamp, Window,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const GROUP: GroupId = GroupId(1);
const TABLE: TableId = TableId(1);
const ROW_BYTES: usize = 128;
const CHANNELS: u64 = 1000;
const COMMIT_ENTRIES: u64 = 64;
const READ_BYTES: usize = 4 * 1024 * 1024;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments
        .next()
        .map_or_else(|| std::env::temp_dir().join("recovery"), PathBuf::from);
    let megabytes: u64 = arguments.next().map_or(Ok(1024), |word| word.parse())?;
    std::fs::create_dir_all(&dir)?;
    fill(&dir.join("log"), megabytes * 1024 * 1024)?;
    let begun = Instant::now();
    let log = Log::open(Arc::new(OsVfs), &dir.join("log"), LogOptions::default())?;
    let opened = begun.elapsed();
    let entries = replay(&log, &dir.join("tablet"))?;
    let recovered = begun.elapsed();
    let segments = log.metrics();
    println!(
        "{} MiB of log in {} segments, {entries} entries: opened in {opened:.2?}, applied after {recovered:.2?}",
        segments.segment_bytes >> 20,
        segments.segments
    );
    log.close()?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn fill(dir: &Path, bytes: u64) -> Result<()> {
    let log = Log::open(Arc::new(OsVfs), dir, LogOptions::default())?;
    let mut index = 0;
    while log.metrics().written_bytes < bytes {
        let entries = (0..COMMIT_ENTRIES).map(|_| {
            index += 1;
            let leader = LeaderId { term: 1, node: 1 };
            Entry {
                id: LogId { leader, index },
                payload: row(index),
            }
        });
        log.append_durable(GROUP, entries.collect())?;
    }
    // As a killed process leaves it: without the mark of a log that was closed.
    drop(log);
    Ok(())
}

/// Channel, number and content of a row.
fn row(index: u64) -> Bytes {
    let mut row = Vec::with_capacity(ROW_BYTES);
    row.extend((index.wrapping_mul(0x9e37_79b9_7f4a_7c15) % CHANNELS).to_be_bytes());
    row.extend((!index).to_be_bytes());
    row.resize(ROW_BYTES, b'a');
    row.into()
}

fn replay(log: &Log, dir: &Path) -> Result<u64> {
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let engine = Engine::open(vfs, dir, EngineOptions::default())?;
    engine.define_table(TABLE, TableOptions::default())?;
    let last = log.state(GROUP).last.map_or(0, |last| last.index);
    let mut next = engine.flushed().index + 1;
    while next <= last {
        for entry in log.read(GROUP, next..last + 1, READ_BYTES)? {
            next = entry.id.index + 1;
            let change = change(&entry.payload)?;
            engine.apply(entry.id.index, Timestamp(entry.id.index), &[change])?;
        }
    }
    Ok(last)
}

fn change(row: &Bytes) -> Result<Change> {
    let channel: [u8; 8] = row.get(..8).unwrap_or_default().try_into()?;
    let liveness = Some(Liveness::default());
    let cell = CellWrite {
        column: ColumnId(1),
        path: Bytes::new(),
        value: CellValue::Live(row.slice(16..)),
    };
    Ok(Change::Mutation(Mutation {
        table: TABLE,
        partition: PartitionKey {
            token: u64::from_be_bytes(channel),
            key: row.slice(..8),
            window: Window::TIMELESS,
        },
        operations: vec![Operation::Upsert {
            clustering: row.slice(8..16),
            liveness,
            cells: vec![cell],
        }],
    }))
}
