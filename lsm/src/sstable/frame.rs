//! Frames: the envelope of every block and section.
//!
//! ```text
//! xxh3 u64 | kind u8 | codec u8 | reserved u16 = 0 | raw length u32 | stored length u32 | payload
//! ```
//!
//! The checksum covers everything after itself and is seeded with file identity and offset.
#![deny(clippy::indexing_slicing)]

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, DCtx, get_error_name};

use super::dictionary::{Dictionary, Trained, is_worth_storing};
use super::format::{Extent, FrameKind};
use crate::budget::MemoryBudget;
use crate::encoding::checksum::xxh3;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::limits::{BLOCK_BYTES_MAX, DICTIONARY_BYTES_MAX, SECTION_BYTES_MAX};
use crate::vfs::{File, read_exact_at};

/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 20;

const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;
/// zstd with the dictionary of the file; data blocks only.
const CODEC_ZSTD_DICTIONARY: u8 = 2;

thread_local! {
    /// A decompression context is 150 KB to set up; a thread that reads blocks keeps one.
    static DECOMPRESSOR: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// Wraps payloads into frames; keeps one compression context.
pub(crate) struct FrameEncoder {
    uid: u64,
    level: i32,
    context: CCtx<'static>,
    /// Set if data blocks have a dictionary; it is loaded.
    with_dictionary: Option<CCtx<'static>>,
    /// Data blocks stay as they are while this is overrun.
    hurry: Option<Arc<MemoryBudget>>,
    /// The last compressed payload.
    scratch: Vec<u8>,
}

/// What all frames of a file have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameFile<'a> {
    /// Name, for errors.
    pub(crate) path: &'a Path,
    /// Identity, which seeds the checksums.
    pub(crate) uid: u64,
    /// Dictionary of the data blocks.
    pub(crate) dictionary: Option<&'a Dictionary>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameEncoder")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl FrameEncoder {
    /// An encoder for the file `uid` at zstd level `level`; data blocks use `dictionary`, and are not
    /// compressed while memtables overrun the budget `hurry`.
    pub(crate) fn new(
        uid: u64,
        level: i32,
        dictionary: Option<&Trained>,
        hurry: Option<Arc<MemoryBudget>>,
    ) -> Result<Self> {
        let no_memory = || Error::invalid("no memory to compress SSTables with");
        let context = CCtx::try_create().ok_or_else(no_memory)?;
        let with_dictionary = dictionary
            .map(|it| it.context(level).ok_or_else(no_memory))
            .transpose()?;
        Ok(Self {
            uid,
            level,
            context,
            with_dictionary,
            hurry,
            scratch: Vec::new(),
        })
    }

    fn is_in_a_hurry(&self) -> bool {
        self.hurry.as_ref().is_some_and(|it| it.is_overrun())
    }

    /// Compresses into the scratch buffer and returns the codec.
    fn compress(&mut self, kind: FrameKind, payload: &[u8]) -> u8 {
        self.scratch.clear();
        self.scratch
            .reserve(zstd::zstd_safe::compress_bound(payload.len()));
        let is_in_a_hurry = self.is_in_a_hurry();
        let (codec, outcome) = match (kind, &mut self.with_dictionary) {
            (FrameKind::Filter | FrameKind::Dictionary, _) => return CODEC_NONE,
            (FrameKind::Data, _) if is_in_a_hurry => return CODEC_NONE,
            (FrameKind::Data, Some(context)) => (
                CODEC_ZSTD_DICTIONARY,
                context.compress2(&mut self.scratch, payload),
            ),
            _ => (
                CODEC_ZSTD,
                self.context
                    .compress(&mut self.scratch, payload, self.level),
            ),
        };
        match outcome {
            Ok(len) if is_worth_storing(len, payload.len()) => codec,
            _ => CODEC_NONE,
        }
    }

    /// Appends the frame of `payload` to `out`; the frame begins at `offset` of the file.
    /// Payloads that do not shrink by an eighth are stored as they are.
    pub(crate) fn append(
        &mut self,
        kind: FrameKind,
        payload: &[u8],
        offset: u64,
        out: &mut Vec<u8>,
    ) -> Result<Extent> {
        let codec = self.compress(kind, payload);
        let stored = match codec {
            CODEC_NONE => payload,
            _ => self.scratch.as_slice(),
        };
        let start = out.len();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&[kind as u8, codec, 0, 0]);
        out.extend_from_slice(&len_u32(payload.len())?.to_le_bytes());
        out.extend_from_slice(&len_u32(stored.len())?.to_le_bytes());
        out.extend_from_slice(stored);
        let sum = xxh3(self.uid ^ offset, out.get(start + 8..).unwrap_or_default());
        if let Some(place) = out.get_mut(start..start + 8) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
        Ok(Extent {
            offset,
            len: len_u32(out.len() - start)?,
        })
    }
}

fn len_u32(len: usize) -> Result<u32> {
    u32::try_from(len)
        .ok()
        .filter(|_| len <= SECTION_BYTES_MAX + FRAME_HEADER_BYTES)
        .ok_or_else(|| Error::invalid(format!("a section of {len} bytes: use smaller files")))
}

