//! Failures: what callers are told, what stops, and what does not.

use std::time::Duration;

use lsm::vfs::Fault;
use raft::{Error, ErrorKind, GroupId, HostOptions, LogDriver, ReadPolicy};

use crate::cluster::virtual_life;
use crate::support::{GROUP, Ledger, ONE, World, command, eventually, life, replica};

#[test]
fn a_failed_sync_leaves_proposals_unknown_and_stops_every_group_and_tells_the_host() {
    let world = World::new(1);
    let (ledger, other_ledger) = (Ledger::default(), Ledger::default());
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let other = GroupId(8);
        let other = host
            .open_group(other, ONE, other_ledger.machine(), true)
            .await
            .expect("it opens");
        group.propose(command(1)).await.expect("it works");
        let failed = tokio::spawn(host.failed());
        world.vfs.fail_at(world.vfs.calls(), Fault::Eio);
        let error = group
            .propose(command(2))
            .await
            .expect_err("the sync failed");
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        let failure = failed.await.expect("the watch lives");
        assert_eq!(failure.error.kind(), ErrorKind::Io);
        let later = group
            .propose(command(3))
            .await
            .expect_err("the group has stopped");
        assert_eq!(later.kind(), ErrorKind::Io, "{later:?}");
        eventually("the other group stops", || other.status().failure.is_some()).await;
        let elsewhere = other
            .propose(command(4))
            .await
            .expect_err("every group has stopped");
        assert_eq!(elsewhere.kind(), ErrorKind::Io, "{elsewhere:?}");
        let read = other
            .read_guard(ReadPolicy::Local)
            .await
            .expect_err("reads stop too");
        assert_eq!(read.kind(), ErrorKind::Io);
        assert_eq!(
            host.stop().await.expect_err("not in order").kind(),
            ErrorKind::Io
        );
    });
    // The disk is whole again: a new process finds the acknowledged write.
    life(async {
        let host = world.host(HostOptions::default());
        host.open_group(GROUP, ONE, ledger.machine(), false)
            .await
            .expect("it opens");
        assert_eq!(ledger.commands()[0].2, command(1));
    });
}

#[test]
fn a_full_disk_is_no_excuse_either() {
    let world = World::new(2);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let failed = tokio::spawn(host.failed());
        world.vfs.fail_at(world.vfs.calls(), Fault::NoSpace);
        let error = group
            .propose(command(2))
            .await
            .expect_err("the write failed");
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        assert_eq!(
            failed.await.expect("the watch lives").error.kind(),
            ErrorKind::Io
        );
    });
}

#[test]
fn a_state_machine_that_cannot_apply_stops_its_own_group_only() {
    let world = World::new(3);
    let (ledger, other_ledger) = (Ledger::default(), Ledger::default());
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let other = GroupId(8);
        let other = host
            .open_group(other, ONE, other_ledger.machine(), true)
            .await
            .expect("it opens");
        ledger.refuse(
            "command-1",
            Error::new(ErrorKind::Corrupt, "a block is damaged"),
        );
        let failed = tokio::spawn(host.failed());
        let error = group
            .propose(command(1))
            .await
            .expect_err("it cannot be applied");
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        let failure = failed.await.expect("the watch lives");
        assert_eq!(failure.group, Some(GROUP));
        assert_eq!(failure.error.kind(), ErrorKind::Corrupt);
        let later = group
            .propose(command(2))
            .await
            .expect_err("the group has stopped");
        assert_eq!(later.kind(), ErrorKind::Corrupt, "{later:?}");
        other
            .propose(command(3))
            .await
            .expect("the other group goes on");
    });
}

#[test]
fn a_state_machine_that_panics_stops_its_group_as_a_bug() {
    let world = World::new(4);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        ledger.refuse("command-1", Error::new(ErrorKind::Bug, "panic"));
        let failed = tokio::spawn(host.failed());
        let error = group.propose(command(1)).await.expect_err("it panics");
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        assert_eq!(
            failed.await.expect("the watch lives").error.kind(),
            ErrorKind::Bug
        );
    });
}

#[test]
fn a_proposal_without_an_answer_in_time_is_unknown_and_may_still_happen() {
    let world = World::new(5);
    let ledger = Ledger::default();
    life(async {
        let proposal_timeout = Duration::from_millis(50);
        let host = world.host(HostOptions {
            proposal_timeout,
            ..HostOptions::default()
        });
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        ledger.close_gate();
        let error = group
            .propose(command(1))
            .await
            .expect_err("nothing is applied");
        assert_eq!(error.kind(), ErrorKind::Unknown, "{error:?}");
        ledger.open_gate();
        eventually("it is applied after all", || ledger.commands().len() == 1).await;
        group.propose(command(2)).await.expect("the group goes on");
    });
}

#[test]
fn a_command_whose_caller_gave_up_before_it_was_offered_is_not_offered() {
    let world = World::new(6);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions {
            entries_in_flight_max: 1,
            ..HostOptions::default()
        });
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        let last = |group: &raft::Group| group.status().last_index;
        let empty = last(&group);
        ledger.close_gate();
        let first = tokio::spawn({
            let group = group.clone();
            async move { group.propose(command(1)).await }
        });
        eventually("the first is in the log", || last(&group) > empty).await;
        let second = tokio::spawn({
            let group = group.clone();
            async move { group.propose(command(2)).await }
        });
        eventually("the second waits", || group.status().queued == 1).await;
        second.abort();
        assert!(second.await.expect_err("it was aborted").is_cancelled());
        ledger.open_gate();
        first.await.expect("it runs").expect("it is applied");
        group.propose(command(3)).await.expect("the group goes on");
        let commands: Vec<_> = ledger
            .commands()
            .into_iter()
            .map(|(_, _, command)| command)
            .collect();
        assert_eq!(commands, [command(1), command(3)]);
    });
}

#[test]
fn a_stopped_host_refuses_and_says_so() {
    let world = World::new(7);
    let ledger = Ledger::default();
    life(async {
        let host = world.host(HostOptions::default());
        let group = host
            .open_group(GROUP, ONE, ledger.machine(), true)
            .await
            .expect("it opens");
        host.stop().await.expect("the host stops");
        let error = group.propose(command(1)).await.expect_err("it is stopped");
        assert_eq!(error.kind(), ErrorKind::Closed);
        let error = group
            .read_guard(ReadPolicy::Lease)
            .await
            .expect_err("it is stopped");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    });
}

#[test]
fn a_stop_that_is_given_up_at_any_point_leaves_a_group_that_refuses() {
    for polls in 0..40 {
        let world = World::new(8);
        let ledger = Ledger::default();
        let is_done = virtual_life(async {
            let host = world.host(HostOptions {
                log_driver: LogDriver::Task,
                ..HostOptions::default()
            });
            let group = host
                .open_group(GROUP, ONE, ledger.machine(), true)
                .await
                .expect("it opens");
            let mut stopping = Box::pin(host.stop());
            let mut is_done = false;
            for _ in 0..polls {
                is_done |= futures::poll!(&mut stopping).is_ready();
                if is_done {
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(stopping);
            let limit = Duration::from_millis(20);
            let joining = group.add_learner(replica(2), limit).await;
            joining.expect_err("there is no such replica, nor this group in the end");
            is_done
        });
        if is_done {
            return;
        }
    }
    panic!("the host did not stop");
}
