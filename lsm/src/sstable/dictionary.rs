//! Compression dictionaries: what the blocks of one file have in common, stored once.
//!
//! A block of 16 KiB is too short for zstd to learn names, column layouts and idioms from; a
//! dictionary trained on samples of the merge that makes a sealed file gives it a head start. It
//! is stored in the file that it serves, so a file never depends on another one.
//!
//! Windows of one table resemble one another, so the dictionary of one merge is offered to the next
//! one ([`Kept`]), which trains another only if that serves its blocks clearly worse.
//!
//! # Cost
//!
//! Training takes 0.6 s for the largest dictionary; judging one that is there, a few dozen blocks.
//! It is digested for each file that is written, which takes a millisecond. Open files with the same dictionary,
//! as windows after one another have, share one digest, which pins about twice and a quarter its length: what blocks refer to
//! then stays in the processor's caches, where thirty copies of a hundred KiB would not.
#![deny(clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;
use zstd::zstd_safe::{CCtx, CParameter, DDict};

use crate::encoding::DecodeError;
use crate::limits::DICTIONARY_BYTES_MAX;

/// Bytes of samples per byte of dictionary.
const SAMPLES_PER_BYTE: usize = 32;
/// Dictionaries are not worth their keep below this, in bytes.
const DICTIONARY_BYTES_MIN: usize = 4 * 1024;
/// Largest dictionary that is made, in bytes.
const DICTIONARY_BYTES_AIM: usize = 110 * 1024;
/// One sample in so many is kept out of training to see what the dictionary is worth.
const HELD_OUT: usize = 8;
/// Bytes of samples by which a dictionary of an earlier merge is judged.
const PROBE_BYTES: usize = 768 * 1024;
/// Shortest repetition that a block refers to, in bytes, the longest that zstd knows. Shorter ones save 2 % of a
/// file for each byte less, and cost a reader a tenth to a third more: what decompression costs is one step for
/// each repetition.
const REPETITION_BYTES_MIN: u32 = 7;
/// A dictionary is used again while blocks take at most so many thousandths more of their length
/// with it than those that it was made for.
const WORSE_PER_MILLE: u64 = 30;

/// The dictionaries of the files that are open, of all engines of the process, by checksum.
static OPEN: Mutex<BTreeMap<u64, Weak<Dictionary>>> = Mutex::new(BTreeMap::new());

/// A dictionary ready for reading.
pub(crate) struct Dictionary {
    digested: DDict<'static>,
    /// What it was made of.
    bytes: Bytes,
}

/// A dictionary to write with.
pub(crate) struct Trained {
    pub(super) bytes: Bytes,
}

/// A dictionary that is offered to later merges of the same table.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    bytes: Bytes,
    level: i32,
    /// Thousandths of their length that blocks took with it when it was made.
    per_mille: u64,
}

/// What blocks take that a dictionary was not trained on, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Worth {
    raw: u64,
    plain: u64,
    with: u64,
}

/// Payloads of data blocks to train on.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    bytes: Vec<u8>,
    lens: Vec<usize>,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dictionary")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Trained {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trained")
            .field("len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

impl Dictionary {
    /// Digests the payload of a dictionary frame, or finds the digest that another open file has of the same bytes.
    pub(crate) fn open(payload: &Bytes) -> Result<Arc<Self>, DecodeError> {
        let sum = xxh3_64(payload);
        let known = OPEN.lock().get(&sum).and_then(Weak::upgrade);
        if let Some(known) = known.filter(|known| known.bytes == payload) {
            return Ok(known);
        }
        // Digested without the lock: two files that are opened at once may have a digest each.
        let opened = Arc::new(Self::decode(payload)?);
        let mut open = OPEN.lock();
        open.retain(|_, dictionary| dictionary.strong_count() > 0);
        open.insert(sum, Arc::downgrade(&opened));
        Ok(opened)
    }

    /// Digests the payload of a dictionary frame.
    pub(super) fn decode(payload: &Bytes) -> Result<Self, DecodeError> {
        let expected = "a compression dictionary";
        if payload.is_empty() || payload.len() > DICTIONARY_BYTES_MAX {
            return Err(DecodeError { at: 0, expected });
        }
        let digested = DDict::try_create(payload).ok_or(DecodeError { at: 0, expected })?;
        // A copy: the payload may be a part of something larger.
        let bytes = Bytes::copy_from_slice(payload);
        Ok(Self { digested, bytes })
    }

    /// The digested dictionary.
    pub(super) fn digested(&self) -> &DDict<'static> {
        &self.digested
    }

    /// Bytes pinned in memory for each of the files that share it.
    pub(crate) fn pinned_bytes(self: &Arc<Self>) -> usize {
        (self.digested.sizeof() + self.bytes.len()) / Arc::strong_count(self).max(1)
    }
}

impl Samples {
    /// How many bytes of samples to collect for a merge of `raw_bytes`; 0: do not train.
    pub(crate) fn wanted(raw_bytes: u64) -> usize {
        let len = dictionary_len(raw_bytes);
        if len < DICTIONARY_BYTES_MIN {
            0
        } else {
            len * SAMPLES_PER_BYTE
        }
    }

    /// Adds the payload of a block.
    pub(crate) fn push(&mut self, payload: &Bytes) {
        self.bytes.extend_from_slice(payload);
        self.lens.push(payload.len());
    }

    /// Bytes collected.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes of samples to collect to judge a dictionary.
    pub(crate) fn wanted_to_judge() -> usize {
        PROBE_BYTES
    }

