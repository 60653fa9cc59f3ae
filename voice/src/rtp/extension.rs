//! Header extensions (RFC 8285): which ones a forwarder reads, which it writes again under the receiver's numbers.
//!
//! Every leg numbers its extensions itself (`a=extmap`), so nothing is copied by number. What is not in [`ExtensionKind`]
//! is left out: an extension that nobody understands here may describe something the rewrite changed.

use crate::bits::len16;

/// An extension that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtensionKind {
    /// Which m-line this is of (RFC 8843).
    Mid,
    /// Which simulcast layer (RFC 8852).
    Rid,
    /// Which simulcast layer this repairs (RFC 8852).
    RepairedRid,
    /// Loudness as the sender measured it (RFC 6464).
    AudioLevel,
    /// Number per transport, for congestion feedback.
    TransportSequence,
    /// Time of sending, 6.18 seconds, for estimates at the receiver.
    AbsSendTime,
    /// How the camera was held.
    VideoOrientation,
    /// Bounds of the playout delay.
    PlayoutDelay,
}

const KINDS: [(ExtensionKind, &str); 8] = [
    (ExtensionKind::Mid, "urn:ietf:params:rtp-hdrext:sdes:mid"),
    (
        ExtensionKind::Rid,
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    ),
    (
        ExtensionKind::RepairedRid,
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    ),
    (
        ExtensionKind::AudioLevel,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    ),
    (
        ExtensionKind::TransportSequence,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ),
    (
        ExtensionKind::AbsSendTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    ),
    (
        ExtensionKind::VideoOrientation,
        "urn:3gpp:video-orientation",
    ),
    (
        ExtensionKind::PlayoutDelay,
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    ),
];

impl ExtensionKind {
    pub(crate) fn from_uri(uri: &str) -> Option<Self> {
        KINDS
            .iter()
            .find(|(_, known)| *known == uri)
            .map(|(kind, _)| *kind)
    }

    pub(crate) fn uri(self) -> &'static str {
        KINDS
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("", |(_, uri)| uri)
    }
}

/// The numbers of one leg: 1 to 14, those of the one-byte form, because that is what we write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExtensionMap {
    kinds: [Option<ExtensionKind>; 15],
}

impl ExtensionMap {
    /// Notes that `id` means `kind`; numbers of the two-byte form and second meanings are ignored.
    pub(crate) fn insert(&mut self, id: u8, kind: ExtensionKind) {
        if let Some(place @ None) = self.kinds.get_mut(usize::from(id))
            && id > 0
        {
            *place = Some(kind);
        }
    }

    #[cfg(test)]
    pub(crate) fn from_pairs(pairs: &[(u8, &str)]) -> Self {
        let mut map = Self::default();
        for (id, uri) in pairs {
            map.insert(*id, ExtensionKind::from_uri(uri).expect("a known name"));
        }
        map
    }

    pub(crate) fn kind(&self, id: u8) -> Option<ExtensionKind> {
        *self.kinds.get(usize::from(id))?
    }

    pub(crate) fn id(&self, kind: ExtensionKind) -> Option<u8> {
        let place = self.kinds.iter().position(|known| *known == Some(kind))?;
        u8::try_from(place).ok()
    }

    /// Every number with its meaning, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u8, ExtensionKind)> + '_ {
        (0u8..)
            .zip(&self.kinds)
            .filter_map(|(id, kind)| Some((id, (*kind)?)))
    }
}

/// The values of one packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions<'a> {
    pub(crate) mid: Option<&'a [u8]>,
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
    /// Voice bit and 0 (loudest) to 127 decibels below full scale.
    pub(crate) level: Option<u8>,
    pub(crate) transport_sequence: Option<u16>,
    pub(crate) abs_send_time: Option<[u8; 3]>,
    pub(crate) orientation: Option<u8>,
    pub(crate) playout_delay: Option<[u8; 3]>,
}

