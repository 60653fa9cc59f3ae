//! Writes packets one behind the other into the buffer that is sealed afterwards.

use super::{
    PAYLOAD_FEEDBACK, RECEIVER_REPORT, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION,
    TRANSPORT_FEEDBACK,
};
use crate::bits::{len16, low8};

/// Appends packets to a buffer.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    fn begin(&mut self, count: u8, kind: u8, sender: u32) -> usize {
        let start = self.0.len();
        self.0.extend_from_slice(&[0x80 | count & 0x1f, kind, 0, 0]);
        self.u32(sender);
        start
    }

    fn end(&mut self, start: usize) {
        let words = len16((self.0.len() - start) / 4 - 1).to_be_bytes();
        self.0[start + 2..start + 4].copy_from_slice(&words);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    /// `times`: NTP and RTP time of one instant; `sent`: packets and payload bytes so far.
    pub(crate) fn sender_report(&mut self, ssrc: u32, times: (u64, u32), sent: (u32, u32)) {
        let start = self.begin(0, SENDER_REPORT, ssrc);
        self.0.extend_from_slice(&times.0.to_be_bytes());
        for value in [times.1, sent.0, sent.1] {
            self.u32(value);
        }
        self.end(start);
    }

    /// At most 31 blocks.
    pub(crate) fn receiver_report(&mut self, sender: u32, blocks: &[ReportBlock]) {
        let blocks = &blocks[..blocks.len().min(31)];
        let count = u8::try_from(blocks.len()).unwrap_or(31);
        let start = self.begin(count, RECEIVER_REPORT, sender);
        for block in blocks {
            self.u32(block.ssrc);
            self.u32(u32::from(block.fraction_lost) << 24 | block.lost & 0x00ff_ffff);
            for value in [block.highest, block.jitter, block.last_report, block.delay] {
                self.u32(value);
            }
        }
        self.end(start);
    }

    /// The canonical name of a source, at most 255 bytes.
    pub(crate) fn source_description(&mut self, ssrc: u32, cname: &str) {
        let start = self.begin(1, SOURCE_DESCRIPTION, ssrc);
        let name = &cname.as_bytes()[..cname.len().min(255)];
        self.0.push(1);
        self.0.push(u8::try_from(name.len()).unwrap_or(255));
        self.0.extend_from_slice(name);
        let len = self.0.len() - start;
        self.0.resize(start + (len + 1).next_multiple_of(4), 0);
        self.end(start);
    }

    /// Asks for the packets `lost`, in ascending order; does nothing for none.
    pub(crate) fn nack(&mut self, sender: u32, media: u32, lost: &[u16]) {
        let Some((&first, rest)) = lost.split_first() else {
            return;
        };
        let start = self.begin(1, TRANSPORT_FEEDBACK, sender);
        self.u32(media);
        let (mut first, mut mask) = (first, 0_u16);
        for &number in rest {
            let distance = number.wrapping_sub(first);
            if (1..=16).contains(&distance) {
                mask |= 1 << (distance - 1);
            } else {
                self.u32(u32::from(first) << 16 | u32::from(mask));
                (first, mask) = (number, 0);
            }
        }
        self.u32(u32::from(first) << 16 | u32::from(mask));
        self.end(start);
    }

    /// Asks for a key frame.
    pub(crate) fn picture_loss(&mut self, sender: u32, media: u32) {
        let start = self.begin(1, PAYLOAD_FEEDBACK, sender);
        self.u32(media);
        self.end(start);
    }

    /// Asks for a key frame as `FIR` number `number`.
    pub(crate) fn full_intra(&mut self, sender: u32, media: u32, number: u8) {
        let start = self.begin(4, PAYLOAD_FEEDBACK, sender);
        self.u32(0);
        self.u32(media);
        self.u32(u32::from(number) << 24);
        self.end(start);
    }

    /// Feedback of the whole transport: chunks and deltas are in `body` (see [`super::transport`]).
    pub(crate) fn transport(&mut self, sender: u32, media: u32, body: &[u8]) {
        let start = self.begin(15, TRANSPORT_FEEDBACK, sender);
        self.u32(media);
        self.0.extend_from_slice(body);
        let len = self.0.len() - start;
        let padding = len.next_multiple_of(4) - len;
        if padding > 0 {
            self.0.resize(start + len + padding, 0);
            if let Some(last) = self.0.last_mut() {
                *last = low8(padding as u64);
            }
            self.0[start] |= 0x20;
        }
        self.end(start);
    }
}
