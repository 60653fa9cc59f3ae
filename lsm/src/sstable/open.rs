//! Opening an SSTable: footer, pinned sections, and what they answer without reading blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::dictionary::Dictionary;
use super::directory::{self, DirectoryEntry};
use super::filter::Filter;
use super::format::{Extent, FOOTER_BYTES, Footer, FrameKind};
use super::frame::{FRAME_HEADER_BYTES, FrameFile};
use super::index::{BlockProperties, decode_top};
use super::properties::Properties;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::vfs::{File, Vfs, read_exact_at};

/// Names opened files in block caches, which are shared by engines whose file numbers repeat.
static NEXT_CACHE_ID: AtomicU64 = AtomicU64::new(0);

/// An open SSTable.
#[derive(Debug)]
pub(crate) struct SsTable {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) cache_id: u64,
    pub(super) footer: Footer,
    pub(super) top: Vec<BlockProperties>,
    pub(super) directory: Vec<DirectoryEntry>,
    pub(super) filter: Filter,
    dictionary: Option<Arc<Dictionary>>,
    properties: Properties,
}

impl SsTable {
    /// Gives the bytes behind the first `len` back to the file system: for a file without a name, that
    /// nobody reads any more.
    pub(crate) fn cut(&self, len: u64) -> Result<()> {
        self.file.set_len(len)
    }

    /// Opens the file `path`, which must have identity `uid` and length `len` in bytes.
    pub(crate) fn open(vfs: &dyn Vfs, path: &Path, uid: u64, len: u64) -> Result<Self> {
        let file = vfs.open(path)?;
        let found = file.len()?;
        if found != len {
            let expected = format!("{len} bytes");
            return Err(Error::corrupt(
                path,
                found.min(len),
                expected,
                format!("{found} bytes"),
            ));
        }
        let table = Self::read(file, path, len)?;
        if table.footer.uid != uid {
            let found = format!("{:#018x}", table.footer.uid);
            return Err(Error::corrupt(
                path,
                len,
                format!("file identity {uid:#018x}"),
                found,
            ));
        }
        Ok(table)
    }

    /// Opens a file of which nothing is known but its length.
    pub(crate) fn read(file: Arc<dyn File>, path: &Path, len: u64) -> Result<Self> {
        let footer_bytes = FOOTER_BYTES as u64;
        let Some(offset) = len.checked_sub(footer_bytes) else {
            return Err(Error::corrupt(
                path,
                0,
                "an SSTable",
                format!("{len} bytes"),
            ));
        };
        let mut bytes = [0; FOOTER_BYTES];
        read_exact_at(file.as_ref(), path, &mut bytes, offset)?;
        let footer = Footer::decode(&bytes, path, offset)?;
        let frames = FrameFile {
            path,
            uid: footer.uid,
            dictionary: None,
        };
        let section = |kind: FrameKind, extent: Extent| {
            let payload = frames.read(file.as_ref(), kind, extent)?;
            let in_file = move |error: DecodeError| {
                error.in_file(path, extent.offset + FRAME_HEADER_BYTES as u64)
            };
            Ok::<_, Error>((payload, in_file))
        };
        let (payload, in_file) = section(FrameKind::Properties, footer.properties)?;
        let properties = decode_properties(&payload, footer.version).map_err(in_file)?;
        let (payload, in_file) = section(FrameKind::Directory, footer.directory)?;
        let directory = directory::decode(&payload, properties.blocks).map_err(in_file)?;
        let (payload, in_file) = section(FrameKind::Filter, footer.filter)?;
        let filter = Filter::decode(footer.filter_kind, payload).map_err(in_file)?;
        let (payload, in_file) = section(FrameKind::Top, footer.top)?;
        let top = decode_top(&payload, footer.version).map_err(in_file)?;
        let dictionary = match footer.dictionary() {
            Some(extent) => {
                let (payload, in_file) = section(FrameKind::Dictionary, extent)?;
                Some(Dictionary::open(&payload).map_err(in_file)?)
            }
            None => None,
        };
        let cache_id = NEXT_CACHE_ID.fetch_add(1, Ordering::Relaxed);
        let path = path.to_path_buf();
        Ok(Self {
            file,
            path,
            cache_id,
            footer,
            top,
            directory,
            filter,
            dictionary,
            properties,
        })
    }

    /// What its frames have in common.
    pub(super) fn frames(&self) -> FrameFile<'_> {
        FrameFile {
            path: &self.path,
            uid: self.footer.uid,
            dictionary: self.dictionary.as_deref(),
        }
    }

    /// Statistics of the file.
    pub(crate) fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The file name with its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the partition may be here; reads nothing.
    pub(crate) fn may_contain(&self, token: u64, key: &[u8]) -> bool {
        self.properties.spans(token, key) && self.filter.may_contain(key)
    }

    /// Whether any partition of the token may be here; reads nothing.
    pub(crate) fn may_contain_token(&self, token: u64) -> bool {
        (self.properties.first_token..=self.properties.last_token).contains(&token)
            && self.filter.may_contain_token(token)
    }

    /// About how many blocks hold partitions of the token whose keys begin with `placement`:
    /// exact for partitions of several blocks and for a file that holds nothing else; reads nothing.
    pub(crate) fn blocks_under(&self, token: u64, placement: &[u8]) -> u32 {
        let it = &self.properties;
        let is_under =
            |token_here: u64, key: &[u8]| token_here == token && key.starts_with(placement);
        if is_under(it.first_token, &it.first_key) && is_under(it.last_token, &it.last_key) {
            return it.blocks;
        }
        let from = self.directory.partition_point(|entry| entry.token < token);
        let entries = self.directory.iter().skip(from);
        entries
            .take_while(|entry| entry.token == token)
            .filter(|entry| entry.key.starts_with(placement))
            .map(|entry| entry.last_block - entry.first_block)
            .fold(0, u32::saturating_add)
    }

    /// Bytes pinned in memory.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.filter.len()
            + self.top.len() * size_of::<BlockProperties>()
            + self.directory.len() * size_of::<DirectoryEntry>()
            + self.dictionary.as_ref().map_or(0, Dictionary::pinned_bytes)
    }
}

fn decode_properties(
    payload: &Bytes,
    version: u32,
) -> std::result::Result<Properties, DecodeError> {
    let mut reader = Reader::new(payload);
    let properties = Properties::decode(payload, &mut reader, version)?;
    if reader.is_empty() {
        Ok(properties)
    } else {
        Err(reader.error("the end of the properties"))
    }
}
