//! Transport-wide congestion feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01): when each packet of a
//! transport arrived.
//!
//! Body, after the two sources: `base(2) count(2) reference(3, 64 ms) number(1) chunks deltas`. A chunk is a run
//! (`0 status(2) length(13)`), a vector of 14 bits or a vector of 7 double bits; a delta is 1 byte (0 to 255) or 2 bytes
//! (signed) of 250 microseconds.

use crate::bits::{be16, be24, len16, low8, low16, low32};

const TICK_US: i64 = 250;
const REFERENCE_US: i64 = 64_000;
/// Packets that one feedback may report; a second of 4000 packets in feedbacks of 50 ms is far below.
const COUNT_MAX: u16 = 2048;
/// Bytes of deltas in one feedback that we write, so that it fits a datagram.
const DELTAS_LEN_MAX: usize = 600;

/// One packet of a feedback: its number and, if it came, when, in microseconds of the receiver's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) sequence: u16,
    pub(crate) at_us: Option<i64>,
}

/// Reads a feedback into `out`, which is cleared first; `None` if the bytes do not hold what they announce.
pub(crate) fn read(body: &[u8], out: &mut Vec<Arrival>) -> Option<()> {
    out.clear();
    let (base, count) = (be16(body, 0)?, be16(body, 2)?);
    let reference = be24(body, 4)?;
    if count > COUNT_MAX {
        return None;
    }
    let count = usize::from(count);
    let mut at = 8;
    let mut statuses = Vec::with_capacity(count);
    while statuses.len() < count {
        let chunk = be16(body, at)?;
        at += 2;
        read_chunk(chunk, count, &mut statuses);
    }
    let mut clock = i64::from(reference) * REFERENCE_US;
    let mut sequence = base;
    for status in statuses {
        let at_us = match status {
            1 => {
                clock += i64::from(*body.get(at)?) * TICK_US;
                at += 1;
                Some(clock)
            }
            2 => {
                clock += i64::from(be16(body, at)?.cast_signed()) * TICK_US;
                at += 2;
                Some(clock)
            }
            _ => None,
        };
        out.push(Arrival { sequence, at_us });
        sequence = sequence.wrapping_add(1);
    }
    Some(())
}

fn read_chunk(chunk: u16, count: usize, statuses: &mut Vec<u8>) {
    let mut push = |status: u16| {
        if statuses.len() < count {
            statuses.push(low8(u64::from(status)));
        }
    };
    if chunk & 0x8000 == 0 {
        (0..chunk & 0x1fff).for_each(|_| push(chunk >> 13 & 3));
    } else if chunk & 0x4000 == 0 {
        (0..14).rev().for_each(|bit| push(chunk >> bit & 1));
    } else {
        (0..7).rev().for_each(|bit| push(chunk >> (2 * bit) & 3));
    }
}

/// Collects arrivals of one publisher and writes them as feedbacks.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Extended numbers with microseconds, in order of number.
    arrived: Vec<(u64, i64)>,
    highest: Option<u64>,
    next: Option<u64>,
    number: u8,
}

impl Recorder {
    /// Notes that packet `sequence` came at `at_us`.
    pub(crate) fn note(&mut self, sequence: u16, at_us: i64) {
        let index = self
            .highest
            .map_or(u64::from(sequence) + (1 << 16), |near| {
                crate::bits::extend(near, sequence)
            });
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        if self.next.is_some_and(|next| index < next)
            || self.arrived.len() >= usize::from(COUNT_MAX)
        {
            return;
        }
        if let Err(place) = self
            .arrived
            .binary_search_by_key(&index, |(known, _)| *known)
        {
            self.arrived.insert(place, (index, at_us));
        }
    }

