//! How young files are compressed, and that it never shows.

use std::sync::Arc;

use lsm::vfs::Vfs;
use lsm::{Engine, EngineOptions, MemoryBudget};

use crate::engine_support::*;

const ROWS: u64 = 2000;

fn filled(vfs: &Arc<dyn Vfs>, memory_bytes: u64) -> Engine {
    let options = EngineOptions {
        memory: Arc::new(MemoryBudget::new(memory_bytes)),
        ..options()
    };
    let engine = open(vfs, options).unwrap();
    let text = "what a person says more than once ".repeat(4);
    for index in 1..=10 {
        let rows = (0..ROWS / 10).map(|at| insert(at * 10 + index - 1, &text));
        apply(
            &engine,
            index,
            &[mutation(&partition("channel", 0), rows.collect())],
        );
        if index % 5 == 0 {
            flush(&engine);
        }
    }
    engine
}

#[test]
fn a_flush_that_cannot_keep_up_leaves_blocks_as_they_are_and_the_next_merge_compresses_them() {
    let (calm, hurried) = (filled(&memory(), 64 << 20), filled(&memory(), 1));
    let (small, large) = (calm.metrics().file_bytes, hurried.metrics().file_bytes);
    let raw_bytes = ROWS * 136;
    assert!(small * 4 < raw_bytes, "{small} bytes, compressed");
    assert!(large > raw_bytes, "{large} bytes, as they are");
    let page = |engine: &Engine| owned(&read_all(engine, &partition("channel", 0), 5000).rows);
    assert_eq!(page(&calm).len() as u64, ROWS);
    assert_eq!(page(&calm), page(&hurried));
    hurried.verify().unwrap();
    compact(&hurried, 5000);
    let merged = hurried.metrics().file_bytes;
    assert!(merged * 4 < raw_bytes, "{merged} bytes after the merge");
    assert_eq!(page(&calm), page(&hurried));
}
