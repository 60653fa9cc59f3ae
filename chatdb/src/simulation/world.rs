//! The hosts of a simulated cluster, each with a runtime of its own, and the time that they share.
//!
//! All hosts take turns on one thread, a millisecond each. What one sends arrives at another a millisecond later or
//! more, so that the order of the turns decides nothing. A host that loses power is a runtime that is dropped, with
//! all its tasks, and a disk that forgets what was not synced.

use super::lanes::{Doors, Port, rpc_address};
use super::network::{End, HostId, Net};
use super::system;
use crate::db::Db;
use crate::db::options::{ClusterOptions, EmbeddedOptions};
use crate::node::environment::Environment;
use futures::StreamExt;
use lsm::log::LogOptions;
use lsm::vfs::FaultyVfs;
use parking_lot::Mutex;
use raft::{Clock, LogDriver, WallClock};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// The turn of a host.
const TICK: Duration = Duration::from_millis(1);
/// Where the clients are.
pub(super) const CLIENTS: HostId = 200;

/// One host and its disk.
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) vfs: FaultyVfs,
    options: EmbeddedOptions,
    clock_off_us: Arc<AtomicI64>,
    life: Option<Life>,
    /// When its power comes back.
    returns: Option<Duration>,
    /// It is stopped until then, as by SIGSTOP.
    stopped: Option<Duration>,
    was_started: bool,
    /// Its disk was told to fail once.
    pub(super) may_fail: bool,
}

/// A host that runs.
struct Life {
    runtime: Runtime,
    db: Arc<Mutex<Option<Db>>>,
    /// When the world began.
    began: Instant,
    /// The process has ended, and why.
    ended: Arc<Mutex<Option<crate::Error>>>,
}

/// The hosts, the network between them, and the clients.
pub(super) struct World {
    pub(super) now: Duration,
    began: Instant,
    pub(super) net: Net,
    doors: Doors,
    pub(super) hosts: Vec<Host>,
    pub(super) clients: Runtime,
    pub(super) port: Port,
}

impl Life {
    /// The host's time since the world began.
    fn time(&self) -> Duration {
        let now = self.runtime.block_on(async { Instant::now() });
        now.saturating_duration_since(self.began)
    }
}

/// A host's clock, which somebody sets now and then.
struct Wall(Arc<AtomicI64>);

impl WallClock for Wall {
    fn wall_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_us = i64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(i64::MAX);
        u64::try_from(now_us + self.0.load(Ordering::Relaxed)).unwrap_or(0)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime starts")
}

fn options_of(id: HostId, retention_bytes: u64) -> EmbeddedOptions {
    let mut cluster = ClusterOptions::new(SocketAddr::from(([10, 0, 0, 1], 7300)), rpc_address(id));
    cluster.node_address = format!("10.0.0.{id}:7300");
    if id > 1 {
        cluster.join.push(rpc_address(1));
        cluster.join.push(rpc_address(2));
    }
    EmbeddedOptions {
        tablets: 2,
        // A listener that is cut off for long may be told of a gap, in every second life.
        stream_retention_bytes: retention_bytes,
        tablet_memtable_bytes: 24 * 1024,
        total_memtable_bytes: 256 * 1024,
        log_bytes_max: 512 * 1024,
        block_cache_bytes: 256 * 1024,
        log_cache_bytes: 64 * 1024,
        cluster: Some(cluster),
        ..EmbeddedOptions::new(format!("/data{id}"))
    }
}

impl Host {
    fn new(id: HostId, seed: u64) -> Self {
        Self {
            id,
            vfs: FaultyVfs::new(seed ^ (u64::from(id) << 32)),
            options: options_of(
                id,
                if seed.is_multiple_of(2) {
                    64 << 20
                } else {
                    128 << 10
                },
            ),
            clock_off_us: Arc::default(),
            life: None,
            returns: None,
            stopped: None,
            was_started: false,
            may_fail: false,
        }
    }

    pub(super) fn db(&self) -> Option<Db> {
        self.life.as_ref()?.db.lock().clone()
    }

    pub(super) fn is_up(&self) -> bool {
        self.life.is_some()
    }

    pub(super) fn was_started(&self) -> bool {
        self.was_started
    }

    pub(super) fn step_clock(&self, by_us: i64) {
        self.clock_off_us.fetch_add(by_us, Ordering::Relaxed);
    }

