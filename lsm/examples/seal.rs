//! What sealing is worth: bytes on disk per byte written by zstd level, with and without a
//! dictionary, and what reading costs.
//!
//! `cargo run --release -p lsm --example seal -- DIR LINES`, where LINES is a file of one message
//! per line. Bytes written are counted as a flat store would: 24 bytes of key, 8 of author, text.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a measurement reads the clock, prints, and stops at the first failure"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use lsm::vfs::{OsVfs, Vfs};
use lsm::{
    BlockCache, CellValue, CellWrite, Change, ColumnId, Engine, EngineOptions, Liveness, Mutation,
    Operation, PartitionKey, SliceRead, TableId, TableOptions, Timestamp, Window, WindowOptions,
};

const TABLE: TableId = TableId(1);
const CHANNELS: u64 = 200;
const BATCH: usize = 512;

fn channel(number: u64) -> PartitionKey {
    let key = [number.to_be_bytes(), 0_u64.to_be_bytes()].concat();
    PartitionKey {
        token: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        key: Bytes::from(key),
        window: Window(0),
    }
}

fn message(number: u64, text: &str) -> Operation {
    let id = (number * 173) << 22 | (number & 0xfff);
    let author = 1000 + text.bytes().take(20).map(u64::from).sum::<u64>();
    let cell = |column, value: Bytes| CellWrite {
        column: ColumnId(column),
        path: Bytes::new(),
        value: CellValue::Live(value),
    };
    Operation::Upsert {
        clustering: Bytes::copy_from_slice(&(!id).to_be_bytes()),
        liveness: Some(Liveness::default()),
        cells: vec![
            cell(1, Bytes::copy_from_slice(&author.to_be_bytes())),
            cell(2, Bytes::copy_from_slice(text.as_bytes())),
        ],
    }
}

fn open(dir: &Path, options: EngineOptions) -> Engine {
    let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
    let engine = Engine::open(vfs, dir, options).expect("opens");
    let windowed = Some(WindowOptions {
        window_ms: 1000,
        origin_ms: 0,
    });
    engine
        .define_table(TABLE, TableOptions { windowed })
        .expect("defines");
    engine
}

fn flush(engine: &Engine) {
    engine.freeze(Bytes::new()).expect("freezes");
    while engine.flush_step().expect("flushes") {}
}

fn pages(engine: &Engine) -> f64 {
    let start = Instant::now();
    let mut rows = 0;
    for round in 0..10 {
        for number in 0..CHANNELS {
            let mut read = SliceRead::all(TABLE, channel(number), 50, 0);
            read.reverse = round % 2 == 1;
            rows += engine.read(&read).expect("reads").rows.len();
        }
    }
    assert!(rows > 0);
    start.elapsed().as_secs_f64() * 1e6 / (10 * CHANNELS) as f64
}

fn measure(dir: &Path, lines: &[&str], levels: (i32, i32)) {
    // No cache, so that a page pays for decompression.
    let options = EngineOptions {
        cache: Arc::new(BlockCache::new(1)),
        compression_level: levels.0,
        sealed_compression_level: levels.1,
        seal_grace_ms: 0,
        ..EngineOptions::default()
    };
    let engine = open(dir, options);
    let mut raw = 0_u64;
    let start = Instant::now();
    for (batch, chunk) in (1_u64..).zip(lines.chunks(BATCH)) {
        let changes: Vec<Change> = (0_u64..)
            .zip(chunk)
            .map(|(at, text)| {
                let number = batch * BATCH as u64 + at;
                raw += 32 + text.len() as u64;
                // Threads of one channel come in runs, as in real archives.
                Change::Mutation(Mutation {
                    table: TABLE,
                    partition: channel(number / 37 % CHANNELS),
                    operations: vec![message(number, text)],
                })
            })
            .collect();
        engine
            .apply(batch, Timestamp(batch * 1000), &changes)
            .expect("applies");
        if engine.memory_bytes() > 16 * 1024 * 1024 {
            flush(&engine);
        }
    }
    flush(&engine);
    let applied = start.elapsed();
    let young = engine.metrics();
    let young_page = pages(&engine);
    let start = Instant::now();
    while engine.compact_step(1_000_000).expect("compacts") {}
    let sealed = engine.metrics();
    println!(
        "level {} | young {:.4} bytes per byte, {} files, apply and flush {:.2} s, page {young_page:.1} us \
         | sealed at {} {:.4}, {} files, {:.2} s, page {:.1} us",
        levels.0,
        young.file_bytes as f64 / raw as f64,
        young.files,
        applied.as_secs_f64(),
        levels.1,
        sealed.file_bytes as f64 / raw as f64,
        sealed.files,
        start.elapsed().as_secs_f64(),
        pages(&engine),
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("a directory");
    let lines = args.next().expect("a file of lines");
    let text = std::fs::read(lines).expect("reads the lines");
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for levels in [(1, 1), (1, 3), (3, 6), (3, 9), (3, 12)] {
        let dir = Path::new(&dir).join(format!("{}-{}", levels.0, levels.1));
        measure(&dir, &lines, levels);
        std::fs::remove_dir_all(&dir).expect("removes what it made");
    }
}
