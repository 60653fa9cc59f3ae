//! Reads compound packets.

use super::{GOODBYE, PAYLOAD_FEEDBACK, RECEIVER_REPORT, SENDER_REPORT, TRANSPORT_FEEDBACK};
use crate::bits::{be16, be24, be32, be64};

const REPORT_BLOCK_LEN: usize = 24;

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    SenderReport {
        ssrc: u32,
        /// NTP time, 32.32 seconds.
        ntp: u64,
        rtp: u32,
        blocks: &'a [u8],
    },
    ReceiverReport {
        blocks: &'a [u8],
    },
    Goodbye,
    /// Lost packets of `media`: pairs of a first number and a mask of the 16 after it.
    Nack {
        media: u32,
        pairs: &'a [u8],
    },
    PictureLoss {
        media: u32,
    },
    FullIntra {
        entries: &'a [u8],
    },
    /// Feedback of the whole transport: read on with [`super::transport::Feedback`].
    Transport {
        body: &'a [u8],
    },
}

/// What a receiver says of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportBlock {
    pub(crate) ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    pub(crate) lost: u32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
    /// Middle 32 bits of the last sender report's time, and 1/65536 seconds since it came.
    pub(crate) last_report: u32,
    pub(crate) delay: u32,
}

impl ReportBlock {
    /// The blocks of a report.
    pub(crate) fn list(blocks: &[u8]) -> impl Iterator<Item = Self> + '_ {
        blocks.chunks_exact(REPORT_BLOCK_LEN).filter_map(|block| {
            Some(Self {
                ssrc: be32(block, 0)?,
                fraction_lost: *block.get(4)?,
                lost: be24(block, 5)?,
                highest: be32(block, 8)?,
                jitter: be32(block, 12)?,
                last_report: be32(block, 16)?,
                delay: be32(block, 20)?,
            })
        })
    }
}

/// The packets of a compound; ends at the first that does not fit.
#[derive(Clone, Debug)]
pub(crate) struct Packets<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        loop {
            let &[first, kind] = self.0.first_chunk()?;
            let len = 4 + 4 * usize::from(be16(self.0, 2)?);
            let (packet, rest) = self.0.split_at_checked(len)?;
            if first >> 6 != 2 {
                return None;
            }
            self.0 = rest;
            if let Some(known) = read(packet, first & 0x1f, kind) {
                return Some(known);
            }
        }
    }
}

/// `None` for what is unknown or cut; the compound goes on behind it.
fn read(packet: &[u8], count: u8, kind: u8) -> Option<Packet<'_>> {
    let blocks = |from: usize| {
        let all = packet.get(from..)?;
        all.get(..(REPORT_BLOCK_LEN * usize::from(count)).min(all.len()))
    };
    match (kind, count) {
        (SENDER_REPORT, _) => Some(Packet::SenderReport {
            ssrc: be32(packet, 4)?,
            ntp: be64(packet, 8)?,
            rtp: be32(packet, 16)?,
            blocks: blocks(28)?,
        }),
        (RECEIVER_REPORT, _) => Some(Packet::ReceiverReport { blocks: blocks(8)? }),
        (GOODBYE, _) => Some(Packet::Goodbye),
        (TRANSPORT_FEEDBACK, 1) => Some(Packet::Nack {
            media: be32(packet, 8)?,
            pairs: packet.get(12..)?,
        }),
        (TRANSPORT_FEEDBACK, 15) => Some(Packet::Transport {
            body: packet.get(12..)?,
        }),
        (PAYLOAD_FEEDBACK, 1) => Some(Packet::PictureLoss {
            media: be32(packet, 8)?,
        }),
        (PAYLOAD_FEEDBACK, 4) => Some(Packet::FullIntra {
            entries: packet.get(12..)?,
        }),
        _ => None,
    }
}

/// The numbers that a NACK names.
pub(crate) fn nack_numbers(pairs: &[u8]) -> impl Iterator<Item = u16> + '_ {
    pairs.chunks_exact(4).flat_map(|pair| {
        let first = be16(pair, 0).unwrap_or_default();
        let mask = be16(pair, 2).unwrap_or_default();
        std::iter::once(first).chain(
            (0..16)
                .filter(move |bit| mask >> bit & 1 == 1)
                .map(move |bit| first.wrapping_add(bit + 1)),
        )
    })
}

/// The sources that a full intra request names.
pub(crate) fn intra_sources(entries: &[u8]) -> impl Iterator<Item = u32> + '_ {
    entries.chunks_exact(8).filter_map(|entry| be32(entry, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::Writer;

    #[test]
    fn a_compound_reads_back_what_was_written() {
        let mut out = Vec::new();
        let block = ReportBlock {
            ssrc: 5,
            fraction_lost: 12,
            lost: 34,
            highest: 70_000,
            jitter: 9,
            last_report: 1,
            delay: 2,
        };
        Writer(&mut out).receiver_report(1, &[block]);
        Writer(&mut out).sender_report(1, (1 << 40, 90_000), (3, 400));
        Writer(&mut out).nack(1, 5, &[10, 11, 26, 27, 40]);
        Writer(&mut out).picture_loss(1, 5);
        let packets: Vec<_> = Packets(&out).collect();
        assert_eq!(packets.len(), 4);
        let Packet::ReceiverReport { blocks } = packets[0] else {
            panic!("{packets:?}")
        };
        assert_eq!(ReportBlock::list(blocks).collect::<Vec<_>>(), [block]);
        assert!(
            matches!(packets[1], Packet::SenderReport { ssrc: 1, ntp, rtp: 90_000, .. } if ntp == 1 << 40)
        );
        let Packet::Nack { media: 5, pairs } = packets[2] else {
            panic!("{packets:?}")
        };
        assert_eq!(
            nack_numbers(pairs).collect::<Vec<_>>(),
            [10, 11, 26, 27, 40]
        );
        assert_eq!(pairs.len(), 8, "26 is in the mask of 10, 40 in that of 27");
        assert_eq!(packets[3], Packet::PictureLoss { media: 5 });
    }

    #[test]
    fn a_length_beyond_the_end_stops_the_compound() {
        let mut out = Vec::new();
        Writer(&mut out).picture_loss(1, 5);
        out.extend_from_slice(&[0x81, 206, 0xff, 0xff, 0, 0, 0, 1]);
        assert_eq!(Packets(&out).count(), 1);
    }
}
