//! Three replicas in virtual time: joining, leaving, handing over, and lives full of crashes and cut
//! ways from a seed.
//!
//! The oracle is linear: an acknowledged command has one place, on every replica, for good; and two
//! replicas never applied different commands at the same place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{
    ErrorKind, Group, Host, HostOptions, LogDriver, NodeId, ReadPolicy, ReplicaId, TcpOptions,
    TcpTransport,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::network::Network;
use crate::support::{GROUP, Ledger, Random, World, command, life, propose_all, replica};

const LONG: Duration = Duration::from_mins(1);

/// One replica: its disk, its state machine, and its host while it is up.
struct Node {
    id: ReplicaId,
    world: World,
    ledger: Ledger,
    up: Option<(Host, Group)>,
}

impl Node {
    fn new(node: u32, seed: u64) -> Self {
        Self {
            id: replica(node),
            world: World::new(seed * 10 + u64::from(node)),
            ledger: Ledger::default(),
            up: None,
        }
    }

    async fn start(&mut self, network: &Network, bootstrap: bool) {
        let options = HostOptions {
            node: self.id.node(),
            log_driver: LogDriver::Task,
            transport: network.port(self.id.node()),
            ..HostOptions::default()
        };
        let host = self.world.host(options);
        let machine = self.ledger.machine();
        let group = if bootstrap {
            host.open_group(GROUP, self.id, machine, true).await
        } else {
            host.join_group(GROUP, self.id, machine).await
        };
        self.up = Some((host, group.expect("the group opens")));
    }

    /// The power is cut now: what was not synced is gone.
    fn lose_power(&mut self, network: &Network) {
        network.unplug(self.id.node());
        if !self.world.vfs.is_down() {
            self.world.vfs.crash_at(self.world.vfs.calls());
        }
        drop(self.up.take());
    }

    /// The power is cut, and comes back.
    async fn crash(&mut self, network: &Network) {
        self.lose_power(network);
        // What the host left behind ends by itself.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.world.vfs.restart();
    }

    fn group(&self) -> Option<&Group> {
        self.up.as_ref().map(|(_, group)| group)
    }
}

/// A group of the first node, joined by the others.
async fn cluster(seed: u64, network: &Network) -> Vec<Node> {
    let mut nodes: Vec<Node> = (1..=3).map(|id| Node::new(id, seed)).collect();
    for node in &mut nodes {
        node.start(network, node.id == replica(1)).await;
    }
    let leader = nodes[0].group().expect("it is up").clone();
    for id in [2, 3] {
        leader
            .add_learner(replica(id), LONG)
            .await
            .expect("it joins");
    }
    let voters = BTreeSet::from([1, 2, 3].map(replica));
    leader
        .change_voters(&voters, LONG)
        .await
        .expect("they vote");
    nodes
}

/// One life in virtual time, on one thread.
fn virtual_life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(life)
}

