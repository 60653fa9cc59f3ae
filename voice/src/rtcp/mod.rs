//! RTCP (RFC 3550, RFC 4585, RFC 5104): the packets a forwarder reads and writes, and no others.
//!
//! Reading allocates nothing and looks only at bytes inside the packet's own length; lists are iterators over the bytes.

mod read;
pub(crate) mod transport;
mod write;

pub(crate) use read::{Packet, Packets, ReportBlock, intra_sources, nack_numbers};
pub(crate) use write::Writer;

pub(crate) const SENDER_REPORT: u8 = 200;
pub(crate) const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Whether the second byte of a packet with RTP's version is RTCP's (RFC 5761).
pub(crate) const fn is_rtcp(second: u8) -> bool {
    second >= 192 && second <= 223
}
