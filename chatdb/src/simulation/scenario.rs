//! What happens in a life.

use super::lanes::rpc_address;
use super::load::{self, Random, Shared};
use super::network::HostId;
use super::system;
use super::world::World;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a cluster may take to come together, and to be whole again once all is healed.
const SETTLE: Duration = Duration::from_secs(90);
/// How long there is trouble.
const TROUBLE: Duration = Duration::from_secs(15);
/// Writers of rows.
const WRITERS: u64 = 4;

/// What came of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    acknowledged: u64,
    unknown: u64,
    reads: u64,
    crashes: u64,
    cuts: u64,
    virtual_ms: u128,
    healed_ms: u128,
    pieces: u64,
    /// Of everything that the hosts said to each other, and when.
    trace: u64,
}

/// One world and what happens to it.
struct Life {
    world: World,
    shared: Arc<Shared>,
    random: Random,
    tally: Tally,
}

/// A life from a seed, on a thread of its own.
pub(super) fn live(seed: u64) -> Tally {
    system::simulate(seed);
    let hosts = 3;
    let world = World::new(seed, hosts);
    let nodes = (1..=hosts).map(rpc_address).collect();
    let shared = Arc::new(Shared {
        network: Arc::new(world.port.clone()),
        nodes,
        ledger: Mutex::default(),
        stop: false.into(),
    });
    let life = Life {
        world,
        shared,
        random: Random(seed ^ 0x5eed),
        tally: Tally::default(),
    };
    life.run(seed)
}

/// Syncs of a disk take up to so long.
fn sync_max(random: &mut Random) -> Duration {
    let all = [0, 0, 4, 20, 200];
    let pick = usize::try_from(random.below(5)).unwrap_or(0);
    Duration::from_millis(all[pick])
}

impl Life {
    fn step(&mut self) {
        let random = &mut self.random;
        self.world.step(|| sync_max(random));
    }

    /// Lets time pass until the task of the clients has ended.
    fn wait(&mut self, what: &str, task: &JoinHandle<()>, limit: Duration) {
        let end = self.world.now + limit;
        while !task.is_finished() {
            assert!(self.world.now < end, "{what} takes longer than {limit:?}");
            self.step();
        }
    }

    fn run(mut self, seed: u64) -> Tally {
        for at in 0..self.world.hosts.len() {
            let sync_max = sync_max(&mut self.random);
            self.world.start(at, sync_max);
            self.wait_open(at);
        }
        let shared = Arc::clone(&self.shared);
        let making = self.world.clients.spawn(async move {
            let db = shared.connect().await;
            load::make_tables(&shared, &db).await;
        });
        self.wait("the schema", &making, SETTLE);
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let shared = Arc::clone(&self.shared);
                self.world.clients.spawn(load::write(shared, writer, seed))
            })
            .collect();
        self.trouble();
        self.shared.stop.store(true, Ordering::Relaxed);
        self.heal();
        let healed = self.world.now;
        for writer in &writers {
            self.wait("the last request of a writer", writer, SETTLE);
        }
        let shared = Arc::clone(&self.shared);
        let checking = self.world.clients.spawn(async move {
            let db = shared.connect().await;
            load::check_all(&shared, &db, "in the end").await;
        });
        self.wait("the last look", &checking, SETTLE);
        self.tally.healed_ms = self.world.now.saturating_sub(healed).as_millis();
        self.tally.virtual_ms = self.world.now.as_millis();
        (self.tally.trace, self.tally.pieces) = self.world.net.trace();
        let ledger = self.shared.ledger.lock();
        self.tally.acknowledged = ledger.acknowledged;
        self.tally.unknown = ledger.unknown;
        self.tally.reads = ledger.reads;
        self.tally
    }

    fn wait_open(&mut self, at: usize) {
        let end = self.world.now + SETTLE;
        while self.world.hosts[at].db().is_none() {
            assert!(self.world.now < end, "host {at} does not open");
            self.step();
        }
    }

    fn pick(&mut self) -> usize {
        let hosts = self.world.hosts.len() as u64;
        usize::try_from(self.random.below(hosts)).unwrap_or(0)
    }

    fn trouble(&mut self) {
        let end = self.world.now + TROUBLE;
        while self.world.now < end {
            let pause = self.random.below(1500);
            for _ in 0..pause {
                self.step();
            }
            let at = self.pick();
            match self.random.below(10) {
                0..3 => self.crash(at),
                3..6 => {
                    let to = self.pick();
                    let id = |at: usize| -> HostId { self.world.hosts[at].id };
                    let (from, to) = (id(at), id(to));
                    self.world.net.cut(from, to);
                    self.tally.cuts += 1;
                }
                6 | 7 => self.world.net.heal(),
                8 => {
                    let step = self.random.below(20_000_000).cast_signed();
                    self.world.hosts[at].step_clock(step - 10_000_000);
                }
                // The power fails within the next few calls of the file system.
                _ => {
                    let calls = self.world.hosts[at].vfs.calls() + self.random.below(40);
                    self.world.hosts[at].vfs.crash_at(calls);
                    self.tally.crashes += 1;
                }
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if self.world.hosts[at].is_up() {
            let pause = Duration::from_millis(self.random.below(4000));
            self.world.cut_power(at, pause);
            self.tally.crashes += 1;
        }
    }

    /// All ways are open and all hosts run.
    fn heal(&mut self) {
        self.world.net.heal();
        let end = self.world.now + SETTLE;
        while self.world.hosts.iter().any(|host| host.db().is_none()) {
            assert!(self.world.now < end, "not all hosts open");
            self.step();
        }
    }
}