    fn start(&mut self, port: Port, (began, sync_max): (Instant, Duration)) {
        let environment = Environment {
            vfs: Arc::new(self.vfs.clone()),
            clock: Clock::new(Wall(Arc::clone(&self.clock_off_us))),
            network: Arc::new(port.clone()),
            log_driver: if sync_max.is_zero() {
                LogDriver::Task
            } else {
                LogDriver::SlowTask(sync_max)
            },
            log: LogOptions {
                segment_bytes: 128 * 1024,
                ..LogOptions::default()
            },
        };
        let life = Life {
            runtime: runtime(),
            began,
            db: Arc::default(),
            ended: Arc::default(),
        };
        let (options, db, ended) = (
            self.options.clone(),
            Arc::clone(&life.db),
            Arc::clone(&life.ended),
        );
        life.runtime.spawn(async move {
            let outcome = live(options, environment, port, &db).await;
            *ended.lock() = Some(outcome);
        });
        self.life = Some(life);
    }
}

/// The life of a process; tells why it ended.
async fn live(
    options: EmbeddedOptions,
    environment: Environment,
    port: Port,
    open: &Mutex<Option<Db>>,
) -> crate::Error {
    let connections = port.net.listen(port.own);
    let db = match Db::open_in(options, environment).await {
        Ok(db) => db,
        Err(error) => return error,
    };
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 7400));
    let connections = futures::stream::unfold(connections, |mut connections| async move {
        let end = connections.recv().await?;
        Some((Ok::<End, std::io::Error>(end), connections))
    });
    let server = crate::rpc::server::Server::over(db.clone(), address, connections.boxed()).await;
    *open.lock() = Some(db.clone());
    let error = db.failed().await;
    drop(server);
    error
}

impl World {
    pub(super) fn new(seed: u64, hosts: usize) -> Self {
        let net = Net::new(seed, 5);
        let doors = Doors::default();
        let port = Port {
            net: net.clone(),
            doors: doors.clone(),
            own: CLIENTS,
        };
        Self {
            now: Duration::ZERO,
            began: Instant::now(),
            net,
            doors,
            hosts: (1..).take(hosts).map(|id| Host::new(id, seed)).collect(),
            clients: runtime(),
            port,
        }
    }

    pub(super) fn start(&mut self, at: usize, sync_max: Duration) {
        let own = self.hosts[at].id;
        let port = Port {
            own,
            ..self.port.clone()
        };
        self.hosts[at].returns = None;
        self.hosts[at].was_started = true;
        let began = self.began;
        self.hosts[at].start(port, (began, sync_max));
    }

    /// The host loses power now, and gets it back after a while.
    pub(super) fn cut_power(&mut self, at: usize, pause: Duration) {
        let host = &mut self.hosts[at];
        if !host.vfs.is_down() {
            host.vfs.crash_at(host.vfs.calls());
        }
        self.kill(at, pause);
        let host = &mut self.hosts[at];
        host.vfs.restart();
        host.may_fail = false;
    }

    /// The process is killed, and started again after a while: the disk keeps what was written.
    pub(super) fn kill(&mut self, at: usize, pause: Duration) {
        let host = &mut self.hosts[at];
        self.net.unplug(host.id);
        self.doors.close(host.id);
        drop(host.life.take());
        host.stopped = None;
        host.returns = Some(self.now + pause);
    }

    /// The process is stopped for a while, and does not know.
    pub(super) fn stop(&mut self, at: usize, pause: Duration) {
        let host = &mut self.hosts[at];
        if host.life.is_some() {
            host.stopped = Some(self.now + pause);
        }
    }

    /// Lets a millisecond pass on every host.
    pub(super) fn step(&mut self, mut sync_max: impl FnMut() -> Duration) {
        system::set_now(self.now);
        let turn = |runtime: &Runtime| {
            runtime.block_on(async { tokio::time::sleep(TICK).await });
        };
        for at in 0..self.hosts.len() {
            let host = &self.hosts[at];
            if host.life.is_none() && host.returns.is_some_and(|at| at <= self.now) {
                self.start(at, sync_max());
            }
            let host = &self.hosts[at];
            let Some(life) = &host.life else {
                continue;
            };
            if let Some(until) = host.stopped {
                if until > self.now {
                    continue;
                }
                let behind = self.now.saturating_sub(life.time());
                life.runtime.block_on(tokio::time::advance(behind));
                self.hosts[at].stopped = None;
            }
            let host = &self.hosts[at];
            let Some(life) = &host.life else {
                continue;
            };
            turn(&life.runtime);
            let ended = life.ended.lock().take();
            let may_fail = host.may_fail;
            let (id, is_down) = (host.id, host.vfs.is_down());
            if is_down {
                self.cut_power(at, Duration::from_millis(500));
            } else if let Some(error) = ended {
                // A node may give up joining; anything else on a sound disk is a finding.
                assert!(
                    may_fail || error.kind() == crate::ErrorKind::Unavailable,
                    "host {id} ended: {error:?}"
                );
                self.cut_power(at, Duration::from_millis(500));
            }
        }
        turn(&self.clients);
        self.now += TICK;
    }
}