    /// Trains a dictionary for `raw_bytes` of blocks like the samples, compressed at `level`.
    /// `None` if there are too few samples, or if it would not save clearly more than its own
    /// length: judged by samples that it was not trained on.
    pub(crate) fn train(&self, raw_bytes: u64, level: i32) -> Option<(Trained, Kept)> {
        let (mut training, mut lens) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let mut held_out: Vec<&[u8]> = Vec::new();
        for (number, sample) in self.iter().enumerate() {
            if number % HELD_OUT == HELD_OUT - 1 {
                held_out.push(sample);
            } else {
                training.extend_from_slice(sample);
                lens.push(sample.len());
            }
        }
        let bytes =
            zstd::dict::from_continuous(&training, &lens, dictionary_len(raw_bytes)).ok()?;
        let bytes = Bytes::from(bytes);
        let trained = Trained { bytes };
        let worth = trained.judge(held_out.into_iter(), level)?;
        let kept = Kept {
            bytes: trained.bytes.clone(),
            level,
            per_mille: worth.per_mille(),
        };
        worth
            .is_enough(trained.bytes.len(), raw_bytes)
            .then_some((trained, kept))
    }

    /// The dictionary of an earlier merge, if it serves `raw_bytes` of blocks like the samples as
    /// well as it served that, and is worth its length.
    pub(crate) fn reuse(&self, kept: &Kept, raw_bytes: u64, level: i32) -> Option<Trained> {
        let is_for_such = kept.level == level && kept.bytes.len() * 2 >= dictionary_len(raw_bytes);
        let bytes = kept.bytes.clone();
        let trained = is_for_such.then_some(Trained { bytes })?;
        let worth = trained.judge(self.iter(), level)?;
        let serves = worth.per_mille() * 1000 <= kept.per_mille * (1000 + WORSE_PER_MILLE);
        (serves && worth.is_enough(trained.bytes.len(), raw_bytes)).then_some(trained)
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        self.lens.iter().map_while(move |len| {
            let (sample, after) = rest.split_at_checked(*len)?;
            rest = after;
            Some(sample)
        })
    }
}

impl Kept {
    /// Whether it should stay when a merge made `newer`: that of a small window would serve large ones
    /// badly.
    pub(crate) fn outlasts(&self, newer: &Self) -> bool {
        self.level == newer.level && newer.bytes.len() * 2 < self.bytes.len()
    }
}

impl Trained {
    /// A context that compresses blocks with the dictionary; `None` if there is no memory for it.
    pub(super) fn context(&self, level: i32) -> Option<CCtx<'static>> {
        let mut context = CCtx::try_create()?;
        let parameters = [
            CParameter::CompressionLevel(level),
            CParameter::MinMatch(REPETITION_BYTES_MIN),
        ];
        for parameter in parameters {
            context.set_parameter(parameter).ok()?;
        }
        context.load_dictionary(&self.bytes).ok()?;
        Some(context)
    }

    /// What blocks take without it and with it; `None` if zstd fails.
    fn judge<'a>(&self, blocks: impl Iterator<Item = &'a [u8]>, level: i32) -> Option<Worth> {
        let mut context = CCtx::try_create()?;
        let mut with_dictionary = self.context(level)?;
        let mut out = Vec::new();
        let mut worth = Worth::default();
        for block in blocks {
            out.clear();
            out.reserve(zstd::zstd_safe::compress_bound(block.len()));
            let plain = context.compress(&mut out, block, level).ok()?;
            let with = with_dictionary.compress2(&mut out, block).ok()?;
            // Blocks that do not shrink enough are stored as they are, see `FrameEncoder`.
            let stored = |len: usize| {
                if is_worth_storing(len, block.len()) {
                    len
                } else {
                    block.len()
                }
            };
            worth.raw += block.len() as u64;
            worth.plain += stored(plain) as u64;
            worth.with += stored(with) as u64;
        }
        Some(worth)
    }
}

impl Worth {
    fn per_mille(self) -> u64 {
        self.with * 1000 / self.raw.max(1)
    }

    /// Whether a dictionary of `len` bytes saves at least one and a half times its length.
    fn is_enough(self, len: usize, raw_bytes: u64) -> bool {
        let saved = u128::from(self.plain.saturating_sub(self.with)) * u128::from(raw_bytes);
        let cost = u128::from(self.raw) * (len as u128 * 3 / 2);
        self.raw > 0 && saved > cost
    }
}

/// Whether `raw` bytes that compress to `len` are stored compressed: if they shrink by an eighth.
pub(super) fn is_worth_storing(len: usize, raw: usize) -> bool {
    len < raw / 8 * 7
}

/// Longer dictionaries for larger merges: at most a two hundred fifty-sixth of them.
fn dictionary_len(raw_bytes: u64) -> usize {
    usize::try_from(raw_bytes / 256)
        .unwrap_or(usize::MAX)
        .min(DICTIONARY_BYTES_AIM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_share_the_digest_of_the_same_dictionary_for_as_long_as_one_of_them_is_open() {
        let one = Bytes::from_static(b"what the blocks of one test have in common");
        let other = Bytes::from_static(b"what the blocks of another one have in common");
        let first = Dictionary::open(&one).unwrap();
        let alone = first.pinned_bytes();
        let second = Dictionary::open(&Bytes::copy_from_slice(&one)).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(second.pinned_bytes(), alone / 2);
        let third = Dictionary::open(&other).unwrap();
        assert!(!Arc::ptr_eq(&first, &third));
        let is_open = |bytes: &Bytes| OPEN.lock().contains_key(&xxh3_64(bytes));
        drop((first, second));
        let fourth = Dictionary::open(&Bytes::from_static(b"a third one")).unwrap();
        assert!(!is_open(&one) && is_open(&other));
        drop((third, fourth));
    }
}
