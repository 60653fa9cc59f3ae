//! Checksums with context: bytes from another place or another time do not pass.
//!
//! A plain checksum proves that bytes belong together, not that they belong *here*. Both
//! functions take where the bytes should be as their seed, so that a block read from the wrong
//! offset, or left over from an earlier life of a recycled file, fails like a damaged one.

/// CRC-32 (IEEE polynomial) of `bytes`, seeded with `seed`.
///
/// Finds every error burst of up to 32 bits. Used where the unit is small (pages, records).
pub fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// 64-bit XXH3 of `bytes`, seeded with `seed`. Used for blocks and whole files.
pub fn xxh3(seed: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, seed)
}
