//! The edit log: records with checksums of header and payload, and how a torn end is told from
//! damage.
//!
//! ```text
//! c3 3c | length u32 | raw length u32 | sequence u32 | crc32 u32 | a5 | payload | crc32 u32 | a5
//! ```
//!
//! The payload is an edit compressed with zstd, so that no whole sector of it is zeros. A power
//! failure during an append leaves out whole sectors: they are missing or read as zeros. No
//! single damaged bit looks like that, because every part of a record that a sector boundary cuts
//! off contains one of the marker bytes or is a full sector of compressed data.
#![deny(clippy::indexing_slicing)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::current;
use super::edit::Edit;
use super::names::manifest_name;
use crate::encoding::checksum::crc32;
use crate::encoding::{DecodeError, Reader};
use crate::error::{Error, Result};
use crate::limits::EDIT_BYTES_MAX;
use crate::vfs::{File, Vfs, read_exact_at};

const START: [u8; 2] = [0xc3, 0x3c];
const MARK: u8 = 0xa5;
const HEADER_BYTES: usize = 19;
const TRAILER_BYTES: usize = 5;
const SECTOR_BYTES: usize = 512;
/// A longer manifest is replaced by one edit that says the same.
const ROLL_BYTES: u64 = 1024 * 1024;
/// Longest manifest that is read, in bytes; they are rolled long before.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// The edit log that is being appended to.
#[derive(Debug)]
pub(crate) struct Manifest {
    dir: PathBuf,
    number: u64,
    file: Arc<dyn File>,
    len: u64,
    sequence: u32,
    failure: Option<Error>,
}

/// One record, as replay sees it.
struct Record {
    edit: Edit,
    len: usize,
}

impl Manifest {
    /// The edits of the current manifest and its number, or `None` in a directory without engine.
    pub(crate) fn replay(vfs: &dyn Vfs, dir: &Path) -> Result<Option<(u64, Vec<Edit>)>> {
        let Some(number) = current::read(vfs, dir)? else {
            return Ok(None);
        };
        let path = dir.join(manifest_name(number));
        let file = vfs.open(&path)?;
        let len = file.len()?;
        if len > MANIFEST_BYTES_MAX {
            return Err(Error::corrupt(&path, len, "a manifest below 1 GiB", "more"));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        read_exact_at(file.as_ref(), &path, &mut bytes, 0)?;
        Ok(Some((number, decode(&path, number, &Bytes::from(bytes))?)))
    }

    /// Starts manifest `number` with one edit that holds the whole state, and makes it current.
    pub(crate) fn create(vfs: &dyn Vfs, dir: &Path, number: u64, state: &Edit) -> Result<Self> {
        let file = vfs.create(&dir.join(manifest_name(number)))?;
        let mut manifest = Self {
            dir: dir.to_path_buf(),
            number,
            file,
            len: 0,
            sequence: 0,
            failure: None,
        };
        manifest.append(state)?;
        vfs.sync_dir(dir)?;
        current::write(vfs, dir, number)?;
        Ok(manifest)
    }

    /// Appends an edit; durable when it returns. After a failure nothing can be appended any
    /// more: what is on disk is not known.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<()> {
        if let Some(error) = &self.failure {
            return Err(error.context("the manifest failed before: open the engine again"));
        }
        let record = encode(edit, self.number, self.sequence)?;
        let written = self
            .file
            .write_at(&record, self.len)
            .and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            self.failure = Some(error.clone());
            return Err(error);
        }
        self.len += record.len() as u64;
        self.sequence = self.sequence.wrapping_add(1);
        Ok(())
    }

    /// Replaces a manifest that has become long by a new one with one edit. Returns whether it did.
    pub(crate) fn roll(&mut self, vfs: &dyn Vfs, state: &Edit) -> Result<bool> {
        if self.len < ROLL_BYTES {
            return Ok(false);
        }
        let old = self.dir.join(manifest_name(self.number));
        *self = Self::create(vfs, &self.dir, self.number + 1, state)?;
        vfs.remove(&old)?;
        Ok(true)
    }
}

fn seed(number: u64, sequence: u32) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]) ^ sequence.rotate_left(16)
}

fn encode(edit: &Edit, number: u64, sequence: u32) -> Result<Vec<u8>> {
    let raw = edit.encode();
    let payload = zstd::bulk::compress(&raw, 1)
        .map_err(|error| Error::io("compress", Path::new("manifest"), error))?;
    let len_u32 = |len: usize| {
        u32::try_from(len)
            .ok()
            .filter(|_| len <= EDIT_BYTES_MAX)
            .ok_or_else(|| Error::invalid(format!("a manifest edit of {len} bytes: too large")))
    };
    let mut out = Vec::with_capacity(HEADER_BYTES + payload.len() + TRAILER_BYTES);
    out.extend_from_slice(&START);
    out.extend_from_slice(&len_u32(payload.len())?.to_le_bytes());
    out.extend_from_slice(&len_u32(raw.len())?.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    let sum = crc32(seed(number, sequence), &out);
    out.extend_from_slice(&sum.to_le_bytes());
    out.push(MARK);
    out.extend_from_slice(&payload);
    let sum = crc32(seed(number, sequence), &payload);
    out.extend_from_slice(&sum.to_le_bytes());
    out.push(MARK);
    Ok(out)
}

/// Decodes all edits of manifest `number`.
pub(crate) fn decode(path: &Path, number: u64, bytes: &Bytes) -> Result<Vec<Edit>> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let sequence = u32::try_from(edits.len()).unwrap_or(u32::MAX);
        let rest = bytes.slice(at..);
        match decode_record(&rest, number, sequence) {
            Ok(record) => {
                at += record.len;
                edits.push(record.edit);
            }
            // The first edit was synced before CURRENT named the file: it cannot be torn.
            Err((_, len)) if !edits.is_empty() && is_torn(bytes, at, len) => break,
            Err((error, _)) => return Err(error.in_file(path, at as u64)),
        }
    }
    if edits.is_empty() {
        return Err(Error::corrupt(
            path,
            0,
            "at least one edit",
            "an empty manifest",
        ));
    }
    Ok(edits)
}

