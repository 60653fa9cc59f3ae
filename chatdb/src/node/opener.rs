//! Opening and destroying the replicas of a node.
//!
//! A replica's directory carries its generation, so that what is left of an earlier replica of the
//! same tablet is never taken for the present one. Destroying gives the raft log back first and the
//! files after: what a crash leaves in between is a directory that nothing names, and is removed when
//! the node has heard of the decision that made it and of what came after.

use crate::db::options::EmbeddedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{System, TabletRecord, Topology};
use crate::node::beneath::Beneath;
use crate::node::installation::Installation;
use crate::node::maintenance::Pressure;
use crate::node::open::{GROUP0, blocking};
use crate::node::tablets::{TabletPlace, Tablets};
use crate::stream::hub::Hub;
use crate::tablet::{Tablet, TabletMachine, read_seed, remove_seed, seed_directory, seeds};
use lsm::log::Log;
use lsm::vfs::Vfs;
use lsm::{BlockCache, Engine, EngineOptions, ReadAdmission};
use raft::{GroupId, Host, NodeId, ReplicaId};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a replica may take to come to the cut, before that is looked at anew.
const CUT_LIMIT: Duration = Duration::from_secs(5);

/// What the replicas of a node have in common.
pub(super) struct Opener {
    pub(super) node: NodeId,
    pub(super) options: EmbeddedOptions,
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) installation: Installation,
    pub(super) log: Log,
    pub(super) system: Arc<System>,
    pub(super) host: Arc<Host>,
    pub(super) hub: Arc<Hub>,
    pub(super) pressure: Arc<Pressure>,
    pub(super) cache: Arc<BlockCache>,
    pub(super) reads: Arc<ReadAdmission>,
    pub(super) tablets: Arc<Tablets>,
}

/// The directory of a replica.
pub(crate) fn directory(data: &Path, group: u64, replica: ReplicaId) -> PathBuf {
    let name = format!("{group}.{}", replica.generation());
    data.join("tablets").join(name)
}

/// Group and generation of a replica's directory.
pub(crate) fn parse_directory(name: &str) -> Option<(u64, u64)> {
    let (group, generation) = name.split_once('.')?;
    Some((group.parse().ok()?, generation.parse().ok()?))
}

impl Opener {
    /// Opens the replica of the tablet that is named for this node, and takes it into the list.
    pub(super) async fn open(&self, record: &TabletRecord) -> Result<()> {
        let group = record.range.group;
        let Some(replica) = record.replica_on(self.node) else {
            return Ok(());
        };
        self.check_stored(group, replica).await?;
        self.wait_for_cut(record, replica).await?;
        let vfs = Arc::new(Beneath(Arc::clone(&self.vfs)));
        let dir = directory(&self.options.data, group, replica);
        let engine_options = EngineOptions {
            cache: Arc::clone(&self.cache),
            memory: Arc::clone(self.pressure.memory()),
            reads: Arc::clone(&self.reads),
            seed: self.installation.seed(group),
            ..EngineOptions::default()
        };
        let engine = blocking(move || Ok(Engine::open(vfs, &dir, engine_options)?)).await?;
        let engine = self.take_seed(engine, (group, replica)).await?;
        if let Some(born) = record.born {
            self.hub.set_origin(group, born.origin());
        }
        let purged = self.log.state(GroupId(group)).purged;
        let tablet = Arc::new(Tablet::new(
            group,
            Arc::new(engine),
            Arc::clone(&self.hub),
            Arc::clone(&self.pressure),
            purged.map_or(1, |id| id.index + 1),
        )?);
        tablet.set_system(&self.system);
        self.system.attach(&tablet)?;
        let opened = self.open_group(record, replica, &tablet).await;
        let raft = opened.inspect_err(|_| self.system.detach(group))?;
        tablet.set_group(raft.clone());
        tablet.drop_unknown_tables(&self.system.catalog())?;
        self.tablets.insert(Arc::new(TabletPlace {
            replica,
            tablet,
            group: raft,
        }));
        Ok(())
    }

