//! The state machine of group 0: applies schema commands and tells the tablets at once.
//!
//! A tablet knows every table of the catalog before a statement can be planned against it, because
//! applying a schema command defines the tables in all tablets first and shows the catalog after.
//! That a schema command returned to its caller therefore means that this node agrees.

use crate::error::{Error, ErrorKind, Result};
use crate::group0::command::{SystemCommand, encode_outcome};
use crate::group0::state::SystemState;
use crate::group0::topology::Topology;
use crate::schema::Catalog;
use crate::tablet::Tablet;
use bytes::Bytes;
use lsm::TableId;
use lsm::vfs::Vfs;
use parking_lot::{Condvar, Mutex, RwLock};
use raft::{Applied, CommittedBatch, LogId, SnapshotDirs, StateMachine};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Notify, watch};

/// Group 0's state, shared by its state machine, the planner, the steward and the maintenance threads.
pub(crate) struct System {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    /// Held while the state file is written.
    pub(super) saving: Mutex<()>,
    pub(super) state: Mutex<SystemState>,
    /// The catalog, for readers that must not wait for an apply.
    catalog: RwLock<Arc<Catalog>>,
    /// Nodes and tablets, for readers and for who waits for a change of them.
    topology: watch::Sender<Arc<Topology>>,
    /// Tables with smaller ids were made; some of them may be dropped again.
    tables_made: Mutex<u32>,
    /// Rung when there are more, and when the node closes.
    more_tables: Condvar,
    tables_rung: Notify,
    is_closed: AtomicBool,
    tablets: RwLock<BTreeMap<u64, Arc<Tablet>>>,
}

impl fmt::Debug for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("System")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl System {
    /// Reads the state file in `dir`, or begins empty.
    pub(crate) fn open(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Self> {
        let cannot = |cause: lsm::Error| disk("cannot read group0/state", cause);
        vfs.create_dir_all(dir).map_err(cannot)?;
        let path = dir.join("state");
        let state = if vfs.exists(&path).map_err(cannot)? {
            SystemState::read(vfs.as_ref(), &path)?
        } else {
            SystemState::default()
        };
        Ok(Self {
            vfs,
            dir: dir.to_owned(),
            saving: Mutex::default(),
            catalog: RwLock::new(Arc::clone(&state.catalog)),
            topology: watch::Sender::new(Arc::clone(&state.topology)),
            tables_made: Mutex::new(state.catalog.next_table_id()),
            more_tables: Condvar::new(),
            tables_rung: Notify::new(),
            is_closed: AtomicBool::new(false),
            state: Mutex::new(state),
            tablets: RwLock::default(),
        })
    }

    /// The catalog as of the last applied schema command.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.read())
    }

    /// The last applied entry, 0 before the first.
    pub(crate) fn applied_index(&self) -> u64 {
        self.state.lock().applied.map_or(0, |id| id.index)
    }

    /// A copy of the state.
    pub(crate) fn state(&self) -> SystemState {
        self.state.lock().clone()
    }

    /// Nodes and tablets as of the last applied decision.
    pub(crate) fn topology(&self) -> Arc<Topology> {
        Arc::clone(&self.topology.borrow())
    }

