//! Metrics: complete, documented, and true.

use std::collections::BTreeSet;
use std::path::Path;

use lsm::exposition::Metric;
use lsm::log::LogMetrics;
use lsm::{AdmissionMetrics, EngineMetrics, ScanRead};

use crate::engine_support::*;

/// Names of the public fields of a struct, from its source.
fn fields(source: &str, name: &str) -> BTreeSet<String> {
    let from = source.find(&format!("pub struct {name} {{")).unwrap();
    let body = &source[from..];
    let body = &body[..body.find("\n}").unwrap()];
    let lines = body
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "));
    lines
        .filter_map(|line| line.split_once(':'))
        .map(|(field, _)| field.to_owned())
        .filter(|field| !field.starts_with("struct") && field != "cache")
        .collect()
}

fn names(list: &[Metric], part: &str) -> BTreeSet<String> {
    let of_part = list.iter().filter(|metric| metric.part == part);
    of_part.map(|metric| metric.name.to_owned()).collect()
}

#[test]
fn every_field_of_the_metrics_is_in_the_lists() {
    let engine = EngineMetrics::default().list();
    let log = LogMetrics::default().list();
    let source = include_str!("../../src/metrics.rs");
    assert_eq!(
        names(&engine, "engine"),
        fields(source, "EngineMetrics"),
        "src/exposition.rs"
    );
    let source = include_str!("../../src/cache/mod.rs");
    assert_eq!(
        names(&engine, "cache"),
        fields(source, "CacheMetrics"),
        "src/exposition.rs"
    );
    let admission = AdmissionMetrics::default().list();
    let source = include_str!("../../src/admission.rs");
    assert_eq!(
        names(&admission, "admission"),
        fields(source, "AdmissionMetrics"),
        "src/exposition.rs"
    );
    let source = include_str!("../../src/log/types.rs");
    assert_eq!(
        names(&log, "log"),
        fields(source, "LogMetrics"),
        "src/exposition.rs"
    );
}

#[test]
fn counters_count_what_happens() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    for index in 1..=4 {
        let operations = vec![insert(index, "x"), delete(index + 100)];
        apply(&engine, index, &[mutation(&channel, operations)]);
        flush(&engine);
    }
    compact(&engine, 10);
    for _ in 0..3 {
        assert_eq!(read_all(&engine, &channel, 0).rows.len(), 4);
    }
    let scan = ScanRead {
        table: TABLE,
        tokens: 0..=u64::MAX,
        after: None,
        limit_rows: 10,
        limit_bytes: 1000,
        tombstone_budget: 10,
        now_ms: 0,
    };
    engine.scan(&scan).unwrap();
    engine.checkpoint(Path::new("/copy")).unwrap();
    engine.install(Path::new("/copy")).unwrap();
    let metrics = engine.metrics();
    assert_eq!(
        (metrics.operations, metrics.reads, metrics.scans),
        (8, 3, 1)
    );
    assert_eq!((metrics.checkpoints, metrics.installs), (1, 1));
    assert_eq!((metrics.flushes, metrics.compactions), (4, 1));
    assert!(
        metrics.read_blocks > 0 && metrics.read_blocks_cached > 0,
        "{metrics:?}"
    );
    assert!(
        metrics.read_bytes > 0 && metrics.read_rows >= 16,
        "{metrics:?}"
    );
    let list = metrics.list();
    let reads = list
        .iter()
        .find(|metric| metric.family() == "lsm_engine_reads");
    assert_eq!(reads.unwrap().value, 3);
}