/// Proposes to whoever leads until the command is acknowledged.
async fn write(nodes: &[Node], command: &Bytes) -> (u64, u16) {
    let wait = async {
        loop {
            for group in nodes.iter().filter_map(Node::group) {
                if let Ok(done) = group.propose(command.clone()).await {
                    return (done.index, done.op);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let written = tokio::time::timeout(LONG, wait).await;
    written.expect("somebody leads within a minute")
}

/// Waits until every replica that is up has applied the same.
async fn settle(nodes: &[Node]) {
    let (index, _) = write(nodes, &Bytes::from_static(b"settled")).await;
    for group in nodes.iter().filter_map(Node::group) {
        group
            .wait_applied(index, LONG)
            .await
            .expect("it catches up");
    }
}

#[test]
fn a_replica_that_joins_catches_up_and_one_that_leaves_is_not_asked_any_more() {
    virtual_life(async {
        let network = Network::new(1, Duration::from_millis(2));
        let mut nodes = cluster(1, &network).await;
        let commands: Vec<Bytes> = (0..500).map(command).collect();
        let leader = nodes[0].group().expect("up").clone();
        for outcome in propose_all(&leader, &commands).await {
            outcome.expect("three replicas take a write");
        }
        settle(&nodes).await;
        let expected = nodes[0].ledger.commands();
        assert!(expected.len() > 500);
        for node in &nodes {
            assert_eq!(node.ledger.commands(), expected, "replica {}", node.id);
        }
        // Two of three leave; the one that is left needs nobody.
        let alone = BTreeSet::from([replica(1)]);
        leader
            .change_voters(&alone, LONG)
            .await
            .expect("they leave");
        for node in &mut nodes[1..] {
            node.crash(&network).await;
        }
        let calls = network.calls();
        leader.propose(command(501)).await.expect("it is alone");
        assert_eq!(network.calls(), calls);
    });
}

#[test]
fn a_leader_hands_over_and_the_old_one_names_the_new_one() {
    virtual_life(async {
        let network = Network::new(2, Duration::from_millis(2));
        let nodes = cluster(2, &network).await;
        let (old, new) = (nodes[0].group().expect("up"), nodes[2].group().expect("up"));
        write(&nodes, &command(1)).await;
        old.transfer_leader(replica(3), LONG)
            .await
            .expect("it hands over");
        new.propose(command(2)).await.expect("the new one leads");
        let error = old.propose(command(3)).await.expect_err("it leads no more");
        assert_eq!(
            (error.kind(), error.leader()),
            (ErrorKind::NotLeader, Some(replica(3)))
        );
        let guard = new
            .read_guard(ReadPolicy::ReadIndex)
            .await
            .expect("a quorum agrees");
        guard.confirm().expect("it needs no lease");
        let error = old
            .read_guard(ReadPolicy::Lease)
            .await
            .expect_err("no lease");
        assert_eq!(error.kind(), ErrorKind::NotLeader);
    });
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing_and_its_lease_ends_before_another_leads() {
    virtual_life(async {
        let network = Network::new(3, Duration::from_millis(2));
        let nodes = cluster(3, &network).await;
        write(&nodes, &command(1)).await;
        let old = nodes[0].group().expect("up").clone();
        for other in [2, 3].map(NodeId) {
            network.cut(NodeId(1), other);
            network.cut(other, NodeId(1));
        }
        let lost = tokio::spawn({
            let old = old.clone();
            async move { old.propose(command(2)).await }
        });
        let next = nodes[1].group().expect("up");
        let led = next.wait_leader(|leader| leader.is_some_and(|it| it != replica(1)), LONG);
        led.await.expect("the others choose one");
        // Virtual time: nothing was slow, so whoever trusts its lease now is wrong.
        let error = old
            .read_guard(ReadPolicy::Lease)
            .await
            .expect_err("its lease is over");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let error = lost.await.expect("it ends").expect_err("no quorum");
        assert_eq!(error.kind(), ErrorKind::Unknown);
        let (index, op) = write(&nodes[1..], &command(3)).await;
        network.heal();
        settle(&nodes).await;
        let all = nodes[0].ledger.commands();
        assert!(all.contains(&(index, op, command(3))));
        for node in &nodes {
            assert_eq!(node.ledger.commands(), all);
        }
    });
}

/// What is known for certain, across all replicas and lives.
#[derive(Default)]
struct Known {
    /// The command at each place that was acknowledged or applied anywhere.
    places: BTreeMap<(u64, u16), Bytes>,
    acknowledged: usize,
}

impl Known {
    fn learn(&mut self, place: (u64, u16), command: &Bytes) {
        let before = self.places.entry(place).or_insert_with(|| command.clone());
        assert_eq!(before, command, "two commands at {place:?}");
    }

    fn check(&mut self, nodes: &[Node]) {
        for node in nodes {
            for (index, op, command) in node.ledger.commands() {
                self.learn((index, op), &command);
            }
        }
    }
}

/// Cuts, crashes and heals, while writers write.
async fn trouble(nodes: &mut [Node], network: &Network, random: &mut Random) {
    let pick = |random: &mut Random| usize::try_from(random.below(3)).expect("it fits");
    match random.below(6) {
        0 => {
            let (from, to) = (pick(random), pick(random));
            network.cut(nodes[from].id.node(), nodes[to].id.node());
        }
        1 => network.heal(),
        2 | 3 => {
            let at = pick(random);
            nodes[at].crash(network).await;
            nodes[at].start(network, false).await;
        }
        4 => {
            for node in nodes.iter() {
                let Some(group) = node.group() else { continue };
                let index = node.ledger.flush();
                // Nothing is purged: a replica that was away catches up from the log.
                group.flushed(index, 0).expect("the index is applied");
            }
        }
        _ => tokio::time::sleep(Duration::from_millis(random.below(3000))).await,
    }
}

/// The power fails on several hosts within the next few calls of their file systems: between a
/// write and its sync, if that is where they are.
fn arm(nodes: &[Node], random: &mut Random) {
    for node in nodes {
        if random.below(3) > 0 {
            let calls = node.world.vfs.calls() + random.below(8);
            node.world.vfs.crash_at(calls);
        }
    }
}

/// Ends every host, those whose power has failed and the others, and starts all again: together, so
/// that nobody learns from a host that is about to forget.
async fn restart_all(nodes: &mut [Node], network: &Network) {
    for node in nodes.iter_mut() {
        node.lose_power(network);
    }
    // What the hosts left behind ends by itself.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in nodes {
        node.world.vfs.restart();
        node.start(network, false).await;
    }
}

impl Known {
    /// A few commands to one replica, as it is.
    async fn propose(&mut self, node: &Node, numbers: std::ops::Range<usize>, limit: Duration) {
        let Some(group) = node.group() else { return };
        let commands: Vec<Bytes> = numbers.map(command).collect();
        let outcomes = propose_all(group, &commands);
        let Ok(outcomes) = tokio::time::timeout(limit, outcomes).await else {
            return;
        };
        for (command, outcome) in commands.iter().zip(outcomes) {
            if let Ok(done) = outcome {
                self.acknowledged += 1;
                self.learn((done.index, done.op), command);
            }
        }
    }

    /// All replicas hold the same: everything known, and no command twice.
    fn check_end(&self, nodes: &[Node], seed: u64) {
        let expected = nodes[0].ledger.commands();
        for node in nodes {
            let id = node.id;
            assert_eq!(
                node.ledger.commands(),
                expected,
                "replica {id} of seed {seed}"
            );
        }
        let held: BTreeMap<_, _> = expected
            .into_iter()
            .map(|(index, op, command)| ((index, op), command))
            .collect();
        for (place, command) in &self.places {
            assert_eq!(held.get(place), Some(command), "seed {seed}: {place:?}");
        }
        let all = held.values().filter(|it| !it.starts_with(b"settled"));
        let mut all: Vec<&Bytes> = all.collect();
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!(all.len(), count, "seed {seed}: a command was applied twice");
    }
}

async fn lives(seed: u64) -> (usize, usize) {
    let network = Network::new(seed, Duration::from_millis(5));
    let mut nodes = cluster(seed, &network).await;
    let mut random = Random(seed);
    let mut known = Known::default();
    let mut number = 0;
    for _ in 0..30 {
        if random.below(3) == 0 {
            arm(&nodes, &mut random);
        }
        for _ in 0..=random.below(2) {
            // Whoever leads is among them; the others say so.
            for node in &nodes {
                let count = usize::try_from(random.below(10)).expect("it fits");
                let limit = Duration::from_millis(500 + random.below(4000));
                known.propose(node, number..number + count, limit).await;
                number += count;
            }
        }
        if nodes.iter().any(|node| node.world.vfs.is_down()) {
            restart_all(&mut nodes, &network).await;
        }
        trouble(&mut nodes, &network, &mut random).await;
        known.check(&nodes);
    }
    // A last one for all, which also ends every power cut that is still to come.
    network.heal();
    restart_all(&mut nodes, &network).await;
    settle(&nodes).await;
    known.check(&nodes);
    known.check_end(&nodes, seed);
    (known.acknowledged, number)
}

#[test]
fn through_crashes_and_cut_ways_nothing_acknowledged_is_lost_moved_or_doubled() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("SEEDS and FIRST are numbers"))
    };
    let (first, seeds) = (number("FIRST").unwrap_or(0), number("SEEDS").unwrap_or(10));
    let (mut acknowledged, mut proposed) = (0, 0);
    for seed in first..first + seeds {
        let (here, of) = virtual_life(lives(seed));
        acknowledged += here;
        proposed += of;
    }
    println!("{acknowledged} of {proposed} commands acknowledged");
    let least = usize::try_from(seeds * 30).expect("it fits");
    assert!(
        acknowledged > least,
        "too little happened to prove anything"
    );
}

/// A host on a socket of its own.
struct Process {
    transport: Arc<TcpTransport>,
    host: Host,
    group: Group,
    serving: JoinHandle<()>,
}

impl Process {
    /// Ends it as a crash would.
    fn kill(self) {
        self.serving.abort();
        drop(self.host);
    }
}

async fn process(id: u32, world: &World, ledger: &Ledger, bootstrap: bool) -> Process {
    let transport = TcpTransport::new(TcpOptions::new(5, NodeId(id)));
    let host = world.host(HostOptions {
        node: NodeId(id),
        transport: Arc::clone(&transport) as Arc<_>,
        ..HostOptions::default()
    });
    let machine = ledger.machine();
    let group = if bootstrap {
        host.open_group(GROUP, replica(id), machine, true).await
    } else {
        host.join_group(GROUP, replica(id), machine).await
    };
    Process {
        transport,
        host,
        group: group.expect("the group opens"),
        serving: tokio::spawn(std::future::ready(())),
    }
}

/// Lets it listen and tells everyone where.
async fn listen(process: &mut Process, id: u32, others: &[&Process]) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    for other in others {
        other.transport.set_address(NodeId(id), address);
    }
    let transport = Arc::clone(&process.transport);
    process.serving = tokio::spawn(async move { drop(transport.serve(listener).await) });
}

