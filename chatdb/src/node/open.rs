//! Opening a data directory.

use crate::db::options::EmbeddedOptions;
use crate::db::requests::Requests;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{
    NodeRecord, NodeState, REPLICATION_MAX, System, SystemCommand, SystemMachine, TABLETS_MAX,
    TabletRecord,
};
use crate::node::decide::Decider;
use crate::node::environment::{Environment, random};
use crate::node::follow::Streams;
use crate::node::identity::Identity;
use crate::node::installation::Installation;
use crate::node::maintenance::{Maintenance, Pressure, Work};
use crate::node::network::{Lanes, Network};
use crate::node::opener::Opener;
use crate::node::steward::{Parts, Steward};
use crate::node::tablets::Tablets;
use crate::node::{Node, Running, join};
use crate::peer::Peers;
use crate::rpc::cluster::Contacts;
use crate::stream::hub::Hub;
use crate::tablet::clear_snapshots;
use crate::telemetry::NodeMetrics;
use futures::future::try_join_all;
use lsm::log::{Log, LogOptions};
use lsm::vfs::{Lock, Vfs};
use lsm::{BlockCache, ReadAdmission};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use raft::{Group, GroupId, Host, HostOptions, NodeId, ReplicaId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The raft group of the system state.
pub(super) const GROUP0: GroupId = GroupId(0);
/// Parsed statements that stay in memory.
const PARSED_STATEMENTS_MAX: usize = 2048;
/// Reads that may wait for each one that may run.
const WAITING_PER_READER: usize = 8;

/// The node that makes a cluster.
pub(super) const FIRST: NodeId = NodeId(1);
/// How long a node waits for the others to tell what it is to hold, and after which time it says so.
const KNOWN_LIMIT: Duration = Duration::from_mins(2);
const TELL_AFTER: Duration = Duration::from_secs(5);

/// What has to be there before any group is.
pub(super) struct Ground {
    pub(super) vfs: Arc<dyn Vfs>,
    lock: Box<dyn Lock>,
    pub(super) installation: Installation,
    log: Log,
    pub(super) system: Arc<System>,
}

impl Ground {
    fn prepare(options: &EmbeddedOptions, environment: &Environment) -> Result<Self> {
        if options.tablets == 0 || options.tablets > TABLETS_MAX {
            return Err(Error::invalid(format!(
                "tablets is {}, it must be 1 to {TABLETS_MAX}",
                options.tablets
            )));
        }
        if options.replication == 0 || options.replication > REPLICATION_MAX {
            return Err(Error::invalid(format!(
                "replication is {}, it must be 1 to {REPLICATION_MAX}",
                options.replication
            )));
        }
        let (data, vfs) = (&options.data, Arc::clone(&environment.vfs));
        let cannot = |cause: lsm::Error| {
            let message = format!("cannot open the data directory {}", data.display());
            Error::new(ErrorKind::Io, message).with_source(cause)
        };
        vfs.create_dir_all(data).map_err(cannot)?;
        let lock = vfs
            .lock(&data.join("LOCK"))
            .map_err(|cause| match cause.kind() {
                lsm::ErrorKind::Invalid => Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "another process has the data directory {} open",
                        data.display()
                    ),
                )
                .with_help("try", "stop it, or connect to it with --at ADDRESS"),
                _ => cannot(cause),
            })?;
        clear_snapshots(&*vfs, data).map_err(cannot)?;
        let installation = Installation::open(&*vfs, data)?;
        let log_options = LogOptions {
            hot_bytes: options.log_cache_bytes,
            salt: low_half(random()),
            ..environment.log.clone()
        };
        let log = Log::open(Arc::clone(&vfs), &data.join("log"), log_options)?;
        let system = Arc::new(System::open(Arc::clone(&vfs), &data.join("group0"))?);
        Ok(Self {
            vfs,
            lock,
            installation,
            log,
            system,
        })
    }
}

pub(super) fn low_half(number: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    let low = number as u64;
    low
}

