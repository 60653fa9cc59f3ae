//! Segment files: names, headers, and verified reading of their pages.
//!
//! The header is written twice, in pages 0 and 1, so that one damaged copy of a segment in use is
//! told from a segment whose creation was cut short.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::page::{self, Page, PageContext};
use crate::encoding::{Reader, checksum};
use crate::error::{Error, Result};
use crate::limits::{PAGE_BYTES, SEGMENT_BYTES_MAX};
use crate::vfs::File;

/// Page of the first commit; the pages before it hold the two copies of the header.
pub(super) const FIRST_PAGE: u32 = 2;

const MAGIC: &[u8; 8] = b"lsm log\n";
const VERSION: u32 = 1;
/// Segments and commits are counted up to here, which leaves room to count on.
const NUMBER_MAX: u64 = u64::MAX / 2;
const CRC_AT: usize = PAGE_BYTES - 4;

/// Where the segment before this one ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    /// Number of that segment, 0 if there was none.
    pub(super) segment: u64,
    /// Page after its last commit.
    pub(super) end_page: u32,
    /// Its last commit.
    pub(super) last_commit: u64,
    /// Its salt, which ties the two together.
    pub(super) salt: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) context: PageContext,
    pub(super) segment_bytes: u64,
    pub(super) first_commit: u64,
    pub(super) previous: Previous,
}

/// What the two copies of a header say.
#[derive(Clone, Copy, Debug)]
pub(super) enum HeaderState {
    Whole(Header),
    /// Only the other copy than this one is good.
    Damaged {
        copy: u32,
        good: Header,
    },
    Missing,
}

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: Header,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn File>,
    /// Whole pages in the file when it was opened.
    file_pages: u32,
}

/// File name of a segment; names sort like numbers.
pub(super) fn file_name(id: u64) -> String {
    format!("{id:020}.log")
}

/// The number in a segment's file name.
pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let id = digits.parse().ok()?;
    ((1..=NUMBER_MAX).contains(&id) && file_name(id) == name).then_some(id)
}

fn whole_pages(bytes: u64) -> u32 {
    let pages = bytes.checked_div(PAGE_BYTES as u64).unwrap_or(0);
    u32::try_from(pages).unwrap_or(u32::MAX)
}

/// File offset of a page, in bytes.
pub(super) fn page_offset(page: u32) -> u64 {
    u64::from(page).saturating_mul(PAGE_BYTES as u64)
}

impl Header {
    /// Appends both copies to `out`.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for copy in 0..FIRST_PAGE {
            let start = out.len();
            out.extend(MAGIC);
            out.extend(VERSION.to_le_bytes());
            out.extend(0_u32.to_le_bytes());
            out.extend(self.context.segment.to_le_bytes());
            out.extend(self.context.salt.to_le_bytes());
            out.extend(self.segment_bytes.to_le_bytes());
            out.extend(self.first_commit.to_le_bytes());
            out.extend(self.previous.segment.to_le_bytes());
            out.extend(self.previous.end_page.to_le_bytes());
            out.extend(copy.to_le_bytes());
            out.extend(self.previous.last_commit.to_le_bytes());
            out.extend(self.previous.salt.to_le_bytes());
            out.resize(start.saturating_add(CRC_AT), 0);
            let crc = checksum::crc32(0, out.get(start..).unwrap_or_default());
            out.extend(crc.to_le_bytes());
        }
    }

    /// One copy; `Ok(None)` if the bytes are not one, an error if it is from another version.
    fn decode(bytes: &[u8], copy: u32, path: &Path) -> Result<Option<Self>> {
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            return Ok(None);
        };
        let is_whole = body.len() == CRC_AT && body.starts_with(MAGIC);
        if !is_whole || checksum::crc32(0, body) != u32::from_le_bytes(*crc) {
            return Ok(None);
        }
        let mut reader = Reader::new(body.get(MAGIC.len()..).unwrap_or_default());
        let at = page_offset(copy);
        Self::decode_fields(&mut reader, copy).map_err(|error| error.in_file(path, at))
    }

    fn decode_fields(
        reader: &mut Reader<'_>,
        copy: u32,
    ) -> std::result::Result<Option<Self>, crate::encoding::DecodeError> {
        let version = reader.u32("a version")?;
        let flags = reader.u32("feature flags")?;
        if version != VERSION || flags != 0 {
            return Err(reader.error("log format version 1, written by this release"));
        }
        let segment = reader.u64("a segment number")?;
        let salt = reader.u64("a salt")?;
        let segment_bytes = reader.u64("a size")?;
        let first_commit = reader.u64("a commit number")?;
        let previous_segment = reader.u64("a segment number")?;
        let end_page = reader.u32("a page number")?;
        let found_copy = reader.u32("a copy number")?;
        let last_commit = reader.u64("a commit number")?;
        let previous_salt = reader.u64("a salt")?;
        let is_countable = first_commit <= NUMBER_MAX && segment <= NUMBER_MAX;
        if !is_countable || segment_bytes > SEGMENT_BYTES_MAX || previous_segment >= segment {
            return Err(reader.error("a header with possible numbers"));
        }
        let previous = Previous {
            segment: previous_segment,
            end_page,
            last_commit,
            salt: previous_salt,
        };
        let context = PageContext { salt, segment };
        let header = Self {
            context,
            segment_bytes,
            first_commit,
            previous,
        };
        Ok((found_copy == copy).then_some(header))
    }

    /// Reads the header of segment `id`.
    pub(super) fn read(file: &dyn File, path: &Path, id: u64) -> Result<HeaderState> {
        let mut copies = [None; FIRST_PAGE as usize];
        for (copy, found) in (0_u32..).zip(&mut copies) {
            let mut bytes = vec![0; PAGE_BYTES];
            if file.read_at(&mut bytes, page_offset(copy))? == PAGE_BYTES {
                // A recycled file holds the header of its earlier life until the first write.
                *found =
                    Self::decode(&bytes, copy, path)?.filter(|header| header.context.segment == id);
            }
        }
        Ok(match copies {
            [Some(one), Some(other)] if one == other => HeaderState::Whole(one),
            [Some(_), Some(_)] => {
                return Err(Error::corrupt(
                    path,
                    0,
                    "two equal headers",
                    "two different ones",
                ));
            }
            [Some(good), None] => HeaderState::Damaged { copy: 1, good },
            [None, Some(good)] => HeaderState::Damaged { copy: 0, good },
            [None, None] => HeaderState::Missing,
        })
    }
}

