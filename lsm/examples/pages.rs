//! Measures one engine on real files: applying, flushing, merging, and pages of 50 rows.
//!
//! `cargo run --release -p lsm --example pages -- /tmp/pages`
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a measurement reads the clock, prints, and stops at the first failure"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lsm::vfs::{OsVfs, Vfs};
use lsm::{
    CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Mutation, Operation,
    PartitionKey, SliceRead, TableId, Timestamp,
};

const TABLE: TableId = TableId(1);
const CHANNELS: u64 = 100;
const MESSAGES: u64 = 400_000;
const BATCH: u64 = 500;

fn channel(number: u64) -> PartitionKey {
    PartitionKey::timeless(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), key(number))
}

fn key(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// A message: newest first by complement, eight columns, 60 to 180 bytes of text.
fn message(number: u64) -> Operation {
    const WORDS: [&str; 8] = [
        "lorem",
        "kernel",
        "apt-get",
        "I think",
        "sudo",
        "try",
        "reboot",
        "works here",
    ];
    let mut text = String::new();
    for step in 0..10 + number % 15 {
        let word = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .rotate_left(step as u32 * 5);
        text.push_str(WORDS[usize::try_from(word % 8).expect("below 8")]);
        text.push(' ');
    }
    let cell = |column, value| CellWrite {
        column: ColumnId(column),
        path: Bytes::new(),
        value: CellValue::Live(value),
    };
    let mut cells: Vec<CellWrite> = (0..7).map(|column| cell(column, key(number + 1))).collect();
    cells.push(cell(7, Bytes::from(text)));
    Operation::Upsert {
        clustering: key(!number),
        liveness: Some(Liveness::default()),
        cells,
    }
}

fn timed<T>(what: &str, count: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let elapsed = start.elapsed();
    let each = elapsed.as_nanos() / u128::from(count);
    println!(
        "{what:<44} {:>10.1} ms {:>9.2} us each",
        elapsed.as_secs_f64() * 1e3,
        each as f64 / 1e3
    );
    result
}

fn pages(engine: &Engine, what: &str) {
    for reverse in [false, true] {
        let direction = if reverse { "reverse" } else { "forward" };
        let reads: Vec<SliceRead> = (0..CHANNELS)
            .map(|number| {
                let mut read = SliceRead::all(TABLE, channel(number), 50, 0);
                read.reverse = reverse;
                read
            })
            .collect();
        for _ in 0..2 {
            for read in &reads {
                assert_eq!(engine.read(read).expect("reads").rows.len(), 50);
            }
        }
        let mut stats = lsm::ReadStats::default();
        timed(
            &format!("{what}, 50 rows {direction}, cached"),
            20 * CHANNELS,
            || {
                for _ in 0..20 {
                    for read in &reads {
                        stats.add(&engine.read(read).expect("reads").stats);
                    }
                }
            },
        );
        println!(
            "    blocks per page: {:.2}",
            stats.blocks_cached as f64 / (20 * CHANNELS) as f64
        );
    }
}

fn main() {
    let dir = std::env::args()
        .nth(1)
        .expect("usage: pages DIRECTORY (new)");
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let engine = Engine::open(vfs, Path::new(&dir), EngineOptions::default()).expect("opens");
    let mut batches = Vec::new();
    for batch in 0..MESSAGES / BATCH {
        let messages = batch * BATCH..(batch + 1) * BATCH;
        let mutations = messages.map(|number| {
            let operations = vec![message(number)];
            Change::Mutation(Mutation {
                table: TABLE,
                partition: channel(number % CHANNELS),
                operations,
            })
        });
        batches.push(mutations.collect::<Vec<_>>());
    }
    let quarter = batches.len() / 4;
    for (part, batches) in batches.chunks(quarter).enumerate() {
        timed(&format!("apply, part {part}"), MESSAGES / 4, || {
            for (at, changes) in batches.iter().enumerate() {
                let index = (part * quarter + at + 1) as u64;
                engine
                    .apply(index, Timestamp(index * 1_000_000), changes)
                    .expect("applies");
            }
        });
        if part == 0 {
            println!(
                "    memtable: {} bytes per row",
                engine.memory_bytes() as u64 * 4 / MESSAGES
            );
            pages(&engine, "memtable");
        }
        timed("flush", MESSAGES / 4, || {
            engine.freeze(Bytes::new()).expect("freezes");
            engine.flush_step().expect("flushes")
        });
    }
    println!(
        "    files: {} bytes per row",
        engine.metrics().file_bytes / MESSAGES
    );
    pages(&engine, "4 files");
    timed("compact 4 files", MESSAGES, || {
        while engine.compact_step(0).expect("compacts") {}
    });
    pages(&engine, "1 file");
    timed("verify", MESSAGES, || engine.verify().expect("verifies"));
    println!("{:?}", engine.metrics());
}
