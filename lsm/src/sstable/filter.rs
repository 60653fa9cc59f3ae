//! Filters over partition keys and tokens: what need not be looked for in a file.
//!
//! There are two kinds. A file that is soon merged has Bloom lines: ten bits per key and six probes
//! within 512 bits, so that a probe touches one cache line; 1.2 % false positives (measured below).
//! They cost nothing to make. A file that stays has a binary fuse filter (Graf and Lemire, 2022,
//! <https://arxiv.org/abs/2201.01174>): 9 bits per key for large files and up to [`FUSE_BITS_MAX`] for small ones, three
//! probes, and 0.4 % false positives; it is made from all keys at once.
//!
//! There are no false negatives. Tokens are members too, which answers "may anything of this placement
//! key be here?".
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter as _, FilterRef};

use crate::encoding::checksum::xxh3;
use crate::encoding::{DecodeError, Reader};

const BITS_PER_KEY: usize = 10;
const LINE_BYTES: usize = 64;
const PROBES: u32 = 6;
/// A fuse filter that takes more bits for each key is not worth its making: those of few keys do.
const FUSE_BITS_MAX: usize = 12;
/// Bytes before the fingerprints of a fuse filter: seed, length of a segment, the same less one, and length of all
/// segments that a key can begin in.
const FUSE_HEADER_BYTES: usize = BinaryFuse8::DESCRIPTOR_LEN;
/// Longest segment of a fuse filter, in fingerprints.
const SEGMENT_MAX: u32 = 1 << 18;

/// How a filter is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterKind {
    /// Bloom lines of 64 bytes.
    Lines,
    /// A binary fuse filter with fingerprints of 8 bits.
    Fuse,
}

/// Collects keys and builds the filter.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
    last_token: Option<u64>,
}

/// Answers whether a key may be in the file.
#[derive(Debug)]
pub(crate) struct Filter {
    kind: FilterKind,
    bytes: Bytes,
}

impl FilterBuilder {
    /// Adds a partition; partitions come in order.
    pub(crate) fn add(&mut self, token: u64, key: &[u8]) {
        self.hashes.push(hash_key(key));
        if self.last_token.replace(token) != Some(token) {
            self.hashes.push(hash_token(token));
        }
    }

    /// The filter of a file that stays, or of one that will soon be merged.
    pub(crate) fn finish(mut self, stays: bool) -> (FilterKind, Vec<u8>) {
        if stays && let Some(fuse) = self.fuse() {
            return (FilterKind::Fuse, fuse);
        }
        (FilterKind::Lines, self.lines())
    }

    /// A fuse filter; `None` if it would be too large, or does not come about.
    fn fuse(&mut self) -> Option<Vec<u8>> {
        // Equal members would be in the way of each other.
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let filter = BinaryFuse8::try_from(self.hashes.as_slice()).ok()?;
        let fingerprints = filter.dma_fingerprints();
        let mut bytes = vec![0; FUSE_HEADER_BYTES];
        filter.dma_copy_descriptor_to(&mut bytes);
        bytes.extend_from_slice(fingerprints);
        (bytes.len() * 8 <= self.hashes.len() * FUSE_BITS_MAX).then_some(bytes)
    }

    fn lines(&self) -> Vec<u8> {
        let lines = (self.hashes.len() * BITS_PER_KEY)
            .div_ceil(LINE_BYTES * 8)
            .max(1);
        let mut bytes = vec![0; lines * LINE_BYTES];
        for hash in &self.hashes {
            let line = line_of(*hash, lines);
            for bit in bits_of(*hash) {
                if let Some(byte) = bytes.get_mut(line * LINE_BYTES + bit / 8) {
                    *byte |= 1 << (bit % 8);
                }
            }
        }
        bytes
    }
}

impl Filter {
    /// A filter of this kind from its bytes.
    pub(crate) fn decode(kind: FilterKind, bytes: Bytes) -> Result<Self, DecodeError> {
        match kind {
            FilterKind::Lines => {
                if bytes.is_empty() || !bytes.len().is_multiple_of(LINE_BYTES) {
                    return Err(DecodeError {
                        at: 0,
                        expected: "filter lines of 64 bytes",
                    });
                }
            }
            FilterKind::Fuse => check_fuse(&bytes)?,
        }
        Ok(Self { kind, bytes })
    }

    /// Whether the partition may be in the file.
    pub(crate) fn may_contain(&self, key: &[u8]) -> bool {
        self.probe(hash_key(key))
    }

    /// Whether any partition of the token may be in the file.
    pub(crate) fn may_contain_token(&self, token: u64) -> bool {
        self.probe(hash_token(token))
    }

    /// Bytes in memory.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    fn probe(&self, hash: u64) -> bool {
        match self.kind {
            FilterKind::Lines => self.probe_line(hash),
            FilterKind::Fuse => {
                let parts = self.bytes.split_at_checked(FUSE_HEADER_BYTES);
                let (header, fingerprints) = parts.unwrap_or_default();
                BinaryFuse8Ref::from_dma(header, fingerprints).contains(&hash)
            }
        }
    }

    fn probe_line(&self, hash: u64) -> bool {
        let start = line_of(hash, self.bytes.len() / LINE_BYTES) * LINE_BYTES;
        let line = self
            .bytes
            .get(start..start + LINE_BYTES)
            .unwrap_or_default();
        bits_of(hash).all(|bit| {
            line.get(bit / 8)
                .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
        })
    }
}

