//! A group goes on from one replica when the others are lost for good.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use raft::{ErrorKind, Loss, NodeId, StateMachine, Survivor};

use crate::cluster::{LONG, Node, cluster, settle, virtual_life, write};
use crate::network::Network;
use crate::support::{GROUP, command, propose_all, replica};

/// What the stopped replica has; does `work` with it and its log.
fn survey<T>(node: &Node, work: impl FnOnce(&Survivor, &lsm::log::Log) -> T) -> T {
    let log = node.world.log().expect("the log opens");
    let applied = node.ledger.machine().applied();
    let survivor = Survivor::read(&log, GROUP, &applied).expect("it is read");
    let outcome = work(&survivor.expect("it is there"), &log);
    // After a power cut nothing closes.
    drop(log.close());
    outcome
}

fn nodes(ids: &[u32]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// Three replicas with the same commands, part of them purged, and all without power.
async fn lost(seed: u64, network: &Network) -> (Vec<Node>, Vec<(u64, u16, Bytes)>) {
    let mut members = cluster(seed, network).await;
    for number in 0..20 {
        write(&members, &command(number)).await;
        if number == 9 {
            settle(&members).await;
            let survivor = members[2].group().expect("up").clone();
            let index = members[2].ledger.flush();
            survivor.flushed(index, u64::MAX).expect("it is applied");
        }
    }
    settle(&members).await;
    let held = members[2].ledger.commands();
    for node in &mut members {
        node.lose_power(network);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    members[2].world.vfs.restart();
    (members, held)
}

/// The third replica leads alone, has everything, takes writes, and others join it.
async fn goes_on(network: &Network, members: &mut Vec<Node>, held: &[(u64, u16, Bytes)]) {
    let mut survivor = members.remove(2);
    survivor.start(network, false).await;
    members.clear();
    members.push(survivor);
    let group = members[0].group().expect("up").clone();
    assert_eq!(members[0].ledger.commands()[..held.len()], *held);
    write(members, &command(100)).await;
    for id in [4, 5] {
        let mut node = Node::new(id, 77);
        node.start(network, false).await;
        members.push(node);
        group.add_learner(replica(id), LONG).await.expect("joins");
    }
    let voters = BTreeSet::from([3, 4, 5].map(replica));
    group.change_voters(&voters, LONG).await.expect("they vote");
    settle(members).await;
    for node in members.iter() {
        assert_eq!(node.ledger.commands(), members[0].ledger.commands());
    }
}

#[test]
fn a_replica_whose_majority_is_lost_goes_on_alone_with_all_it_has_and_others_join() {
    virtual_life(async {
        let network = Network::new(1, Duration::from_millis(2));
        let (mut members, held) = lost(1, &network).await;
        survey(&members[2], |survivor, log| {
            assert_eq!(survivor.replica, replica(3));
            assert_eq!(survivor.loss(&nodes(&[2])), Loss::MajorityLives);
            assert_eq!(survivor.loss(&nodes(&[1, 2])), Loss::Alone);
            let others = BTreeSet::from([replica(2)]);
            assert_eq!(survivor.loss(&nodes(&[1, 3])), Loss::Few(others));
            assert!(survivor.proposed_us.is_some());
            survivor.make_alone(log).expect("it is written");
        });
        survey(&members[2], |survivor, _| {
            assert!(survivor.membership.is_single(replica(3)));
            assert_eq!(survivor.loss(&nodes(&[1, 2])), Loss::MajorityLives);
        });
        goes_on(&network, &mut members, &held).await;
    });
}

#[test]
fn without_the_forced_step_nobody_leads_and_a_learner_cannot_take_it() {
    virtual_life(async {
        let network = Network::new(2, Duration::from_millis(2));
        let (mut members, _) = lost(2, &network).await;
        let mut survivor = members.remove(2);
        survivor.start(&network, false).await;
        let group = survivor.group().expect("up").clone();
        let own = Some(replica(3));
        let led = group.wait_leader(|leader| leader == own, LONG).await;
        assert_eq!(led.expect_err("no majority").kind(), ErrorKind::Unknown);
        survivor.lose_power(&network);
        tokio::time::sleep(Duration::from_secs(1)).await;
        survivor.world.vfs.restart();
        survey(&survivor, |it, log| {
            let mut learner = it.clone();
            learner.membership.voters = vec![BTreeSet::from([1, 2].map(replica))];
            assert_eq!(learner.loss(&nodes(&[1, 2])), Loss::NoVoter);
            let refused = learner.make_alone(log).expect_err("it may lack anything");
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        });
    });
}

#[test]
fn what_only_the_old_leader_had_takes_effect_when_it_goes_on() {
    virtual_life(async {
        let network = Network::new(3, Duration::from_millis(2));
        let mut members = cluster(3, &network).await;
        write(&members[..1], &command(1)).await;
        for other in [2, 3].map(NodeId) {
            network.cut(NodeId(1), other);
            network.cut(other, NodeId(1));
        }
        let commands: Vec<Bytes> = (2..5).map(command).collect();
        let group = members[0].group().expect("up").clone();
        for outcome in propose_all(&group, &commands).await {
            assert_eq!(outcome.expect_err("no majority").kind(), ErrorKind::Unknown);
        }
        for node in &mut members {
            node.lose_power(&network);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        members[0].world.vfs.restart();
        survey(&members[0], Survivor::make_alone).expect("it is written");
        members[0].start(&network, false).await;
        let held = members[0].ledger.commands();
        let held: Vec<&Bytes> = held.iter().map(|(_, _, command)| command).collect();
        for number in 1..5 {
            assert!(held.contains(&&command(number)), "command {number}");
        }
    });
}

#[test]
fn a_power_cut_at_any_call_of_the_forced_step_leaves_a_replica_that_takes_it_again() {
    virtual_life(async {
        let mut cuts = 0;
        for call in 0..40 {
            let network = Network::new(call, Duration::from_millis(2));
            let (mut members, held) = lost(call, &network).await;
            let vfs = members[2].world.vfs.clone();
            let done = survey(&members[2], |survivor, log| {
                vfs.crash_at(vfs.calls() + call);
                survivor.make_alone(log).is_ok()
            });
            let is_cut = vfs.is_down();
            assert!(is_cut || done, "call {call}");
            cuts += usize::from(!done);
            vfs.crash_at(vfs.calls());
            vfs.restart();
            survey(&members[2], |survivor, log| {
                let is_alone = survivor.membership.is_single(replica(3));
                assert!(is_alone || !done, "call {call}: it was durable");
                if !is_alone {
                    survivor.make_alone(log).expect("it is written");
                }
            });
            goes_on(&network, &mut members, &held).await;
            if !is_cut {
                break;
            }
        }
        assert!(cuts > 0, "no cut came in time");
    });
}
