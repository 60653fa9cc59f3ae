//! A replica is who it says it is: it never takes over what another one left on its host.

use std::collections::BTreeSet;
use std::time::Duration;

use raft::{ErrorKind, Host, HostOptions, LogDriver, NodeId, ReplicaId};

use crate::support::{GROUP, Ledger, ONE, World, command, eventually, life, quiet_life};

/// The replica that is made after the first one was destroyed.
const NEXT: ReplicaId = ReplicaId::new(NodeId(1), 12);

/// Opens a group as `replica` and proposes `commands`; the state machine keeps what it has flushed.
async fn write(host: &Host, replica: ReplicaId, ledger: &Ledger, commands: usize) {
    let group = host.open_group(GROUP, replica, ledger.machine(), true);
    let group = group.await.expect("the group opens");
    for number in 0..commands {
        group.propose(command(number)).await.expect("it proposes");
    }
}

async fn refusal(host: &Host, replica: ReplicaId) -> ErrorKind {
    let ledger = Ledger::default();
    let opened = host.open_group(GROUP, replica, ledger.machine(), true);
    opened.await.expect_err("it is refused").kind()
}

#[test]
fn a_replica_of_another_node_or_generation_is_refused_on_the_log_of_the_one_that_is_here() {
    let world = World::new(4);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        write(&host, ONE, &ledger, 3).await;
    });
    life(async {
        let host = world.host(HostOptions::default());
        assert_eq!(refusal(&host, NEXT).await, ErrorKind::Invalid);
        let elsewhere = ReplicaId::new(NodeId(2), 0);
        assert_eq!(refusal(&host, elsewhere).await, ErrorKind::Invalid);
        assert_eq!(host.stored_replicas(), [(GROUP, ONE)]);
        write(&host, ONE, &ledger, 0).await;
        assert_eq!(ledger.commands().len(), 3);
        let node = NodeId(NodeId::MAX.0 + 1);
        let unnamed = HostOptions {
            node,
            ..HostOptions::default()
        };
        let error = world.try_host(unnamed).expect_err("no such node");
        assert!(matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Io));
    });
}

#[test]
fn a_closed_group_keeps_its_log_and_opens_again() {
    let world = World::new(5);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        group.propose(command(1)).await.expect("it proposes");
        host.close_group(GROUP).await.expect("it closes");
        let error = group.propose(command(2)).await.expect_err("it is closed");
        assert_eq!(error.kind(), ErrorKind::Closed);
        host.close_group(GROUP).await.expect("it is closed already");
        write(&host, ONE, &ledger, 0).await;
        assert_eq!(ledger.commands().len(), 1);
    });
}

#[test]
fn a_destroyed_replica_leaves_nothing_to_the_next_one_and_frees_its_segments() {
    let world = World::new(6);
    let (old, new) = (Ledger::default(), Ledger::default());
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, old.machine(), true)
            .await
            .expect("it opens");
        let large = bytes::Bytes::from(vec![7; 1024 * 1024]);
        for _ in 0..80 {
            group.propose(large.clone()).await.expect("it proposes");
        }
        assert!(host.log().metrics().segments > 4);
        host.destroy_group(GROUP).await.expect("it is destroyed");
        assert!(host.stored_replicas().is_empty());
        // What is kept for reuse, and the one in use.
        eventually("segments are freed", || host.log().metrics().segments <= 3).await;
        write(&host, NEXT, &new, 2).await;
        assert_eq!(new.commands().len(), 2);
        assert_eq!(refusal(&host, ONE).await, ErrorKind::Invalid);
    });
    life(async {
        let host = world.host(HostOptions::default());
        assert_eq!(refusal(&host, ONE).await, ErrorKind::Invalid);
        write(&host, NEXT, &new, 0).await;
        assert_eq!(new.commands().len(), 2);
        host.destroy_group(GROUP).await.expect("it is destroyed");
        host.destroy_group(GROUP).await.expect("it is gone already");
    });
}

#[test]
fn a_power_cut_while_a_replica_is_destroyed_leaves_all_of_it_or_nothing() {
    // No thread: the calls of the file system come in the same order every time.
    let options = || HostOptions {
        log_driver: LogDriver::Task,
        ..HostOptions::default()
    };
    let run = |world: &World, ledger: &Ledger| {
        quiet_life(async {
            let Ok(host) = world.try_host(options()) else {
                return false;
            };
            let opened = host.open_group(GROUP, ONE, ledger.machine(), true).await;
            let Ok(group) = opened else { return false };
            for number in 0..3 {
                if group.propose(command(number)).await.is_err() {
                    return false;
                }
            }
            let destroyed = host.destroy_group(GROUP).await.is_ok();
            let next = Ledger::default();
            let joined = host.join_group(GROUP, NEXT, next.machine()).await;
            destroyed && joined.is_ok()
        })
    };
    let calls = {
        let world = World::new(0);
        assert!(run(&world, &Ledger::default()));
        world.vfs.calls()
    };
    let mut found = BTreeSet::new();
    // The last of them comes too late.
    for call in 0..=calls {
        let world = World::new(call);
        let ledger = Ledger::default();
        world.vfs.crash_at(call);
        let is_done = run(&world, &ledger);
        world.vfs.restart();
        quiet_life(async {
            let host = world.host(options());
            let stored = host.stored_replicas();
            let owner = stored.first().map(|(_, replica)| *replica);
            found.insert(owner);
            if is_done {
                assert_eq!(owner, Some(NEXT), "call {call}");
            }
            match owner {
                Some(ONE) => assert_eq!(refusal(&host, NEXT).await, ErrorKind::Invalid),
                Some(_) => assert_eq!(refusal(&host, ONE).await, ErrorKind::Invalid),
                None => {}
            }
            // Whoever is there: it can be destroyed, and the next one starts from nothing.
            host.destroy_group(GROUP).await.expect("it is destroyed");
            let third = ReplicaId::new(NodeId(1), 99);
            let empty = Ledger::default();
            let group = host
                .join_group(GROUP, third, empty.machine())
                .await
                .expect("it joins");
            let status = group.status();
            assert_eq!((status.term, status.last_index), (0, None), "call {call}");
            let limit = Duration::from_millis(1);
            group
                .wait_applied(1, limit)
                .await
                .expect_err("nobody leads it");
        });
    }
    let all = BTreeSet::from([None, Some(ONE), Some(NEXT)]);
    assert_eq!(found, all, "the cuts came at every stage");
}
