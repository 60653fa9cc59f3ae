//! Cutting a tablet in two, as every replica of it does when it applies the cut.
//!
//! The tablet keeps the tokens below; the child gets those from the cut on. Its first replicas begin with a
//! copy of this one's state: a checkpoint of the engine, which is hard links, and what the child's state
//! machine starts from, in `data/seeds/<child>.<generation>/`. The replica of the child takes it over when
//! the map names it (`node/opener.rs`).
//!
//! # Invariants
//!
//! * The seed is the state before every write of the entry that carries the cut, and is complete and durable
//!   before the entry counts as applied: a restart before that applies the entry again and lays it anew.
//! * Files give the upper tokens away only when the cut itself is durable in the tablet's manifest. A
//!   replica that is sent this one's files as of before still finds all of them there.

use crate::command::Split;
use crate::error::{Error, Result};
use crate::sealed::{body_of, seal};
use crate::tablet::owner::Owner;
use crate::tablet::state::Cut;
use crate::tablet::state_machine::{Progress, Tablet};
use bytes::Bytes;
use lsm::vfs::Vfs;
use raft::{Applied, NodeId, ReplicaId};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// The directory beside those of the tablets.
const SEEDS: &str = "seeds";
/// The file with what the child's state machine starts from.
const OWNER: &str = "child";
/// Its longest content, in bytes.
const OWNER_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The file that makes a checkpoint complete.
const CURRENT: &str = "CURRENT";

/// Where the seeds of a node lie.
pub(crate) fn seeds(data: &Path) -> PathBuf {
    data.join(SEEDS)
}

/// Where a replica finds its seed.
pub(crate) fn seed_directory(data: &Path, group: u64, generation: u64) -> PathBuf {
    seeds(data).join(format!("{group}.{generation}"))
}

/// What the state machine of a seeded replica starts from; `None` when there is no complete seed.
pub(crate) fn read_seed(vfs: &dyn Vfs, dir: &Path) -> Result<Option<Bytes>> {
    if !vfs.exists(&dir.join(CURRENT))? {
        return Ok(None);
    }
    let path = dir.join(OWNER);
    let file = vfs.open(&path)?;
    let len = file.len()?;
    if len > OWNER_BYTES_MAX {
        return Err(Error::corrupt(format!(
            "the seed of a tablet has {len} bytes of state, more than {OWNER_BYTES_MAX}"
        )));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    lsm::vfs::read_exact_at(file.as_ref(), &path, &mut bytes, 0)?;
    let body = body_of(&bytes, "the seed of a tablet")?;
    Ok(Some(Bytes::copy_from_slice(body)))
}

/// Removes a seed, complete or not.
pub(crate) fn remove_seed(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    if !vfs.exists(dir)? {
        return Ok(());
    }
    // What makes it complete goes first, and for good: a power cut may bring any of the names back.
    let current = dir.join(CURRENT);
    if vfs.exists(&current)? {
        vfs.remove(&current)?;
        vfs.sync_dir(dir)?;
    }
    for name in vfs.list(dir)? {
        vfs.remove(&dir.join(name))?;
    }
    Ok(vfs.remove_dir(dir)?)
}

impl Tablet {
    /// The first and the last token that this tablet holds.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        *self.tokens.lock()
    }

    /// Bytes of commands applied since the tablet was opened.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.progress.lock().bytes
    }

    /// The last split that was applied here.
    pub(crate) fn last_cut(&self) -> Option<Cut> {
        self.progress.lock().store.last_cut()
    }

    /// Gives the upper tokens away. Nothing of the entry has been applied.
    pub(super) fn split(&self, progress: &mut Progress, split: &Split, entry: u64) -> Result<()> {
        let (first, last) = progress.store.tokens();
        let was_cut = progress.store.last_cut().map(|cut| cut.child) == Some(split.child);
        // Two leaders may have proposed it, one after the other.
        if was_cut || split.at <= first || split.at > last {
            return Ok(());
        }
        self.lay_seed(progress, split, entry)?;
        progress.store.cut(Cut {
            child: split.child,
            at: split.at,
            entry,
        });
        *self.tokens.lock() = progress.store.tokens();
        self.cut_at.store(entry, Ordering::Release);
        tracing::info!(
            tablet = self.group_id,
            child = split.child,
            at = format!("{:016x}", split.at),
            "split"
        );
        Ok(())
    }

    /// Everything that is applied as a copy for the child.
    fn lay_seed(&self, progress: &Progress, split: &Split, entry: u64) -> Result<()> {
        let (vfs, own) = self.engine.directory();
        let tablets = own.parent().unwrap_or(own);
        let data = tablets.parent().unwrap_or(tablets);
        let name = format!("{}.{}", split.child, split.generation);
        let dir = seed_directory(data, split.child, split.generation);
        // The entry is applied again after a restart, and the child may have begun before.
        if vfs.exists(&tablets.join(name))? || read_seed(vfs.as_ref(), &dir)?.is_some() {
            return Ok(());
        }
        remove_seed(vfs.as_ref(), &dir)?;
        while self.engine.flush_step()? {}
        self.freeze_locked(progress)?;
        while self.engine.flush_step()? {}
        let voters = split.nodes.iter();
        let voters = voters.map(|node| ReplicaId::new(NodeId(*node), split.generation));
        let seed = Applied::seed(entry, voters.collect())?;
        let owner = Owner {
            applied: seed.id,
            membership: seed.membership,
            store: progress.store.state_above(split.at)?,
        };
        vfs.create_dir_all(&dir)?;
        let file = vfs.create(&dir.join(OWNER))?;
        file.write_at(&seal(owner.encode().to_vec()), 0)?;
        file.sync_data()?;
        self.engine.checkpoint(&dir)?;
        vfs.sync_dir(&seeds(data))?;
        vfs.sync_dir(data)?;
        Ok(())
    }

    /// Lets the engine give the tokens back that another tablet holds, once that is durable here.
    pub(super) fn release_tokens(&self, flushed: u64) {
        if flushed >= self.cut_at.load(Ordering::Acquire) {
            let (first, last) = self.tokens();
            self.engine.set_tokens(first, last);
        }
    }
}
