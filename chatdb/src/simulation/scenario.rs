//! What happens in a life.

use super::lanes::rpc_address;
use super::load::{self, Random, Shared};
use super::network::HostId;
use super::registers::{self, Registers};
use super::world::World;
use super::{churn, listener, system, verdict};
use lsm::vfs::Fault;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a cluster may take to come together, and to be whole again once all is healed.
const SETTLE: Duration = Duration::from_secs(90);
/// After so long without a write, tablets that are not whole yet are written to. See `docs/TESTING.md`.
const QUIET: Duration = Duration::from_secs(40);
/// How long there is trouble.
const TROUBLE: Duration = Duration::from_secs(15);
/// Writers of rows.
const WRITERS: u64 = 4;

/// Clients of the registers, and listeners.
const REGISTER_CLIENTS: u64 = 3;
const LISTENERS: usize = 2;
/// Hosts at first, and those that may join later.
const HOSTS: usize = 3;
const HOSTS_MAX: usize = 5;

/// What came of a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    acknowledged: u64,
    unknown: u64,
    reads: u64,
    registers: usize,
    heard: usize,
    gaps: u64,
    crashes: u64,
    kills: u64,
    stops: u64,
    faults: u64,
    cuts: u64,
    changes: u64,
    tablets: usize,
    hosts: usize,
    /// Whether it took writes to become whole.
    nudged: u64,
    virtual_ms: u128,
    healed_ms: u128,
    pieces: u64,
    /// Of everything that the hosts said to each other, and when.
    trace: u64,
}

/// One world and what happens to it.
struct Life {
    seed: u64,
    world: World,
    shared: Arc<Shared>,
    random: Random,
    tally: Tally,
    /// Hosts that were started.
    hosts: usize,
}

