//! Going on without nodes that are lost for good, on the stopped directory of one that is left.
//!
//! A group whose majority is lost takes no writes and can lose nothing more. To go on, the replica here is made the
//! whole group ([`raft::Survivor`]): what only the lost ones had is gone, also if it was acknowledged. Nobody but an
//! operator can decide that, so nothing here happens by itself.
//!
//! # In this order
//!
//! 1. The lost nodes are written down (`node/lost.rs`): from then on their calls are refused.
//! 2. Each group that cannot go on otherwise gets its forced entry.
//! 3. The node starts: its groups elect it. It has group 0 note that the lost nodes are gone (`node/steward.rs`), and what
//!    replaces lost replicas is the same as ever (`group0/placement.rs`).
//!
//! Each step is durable before the next and may be repeated: after a crash the command is given again.

use crate::error::{Error, Result};
use crate::group0::{System, SystemState, Topology};
use crate::node::environment::{lock_stopped, random};
use crate::node::identity::Identity;
use crate::node::lost;
use crate::node::open::{GROUP0, low_half};
use crate::node::opener::directory;
use crate::tablet::Owner;
use lsm::Inspection;
use lsm::log::{Log, LogOptions};
use lsm::vfs::{Lock, OsVfs, Vfs};
use raft::{Applied, GroupId, Loss, NodeId, ReplicaId, Survivor};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stopped directory and what the loss of nodes means to its groups.
pub(crate) struct Recovery {
    vfs: Arc<dyn Vfs>,
    data: PathBuf,
    log: Log,
    lost: BTreeSet<NodeId>,
    pub(crate) cluster_id: u128,
    pub(crate) node: NodeId,
    pub(crate) topology: Arc<Topology>,
    /// The groups of which a replica is here.
    pub(crate) groups: Vec<(Survivor, Loss)>,
    _lock: Box<dyn Lock>,
}

impl Recovery {
    /// Reads the directory. Changes nothing that a start of the node would not change.
    pub(crate) fn look(data: &Path, lost: &BTreeSet<NodeId>) -> Result<Self> {
        let vfs: Arc<dyn Vfs> = Arc::new(OsVfs);
        let identity = Identity::read(&*vfs, data)?.ok_or_else(|| {
            Error::not_found(format!("{} holds no node of a cluster", data.display()))
                .with_help("try", "--data DIR of chatdb serve")
        })?;
        let lock = lock_stopped(&*vfs, data)?;
        let state = System::open(Arc::clone(&vfs), &data.join("group0"))?.state();
        check_lost(identity, &state.topology, lost)?;
        let log = LogOptions {
            salt: low_half(random()),
            ..LogOptions::default()
        };
        let log = Log::open(Arc::clone(&vfs), &data.join("log"), log)?;
        let mut groups = Vec::new();
        for group in log.groups() {
            let replica = ReplicaId(log.state(group).owner);
            let Some(applied) = applied(&vfs, data, (group, replica), &state)? else {
                continue;
            };
            if let Some(survivor) = Survivor::read(&log, group, &applied)? {
                let loss = survivor.loss(lost);
                groups.push((survivor, loss));
            }
        }
        Ok(Self {
            vfs,
            data: data.to_owned(),
            log,
            lost: lost.clone(),
            cluster_id: identity.cluster_id,
            node: identity.node,
            topology: state.topology,
            groups,
            _lock: lock,
        })
    }

    /// Whether the replica here is to be its whole group. Of several that are left the operator names it in `newest`.
    pub(crate) fn is_to_go_on(&self, group: GroupId, newest: &BTreeSet<u64>) -> bool {
        self.groups.iter().any(|(survivor, loss)| {
            let is_chosen = match loss {
                Loss::Alone => true,
                Loss::Few(_) => newest.contains(&group.0),
                Loss::MajorityLives | Loss::NoVoter => false,
            };
            survivor.group == group && is_chosen
        })
    }

    /// Tablets that were on lost nodes only.
    pub(crate) fn without_replica(&self) -> Vec<u64> {
        let tablets = self.topology.tablets.iter();
        let all_lost = tablets.filter(|tablet| tablet.nodes().all(|it| self.lost.contains(&it)));
        all_lost.map(|tablet| tablet.range.group).collect()
    }

    /// Goes on without the lost nodes; tells how many groups do.
    pub(crate) fn go_on(&self, newest: &BTreeSet<u64>) -> Result<u64> {
        lost::add(&*self.vfs, &self.data, &self.lost)?;
        let mut count = 0;
        for (survivor, _) in &self.groups {
            if self.is_to_go_on(survivor.group, newest) {
                survivor.make_alone(&self.log)?;
                count += 1;
            }
        }
        self.log.close()?;
        Ok(count)
    }
}

fn check_lost(own: Identity, topology: &Topology, lost: &BTreeSet<NodeId>) -> Result<()> {
    if lost.is_empty() || lost.contains(&own.node) {
        let message = format!("this is node n{}: name the nodes that are lost", own.node.0);
        return Err(Error::invalid(message));
    }
    let unknown = lost.iter().find(|node| !topology.nodes.contains_key(node));
    match unknown {
        None => Ok(()),
        Some(node) => {
            let known: Vec<String> = topology
                .nodes
                .keys()
                .map(|node| format!("n{}", node.0))
                .collect();
            let message = format!("the cluster has no node n{}", node.0);
            Err(Error::not_found(message).with_help("nodes", known.join(", ")))
        }
    }
}

/// What the state of a replica here has made durable; `None` for one that the map does not name.
fn applied(
    vfs: &Arc<dyn Vfs>,
    data: &Path,
    (group, replica): (GroupId, ReplicaId),
    state: &SystemState,
) -> Result<Option<Applied>> {
    if group == GROUP0 {
        return Ok(Some(Applied {
            id: state.applied,
            membership: state.membership.clone(),
        }));
    }
    let named = state.topology.tablet(group.0);
    if named.and_then(|it| it.replica_on(replica.node())) != Some(replica) {
        return Ok(None);
    }
    let dir = directory(data, group.0, replica);
    let inspection = match Inspection::open(Arc::clone(vfs), &dir) {
        Ok(inspection) => inspection,
        Err(cause) if cause.kind() == lsm::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(cause.into()),
    };
    let owner = Owner::decode(&inspection.flushed().owner)?;
    Ok(Some(Applied {
        id: owner.applied,
        membership: owner.membership,
    }))
}
