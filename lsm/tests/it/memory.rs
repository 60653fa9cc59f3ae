//! The memory of several engines in one budget, and the work that waits in them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::{Engine, EngineOptions, MemoryBudget, Operation, SliceRead};

use crate::engine_support::*;

fn engines(budget: &Arc<MemoryBudget>) -> Vec<Engine> {
    let vfs = memory();
    let open = |number: u64| {
        let options = EngineOptions {
            memory: Arc::clone(budget),
            ..options()
        };
        let dir = format!("/tablet-{number}");
        let engine = Engine::open(Arc::clone(&vfs), Path::new(&dir), options).unwrap();
        define(&engine, Some(1000)).unwrap();
        engine
    };
    (0..3).map(open).collect()
}

fn sum(engines: &[Engine]) -> u64 {
    let bytes = engines.iter().map(|engine| engine.memory_bytes() as u64);
    bytes.sum()
}

#[test]
fn a_shared_budget_counts_what_all_memtables_hold_at_every_step() {
    for seed in 0..20 {
        let mut random = Random(seed);
        let budget = Arc::new(MemoryBudget::new(4096));
        let mut engines = engines(&budget);
        let mut indexes = vec![0; engines.len()];
        for _ in 0..400 {
            let at = usize::try_from(random.below(3)).unwrap();
            let engine = &engines[at];
            match random.below(12) {
                0 => drop(engine.freeze(Bytes::new())),
                1 => drop(engine.flush_step().unwrap()),
                2 => {
                    engine.drop_table(TABLE).unwrap();
                    define(engine, Some(1000)).unwrap();
                }
                _ => {
                    indexes[at] += 1;
                    let operations = match random.below(8) {
                        0 => vec![Operation::DeletePartition],
                        1 => vec![delete(random.below(40))],
                        _ => vec![insert(random.below(40), "a value")],
                    };
                    let channel = partition("channel", 0);
                    apply(engine, indexes[at], &[mutation(&channel, operations)]);
                }
            }
            assert_eq!(budget.used(), sum(&engines), "seed {seed}");
            assert_eq!(budget.is_used_up(), sum(&engines) >= 4096);
        }
        let last = engines.pop().unwrap().memory_bytes() as u64;
        assert_eq!(
            budget.used(),
            sum(&engines),
            "{last} bytes of a closed engine"
        );
        drop(engines);
        assert_eq!(budget.used(), 0, "seed {seed}");
    }
}

#[test]
fn what_an_install_forgets_is_given_back_to_the_budget() {
    let budget = Arc::new(MemoryBudget::new(4096));
    let engines = engines(&budget);
    let engine = &engines[0];
    let channel = partition("channel", 0);
    let write = |index| {
        apply(
            engine,
            index,
            &[mutation(&channel, vec![insert(index, "value")])],
        );
    };
    write(1);
    flush(engine);
    engine.checkpoint(Path::new("/copy")).unwrap();
    write(2);
    assert!(engine.freeze(Bytes::new()).unwrap());
    write(3);
    assert!(budget.used() > 0);
    engine.install(Path::new("/copy")).unwrap();
    assert_eq!((budget.used(), sum(&engines)), (0, 0));
}

#[test]
fn debt_is_what_flushes_and_merges_have_not_done_yet() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let mut index = 0;
    let mut write = || {
        index += 1;
        apply(
            &engine,
            index,
            &[mutation(&channel, vec![insert(index, "value")])],
        );
    };
    assert_eq!(engine.debt(0), lsm::Debt::default());
    write();
    assert_eq!(engine.debt(0).memory_bytes, engine.memory_bytes() as u64);
    assert_eq!(engine.debt(0).frozen, 0);
    assert!(engine.freeze(Bytes::new()).unwrap());
    let debt = engine.debt(0);
    assert_eq!((debt.frozen, debt.frozen_bytes), (1, debt.memory_bytes));
    let tier = options().tier_files;
    for files in 1..=tier {
        while engine.flush_step().unwrap() {}
        let debt = engine.debt(0);
        assert_eq!((debt.memory_bytes, debt.runs), (0, files));
        assert_eq!(debt.compaction_bytes > 0, files == tier);
        write();
        assert!(engine.freeze(Bytes::new()).unwrap());
    }
    while engine.flush_step().unwrap() {}
    while engine.compact_step(0).unwrap() {}
    let debt = engine.debt(0);
    assert_eq!((debt.runs, debt.compaction_bytes), (1, 0));
}

#[test]
fn a_row_written_again_and_again_takes_bounded_memory() {
    let engine = open(&memory(), options()).unwrap();
    let channel = partition("channel", 0);
    let value = "v".repeat(100);
    for index in 1..=20_000 {
        let row = insert(index % 3, &value);
        apply(&engine, index, &[mutation(&channel, vec![row])]);
        assert!(engine.memory_bytes() < 32 * 1024);
    }
    // A row larger than a chunk, too.
    let value = "v".repeat(100_000);
    for index in 20_001..=20_100 {
        apply(
            &engine,
            index,
            &[mutation(&channel, vec![insert(0, &value)])],
        );
        assert!(engine.memory_bytes() < 500_000);
    }
}

#[test]
fn a_page_of_a_memtable_is_what_was_written_and_stays_so_when_its_rows_change() {
    for reverse in [false, true] {
        let engine = open(&memory(), options()).unwrap();
        let channel = partition("channel", 0);
        let mut model: BTreeMap<u64, String> = BTreeMap::new();
        let mut index = 0;
        let mut pages = Vec::new();
        for round in 0_u64..200 {
            // New rows before and after all others, and old ones written again.
            for row in [10_000 - round, 10_000 + round, 10_000 + round / 2] {
                index += 1;
                let value = format!("row {row} of round {round}");
                let row_written = insert(row, &value);
                model.insert(row, value);
                apply(&engine, index, &[mutation(&channel, vec![row_written])]);
            }
            let mut read = SliceRead::all(TABLE, channel.clone(), 50, 0);
            read.reverse = reverse;
            let rows = model.iter().map(|(row, value)| (*row, value.clone()));
            let expected: Vec<_> = if reverse {
                rows.rev().take(50).collect()
            } else {
                rows.take(50).collect()
            };
            pages.push((engine.read(&read).unwrap().rows, expected));
        }
        for (page, expected) in pages {
            let found: Vec<_> = page
                .iter()
                .map(|row| {
                    let number = u64::from_be_bytes(row.clustering.try_into().unwrap());
                    let value = row.cells().next().unwrap().value.to_vec();
                    (number, String::from_utf8(value).unwrap())
                })
                .collect();
            assert_eq!(found, expected);
        }
    }
}