/// A life from a seed, on a thread of its own.
pub(super) fn live(seed: u64) -> Tally {
    system::simulate(seed);
    let world = World::new(seed, HOSTS_MAX);
    let nodes = (1..=3).map(rpc_address).collect();
    let shared = Arc::new(Shared {
        network: Arc::new(world.port.clone()),
        nodes,
        ledger: Mutex::default(),
        registers: Registers::new(),
        heard: (0..LISTENERS).map(|_| Mutex::default()).collect(),
        changes: 0.into(),
        stop: false.into(),
        checked: false.into(),
    });
    let life = Life {
        seed,
        world,
        shared,
        random: Random(seed ^ 0x5eed),
        tally: Tally::default(),
        hosts: 0,
    };
    life.run()
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

    /// Lets time pass until nothing is missing.
    fn wait(&mut self, what: &str, missing: impl Fn(&Self) -> Option<String>) {
        let end = self.world.now + SETTLE;
        while let Some(missing) = missing(self) {
            assert!(
                self.world.now < end,
                "{what} takes longer than {SETTLE:?}: {missing}"
            );
            self.step();
        }
    }

    /// Lets time pass until the task of the clients has ended.
    fn join(&mut self, what: &str, task: &JoinHandle<()>) {
        self.wait(what, |_| (!task.is_finished()).then(String::new));
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        task: impl FnOnce(Arc<Shared>) -> F,
    ) -> JoinHandle<()> {
        self.world.clients.spawn(task(Arc::clone(&self.shared)))
    }

    fn run(mut self) -> Tally {
        for at in 0..HOSTS {
            self.start(at, Duration::ZERO);
            self.wait("opening a host", |it| it.closed(at));
        }
        let making = self.spawn(|shared| async move {
            let db = shared.connect().await;
            load::make_tables(&shared, &db).await;
        });
        self.join("the schema", &making);
        let seed = self.seed;
        for number in 0..LISTENERS {
            drop(self.spawn(|shared| listener::run(shared, number, seed)));
        }
        self.wait("the begin of a listener", |it| {
            let mut all = it.shared.heard.iter();
            all.any(|heard| !heard.lock().is_ready).then(String::new)
        });
        let mut clients: Vec<_> = (0..WRITERS)
            .map(|writer| self.spawn(|shared| load::write(shared, writer, seed)))
            .collect();
        for client in 0..REGISTER_CLIENTS {
            clients.push(self.spawn(|shared| registers::run(shared, client, seed)));
        }
        clients.push(self.spawn(|shared| churn::run(shared, seed)));
        self.trouble();
        self.shared.stop.store(true, Ordering::Relaxed);
        self.world.net.heal();
        for host in &self.world.hosts {
            host.vfs.cancel_faults();
        }
        self.check(&clients);
        self.count()
    }

    /// Everything must be whole, and as it was acknowledged.
    fn check(&mut self, clients: &[JoinHandle<()>]) {
        let healed = self.world.now;
        for at in 0..self.hosts {
            self.wait("opening a host again", |it| it.closed(at));
        }
        for client in clients {
            self.join("the last request of a client", client);
        }
        let quiet = self.world.now + QUIET;
        while self.world.now < quiet && verdict::missing(&self.world).is_some() {
            self.step();
        }
        if verdict::missing(&self.world).is_some() {
            self.tally.nudged = 1;
            drop(self.spawn(load::nudge));
        }
        self.wait("becoming whole", |it| verdict::missing(&it.world));
        self.tally.healed_ms = self.world.now.saturating_sub(healed).as_millis();
        let checking = self.spawn(|shared| async move {
            let db = shared.connect().await;
            load::check_all(&shared, &db, "in the end").await;
        });
        self.join("the last look", &checking);
        self.wait("hearing of all", |it| it.shared.unheard());
        self.shared.checked.store(true, Ordering::Relaxed);
        self.wait("becoming whole again", |it| verdict::missing(&it.world));
        self.tally.tablets = verdict::compare(&self.world);
        self.tally.registers = self.shared.registers.judge();
    }

    fn count(mut self) -> Tally {
        self.tally.virtual_ms = self.world.now.as_millis();
        (self.tally.trace, self.tally.pieces) = self.world.net.trace();
        self.tally.hosts = self.hosts;
        self.tally.changes = self.shared.changes.load(Ordering::Relaxed);
        for heard in &self.shared.heard {
            let heard = heard.lock();
            self.tally.heard += heard.writes.len();
            self.tally.gaps += heard.gaps;
        }
        let ledger = self.shared.ledger.lock();
        self.tally.acknowledged = ledger.acknowledged;
        self.tally.unknown = ledger.unknown;
        self.tally.reads = ledger.reads;
        self.tally
    }

    fn start(&mut self, at: usize, sync_max: Duration) {
        self.world.start(at, sync_max);
        self.hosts = self.hosts.max(at + 1);
    }

    fn closed(&self, at: usize) -> Option<String> {
        let host = &self.world.hosts[at];
        host.db().is_none().then(|| format!("host {}", host.id))
    }

    fn pick(&mut self) -> usize {
        usize::try_from(self.random.below(self.hosts as u64)).unwrap_or(0)
    }

    fn pause(&mut self, most_ms: u64) -> Duration {
        Duration::from_millis(self.random.below(most_ms))
    }

    fn trouble(&mut self) {
        let end = self.world.now + TROUBLE;
        while self.world.now < end {
            for _ in 0..self.random.below(1500) {
                self.step();
            }
            let at = self.pick();
            if self.world.hosts[at].is_up() {
                self.hurt(at);
            }
        }
    }

    fn hurt(&mut self, at: usize) {
        let soon = self.world.hosts[at].vfs.calls() + self.random.below(40);
        match self.random.below(14) {
            0 | 1 => {
                let pause = self.pause(4000);
                self.world.cut_power(at, pause);
                self.tally.crashes += 1;
            }
            // The power fails within the next few calls of the file system.
            2 => {
                self.world.hosts[at].vfs.crash_at(soon);
                self.tally.crashes += 1;
            }
            3 if self.world.hosts[at].db().is_some() => {
                let pause = self.pause(2000);
                self.world.kill(at, pause);
                self.tally.kills += 1;
            }
            4 | 5 => {
                let pause = self.pause(5000);
                self.world.stop(at, pause);
                self.tally.stops += 1;
            }
            6 => {
                let host = &mut self.world.hosts[at];
                host.vfs.fail_at(soon, Fault::Eio);
                host.may_fail = true;
                self.tally.faults += 1;
            }
            7..10 => {
                let to = self.pick();
                let id = |at: usize| -> HostId { self.world.hosts[at].id };
                let (from, to) = (id(at), id(to));
                self.world.net.cut(from, to);
                self.tally.cuts += 1;
            }
            10 | 11 => self.world.net.heal(),
            12 => {
                let step = self.random.below(20_000_000).cast_signed();
                self.world.hosts[at].step_clock(step - 10_000_000);
            }
            _ => {
                if self.hosts < HOSTS_MAX {
                    let sync_max = sync_max(&mut self.random);
                    self.start(self.hosts, sync_max);
                }
            }
        }
    }
}
