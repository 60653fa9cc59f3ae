//! How long a group is without a leader, in virtual time; and that nobody trusts what a restart forgot.

use std::time::Duration;

use raft::{NodeId, ReadPolicy};

use crate::cluster::{LONG, Node, cluster, settle, virtual_life, write};
use crate::network::Network;
use crate::support::{Random, command, replica};

/// Starts all again on slower disks.
async fn slow_down(nodes: &mut [Node], network: &Network, sync_max: Duration) {
    for at in 0..nodes.len() {
        nodes[at].crash(network).await;
        nodes[at].sync_max = sync_max;
        nodes[at].start(network, false).await;
        settle(nodes).await;
    }
}

/// From the death of the leader to the next acknowledged write.
async fn replaced(seed: u64, sync_max: Duration) -> Duration {
    let mut random = Random(seed);
    let network = Network::new(seed, Duration::from_millis(2));
    let mut nodes = cluster(seed, &network).await;
    slow_down(&mut nodes, &network, sync_max).await;
    let until = tokio::time::Instant::now() + Duration::from_millis(random.below(3000));
    let mut number = 0;
    while tokio::time::Instant::now() < until {
        number += 1;
        write(&nodes, &command(number)).await;
        tokio::time::sleep(Duration::from_millis(random.below(600))).await;
    }
    write(&nodes, &command(number + 1)).await;
    tokio::time::sleep(Duration::from_millis(random.below(900))).await;
    let leads = |node: &Node| {
        node.group()
            .is_some_and(|it| it.status().leader == Some(node.id))
    };
    let leader = nodes.iter().position(leads).expect("somebody leads");
    let died = tokio::time::Instant::now();
    nodes[leader].lose_power(&network);
    write(&nodes, &command(number + 2)).await;
    died.elapsed()
}

/// The value that all but `share` percent of `times` keep below.
fn percentile(times: &[Duration], share: usize) -> Duration {
    times[(times.len() * share / 100).min(times.len() - 1)]
}

#[test]
fn a_dead_leader_is_replaced_in_time() {
    let seeds = std::env::var("SEEDS").map_or(60, |it| it.parse().expect("a number"));
    for (sync_max_ms, limit_ms) in [(5, 1500), (100, 2000), (400, 3500)] {
        let sync_max = Duration::from_millis(sync_max_ms);
        let one = |seed| virtual_life(replaced(seed, sync_max));
        let mut times: Vec<Duration> = (0..seeds).map(one).collect();
        if times.iter().any(|time| time.as_millis() > limit_ms.into()) {
            println!("{times:?}");
        }
        times.sort_unstable();
        let [half, most] = [50, 99].map(|share| percentile(&times, share));
        println!(
            "syncs of up to {sync_max:?}: p50 {half:?}, p99 {most:?}, worst {:?}",
            times.last()
        );
        assert!(
            most <= Duration::from_millis(limit_ms),
            "p99 {most:?} with syncs of {sync_max:?}"
        );
    }
}

/// Ways to and from a node.
fn cut_off(network: &Network, node: u32, others: &[u32]) {
    for other in others {
        network.cut(NodeId(node), NodeId(*other));
        network.cut(NodeId(*other), NodeId(node));
    }
}

#[test]
fn a_member_that_restarts_keeps_its_promise_to_the_leader_that_it_followed() {
    virtual_life(async {
        let network = Network::new(1, Duration::from_millis(2));
        let mut nodes = cluster(1, &network).await;
        let old = nodes[0].group().expect("up").clone();
        write(&nodes[..1], &command(1)).await;
        settle(&nodes).await;
        // The third has everything and could lead; only the second still confirms the leader.
        cut_off(&network, 3, &[1]);
        tokio::time::sleep(Duration::from_secs(4)).await;
        let (second, others) = (1, [1, 3]);
        nodes[second].lose_power(&network);
        nodes[second].world.vfs.restart();
        nodes[second].start(&network, false).await;
        cut_off(&network, 1, &others);
        cut_off(&network, 1, &[2]);
        let next = nodes[2].group().expect("up").clone();
        // At once, so that only the promise of the second one stands between two leaders.
        next.campaign().await.expect("it runs");
        let led = next.wait_leader(|leader| leader.is_some_and(|it| it != replica(1)), LONG);
        led.await.expect("the others choose one");
        // Virtual time: a lease that counts on the second one would still hold here.
        let guard = old.read_guard(ReadPolicy::Lease).await;
        assert!(guard.is_err(), "two leaders hold a lease");
        network.heal();
        settle(&nodes).await;
    });
}

