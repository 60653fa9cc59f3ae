//! Read guards and positions.

use std::time::Duration;

use raft::{ErrorKind, HostOptions, ReadPolicy};

use crate::support::{GROUP, Ledger, ONE, World, command, life};

#[test]
fn a_guard_of_any_policy_shows_what_was_acknowledged_before_it() {
    let world = World::new(1);
    let ledger = Ledger::default();
    for _ in 0..2 {
        life(async {
            let host = world.host(HostOptions::default());
            let group = host
                .open_group(GROUP, ONE, ledger.machine(), true)
                .await
                .expect("it opens");
            for number in 0..20 {
                let proposed = group.propose(command(number)).await.expect("it proposes");
                for policy in [ReadPolicy::Local, ReadPolicy::Lease, ReadPolicy::ReadIndex] {
                    let guard = group.read_guard(policy).await.expect("it may read");
                    assert!(guard.applied_index >= proposed.index, "{policy:?}");
                    guard.confirm().expect("nothing happened in between");
                }
            }
        });
        world.vfs.restart();
    }
}

#[test]
fn after_a_restart_the_first_local_read_shows_every_acknowledged_write() {
    let world = World::new(2);
    let ledger = Ledger::default();
    let last = life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let mut last = 0;
        for number in 0..20 {
            last = group
                .propose(command(number))
                .await
                .expect("it proposes")
                .index;
        }
        last
    });
    world.vfs.restart();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let guard = group
            .read_guard(ReadPolicy::Local)
            .await
            .expect("it may read");
        assert!(
            guard.applied_index > last,
            "the first entry of the new term is applied"
        );
        assert_eq!(ledger.commands().len(), 20);
    });
}

#[test]
fn a_lease_does_not_outlive_the_group() {
    let world = World::new(3);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let guard = group
            .read_guard(ReadPolicy::Lease)
            .await
            .expect("it may read");
        guard.confirm().expect("it leads");
        host.stop().await.expect("the host stops");
        guard.confirm().expect_err("it leads no more");
    });
}

#[test]
fn waiting_for_an_index_ends_when_it_is_applied_or_in_time() {
    let world = World::new(4);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let next = *group.applied().borrow() + 1;
        let waiting = tokio::spawn({
            let group = group.clone();
            async move { group.wait_applied(next, Duration::from_secs(10)).await }
        });
        assert_eq!(
            group.propose(command(1)).await.expect("it proposes").index,
            next
        );
        waiting.await.expect("it waits").expect("it is applied");
        let never = group.wait_applied(next + 1, Duration::from_millis(1)).await;
        assert_eq!(
            never.expect_err("it is not there").kind(),
            ErrorKind::Unavailable
        );
    });
}

#[test]
fn the_status_tells_where_the_group_stands() {
    let world = World::new(5);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let proposed = group.propose(command(1)).await.expect("it proposes");
        let status = group.status();
        assert_eq!((status.group, status.replica), (GROUP, ONE));
        assert_eq!(status.leader, Some(ONE));
        assert_eq!(status.applied.map(|id| id.index), Some(proposed.index));
        assert_eq!(status.last_index, Some(proposed.index));
        assert_eq!(
            (status.durable, status.purged, status.queued),
            (None, None, 0)
        );
        assert!(status.failure.is_none());
        assert!(status.term >= 1);
        assert!(status.membership.is_single(ONE));
    });
}
