//! Memory that behaves like a disk on its worst day, reproducibly from a seed.
//!
//! It counts calls; the n-th can fail ([`FaultyVfs::fail_at`]) or be the last before the power
//! goes ([`FaultyVfs::crash_at`]). [`FaultyVfs::restart`] then shows what a disk might hold:
//! of every 4 KiB page written since the last sync of its file the old bytes, the new ones, or
//! a mix of 512-byte sectors; of the names changed since the last sync of their directory some
//! subset, in half of the cases an ordered prefix as a journaling file system keeps it.
//!
//! # Invariants
//!
//! * Synced bytes and synced names are never lost.
//! * A failed `sync_data` loses what it should have made durable for good, although reads still
//!   show it: later syncs report success without having written it. Linux does this.
//! * Handles from before a crash fail after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Error as IoError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::memory::MemoryFile;
use super::{File, Lock, MemoryVfs, Vfs};
use crate::error::{Error, Result};
use crate::limits::PAGE_BYTES;

const SECTOR_BYTES: usize = 512;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device reports an error (EIO).
    Eio,
    /// The device is full (ENOSPC).
    NoSpace,
}

/// A file system in memory with faults; clones share it.
#[derive(Clone, Debug)]
pub struct FaultyVfs {
    memory: MemoryVfs,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: u64,
    calls: u64,
    fail_at: Option<(u64, Fault)>,
    crash_at: Option<u64>,
    is_down: bool,
    generation: u64,
    /// Every file that ever had a name, so that an unsynced removal can be undone.
    inodes: Vec<Inode>,
    /// What a crash now would leave of the names, were all unsynced changes lost.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since the last sync of their directory, oldest first.
    name_changes: Vec<NameChange>,
}

#[derive(Debug)]
struct Inode {
    file: Arc<MemoryFile>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    is_len_dirty: bool,
}

#[derive(Clone, Debug)]
struct NameChange {
    dir: PathBuf,
    added: Option<(PathBuf, usize)>,
    removed: Option<PathBuf>,
}

#[derive(Debug)]
struct FaultyFile {
    vfs: FaultyVfs,
    file: Arc<MemoryFile>,
    path: PathBuf,
    generation: u64,
}

impl FaultyVfs {
    /// An empty file system whose crashes are decided by `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: seed,
            calls: 0,
            fail_at: None,
            crash_at: None,
            is_down: false,
            generation: 0,
            inodes: Vec::new(),
            durable_names: BTreeMap::new(),
            name_changes: Vec::new(),
        };
        Self {
            memory: MemoryVfs::new(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Calls so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.state.lock().calls
    }

    /// Makes call number `call` (the first is 0) fail once with `fault`.
    pub fn fail_at(&self, call: u64, fault: Fault) {
        self.state.lock().fail_at = Some((call, fault));
    }

    /// Cuts the power during call number `call`: a write may happen in part, and every call from
    /// then on fails until [`Self::restart`].
    pub fn crash_at(&self, call: u64) {
        self.state.lock().crash_at = Some(call);
    }

    /// Takes back a fault or a power cut that is still to come.
    pub fn cancel_faults(&self) {
        let mut state = self.state.lock();
        (state.fail_at, state.crash_at) = (None, None);
    }

    /// Whether the power is off.
    pub fn is_down(&self) -> bool {
        self.state.lock().is_down
    }

    /// What is there now, unsynced bytes included.
    pub fn memory(&self) -> &MemoryVfs {
        &self.memory
    }

    /// Cuts the power now if it is not off yet, forgets what the disk forgets, and turns it on
    /// again without any planned fault.
    pub fn restart(&self) {
        let mut state = self.state.lock();
        let names = state.surviving_names();
        let mut files = BTreeMap::new();
        let mut survivors: BTreeMap<usize, usize> = BTreeMap::new();
        let mut inodes: Vec<Inode> = Vec::new();
        let mut durable_names = BTreeMap::new();
        for (path, old) in names {
            let new = *survivors.entry(old).or_insert_with(|| {
                inodes.push(Inode::durable(state.surviving_bytes(old)));
                inodes.len() - 1
            });
            if let Some(inode) = inodes.get(new) {
                files.insert(path.clone(), Arc::clone(&inode.file));
            }
            durable_names.insert(path, new);
        }
        self.memory.replace_files(files);
        state.inodes = inodes;
        state.durable_names = durable_names;
        state.name_changes.clear();
        state.is_down = false;
        state.fail_at = None;
        state.crash_at = None;
        state.generation += 1;
    }

    /// Counts a call and decides its fate. `Ok(true)`: the power goes during this call.
    fn enter(&self, action: &str, path: &Path, generation: Option<u64>) -> Result<bool> {
        let mut state = self.state.lock();
        let call = state.calls;
        state.calls += 1;
        let is_stale = generation.is_some_and(|generation| generation != state.generation);
        if state.is_down || is_stale {
            return Err(Error::io(action, path, IoError::other("the power is off")));
        }
        if let Some((_, fault)) = state.fail_at.filter(|(at, _)| *at == call) {
            let code = match fault {
                Fault::Eio => 5,
                Fault::NoSpace => 28,
            };
            return Err(Error::io(action, path, IoError::from_raw_os_error(code)));
        }
        if state.crash_at == Some(call) {
            state.is_down = true;
            return Ok(true);
        }
        Ok(false)
    }

    /// As [`Self::enter`], for calls that happen wholly or not at all.
    fn enter_atomic(&self, action: &str, path: &Path) -> Result<()> {
        if self.enter(action, path, None)? {
            return Err(Error::io(
                action,
                path,
                IoError::other("the power went off"),
            ));
        }
        Ok(())
    }

    fn handle(&self, path: &Path, file: Arc<MemoryFile>) -> Arc<dyn File> {
        let generation = self.state.lock().generation;
        Arc::new(FaultyFile {
            vfs: self.clone(),
            file,
            path: path.to_path_buf(),
            generation,
        })
    }

    fn record(&self, path: &Path, added: bool, removed: Option<&Path>) -> Result<()> {
        let file = if added {
            Some(self.memory.file(path)?)
        } else {
            None
        };
        let mut state = self.state.lock();
        let added = file.map(|file| (path.to_path_buf(), state.inode(&file)));
        let dir = path.parent().unwrap_or(Path::new("")).to_path_buf();
        state.name_changes.push(NameChange {
            dir,
            added,
            removed: removed.map(Path::to_path_buf),
        });
        Ok(())
    }
}

