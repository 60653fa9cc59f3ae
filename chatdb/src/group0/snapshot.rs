//! Group 0 as a raft snapshot: its state file, whole.
//!
//! What is installed shows as if it had been applied: tablets learn their tables, and whoever watches
//! the catalog or the map is told.

use crate::error::{Error, Result};
use crate::group0::machine::{System, disk};
use crate::group0::state::SystemState;
use crate::tablet::beside;
use raft::{Applied, SnapshotDirs};
use std::path::Path;
use std::sync::Arc;

/// The file of a raft snapshot, and that of the state.
const STATE: &str = "state";

impl System {
    pub(super) fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        let (data, name) = (self.dir.parent()?, self.dir.file_name()?);
        Some(beside(&self.vfs, data, Path::new(name)))
    }

    /// Writes the state as of the last applied entry into `dir`.
    pub(super) fn make_snapshot(&self, dir: &Path) -> Result<Applied> {
        let state = self.state();
        let write = || -> lsm::Result<()> {
            let file = self.vfs.create(&dir.join(STATE))?;
            file.write_at(&state.encode(), 0)?;
            file.sync_data()?;
            self.vfs.sync_dir(dir)
        };
        write().map_err(|cause| disk("cannot write a copy of group0/state", cause))?;
        Ok(Applied {
            id: state.applied,
            membership: state.membership,
        })
    }

    /// Makes the state what is in `dir`, on disk first.
    pub(super) fn install_snapshot(&self, dir: &Path) -> Result<Applied> {
        let path = dir.join(STATE);
        let next = SystemState::read(self.vfs.as_ref(), &path)?;
        // A state of the time before must not be written over it.
        let _one_at_a_time = self.saving.lock();
        let before = self.applied_index();
        if next.applied.is_none_or(|id| id.index <= before) {
            return Err(Error::bug(format!(
                "a raft snapshot of group 0 is older than entry {before}, which is applied"
            )));
        }
        let keep = || -> lsm::Result<()> {
            self.vfs.rename(&path, &self.dir.join(STATE))?;
            self.vfs.sync_dir(&self.dir)
        };
        keep().map_err(|cause| disk("cannot write group0/state", cause))?;
        let mut state = self.state.lock();
        self.publish_catalog(&mut state, Arc::clone(&next.catalog))?;
        state.applied = next.applied;
        state.membership = next.membership.clone();
        state.cluster_id = next.cluster_id;
        self.publish_topology(&mut state, Arc::clone(&next.topology));
        Ok(Applied {
            id: next.applied,
            membership: next.membership,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::machine::SystemMachine;
    use bytes::Bytes;
    use lsm::vfs::{MemoryVfs, Vfs};
    use raft::{LeaderId, LogId, StateMachine};

    fn system(vfs: &MemoryVfs, dir: &str) -> Arc<System> {
        let vfs = Arc::new(vfs.clone()) as Arc<dyn Vfs>;
        Arc::new(System::open(vfs, Path::new(dir)).unwrap())
    }

    #[test]
    fn an_installed_state_is_on_disk_shows_to_who_watches_and_never_goes_back() {
        let vfs = MemoryVfs::new();
        let from = system(&vfs, "/a/group0");
        let at = |index| LogId {
            leader: LeaderId { term: 2, node: 1 },
            index,
        };
        {
            let mut state = from.state.lock();
            state.cluster_id = 7;
            state.applied = Some(at(12));
            state.membership = Bytes::from_static(b"members");
            let mut topology = (*state.topology).clone();
            topology.replication = 5;
            from.publish_topology(&mut state, Arc::new(topology));
        }
        let dir = Path::new("/a/snapshots/group0/outgoing-0");
        vfs.create_dir_all(dir).unwrap();
        let mut sender = SystemMachine(Arc::clone(&from));
        let made = sender.make_snapshot(dir).unwrap();
        assert_eq!(made.id, Some(at(12)));

        let to = system(&vfs, "/b/group0");
        let mut watch = to.watch_topology();
        watch.mark_unchanged();
        let mut receiver = SystemMachine(Arc::clone(&to));
        assert_eq!(receiver.install_snapshot(dir).unwrap(), made);
        assert!(watch.has_changed().unwrap());
        assert_eq!(watch.borrow().replication, 5);
        assert_eq!(to.state(), from.state());
        assert_eq!(system(&vfs, "/b/group0").state(), from.state());

        // An older one is refused and leaves what is there.
        to.state.lock().applied = Some(at(20));
        to.save().unwrap();
        sender.make_snapshot(dir).unwrap();
        receiver.install_snapshot(dir).unwrap_err();
        assert_eq!(system(&vfs, "/b/group0").applied_index(), 20);
    }
}
