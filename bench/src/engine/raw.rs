//! The disk itself: what one writer could reach if an engine cost nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

const PAGE_BYTES: usize = 4096;
const FILE_PAGES: u64 = 16 * 1024;

/// A file that is allocated and written already, so that a sync need not write down where it lies.
#[derive(Debug)]
pub(crate) struct RawDisk {
    file: File,
    next: u64,
    page: Vec<u8>,
}

impl RawDisk {
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        let file = File::create_new(dir.join("raw"))?;
        let page = vec![0xA5; PAGE_BYTES];
        for at in 0..FILE_PAGES {
            file.write_all_at(&page, at * PAGE_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(Self {
            file,
            next: 0,
            page,
        })
    }

    /// Writes the next page, one `pwrite`, and syncs it, one `fdatasync`.
    pub(crate) fn write(&mut self) -> Result<()> {
        let at = self.next % FILE_PAGES;
        self.next += 1;
        self.page[..8].copy_from_slice(&self.next.to_le_bytes());
        self.file.write_all_at(&self.page, at * PAGE_BYTES as u64)?;
        Ok(self.file.sync_data()?)
    }
}
