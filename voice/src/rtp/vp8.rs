//! The payload descriptor of VP8 (RFC 7741 section 4.2): where a frame begins, whether it is a key frame, and the two
//! counters that a receiver expects to continue when the layer behind its stream changes.

use crate::bits::be16;

/// The parts of a descriptor that a forwarder needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    /// First packet of a key frame.
    pub(crate) key_frame: bool,
    pub(crate) picture_id: Option<PictureId>,
    /// `TL0PICIDX` and its place in the payload.
    pub(crate) tl0: Option<(u8, usize)>,
}

/// A picture number, 7 or 15 bits wide, and its place in the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureId {
    pub(crate) value: u16,
    wide: bool,
    at: usize,
}

impl Descriptor {
    /// Reads the descriptor; `None` if it is longer than the payload.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut at = 1;
        let (mut picture_id, mut tl0) = (None, None);
        if first & 0x80 != 0 {
            let flags = *payload.get(at)?;
            at += 1;
            if flags & 0x80 != 0 {
                let byte = *payload.get(at)?;
                let wide = byte & 0x80 != 0;
                let value = if wide {
                    be16(payload, at)? & 0x7fff
                } else {
                    u16::from(byte)
                };
                picture_id = Some(PictureId { value, wide, at });
                at += if wide { 2 } else { 1 };
            }
            if flags & 0x40 != 0 {
                tl0 = Some((*payload.get(at)?, at));
                at += 1;
            }
            if flags & 0x30 != 0 {
                payload.get(at)?;
                at += 1;
            }
        }
        let frame = *payload.get(at)?;
        let begins = first & 0x10 != 0 && first.trailing_zeros() >= 3;
        Some(Self {
            key_frame: begins && frame & 1 == 0,
            picture_id,
            tl0,
        })
    }
}

/// What is added to the counters of one source so that they continue those of the source before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) picture_id: u16,
    pub(crate) tl0: u8,
}

impl Shift {
    /// Adds the shift to the descriptor at the start of `payload`, which `descriptor` was read from.
    pub(crate) fn apply(self, descriptor: &Descriptor, payload: &mut [u8]) {
        if let Some(id) = descriptor.picture_id {
            let value = id.value.wrapping_add(self.picture_id) & 0x7fff;
            let [high, low] = value.to_be_bytes();
            if id.wide {
                payload[id.at] = high | 0x80;
                payload[id.at + 1] = low;
            } else {
                payload[id.at] = low & 0x7f;
            }
        }
        if let Some((value, at)) = descriptor.tl0 {
            payload[at] = value.wrapping_add(self.tl0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Extended, picture id 15 bits, TL0PICIDX, temporal id; then a key frame's first byte.
    const KEY: [u8; 7] = [0x90, 0xe0, 0x80 | 0x12, 0x34, 0x56, 0x20, 0x00];

    #[test]
    fn picture_id_and_layer_counter_are_found_and_shifted() {
        let descriptor = Descriptor::parse(&KEY).expect("whole");
        assert!(descriptor.key_frame);
        assert_eq!(descriptor.picture_id.map(|id| id.value), Some(0x1234));
        assert_eq!(descriptor.tl0, Some((0x56, 4)));
        let mut payload = KEY;
        Shift {
            picture_id: 0x7fff,
            tl0: 0xff,
        }
        .apply(&descriptor, &mut payload);
        let shifted = Descriptor::parse(&payload).expect("whole");
        assert_eq!(shifted.picture_id.map(|id| id.value), Some(0x1233));
        assert_eq!(shifted.tl0, Some((0x55, 4)));
        assert_eq!(payload[5..], KEY[5..]);
    }

    #[test]
    fn later_packets_and_delta_frames_are_no_key_frames() {
        let mut delta = KEY;
        delta[6] = 1;
        let mut later = KEY;
        later[0] = 0x80;
        let mut second_partition = KEY;
        second_partition[0] = 0x91;
        for payload in [delta, later, second_partition] {
            assert!(!Descriptor::parse(&payload).expect("whole").key_frame);
        }
    }

    #[test]
    fn a_cut_descriptor_is_refused_at_every_length() {
        for len in 0..KEY.len() {
            assert_eq!(Descriptor::parse(&KEY[..len]), None);
        }
    }
}