#[test]
fn a_member_that_lacks_entries_and_runs_for_election_again_and_again_keeps_nobody_from_leading() {
    virtual_life(async {
        let network = Network::new(5, Duration::from_millis(2));
        let mut nodes = cluster(5, &network).await;
        settle(&nodes).await;
        cut_off(&network, 3, &[1, 2]);
        write(&nodes[..2], &command(1)).await;
        let term = nodes[1].group().expect("up").status().term;
        nodes[0].lose_power(&network);
        network.heal();
        // The second has what the third lacks, so only it can lead.
        let behind = nodes[2].group().expect("up").clone();
        let running = tokio::spawn(async move {
            loop {
                behind.campaign().await.expect("it runs");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        let next = nodes[1].group().expect("up");
        let led = next.wait_leader(|leader| leader == Some(replica(2)), LONG);
        led.await.expect("the second leads");
        running.abort();
        assert_eq!(next.status().term, term + 1, "one election was enough");
    });
}

#[test]
fn a_leader_that_hands_over_holds_no_lease_any_more_also_when_it_hears_of_nobody() {
    virtual_life(async {
        let network = Network::new(4, Duration::from_millis(2));
        let nodes = cluster(4, &network).await;
        let old = nodes[0].group().expect("up").clone();
        let next = nodes[1].group().expect("up").clone();
        write(&nodes[..1], &command(1)).await;
        settle(&nodes).await;
        for policy in [ReadPolicy::Lease, ReadPolicy::ReadIndex] {
            let guard = old.read_guard(policy).await.expect("it leads");
            guard.confirm().expect("nothing happened in between");
        }
        let before = old.read_guard(ReadPolicy::Lease).await.expect("it leads");
        // What it says is heard, and it hears nothing: neither of its successor nor of anybody's votes.
        network.cut(NodeId(2), NodeId(1));
        network.cut(NodeId(3), NodeId(1));
        let handing = old.clone();
        let handing = tokio::spawn(async move { handing.transfer_leader(replica(2), LONG).await });
        let led = next.wait_leader(|leader| leader == Some(replica(2)), LONG);
        led.await.expect("it takes over");
        write(&nodes[1..2], &command(2)).await;
        // Virtual time: the members' answers to the old leader are milliseconds old.
        let guard = old.read_guard(ReadPolicy::Lease).await;
        assert!(guard.is_err(), "two leaders hold a lease");
        let confirmed = before.confirm();
        assert!(
            confirmed.is_err(),
            "the guard of before the hand-over confirms"
        );
        let guard = old.read_guard(ReadPolicy::ReadIndex).await;
        assert!(guard.is_err(), "two leaders serve reads");
        handing.abort();
        network.heal();
        settle(&nodes).await;
    });
}

#[test]
fn a_leader_whose_disk_is_slow_and_members_that_pause_for_less_than_a_lease_cause_no_election() {
    virtual_life(async {
        let network = Network::new(2, Duration::from_millis(2));
        let mut nodes = cluster(2, &network).await;
        slow_down(&mut nodes, &network, Duration::from_millis(900)).await;
        let first = nodes[0].group().expect("up");
        let (leader, term) = (first.status().leader, first.status().term);
        let mut random = Random(7);
        for number in 0..60 {
            write(&nodes, &command(number)).await;
            // A pause looks like a member that nobody hears and that hears nobody for a moment.
            let paused = 1 + u32::try_from(random.below(3)).expect("it fits");
            let others: Vec<u32> = (1..=3).filter(|it| *it != paused).collect();
            cut_off(&network, paused, &others);
            tokio::time::sleep(Duration::from_millis(random.below(500))).await;
            network.heal();
        }
        for node in &nodes {
            let status = node.group().expect("up").status();
            assert_eq!(
                (status.leader, status.term),
                (leader, term),
                "replica {}",
                node.id
            );
        }
    });
}