    /// Tells of every change of nodes and tablets.
    pub(crate) fn watch_topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.subscribe()
    }

    /// From now on schema commands are told to this tablet too; what is known is told now.
    pub(crate) fn attach(&self, tablet: &Arc<Tablet>) -> Result<()> {
        let state = self.state.lock();
        tablet.define_tables(&state.catalog, &[])?;
        let group = tablet.group_id();
        self.tablets.write().insert(group, Arc::clone(tablet));
        Ok(())
    }

    /// The tablet is told nothing any more.
    pub(crate) fn detach(&self, group: u64) {
        self.tablets.write().remove(&group);
    }

    /// Waits until a table of this id was made, as far as this node has heard. False when the node
    /// closes before. Blocks; the caller must not hold what applying a schema command takes.
    pub(crate) fn wait_table(&self, table: TableId) -> bool {
        let mut made = self.tables_made.lock();
        while *made <= table.0 {
            if self.is_closed.load(Ordering::Acquire) {
                return false;
            }
            self.more_tables.wait(&mut made);
        }
        true
    }

    /// The same without blocking.
    pub(crate) async fn hear_table(&self, table: TableId) -> bool {
        loop {
            // From here on no ringing is missed.
            let rung = self.tables_rung.notified();
            if self.has_made_table(table) {
                return true;
            }
            if self.is_closed.load(Ordering::Acquire) {
                return false;
            }
            rung.await;
        }
    }

    /// Whether nobody has to wait for the table.
    pub(crate) fn has_made_table(&self, table: TableId) -> bool {
        *self.tables_made.lock() > table.0
    }

    /// Lets go of who waits.
    pub(crate) fn close(&self) {
        // Under the lock, or who has just looked would sleep through it.
        let made = self.tables_made.lock();
        self.is_closed.store(true, Ordering::Release);
        drop(made);
        self.more_tables.notify_all();
        self.tables_rung.notify_waiters();
    }

    /// Writes the state file. Returns the applied index that it holds.
    pub(crate) fn save(&self) -> Result<u64> {
        let _one_at_a_time = self.saving.lock();
        let state = self.state();
        let bytes = state.encode();
        let write = || -> lsm::Result<()> {
            let beside = self.dir.join("state.new");
            if self.vfs.exists(&beside)? {
                self.vfs.remove(&beside)?;
            }
            let file = self.vfs.create(&beside)?;
            file.write_at(&bytes, 0)?;
            file.sync_data()?;
            self.vfs.rename(&beside, &self.dir.join("state"))?;
            self.vfs.sync_dir(&self.dir)
        };
        write().map_err(|cause| disk("cannot write group0/state", cause))?;
        Ok(state.applied.map_or(0, |applied| applied.index))
    }

    /// Applies one command of entry `index`; the value is the id of an added node, else 0.
    fn apply(&self, command: &Bytes, index: u64) -> Result<u64> {
        let mut state = self.state.lock();
        let mut topology = Topology::clone(&state.topology);
        let mut value = 0;
        match SystemCommand::decode(command)? {
            SystemCommand::Bootstrap {
                cluster_id,
                tablets,
                replication,
                node,
            } => {
                if state.cluster_id == 0 {
                    state.cluster_id = cluster_id;
                    topology = Topology::new(node, tablets, replication);
                }
            }
            SystemCommand::Ddl(command) => {
                let next = Arc::new(state.catalog.apply_ddl(&command)?);
                self.publish_catalog(&mut state, next)?;
                return Ok(0);
            }
            SystemCommand::AddNode {
                installation,
                place,
            } => value = u64::from(topology.add_node(installation, place)?.0),
            SystemCommand::SetNodeState { node, state } => topology.set_node_state(node, state)?,
            SystemCommand::Place {
                group,
                version,
                nodes,
            } => topology.place(group, version, &nodes, index)?,
            SystemCommand::Settled { group, version } => topology.settle(group, version)?,
            SystemCommand::SetReplication(count) => topology.replication = count,
            SystemCommand::Split { group, version, at } => {
                topology.split(group, version, at, index)?;
            }
            SystemCommand::Cut {
                group,
                version,
                at,
                entry,
            } => topology.cut(group, version, (at, entry))?,
        }
        self.publish_topology(&mut state, Arc::new(topology));
        Ok(value)
    }

    /// Defines the tables in all tablets first and shows the catalog after.
    pub(super) fn publish_catalog(
        &self,
        state: &mut SystemState,
        next: Arc<Catalog>,
    ) -> Result<()> {
        let dropped = next.dropped_since(&state.catalog);
        for tablet in self.tablets.read().values() {
            tablet.define_tables(&next, &dropped)?;
        }
        *self.catalog.write() = Arc::clone(&next);
        *self.tables_made.lock() = next.next_table_id();
        self.more_tables.notify_all();
        self.tables_rung.notify_waiters();
        self.tables_rung.notify_waiters();
        state.catalog = next;
        Ok(())
    }

    pub(super) fn publish_topology(&self, state: &mut SystemState, next: Arc<Topology>) {
        if *state.topology != *next {
            state.topology = Arc::clone(&next);
            self.topology.send_replace(next);
        }
    }

    fn advance(&self, id: LogId) {
        self.state.lock().applied = Some(id);
    }
}

pub(super) fn disk(what: &str, cause: lsm::Error) -> Error {
    let kind = match cause.kind() {
        lsm::ErrorKind::Corrupt => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    Error::new(kind, what).with_source(cause)
}

/// The handle that raft drives.
#[derive(Debug)]
pub(crate) struct SystemMachine(pub(crate) Arc<System>);

impl StateMachine for SystemMachine {
    fn applied(&self) -> Applied {
        let state = self.0.state.lock();
        Applied {
            id: state.applied,
            membership: state.membership.clone(),
        }
    }

    fn apply(&mut self, batch: CommittedBatch) -> raft::Result<Vec<Bytes>> {
        let mut responses = Vec::with_capacity(batch.commands.len());
        for command in &batch.commands {
            // It may wait for a tablet that applies an entry, or for its disk.
            let outcome = raft::blocking(|| self.0.apply(command, batch.id.index));
            match &outcome {
                Err(error) if !error.is_deterministic() => {
                    return Err(error.clone().for_raft("group 0 cannot apply a command"));
                }
                _ => responses.push(encode_outcome(&outcome)),
            }
        }
        self.0.advance(batch.id);
        Ok(responses)
    }

    fn apply_membership(&mut self, id: LogId, membership: Bytes) -> raft::Result<()> {
        self.0.state.lock().membership = membership;
        self.0.advance(id);
        Ok(())
    }

    fn apply_blank(&mut self, id: LogId) -> raft::Result<()> {
        self.0.advance(id);
        Ok(())
    }

    fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        self.0.snapshot_dirs()
    }

    fn make_snapshot(&mut self, dir: &Path) -> raft::Result<Applied> {
        let made = self.0.make_snapshot(dir);
        made.map_err(|cause| cause.for_raft("group 0 cannot make a raft snapshot"))
    }

    fn install_snapshot(&mut self, dir: &Path) -> raft::Result<Applied> {
        let installed = self.0.install_snapshot(dir);
        installed.map_err(|cause| cause.for_raft("group 0 cannot install a raft snapshot"))
    }
}