impl FrameFile<'_> {
    /// Reads and checks the frame at `extent` of `file`.
    pub(crate) fn read(&self, file: &dyn File, kind: FrameKind, extent: Extent) -> Result<Bytes> {
        read_frame(self, file, kind, extent)
    }

    /// Checks a frame that begins at `offset` and returns its payload, decompressed.
    pub(crate) fn decode(&self, frame: &Bytes, kind: FrameKind, offset: u64) -> Result<Bytes> {
        decode_frame(self, frame, kind, offset)
    }
}

fn read_frame(
    within: &FrameFile<'_>,
    file: &dyn File,
    kind: FrameKind,
    extent: Extent,
) -> Result<Bytes> {
    let limit = limit_of(kind) + FRAME_HEADER_BYTES;
    let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
    if len > limit {
        let expected = format!("a frame of at most {limit} bytes");
        return Err(Error::corrupt(
            within.path,
            extent.offset,
            expected,
            format!("{len} bytes"),
        ));
    }
    let mut frame = vec![0; len];
    read_exact_at(file, within.path, &mut frame, extent.offset)?;
    within.decode(&Bytes::from(frame), kind, extent.offset)
}

fn decode_frame(
    within: &FrameFile<'_>,
    frame: &Bytes,
    kind: FrameKind,
    offset: u64,
) -> Result<Bytes> {
    let FrameFile {
        path,
        uid,
        dictionary,
    } = *within;
    let mut reader = Reader::new(frame);
    let in_file = |error: DecodeError| error.in_file(path, offset);
    let stored_sum = reader.u64("checksum of a block").map_err(in_file)?;
    let sum = xxh3(uid ^ offset, reader.rest());
    if sum != stored_sum {
        let (expected, found) = (
            format!("checksum {stored_sum:#018x}"),
            format!("{sum:#018x}"),
        );
        return Err(Error::corrupt(path, offset, expected, found));
    }
    let (codec, raw_len) = header(&mut reader, kind).map_err(in_file)?;
    let stored = frame.slice_ref(reader.rest());
    if codec == CODEC_NONE {
        return Ok(stored);
    }
    let dictionary = match (codec, dictionary) {
        (CODEC_ZSTD_DICTIONARY, None) => {
            let expected = "a codec that needs no dictionary";
            return Err(Error::corrupt(path, offset, expected, "one that does"));
        }
        (CODEC_ZSTD_DICTIONARY, dictionary) => dictionary,
        _ => None,
    };
    decompress(&stored, raw_len, dictionary).map_err(|found| {
        let expected = format!("{raw_len} bytes compressed with zstd");
        Error::corrupt(path, offset, expected, found)
    })
}

/// Checks the header and returns codec and length of the decompressed payload.
fn header(
    reader: &mut Reader<'_>,
    kind: FrameKind,
) -> std::result::Result<(u8, usize), DecodeError> {
    if reader.u8("kind of a block")? != kind as u8 {
        return Err(reader.error("a block of another kind"));
    }
    let codec = reader.u8("codec of a block")?;
    let last = match kind {
        FrameKind::Data => CODEC_ZSTD_DICTIONARY,
        _ => CODEC_ZSTD,
    };
    if codec > last || reader.u16("reserved bytes")? != 0 {
        return Err(reader.error("a known codec"));
    }
    let raw_len = usize::try_from(reader.u32("length of a block")?).unwrap_or(usize::MAX);
    let stored_len = usize::try_from(reader.u32("stored length")?).unwrap_or(usize::MAX);
    let is_plain_len = codec != CODEC_NONE || raw_len == stored_len;
    if raw_len > limit_of(kind) || stored_len != reader.rest().len() || !is_plain_len {
        return Err(reader.error("lengths within the limits"));
    }
    Ok((codec, raw_len))
}

fn limit_of(kind: FrameKind) -> usize {
    match kind {
        FrameKind::Data | FrameKind::Index | FrameKind::Properties => BLOCK_BYTES_MAX,
        FrameKind::Dictionary => DICTIONARY_BYTES_MAX,
        FrameKind::Directory | FrameKind::Filter | FrameKind::Top => SECTION_BYTES_MAX,
    }
}

/// Decompresses exactly `raw_len` bytes, or says what was found.
fn decompress(
    stored: &[u8],
    raw_len: usize,
    dictionary: Option<&Dictionary>,
) -> std::result::Result<Bytes, String> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(DCtx::try_create().ok_or("no memory to decompress with")?),
        };
        let mut raw = Vec::with_capacity(raw_len);
        match dictionary {
            Some(it) => context.decompress_using_ddict(&mut raw, stored, it.digested()),
            None => context.decompress(&mut raw, stored),
        }
        .map_err(|code| get_error_name(code).to_owned())?;
        if raw.len() == raw_len {
            Ok(Bytes::from(raw))
        } else {
            Err(format!("{} bytes", raw.len()))
        }
    })
}
