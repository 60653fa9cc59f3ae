//! A replica that needs purged entries gets the state instead: all of it, once, through everything.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use crate::cluster::{LONG, Node, cluster, settle, virtual_life, write};
use crate::network::Network;
use crate::support::{Random, command, propose_all, replica};

/// Bytes of the large commands: several chunks of a raft snapshot.
const LARGE: usize = 900 * 1024;

/// A group of three whose log begins behind some megabytes of state, and an empty fourth host.
async fn purged_cluster(seed: u64, network: &Network) -> Vec<Node> {
    let mut nodes = cluster(seed, network).await;
    let leader = nodes[0].group().expect("up").clone();
    for number in 0..6u8 {
        let large = Bytes::from(vec![number; LARGE]);
        leader.propose(large).await.expect("it is written");
    }
    let commands: Vec<Bytes> = (0..300).map(command).collect();
    for outcome in propose_all(&leader, &commands).await {
        outcome.expect("it is written");
    }
    settle(&nodes).await;
    for node in &nodes {
        purge(node).await;
    }
    let mut fourth = Node::new(4, seed);
    fourth.start(network, false).await;
    nodes.push(fourth);
    nodes
}

/// Makes everything durable and gives the log up to there back.
async fn purge(node: &Node) {
    let Some(group) = node.group() else { return };
    let index = node.ledger.flush();
    group.flushed(index, u64::MAX).expect("it is applied");
    let wait = async {
        while group.status().purged.is_none_or(|it| it.index + 1 < index) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let purged = tokio::time::timeout(LONG, wait).await;
    purged.expect("it is purged");
}

fn installs(node: &Node) -> usize {
    node.ledger.with(|record| record.installs)
}

fn assert_same(nodes: &[Node]) {
    let expected = nodes[0].ledger.commands();
    for node in nodes {
        assert!(node.ledger.commands() == expected, "replica {}", node.id);
    }
}

#[test]
fn a_learner_far_behind_gets_the_state_while_entries_go_on_and_then_votes() {
    virtual_life(async {
        let network = Network::new(21, Duration::from_millis(2));
        let nodes = purged_cluster(21, &network).await;
        let leader = nodes[0].group().expect("up").clone();
        let writer = tokio::spawn({
            let leader = leader.clone();
            async move {
                for number in 1000..1400 {
                    leader.propose(command(number)).await.expect("it goes on");
                }
            }
        });
        leader
            .add_learner(replica(4), LONG)
            .await
            .expect("it joins");
        assert_eq!(installs(&nodes[3]), 1);
        let voters = BTreeSet::from([2, 3, 4].map(replica));
        leader
            .change_voters(&voters, LONG)
            .await
            .expect("it votes, and the leader leaves");
        drop(writer.await);
        settle(&nodes[1..]).await;
        assert_same(&nodes[1..]);
        // What was sent is removed when nobody has asked for it for a while, and pins nothing.
        tokio::time::sleep(Duration::from_mins(2)).await;
        for node in &nodes[1..] {
            purge(node).await;
            let vfs = &node.world.vfs;
            for dir in ["incoming", "outgoing-0"] {
                let dir = std::path::Path::new("/data/snapshots").join(dir);
                let left = lsm::vfs::Vfs::list(vfs, &dir).unwrap_or_default();
                assert!(left.is_empty(), "{left:?} in {}", dir.display());
            }
        }
    });
}

#[test]
fn a_transfer_whose_way_is_cut_goes_on_where_it_was() {
    virtual_life(async {
        let network = Network::new(22, Duration::from_millis(2));
        let nodes = purged_cluster(22, &network).await;
        let leader = nodes[0].group().expect("up").clone();
        let before = network.bulk_bytes();
        network.cut_bulk_after(3 * 1024 * 1024);
        let joining = tokio::spawn({
            let leader = leader.clone();
            async move { leader.add_learner(replica(4), LONG).await }
        });
        while !network.has_cut_bulk() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        network.heal();
        joining.await.expect("it ends").expect("it joins");
        let state = 6 * LARGE as u64;
        let sent = network.bulk_bytes() - before;
        assert!(
            (state..state * 3 / 2).contains(&sent),
            "{sent} bytes were sent for {state}"
        );
        assert_eq!(installs(&nodes[3]), 1);
        settle(&nodes).await;
        assert_same(&nodes);
    });
}

#[test]
fn a_leader_that_dies_while_it_sends_is_followed_by_one_that_begins_again() {
    virtual_life(async {
        let network = Network::new(23, Duration::from_millis(2));
        let mut nodes = purged_cluster(23, &network).await;
        let leader = nodes[0].group().expect("up").clone();
        network.cut_bulk_after(2 * 1024 * 1024);
        let joining = tokio::spawn(async move { leader.add_learner(replica(4), LONG).await });
        while !network.has_cut_bulk() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nodes[0].crash(&network).await;
        drop(joining.await.expect("it ends"));
        network.heal();
        // The next leader has the learner in its log, or is told again.
        write(&nodes[1..3], &command(5000)).await;
        let wait = async {
            while installs(&nodes[3]) == 0 {
                for group in nodes[1..3].iter().filter_map(Node::group) {
                    let limit = Duration::from_secs(5);
                    drop(group.add_learner(replica(4), limit).await);
                }
            }
        };
        let installed = tokio::time::timeout(LONG * 5, wait).await;
        installed.expect("another one sends it");
        nodes[0].start(&network, false).await;
        settle(&nodes).await;
        assert_same(&nodes);
    });
}

#[test]
fn a_power_cut_at_any_point_of_receiving_leaves_a_replica_that_gets_the_rest() {
    let mut random = Random(24);
    let (mut cuts, mut joined) = (0, 0);
    for round in 0..30 {
        virtual_life(async {
            let network = Network::new(round, Duration::from_millis(2));
            let mut nodes = purged_cluster(round, &network).await;
            let leader = nodes[0].group().expect("up").clone();
            let vfs = nodes[3].world.vfs.clone();
            vfs.crash_at(vfs.calls() + random.below(40));
            let joining = tokio::spawn({
                let leader = leader.clone();
                async move { leader.add_learner(replica(4), LONG).await }
            });
            let mut waited = 0;
            while !vfs.is_down() && !joining.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                waited += 1;
                assert!(waited < 10_000, "round {round}: nothing happens");
            }
            cuts += usize::from(vfs.is_down());
            nodes[3].crash(&network).await;
            nodes[3].start(&network, false).await;
            drop(joining.await.expect("it ends"));
            leader
                .add_learner(replica(4), LONG)
                .await
                .expect("it joins");
            joined += 1;
            settle(&nodes).await;
            assert_same(&nodes);
        });
    }
    assert!(cuts > 15 && joined == 30, "{cuts} cuts, {joined} joined");
}