/// Refuses what would send a probe beyond the fingerprints: three segments that follow one another,
/// the first of which begins below the length of all.
fn check_fuse(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.u64("seed of the filter")?;
    let segment = reader.u32("segment of the filter")?;
    let mask = reader.u32("mask of the filter")?;
    let all = reader.u32("segments of the filter")?;
    let fits = segment.is_power_of_two()
        && segment <= SEGMENT_MAX
        && mask == segment - 1
        && all > 0
        && all.is_multiple_of(segment)
        && bytes.len() as u64 == FUSE_HEADER_BYTES as u64 + u64::from(all) + 2 * u64::from(segment);
    if fits {
        return Ok(());
    }
    Err(DecodeError {
        at: 8,
        expected: "segments of a filter that fill it",
    })
}

fn hash_key(key: &[u8]) -> u64 {
    xxh3(0, key)
}

fn hash_token(token: u64) -> u64 {
    xxh3(1, &token.to_le_bytes())
}

/// Maps the upper half of the hash to a line without division bias.
fn line_of(hash: u64, lines: usize) -> usize {
    usize::try_from((hash >> 32).wrapping_mul(lines as u64) >> 32).unwrap_or_default()
}

/// Six bit numbers below 512, by double hashing within the lower half.
fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    let first = u32::from(u16::from_le_bytes([a, b]));
    let step = u32::from(u16::from_le_bytes([c, d])) | 1;
    (0..PROBES).map(move |probe| (first.wrapping_add(probe.wrapping_mul(step)) % 512) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each number is a partition with a placement of its own.
    fn filter_of(numbers: u64, stays: bool) -> (FilterKind, Vec<u8>) {
        let mut builder = FilterBuilder::default();
        for number in 0..numbers {
            builder.add(number, &number.to_be_bytes());
        }
        builder.finish(stays)
    }

    #[test]
    fn filter_has_no_false_negatives_and_few_false_positives() {
        for (stays, wanted, wrong_max) in [
            // In 100 000 probes.
            (false, FilterKind::Lines, 1600),
            (true, FilterKind::Fuse, 500),
        ] {
            let (kind, bytes) = filter_of(10_000, stays);
            assert_eq!(kind, wanted);
            let filter = Filter::decode(kind, Bytes::from(bytes)).unwrap();
            assert!((0_u64..10_000).all(|number| filter.may_contain(&number.to_be_bytes())));
            assert!((0_u64..10_000).all(|token| filter.may_contain_token(token)));
            let wrong = (10_000_u64..110_000)
                .filter(|number| filter.may_contain(&number.to_be_bytes()))
                .count();
            assert!(wrong < wrong_max, "{kind:?}: {wrong} of 100000");
        }
    }

    /// What `docs/formats/sstable.md` says of a probe, written down without the library.
    fn probe_by_the_page(bytes: &[u8], hash: u64) -> bool {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let seed = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let (segment, all) = (u64::from(number(8)), u64::from(number(16)));
        let mut m = hash.wrapping_add(seed);
        m = (m ^ (m >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        m = (m ^ (m >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        m ^= m >> 33;
        let h0 = u64::try_from((u128::from(m) * u128::from(all)) >> 64).unwrap();
        let h1 = (h0 + segment) ^ ((m >> 18) & (segment - 1));
        let h2 = (h0 + 2 * segment) ^ (m & (segment - 1));
        let at = |h: u64| bytes[20 + usize::try_from(h).unwrap()];
        let low = (m ^ (m >> 32)).to_le_bytes()[0];
        at(h0) ^ at(h1) ^ at(h2) == low
    }

    #[test]
    fn a_fuse_filter_is_what_the_page_of_the_format_says() {
        let (kind, bytes) = filter_of(10_000, true);
        let filter = Filter::decode(kind, Bytes::from(bytes.clone())).unwrap();
        for number in 0..50_000_u64 {
            let key = number.to_be_bytes();
            let found = probe_by_the_page(&bytes, xxh3(0, &key));
            assert_eq!(found, filter.may_contain(&key), "{number}");
            let token = probe_by_the_page(&bytes, xxh3(1, &number.to_le_bytes()));
            assert_eq!(token, filter.may_contain_token(number), "{number}");
            assert!(number >= 10_000 || (found && token), "{number}");
        }
    }

    #[test]
    fn few_keys_have_lines_because_a_fuse_filter_of_them_is_larger() {
        let kinds = [1, 10, 100, 1000, 10_000].map(|numbers| filter_of(numbers, true).0);
        let is_fuse = kinds.map(|kind| kind == FilterKind::Fuse);
        assert!(is_fuse.is_sorted(), "{kinds:?}");
        assert_eq!((is_fuse[0], is_fuse[4]), (false, true));
    }

    #[test]
    fn members_that_come_twice_are_one() {
        let mut builder = FilterBuilder::default();
        for number in 0..10_000_u64 {
            builder.add(number % 7, &(number % 5000).to_be_bytes());
        }
        let (kind, bytes) = builder.finish(true);
        assert_eq!(kind, FilterKind::Fuse);
        let filter = Filter::decode(kind, Bytes::from(bytes)).unwrap();
        assert!((0..5000_u64).all(|number| filter.may_contain(&number.to_be_bytes())));
        assert!((0..7).all(|token| filter.may_contain_token(token)));
    }

    #[test]
    fn a_fuse_filter_whose_segments_lie_is_refused() {
        let (kind, sound) = filter_of(10_000, true);
        Filter::decode(kind, Bytes::from(sound.clone())).unwrap();
        for at in 8..FUSE_HEADER_BYTES {
            for bit in 0..8 {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << bit;
                Filter::decode(kind, Bytes::from(damaged)).expect_err("a lie");
            }
        }
        for len in [0, 5, FUSE_HEADER_BYTES, sound.len() - 1] {
            let short = Bytes::from(sound[..len].to_vec());
            Filter::decode(kind, short).expect_err("too short");
        }
    }
}
