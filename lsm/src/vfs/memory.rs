//! Files in memory, for tests and examples. Everything is durable at once, nothing fails.
//!
//! Clones share the files. A file lives as long as a name or a handle keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind as IoErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{File, Lock, Vfs};
use crate::error::{Error, Result};

/// A file system in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryVfs {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    files: BTreeMap<PathBuf, Arc<MemoryFile>>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
}

/// One file in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
}

#[derive(Debug)]
struct MemoryLock {
    tree: Arc<Mutex<Tree>>,
    path: PathBuf,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.tree.lock().locks.remove(&self.path);
    }
}

impl MemoryVfs {
    /// An empty file system.
    pub fn new() -> Self {
        Self::default()
    }

    /// The whole content of a file, for tests that damage it.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>> {
        Ok(self.file(path)?.bytes.read().clone())
    }

    /// Replaces the whole content of a file, created if missing; for tests that damage it.
    pub fn write(&self, path: &Path, bytes: Vec<u8>) {
        let file = Arc::clone(
            self.tree
                .lock()
                .files
                .entry(path.to_path_buf())
                .or_default(),
        );
        *file.bytes.write() = bytes;
    }

    /// A copy that shares nothing with this one.
    #[must_use]
    pub fn deep_clone(&self) -> Self {
        let tree = self.tree.lock();
        let mut copies = BTreeMap::new();
        for (path, file) in &tree.files {
            let bytes = RwLock::new(file.bytes.read().clone());
            copies.insert(path.clone(), Arc::new(MemoryFile { bytes }));
        }
        let copy = Tree {
            files: copies,
            dirs: tree.dirs.clone(),
            locks: BTreeSet::new(),
        };
        Self {
            tree: Arc::new(Mutex::new(copy)),
        }
    }

    pub(super) fn file(&self, path: &Path) -> Result<Arc<MemoryFile>> {
        match self.tree.lock().files.get(path) {
            Some(file) => Ok(Arc::clone(file)),
            None => Err(Error::io(
                "open",
                path,
                IoError::from(IoErrorKind::NotFound),
            )),
        }
    }

    /// Puts other files in the place of all that are here. A directory that a file of them is in is there as well.
    pub(super) fn replace_files(&self, files: BTreeMap<PathBuf, Arc<MemoryFile>>) {
        let mut tree = self.tree.lock();
        for dir in files.keys().filter_map(|path| path.parent()) {
            let mut ancestors = dir.ancestors().filter(|dir| !dir.as_os_str().is_empty());
            // Who has an ancestor has all above it.
            while let Some(dir) = ancestors.next()
                && !tree.dirs.contains(dir)
            {
                tree.dirs.insert(dir.to_path_buf());
            }
        }
        tree.files = files;
        tree.locks.clear();
    }
}

impl MemoryFile {
    pub(super) fn with_bytes(bytes: Vec<u8>) -> Self {
        Self {
            bytes: RwLock::new(bytes),
        }
    }

    pub(super) fn snapshot(&self) -> Vec<u8> {
        self.bytes.read().clone()
    }

    pub(super) fn copy_range(&self, start: usize, end: usize) -> Vec<u8> {
        let bytes = self.bytes.read();
        let end = end.min(bytes.len());
        bytes.get(start.min(end)..end).unwrap_or_default().to_vec()
    }
}

fn exists_already(path: &Path) -> Error {
    Error::io("create", path, IoError::from(IoErrorKind::AlreadyExists))
}

impl Vfs for MemoryVfs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let mut tree = self.tree.lock();
        if tree.files.contains_key(path) {
            return Err(exists_already(path));
        }
        if !path
            .parent()
            .is_some_and(|dir| dir.as_os_str().is_empty() || tree.dirs.contains(dir))
        {
            return Err(Error::io(
                "create",
                path,
                IoError::from(IoErrorKind::NotFound),
            ));
        }
        let file = Arc::new(MemoryFile::default());
        tree.files.insert(path.to_path_buf(), Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = self.file(path)?;
        Ok(file)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let tree = self.tree.lock();
        Ok(tree.files.contains_key(path) || tree.dirs.contains(path))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let tree = self.tree.lock();
        if !tree.dirs.contains(dir) {
            return Err(Error::io("list", dir, IoError::from(IoErrorKind::NotFound)));
        }
        let paths = tree.files.keys().chain(tree.dirs.iter());
        let inside = paths.filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut tree = self.tree.lock();
        let Some(file) = tree.files.remove(from) else {
            return Err(Error::io(
                "rename",
                from,
                IoError::from(IoErrorKind::NotFound),
            ));
        };
        tree.files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match self.tree.lock().files.remove(path) {
            Some(_) => Ok(()),
            None => Err(Error::io(
                "remove",
                path,
                IoError::from(IoErrorKind::NotFound),
            )),
        }
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let mut tree = self.tree.lock();
        for ancestor in dir.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            tree.dirs.insert(ancestor.to_path_buf());
        }
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        let mut tree = self.tree.lock();
        let is_in = |path: &PathBuf| path.parent() == Some(dir);
        if tree.files.keys().any(is_in) || tree.dirs.iter().any(is_in) {
            let cause = IoError::from(IoErrorKind::DirectoryNotEmpty);
            return Err(Error::io("remove", dir, cause));
        }
        if tree.dirs.remove(dir) {
            Ok(())
        } else {
            let cause = IoError::from(IoErrorKind::NotFound);
            Err(Error::io("remove", dir, cause))
        }
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        let file = self.file(from)?;
        let mut tree = self.tree.lock();
        if tree.files.contains_key(to) {
            return Err(exists_already(to));
        }
        tree.files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn names_of(&self, path: &Path) -> Result<u64> {
        let file = self.file(path)?;
        let tree = self.tree.lock();
        let same = tree.files.values().filter(|it| Arc::ptr_eq(it, &file));
        Ok(same.count() as u64)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        if !self.tree.lock().locks.insert(path.to_path_buf()) {
            return Err(Error::invalid(format!(
                "{} is locked, close its holder",
                path.display()
            )));
        }
        Ok(Box::new(MemoryLock {
            tree: Arc::clone(&self.tree),
            path: path.to_path_buf(),
        }))
    }
}

impl File for MemoryFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let stored = self.bytes.read();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let there = stored.get(offset..).unwrap_or_default();
        let count = there.len().min(bytes.len());
        for (target, source) in bytes.iter_mut().zip(there) {
            *target = *source;
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut stored = self.bytes.write();
        let start = usize::try_from(offset)
            .map_err(|_| Error::invalid("a file in memory cannot be that long"))?;
        let end = start.saturating_add(bytes.len());
        if stored.len() < end {
            stored.resize(end, 0);
        }
        if let Some(target) = stored.get_mut(start..end) {
            target.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn len(&self) -> Result<u64> {
        Ok(self.bytes.read().len() as u64)
    }

    fn allocate(&self, len: u64) -> Result<()> {
        if self.len()? < len {
            self.set_len(len)
        } else {
            Ok(())
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        let len = usize::try_from(len)
            .map_err(|_| Error::invalid("a file in memory cannot be that long"))?;
        self.bytes.write().resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<()> {
        Ok(())
    }
}
