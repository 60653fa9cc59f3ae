//! The fixed header of RTP, its reader and its writer.

use crate::bits::{be16, be32, len16};
use crate::rtp::extension::{self, ExtensionMap, Extensions};

const FIXED_LEN: usize = 12;

/// What the first bytes of an RTP packet say; positions are checked against the packet's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Whether the last byte of the (decrypted) payload counts padding.
    padding: bool,
    /// Profile of the extension block, 0 without one.
    profile: u16,
    extension_start: usize,
    /// Everything in front of the payload: what SRTP authenticates but does not encrypt.
    pub(crate) len: usize,
}

impl Header {
    /// Reads the header; `None` if this is not RTP version 2 or is cut short.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let (&[first, second, ..], true) = (packet.first_chunk::<FIXED_LEN>()?, true) else {
            return None;
        };
        if first >> 6 != 2 {
            return None;
        }
        let mut len = FIXED_LEN + 4 * usize::from(first & 0x0f);
        let (mut profile, mut extension_start) = (0, len);
        if first & 0x10 != 0 {
            profile = be16(packet, len)?;
            let words = usize::from(be16(packet, len + 2)?);
            extension_start = len + 4;
            len = extension_start + 4 * words;
        }
        if len > packet.len() {
            return None;
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            seq: be16(packet, 2)?,
            timestamp: be32(packet, 4)?,
            ssrc: be32(packet, 8)?,
            padding: first & 0x20 != 0,
            profile,
            extension_start,
            len,
        })
    }

    /// The payload of a decrypted packet without its padding; `None` if the padding is longer than the payload.
    pub(crate) fn payload<'a>(&self, packet: &'a [u8]) -> Option<&'a [u8]> {
        let payload = packet.get(self.len..)?;
        if !self.padding {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        if padding == 0 {
            return None;
        }
        payload.get(..payload.len().checked_sub(padding)?)
    }

    /// The extensions that `map` knows.
    pub(crate) fn extensions<'a>(&self, packet: &'a [u8], map: &ExtensionMap) -> Extensions<'a> {
        packet
            .get(self.extension_start..self.len)
            .map_or_else(Extensions::default, |block| {
                extension::read(block, self.profile, map)
            })
    }
}

/// The header of a packet that goes out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutHeader {
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

impl OutHeader {
    /// Appends header and extensions to `out` and returns their length.
    pub(crate) fn write(
        &self,
        out: &mut Vec<u8>,
        extensions: &Extensions<'_>,
        map: &ExtensionMap,
    ) -> usize {
        let start = out.len();
        out.push(0x80);
        out.push(u8::from(self.marker) << 7 | self.payload_type & 0x7f);
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.ssrc.to_be_bytes());
        let block = out.len();
        out.extend_from_slice(&[0xbe, 0xde, 0, 0]);
        extension::write(out, extensions, map);
        let body = out.len() - block - 4;
        if body == 0 {
            out.truncate(block);
        } else {
            out.resize(block + 4 + body.next_multiple_of(4), 0);
            let words = len16(body.div_ceil(4)).to_be_bytes();
            out[block + 2..block + 4].copy_from_slice(&words);
            out[start] |= 0x10;
        }
        out.len() - start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_with_its_extensions() {
        let map = ExtensionMap::from_pairs(&[
            (1, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
            (4, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        ]);
        let header = OutHeader {
            marker: true,
            payload_type: 111,
            seq: 65_535,
            timestamp: 7,
            ssrc: 9,
        };
        let extensions = Extensions {
            mid: Some(b"a1"),
            level: Some(0x85),
            ..Extensions::default()
        };
        let mut packet = Vec::new();
        let len = header.write(&mut packet, &extensions, &map);
        packet.extend_from_slice(b"payload");
        let read = Header::parse(&packet).expect("it was written by us");
        assert_eq!(read.len, len);
        assert_eq!(
            (
                read.marker,
                read.payload_type,
                read.seq,
                read.timestamp,
                read.ssrc
            ),
            (true, 111, 65_535, 7, 9)
        );
        assert_eq!(read.payload(&packet), Some(&b"payload"[..]));
        assert_eq!(read.extensions(&packet, &map), extensions);
    }

    #[test]
    fn padding_longer_than_the_payload_is_refused() {
        let mut packet = vec![0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5, 6, 2];
        let header = Header::parse(&packet).expect("a header");
        assert_eq!(header.payload(&packet), Some(&[5][..]));
        for wrong in [0, 4, 255] {
            packet[14] = wrong;
            assert_eq!(header.payload(&packet), None);
        }
    }

    #[test]
    fn a_cut_header_is_refused_at_every_length() {
        let whole = [
            0x91, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xbe, 0xde, 0, 1, 0x10, 5, 0, 0,
        ];
        assert!(Header::parse(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(Header::parse(&whole[..len]), None, "{len}");
        }
    }
}