impl<'a> Extensions<'a> {
    fn set(&mut self, kind: ExtensionKind, value: &'a [u8]) {
        match kind {
            ExtensionKind::Mid => self.mid = Some(value),
            ExtensionKind::Rid => self.rid = Some(value),
            ExtensionKind::RepairedRid => self.repaired_rid = Some(value),
            ExtensionKind::AudioLevel => self.level = value.first().copied(),
            ExtensionKind::TransportSequence => {
                self.transport_sequence =
                    value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            }
            ExtensionKind::AbsSendTime => self.abs_send_time = value.first_chunk().copied(),
            ExtensionKind::VideoOrientation => self.orientation = value.first().copied(),
            ExtensionKind::PlayoutDelay => self.playout_delay = value.first_chunk().copied(),
        }
    }
}

/// Reads a block of the one-byte (0xBEDE) or two-byte (0x100x) form; a cut element ends it.
pub(crate) fn read<'a>(block: &'a [u8], profile: u16, map: &ExtensionMap) -> Extensions<'a> {
    let mut found = Extensions::default();
    let one_byte = profile == 0xbede;
    if !one_byte && profile & 0xfff0 != 0x1000 {
        return found;
    }
    let mut rest = block;
    while let Some((&first, after)) = rest.split_first() {
        if first == 0 {
            rest = after;
            continue;
        }
        let (id, len, body) = if one_byte {
            (first >> 4, usize::from(first & 0x0f) + 1, after)
        } else {
            let Some((&len, body)) = after.split_first() else {
                break;
            };
            (first, usize::from(len), body)
        };
        if one_byte && id == 15 {
            break;
        }
        let Some((value, next)) = body.split_at_checked(len) else {
            break;
        };
        if let Some(kind) = map.kind(id) {
            found.set(kind, value);
        }
        rest = next;
    }
    found
}

/// Appends the values that `map` has numbers for, in the one-byte form, without the block's header.
pub(crate) fn write(out: &mut Vec<u8>, values: &Extensions<'_>, map: &ExtensionMap) {
    let sequence = values.transport_sequence.map(u16::to_be_bytes);
    for (id, kind) in map.iter() {
        let value: Option<&[u8]> = match kind {
            ExtensionKind::Mid => values.mid,
            ExtensionKind::Rid => values.rid,
            ExtensionKind::RepairedRid => values.repaired_rid,
            ExtensionKind::AudioLevel => values.level.as_ref().map(std::slice::from_ref),
            ExtensionKind::TransportSequence => sequence.as_ref().map(<[u8; 2]>::as_slice),
            ExtensionKind::AbsSendTime => values.abs_send_time.as_ref().map(<[u8; 3]>::as_slice),
            ExtensionKind::VideoOrientation => {
                values.orientation.as_ref().map(std::slice::from_ref)
            }
            ExtensionKind::PlayoutDelay => values.playout_delay.as_ref().map(<[u8; 3]>::as_slice),
        };
        let Some(value) = value else { continue };
        if let (1..=16, [.., low]) = (
            value.len(),
            (len16(value.len()).wrapping_sub(1)).to_be_bytes(),
        ) {
            out.push(id << 4 | low);
            out.extend_from_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_a_cut_element_ends_the_block() {
        let map = ExtensionMap::from_pairs(&[
            (3, ExtensionKind::TransportSequence.uri()),
            (5, ExtensionKind::Mid.uri()),
        ]);
        let one = read(&[0x31, 1, 2, 0, 0x50, b'7'], 0xbede, &map);
        assert_eq!(
            (one.transport_sequence, one.mid),
            (Some(258), Some(&b"7"[..]))
        );
        let two = read(&[3, 2, 1, 2, 0, 5, 1, b'7'], 0x1000, &map);
        assert_eq!(one, two);
        let cut = read(&[0x31, 1, 2, 0x5f, b'7'], 0xbede, &map);
        assert_eq!((cut.transport_sequence, cut.mid), (Some(258), None));
        assert_eq!(read(&[0x31, 1, 2], 0x1234, &map), Extensions::default());
    }
}
