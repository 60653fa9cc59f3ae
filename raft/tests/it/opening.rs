//! Opening groups: at once, from the right entry, and not at all when something does not fit.

use std::time::{Duration, Instant};

use raft::{ErrorKind, GroupId, HostOptions};

use crate::support::{GROUP, Ledger, ONE, World, command, life};

#[test]
fn five_groups_open_and_lead_well_within_a_second_also_after_a_restart() {
    let world = World::new(1);
    let ledgers: Vec<Ledger> = (0..5).map(|_| Ledger::default()).collect();
    for _ in 0..2 {
        life(async {
            #[expect(clippy::disallowed_methods, reason = "a test measures real time")]
            let begin = Instant::now();
            let host = world.host(HostOptions::default());
            for (number, ledger) in ledgers.iter().enumerate() {
                let id = GroupId(number as u64);
                let group = host
                    .open_group(id, ONE, ledger.machine(), true)
                    .await
                    .expect("it opens");
                assert_eq!(group.status().leader, Some(ONE));
            }
            assert!(
                begin.elapsed() < Duration::from_secs(1),
                "took {:?}",
                begin.elapsed()
            );
        });
        world.vfs.restart();
    }
}

#[test]
fn a_restart_applies_from_the_entry_after_the_durable_one() {
    let world = World::new(2);
    let ledger = Ledger::default();
    let flushed = life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        for number in 0..5 {
            group.propose(command(number)).await.expect("it proposes");
        }
        let flushed = ledger.flush();
        group
            .flushed(flushed, u64::MAX)
            .expect("the index is applied");
        for number in 5..9 {
            group.propose(command(number)).await.expect("it proposes");
        }
        flushed
    });
    world.vfs.restart();
    let machine = ledger.machine();
    assert_eq!(
        ledger.commands().len(),
        5,
        "the state machine starts from its durable state"
    );
    life(async {
        let host = world.host(HostOptions::default());
        host.open_group(GROUP, ONE, machine, true)
            .await
            .expect("it opens");
        let commands = ledger.commands();
        let numbers: Vec<_> = commands
            .iter()
            .map(|(_, _, command)| command.clone())
            .collect();
        let expected: Vec<_> = (0..9).map(command).collect();
        assert_eq!(numbers, expected, "each command exactly once");
        assert_eq!(commands[5].0, flushed + 1, "the first replayed entry");
    });
}

#[test]
fn a_group_that_does_not_exist_is_not_made_by_accident() {
    let world = World::new(3);
    life(async {
        let host = world.host(HostOptions::default());
        let ledger = Ledger::default();
        let missing = host.open_group(GROUP, ONE, ledger.machine(), false).await;
        assert_eq!(
            missing.expect_err("it is missing").kind(),
            ErrorKind::NotFound
        );
        host.open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it is made");
        let twice = host
            .open_group(GROUP, ONE, Ledger::default().machine(), true)
            .await;
        assert_eq!(twice.expect_err("it is open").kind(), ErrorKind::Invalid);
    });
}

#[test]
fn a_lost_log_under_a_kept_state_machine_is_refused() {
    let world = World::new(5);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        group.propose(command(1)).await.expect("it proposes");
        ledger.flush();
    });
    let other = World::new(6);
    life(async {
        let host = other.host(HostOptions::default());
        let error = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect_err("log lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    });
}

#[test]
fn a_lost_state_machine_over_a_purged_log_is_refused() {
    let world = World::new(7);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        for number in 0..20 {
            group.propose(command(number)).await.expect("it proposes");
        }
        group
            .flushed(ledger.flush(), u64::MAX)
            .expect("the index is applied");
        crate::support::eventually("purge", || group.status().purged.is_some()).await;
        host.stop().await.expect("the host stops");
    });
    life(async {
        let host = world.host(HostOptions::default());
        let error = host
            .open_group(GROUP, ONE, ledger.empty_machine(), true)
            .await
            .expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    });
}

#[test]
fn a_lost_state_machine_over_a_whole_log_is_rebuilt() {
    let world = World::new(8);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        for number in 0..20 {
            group.propose(command(number)).await.expect("it proposes");
        }
        ledger.flush();
    });
    life(async {
        let host = world.host(HostOptions::default());
        host.open_group(GROUP, ONE, ledger.empty_machine(), true)
            .await
            .expect("it opens");
        assert_eq!(ledger.commands().len(), 20);
    });
}
