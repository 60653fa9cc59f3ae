//! A tablet as a raft snapshot: what is flushed goes to another replica, and takes the place of all here.
//!
//! The files are a checkpoint of the engine, hard links of SSTables and a manifest, which holds the
//! tablet's own state too (position, membership, clock, request ids, silent commands). Installing is
//! one edit of the manifest here, after every block was verified.
//!
//! # Invariants
//!
//! * Nothing is applied, frozen or defined while a raft snapshot is installed, so that what is in memory
//!   and what the manifest says are of the same entry.
//! * A subscriber is told of a gap: the entries that the raft snapshot stands for are not in the log here.

use crate::error::{Error, Result};
use crate::tablet::owner::Owner;
use crate::tablet::state_machine::Tablet;
use lsm::vfs::Vfs;
use raft::{Applied, SnapshotDirs};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// The directory beside those of the tablets and of group 0.
const SNAPSHOTS: &str = "snapshots";

/// Where raft snapshots of the state in `dir` lie: `data/snapshots/<name>` for `data/tablets/<name>`.
pub(crate) fn beside(vfs: &Arc<dyn Vfs>, data: &Path, name: &Path) -> SnapshotDirs {
    SnapshotDirs {
        vfs: Arc::clone(vfs),
        dir: data.join(SNAPSHOTS).join(name),
    }
}

/// Removes the raft snapshots that replicas left which are not here any more. When a node starts there
/// is none that anybody needs.
pub(crate) fn clear_snapshots(vfs: &dyn Vfs, data: &Path) -> lsm::Result<()> {
    let all = data.join(SNAPSHOTS);
    if !vfs.exists(&all)? {
        return Ok(());
    }
    for replica in vfs.list(&all)? {
        let replica = all.join(replica);
        for transfer in vfs.list(&replica)? {
            let transfer = replica.join(transfer);
            for file in vfs.list(&transfer)? {
                vfs.remove(&transfer.join(file))?;
            }
            vfs.remove_dir(&transfer)?;
        }
        vfs.remove_dir(&replica)?;
    }
    Ok(())
}

