//! Frozen values of the SSTable format, and the footer.
#![deny(clippy::indexing_slicing)]

use std::path::Path;

use super::filter::FilterKind;
use crate::encoding::checksum::xxh3;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::sstable::Properties;

/// First bytes of the footer.
pub(crate) const MAGIC: [u8; 8] = *b"chdb-sst";
/// Version that this build writes; older ones stay readable.
pub(crate) const VERSION: u32 = 5;
/// The first version whose statistics name a last window; only files of merged windows have it.
pub(crate) const VERSION_MERGED: u32 = 5;

/// The version that a file is written as: what only a file of many windows needs does not keep older builds
/// from reading the others.
pub(crate) fn version_of(properties: &Properties) -> u32 {
    match properties {
        merged if merged.is_merged() => VERSION_MERGED,
        mixed if mixed.has_many_windows() => 4,
        _ => 3,
    }
}
/// Some blocks need the dictionary at the start of the file.
pub(crate) const FEATURE_DICTIONARY: u32 = 1;
/// The filter is a binary fuse filter, not Bloom lines.
pub(crate) const FEATURE_FUSE: u32 = 2;
/// Features without which a file cannot be read.
pub(crate) const FEATURES_KNOWN: u32 = FEATURE_DICTIONARY | FEATURE_FUSE;
/// Length of the footer, in bytes.
pub(crate) const FOOTER_BYTES: usize = 96;
/// Index entries per index block.
pub(crate) const INDEX_ENTRIES: usize = 64;

/// What a frame holds. Stored as one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Rows.
    Data = 1,
    /// Entries of the block index.
    Index = 2,
    /// Partitions that span several blocks.
    Directory = 3,
    /// Filter over partition keys and tokens.
    Filter = 4,
    /// Statistics of the file.
    Properties = 5,
    /// First keys of the index blocks.
    Top = 6,
    /// Compression dictionary.
    Dictionary = 7,
}

/// Where a frame is in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First byte.
    pub(crate) offset: u64,
    /// Length with header, in bytes.
    pub(crate) len: u32,
}

impl Extent {
    /// First byte after it.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// The last bytes of a file: where everything else is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Version of the format that the file was written in.
    pub(crate) version: u32,
    /// Identity of the file; seeds all checksums.
    pub(crate) uid: u64,
    /// First byte of the first index block, which ends the data blocks.
    pub(crate) index_offset: u64,
    /// Directory of large partitions.
    pub(crate) directory: Extent,
    /// Partition filter.
    pub(crate) filter: Extent,
    /// How the filter is stored.
    pub(crate) filter_kind: FilterKind,
    /// Properties.
    pub(crate) properties: Extent,
    /// Top index.
    pub(crate) top: Extent,
    /// Length of the dictionary frame, with which the file then begins; 0 = it has none.
    pub(crate) dictionary_len: u32,
}

impl Footer {
    /// The bytes of the footer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.features().to_le_bytes());
        // Compatible features: none yet.
        out.extend_from_slice(&0_u32.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        out.extend_from_slice(&self.index_offset.to_le_bytes());
        for extent in [self.directory, self.filter, self.properties, self.top] {
            out.extend_from_slice(&extent.offset.to_le_bytes());
            out.extend_from_slice(&extent.len.to_le_bytes());
        }
        out.extend_from_slice(&self.dictionary_len.to_le_bytes());
        let sum = xxh3(0, &out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Decodes and checks the footer of `file`, which begins at `offset`.
    pub(crate) fn decode(bytes: &[u8], file: &Path, offset: u64) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        let (footer, features) =
            Self::fields(&mut reader, bytes).map_err(|error| error.in_file(file, offset))?;
        let version = footer.version;
        if version > VERSION {
            return Err(Error::invalid(format!(
                "{} has format version {version}, this build reads up to {VERSION}: upgrade",
                file.display()
            )));
        }
        if features & !FEATURES_KNOWN != 0 {
            return Err(Error::invalid(format!(
                "{} needs features {features:#x} that this build lacks: upgrade",
                file.display()
            )));
        }
        if features != footer.features() {
            let expected = "features that fit the dictionary";
            return Err(Error::corrupt(file, offset, expected, "others"));
        }
        let ends = [
            (footer.directory.end(), footer.filter.offset),
            (footer.filter.end(), footer.properties.offset),
            (footer.properties.end(), footer.top.offset),
            (footer.top.end(), offset),
        ];
        let is_in_order = u64::from(footer.dictionary_len) <= footer.index_offset
            && footer.index_offset <= footer.directory.offset;
        if !is_in_order || ends.iter().any(|(a, b)| a != b) {
            let expected = "sections that follow one another";
            return Err(Error::corrupt(file, offset, expected, "gaps or overlaps"));
        }
        Ok(footer)
    }

    /// Where the dictionary is, if the file has one.
    pub(crate) fn dictionary(&self) -> Option<Extent> {
        (self.dictionary_len > 0).then_some(Extent {
            offset: 0,
            len: self.dictionary_len,
        })
    }

    fn features(&self) -> u32 {
        let dictionary = if self.dictionary_len > 0 {
            FEATURE_DICTIONARY
        } else {
            0
        };
        let filter = match self.filter_kind {
            FilterKind::Lines => 0,
            FilterKind::Fuse => FEATURE_FUSE,
        };
        dictionary | filter
    }

    fn fields(
        reader: &mut Reader<'_>,
        bytes: &[u8],
    ) -> std::result::Result<(Self, u32), DecodeError> {
        if reader.array::<8>("SSTable footer")? != MAGIC {
            return Err(DecodeError {
                at: 0,
                expected: "the magic of an SSTable",
            });
        }
        let version = reader.u32("format version")?;
        let features = reader.u32("incompatible features")?;
        reader.u32("compatible features")?;
        let uid = reader.u64("file identity")?;
        let index_offset = reader.u64("index offset")?;
        let mut extents = [Extent::default(); 4];
        for extent in &mut extents {
            extent.offset = reader.u64("section offset")?;
            extent.len = reader.u32("section length")?;
        }
        let dictionary_len = reader.u32("dictionary length")?;
        let covered = bytes.get(..reader.position()).unwrap_or_default();
        if reader.u64("footer checksum")? != xxh3(0, covered) {
            return Err(DecodeError {
                at: 0,
                expected: "the checksum of the footer",
            });
        }
        let [directory, filter, properties, top] = extents;
        let filter_kind = if features & FEATURE_FUSE == 0 {
            FilterKind::Lines
        } else {
            FilterKind::Fuse
        };
        let footer = Self {
            version,
            uid,
            index_offset,
            directory,
            filter,
            filter_kind,
            properties,
            top,
            dictionary_len,
        };
        Ok((footer, features))
    }
}
