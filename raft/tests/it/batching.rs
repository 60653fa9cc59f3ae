//! Many proposals, few entries, few syncs; each caller its own answer; bounded queues.

use bytes::Bytes;
use raft::{BATCH_BYTES_MAX, COMMAND_BYTES_MAX, ENTRY_COMMANDS_MAX, ErrorKind, HostOptions};

use crate::support::{GROUP, Ledger, ONE, World, answer, command, life, propose_all, quiet_life};

#[test]
fn concurrent_proposals_share_entries_and_syncs() {
    let world = World::new(1);
    let ledger = Ledger::default();
    quiet_life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let before = host.log().metrics();
        let count = ENTRY_COMMANDS_MAX * 3;
        let commands: Vec<Bytes> = (0..count).map(command).collect();
        let outcomes = propose_all(&group, &commands).await;
        let after = host.log().metrics();
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(
            after.entries - before.entries,
            3,
            "entries for {count} proposals"
        );
        assert!(
            after.syncs - before.syncs <= 3,
            "syncs for {count} proposals"
        );
    });
}

#[test]
fn each_caller_gets_the_answer_to_its_own_command() {
    let world = World::new(2);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let commands: Vec<Bytes> = (0..3000).map(command).collect();
        let outcomes = propose_all(&group, &commands).await;
        for (command, outcome) in commands.iter().zip(outcomes) {
            let proposed = outcome.expect("it is proposed");
            assert_eq!(
                proposed.response,
                answer(proposed.index, proposed.op, command)
            );
        }
        let applied: Vec<Bytes> = ledger
            .commands()
            .into_iter()
            .map(|(_, _, command)| command)
            .collect();
        assert_eq!(applied, commands, "one caller's commands keep their order");
    });
}

#[test]
fn an_entry_is_closed_at_its_size_and_a_larger_command_travels_alone() {
    let world = World::new(3);
    let ledger = Ledger::default();
    quiet_life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let third = Bytes::from(vec![1; BATCH_BYTES_MAX / 3 - 4]);
        let large = Bytes::from(vec![2; BATCH_BYTES_MAX * 2]);
        let commands = [third.clone(), third.clone(), third.clone(), third, large];
        assert!(
            propose_all(&group, &commands)
                .await
                .iter()
                .all(Result::is_ok)
        );
        let sizes: Vec<usize> = ledger.with(|record| {
            record
                .batches
                .iter()
                .map(|batch| batch.commands.len())
                .collect()
        });
        assert_eq!(sizes, [3, 1, 1]);
    });
}

#[test]
fn a_command_that_no_entry_can_hold_is_refused() {
    let world = World::new(4);
    life(async {
        let host = world.host(HostOptions::default());
        let machine = Ledger::default().machine();
        let group = host
            .open_group(GROUP, ONE, machine, true)
            .await
            .expect("it opens");
        // The log of this test has small segments, which bound its entries.
        let room = host.log().entry_bytes_max().min(COMMAND_BYTES_MAX) - 18;
        let largest = Bytes::from(vec![0; room]);
        group
            .propose(largest)
            .await
            .expect("the largest command passes");
        let larger = Bytes::from(vec![0; room + 1]);
        let error = group.propose(larger).await.expect_err("it is too large");
        assert_eq!(error.kind(), ErrorKind::Invalid);
    });
}

#[test]
fn a_full_queue_refuses_at_once_and_takes_again_when_it_is_empty() {
    let world = World::new(5);
    let ledger = Ledger::default();
    quiet_life(async {
        let options = HostOptions {
            queue_commands_max: 10,
            ..HostOptions::default()
        };
        let host = world.host(options);
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let commands: Vec<Bytes> = (0..100).map(command).collect();
        let outcomes = propose_all(&group, &commands).await;
        let refused = |outcome: &raft::Result<_>| {
            outcome
                .as_ref()
                .is_err_and(|error| error.kind() == ErrorKind::Overloaded)
        };
        assert_eq!(
            outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
            10
        );
        assert_eq!(
            outcomes.iter().filter(|outcome| refused(outcome)).count(),
            90
        );
        assert!(
            propose_all(&group, &commands[..10])
                .await
                .iter()
                .all(Result::is_ok)
        );
    });
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let world = World::new(6);
    let ledger = Ledger::default();
    quiet_life(async {
        let options = HostOptions {
            queue_bytes_max: 1000,
            ..HostOptions::default()
        };
        let host = world.host(options);
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let commands = vec![Bytes::from(vec![0; 400]); 3];
        let outcomes = propose_all(&group, &commands).await;
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|outcome| outcome.as_ref().err().map(raft::Error::kind))
            .collect();
        assert_eq!(kinds, [None, None, Some(ErrorKind::Overloaded)]);
        let alone = Bytes::from(vec![0; 5000]);
        group
            .propose(alone)
            .await
            .expect("an empty queue takes one command of any size");
    });
}

#[test]
fn stamps_grow_with_the_log_even_when_the_wall_clock_steps_back() {
    struct Backwards(std::sync::atomic::AtomicU64);
    impl raft::WallClock for Backwards {
        fn wall_us(&self) -> u64 {
            self.0.fetch_sub(1000, std::sync::atomic::Ordering::Relaxed)
        }
    }
    let world = World::new(7);
    let ledger = Ledger::default();
    life(async {
        let clock = raft::Clock::new(Backwards(1_000_000.into()));
        let host = world.host(HostOptions {
            clock,
            ..HostOptions::default()
        });
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        for number in 0..10 {
            group.propose(command(number)).await.expect("it proposes");
        }
        let stamps: Vec<u64> = ledger.with(|record| {
            record
                .batches
                .iter()
                .map(|batch| batch.proposed_us)
                .collect()
        });
        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    });
    // A process whose wall clock is far behind stamps after what its log holds.
    life(async {
        let clock = raft::Clock::new(Backwards(500_000.into()));
        let host = world.host(HostOptions {
            clock,
            ..HostOptions::default()
        });
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        group.propose(command(10)).await.expect("it proposes");
        let stamps: Vec<u64> = ledger.with(|record| {
            record
                .batches
                .iter()
                .map(|batch| batch.proposed_us)
                .collect()
        });
        assert_eq!(stamps.len(), 11);
        assert!(stamps.is_sorted_by(|a, b| a < b), "{stamps:?}");
    });
}