/// Makes the checksums of the records fit, for fuzzing: as far as their lengths lead.
pub(crate) fn reseal(bytes: &mut [u8], number: u64) {
    let mut rest = bytes;
    for sequence in 0.. {
        let seed = seed(number, sequence);
        let Some((header, body)) = rest.split_first_chunk_mut::<HEADER_BYTES>() else {
            return;
        };
        let [_, _, a, b, c, d, ..] = *header;
        let len = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let (covered, check) = header.split_at_mut(HEADER_BYTES - TRAILER_BYTES);
        let [a, b, c, d] = crc32(seed, covered).to_le_bytes();
        check.copy_from_slice(&[a, b, c, d, MARK]);
        let Some((payload, behind)) = body.split_at_mut_checked(len) else {
            return;
        };
        let Some((check, next)) = behind.split_first_chunk_mut::<TRAILER_BYTES>() else {
            return;
        };
        let [a, b, c, d] = crc32(seed, payload).to_le_bytes();
        *check = [a, b, c, d, MARK];
        rest = next;
    }
}

/// Decodes the record at the front, or says what is wrong and how long the record claims to be.
fn decode_record(
    bytes: &Bytes,
    number: u64,
    sequence: u32,
) -> std::result::Result<Record, (DecodeError, usize)> {
    let mut reader = Reader::new(bytes);
    let (len, raw_len) = decode_header(&mut reader, bytes, number, sequence)
        .map_err(|error| (error, HEADER_BYTES))?;
    let total = HEADER_BYTES + len + TRAILER_BYTES;
    let claims = |error: DecodeError| (error, total);
    let payload = reader.take(len, "a whole edit").map_err(claims)?;
    let sum = reader.u32("checksum of an edit").map_err(claims)?;
    let mark = reader.u8("end of an edit").map_err(claims)?;
    if sum != crc32(seed(number, sequence), payload) || mark != MARK {
        return Err(claims(DecodeError {
            at: HEADER_BYTES,
            expected: "the checksum of the edit",
        }));
    }
    let raw = zstd::bulk::decompress(payload, raw_len)
        .ok()
        .filter(|raw| raw.len() == raw_len);
    let expected = "an edit compressed with zstd";
    let raw = raw.ok_or_else(|| {
        claims(DecodeError {
            at: HEADER_BYTES,
            expected,
        })
    })?;
    let edit = Edit::decode(&Bytes::from(raw)).map_err(claims)?;
    Ok(Record { edit, len: total })
}

fn decode_header(
    reader: &mut Reader<'_>,
    bytes: &[u8],
    number: u64,
    sequence: u32,
) -> std::result::Result<(usize, usize), DecodeError> {
    if reader.array::<2>("start of an edit")? != START {
        return Err(DecodeError {
            at: 0,
            expected: "the start of an edit",
        });
    }
    let len = usize::try_from(reader.u32("length of an edit")?).unwrap_or(usize::MAX);
    let raw_len = usize::try_from(reader.u32("raw length")?).unwrap_or(usize::MAX);
    let found = reader.u32("sequence of an edit")?;
    let covered = bytes.get(..reader.position()).unwrap_or_default();
    let sum = reader.u32("checksum of a header")?;
    let mark = reader.u8("end of a header")?;
    let is_sound = sum == crc32(seed(number, sequence), covered) && mark == MARK;
    if !is_sound || found != sequence || len.max(raw_len) > EDIT_BYTES_MAX {
        return Err(DecodeError {
            at: 0,
            expected: "the header of an edit",
        });
    }
    Ok((len, raw_len))
}

/// Whether the record at `at` of `len` bytes looks like an append that a power failure cut: it
/// ends behind the file, or one of the sectors that it touches never arrived.
fn is_torn(bytes: &[u8], at: usize, len: usize) -> bool {
    let end = at.saturating_add(len);
    if end > bytes.len() {
        return true;
    }
    let is_header_only = len == HEADER_BYTES;
    if !is_header_only
        && bytes
            .get(end..)
            .is_some_and(|rest| rest.iter().any(|byte| *byte != 0))
    {
        return false;
    }
    let mut from = at;
    while from < end {
        let to = (from / SECTOR_BYTES + 1)
            .saturating_mul(SECTOR_BYTES)
            .min(end);
        if bytes
            .get(from..to)
            .is_some_and(|part| part.iter().all(|byte| *byte == 0))
        {
            return true;
        }
        from = to;
    }
    false
}
