//! Bloom filter over partition keys and tokens, blocked so that a probe touches one cache line.
//!
//! Ten bits per key and six probes within a block of 512 bits: about 1 % false positives. There
//! are no false negatives. Tokens are members too, which answers "may anything of this placement
//! key be here?".
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use crate::encoding::DecodeError;
use crate::encoding::checksum::xxh3;

const BITS_PER_KEY: usize = 10;
const LINE_BYTES: usize = 64;
const PROBES: u32 = 6;

/// Collects keys and builds the filter.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    hashes: Vec<u64>,
    last_token: Option<u64>,
}

/// Answers whether a key may be in the file.
#[derive(Debug)]
pub(crate) struct Filter {
    lines: Bytes,
}

impl FilterBuilder {
    /// Adds a partition; partitions come in order.
    pub(crate) fn add(&mut self, token: u64, key: &[u8]) {
        self.hashes.push(hash_key(key));
        if self.last_token.replace(token) != Some(token) {
            self.hashes.push(hash_token(token));
        }
    }

    /// The bytes of the filter.
    pub(crate) fn finish(&self) -> Vec<u8> {
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
    /// A filter from its bytes.
    pub(crate) fn decode(lines: Bytes) -> Result<Self, DecodeError> {
        if lines.is_empty() || !lines.len().is_multiple_of(LINE_BYTES) {
            return Err(DecodeError {
                at: 0,
                expected: "filter lines of 64 bytes",
            });
        }
        Ok(Self { lines })
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
        self.lines.len()
    }

    fn probe(&self, hash: u64) -> bool {
        let start = line_of(hash, self.lines.len() / LINE_BYTES) * LINE_BYTES;
        let line = self
            .lines
            .get(start..start + LINE_BYTES)
            .unwrap_or_default();
        bits_of(hash).all(|bit| {
            line.get(bit / 8)
                .is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
        })
    }
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

    #[test]
    fn filter_has_no_false_negatives_and_few_false_positives() {
        let mut builder = FilterBuilder::default();
        for number in 0_u64..10_000 {
            builder.add(number, &number.to_be_bytes());
        }
        let filter = Filter::decode(Bytes::from(builder.finish())).unwrap();
        assert!((0_u64..10_000).all(|number| filter.may_contain(&number.to_be_bytes())));
        assert!((0_u64..10_000).all(|token| filter.may_contain_token(token)));
        let wrong = (10_000_u64..30_000)
            .filter(|number| filter.may_contain(&number.to_be_bytes()))
            .count();
        assert!(wrong < 20_000 * 3 / 100, "{wrong} false positives of 20000");
    }
}
