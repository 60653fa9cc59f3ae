//! SDP (RFC 8866) as WebRTC uses it (RFC 8829): an offer is read, an answer is written.
//!
//! An own reader, because the answer depends on a dozen attributes and every line of an offer is a stranger's: lengths and
//! counts are limited before anything is kept, and what is not understood is passed over.

mod answer;
mod offer;

pub(crate) use answer::{Answer, AnswerMedia, Transport};
pub(crate) use offer::{Codec, CodecKind, Direction, Media, Offer};

use crate::rtp::ExtensionMap;

/// What kind of media an m-line carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Camera or screen.
    Video,
}

/// What was agreed for one m-line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) mid: String,
    pub(crate) codecs: Vec<Codec>,
    pub(crate) extensions: ExtensionMap,
}

#[cfg(test)]
mod tests;
