//! What a receiver report says of one source (RFC 3550 sections 6.4.1 and A.8).

use super::{Micros, SECOND, ticks};
use crate::bits::{low8, low32};
use crate::rtcp::ReportBlock;

/// Counters of one source.
#[derive(Clone, Debug)]
pub(crate) struct Receive {
    clock_rate: u32,
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// 16ths of a tick.
    jitter: u32,
    transit: Option<u32>,
    report: Option<(u32, Micros)>,
}

impl Receive {
    pub(crate) const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            base: None,
            highest: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            transit: None,
            report: None,
        }
    }

    /// Notes a packet that came on its own (not as a repair).
    pub(crate) fn note(&mut self, index: u64, timestamp: u32, now: Micros) {
        let base = *self.base.get_or_insert(index);
        if index < base {
            return;
        }
        self.received += 1;
        if index >= self.highest {
            self.highest = index;
            let transit = ticks(now, self.clock_rate).wrapping_sub(timestamp);
            if let Some(before) = self.transit.replace(transit) {
                let distance = transit.wrapping_sub(before).cast_signed().unsigned_abs();
                if distance < self.clock_rate {
                    self.jitter = self.jitter + distance - (self.jitter + 8) / 16;
                }
            }
        }
    }

    /// Notes the middle bits of the time in a sender report.
    pub(crate) fn note_report(&mut self, ntp: u64, now: Micros) {
        self.report = Some((low32(ntp >> 16), now));
    }

    /// Jitter in ticks of the media clock.
    pub(crate) const fn jitter(&self) -> u32 {
        self.jitter / 16
    }

    /// Packets that never came on their own.
    pub(crate) fn lost(&self) -> u64 {
        self.expected().saturating_sub(self.received)
    }

    fn expected(&self) -> u64 {
        self.base.map_or(0, |base| self.highest - base + 1)
    }

    /// A block for the next report; `None` before the first packet.
    pub(crate) fn block(&mut self, ssrc: u32, now: Micros) -> Option<ReportBlock> {
        self.base?;
        let expected = self.expected() - self.expected_before;
        let received = self.received - self.received_before;
        self.expected_before += expected;
        self.received_before += received;
        let lost = expected.saturating_sub(received);
        let fraction = (lost * 256).checked_div(expected).unwrap_or(0).min(255);
        let (last_report, delay) = self.report.map_or((0, 0), |(ntp, at)| {
            (ntp, low32((now - at) * 65_536 / SECOND))
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: low8(fraction),
            lost: low32(self.lost().min(0x7f_ffff)),
            highest: low32(self.highest),
            jitter: self.jitter(),
            last_report,
            delay,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MILLISECOND;

    #[test]
    fn every_tenth_lost_is_reported_as_a_tenth() {
        let mut receive = Receive::new(48_000);
        for i in (0..100_u64).filter(|i| i % 10 != 5) {
            receive.note(1000 + i, low32(i * 960), i * 20 * MILLISECOND);
        }
        let block = receive.block(7, 2 * SECOND).expect("packets came");
        assert_eq!(
            (block.lost, block.fraction_lost, block.highest, block.jitter),
            (10, 25, 1099, 0)
        );
        let idle = receive.block(7, 3 * SECOND).expect("packets came");
        assert_eq!((idle.lost, idle.fraction_lost), (10, 0));
    }

    #[test]
    fn jitter_of_alternating_delays_converges_to_their_difference() {
        let mut receive = Receive::new(48_000);
        for i in 0..400_u64 {
            receive.note(
                i,
                low32(i * 960),
                i * 20 * MILLISECOND + i % 2 * 5 * MILLISECOND,
            );
        }
        assert!(
            (230..=240).contains(&receive.jitter()),
            "{}",
            receive.jitter()
        );
    }
}
