//! Opening a data directory.

use crate::db::options::EmbeddedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{
    System, SystemCommand, SystemMachine, TABLETS_MAX, TabletRange, decode_outcome,
};
use crate::node::beneath::Beneath;
use crate::node::environment::random;
use crate::node::installation::Installation;
use crate::node::maintenance::{Maintenance, Pressure, Work};
use crate::node::{Node, Running, TabletPlace};
use crate::stream::hub::Hub;
use crate::tablet::{Tablet, TabletMachine};
use crate::telemetry::NodeMetrics;
use futures::future::try_join_all;
use lsm::log::{Log, LogOptions};
use lsm::vfs::{Lock, OsVfs, Vfs};
use lsm::{BlockCache, Engine, EngineOptions, ReadAdmission};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use raft::{Group, GroupId, Host, HostOptions, NodeId, ReplicaId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::sync::Semaphore;

/// The raft group of the system state.
const GROUP0: GroupId = GroupId(0);
/// Every replica of a single node.
const REPLICA: ReplicaId = ReplicaId::new(NodeId(1), 0);
/// Parsed statements that stay in memory.
const PARSED_STATEMENTS_MAX: usize = 2048;
/// Reads that may wait for each one that may run.
const WAITING_PER_READER: usize = 8;

/// What has to be there before any group is.
struct Ground {
    vfs: Arc<dyn Vfs>,
    lock: Box<dyn Lock>,
    installation: Installation,
    log: Log,
    system: Arc<System>,
}

impl Ground {
    fn prepare(options: &EmbeddedOptions) -> Result<Self> {
        if options.tablets == 0 || options.tablets > TABLETS_MAX {
            return Err(Error::invalid(format!(
                "tablets is {}, it must be 1 to {TABLETS_MAX}",
                options.tablets
            )));
        }
        let data = &options.data;
        let cannot = |cause: lsm::Error| {
            let message = format!("cannot open the data directory {}", data.display());
            Error::new(ErrorKind::Io, message).with_source(cause)
        };
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
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
        let installation = Installation::open(&*vfs, data)?;
        let log_options = LogOptions {
            hot_bytes: options.log_cache_bytes,
            salt: low_half(random()),
            ..LogOptions::default()
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

fn low_half(number: u128) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
    let low = number as u64;
    low
}

impl Node {
    /// Opens the directory, or makes it a new database.
    pub(crate) async fn open(options: EmbeddedOptions) -> Result<Self> {
        let started = Instant::now();
        let for_ground = options.clone();
        let ground = blocking(move || Ground::prepare(&for_ground)).await?;
        let host = Host::start(ground.log.clone(), HostOptions::default())?;
        let machine = SystemMachine(Arc::clone(&ground.system));
        let group0 = host.open_group(GROUP0, REPLICA, machine, true).await?;
        let cluster_id = bootstrap(&group0, &ground.system, options.tablets).await?;
        let metrics = NodeMetrics::new();
        let hub = Arc::new(Hub::new(
            low_half(cluster_id),
            options.subscriber_queue_items,
            metrics.stream.clone(),
        ));
        let pressure = Arc::new(Pressure::new(&options)?);
        let cache = Arc::new(BlockCache::new(options.block_cache_bytes));
        let reads = Arc::new(ReadAdmission::default());
        let opening = ground.system.state().tablets.into_iter().map(|range| {
            let opener = Opener {
                options: &options,
                ground: &ground,
                host: &host,
                hub: &hub,
                pressure: &pressure,
                cache: &cache,
                reads: &reads,
            };
            opener.open(range)
        });
        let tablets = try_join_all(opening).await?;
        let maintenance = Maintenance::start(&Work {
            options: options.clone(),
            pressure: Arc::clone(&pressure),
            tablets: tablets
                .iter()
                .map(|place| Arc::clone(&place.tablet))
                .collect(),
            system: Arc::clone(&ground.system),
            group0: group0.clone(),
            log: ground.log.clone(),
        })?;
        let readers = options.concurrent_reads.max(1);
        let most_waiting_readers = readers * (1 + WAITING_PER_READER);
        Ok(Self {
            cluster_id,
            started,
            log: ground.log,
            group0,
            system: ground.system,
            tablets,
            hub,
            pressure,
            parsed: Cache::new(PARSED_STATEMENTS_MAX),
            readers: Arc::new(Semaphore::new(readers)),
            waiting_readers: Arc::new(Semaphore::new(most_waiting_readers)),
            most_waiting_readers,
            admission: reads,
            metrics,
            is_closed: AtomicBool::new(false),
            running: Mutex::new(Some(Running {
                host,
                maintenance,
                lock: ground.lock,
            })),
            options,
        })
    }
}

/// Runs a blocking step on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    step: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(step)
        .await
        .map_err(|cause| Error::bug("a blocking step panicked").with_source(cause))?
}

/// Gives a new cluster its identity and tablets; tells the identity.
async fn bootstrap(group0: &Group, system: &System, tablets: u32) -> Result<u128> {
    if system.state().cluster_id == 0 {
        let command = SystemCommand::Bootstrap {
            cluster_id: random(),
            tablets,
        };
        let proposed = group0.propose(command.encode()).await?;
        decode_outcome(&proposed.response)?;
    }
    Ok(system.state().cluster_id)
}

/// What opening a tablet needs.
struct Opener<'a> {
    options: &'a EmbeddedOptions,
    ground: &'a Ground,
    host: &'a Host,
    hub: &'a Arc<Hub>,
    pressure: &'a Arc<Pressure>,
    cache: &'a Arc<BlockCache>,
    reads: &'a Arc<ReadAdmission>,
}

impl Opener<'_> {
    async fn open(self, range: TabletRange) -> Result<TabletPlace> {
        let vfs = Arc::new(Beneath(Arc::clone(&self.ground.vfs)));
        let dir = self
            .options
            .data
            .join("tablets")
            .join(range.group.to_string());
        let engine_options = EngineOptions {
            cache: Arc::clone(self.cache),
            memory: Arc::clone(self.pressure.memory()),
            reads: Arc::clone(self.reads),
            seed: self.ground.installation.seed(range.group),
            ..EngineOptions::default()
        };
        let engine = blocking(move || Ok(Engine::open(vfs, &dir, engine_options)?)).await?;
        let purged = self.ground.log.state(GroupId(range.group)).purged;
        let tablet = Arc::new(Tablet::new(
            range.group,
            Arc::new(engine),
            Arc::clone(self.hub),
            Arc::clone(self.pressure),
            purged.map_or(1, |id| id.index + 1),
        )?);
        self.ground.system.attach(&tablet)?;
        let machine = TabletMachine(Arc::clone(&tablet));
        let group = self
            .host
            .open_group(GroupId(range.group), REPLICA, machine, true)
            .await?;
        tablet.set_group(group.clone());
        tablet.drop_unknown_tables(&self.ground.system.catalog())?;
        Ok(TabletPlace {
            range,
            tablet,
            group,
        })
    }
}