#[test]
fn over_tcp_a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let worlds: Vec<World> = (1..=3).map(World::new).collect();
    let ledgers: Vec<Ledger> = (1..=3).map(|_| Ledger::default()).collect();
    life(async {
        let mut first = process(1, &worlds[0], &ledgers[0], true).await;
        let mut second = process(2, &worlds[1], &ledgers[1], false).await;
        let mut third = process(3, &worlds[2], &ledgers[2], false).await;
        listen(&mut first, 1, &[&second, &third]).await;
        listen(&mut second, 2, &[&first, &third]).await;
        listen(&mut third, 3, &[&first, &second]).await;
        for id in [2, 3] {
            first
                .group
                .add_learner(replica(id), LONG)
                .await
                .expect("it joins");
        }
        let voters = BTreeSet::from([1, 2, 3].map(replica));
        first
            .group
            .change_voters(&voters, LONG)
            .await
            .expect("they vote");
        let commands: Vec<Bytes> = (0..2000).map(command).collect();
        let mut acknowledged = Vec::new();
        for outcome in propose_all(&first.group, &commands).await {
            let done = outcome.expect("three replicas take a write");
            acknowledged.push((done.index, done.op));
        }
        first.kill();
        let led = second
            .group
            .wait_leader(|it| it.is_some_and(|it| it != replica(1)), LONG);
        led.await.expect("another leads");
        let leader = second.group.status().leader.expect("it knows the leader");
        let group = if leader == replica(2) {
            &second.group
        } else {
            &third.group
        };
        let last = group
            .propose(command(2000))
            .await
            .expect("it takes a write");
        for (node, ledger) in [(&second, &ledgers[1]), (&third, &ledgers[2])] {
            node.group
                .wait_applied(last.index, LONG)
                .await
                .expect("it catches up");
            let held: BTreeMap<_, _> = ledger
                .commands()
                .into_iter()
                .map(|(index, op, command)| ((index, op), command))
                .collect();
            for (place, command) in acknowledged.iter().zip(&commands) {
                assert_eq!(held.get(place), Some(command));
            }
        }
        second.kill();
        third.kill();
    });
}

