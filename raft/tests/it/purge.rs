//! The log behind the durable state: what is purged, what streams can still read.

use bytes::Bytes;
use raft::{CommittedBatch, ErrorKind, Group, HostOptions, LogRead};

use crate::support::{GROUP, Ledger, ONE, World, command, eventually, life};

/// Reads everything from `from` on, `max_bytes` at a time.
fn read_all(group: &Group, from: u64, max_bytes: usize) -> Vec<CommittedBatch> {
    let mut all = Vec::new();
    let mut from = from;
    loop {
        let LogRead::Batches { batches, next } = group.read_log(from, max_bytes).expect("it reads")
        else {
            panic!("entry {from} is purged");
        };
        all.extend(batches);
        if next == from {
            return all;
        }
        from = next;
    }
}

#[test]
fn read_log_returns_exactly_what_was_applied() {
    let world = World::new(1);
    let ledger = Ledger::default();
    for _ in 0..2 {
        life(async {
            let host = world.host(HostOptions::default());
            let group = host
                .open_group(GROUP, ONE, ledger.machine(), true)
                .await
                .expect("it opens");
            for round in 0..20usize {
                let commands: Vec<Bytes> = (0..round).map(command).collect();
                let outcomes = crate::support::propose_all(&group, &commands).await;
                assert!(outcomes.iter().all(Result::is_ok));
            }
            let applied = ledger.with(|record| record.batches.clone());
            for max_bytes in [0, 100, 1_000_000] {
                assert_eq!(read_all(&group, 0, max_bytes), applied);
            }
            let half = applied[applied.len() / 2].id.index;
            let rest: Vec<_> = applied
                .iter()
                .filter(|b| b.id.index >= half)
                .cloned()
                .collect();
            assert_eq!(read_all(&group, half, 0), rest);
            let end = *group.applied().borrow() + 1;
            assert_eq!(
                group.read_log(end, 1).expect("it reads"),
                LogRead::Batches {
                    batches: Vec::new(),
                    next: end
                }
            );
        });
        world.vfs.restart();
    }
}

#[test]
fn purge_follows_the_durable_index_and_what_streams_still_read() {
    let world = World::new(2);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        for number in 0..50 {
            group.propose(command(number)).await.expect("it proposes");
        }
        let applied = ledger.with(|record| record.batches.clone());
        let durable = ledger.flush();
        for number in 50..60 {
            group.propose(command(number)).await.expect("it proposes");
        }
        let purged = || group.status().purged.map(|id| id.index);
        assert_eq!(
            purged(),
            None,
            "nothing is purged before the state is durable"
        );

        group.flushed(durable, 20).expect("the index is applied");
        eventually("purge up to what streams read", || purged() == Some(19)).await;
        assert_eq!(
            group.read_log(19, 1).expect("it reads"),
            LogRead::Purged { oldest: 20 }
        );
        let kept: Vec<_> = applied
            .iter()
            .filter(|b| b.id.index >= 20)
            .cloned()
            .collect();
        assert_eq!(read_all(&group, 20, 100)[..kept.len()], kept[..]);

        group
            .flushed(durable, u64::MAX)
            .expect("the index is applied");
        eventually("purge up to the durable entry", || {
            purged() == Some(durable - 1)
        })
        .await;
        assert_eq!(group.status().durable.map(|id| id.index), Some(durable));
        assert!(
            read_all(&group, durable, 1).len() >= 10,
            "what is not durable stays"
        );

        group.flushed(durable, 5).expect("a step back is ignored");
        group.propose(command(60)).await.expect("the group goes on");
        assert_eq!(purged(), Some(durable - 1));
        host.stop().await.expect("the host stops");
    });
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        assert_eq!(ledger.commands().len(), 61);
        group.propose(command(61)).await.expect("the group goes on");
    });
}

#[test]
fn an_index_that_is_not_applied_cannot_be_durable() {
    let world = World::new(3);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let proposed = group.propose(command(1)).await.expect("it proposes");
        let error = group
            .flushed(proposed.index + 1, u64::MAX)
            .expect_err("it is not applied");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    });
}

#[test]
fn the_membership_survives_a_purge_of_the_entry_that_made_it() {
    let world = World::new(4);
    let ledger = Ledger::default();
    for round in 0..3 {
        life(async {
            let host = world.host(HostOptions::default());
            let group = host
                .open_group(GROUP, ONE, ledger.machine(), round == 0)
                .await
                .expect("it opens");
            for number in 0..5 {
                group
                    .propose(command(round * 5 + number))
                    .await
                    .expect("it proposes");
            }
            let durable = ledger.flush();
            group
                .flushed(durable, u64::MAX)
                .expect("the index is applied");
            let purged = || group.status().purged.map(|id| id.index);
            eventually("purge", || purged() == Some(durable - 1)).await;
            assert!(group.status().membership.is_single(ONE));
            host.stop().await.expect("the host stops");
        });
        world.vfs.restart();
    }
    assert_eq!(ledger.commands().len(), 15);
}