impl Inode {
    fn durable(bytes: Vec<u8>) -> Self {
        let file = Arc::new(MemoryFile::with_bytes(bytes.clone()));
        Self {
            file,
            durable: bytes,
            dirty: BTreeSet::new(),
            is_len_dirty: false,
        }
    }
}

impl State {
    /// The next number of the splitmix64 sequence.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn inode(&mut self, file: &Arc<MemoryFile>) -> usize {
        let known = self
            .inodes
            .iter()
            .position(|inode| Arc::ptr_eq(&inode.file, file));
        known.unwrap_or_else(|| {
            self.inodes.push(Inode {
                file: Arc::clone(file),
                durable: Vec::new(),
                dirty: BTreeSet::new(),
                is_len_dirty: false,
            });
            self.inodes.len() - 1
        })
    }

    fn surviving_names(&mut self) -> BTreeMap<PathBuf, usize> {
        let mut names = self.durable_names.clone();
        let changes = std::mem::take(&mut self.name_changes);
        let keeps_prefix = self.next().is_multiple_of(2);
        let prefix = self.next() % (changes.len() as u64 + 1);
        for (position, change) in changes.into_iter().enumerate() {
            let coin = self.next().is_multiple_of(2);
            let is_kept = if keeps_prefix {
                (position as u64) < prefix
            } else {
                coin
            };
            if is_kept {
                apply(&mut names, &change);
            }
        }
        names
    }

    fn surviving_bytes(&mut self, inode: usize) -> Vec<u8> {
        let Some(Inode {
            file,
            durable,
            dirty,
            is_len_dirty,
        }) = self.inodes.get(inode)
        else {
            return Vec::new();
        };
        let (current, mut bytes) = (file.snapshot(), durable.clone());
        let (dirty, is_len_dirty) = (dirty.clone(), *is_len_dirty);
        if is_len_dirty && self.next().is_multiple_of(2) {
            bytes.resize(current.len(), 0);
        }
        for page in dirty {
            let fate = self.next() % 4;
            let keep = match fate {
                0 => 0,
                1 => u64::MAX,
                _ => self.next(),
            };
            for sector in 0..PAGE_BYTES / SECTOR_BYTES {
                if keep >> sector & 1 == 1 {
                    copy(
                        &mut bytes,
                        &current,
                        page * PAGE_BYTES + sector * SECTOR_BYTES,
                    );
                }
            }
        }
        bytes
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    if let Some(path) = &change.removed {
        names.remove(path);
    }
    if let Some((path, inode)) = &change.added {
        names.insert(path.clone(), *inode);
    }
}

/// Copies one sector of `current` into `bytes`, which grows if it must.
fn copy(bytes: &mut Vec<u8>, current: &[u8], start: usize) {
    let end = (start + SECTOR_BYTES).min(current.len());
    let Some(source) = current.get(start..end) else {
        return;
    };
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(target) = bytes.get_mut(start..end) {
        target.copy_from_slice(source);
    }
}

