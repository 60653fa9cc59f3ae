//! Reads are let in by count and memory, and all memory together stays within its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use lsm::{
    AdmissionMetrics, BlockCache, Engine, EngineOptions, ErrorKind, MemoryBudget, ReadAdmission,
    ScanRead, SliceRead,
};

use crate::engine_support::*;

const ROWS: u64 = 2000;

fn engine(options: EngineOptions) -> Engine {
    let engine = open(&memory(), options).unwrap();
    let text = "text ".repeat(20);
    let operations = (0..ROWS).map(|at| insert(at, &text)).collect();
    apply(
        &engine,
        1,
        &[mutation(&partition("channel", 0), operations)],
    );
    engine
}

#[test]
fn a_page_that_would_take_more_memory_than_is_allowed_is_cut_and_the_rest_follows() {
    let reads = Arc::new(ReadAdmission::new(8, 64 * 1024));
    let engine = engine(EngineOptions {
        reads: Arc::clone(&reads),
        ..options()
    });
    flush(&engine);
    let mut read = SliceRead::all(TABLE, partition("channel", 0), usize::MAX, 0);
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = engine.read(&read).unwrap();
        pages += 1;
        found.extend(numbers(&page));
        match page.resume_after {
            Some(after) => read = read.resumed_after(after),
            None => break,
        }
    }
    assert_eq!(found, (0..ROWS).collect::<Vec<_>>());
    assert!(pages >= 3, "{pages} pages of 240 KB in 64 KiB");
    let metrics = reads.metrics();
    assert_eq!((metrics.reads, metrics.bytes, metrics.refused), (0, 0, 0));
    assert_eq!(metrics.cut, pages - 1);
    let whole = SliceRead::all(TABLE, partition("channel", 0), usize::MAX, 0);
    let page = engine.read_for_apply(&whole).unwrap();
    assert_eq!(page.rows.len() as u64, ROWS, "applying is never cut");
}

#[test]
fn a_scan_is_cut_by_the_memory_of_all_its_partitions_together() {
    let reads = Arc::new(ReadAdmission::new(8, 64 * 1024));
    let engine = engine(EngineOptions {
        reads: Arc::clone(&reads),
        ..options()
    });
    let text = "text ".repeat(20);
    for number in 0..40_u64 {
        let operations = (0..50).map(|at| insert(at, &text)).collect();
        let channel = partition(&format!("channel {number}"), 0);
        apply(&engine, 4 + number, &[mutation(&channel, operations)]);
    }
    flush(&engine);
    let mut scan = ScanRead {
        table: TABLE,
        tokens: 0..=u64::MAX,
        after: None,
        limit_rows: usize::MAX,
        limit_bytes: usize::MAX,
        tombstone_budget: usize::MAX,
        now_ms: 0,
    };
    let (mut rows, mut pages) = (0, 0);
    loop {
        let page = engine.scan(&scan).unwrap();
        pages += 1;
        rows += page
            .partitions
            .iter()
            .map(|it| it.rows.len())
            .sum::<usize>();
        scan.after = page.resume;
        if scan.after.is_none() {
            break;
        }
    }
    assert_eq!(rows as u64, ROWS + 40 * 50);
    assert!(pages >= 6, "{pages} pages of 480 KB in 64 KiB");
    assert_eq!((reads.metrics().reads, reads.metrics().bytes), (0, 0));
}

/// Tells the other threads to end, also if this one fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_overloaded(error: &lsm::Error) -> bool {
    error.kind() == ErrorKind::Overloaded
}

/// Writers, readers and flushes at once; whoever looks, no limit is exceeded.
#[test]
fn the_memory_of_cache_memtables_and_pages_stays_within_its_limits_while_all_are_in_use() {
    const CACHE_BYTES: u64 = 64 * 1024;
    const MEMTABLE_BYTES: u64 = 64 * 1024;
    let reads = Arc::new(ReadAdmission::new(2, 80 * 1024));
    let cache = Arc::new(BlockCache::new(CACHE_BYTES));
    let budget = Arc::new(MemoryBudget::new(MEMTABLE_BYTES));
    let engine = engine(EngineOptions {
        reads: Arc::clone(&reads),
        cache: Arc::clone(&cache),
        memory: Arc::clone(&budget),
        ..options()
    });
    let largest = budget.used();
    let (is_over, refused) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let read = SliceRead::all(TABLE, partition("channel", 0), usize::MAX, 0);
                while !is_over.load(Ordering::Relaxed) {
                    let outcome = engine.read(&read).map(|page| page.rows.is_empty());
                    let is_refused = outcome.as_ref().is_err_and(is_overloaded);
                    assert!(is_refused || matches!(outcome, Ok(false)), "{outcome:?}");
                    refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
                }
            });
        }
        let _ends = Ends(&is_over);
        let text = "text ".repeat(200);
        // On a busy machine it takes a while until three threads read at once.
        let is_enough = |index| index >= 1500 && refused.load(Ordering::Relaxed) > 0;
        for index in (4..100_000).take_while(|index| !is_enough(*index)) {
            let operations = vec![insert(index, &text)];
            apply(
                &engine,
                index,
                &[mutation(&partition("channel", 0), operations)],
            );
            // What the owner of engines does.
            if budget.is_used_up() {
                engine.freeze(Bytes::new()).unwrap();
                while engine.flush_step().unwrap() {}
            }
            // A read keeps the memtables that it looks at until it is over, which are two while one is
            // being flushed: those of four threads, and those of the engine.
            let used = budget.used();
            let most = largest + (4 + 1) * 2 * (MEMTABLE_BYTES + 8192);
            assert!(used <= most, "{used} bytes of memtables");
            let cached = cache.metrics().bytes;
            assert!(cached <= CACHE_BYTES, "{cached} bytes in the cache");
            let AdmissionMetrics { reads, bytes, .. } = reads.metrics();
            // A read on its way out of a full house is counted for a moment.
            assert!(reads <= 2 + 4 && bytes <= 80 * 1024 + 4 * 64 * 1024);
        }
    });
    let metrics = reads.metrics();
    assert_eq!(metrics.refused, refused.load(Ordering::Relaxed));
    assert!(metrics.refused > 0, "four threads and room for two");
    assert_eq!((metrics.reads, metrics.bytes), (0, 0));
}