    /// A first replica of a tablet that was split off begins with a copy of the tablet's replica here, once
    /// that has come to the cut.
    async fn wait_for_cut(&self, record: &TabletRecord, replica: ReplicaId) -> Result<()> {
        let first = record
            .born
            .filter(|born| replica.generation() == born.decided);
        let Some(born) = first.filter(|_| !self.has_begun(record.range.group, replica)) else {
            return Ok(());
        };
        let topology = self.system.topology();
        let parent = topology.tablet(born.parent);
        if parent.is_none_or(|parent| parent.replica_on(self.node).is_none()) {
            return Ok(());
        }
        let place = self.tablets.get(born.parent).ok_or_else(|| {
            let message = format!("tablet {} is not open yet", born.parent);
            Error::new(ErrorKind::Unavailable, message)
        })?;
        place.group.wait_applied(born.index, CUT_LIMIT).await?;
        Ok(())
    }

    /// Whether this replica was open here before.
    pub(super) fn has_begun(&self, group: u64, replica: ReplicaId) -> bool {
        let stored = self.host.stored_replicas();
        stored
            .into_iter()
            .any(|(id, stored)| id.0 == group && stored == replica)
    }

    /// Gives a replica that has not begun the copy that lies here for it, if there is one.
    async fn take_seed(
        &self,
        engine: Engine,
        (group, replica): (u64, ReplicaId),
    ) -> Result<Engine> {
        let dir = seed_directory(&self.options.data, group, replica.generation());
        let vfs = Arc::clone(&self.vfs);
        let is_new = engine.flushed().owner.is_empty() && !self.has_begun(group, replica);
        blocking(move || {
            if is_new && let Some(owner) = read_seed(vfs.as_ref(), &dir)? {
                engine.install_as(&dir, Some(owner))?;
            }
            remove_seed(vfs.as_ref(), &dir)?;
            Ok(engine)
        })
        .await
    }