impl Vfs for FaultyVfs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.enter_atomic("create", path)?;
        // The handle of `memory` is not used: bytes are tracked through our own.
        drop(self.memory.create(path)?);
        self.record(path, true, None)?;
        Ok(self.handle(path, self.memory.file(path)?))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        self.enter_atomic("open", path)?;
        Ok(self.handle(path, self.memory.file(path)?))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.enter_atomic("look for", path)?;
        self.memory.exists(path)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        self.enter_atomic("list", dir)?;
        self.memory.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.enter_atomic("rename", from)?;
        self.memory.rename(from, to)?;
        self.record(to, true, Some(from))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.enter_atomic("remove", path)?;
        self.memory.remove(path)?;
        self.record(path, false, Some(path))
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        self.enter_atomic("create", dir)?;
        // Directories are durable at once: losing them is the installer's worry, not a log's.
        self.memory.create_dir_all(dir)
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.enter_atomic("remove", dir)?;
        self.memory.remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.enter_atomic("sync directory", dir)?;
        let mut state = self.state.lock();
        let (done, waiting) = std::mem::take(&mut state.name_changes)
            .into_iter()
            .partition(|c| c.dir == dir);
        state.name_changes = waiting;
        let done: Vec<NameChange> = done;
        for change in done {
            apply(&mut state.durable_names, &change);
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.enter_atomic("link", from)?;
        self.memory.hard_link(from, to)?;
        self.record(to, true, None)
    }

    fn names_of(&self, path: &Path) -> Result<u64> {
        self.enter_atomic("inspect", path)?;
        self.memory.names_of(path)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        self.enter_atomic("lock", path)?;
        self.memory.lock(path)
    }
}

impl FaultyFile {
    fn enter(&self, action: &str) -> Result<bool> {
        self.vfs.enter(action, &self.path, Some(self.generation))
    }

    fn mark(&self, start: u64, end: u64, is_len_dirty: bool) {
        let mut state = self.vfs.state.lock();
        let at = state.inode(&self.file);
        let Some(inode) = state.inodes.get_mut(at) else {
            return;
        };
        inode.is_len_dirty |= is_len_dirty;
        let page = PAGE_BYTES as u64;
        let pages = start / page..end.div_ceil(page);
        inode
            .dirty
            .extend(pages.filter_map(|page| usize::try_from(page).ok()));
    }

    fn power_went_off(&self, action: &str) -> Error {
        Error::io(action, &self.path, IoError::other("the power went off"))
    }
}

impl File for FaultyFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        if self.enter("read")? {
            return Err(self.power_went_off("read"));
        }
        self.file.read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let crashes = self.enter("write")?;
        let before = self.file.len()?;
        let end = offset.saturating_add(bytes.len() as u64);
        self.file.write_at(bytes, offset)?;
        self.mark(offset, end, end > before);
        if crashes {
            Err(self.power_went_off("write"))
        } else {
            Ok(())
        }
    }

    fn len(&self) -> Result<u64> {
        if self.enter("inspect")? {
            return Err(self.power_went_off("inspect"));
        }
        self.file.len()
    }

    fn allocate(&self, len: u64) -> Result<()> {
        let crashes = self.enter("reserve space for")?;
        let before = self.file.len()?;
        self.file.allocate(len)?;
        self.mark(0, 0, len > before);
        if crashes {
            Err(self.power_went_off("reserve space for"))
        } else {
            Ok(())
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let crashes = self.enter("resize")?;
        self.file.set_len(len)?;
        self.mark(0, 0, true);
        if crashes {
            Err(self.power_went_off("resize"))
        } else {
            Ok(())
        }
    }

    fn sync_data(&self) -> Result<()> {
        let entered = self.enter("sync");
        let mut state = self.vfs.state.lock();
        if state.is_down || state.generation != self.generation {
            // The power went while the pages were under way: they stay in doubt.
            return Err(self.power_went_off("sync"));
        }
        let at = state.inode(&self.file);
        let Some(inode) = state.inodes.get_mut(at) else {
            return Ok(());
        };
        let dirty = std::mem::take(&mut inode.dirty);
        let is_len_dirty = std::mem::take(&mut inode.is_len_dirty);
        entered?;
        if is_len_dirty {
            let len = usize::try_from(inode.file.len()?).unwrap_or(usize::MAX);
            inode.durable.resize(len, 0);
        }
        for page in dirty {
            let start = page * PAGE_BYTES;
            let bytes = inode.file.copy_range(start, start + PAGE_BYTES);
            // The length goes along as far as the bytes need it.
            if inode.durable.len() < start + bytes.len() {
                inode.durable.resize(start + bytes.len(), 0);
            }
            if let Some(target) = inode.durable.get_mut(start..start + bytes.len()) {
                target.copy_from_slice(&bytes);
            }
        }
        Ok(())
    }
}
