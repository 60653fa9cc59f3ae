//! What several test modules share: a seeded random source.

/// Rounds of a loop over mangled input: 60 000, or what the environment variable `ROUNDS` says.
pub(crate) fn rounds() -> u32 {
    std::env::var("ROUNDS").map_or(60_000, |rounds| rounds.parse().unwrap())
}

/// A small seeded generator (splitmix64); the same seed gives the same run on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is above zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    /// Changes bytes in one of the ways files and wires do.
    pub(crate) fn mangle(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = self.below(bytes.len());
        match self.below(6) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = u8::try_from(self.below(256)).unwrap(),
            2 => bytes.truncate(at),
            3 => {
                bytes.remove(at);
            }
            4 => bytes.insert(at, b"'\"(){}[],;:?=<>-$x0 "[self.below(20)]),
            _ => {
                let end = (at + 1 + self.below(12)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let target = self.below(bytes.len());
                bytes.splice(target..target, copy);
            }
        }
    }
}
