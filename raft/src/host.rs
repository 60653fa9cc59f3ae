//! The host: one per process, owner of the shared log's driver and of every group.
//!
//! # Life of a group
//!
//! Opening a group of one member recovers it completely before it returns: the state machine is fed
//! from its durable entry to the last committed one, the replica has won an election (at once, it
//! asks nobody) and has applied the first entry of its own term, so that every write that was ever
//! acknowledged is visible. A replica of a group with several members is open as soon as it can be
//! called: who leads is decided among them, and it applies what it learns to be committed.
//!
//! # Failure
//!
//! A failed sync stops every group of the process, for good: after it, what is on disk is known only
//! to a new process that reads it. [`Host::failed`] tells the process when to exit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lsm::log::Log;
use openraft::Config;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::batcher::{Batcher, Limits, Queue};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{Failure, stopping};
use crate::group::{Group, GroupParts};
use crate::id::{GroupId, ReplicaId};
use crate::keeper::{Keeper, Order};
use crate::log_driver::Driver;
use crate::log_store::LogStore;
use crate::machine::Machine;
use crate::membership::StoredMembership;
use crate::network::Lanes;
use crate::options::HostOptions;
use crate::pulse::{self, Patience};
use crate::receiver::Receiver;
use crate::recovery::{self, Start, lead};
use crate::replica::{DurablePoint, Replica, ReplicaParts};
use crate::running::{Running, shut_down};
use crate::settings;
use crate::snapshot::{Bulk, Outbox};
use crate::stages::Stages;
use crate::state_machine::{Applied, SnapshotDirs, StateMachine};
use crate::transport::{Callable, Inbound, Members, members};
use crate::types::Raft;

/// How long each step of a group's end may take when the host stops. Proposals that no majority answers
/// by then are left open: they may be applied later or not.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The replication of one process.
#[derive(Debug)]
pub struct Host {
    log: Log,
    options: HostOptions,
    config: Arc<Config>,
    driver: Driver,
    failure: watch::Sender<Option<Failure>>,
    members: Arc<Mutex<BTreeMap<GroupId, Member>>>,
    /// The groups that other hosts may call.
    callable: Members,
    warden: JoinHandle<()>,
    pulse: JoinHandle<()>,
    bulk: Arc<Bulk>,
    stages: Arc<Stages>,
}

/// A group and the tasks that serve it. `None` while it is being opened or closed.
#[derive(Debug)]
struct Member(Option<Running>);

/// What becomes of the log of a group that is stopped.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Closed,
    Destroyed,
}

/// Holds the place of a group that is being opened or closed; gives it back unless it was opened.
struct Place {
    members: Arc<Mutex<BTreeMap<GroupId, Member>>>,
    id: GroupId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut members = self.members.lock();
        if members
            .get(&self.id)
            .is_some_and(|member| member.0.is_none())
        {
            members.remove(&self.id);
        }
    }
}

impl Host {
    /// Starts syncing `log`. Must be called inside a tokio runtime.
    pub fn start(log: Log, options: HostOptions) -> Result<Self> {
        options.validate()?;
        if tokio::runtime::Handle::try_current().is_err() {
            let message = "a host must be started inside a tokio runtime";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let config = Arc::new(settings::config(&options)?);
        let failure = watch::Sender::new(None);
        let driver = Driver::start(log.clone(), options.log_driver, failure.clone())?;
        let members = Arc::new(Mutex::new(BTreeMap::new()));
        let warden = tokio::spawn(warden(failure.subscribe(), Arc::clone(&members)));
        let beating = Arc::clone(&members);
        let pulse = pulse::run(options.node, options.timing, move || running(&beating));
        let callable = self::members();
        options.transport.attach(Inbound::new(&callable));
        let bulk = Bulk::new(options.snapshots_max, options.snapshot_bytes_per_second);
        Ok(Self {
            log,
            options,
            config,
            driver,
            failure,
            members,
            callable,
            warden,
            pulse: tokio::spawn(pulse),
            bulk,
            stages: Arc::default(),
        })
    }

    /// The shared log of all groups.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Where the time of commands goes.
    pub fn stages(&self) -> Arc<Stages> {
        Arc::clone(&self.stages)
    }

    /// Resolves when something stopped for good and the process should exit; never before.
    pub fn failed(&self) -> impl Future<Output = Failure> + Send + 'static {
        let mut failure = self.failure.subscribe();
        async move {
            if let Ok(found) = failure.wait_for(Option::is_some).await
                && let Some(found) = found.clone()
            {
                return found;
            }
            // The host is gone without a failure.
            std::future::pending().await
        }
    }

