//! What one m-line of a publisher sends: a source, or up to three in simulcast.

use crate::core::options::{ParticipantId, PeerId, RoomId, TrackId};
use crate::media::cache::Cache;
use crate::media::missing::Missing;
use crate::media::rate::Rate;
use crate::media::receive::Receive;
use crate::media::speaker::Loudness;
use crate::media::{MILLISECOND, Micros};
use crate::sdp::{Codec, CodecKind, MediaKind};
use crate::srtp::Window;

const VIDEO_CACHE: u16 = 1024;
const AUDIO_CACHE: u16 = 128;
/// A key frame is ten times as large as others: so often and not more.
const KEY_REQUEST_PAUSE: Micros = 500 * MILLISECOND;

/// A published track.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    pub(crate) room: RoomId,
    pub(crate) owner: PeerId,
    pub(crate) participant: ParticipantId,
    pub(crate) mid: String,
    pub(crate) kind: MediaKind,
    pub(crate) codec: Codec,
    pub(crate) layers: Vec<Layer>,
    pub(crate) loudness: Loudness,
    pub(crate) muted: bool,
    /// Slots that show it: subscriber and place.
    pub(crate) subscriptions: Vec<(PeerId, usize)>,
}

/// One simulcast layer, or the only source.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) rid: Option<String>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) seen: Window,
    pub(crate) cache: Cache,
    pub(crate) missing: Missing,
    pub(crate) receive: Receive,
    pub(crate) rate: Rate,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) repaired: u64,
    /// Time pair of the last sender report, and when it came.
    pub(crate) clock: Option<(u64, u32, Micros)>,
    pub(crate) last_packet: Option<Micros>,
    key_wanted: bool,
    key_requested: Option<Micros>,
}

impl Track {
    /// Layers by measured rate, lowest first, with those rates; only those that flow.
    pub(crate) fn ladder(&mut self, now: Micros) -> Vec<(usize, u64)> {
        let mut ladder: Vec<_> = self
            .layers
            .iter_mut()
            .enumerate()
            .filter(|(_, layer)| layer.flows(now))
            .map(|(place, layer)| (place, layer.rate.bps(now)))
            .collect();
        ladder.sort_by_key(|(place, bps)| (*bps, *place));
        ladder
    }

    /// Whether retransmissions can be asked for.
    pub(crate) const fn can_ask(&self) -> bool {
        self.codec.feedback.nack
    }
}

impl Layer {
    pub(crate) fn new(kind: CodecKind, rid: Option<String>) -> Self {
        let cache = if kind == CodecKind::Opus {
            AUDIO_CACHE
        } else {
            VIDEO_CACHE
        };
        Self {
            rid,
            ssrc: None,
            seen: Window::default(),
            cache: Cache::new(cache),
            missing: Missing::default(),
            receive: Receive::new(kind.clock_rate()),
            rate: Rate::default(),
            packets: 0,
            bytes: 0,
            repaired: 0,
            clock: None,
            last_packet: None,
            key_wanted: false,
            key_requested: None,
        }
    }

    /// Whether packets came lately.
    pub(crate) fn flows(&self, now: Micros) -> bool {
        self.last_packet
            .is_some_and(|at| now.saturating_sub(at) < 1500 * MILLISECOND)
    }

    pub(crate) fn want_key(&mut self) {
        self.key_wanted = true;
    }

    /// Whether to ask for a key frame now; the wish is fulfilled by asking.
    pub(crate) fn take_key_request(&mut self, now: Micros) -> bool {
        let allowed = self
            .key_requested
            .is_none_or(|at| now.saturating_sub(at) >= KEY_REQUEST_PAUSE);
        if !(self.key_wanted && allowed && self.ssrc.is_some()) {
            return false;
        }
        self.key_wanted = false;
        self.key_requested = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::SECOND;

    #[test]
    fn key_frames_are_asked_for_when_wanted_and_not_more_than_twice_a_second() {
        let mut layer = Layer::new(CodecKind::Vp8, None);
        layer.ssrc = Some(1);
        let mut asked = 0;
        for now in (0..4 * SECOND).step_by(10_000) {
            layer.want_key();
            asked += u32::from(layer.take_key_request(now));
        }
        assert_eq!(asked, 8);
        assert!(layer.take_key_request(5 * SECOND), "the last wish waited");
        assert!(!layer.take_key_request(9 * SECOND), "nobody wants one");
    }
}