impl Segment {
    pub(super) fn new(header: Header, path: PathBuf, file: Arc<dyn File>) -> Result<Self> {
        let file_pages = whole_pages(file.len()?);
        Ok(Self {
            header,
            path,
            file,
            file_pages,
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.header.context.segment
    }

    /// Pages that the segment has room for.
    pub(super) fn pages(&self) -> u32 {
        whole_pages(self.header.segment_bytes)
    }

    /// Pages that can be read: those in the file, and no more than the header says.
    pub(super) fn readable_pages(&self) -> u32 {
        self.pages().min(self.file_pages)
    }

    /// An error about one of its pages.
    pub(super) fn corrupt(
        &self,
        page: u32,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::corrupt(&self.path, page_offset(page), expected, found)
    }
}

/// Reads pages of a segment through a buffer of some pages.
#[derive(Debug)]
pub(super) struct PageReader<'a> {
    segment: &'a Segment,
    chunk_pages: u32,
    chunk: Vec<u8>,
    chunk_start: u32,
    /// The page of the chunk whose checksum was found right last: it holds many records.
    verified: Option<u32>,
}

impl<'a> PageReader<'a> {
    pub(super) fn new(segment: &'a Segment, chunk_pages: u32) -> Self {
        Self {
            segment,
            chunk_pages,
            chunk: Vec::new(),
            chunk_start: 0,
            verified: None,
        }
    }

    /// The page `number` if its checksum is right; `None` if not, or beyond the end of the file.
    pub(super) fn page(&mut self, number: u32) -> Result<Option<Page<'_>>> {
        if number >= self.segment.readable_pages() {
            return Ok(None);
        }
        if self.bytes(number).is_none() {
            self.fill(number)?;
        }
        if self.verified != Some(number) {
            let seed = self.segment.header.context.seed(number);
            let bytes = self.bytes(number);
            let is_whole = bytes.is_some_and(|bytes| page::decode(bytes, seed).is_some());
            self.verified = is_whole.then_some(number);
        }
        let bytes = self.verified.and_then(|number| self.bytes(number));
        Ok(bytes.and_then(page::decode_verified))
    }

    fn bytes(&self, number: u32) -> Option<&[u8]> {
        let start = page_offset(number.checked_sub(self.chunk_start)?);
        let start = usize::try_from(start).ok()?;
        self.chunk.get(start..start.checked_add(PAGE_BYTES)?)
    }

    fn fill(&mut self, number: u32) -> Result<()> {
        let pages = self
            .segment
            .readable_pages()
            .saturating_sub(number)
            .min(self.chunk_pages);
        let len = usize::try_from(page_offset(pages)).unwrap_or(usize::MAX);
        self.chunk_start = number;
        self.verified = None;
        self.chunk.resize(len, 0);
        let found = self
            .segment
            .file
            .read_at(&mut self.chunk, page_offset(number))?;
        self.chunk.truncate(found);
        Ok(())
    }
}
