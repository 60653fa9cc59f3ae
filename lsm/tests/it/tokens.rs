//! An engine that gives a part of its tokens away.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use lsm::{Engine, PartitionKey, Spread, Window};

use crate::engine_support::*;

const AT: u64 = 1 << 63;

/// Partitions with tokens all over, in two windows and without time.
fn partitions() -> Vec<PartitionKey> {
    let mut random = Random(5);
    let number = |number: i64| PartitionKey {
        token: random.next(),
        key: Bytes::from(format!("channel/{number}")),
        window: Window(number % 2),
    };
    (0..120).map(number).collect()
}

/// Three files of each window, and two of the lower half alone in a window of its own.
fn filled(engine: &Engine) -> (Vec<PartitionKey>, u64) {
    let partitions = partitions();
    let mut index = 0;
    for _ in 0..3 {
        for partition in &partitions {
            index += 1;
            apply(
                engine,
                index,
                &[mutation(partition, vec![insert(index, "text")])],
            );
        }
        flush(engine);
    }
    for partition in partitions.iter().filter(|it| it.token >= AT) {
        index += 1;
        let alone = PartitionKey {
            window: Window(3),
            ..partition.clone()
        };
        apply(
            engine,
            index,
            &[mutation(&alone, vec![insert(index, "text")])],
        );
    }
    flush(engine);
    (partitions, index)
}

#[test]
fn compaction_gives_back_what_lies_outside_of_the_tokens_and_keeps_every_row_inside() {
    for (first, last) in [(0, AT - 1), (AT, u64::MAX), (AT - 5, AT + 5)] {
        let engine = open(&memory(), options()).unwrap();
        let (partitions, _) = filled(&engine);
        // Nothing of it is old: only the tokens are a reason to write anything again.
        compact(&engine, 1);
        let is_inside = |it: &&PartitionKey| (first..=last).contains(&it.token);
        let rows = |engine: &Engine| -> Vec<_> {
            let inside = partitions.iter().filter(is_inside);
            inside
                .map(|it| owned(&read_all(engine, it, 1).rows))
                .collect()
        };
        let before = rows(&engine);
        let outside = engine.verify().unwrap().rows;
        engine.set_tokens(first, last);
        let read_before = engine.metrics().compaction_read_bytes;
        compact(&engine, 1);
        assert_eq!(rows(&engine), before, "tokens {first:x} to {last:x}");
        let left = engine.verify().unwrap().rows;
        let own: usize = before.iter().map(Vec::len).sum();
        let alone = partitions
            .iter()
            .filter(is_inside)
            .filter(|it| it.token >= AT);
        assert_eq!(left, (own + alone.count()) as u64, "{outside} before");
        if (first, last) == (AT, u64::MAX) {
            assert!(engine.metrics().compaction_read_bytes > read_before);
        }
        assert!(!engine.compact_step(1).unwrap(), "it comes to rest");
    }
}

#[test]
fn a_checkpoint_is_installed_under_another_owner_and_both_go_on_with_their_half() {
    let vfs = memory();
    let upper = Engine::open(Arc::clone(&vfs), Path::new("/upper"), options()).unwrap();
    define(&upper, Some(1000)).unwrap();
    let lower = open(&vfs, options()).unwrap();
    let (partitions, index) = filled(&lower);
    let Spread {
        token: at,
        below,
        all: bytes,
    } = lower.token_at_half().unwrap();
    assert!(
        below.abs_diff(bytes - below) < bytes / 4,
        "{below} of {bytes}"
    );
    assert!(bytes > 0 && at.abs_diff(AT) < AT / 4, "{at:x}");

    lower.checkpoint(Path::new("/seed")).unwrap();
    let owner = Bytes::from_static(b"the other one");
    let flushed = upper
        .install_as(Path::new("/seed"), Some(owner.clone()))
        .unwrap();
    assert_eq!((&flushed.owner, flushed.index), (&owner, index));
    lower.set_tokens(0, at - 1);
    upper.set_tokens(at, u64::MAX);
    let half = |engine: &Engine| engine.token_at_half().map_or(0, |spread| spread.all);
    assert!(half(&lower) + half(&upper) <= bytes + 2 && half(&lower) > 0);
    for engine in [&lower, &upper] {
        compact(engine, 1);
    }
    for partition in &partitions {
        let (own, other) = if partition.token < at {
            (&lower, &upper)
        } else {
            (&upper, &lower)
        };
        assert_eq!(numbers(&read_all(own, partition, 1)).len(), 3);
        assert_eq!(numbers(&read_all(other, partition, 1)).len(), 0);
    }
    drop(upper);
    let again = Engine::open(Arc::clone(&vfs), Path::new("/upper"), options()).unwrap();
    assert_eq!(again.flushed().owner, owner);
}