    /// Makes sure that no other replica of the group is here.
    async fn check_stored(&self, group: u64, replica: ReplicaId) -> Result<()> {
        let stored = self.host.stored_replicas().into_iter();
        let mut others = stored.filter(|(id, stored)| id.0 == group && *stored != replica);
        let Some((id, other)) = others.next() else {
            return Ok(());
        };
        if other.generation() > replica.generation() {
            let message = format!("the map that names replica {replica} of tablet {group} is old");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        // It was on its way out when the node stopped.
        self.host.destroy_group(id).await?;
        Ok(())
    }

    async fn open_group(
        &self,
        record: &TabletRecord,
        replica: ReplicaId,
        tablet: &Arc<Tablet>,
    ) -> Result<raft::Group> {
        let group = GroupId(record.range.group);
        let machine = TabletMachine(Arc::clone(tablet));
        // A new cluster's first replica, which is alone: nobody else could add it.
        let is_first = record.replicas == [replica] && replica.generation() == 0;
        let raft = if is_first {
            self.host.open_group(group, replica, machine, true).await?
        } else {
            self.host.join_group(group, replica, machine).await?
        };
        Ok(raft)
    }

    /// Ends a replica for good and gives back what it holds on disk.
    ///
    /// The map that does not name it is durable before: a restart must not make it again, empty, under
    /// the same id.
    pub(super) async fn destroy(&self, group: u64, replica: ReplicaId) -> Result<()> {
        let system = Arc::clone(&self.system);
        blocking(move || system.save()).await?;
        self.tablets.remove(group);
        self.system.detach(group);
        self.host.destroy_group(GroupId(group)).await?;
        self.remove_directory(directory(&self.options.data, group, replica))
            .await?;
        tracing::info!(tablet = group, replica = %replica, "removed a replica");
        Ok(())
    }

    /// Gives back what replicas left that were on their way out when the node stopped.
    pub(super) async fn remove_leftovers(&self) -> Result<()> {
        let (vfs, tablets) = (Arc::clone(&self.vfs), self.options.data.join("tablets"));
        let names = {
            let tablets = tablets.clone();
            blocking(move || list(vfs.as_ref(), &tablets)).await?
        };
        self.remove_unnamed_seeds().await?;
        for (group, replica) in self.host.stored_replicas() {
            if group != GROUP0 && self.is_left_over(group.0, replica) {
                self.host.destroy_group(group).await?;
            }
        }
        for name in names {
            let Some((group, generation)) = parse_directory(&name) else {
                continue;
            };
            let replica = ReplicaId::new(self.node, generation);
            if self.is_left_over(group, replica) {
                self.remove_directory(tablets.join(&name)).await?;
            }
        }
        Ok(())
    }

    /// Removes the copies that no replica of this node will ever take.
    async fn remove_unnamed_seeds(&self) -> Result<()> {
        let (vfs, all) = (Arc::clone(&self.vfs), seeds(&self.options.data));
        let heard = self.system.applied_index();
        let topology = self.system.topology();
        let is_wanted = |group: u64, generation: u64| {
            may_be_named(
                &topology,
                heard,
                (group, ReplicaId::new(self.node, generation)),
            )
        };
        let names = {
            let (vfs, all) = (Arc::clone(&vfs), all.clone());
            blocking(move || list(vfs.as_ref(), &all)).await?
        };
        let unnamed = names.into_iter().filter(|name| {
            parse_directory(name).is_some_and(|(group, generation)| !is_wanted(group, generation))
        });
        let unnamed: Vec<PathBuf> = unnamed.map(|name| all.join(name)).collect();
        blocking(move || {
            unnamed
                .iter()
                .try_for_each(|dir| remove_seed(vfs.as_ref(), dir))
        })
        .await
    }

    /// Whether nothing names the replica, and nothing will.
    fn is_left_over(&self, group: u64, replica: ReplicaId) -> bool {
        let heard = self.system.applied_index();
        let topology = self.system.topology();
        let open = self.tablets.get(group).map(|place| place.replica);
        open != Some(replica) && !may_be_named(&topology, heard, (group, replica))
    }

    async fn remove_directory(&self, dir: PathBuf) -> Result<()> {
        let vfs = Arc::clone(&self.vfs);
        blocking(move || {
            if !vfs.exists(&dir)? {
                return Ok(());
            }
            // The manifest goes first: without it the rest is nobody's.
            let mut names = vfs.list(&dir)?;
            names.sort_by_key(|name| !name.contains("manifest"));
            for name in names {
                vfs.remove(&dir.join(name))?;
            }
            vfs.remove_dir(&dir).map_err(Error::from)
        })
        .await
    }
}

/// Whether the map names the replica, or one that comes after it may, of a node that has heard group 0 up to entry `heard`.
///
/// The replicas of a tablet that is split off begin when the map names it, under the number of the decision to split, which
/// came before: a node that restarts and has heard only of that must not take them for what is left of something.
fn may_be_named(topology: &Topology, heard: u64, (group, replica): (u64, ReplicaId)) -> bool {
    let record = topology.tablet(group);
    let named = record.and_then(|record| record.replica_on(replica.node()));
    let mut splitting = topology.tablets.iter().filter_map(|it| it.splitting);
    replica.generation() > heard
        || named == Some(replica)
        || splitting.any(|splitting| splitting.child == group)
}

/// The names in a directory, none if it is not there.
fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<String>> {
    if vfs.exists(dir)? {
        Ok(vfs.list(dir)?)
    } else {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::{Splitting, TabletRange};

    fn tablet(group: u64, splitting: Option<u64>) -> TabletRecord {
        TabletRecord {
            range: TabletRange {
                group,
                first: group,
                last: group,
            },
            version: 0,
            replicas: vec![ReplicaId::new(NodeId(2), 5)],
            leaving: Vec::new(),
            is_settled: splitting.is_none(),
            splitting: splitting.map(|child| Splitting { child, at: None }),
            born: None,
        }
    }

    #[test]
    fn a_replica_of_a_tablet_that_is_being_split_off_is_no_leftover() {
        let mut topology = Topology::default();
        topology.tablets = vec![tablet(1, Some(3))];
        let child = (3, ReplicaId::new(NodeId(2), 23));
        assert!(may_be_named(&topology, 22, child), "not heard of");
        assert!(may_be_named(&topology, 23, child), "it is named soon");
        topology.tablets = vec![tablet(1, None)];
        assert!(!may_be_named(&topology, 24, child), "it never was made");
        topology.tablets = vec![tablet(1, None), tablet(3, None)];
        assert!(!may_be_named(&topology, 24, child), "another is named");
        let named = (3, ReplicaId::new(NodeId(2), 5));
        assert!(may_be_named(&topology, 24, named));
    }
}
