//! Packets that go out.

use super::cipher::{Cipher, PacketId};
use super::keys::KeyBlock;
use crate::error::Result;

/// The sending side of one peer. Who calls counts the packets of each source with more than 16 bits: the upper bits are
/// the rollover counter, which starts at zero on both sides.
pub(crate) struct Outbound {
    cipher: Cipher,
    rtcp_next: u32,
}

impl Outbound {
    pub(crate) fn new(block: &KeyBlock) -> Result<Self> {
        Ok(Self {
            cipher: Cipher::new(block)?,
            rtcp_next: 1,
        })
    }

    /// Seals the packet at the end of `out` that begins at `start`; `index` is its extended number.
    pub(crate) fn seal_rtp(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        (ssrc, index): (u32, u64),
    ) -> Result<()> {
        self.cipher
            .seal_rtp(out, start, header_len, PacketId { ssrc, index })
    }

    /// Seals the compound packet at the end of `out` that begins at `start`.
    pub(crate) fn seal_rtcp(&mut self, out: &mut Vec<u8>, start: usize) -> Result<()> {
        let index = self.rtcp_next;
        self.rtcp_next = (index + 1) & 0x7fff_ffff;
        self.cipher.seal_rtcp(out, start, index)
    }
}
