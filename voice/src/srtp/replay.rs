//! Which packet numbers were seen: a window of 1024 below the highest.
//!
//! The window counts extended numbers, so the wrap of the 16 bits on the wire is no special case.

const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// A bitmap behind the highest number that was authentic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    highest: Option<u64>,
    bits: [u64; WORDS],
}

impl Window {
    /// The highest number so far.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `index` was not seen and is not too old to tell.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) if highest - index >= WINDOW => false,
            Some(_) => {
                let (word, bit) = place(index);
                self.bits[word] & bit == 0
            }
        }
    }

    /// Notes an authentic packet; call only after [`Window::is_new`].
    pub(crate) fn note(&mut self, index: u64) {
        let first_new = self.highest.map_or(index, |highest| highest + 1);
        if index >= first_new {
            if index - first_new >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for skipped in first_new..=index {
                    let (word, bit) = place(skipped);
                    self.bits[word] &= !bit;
                }
            }
            self.highest = Some(index);
        }
        let (word, bit) = place(index);
        self.bits[word] |= bit;
    }
}

fn place(index: u64) -> (usize, u64) {
    let slot = index % WINDOW;
    (usize::from(crate::bits::low8(slot / 64)), 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_window_agrees_with_a_set_over_jumps_and_disorder() {
        let mut window = Window::default();
        let mut seen = BTreeSet::new();
        let mut state = 7_u64;
        let mut base = 65_000_u64;
        for _ in 0..50_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            base += (state >> 60) / 7 + if state >> 53 == 3 { 3000 } else { 0 };
            let index = base - (state >> 40) % 1400;
            let highest = seen.last().copied().unwrap_or(0);
            let expected = !seen.contains(&index) && (seen.is_empty() || index + WINDOW > highest);
            assert_eq!(window.is_new(index), expected, "{index} below {highest}");
            if expected {
                window.note(index);
                seen.insert(index);
            }
        }
    }
}