    /// Writes the body of one feedback about what came since the last; `false` if nothing did. Call until it says so:
    /// a long gap in time or numbers splits a feedback.
    pub(crate) fn write(&mut self, body: &mut Vec<u8>) -> bool {
        let (Some(&(first, first_us)), Some(&(last, _))) =
            (self.arrived.first(), self.arrived.last())
        else {
            return false;
        };
        let base = self
            .next
            .filter(|next| first - next < u64::from(COUNT_MAX) / 2)
            .unwrap_or(first);
        let last = last.min(base + u64::from(COUNT_MAX) - 1);
        let reference = first_us.div_euclid(REFERENCE_US);
        let mut clock = reference * REFERENCE_US;
        let mut statuses = Vec::new();
        let mut deltas = Vec::new();
        let mut taken = 0;
        for index in base..=last {
            let Some(&(known, at_us)) = self.arrived.get(taken) else {
                break;
            };
            if deltas.len() >= DELTAS_LEN_MAX {
                break;
            }
            if known != index {
                statuses.push(0);
                continue;
            }
            let ticks = (at_us - clock).div_euclid(TICK_US);
            if let Ok(small) = u8::try_from(ticks) {
                statuses.push(1);
                deltas.push(small);
            } else if let Ok(large) = i16::try_from(ticks) {
                statuses.push(2);
                deltas.extend_from_slice(&large.to_be_bytes());
            } else {
                break;
            }
            clock += ticks * TICK_US;
            taken += 1;
        }
        while statuses.last() == Some(&0) {
            statuses.pop();
        }
        self.arrived.drain(..taken);
        self.next = Some(base + statuses.len() as u64);
        body.clear();
        body.extend_from_slice(&low16(base).to_be_bytes());
        body.extend_from_slice(&len16(statuses.len()).to_be_bytes());
        body.extend_from_slice(&low32(reference.cast_unsigned()).to_be_bytes()[1..]);
        body.push(self.number);
        self.number = self.number.wrapping_add(1);
        write_chunks(&statuses, body);
        body.extend_from_slice(&deltas);
        true
    }
}

fn write_chunks(statuses: &[u8], body: &mut Vec<u8>) {
    let mut rest = statuses;
    while let Some(&first) = rest.first() {
        let run = rest
            .iter()
            .take_while(|status| **status == first)
            .count()
            .min(0x1fff);
        let (chunk, len) = if run >= 7 {
            (u16::from(first) << 13 | len16(run), run)
        } else {
            let len = rest.len().min(7);
            let chunk = (0..7).fold(0xc000_u16, |chunk, i| {
                chunk | u16::from(rest.get(i).copied().unwrap_or(0)) << (12 - 2 * i)
            });
            (chunk, len)
        };
        body.extend_from_slice(&chunk.to_be_bytes());
        rest = &rest[len..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrived_reads_back_to_a_quarter_millisecond() {
        let mut recorder = Recorder::default();
        let came: Vec<(u16, i64)> = (65_500..65_600_u32)
            .filter(|i| i % 7 != 3 && !(65_540..65_560).contains(i))
            .map(|i| {
                (
                    low16(u64::from(i)),
                    10_000_000 + i64::from(i % 11) * 900 + i64::from(i) * 500,
                )
            })
            .collect();
        for (sequence, at_us) in &came {
            recorder.note(*sequence, *at_us);
        }
        let (mut body, mut read_back, mut found) = (Vec::new(), Vec::new(), Vec::new());
        while recorder.write(&mut body) {
            read(&body, &mut found).expect("written by us");
            read_back.extend(
                found
                    .iter()
                    .filter_map(|arrival| Some((arrival.sequence, arrival.at_us?))),
            );
        }
        assert_eq!(read_back.len(), came.len());
        for ((sequence, at_us), (read_sequence, read_us)) in came.iter().zip(&read_back) {
            assert_eq!(sequence, read_sequence);
            assert!(
                (0..TICK_US).contains(&(at_us - read_us)),
                "{sequence}: {at_us} read as {read_us}"
            );
        }
        assert!(!recorder.write(&mut body));
    }

    #[test]
    fn a_second_feedback_goes_on_where_the_first_ended_and_shows_the_gap() {
        let mut recorder = Recorder::default();
        let (mut body, mut found) = (Vec::new(), Vec::new());
        recorder.note(5, 1000);
        assert!(recorder.write(&mut body));
        recorder.note(8, 9_000_000);
        assert!(recorder.write(&mut body));
        read(&body, &mut found).expect("written by us");
        let came: Vec<_> = found
            .iter()
            .map(|arrival| (arrival.sequence, arrival.at_us.is_some()))
            .collect();
        assert_eq!(came, [(6, false), (7, false), (8, true)]);
    }

    #[test]
    fn a_feedback_that_announces_more_than_it_holds_is_refused() {
        let mut found = Vec::new();
        assert_eq!(
            read(&[0, 1, 0, 3, 0, 0, 1, 0, 0x20, 3, 1, 2], &mut found),
            None
        );
        assert_eq!(
            read(&[0, 1, 0xff, 0xff, 0, 0, 1, 0, 0x1f, 0xff], &mut found),
            None
        );
        assert!(read(&[0, 1, 0, 3, 0, 0, 1, 0, 0x20, 3, 1, 2, 3], &mut found).is_some());
    }
}
