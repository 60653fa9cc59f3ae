//! One continuous stream for a receiver out of whatever stands behind it: another speaker, another layer.
//!
//! Invariant: no number goes out twice. It is a part of the nonce, and a second packet under one nonce gives AES-GCM's
//! key away. So a source starts behind the highest number sent, its packets keep their distances, and packets from before
//! the start are not forwarded.

use super::{Micros, ticks};
use crate::rtp::vp8::{Descriptor, Shift};

#[derive(Clone, Copy, Debug)]
struct Segment {
    first: u64,
    out_first: u64,
    timestamp_shift: u32,
    shift: Shift,
}

/// Position in the stream that goes out.
#[derive(Clone, Debug)]
pub(crate) struct Rewrite {
    segment: Option<Segment>,
    next: u64,
    timestamp: u32,
    at: Option<Micros>,
    picture_id: u16,
    tl0: u8,
}

/// Where a packet goes in the stream that goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Extended number.
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) shift: Shift,
}

impl Rewrite {
    /// Starts with number `first`, which must be below 2^16: the receiver's rollover counter starts at zero.
    pub(crate) const fn new(first: u16, timestamp: u32) -> Self {
        Self {
            segment: None,
            next: first as u64,
            timestamp,
            at: None,
            picture_id: 0,
            tl0: 0,
        }
    }

    /// A new source begins with packet `index`.
    pub(crate) fn begin(
        &mut self,
        (index, timestamp): (u64, u32),
        vp8: Option<&Descriptor>,
        clock_rate: u32,
        now: Micros,
    ) {
        let elapsed = self
            .at
            .map_or(0, |at| ticks(now.saturating_sub(at), clock_rate).max(1));
        let start = self.timestamp.wrapping_add(elapsed);
        let picture_id = vp8.and_then(|vp8| vp8.picture_id).map_or(0, |id| id.value);
        let tl0 = vp8.and_then(|vp8| vp8.tl0).map_or(0, |(value, _)| value);
        self.segment = Some(Segment {
            first: index,
            out_first: self.next,
            timestamp_shift: start.wrapping_sub(timestamp),
            shift: Shift {
                picture_id: self.picture_id.wrapping_add(1).wrapping_sub(picture_id),
                tl0: self.tl0.wrapping_add(1).wrapping_sub(tl0),
            },
        });
    }

    /// Nothing stands behind the stream.
    pub(crate) fn end(&mut self) {
        self.segment = None;
    }

    /// The place of packet `index` of the source; `None` if it is from before the source began.
    pub(crate) fn place(&self, index: u64, timestamp: u32) -> Option<Place> {
        let segment = self.segment.as_ref()?;
        Some(Place {
            index: segment.out_first + index.checked_sub(segment.first)?,
            timestamp: timestamp.wrapping_add(segment.timestamp_shift),
            shift: segment.shift,
        })
    }

    /// Notes that the packet at `place` goes out.
    pub(crate) fn note(&mut self, place: Place, vp8: Option<&Descriptor>, now: Micros) {
        if place.index < self.next {
            return;
        }
        self.next = place.index + 1;
        self.timestamp = place.timestamp;
        self.at = Some(now);
        if let Some(id) = vp8.and_then(|vp8| vp8.picture_id) {
            self.picture_id = id.value.wrapping_add(place.shift.picture_id) & 0x7fff;
        }
        if let Some((value, _)) = vp8.and_then(|vp8| vp8.tl0) {
            self.tl0 = value.wrapping_add(place.shift.tl0);
        }
    }

    /// The number of the source's packet that went out as `seq`.
    pub(crate) fn source_of(&self, seq: u16) -> Option<u64> {
        let segment = self.segment.as_ref()?;
        let out = crate::bits::extend(self.next, seq);
        let distance = out
            .checked_sub(segment.out_first)
            .filter(|_| out < self.next)?;
        Some(segment.first + distance)
    }

    /// The time that stands in the stream for the source's time `timestamp`.
    pub(crate) fn timestamp_of(&self, timestamp: u32) -> Option<u32> {
        Some(timestamp.wrapping_add(self.segment.as_ref()?.timestamp_shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MILLISECOND;
    use std::collections::BTreeSet;

    #[test]
    fn over_changes_of_the_source_no_number_repeats_and_each_leads_back() {
        let mut rewrite = Rewrite::new(65_000, 1);
        let mut sent = BTreeSet::new();
        let mut state = 3_u64;
        let mut now = 0;
        for source in 0..200_u64 {
            let first = source * 7919 % 65_536 + 10;
            rewrite.begin((first, crate::bits::low32(source << 20)), None, 90_000, now);
            assert_eq!(rewrite.place(first - 1, 0), None);
            for i in 0..300_u64 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let index = first + i;
                if state >> 60 == 0 {
                    continue;
                }
                now += MILLISECOND;
                let place = rewrite.place(index, 0).expect("behind the beginning");
                rewrite.note(place, None, now);
                assert!(sent.insert(place.index), "{} went out twice", place.index);
                assert_eq!(
                    rewrite.source_of(crate::bits::low16(place.index)),
                    Some(index)
                );
            }
        }
    }

    #[test]
    fn time_and_picture_numbers_go_on_over_a_change() {
        let picture =
            |id: u8, tl0: u8| Descriptor::parse(&[0x90, 0xe0, 0x80, id, tl0, 0, 0]).expect("whole");
        let mut rewrite = Rewrite::new(5, 1000);
        rewrite.begin((70, 9_000_000), Some(&picture(40, 7)), 90_000, 0);
        let first = rewrite.place(70, 9_000_000).expect("begun");
        rewrite.note(first, Some(&picture(40, 7)), 0);
        assert_eq!((first.index, first.timestamp), (5, 1000));
        rewrite.begin((900, 5), Some(&picture(200, 100)), 90_000, 40 * MILLISECOND);
        let second = rewrite.place(900, 5).expect("begun");
        assert_eq!((second.index, second.timestamp), (6, 1000 + 3600));
        assert_eq!(200_u16.wrapping_add(second.shift.picture_id) & 0x7fff, 2);
        assert_eq!(100_u8.wrapping_add(second.shift.tl0), 2);
        assert_eq!(rewrite.source_of(5), None, "the first source is gone");
    }
}
