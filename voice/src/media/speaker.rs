//! Who speaks, from the loudness that senders measure (RFC 6464).

use super::{MILLISECOND, Micros};

/// Decibels below full scale that count as speech.
const LOUD: u8 = 50;
/// Loud packets before somebody speaks: a click is one.
const ONSET: u8 = 3;
const HANGOVER: Micros = 300 * MILLISECOND;

/// Loudness of one audio track.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loudness {
    /// 127 is loudest; 64ths.
    score: u32,
    loud_in_a_row: u8,
    last_loud: Micros,
    pub(crate) speaking: bool,
}

impl Loudness {
    /// Notes a packet's level; `true` if somebody begins to speak.
    pub(crate) fn note(&mut self, level: u8, now: Micros) -> bool {
        let level = level & 0x7f;
        let loudness = 64 * u32::from(127 - level);
        self.score = (7 * self.score + loudness) / 8;
        if level > LOUD {
            self.loud_in_a_row = 0;
            return false;
        }
        self.last_loud = now;
        self.loud_in_a_row = self.loud_in_a_row.saturating_add(1);
        let begins = !self.speaking && self.loud_in_a_row >= ONSET;
        self.speaking |= begins;
        begins
    }

    /// Whether somebody stopped to speak; a sender that transmits nothing in silence says nothing of it.
    pub(crate) fn ends(&mut self, now: Micros) -> bool {
        let quiet = now.saturating_sub(self.last_loud) >= HANGOVER;
        if quiet {
            self.score = self.score * 7 / 8;
        }
        let ends = self.speaking && quiet;
        self.speaking &= !ends;
        ends
    }

    /// Larger is louder; who speaks is before who does not.
    pub(crate) const fn rank(&self) -> (bool, u32) {
        (self.speaking, self.score)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_begins_after_three_loud_packets_and_ends_after_silence() {
        let mut loudness = Loudness::default();
        let mut begun = Vec::new();
        for (i, level) in [(0, 20), (1, 90), (2, 20), (3, 20), (4, 148), (5, 20)] {
            if loudness.note(level, i * 20 * MILLISECOND) {
                begun.push(i);
            }
        }
        assert_eq!(begun, [4]);
        assert!(!loudness.ends(300 * MILLISECOND));
        assert!(loudness.ends(400 * MILLISECOND));
        assert!(!loudness.ends(500 * MILLISECOND));
    }
}
