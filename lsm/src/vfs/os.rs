//! Real files: the only user of `std::fs` in the crate.
#![expect(
    clippy::disallowed_methods,
    reason = "this file is what the others go through"
)]

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{Error as IoError, ErrorKind as IoErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{File, Lock, Vfs};
use crate::error::{Error, Result};

/// The file system of the operating system. Costs one system call per call.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

#[derive(Debug)]
struct OsFile {
    file: fs::File,
    path: PathBuf,
}

#[derive(Debug)]
struct OsLock {
    #[expect(dead_code, reason = "the lock lives as long as the open file")]
    file: fs::File,
}

impl Lock for OsLock {}

impl Vfs for OsVfs {
    fn create(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|cause| Error::io("create", path, cause))?;
        Ok(Arc::new(OsFile {
            file,
            path: path.to_path_buf(),
        }))
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn File>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(|cause| Error::io("open", path, cause))?;
        Ok(Arc::new(OsFile {
            file,
            path: path.to_path_buf(),
        }))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        fs::exists(path).map_err(|cause| Error::io("look for", path, cause))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let failed = |cause| Error::io("list", dir, cause);
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            names.push(name.into_string().map_err(|_| {
                Error::invalid(format!("{} holds a name that is not UTF-8", dir.display()))
            })?);
        }
        names.sort_unstable();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|cause| Error::io("rename", from, cause))
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|cause| Error::io("remove", path, cause))
    }

    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).map_err(|cause| Error::io("create", dir, cause))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        fs::remove_dir(dir).map_err(|cause| Error::io("remove", dir, cause))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        fs::File::open(dir)
            .and_then(|file| file.sync_all())
            .map_err(|cause| Error::io("sync directory", dir, cause))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        fs::hard_link(from, to).map_err(|cause| Error::io("link", from, cause))
    }

    fn names_of(&self, path: &Path) -> Result<u64> {
        let metadata = fs::metadata(path).map_err(|cause| Error::io("inspect", path, cause))?;
        Ok(metadata.nlink())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|cause| Error::io("open", path, cause))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock { file })),
            Err(TryLockError::WouldBlock) => Err(Error::invalid(format!(
                "{} is locked by another process, stop it first",
                path.display()
            ))),
            Err(TryLockError::Error(cause)) => Err(Error::io("lock", path, cause)),
        }
    }
}

impl File for OsFile {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(filled as u64);
            match self.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(cause) if cause.kind() == IoErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::io("read", &self.path, cause)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|cause| Error::io("write", &self.path, cause))
    }

    fn len(&self) -> Result<u64> {
        let metadata = self
            .file
            .metadata()
            .map_err(|cause| Error::io("inspect", &self.path, cause))?;
        Ok(metadata.len())
    }

    fn allocate(&self, len: u64) -> Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            // Some file systems cannot reserve; then a full disk shows at the write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) if self.len()? < len => self.set_len(len),
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(Error::io(
                "reserve space for",
                &self.path,
                IoError::from(errno),
            )),
        }
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|cause| Error::io("resize", &self.path, cause))
    }

    fn sync_data(&self) -> Result<()> {
        self.file
            .sync_data()
            .map_err(|cause| Error::io("sync", &self.path, cause))
    }
}
