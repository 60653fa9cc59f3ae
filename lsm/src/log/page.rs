//! Pages: the unit of writing and of checking.
//!
//! A segment is a row of 4 KiB pages. A group commit is some consecutive whole pages that nothing
//! but recycling ever writes again. Every page says which commit it belongs to and which part of
//! it it is, and its checksum is seeded with where it is, so that a page from another place,
//! another segment or an earlier life of the file does not pass.
//!
//! Public for tools and fuzzers; the bytes are described in `docs/formats/log.md`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::encoding::{Reader, checksum};
use crate::limits::PAGE_BYTES;

/// Bytes before the payload of a page.
pub const PAGE_HEADER_BYTES: usize = 24;

/// Most payload bytes of a page.
pub const PAGE_PAYLOAD_BYTES: usize = PAGE_BYTES - PAGE_HEADER_BYTES;

const KIND_COMMIT: u8 = 1;
const KIND_MARK: u8 = 2;

/// What identifies a page beside its number: the segment and its salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageContext {
    /// Salt of the segment.
    pub salt: u64,
    /// Number of the segment.
    pub segment: u64,
}

impl PageContext {
    /// Seed of the checksum of page `page`.
    pub fn seed(self, page: u32) -> u32 {
        let mut bytes = [0_u8; 20];
        let (head, tail) = bytes.split_at_mut(16);
        let (salt, segment) = head.split_at_mut(8);
        salt.copy_from_slice(&self.salt.to_le_bytes());
        segment.copy_from_slice(&self.segment.to_le_bytes());
        tail.copy_from_slice(&page.to_le_bytes());
        checksum::crc32(0, &bytes)
    }
}

/// A page that passed its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page<'a> {
    /// One part of a group commit.
    Commit {
        /// Number of the commit, consecutive within a segment.
        commit: u64,
        /// Which page of the commit this is, from 0.
        part: u32,
        /// How many pages the commit has.
        parts: u32,
        /// Its piece of the record stream.
        payload: &'a [u8],
    },
    /// Proof that `commit` was synced whole, in the place where the next commit will be.
    Mark {
        /// The last commit before the mark.
        commit: u64,
        /// The segment that follows, if this one is closed; otherwise 0.
        next_segment: u64,
    },
}

/// Appends one page to `out`; `page` is taken to fit.
pub fn encode(out: &mut Vec<u8>, seed: u32, page: &Page<'_>) {
    let start = out.len();
    out.extend([0; 4]);
    match *page {
        Page::Commit {
            commit,
            part,
            parts,
            payload,
        } => {
            put_header(out, KIND_COMMIT, payload.len(), (commit, part, parts));
            out.extend_from_slice(payload);
        }
        Page::Mark {
            commit,
            next_segment,
        } => {
            put_header(out, KIND_MARK, 8, (commit, 0, 0));
            out.extend(next_segment.to_le_bytes());
        }
    }
    out.resize(start.saturating_add(PAGE_BYTES), 0);
    if let Some(page) = out.get_mut(start..) {
        seal(page, seed);
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, used: usize, (commit, part, parts): (u64, u32, u32)) {
    out.extend([kind, 0]);
    out.extend(u16::try_from(used).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(commit.to_le_bytes());
    out.extend(part.to_le_bytes());
    out.extend(parts.to_le_bytes());
}

/// Writes the checksum of a page over its first four bytes.
pub fn seal(page: &mut [u8], seed: u32) {
    if let Some((crc, body)) = page.split_first_chunk_mut::<4>() {
        *crc = checksum::crc32(seed, body).to_le_bytes();
    }
}

/// The page in `bytes`, or `None` if they are anything else than a whole page written with this
/// seed.
pub fn decode(bytes: &[u8], seed: u32) -> Option<Page<'_>> {
    if bytes.len() != PAGE_BYTES {
        return None;
    }
    let (crc, body) = bytes.split_first_chunk::<4>()?;
    if checksum::crc32(seed, body) != u32::from_le_bytes(*crc) {
        return None;
    }
    decode_body(body)
}

/// The same for a page that [`decode`] has accepted before, without its checksum.
pub fn decode_verified(bytes: &[u8]) -> Option<Page<'_>> {
    bytes.get(4..).and_then(decode_body)
}

fn decode_body(body: &[u8]) -> Option<Page<'_>> {
    let mut reader = Reader::new(body);
    let kind = reader.u8("kind").ok()?;
    let reserved = reader.u8("reserved").ok()?;
    let used = usize::from(reader.u16("used").ok()?);
    let commit = reader.u64("commit").ok()?;
    let part = reader.u32("part").ok()?;
    let parts = reader.u32("parts").ok()?;
    let payload = reader.take(used, "payload").ok()?;
    match (kind, reserved) {
        (KIND_COMMIT, 0) if part < parts => Some(Page::Commit {
            commit,
            part,
            parts,
            payload,
        }),
        (KIND_MARK, 0) => {
            let next_segment = u64::from_le_bytes(payload.try_into().ok()?);
            Some(Page::Mark {
                commit,
                next_segment,
            })
        }
        _ => None,
    }
}
