//! Lives from a seed, in virtual time: replicas that vote, leave, are destroyed and come back under new
//! ids, get the state instead of purged entries, hand over; hosts that lose power, disks that are
//! slow, clocks that are set, ways that are cut in one direction.
//!
//! The oracle is linear: an acknowledged command has one place, on every replica, for good; two
//! replicas never applied different commands at the same place; and what a confirmed read saw
//! holds everything that was acknowledged before it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft::{Group, LogRead, ReadPolicy, ReplicaId};

use crate::cluster::{LONG, Node, cluster_of, settle, virtual_life, write};
use crate::network::Network;
use crate::support::{GROUP, Ledger, Random, command, propose_all};

/// What is known for certain, across all replicas and lives.
#[derive(Default)]
struct Known {
    /// The command at each place that was acknowledged or applied anywhere.
    places: BTreeMap<(u64, u16), Bytes>,
    acknowledged: BTreeMap<(u64, u16), Bytes>,
}

/// What happened, to show that it did.
#[derive(Debug, Default)]
struct Tally {
    proposed: usize,
    acknowledged: usize,
    destroyed: usize,
    installs: usize,
    transfers: usize,
    confirmed: usize,
    refused: usize,
    /// Of everything that the hosts said to each other, and when.
    trace: u64,
}

/// One world and its lives.
struct Sim {
    seed: u64,
    network: Network,
    nodes: Vec<Node>,
    random: Random,
    known: Known,
    tally: Tally,
    /// Gives replicas their generation.
    generation: u64,
}

impl Known {
    fn learn(&mut self, place: (u64, u16), command: &Bytes) {
        let before = self.places.entry(place).or_insert_with(|| command.clone());
        assert_eq!(before, command, "two commands at {place:?}");
    }
}

impl Node {
    fn leads(&self) -> Option<&Group> {
        let group = self.group()?;
        let leader = group.status().leader;
        (leader == Some(self.id)).then_some(group)
    }

    fn holds(&self) -> BTreeMap<(u64, u16), Bytes> {
        let commands = self.ledger.commands().into_iter();
        commands
            .map(|(index, op, command)| ((index, op), command))
            .collect()
    }

    /// What a stream would read from its log now.
    fn published(&self) -> BTreeMap<(u64, u16), Bytes> {
        let (mut from, mut all) = (0, BTreeMap::new());
        let Some(group) = self.group().filter(|_| !self.world.vfs.is_down()) else {
            return all;
        };
        loop {
            match group.read_log(from, 4096) {
                Ok(LogRead::Purged { oldest }) => from = oldest,
                Ok(LogRead::Batches { next, .. }) if next == from => return all,
                Ok(LogRead::Batches { batches, next }) => {
                    for batch in batches {
                        let ops = (0u16..).zip(batch.commands);
                        all.extend(ops.map(|(op, command)| ((batch.id.index, op), command)));
                    }
                    from = next;
                }
                // The state was replaced meanwhile, or the power is cut.
                Err(_) => return all,
            }
        }
    }

    /// Starts its host, destroys what another replica left, and opens its own.
    async fn rise(&mut self, network: &Network, random: &mut Random) {
        let syncs = [0, 0, 5, 40, 400];
        let pick = usize::try_from(random.below(5)).expect("it fits");
        self.sync_max = Duration::from_millis(syncs[pick]);
        let host = self.world.host(self.options(network));
        for (group, stored) in host.stored_replicas() {
            if stored != self.id {
                host.destroy_group(group).await.expect("it is destroyed");
            }
        }
        let machine = self.ledger.machine();
        let group = host.join_group(GROUP, self.id, machine).await;
        let group = group.unwrap_or_else(|error| panic!("replica {}: {error:?}", self.id));
        self.up = Some((host, group));
    }

    /// The replica has left its group: the host destroys it and opens another one.
    async fn replace(&mut self, next: ReplicaId) {
        let Some((host, _)) = self.up.take() else {
            return;
        };
        self.id = next;
        self.ledger = Ledger::on(&self.world.vfs);
        let destroyed = host.destroy_group(GROUP).await.is_ok();
        if destroyed && let Ok(group) = host.join_group(GROUP, next, self.ledger.machine()).await {
            self.up = Some((host, group));
            return;
        }
        assert!(self.world.vfs.is_down(), "only a power cut may stop it");
        drop(host);
    }
}

