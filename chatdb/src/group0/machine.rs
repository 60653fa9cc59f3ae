//! The state machine of group 0: applies schema commands and tells the tablets at once.
//!
//! A tablet knows every table of the catalog before a statement can be planned against it, because
//! applying a schema command defines the tables in all tablets first and shows the catalog after.
//! That a schema command returned to its caller therefore means that this node agrees.

use crate::error::{Error, ErrorKind, Result};
use crate::group0::command::{SystemCommand, encode_outcome};
use crate::group0::state::{STATE_BYTES_MAX, SystemState};
use crate::schema::Catalog;
use crate::tablet::Tablet;
use bytes::Bytes;
use lsm::vfs::Vfs;
use parking_lot::{Mutex, RwLock};
use raft::{Applied, CommittedBatch, LogId, StateMachine};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Group 0's state, shared by its state machine, the planner and the maintenance thread.
pub(crate) struct System {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    state: Mutex<SystemState>,
    /// The catalog, for readers that must not wait for an apply.
    catalog: RwLock<Arc<Catalog>>,
    tablets: RwLock<Vec<Arc<Tablet>>>,
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
            let file = vfs.open(&path).map_err(cannot)?;
            let len = file.len().map_err(cannot)?;
            if len > STATE_BYTES_MAX {
                return Err(Error::corrupt(format!(
                    "group0/state is damaged at byte 0: {len} bytes are too many"
                )));
            }
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
            lsm::vfs::read_exact_at(file.as_ref(), &path, &mut bytes, 0).map_err(cannot)?;
            SystemState::decode(&bytes)?
        } else {
            SystemState::default()
        };
        let catalog = RwLock::new(Arc::clone(&state.catalog));
        Ok(Self {
            vfs,
            dir: dir.to_owned(),
            state: Mutex::new(state),
            catalog,
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

    /// From now on schema commands are told to these tablets too; what is known is told now.
    pub(crate) fn attach(&self, tablet: &Arc<Tablet>) -> Result<()> {
        let state = self.state.lock();
        tablet.define_tables(&state.catalog, &[])?;
        self.tablets.write().push(Arc::clone(tablet));
        Ok(())
    }

    /// Writes the state file. Returns the applied index that it holds.
    pub(crate) fn save(&self) -> Result<u64> {
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

    fn apply(&self, command: &Bytes) -> Result<()> {
        match SystemCommand::decode(command)? {
            SystemCommand::Bootstrap {
                cluster_id,
                tablets,
            } => {
                let mut state = self.state.lock();
                if state.cluster_id == 0 {
                    state.cluster_id = cluster_id;
                    state.tablets = SystemState::even_tablets(tablets);
                }
            }
            SystemCommand::Ddl(command) => {
                let mut state = self.state.lock();
                let next = Arc::new(state.catalog.apply_ddl(&command)?);
                let dropped = next.dropped_since(&state.catalog);
                for tablet in self.tablets.read().iter() {
                    tablet.define_tables(&next, &dropped)?;
                }
                *self.catalog.write() = Arc::clone(&next);
                state.catalog = next;
            }
        }
        Ok(())
    }

    fn advance(&self, id: LogId) {
        self.state.lock().applied = Some(id);
    }
}

fn disk(what: &str, cause: lsm::Error) -> Error {
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
            let outcome = self.0.apply(command);
            match &outcome {
                Err(error) if !error.is_deterministic() => {
                    return Err(raft::Error::new(
                        raft::ErrorKind::Bug,
                        "group 0 cannot apply a command",
                    )
                    .with_source(error.clone()));
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
}