#[test]
fn hosts_of_another_cluster_or_another_name_refuse_each_other() {
    let worlds: Vec<World> = (1..=2).map(World::new).collect();
    let ledger = Ledger::default();
    life(async {
        let mut called = process(1, &worlds[0], &ledger, true).await;
        listen(&mut called, 1, &[]).await;
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let transport = Arc::clone(&called.transport);
        let serving = tokio::spawn(async move { drop(transport.serve(listener).await) });
        for (cluster, to, why) in [(6, 1, "another cluster"), (5, 9, "another node")] {
            let caller = TcpTransport::new(TcpOptions::new(cluster, NodeId(2)));
            caller.set_address(NodeId(to), format!("localhost:{}", address.port()));
            let peer = raft::Peer {
                group: GROUP,
                replica: replica(to),
            };
            let call = raft::Transport::call(
                caller.as_ref(),
                peer,
                raft::Lane::Control,
                Bytes::from_static(b"?"),
                LONG,
            );
            let error = call.await.expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains(why), "{error}");
        }
        // Who has not said who it is gets no memory: a greeting has no 16 MiB.
        let mut stranger = TcpStream::connect(address).await.expect("it listens");
        let claim = (16 * 1024 * 1024_u32).to_le_bytes();
        stranger.write_all(&claim).await.expect("it is sent");
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(1), stranger.read_to_end(&mut answer));
        drop(ended.await.expect("closed before the greeting is due"));
        assert!(answer.is_empty());
        serving.abort();
        called.kill();
    });
}

