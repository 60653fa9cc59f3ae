//! What was acknowledged is there after any crash, once, where it was said to be.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use raft::{Host, HostOptions, Proposed};

use crate::support::{GROUP, Ledger, ONE, World, answer, command, life};

/// Acknowledged commands of a life.
type Acknowledged = Arc<Mutex<Vec<(Bytes, Proposed)>>>;

/// `writers` callers, each proposing `count` commands one after the other until one fails.
async fn write(host: &Host, ledger: &Ledger, writers: usize, count: usize) -> Acknowledged {
    let acknowledged = Acknowledged::default();
    let Ok(group) = host.open_group(GROUP, ONE, ledger.machine(), true).await else {
        return acknowledged;
    };
    let mut tasks = Vec::new();
    for writer in 0..writers {
        let (group, acknowledged) = (group.clone(), Arc::clone(&acknowledged));
        tasks.push(tokio::spawn(async move {
            for number in 0..count {
                let command = command(writer * 1000 + number);
                let Ok(proposed) = group.propose(command.clone()).await else {
                    return;
                };
                acknowledged.lock().push((command, proposed));
            }
        }));
    }
    for task in tasks {
        task.await.expect("a writer does not panic");
    }
    acknowledged
}

/// Every acknowledged command was applied once, at its place, with its answer.
fn check(ledger: &Ledger, acknowledged: &Acknowledged) {
    let applied = ledger.commands();
    for (command, proposed) in acknowledged.lock().iter() {
        let places: Vec<_> = applied
            .iter()
            .filter(|(_, _, other)| other == command)
            .collect();
        assert_eq!(
            places.len(),
            1,
            "{command:?} was applied {} times",
            places.len()
        );
        let (index, op, _) = places[0];
        assert_eq!(
            (*index, *op),
            (proposed.index, proposed.op),
            "place of {command:?}"
        );
        assert_eq!(proposed.response, answer(*index, *op, command));
    }
    let indexes: Vec<u64> =
        ledger.with(|record| record.batches.iter().map(|b| b.id.index).collect());
    assert!(
        indexes.is_sorted_by(|a, b| a < b),
        "entries out of order: {indexes:?}"
    );
}

#[test]
fn acknowledged_proposals_survive_a_power_cut() {
    for seed in 0..8 {
        let world = World::new(seed);
        let ledger = Ledger::default();
        let acknowledged = life(async {
            let host = world.host(HostOptions::default());
            write(&host, &ledger, 8, 40).await
        });
        assert_eq!(acknowledged.lock().len(), 320);
        world.vfs.restart();
        life(async {
            let host = world.host(HostOptions::default());
            host.open_group(GROUP, ONE, ledger.machine(), true)
                .await
                .expect("the group opens");
            check(&ledger, &acknowledged);
            assert_eq!(ledger.commands().len(), 320);
        });
    }
}

#[test]
fn a_power_cut_at_any_file_system_call_loses_nothing_acknowledged() {
    let calls = {
        let world = World::new(0);
        life(async {
            let host = world.host(HostOptions::default());
            write(&host, &Ledger::default(), 3, 8).await
        });
        world.vfs.calls()
    };
    let mut lost_some_life = 0;
    for call in 0..calls {
        let world = World::new(call);
        let ledger = Ledger::default();
        world.vfs.crash_at(call);
        let acknowledged = life(async {
            match world.try_host(HostOptions::default()) {
                Ok(host) => write(&host, &ledger, 3, 8).await,
                Err(_) => Acknowledged::default(),
            }
        });
        lost_some_life += usize::from(world.vfs.is_down());
        world.vfs.restart();
        life(async {
            let host = world.host(HostOptions::default());
            let group = host.open_group(GROUP, ONE, ledger.machine(), true).await;
            let group = group.unwrap_or_else(|error| panic!("call {call}: {error:?}"));
            check(&ledger, &acknowledged);
            let proposed = group
                .propose(command(999_999))
                .await
                .expect("the group works on");
            assert!(
                acknowledged
                    .lock()
                    .iter()
                    .all(|(_, old)| old.index < proposed.index)
            );
        });
    }
    assert!(
        lost_some_life > 0,
        "no crash ever happened within {calls} calls"
    );
}

#[test]
fn what_is_acknowledged_over_many_crashes_adds_up() {
    let world = World::new(99);
    let ledger = Ledger::default();
    let mut all = Vec::new();
    for round in 0..6usize {
        life(async {
            let host = world.host(HostOptions::default());
            let group = host
                .open_group(GROUP, ONE, ledger.machine(), true)
                .await
                .expect("it opens");
            for number in 0..10 {
                let command = command(round * 100 + number);
                let proposed = group.propose(command.clone()).await.expect("it proposes");
                all.push((proposed.index, proposed.op, command));
            }
            if round % 2 == 1 {
                let index = ledger.flush();
                group
                    .flushed(index, u64::MAX)
                    .expect("the index is applied");
            }
        });
        world.vfs.restart();
    }
    life(async {
        let host = world.host(HostOptions::default());
        host.open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        assert_eq!(ledger.commands(), all);
    });
}

#[test]
fn a_host_that_is_stopped_in_order_reopens_with_everything() {
    let world = World::new(3);
    let ledger = Ledger::default();
    let acknowledged = life(async {
        let host = world.host(HostOptions::default());
        let acknowledged = write(&host, &ledger, 4, 10).await;
        host.stop().await.expect("the host stops");
        acknowledged
    });
    life(async {
        let host = world.host(HostOptions::default());
        host.open_group(GROUP, ONE, ledger.machine(), false)
            .await
            .expect("the group opens");
        check(&ledger, &acknowledged);
        assert_eq!(ledger.commands().len(), 40);
        host.stop().await.expect("the host stops");
    });
}
