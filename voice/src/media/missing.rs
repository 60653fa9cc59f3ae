//! Which packets of one source did not come, and when to ask for them (again).

use std::collections::VecDeque;

use super::{MILLISECOND, Micros, SECOND};
use crate::bits::low16;

const MISSING_MAX: usize = 256;
const TRIES_MAX: u8 = 10;
const AGE_MAX: Micros = SECOND;
/// In one request; the rest waits for the next.
const ASK_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Gap {
    index: u64,
    since: Micros,
    due: Micros,
    tries: u8,
}

/// The gaps below the highest number.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    highest: Option<u64>,
    gaps: VecDeque<Gap>,
    round_trip: Option<Micros>,
    /// Something is lost for good: only a key frame helps.
    broken: bool,
}

impl Missing {
    /// Notes that packet `index` is here.
    pub(crate) fn note(&mut self, index: u64, now: Micros) {
        let Some(highest) = self.highest else {
            self.highest = Some(index);
            return;
        };
        if index <= highest {
            if let Some(place) = self.gaps.iter().position(|gap| gap.index == index) {
                self.recovered(place, now);
            }
            return;
        }
        self.highest = Some(index);
        if index - highest - 1 > MISSING_MAX as u64 {
            self.gaps.clear();
            self.broken = true;
            return;
        }
        for index in highest + 1..index {
            if self.gaps.len() >= MISSING_MAX {
                self.gaps.pop_front();
                self.broken = true;
            }
            self.gaps.push_back(Gap {
                index,
                since: now,
                due: now,
                tries: 0,
            });
        }
    }

    fn recovered(&mut self, place: usize, now: Micros) {
        if let Some(gap) = self.gaps.remove(place)
            && gap.tries == 1
        {
            let sample = now - gap.since;
            self.round_trip = Some(
                self.round_trip
                    .map_or(sample, |known| (7 * known + sample) / 8),
            );
        }
    }

    /// The numbers to ask for now, in ascending order.
    pub(crate) fn due(&mut self, now: Micros, out: &mut Vec<u16>) {
        out.clear();
        let again = self
            .round_trip
            .unwrap_or(100 * MILLISECOND)
            .clamp(20 * MILLISECOND, 300 * MILLISECOND)
            * 3
            / 2;
        let before = self.gaps.len();
        self.gaps
            .retain(|gap| gap.tries < TRIES_MAX && now - gap.since < AGE_MAX);
        self.broken |= self.gaps.len() < before;
        for gap in self
            .gaps
            .iter_mut()
            .filter(|gap| gap.due <= now)
            .take(ASK_MAX)
        {
            gap.tries += 1;
            gap.due = now + again;
            out.push(low16(gap.index));
        }
    }

    /// Whether something was given up since the last call.
    pub(crate) fn take_broken(&mut self) -> bool {
        std::mem::take(&mut self.broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(missing: &mut Missing, now: Micros) -> Vec<u16> {
        let mut out = Vec::new();
        missing.due(now, &mut out);
        out
    }

    #[test]
    fn a_gap_is_asked_for_until_it_comes_or_is_too_old() {
        let mut missing = Missing::default();
        missing.note(65_534, 0);
        missing.note(65_538, 0);
        assert_eq!(due(&mut missing, 0), [65_535, 0, 1]);
        assert_eq!(due(&mut missing, 10 * MILLISECOND), [0_u16; 0]);
        missing.note(65_536, 50 * MILLISECOND);
        assert_eq!(due(&mut missing, 160 * MILLISECOND), [65_535, 1]);
        assert!(!missing.take_broken());
        assert_eq!(due(&mut missing, 2 * SECOND), [0_u16; 0]);
        assert!(missing.take_broken());
    }

    #[test]
    fn a_long_gap_is_not_asked_for_but_reported() {
        let mut missing = Missing::default();
        missing.note(1, 0);
        missing.note(2000, 0);
        assert_eq!(due(&mut missing, 0), [0_u16; 0]);
        assert!(missing.take_broken());
    }
}
