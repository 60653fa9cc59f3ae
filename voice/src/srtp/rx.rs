//! Packets that come in: index, replay, authenticity, in this order of cost; state changes only for authentic ones.

use std::collections::HashMap;

use super::cipher::{Cipher, PacketId};
use super::keys::KeyBlock;
use super::replay::Window;
use crate::bits::{be32, extend};
use crate::error::Result;
use crate::rtp::Header;

/// Sources that one peer may send; a browser with two cameras in three layers with repair has 14.
const SOURCES_MAX: usize = 64;

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too short, or of a source beyond the limit.
    Malformed,
    /// Its number was seen or is too old.
    Replayed,
    /// The tag does not match.
    Forged,
}

/// The receiving side of one peer.
pub(crate) struct Inbound {
    cipher: Cipher,
    rtp: HashMap<u32, Window>,
    rtcp: HashMap<u32, Window>,
}

impl Inbound {
    pub(crate) fn new(block: &KeyBlock) -> Result<Self> {
        Ok(Self {
            cipher: Cipher::new(block)?,
            rtp: HashMap::new(),
            rtcp: HashMap::new(),
        })
    }

    /// Decrypts in place: the length of the plain packet and its extended number.
    pub(crate) fn open_rtp(
        &mut self,
        packet: &mut [u8],
        header: &Header,
    ) -> std::result::Result<(usize, u64), Refused> {
        let known = self.rtp.get(&header.ssrc);
        let index = match known.and_then(Window::highest) {
            Some(highest) => extend(highest, header.seq),
            None => u64::from(header.seq),
        };
        if known.is_some_and(|window| !window.is_new(index)) {
            return Err(Refused::Replayed);
        }
        if known.is_none() && self.rtp.len() >= SOURCES_MAX {
            return Err(Refused::Malformed);
        }
        let id = PacketId {
            ssrc: header.ssrc,
            index,
        };
        let len = self
            .cipher
            .open_rtp(packet, header.len, id)
            .ok_or(Refused::Forged)?;
        self.rtp.entry(header.ssrc).or_default().note(index);
        Ok((len, index))
    }

    /// Decrypts in place: the length of the plain compound packet.
    pub(crate) fn open_rtcp(&mut self, packet: &mut [u8]) -> std::result::Result<usize, Refused> {
        let index = self.cipher.rtcp_index(packet).ok_or(Refused::Malformed)?;
        let ssrc = be32(packet, 4).ok_or(Refused::Malformed)?;
        let known = self.rtcp.get(&ssrc);
        if known.is_some_and(|window| !window.is_new(u64::from(index))) {
            return Err(Refused::Replayed);
        }
        if known.is_none() && self.rtcp.len() >= SOURCES_MAX {
            return Err(Refused::Malformed);
        }
        let len = self
            .cipher
            .open_rtcp(packet, index)
            .ok_or(Refused::Forged)?;
        self.rtcp.entry(ssrc).or_default().note(u64::from(index));
        Ok(len)
    }
}

#[cfg(test)]
impl Inbound {
    pub(crate) fn sources(&self) -> usize {
        self.rtp.len()
    }
}