#[test]
fn a_replica_that_was_destroyed_comes_back_empty_under_another_id_and_the_old_id_is_refused() {
    virtual_life(async {
        let network = Network::new(4, Duration::from_millis(2));
        let mut nodes = cluster(4, &network).await;
        write(&nodes, &command(1)).await;
        let leader = nodes[0].group().expect("up").clone();
        leader
            .change_voters(&BTreeSet::from([1, 2].map(replica)), LONG)
            .await
            .expect("the third leaves");
        let third = &mut nodes[2];
        let (host, _) = third.up.take().expect("up");
        host.destroy_group(GROUP).await.expect("it is destroyed");
        let (old, new) = (third.id, ReplicaId::new(NodeId(3), 40));
        third.ledger = Ledger::default();
        let group = host
            .join_group(GROUP, new, third.ledger.machine())
            .await
            .expect("it joins");
        third.id = new;
        third.up = Some((host, group));
        let error = leader
            .add_learner(old, Duration::from_secs(20))
            .await
            .expect_err("nobody is that replica any more");
        assert_eq!(error.kind(), ErrorKind::Unknown);
        let voters = BTreeSet::from([replica(1), replica(2), new]);
        leader
            .change_voters(&BTreeSet::from([1, 2].map(replica)), LONG)
            .await
            .expect("it is forgotten");
        leader.add_learner(new, LONG).await.expect("it catches up");
        leader.change_voters(&voters, LONG).await.expect("it votes");
        settle(&nodes).await;
        assert_eq!(nodes[2].ledger.commands(), nodes[0].ledger.commands());
    });
}
