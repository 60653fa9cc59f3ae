//! Three replicas in virtual time: joining, leaving, handing over; and three over TCP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft::{
    Clock, ErrorKind, Group, Host, HostOptions, LogDriver, NodeId, ReadPolicy, ReplicaId,
    TcpOptions, TcpTransport, WallClock,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::network::Network;
use crate::support::{GROUP, Ledger, World, command, life, propose_all, replica};

pub(crate) const LONG: Duration = Duration::from_mins(1);

/// One replica: its disk, its state machine, and its host while it is up.
pub(crate) struct Node {
    pub(crate) id: ReplicaId,
    pub(crate) world: World,
    pub(crate) ledger: Ledger,
    pub(crate) up: Option<(Host, Group)>,
    /// Longest sync of its disk.
    pub(crate) sync_max: Duration,
    /// How far its clock is off, in microseconds.
    pub(crate) clock_off_us: Arc<AtomicI64>,
}

/// The clock of a host that somebody sets now and then.
struct Wall {
    started: tokio::time::Instant,
    off_us: Arc<AtomicI64>,
}

impl WallClock for Wall {
    fn wall_us(&self) -> u64 {
        let passed = i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX);
        let now = 1_700_000_000_000_000 + passed + self.off_us.load(Ordering::Relaxed);
        u64::try_from(now).unwrap_or(0)
    }
}

impl Node {
    pub(crate) fn new(node: u32, seed: u64) -> Self {
        let world = World::new(seed * 10 + u64::from(node));
        Self {
            id: replica(node),
            ledger: Ledger::on(&world.vfs),
            world,
            up: None,
            sync_max: Duration::ZERO,
            clock_off_us: Arc::default(),
        }
    }

    pub(crate) async fn start(&mut self, network: &Network, bootstrap: bool) {
        let host = self.world.host(self.options(network));
        let machine = self.ledger.machine();
        let group = if bootstrap {
            host.open_group(GROUP, self.id, machine, true).await
        } else {
            host.join_group(GROUP, self.id, machine).await
        };
        self.up = Some((host, group.expect("the group opens")));
    }

    pub(crate) fn options(&self, network: &Network) -> HostOptions {
        let clock = Wall {
            started: tokio::time::Instant::now(),
            off_us: Arc::clone(&self.clock_off_us),
        };
        let log_driver = if self.sync_max.is_zero() {
            LogDriver::Task
        } else {
            LogDriver::SlowTask(self.sync_max)
        };
        HostOptions {
            node: self.id.node(),
            log_driver,
            clock: Clock::new(clock),
            transport: network.port(self.id.node()),
            ..HostOptions::default()
        }
    }

    /// The power is cut now: what was not synced is gone.
    pub(crate) fn lose_power(&mut self, network: &Network) {
        network.unplug(self.id.node());
        if !self.world.vfs.is_down() {
            self.world.vfs.crash_at(self.world.vfs.calls());
        }
        drop(self.up.take());
    }

    /// The power is cut, and comes back.
    pub(crate) async fn crash(&mut self, network: &Network) {
        self.lose_power(network);
        // What the host left behind ends by itself.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.world.vfs.restart();
    }

    pub(crate) fn group(&self) -> Option<&Group> {
        self.up.as_ref().map(|(_, group)| group)
    }
}

/// A group of the first node, joined by the others.
pub(crate) async fn cluster(seed: u64, network: &Network) -> Vec<Node> {
    let nodes = (1..=3).map(|id| Node::new(id, seed));
    cluster_of(nodes.collect(), network).await
}

/// A group of the first of these three nodes, joined by the others.
pub(crate) async fn cluster_of(mut nodes: Vec<Node>, network: &Network) -> Vec<Node> {
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
pub(crate) fn virtual_life<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        align().await;
        life.await
    })
}

/// Brings the clock to the end of a millisecond.
///
/// Timers fire on whole milliseconds since the runtime was built, and the clock stopped some real
/// microseconds after that: what is rounded up and what is not would differ from run to run.
async fn align() {
    let (mut below, mut above) = (0, 1000);
    while above - below > 1 {
        let middle = u64::midpoint(below, above);
        let before = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_micros(middle)).await;
        if before.elapsed() <= Duration::from_millis(1) {
            below = middle;
        } else {
            above = middle;
        }
    }
    tokio::time::advance(Duration::from_micros(below)).await;
}

/// Proposes to whoever leads until the command is acknowledged.
pub(crate) async fn write(nodes: &[Node], command: &Bytes) -> (u64, u16) {
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
pub(crate) async fn settle(nodes: &[Node]) {
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
fn a_leader_that_took_itself_out_changes_no_members_and_the_next_one_does() {
    virtual_life(async {
        let network = Network::new(6, Duration::from_millis(2));
        let nodes = cluster(6, &network).await;
        let old = nodes[0].group().expect("up");
        let others = BTreeSet::from([2, 3].map(replica));
        old.change_voters(&others, LONG).await.expect("it leaves");
        // It does not know yet that anybody else leads.
        assert_eq!(old.leader(), Some(replica(1)));
        let limit = Duration::from_secs(1);
        let error = old
            .add_learner(replica(1), limit)
            .await
            .expect_err("it is no member");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        let second = nodes[1].group().expect("up");
        let led = |leader| leader == Some(replica(2)) || leader == Some(replica(3));
        second.wait_leader(led, LONG).await.expect("another leads");
        // Soon it also has a lease.
        write(&nodes, &command(1)).await;
        let mut groups = nodes[1..].iter().filter_map(Node::group);
        let next = groups.find(|it| it.leader() == Some(it.status().replica));
        let next = next.expect("it leads");
        next.add_learner(replica(1), LONG)
            .await
            .expect("it joins again");
        assert!(old.status().failure.is_none());
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
fn a_node_that_was_removed_is_told_so_also_on_a_connection_that_it_has() {
    let worlds: Vec<World> = (1..=2).map(World::new).collect();
    let ledger = Ledger::default();
    life(async {
        let mut called = process(1, &worlds[0], &ledger, true).await;
        let caller = TcpTransport::new(TcpOptions::new(5, NodeId(2)));
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        caller.set_address(NodeId(1), listener.local_addr().expect("an address"));
        let transport = Arc::clone(&called.transport);
        called.serving = tokio::spawn(async move { drop(transport.serve(listener).await) });
        let call = || {
            let (group, replica) = (GROUP, replica(1));
            let peer = raft::Peer { group, replica };
            let (request, lane) = (Bytes::from_static(b"?"), raft::Lane::Control);
            raft::Transport::call(caller.as_ref(), peer, lane, request, LONG)
        };
        call().await.expect("an answer, whatever it is");
        called.transport.refuse(NodeId(2));
        let refused = async {
            loop {
                match call().await {
                    // The end of the connection comes a moment later.
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) if !error.to_string().contains("removed") => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => return error,
                }
            }
        };
        let refused = tokio::time::timeout(LONG, refused).await;
        let error = refused.expect("it is told within a minute");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
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
        third.ledger = Ledger::on(&third.world.vfs);
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