impl Node {
    /// Opens the directory, makes it the first node of a new cluster, or joins one.
    pub(crate) async fn open_in(
        options: EmbeddedOptions,
        environment: Environment,
    ) -> Result<Self> {
        let started = Instant::now();
        let on = (options.clone(), environment.clone());
        let ground = blocking(move || Ground::prepare(&on.0, &on.1)).await?;
        let network = &environment.network;
        let contacts = Arc::new(Contacts::new(network));
        let joined = join::identify(&options, &ground, &contacts).await?;
        let identity = joined.identity;
        let (lanes, serving) = join::listen(options.cluster.as_ref(), network, &joined).await?;
        let host = Arc::new(Host::start(
            ground.log.clone(),
            host_options(&identity, lanes.as_ref(), &environment),
        )?);
        let group0 = open_group0(&host, &ground.system, identity).await?;
        let of_system = (group0.clone(), Arc::clone(&ground.system));
        let decider = Arc::new(Decider::new(identity, of_system, contacts));
        let shared = Shared::new(&options, identity)?;
        let parts = Parts {
            opener: shared.opener(&options, &ground, &host),
            decider: Arc::clone(&decider),
            group0: group0.clone(),
            lanes,
            own: join::own_place(&options, &ground),
            lost: joined.lost,
        };
        begin((&parts, &host), &options).await?;
        let maintenance = Maintenance::start(&Work {
            options: options.clone(),
            environment: environment.clone(),
            pressure: Arc::clone(&shared.pressure),
            tablets: Arc::clone(&shared.tablets),
            system: Arc::clone(&ground.system),
            group0: group0.clone(),
            log: ground.log.clone(),
        })?;
        let readers = options.concurrent_reads.max(1);
        let most_waiting_readers = readers * (1 + WAITING_PER_READER);
        Ok(Self {
            id: identity.node,
            cluster_id: identity.cluster_id,
            started,
            log: ground.log,
            stages: host.stages(),
            group0,
            streams: shared.streams(identity, &ground.system, network),
            requests: Requests::new(),
            leaders: Mutex::default(),
            system: ground.system,
            decider,
            tablets: shared.tablets,
            hub: shared.hub,
            pressure: shared.pressure,
            parsed: Cache::new(PARSED_STATEMENTS_MAX),
            readers: Arc::new(Semaphore::new(readers)),
            waiting_readers: Arc::new(Semaphore::new(most_waiting_readers)),
            most_waiting_readers,
            admission: shared.reads,
            metrics: shared.metrics,
            is_closed: AtomicBool::new(false),
            running: Mutex::new(Some(Running {
                steward: Some(Steward::start(parts)),
                host,
                serving,
                maintenance,
                lock: ground.lock,
            })),
            options,
            environment,
        })
    }
}

/// What the tablets of a node share.
struct Shared {
    node: NodeId,
    metrics: NodeMetrics,
    hub: Arc<Hub>,
    pressure: Arc<Pressure>,
    reads: Arc<ReadAdmission>,
    tablets: Arc<Tablets>,
}

impl Shared {
    fn new(options: &EmbeddedOptions, identity: Identity) -> Result<Self> {
        let metrics = NodeMetrics::new();
        let hub = Hub::new(
            identity.greeting(),
            options.subscriber_queue_items,
            metrics.stream.clone(),
        );
        Ok(Self {
            node: identity.node,
            metrics,
            hub: Arc::new(hub),
            pressure: Arc::new(Pressure::new(options)?),
            reads: Arc::new(ReadAdmission::default()),
            tablets: Arc::new(Tablets::default()),
        })
    }

    fn streams(
        &self,
        identity: Identity,
        system: &Arc<System>,
        network: &Arc<dyn Network>,
    ) -> Streams {
        let own = (identity.cluster_id, identity.node);
        let peers = Arc::new(Peers::new(own, Arc::clone(system), network));
        Streams::start(identity, (system, peers), &self.hub, &self.tablets)
    }

    fn opener(&self, options: &EmbeddedOptions, ground: &Ground, host: &Arc<Host>) -> Opener {
        Opener {
            node: self.node,
            vfs: Arc::clone(&ground.vfs),
            installation: ground.installation,
            log: ground.log.clone(),
            system: Arc::clone(&ground.system),
            host: Arc::clone(host),
            hub: Arc::clone(&self.hub),
            pressure: Arc::clone(&self.pressure),
            cache: Arc::new(BlockCache::new(options.block_cache_bytes)),
            reads: Arc::clone(&self.reads),
            tablets: Arc::clone(&self.tablets),
            options: options.clone(),
        }
    }
}

