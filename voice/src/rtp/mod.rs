//! RTP (RFC 3550), header extensions (RFC 8285), VP8 (RFC 7741) and H.264 (RFC 6184) as far as a forwarder looks.

pub(crate) mod extension;
pub(crate) mod h264;
pub(crate) mod header;
pub(crate) mod vp8;

pub(crate) use extension::{ExtensionKind, ExtensionMap, Extensions};
pub(crate) use header::{Header, OutHeader};

/// The largest RTP packet that is forwarded, before its authentication tag: an Ethernet frame has room for nothing larger.
pub(crate) const PACKET_LEN_MAX: usize = 1460;
