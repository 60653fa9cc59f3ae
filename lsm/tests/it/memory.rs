//! The memory of several engines in one budget, and the work that waits in them.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::{Engine, EngineOptions, MemoryBudget, Operation};

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