fn host_options(
    identity: &Identity,
    lanes: Option<&Arc<dyn Lanes>>,
    environment: &Environment,
) -> HostOptions {
    let mut options = HostOptions {
        node: identity.node,
        clock: environment.clock.clone(),
        log_driver: environment.log_driver,
        ..HostOptions::default()
    };
    if let Some(lanes) = lanes {
        options.transport = Arc::clone(lanes) as Arc<dyn raft::Transport>;
    }
    options
}

async fn open_group0(host: &Host, system: &Arc<System>, identity: Identity) -> Result<Group> {
    let machine = SystemMachine(Arc::clone(system));
    let replica = ReplicaId::new(identity.node, 0);
    // The first node of a cluster is the one that made it; every other was added by its leader. Later it
    // is one as any other, which may have been taken out of the voters while it was away.
    let has_nothing = host.log().state(GROUP0).last.is_none() && system.applied_index() == 0;
    let group0 = if identity.node == FIRST && has_nothing {
        host.open_group(GROUP0, replica, machine, true).await?
    } else {
        host.join_group(GROUP0, replica, machine).await?
    };
    Ok(group0)
}

/// The end of a node whose replication has failed.
pub(super) fn failed(failure: raft::Failure) -> Error {
    Error::new(ErrorKind::Io, "the node has failed").with_source(failure.error)
}

/// Opens what the node is to have, or fails with its replication: it may wait for other nodes, and would wait in vain
/// for a group that its own disk has stopped.
async fn begin((parts, host): (&Parts, &Host), options: &EmbeddedOptions) -> Result<()> {
    tokio::select! {
        biased;
        begun = open_tablets(parts, options) => begun,
        failure = host.failed() => Err(failed(failure)),
    }
}

/// Gives a new cluster its tablets, or waits until group 0 has told this node of itself; then opens
/// the replicas that it is to have.
async fn open_tablets(parts: &Parts, options: &EmbeddedOptions) -> Result<()> {
    let (node, system) = (parts.opener.node, &parts.opener.system);
    let status = parts.group0.status();
    let is_new = system.state().cluster_id == 0;
    if is_new && node == FIRST && status.membership.is_single(status.replica) {
        let place = parts.own.as_ref().map(|(_, place)| place.clone());
        let record = NodeRecord {
            installation: parts.opener.installation.number(),
            place: place.unwrap_or_default(),
            state: NodeState::Up,
        };
        let command = SystemCommand::Bootstrap {
            cluster_id: parts.decider.cluster_id,
            tablets: options.tablets,
            replication: options.replication,
            node: record,
        };
        parts.decider.decide(command).await?;
    }
    let mut changes = system.watch_topology();
    let mut told = false;
    let known = async {
        loop {
            let wait = changes.wait_for(|topology| topology.nodes.contains_key(&node));
            if tokio::time::timeout(TELL_AFTER, wait).await.is_ok() {
                return;
            }
            if !told {
                tracing::info!("waiting for the other nodes to tell what this one is to hold");
                told = true;
            }
        }
    };
    tokio::time::timeout(KNOWN_LIMIT, known)
        .await
        .map_err(|_| {
            let message = "the cluster has not told this node what it is to hold";
            Error::new(ErrorKind::Unavailable, message).with_help(
                "check",
                "that a majority of its nodes runs and reaches this one",
            )
        })?;
    parts.opener.remove_leftovers().await?;
    let topology = system.topology();
    // A child waits for its parent, which may wait for other nodes: the steward opens it.
    let has_begun = |record: &&TabletRecord| {
        let replica = record.replica_on(node);
        let begun = replica.is_some_and(|it| parts.opener.has_begun(record.range.group, it));
        record.born.is_none() || begun
    };
    let opening = topology
        .tablets
        .iter()
        .filter(has_begun)
        .map(|record| parts.opener.open(record));
    try_join_all(opening).await?;
    Ok(())
}

/// Runs a blocking step on a thread that may block; here, where there is only one.
pub(crate) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if !raft::may_block() {
        return step();
    }
    tokio::task::spawn_blocking(step).await.map_err(|cause| {
        if cause.is_cancelled() {
            // The runtime ends, and with it the process: another node may do it.
            return Error::new(ErrorKind::Unavailable, "the node is stopping");
        }
        Error::bug("a blocking step panicked").with_source(cause)
    })?
}