impl Tablet {
    pub(super) fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        let (vfs, dir) = self.engine.directory();
        let data = dir.parent()?.parent()?;
        Some(beside(vfs, data, Path::new(dir.file_name()?)))
    }

    /// Links everything flushed into `dir`.
    pub(super) fn make_snapshot(&self, dir: &Path) -> Result<Applied> {
        let made = self.engine.checkpoint(dir)?;
        let owner = Owner::decode(&made.owner)?;
        Ok(Applied {
            id: owner.applied,
            membership: owner.membership,
        })
    }

    /// Makes the tablet what is in `dir`.
    pub(super) fn install_snapshot(&self, dir: &Path) -> Result<Applied> {
        let mut progress = self.progress.lock();
        let flushed = self.engine.install(dir)?;
        let owner = Owner::decode(&flushed.owner)?;
        let Some(id) = owner.applied else {
            return Err(Error::corrupt(
                "a raft snapshot of a tablet without any entry",
            ));
        };
        progress.store.restore(&owner.store)?;
        let (first, last) = progress.store.tokens();
        *self.tokens.lock() = (first, last);
        self.engine.set_tokens(first, last);
        progress.applied = owner.applied;
        progress.membership = owner.membership.clone();
        let next = id.index + 1;
        progress.marks = VecDeque::from([(next, progress.bytes)]);
        progress.keep_from = next;
        self.time_ms
            .store(progress.store.time_ms(), Ordering::Relaxed);
        self.hub.skip(self.group_id, id.index);
        drop(progress);
        if let Some(system) = self.system.get().and_then(Weak::upgrade) {
            // The other replica may have had tables that are dropped meanwhile.
            self.drop_unknown_tables(&system.catalog())?;
        }
        Ok(Applied {
            id: owner.applied,
            membership: owner.membership,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::parse;
    use crate::db::options::EmbeddedOptions;
    use crate::node::maintenance::Pressure;
    use crate::plan::{Plan, Request, plan};
    use crate::schema::{Catalog, DdlCommand};
    use crate::stream::hub::Hub;
    use crate::tablet::TabletMachine;
    use crate::telemetry::StreamMetrics;
    use bytes::Bytes;
    use lsm::vfs::MemoryVfs;
    use lsm::{Engine, EngineOptions};
    use raft::{CommittedBatch, LeaderId, LogId, StateMachine};

    const GROUP: u64 = 3;

    fn catalog() -> Catalog {
        let mut catalog = Catalog::new();
        let table = "CREATE TABLE k.t (a int, b int, c text, PRIMARY KEY (a, b))";
        for text in ["CREATE KEYSPACE k", table] {
            let parsed = parse(text).unwrap();
            let command = DdlCommand::new(&parsed.statement, None).unwrap();
            catalog = catalog.apply_ddl(&command).unwrap();
        }
        catalog
    }

    fn insert(catalog: &Catalog, row: u64, request_id: u128) -> Bytes {
        let text = format!("INSERT INTO k.t (a, b, c) VALUES (1, {row}, 'x') IF NOT EXISTS");
        let request = Request {
            request_id: Some(request_id),
            ..Request::new(catalog)
        };
        match plan(&request, &parse(&text).unwrap().statement).unwrap() {
            Plan::Write(write) => write.encode().unwrap(),
            other => unreachable!("{other:?}"),
        }
    }

    fn batch(index: u64, command: Bytes) -> CommittedBatch {
        let leader = LeaderId { term: 2, node: 1 };
        CommittedBatch {
            id: LogId { leader, index },
            proposed_us: 1_700_000_000_000_000 + index,
            commands: vec![command],
        }
    }

    fn tablet(vfs: &MemoryVfs, name: &str) -> Arc<Tablet> {
        let dir = Path::new("/data/tablets").join(name);
        let options = EngineOptions {
            seed: name.len() as u64,
            ..EngineOptions::default()
        };
        let engine = Engine::open(Arc::new(vfs.clone()), &dir, options).unwrap();
        let hub = Arc::new(Hub::new(1, 8, StreamMetrics::default()));
        let pressure = Pressure::new(&EmbeddedOptions::new("/data")).unwrap();
        let tablet = Tablet::new(GROUP, Arc::new(engine), hub, Arc::new(pressure), 1).unwrap();
        tablet.define_tables(&catalog(), &[]).unwrap();
        Arc::new(tablet)
    }

    #[test]
    fn a_tablet_that_installs_a_raft_snapshot_is_the_other_one_and_tells_streams_of_a_gap() {
        let (vfs, catalog) = (MemoryVfs::new(), catalog());
        let from = tablet(&vfs, "3-1");
        let mut sender = TabletMachine(Arc::clone(&from));
        let membership = Bytes::from_static(b"members");
        let first = batch(1, insert(&catalog, 1, 77));
        let id = first.id;
        sender.apply_membership(id, membership.clone()).unwrap();
        let mut answers = Vec::new();
        for index in 2..=40 {
            let command = insert(&catalog, index % 20, u128::from(index));
            answers.push(sender.apply(batch(index, command)).unwrap());
        }
        assert!(from.freeze().unwrap());
        from.engine.flush_step().unwrap();
        // What is not flushed is not in it.
        let late = batch(41, insert(&catalog, 400, 400));
        sender.apply(late.clone()).unwrap();

        let dirs = sender.snapshot_dirs().unwrap();
        assert_eq!(dirs.dir, Path::new("/data/snapshots/3-1"));
        let dir = dirs.dir.join("outgoing-0");
        vfs.create_dir_all(&dir).unwrap();
        let made = sender.make_snapshot(&dir).unwrap();
        assert_eq!(
            (made.id.unwrap().index, &made.membership),
            (40, &membership)
        );

        let to = tablet(&vfs, "3-22");
        let subscriber = to.hub.subscribe(None).unwrap();
        assert_eq!(subscriber.behind(|_| true), None);
        let mut receiver = TabletMachine(Arc::clone(&to));
        assert_eq!(receiver.install_snapshot(&dir).unwrap(), made);
        assert_eq!(receiver.applied(), made);
        assert_eq!(to.hub.applied(GROUP), 40);
        // A subscriber reads the log, and the log begins behind what was skipped.
        assert_eq!(subscriber.behind(|_| true), Some((GROUP, (0, u32::MAX))));
        assert_eq!(to.oldest_for_streams(), 41);

        // The next entry does the same on both, and so does a retry of one before: once.
        receiver.apply(late).unwrap();
        for (index, answer) in (42..).zip(&answers) {
            let retry = insert(&catalog, (index - 40) % 20, u128::from(index - 40));
            let here = receiver.apply(batch(index, retry.clone())).unwrap();
            assert_eq!(sender.apply(batch(index, retry)).unwrap(), here);
            assert_eq!(here, *answer, "entry {index} repeats {}", index - 40);
        }
        assert_eq!(to.time_ms(), from.time_ms());
        for tablet in [&from, &to] {
            tablet.freeze().unwrap();
            tablet.engine.flush_step().unwrap();
        }
        let rows = |tablet: &Tablet| {
            let mut keys = Vec::new();
            for table in catalog.tables() {
                let plan = parse("SELECT a, b, c FROM k.t").unwrap();
                let request = Request::new(&catalog);
                let Ok(Plan::Read(read)) = plan_of(&request, &plan) else {
                    unreachable!("a read of {}", table.name)
                };
                let progress = tablet.progress.lock();
                let page = progress.store.read(&read, tablet.time_ms()).unwrap();
                keys.push(format!("{page:?}"));
            }
            keys
        };
        assert_eq!(rows(&from), rows(&to));
    }

    fn plan_of(request: &Request<'_>, parsed: &crate::cql::Parsed) -> Result<Plan> {
        plan(request, &parsed.statement)
    }

    #[test]
    fn what_replicas_left_of_raft_snapshots_is_removed_when_the_node_starts() {
        let vfs = MemoryVfs::new();
        let data = Path::new("/data");
        clear_snapshots(&vfs, data).unwrap();
        let dir = data.join("snapshots/9-1/incoming");
        vfs.create_dir_all(&dir).unwrap();
        vfs.create(&dir.join("000001.sst")).unwrap();
        clear_snapshots(&vfs, data).unwrap();
        assert!(!vfs.exists(&dir.join("000001.sst")).unwrap());
    }
}
