//! Compression dictionaries: what the blocks of one file have in common, stored once.
//!
//! A block of 16 KiB is too short for zstd to learn names, column layouts and idioms from; a
//! dictionary trained on samples of the merge that makes a sealed file gives it a head start. It
//! is stored in the file that it serves, so a file never depends on another one.
//!
//! # Cost
//!
//! Training reads and compresses a few megabytes per merge. Both sides are digested once: for
//! writing per merge, for reading per open file, which pins about a quarter more than its length.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;
use zstd::zstd_safe::{CCtx, CDict, DDict};

use crate::encoding::DecodeError;
use crate::limits::DICTIONARY_BYTES_MAX;

/// Bytes of samples per byte of dictionary.
const SAMPLES_PER_BYTE: usize = 64;
/// Dictionaries are not worth their keep below this, in bytes.
const DICTIONARY_BYTES_MIN: usize = 4 * 1024;
/// Largest dictionary that is made, in bytes.
const DICTIONARY_BYTES_AIM: usize = 110 * 1024;
/// One sample in so many is kept out of training to see what the dictionary is worth.
const HELD_OUT: usize = 8;

/// A dictionary ready for reading.
pub(crate) struct Dictionary {
    digested: DDict<'static>,
    len: usize,
}

/// A dictionary ready for writing, and its bytes.
pub(crate) struct Trained {
    pub(super) digested: CDict<'static>,
    pub(super) bytes: Vec<u8>,
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
            .field("len", &self.len)
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
    /// Digests the payload of a dictionary frame.
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let expected = "a compression dictionary";
        if payload.is_empty() || payload.len() > DICTIONARY_BYTES_MAX {
            return Err(DecodeError { at: 0, expected });
        }
        let digested = DDict::try_create(payload).ok_or(DecodeError { at: 0, expected })?;
        let len = payload.len();
        Ok(Self { digested, len })
    }

    /// The digested dictionary.
    pub(super) fn digested(&self) -> &DDict<'static> {
        &self.digested
    }

    /// Bytes pinned in memory.
    pub(crate) fn pinned_bytes(&self) -> usize {
        self.digested.sizeof()
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

    /// Trains a dictionary for `raw_bytes` of blocks like the samples, compressed at `level`.
    /// `None` if there are too few samples, or if it would not save clearly more than its own
    /// length: judged by samples that it was not trained on.
    pub(crate) fn train(&self, raw_bytes: u64, level: i32) -> Option<Trained> {
        let (mut training, mut lens) = (Vec::with_capacity(self.bytes.len()), Vec::new());
        let mut held_out: Vec<&[u8]> = Vec::new();
        let mut rest = self.bytes.as_slice();
        for (number, len) in self.lens.iter().enumerate() {
            let (sample, after) = rest.split_at_checked(*len)?;
            rest = after;
            if number % HELD_OUT == HELD_OUT - 1 {
                held_out.push(sample);
            } else {
                training.extend_from_slice(sample);
                lens.push(*len);
            }
        }
        let bytes =
            zstd::dict::from_continuous(&training, &lens, dictionary_len(raw_bytes)).ok()?;
        let digested = CDict::create(&bytes, level);
        let trained = Trained { digested, bytes };
        trained
            .is_worth_it(&held_out, raw_bytes, level)
            .then_some(trained)
    }
}

impl Trained {
    /// Whether the dictionary saves at least one and a half times its length.
    fn is_worth_it(&self, held_out: &[&[u8]], raw_bytes: u64, level: i32) -> bool {
        let mut context = CCtx::create();
        let mut out = Vec::new();
        let (mut raw, mut plain, mut with) = (0_u64, 0_u64, 0_u64);
        for sample in held_out {
            out.clear();
            out.reserve(zstd::zstd_safe::compress_bound(sample.len()));
            let Ok(one) = context.compress(&mut out, sample, level) else {
                return false;
            };
            let Ok(other) = context.compress_using_cdict(&mut out, sample, &self.digested) else {
                return false;
            };
            raw += sample.len() as u64;
            // Blocks that do not shrink enough are stored as they are, see `FrameEncoder`.
            let stored = |len: usize| {
                if is_worth_storing(len, sample.len()) {
                    len
                } else {
                    sample.len()
                }
            };
            plain += stored(one) as u64;
            with += stored(other) as u64;
        }
        let saved = u128::from(plain.saturating_sub(with)) * u128::from(raw_bytes);
        let cost = u128::from(raw) * (self.bytes.len() as u128 * 3 / 2);
        raw > 0 && saved > cost
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
