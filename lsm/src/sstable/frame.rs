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

use bytes::Bytes;

use super::format::{Extent, FrameKind};
use crate::encoding::checksum::xxh3;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::limits::{BLOCK_BYTES_MAX, SECTION_BYTES_MAX};
use crate::vfs::{File, read_exact_at};

/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 20;

const CODEC_NONE: u8 = 0;
const CODEC_ZSTD: u8 = 1;

thread_local! {
    /// A decompression context is 150 KB to set up; a thread that reads blocks keeps one.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        const { RefCell::new(None) };
}

/// Wraps payloads into frames; keeps one compression context.
pub(crate) struct FrameEncoder {
    uid: u64,
    compressor: zstd::bulk::Compressor<'static>,
}

impl std::fmt::Debug for FrameEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameEncoder")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

impl FrameEncoder {
    /// An encoder for the file `uid` at zstd level `level`.
    pub(crate) fn new(uid: u64, level: i32) -> Result<Self> {
        let compressor = zstd::bulk::Compressor::new(level)
            .map_err(|error| Error::io("set up compression of", Path::new("SSTables"), error))?;
        Ok(Self { uid, compressor })
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
        let compressed = match kind {
            FrameKind::Filter => None,
            _ => self.compressor.compress(payload).ok(),
        };
        let compressed = compressed.filter(|bytes| bytes.len() < payload.len() / 8 * 7);
        let (codec, stored) = match &compressed {
            Some(bytes) => (CODEC_ZSTD, bytes.as_slice()),
            None => (CODEC_NONE, payload),
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

/// Reads and checks the frame at `extent`.
pub(crate) fn read_frame(
    file: &dyn File,
    path: &Path,
    uid: u64,
    kind: FrameKind,
    extent: Extent,
) -> Result<Bytes> {
    let limit = limit_of(kind) + FRAME_HEADER_BYTES;
    let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
    if len > limit {
        let expected = format!("a frame of at most {limit} bytes");
        return Err(Error::corrupt(
            path,
            extent.offset,
            expected,
            format!("{len} bytes"),
        ));
    }
    let mut frame = vec![0; len];
    read_exact_at(file, path, &mut frame, extent.offset)?;
    decode_frame(&Bytes::from(frame), path, uid, kind, extent.offset)
}

/// Checks a frame and returns its payload, decompressed.
pub(crate) fn decode_frame(
    frame: &Bytes,
    path: &Path,
    uid: u64,
    kind: FrameKind,
    offset: u64,
) -> Result<Bytes> {
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
    decompress(&stored, raw_len).map_err(|found| {
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
    if codec > CODEC_ZSTD || reader.u16("reserved bytes")? != 0 {
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
        FrameKind::Directory | FrameKind::Filter | FrameKind::Top => SECTION_BYTES_MAX,
    }
}

/// Decompresses exactly `raw_len` bytes, or says what was found.
fn decompress(stored: &[u8], raw_len: usize) -> std::result::Result<Bytes, String> {
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?),
        };
        let raw = decompressor
            .decompress(stored, raw_len)
            .map_err(|e| e.to_string())?;
        if raw.len() == raw_len {
            Ok(Bytes::from(raw))
        } else {
            Err(format!("{} bytes", raw.len()))
        }
    })
}