    /// Opens a group and recovers it; one of a single member also leads and has applied everything.
    ///
    /// `replica` must be on this host's node. With `bootstrap` an empty group becomes a group whose
    /// only member is this replica; a group that exists is opened as it is. Without it an empty group
    /// is [`NotFound`](ErrorKind::NotFound). What another replica of the group left here is
    /// [`Invalid`](ErrorKind::Invalid) until it is [destroyed](Self::destroy_group).
    pub async fn open_group(
        &self,
        id: GroupId,
        replica: ReplicaId,
        machine: impl StateMachine,
        bootstrap: bool,
    ) -> Result<Group> {
        let start = if bootstrap {
            Start::Bootstrap
        } else {
            Start::Existing
        };
        self.open_as((id, replica), Box::new(machine), start).await
    }

    /// Opens a replica of a group that other hosts have: one that exists here, or an empty one,
    /// which waits until a member adds it ([`Group::add_learner`]).
    pub async fn join_group(
        &self,
        id: GroupId,
        replica: ReplicaId,
        machine: impl StateMachine,
    ) -> Result<Group> {
        self.open_as((id, replica), Box::new(machine), Start::Join)
            .await
    }

    /// Stops a group. Its log stays and it can be opened again. What is not open is closed already.
    ///
    /// Proposals that are on their way get their outcome; those that wait get
    /// [`Closed`](ErrorKind::Closed). The state machine has been dropped when this returns.
    pub async fn close_group(&self, id: GroupId) -> Result<()> {
        self.end(id, Fate::Closed).await
    }

    /// Stops a group, open or not, and gives its log back, its vote included, for good: the replica is
    /// gone. A later replica of the group on this host has another id and starts empty. The caller
    /// removes the state machine's files, before or after.
    ///
    /// Durable when this returns; after a crash in between the replica is there as it was, and is
    /// destroyed by the next call. A group that is not here is destroyed already.
    pub async fn destroy_group(&self, id: GroupId) -> Result<()> {
        self.end(id, Fate::Destroyed).await
    }

    /// The replicas whose logs this host has, open or not.
    pub fn stored_replicas(&self) -> Vec<(GroupId, ReplicaId)> {
        let groups = self.log.groups().into_iter();
        groups
            .map(|id| (id, ReplicaId(self.log.state(id).owner)))
            .collect()
    }

