//! The tablets that are open on this node. They come and go while it runs.

use crate::tablet::Tablet;
use parking_lot::RwLock;
use raft::{Group, ReplicaId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A replica of a tablet with its raft group.
#[derive(Debug)]
pub(crate) struct TabletPlace {
    pub(crate) replica: ReplicaId,
    pub(crate) tablet: Arc<Tablet>,
    pub(crate) group: Group,
}

impl TabletPlace {
    /// Whether this replica leads its group, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        self.group.leader() == Some(self.replica)
    }
}

/// The open tablets by group.
#[derive(Debug, Default)]
pub(crate) struct Tablets(RwLock<BTreeMap<u64, Arc<TabletPlace>>>);

impl Tablets {
    /// The replica of this group.
    pub(crate) fn get(&self, group: u64) -> Option<Arc<TabletPlace>> {
        self.0.read().get(&group).cloned()
    }

    /// All of them by group.
    pub(crate) fn list(&self) -> Vec<Arc<TabletPlace>> {
        self.0.read().values().cloned().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.read().len()
    }

    pub(super) fn insert(&self, place: Arc<TabletPlace>) {
        let group = place.tablet.group_id();
        self.0.write().insert(group, place);
    }

    pub(super) fn remove(&self, group: u64) -> Option<Arc<TabletPlace>> {
        self.0.write().remove(&group)
    }
}