impl Sim {
    async fn new(seed: u64) -> Self {
        let network = Network::new(seed, Duration::from_millis(5));
        let node = |id| {
            let mut node = Node::new(id, seed);
            // So that segments end now and then, and cost no time to be made.
            node.world.segment_bytes = 256 * 1024;
            node
        };
        let mut nodes = cluster_of((1..=3).map(node).collect(), &network).await;
        let mut fourth = node(4);
        fourth.start(&network, false).await;
        nodes.push(fourth);
        Self {
            seed,
            network,
            nodes,
            random: Random(seed),
            known: Known::default(),
            tally: Tally::default(),
            generation: 0,
        }
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.random.below(4)).expect("it fits")
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.leads().is_some())
    }

    /// A few commands to one replica, as it is.
    async fn propose(&mut self, at: usize) {
        let count = usize::try_from(self.random.below(10)).expect("it fits");
        let limit = Duration::from_millis(500 + self.random.below(4000));
        let first = self.tally.proposed;
        let Some(group) = self.nodes[at].group().cloned() else {
            return;
        };
        let commands: Vec<Bytes> = (first..first + count).map(command).collect();
        self.tally.proposed += count;
        let outcomes = propose_all(&group, &commands);
        let Ok(outcomes) = tokio::time::timeout(limit, outcomes).await else {
            return;
        };
        for (command, outcome) in commands.iter().zip(outcomes) {
            if let Ok(done) = outcome {
                self.tally.acknowledged += 1;
                let place = (done.index, done.op);
                self.known.learn(place, command);
                self.known.acknowledged.insert(place, command.clone());
            }
        }
    }

    fn check(&mut self) {
        for node in &self.nodes {
            for (place, command) in node.holds() {
                self.known.learn(place, &command);
            }
            for (place, command) in node.published() {
                self.known.learn(place, &command);
            }
            self.tally.installs += node.ledger.take_installs();
        }
    }

    /// Cuts, crashes and heals, hands over and replaces.
    async fn trouble(&mut self) {
        let at = self.pick();
        match self.random.below(12) {
            0 => {
                let to = self.pick();
                let (from, to) = (self.nodes[at].id.node(), self.nodes[to].id.node());
                self.network.cut(from, to);
            }
            1 => self.network.heal(),
            2 | 3 => {
                self.nodes[at].crash(&self.network).await;
                self.nodes[at].rise(&self.network, &mut self.random).await;
            }
            4 | 5 => self.flush(),
            6 => self.hand_over(at).await,
            7 | 8 => self.churn(at).await,
            9 => {
                let step = i64::try_from(self.random.below(20_000_000)).expect("it fits");
                let clock = &self.nodes[at].clock_off_us;
                clock.fetch_add(step - 10_000_000, Ordering::Relaxed);
            }
            10 => self.read(at).await,
            _ => {
                let pause = Duration::from_millis(self.random.below(3000));
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// What is applied goes to the disk in two steps, as large states do: it is frozen, and when that is
    /// durable much more is applied. Then the log behind it may be purged.
    fn flush(&mut self) {
        for at in 0..self.nodes.len() {
            let keep = self.random.below(3) == 0;
            let node = &self.nodes[at];
            let Some(group) = node.group() else { continue };
            if group.status().failure.is_some() || node.world.vfs.is_down() {
                continue;
            }
            if let Some(index) = node.ledger.write_frozen() {
                let from = if keep { 0 } else { u64::MAX };
                group.flushed(index, from).expect("the index is applied");
            }
            node.ledger.freeze();
        }
    }

    async fn hand_over(&mut self, to: usize) {
        let limit = Duration::from_secs(3);
        let Some(from) = self.leader() else { return };
        let to = self.nodes[to].id;
        let leader = self.nodes[from].group().expect("it leads").clone();
        let is_done = leader.transfer_leader(to, limit).await.is_ok();
        self.tally.transfers += usize::from(is_done);
    }

    /// A voter leaves and is destroyed; one that is none becomes one.
    async fn churn(&mut self, at: usize) {
        let limit = Duration::from_secs(5);
        let Some(leader) = self.leader() else { return };
        let leader = self.nodes[leader].group().expect("it leads").clone();
        let sets = leader.status().membership.voters;
        let [voters] = sets.as_slice() else { return };
        let (id, mut voters) = (self.nodes[at].id, voters.clone());
        if !voters.remove(&id) {
            if leader.add_learner(id, limit).await.is_ok() {
                voters.insert(id);
                // It is asked for again if it is not known.
                drop(leader.change_voters(&voters, limit).await);
            }
            return;
        }
        if voters.len() < 2 || leader.change_voters(&voters, limit).await.is_err() {
            return;
        }
        self.generation += 1;
        let next = ReplicaId::new(id.node(), self.generation);
        self.nodes[at].replace(next).await;
        self.tally.destroyed += 1;
    }

    /// A read whose reader stops for a while between the lease and what it reads, while others may
    /// go on without it; and one that asks a quorum.
    async fn read(&mut self, at: usize) {
        let known = self.known.acknowledged.clone();
        let group = self.nodes[at].group().cloned();
        if let Some(group) = group {
            let limit = Duration::from_secs(2);
            let read = tokio::time::timeout(limit, group.read_guard(ReadPolicy::ReadIndex)).await;
            if let Ok(Ok(_guard)) = read {
                self.assert_seen(at, &known);
            }
        }
        let Some(at) = self.leader() else { return };
        let group = self.nodes[at].group().expect("it leads").clone();
        let limit = Duration::from_secs(2);
        let guard = tokio::time::timeout(limit, group.read_guard(ReadPolicy::Lease)).await;
        let Ok(Ok(guard)) = guard else { return };
        if self.random.below(3) > 0 {
            let own = self.nodes[at].id.node();
            for other in (0..4).filter(|other| *other != at) {
                let other = self.nodes[other].id.node();
                self.network.cut(own, other);
                self.network.cut(other, own);
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(6000))).await;
        }
        for other in (0..4).filter(|other| *other != at) {
            self.propose(other).await;
        }
        // The reader reads now.
        if guard.confirm().is_ok() {
            self.tally.confirmed += 1;
            let known = self.known.acknowledged.clone();
            self.assert_seen(at, &known);
        } else {
            self.tally.refused += 1;
        }
        self.network.heal();
    }

    fn assert_seen(&self, at: usize, known: &BTreeMap<(u64, u16), Bytes>) {
        let (seed, held) = (self.seed, self.nodes[at].holds());
        for (place, command) in known {
            let seen = held.get(place);
            assert_eq!(
                seen,
                Some(command),
                "seed {seed}: a stale read at {place:?}"
            );
        }
    }

    /// The power fails on several hosts within the next few calls of their file systems: between a
    /// write and its sync, if that is where they are.
    fn arm(&mut self) {
        for node in &self.nodes {
            if self.random.below(3) > 0 {
                let calls = node.world.vfs.calls() + self.random.below(8);
                node.world.vfs.crash_at(calls);
            }
        }
    }

    /// Ends every host, those whose power has failed and the others, and starts all again: together,
    /// so that nobody learns from a host that is about to forget.
    async fn restart_all(&mut self) {
        for node in &mut self.nodes {
            node.lose_power(&self.network);
        }
        // What the hosts left behind ends by itself.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for node in &mut self.nodes {
            node.world.vfs.restart();
            node.rise(&self.network, &mut self.random).await;
        }
    }

    async fn run(mut self) -> Tally {
        for _ in 0..30 {
            if self.random.below(3) == 0 {
                self.arm();
            }
            for _ in 0..=self.random.below(2) {
                // Whoever leads is among them; the others say so.
                for at in 0..4 {
                    self.propose(at).await;
                }
            }
            if self.nodes.iter().any(|node| node.world.vfs.is_down()) {
                self.restart_all().await;
            }
            self.trouble().await;
            self.check();
        }
        // A last one for all, which also ends every power cut that is still to come.
        self.network.heal();
        self.restart_all().await;
        self.gather().await;
        settle(&self.nodes).await;
        self.check();
        self.check_end();
        self.tally.trace = self.network.trace();
        // The network has what calls the hosts, and the hosts have the network: without this each seed would
        // stay in memory, logs included.
        for node in &self.nodes {
            self.network.unplug(node.id.node());
        }
        self.tally
    }

    /// Makes every replica a voter.
    async fn gather(&self) {
        let wait = async {
            loop {
                write(&self.nodes, &Bytes::from_static(b"settled")).await;
                let Some(leader) = self.leader() else {
                    continue;
                };
                let leader = self.nodes[leader].group().expect("it leads");
                let all: BTreeSet<ReplicaId> = self.nodes.iter().map(|node| node.id).collect();
                if leader.status().membership.voters == [all.clone()] {
                    return;
                }
                let limit = Duration::from_secs(5);
                let members = leader.status().membership;
                for id in all.iter().filter(|id| !members.contains(**id)) {
                    drop(leader.add_learner(*id, limit).await);
                }
                drop(leader.change_voters(&all, limit).await);
            }
        };
        let gathered = tokio::time::timeout(LONG * 2, wait).await;
        assert!(gathered.is_ok(), "seed {}: they do not gather", self.seed);
    }

    /// All replicas hold the same: everything known, and no command twice.
    fn check_end(&self) {
        let seed = self.seed;
        let held = self.nodes[0].holds();
        for node in &self.nodes {
            assert!(node.holds() == held, "replica {} of seed {seed}", node.id);
        }
        for (place, command) in &self.known.places {
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

/// One life from a seed, on one thread; `None` if it failed, and the way it did is printed.
fn life(seed: u64) -> Option<(u64, Tally)> {
    let life = || virtual_life(async { Sim::new(seed).await.run().await });
    let Ok(tally) = std::panic::catch_unwind(life) else {
        println!("seed {seed} failed: FIRST={seed} SEEDS=1 repeats it");
        return None;
    };
    println!("seed {seed}: {tally:?}");
    Some((seed, tally))
}

/// Lives of the seeds from `first` on, on all cores.
fn live(first: u64, seeds: u64) -> Vec<(u64, Tally)> {
    let next = AtomicU64::new(first);
    let lives = || {
        let each = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|it| *it < first + seeds);
        std::iter::from_fn(each).map(life).collect::<Vec<_>>()
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let ended: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(lives)).collect();
        let ended = threads.into_iter().map(|it| it.join().expect("it ends"));
        ended.flatten().collect()
    });
    let failed = ended.iter().filter(|it| it.is_none()).count();
    assert_eq!(failed, 0, "so many seeds failed, see above");
    ended.into_iter().flatten().collect()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("SEEDS and FIRST are numbers"))
}

#[test]
fn through_crashes_cut_ways_and_replicas_that_come_and_go_nothing_acknowledged_is_lost() {
    let (first, seeds) = (number("FIRST").unwrap_or(0), number("SEEDS").unwrap_or(200));
    let mut sum = Tally::default();
    for (_, tally) in live(first, seeds) {
        sum.proposed += tally.proposed;
        sum.acknowledged += tally.acknowledged;
        sum.destroyed += tally.destroyed;
        sum.installs += tally.installs;
        sum.transfers += tally.transfers;
        sum.confirmed += tally.confirmed;
        sum.refused += tally.refused;
        sum.trace ^= tally.trace;
    }
    println!("{seeds} seeds: {sum:?}");
    let least = usize::try_from(seeds).expect("it fits");
    let enough = sum.acknowledged > least * 30
        && sum.destroyed >= least / 4
        && sum.installs >= least / 4
        && sum.transfers >= least / 10
        && sum.confirmed + sum.refused >= least / 4;
    // A single life may have been a quiet one.
    assert!(
        enough || seeds < 20,
        "too little happened to prove anything: {sum:?}"
    );
}