    async fn end(&self, id: GroupId, fate: Fate) -> Result<()> {
        let running = {
            let mut members = self.members.lock();
            match members.get_mut(&id).map(|member| member.0.take()) {
                Some(None) => {
                    let message = format!("raft group {} is being opened or closed", id.0);
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Some(running) => running,
                None => {
                    members.insert(id, Member(None));
                    None
                }
            }
        };
        let place = Place {
            members: Arc::clone(&self.members),
            id,
        };
        self.callable.lock().remove(&id);
        let (log, kick) = (self.log.clone(), self.driver.kick());
        // A task of its own: a caller that gives up must not leave half a group behind.
        let ending = tokio::spawn(async move {
            if let Some(running) = running {
                let why = Error::new(ErrorKind::Closed, "the group is being closed here");
                let limit = running.group.proposal_timeout();
                running.stop(&why, limit).await;
            }
            let ended = match fate {
                Fate::Closed => Ok(()),
                Fate::Destroyed => recovery::give_back(&log, &kick, id).await,
            };
            drop(place);
            ended
        });
        ending.await.unwrap_or_else(|source| {
            let message = format!("closing raft group {} ended early", id.0);
            Err(Error::new(ErrorKind::Bug, message).with_source(source))
        })
    }

    async fn open_as(
        &self,
        (id, replica): (GroupId, ReplicaId),
        machine: Box<dyn StateMachine>,
        start: Start,
    ) -> Result<Group> {
        let node = self.options.node;
        if replica.node() != node {
            let message = format!("replica {replica} is not on this host, node {node}");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        {
            let mut members = self.members.lock();
            if members.contains_key(&id) {
                let message = format!("raft group {} is open already", id.0);
                return Err(Error::new(ErrorKind::Invalid, message));
            }
            members.insert(id, Member(None));
        }
        let place = Place {
            members: Arc::clone(&self.members),
            id,
        };
        let running = self.open((id, replica), machine, start).await?;
        let group = running.group.clone();
        place.members.lock().insert(id, Member(Some(running)));
        Ok(group)
    }

    async fn open(
        &self,
        (id, replica): (GroupId, ReplicaId),
        machine: Box<dyn StateMachine>,
        start: Start,
    ) -> Result<Running> {
        let dirs = machine.snapshot_dirs();
        let recovering = self.recover((id, replica), machine.applied(), dirs.clone(), start);
        let replica = recovering.await?;
        let lanes = Lanes {
            replica: Arc::clone(&replica),
            bulk: Arc::clone(&self.bulk),
            transport: Arc::clone(&self.options.transport),
            append_limit: lease_length(&self.options),
        };
        let store = LogStore(Arc::clone(&replica));
        let (lives, alive) = watch::channel(());
        let machine = Machine::new(Arc::clone(&replica), machine, lives);
        let config = Arc::clone(&self.config);
        let raft = Raft::new(replica.id.0, config, lanes, store, machine)
            .await
            .map_err(|source| {
                replica.failure().unwrap_or_else(|| {
                    let message = format!("raft group {} cannot be recovered", id.0);
                    Error::new(ErrorKind::Corrupt, message).with_source(source)
                })
            })?;
        replica.set_open();
        let running = self.run(&replica, &raft, alive);
        let limit = self.options.open_timeout;
        let called = Callable {
            replica: Arc::clone(&replica),
            raft,
            receiver: Receiver::new(Arc::clone(&replica), dirs, Arc::clone(&self.bulk)),
        };
        self.callable.lock().insert(id, called);
        let lead = lead(&running.group, start);
        let log_failed = stopping(self.failure.subscribe());
        let lead = async {
            tokio::select! {
                biased;
                led = lead => led,
                Some(failure) = log_failed => Err(failure.error),
            }
        };
        let led = tokio::time::timeout(limit, lead).await.unwrap_or_else(|_| {
            let message = format!(
                "raft group {} did not lead within {} ms",
                id.0,
                limit.as_millis()
            );
            Err(Error::new(ErrorKind::Unavailable, message))
        });
        match led {
            Ok(()) => Ok(running),
            Err(error) => {
                let cause = replica.failure().unwrap_or(error);
                self.callable.lock().remove(&id);
                running.stop(&cause, limit).await;
                Err(cause)
            }
        }
    }

    /// Checks that log and state machine fit together, before openraft looks at either.
    async fn recover(
        &self,
        (id, replica): (GroupId, ReplicaId),
        applied: Applied,
        dirs: Option<SnapshotDirs>,
        start: Start,
    ) -> Result<Arc<Replica>> {
        let membership = StoredMembership::decode(applied.membership)?;
        if recovery::check(&self.log, (id, replica), applied.id, start)? {
            recovery::claim(&self.log, &self.driver.kick(), (id, replica)).await?;
        }
        let outbox = Outbox::new(dirs, self.options.snapshot_pin_max);
        outbox.clean()?;
        Ok(Replica::new(ReplicaParts {
            group: id,
            id: replica,
            log: self.log.clone(),
            kick: self.driver.kick(),
            clock: self.options.clock.clone(),
            durable: DurablePoint {
                id: applied.id,
                membership,
            },
            outbox,
            lease_length: lease_length(&self.options),
            stages: Arc::clone(&self.stages),
            host_failure: self.failure.clone(),
        }))
    }

    /// Starts the tasks that serve a group.
    fn run(&self, replica: &Arc<Replica>, raft: &Raft, machine: watch::Receiver<()>) -> Running {
        let options = &self.options;
        let limits = Limits {
            waiting_commands: options.queue_commands_max,
            waiting_bytes: options.queue_bytes_max,
            entry_bytes: self.log.entry_bytes_max(),
        };
        let queue = Arc::new(Queue::new(limits));
        let orders = watch::Sender::new(Order::default());
        let batcher = Batcher {
            replica: Arc::clone(replica),
            raft: raft.clone(),
            queue: Arc::clone(&queue),
            in_flight_max: options.entries_in_flight_max,
            retry_for: options.proposal_timeout,
        };
        let keeper = Keeper {
            replica: Arc::clone(replica),
            raft: raft.clone(),
            orders: orders.subscribe(),
        };
        let group = Group::new(GroupParts {
            replica: Arc::clone(replica),
            raft: raft.clone(),
            queue,
            metrics: raft.metrics(),
            orders,
            patience: Patience::default(),
            proposal_timeout: options.proposal_timeout,
            lease_length: lease_length(options),
        });
        Running {
            group,
            batcher: tokio::spawn(batcher.run()),
            keeper: tokio::spawn(keeper.run()),
            machine,
        }
    }

    /// Stops every group, syncs what is pending and closes the log. Takes a few seconds at most, besides
    /// the disk, also when no other member answers.
    ///
    /// Proposals that are on their way get their outcome, or after two seconds
    /// [`Unknown`](ErrorKind::Unknown); those that wait get [`Closed`](ErrorKind::Closed).
    pub async fn stop(mut self) -> Result<()> {
        self.pulse.abort();
        self.callable.lock().clear();
        let members = std::mem::take(&mut *self.members.lock());
        let closed = Error::new(ErrorKind::Closed, "the host is stopping");
        let running = members.into_values().filter_map(|member| member.0);
        let ending = running.map(|running| running.stop(&closed, STOP_LIMIT));
        futures::future::join_all(ending).await;
        self.warden.abort();
        self.driver.join();
        if let Some(failure) = self.failure.borrow().clone() {
            return Err(failure.error);
        }
        self.log
            .close()
            .map_err(|source| Error::from_log("last flush", source))
    }
}

impl Drop for Host {
    /// Ends everything at once, as a crash would: nothing that is pending gets synced.
    fn drop(&mut self) {
        self.warden.abort();
        self.pulse.abort();
        self.callable.lock().clear();
        let closed = Error::new(ErrorKind::Closed, "the host was dropped");
        let members = std::mem::take(&mut *self.members.lock());
        for running in members.into_values().filter_map(|member| member.0) {
            running.abandon(&closed);
        }
    }
}

/// The groups that are open.
fn running(members: &Mutex<BTreeMap<GroupId, Member>>) -> Vec<Group> {
    let members = members.lock();
    let running = members.values().filter_map(|member| member.0.as_ref());
    running.map(|running| running.group.clone()).collect()
}

fn lease_length(options: &HostOptions) -> Duration {
    Duration::from_millis(options.timing.lease_ms)
}

/// Stops every group when the shared log has failed.
async fn warden(
    failure: watch::Receiver<Option<Failure>>,
    members: Arc<Mutex<BTreeMap<GroupId, Member>>>,
) {
    let Some(failure) = stopping(failure).await else {
        return;
    };
    for group in running(&members) {
        group.replica().adopt_failure(&failure.error);
        group.queue().close(&failure.error);
        shut_down(group.raft()).await;
    }
}
