//! Opening: lock, CURRENT, manifest, files, sweep.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::dead_runs::DeadRuns;
use super::dictionaries::Dictionaries;
use super::obsolete::Obsolete;
use super::state::{State, Writer};
use super::sweep::Sweeps;
use super::{Engine, Files};
use crate::error::Result;
use crate::manifest::{
    CURRENT_NEW, Edit, FileMeta, LOCK, Manifest, TableFile, Version, is_ours, manifest_name,
    table_name,
};
use crate::memtable::Memtable;
use crate::metrics::Counters;
use crate::options::EngineOptions;
use crate::vfs::Vfs;

/// See [`Engine::open`].
pub(super) fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: EngineOptions) -> Result<Engine> {
    options.validate()?;
    vfs.create_dir_all(dir)?;
    let lock = vfs.lock(&dir.join(LOCK))?;
    let replayed = Manifest::replay(vfs.as_ref(), dir)?;
    let manifest_number = replayed.as_ref().map(|(number, _)| *number);
    let edits = replayed.map(|(_, edits)| edits).unwrap_or_default();
    let (version, next_file) = rebuild(vfs.as_ref(), dir, &edits)?;
    sweep(vfs.as_ref(), dir, &version, manifest_number)?;
    // A new manifest at every start: the end of the old one may be torn, and one edit that says
    // everything is quicker to read next time.
    let number = manifest_number.map_or(1, |number| number + 1);
    let manifest = Manifest::create(vfs.as_ref(), dir, number, &version.to_edit(next_file))?;
    if let Some(old) = manifest_number {
        vfs.remove(&dir.join(manifest_name(old)))?;
    }
    let active = Memtable::shared(&options.memory);
    let writer = Writer {
        active: Arc::clone(&active),
        index: version.flushed.index,
        timestamp: version.flushed.timestamp,
    };
    let state = State {
        active,
        frozen: Vec::new(),
        version: Arc::new(version),
    };
    Ok(Engine {
        dir: dir.to_path_buf(),
        options,
        state: RwLock::new(Arc::new(state)),
        writer: Mutex::new(writer),
        manifest: Mutex::new(Files {
            manifest,
            next_file,
        }),
        flushing: Mutex::new(()),
        compacting: Mutex::new(()),
        tables: RwLock::new(BTreeMap::new()),
        tokens: Mutex::new((0, u64::MAX)),
        dead_runs: DeadRuns::new(),
        sweeps: Sweeps::default(),
        dictionaries: Dictionaries::default(),
        obsolete: Obsolete::default(),
        counters: Counters::default(),
        _lock: lock,
        vfs,
    })
}

/// The version that the edits add up to, with its files open, and the next file number.
fn rebuild(vfs: &dyn Vfs, dir: &Path, edits: &[Edit]) -> Result<(Version, u64)> {
    let (live, state) = live_files(edits);
    let mut files = Vec::with_capacity(live.len());
    for (_, meta) in live {
        files.push(Arc::new(TableFile::open(vfs, dir, meta)?));
    }
    Ok((Version::default().with(&state, files), state.next_file))
}

/// The files that the edits leave, and the rest of the state as one edit.
pub(super) fn live_files(edits: &[Edit]) -> (BTreeMap<u64, FileMeta>, Edit) {
    let mut live: BTreeMap<u64, FileMeta> = BTreeMap::new();
    let mut state = Edit::default();
    for edit in edits {
        for number in &edit.removed {
            live.remove(number);
        }
        live.extend(edit.added.iter().map(|file| (file.number, file.clone())));
        state.next_file = state.next_file.max(edit.next_file);
        if edit.flushed.is_some() {
            state.flushed.clone_from(&edit.flushed);
        }
        if edit.epochs.is_some() {
            state.epochs.clone_from(&edit.epochs);
        }
    }
    (live, state)
}

/// Removes every file that an engine may have written and this one does not refer to.
fn sweep(vfs: &dyn Vfs, dir: &Path, version: &Version, manifest: Option<u64>) -> Result<()> {
    let mut used: BTreeSet<String> = version
        .all()
        .map(|file| table_name(file.meta.number))
        .collect();
    used.extend(manifest.map(manifest_name));
    for name in vfs.list(dir)? {
        if (is_ours(&name) || name == CURRENT_NEW) && !used.contains(&name) {
            tracing::info!(file = name, "removing a file that a crash left over");
            vfs.remove(&dir.join(&name))?;
        }
    }
    Ok(())
}
