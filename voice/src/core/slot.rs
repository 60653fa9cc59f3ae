//! One m-line of a subscriber: a continuous stream whose source may change.
//!
//! Retransmissions go only as RTX (RFC 4588): the same packet again under its own number would seal changed header
//! extensions under a used nonce. A subscriber that offers no RTX gets none.

use std::net::SocketAddr;

use crate::bits::{low8, low16, low32};
use crate::core::options::{TrackId, Watch};
use crate::core::outbox::Outbox;
use crate::error::Result;
use crate::media::cache::Cached;
use crate::media::estimate::{Estimate, Estimator};
use crate::media::rate::Bucket;
use crate::media::rewrite::{Place, Rewrite};
use crate::media::{MILLISECOND, Micros};
use crate::random;
use crate::rtp::vp8::Descriptor;
use crate::rtp::{ExtensionKind, Extensions, OutHeader};
use crate::sdp::{Agreed, Codec, CodecKind, MediaKind};
use crate::srtp::Outbound;

/// Packets that say which m-line they are of; until then the receiver has surely seen one.
const NAMED_PACKETS: u64 = 200;
const RESENT: usize = 64;
const RESEND_PAUSE: Micros = 20 * MILLISECOND;

/// A packet of a publisher, decrypted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Media<'a> {
    pub(crate) layer: usize,
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
    pub(crate) vp8: Option<Descriptor>,
    pub(crate) key_frame: bool,
    pub(crate) level: Option<u8>,
    pub(crate) orientation: Option<u8>,
}

/// Everything that sending to a subscriber needs besides the slot.
pub(crate) struct Way<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) tx: &'a Outbound,
    pub(crate) estimate: &'a mut Estimate,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) now: Micros,
}

/// What stands behind a slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) track: TrackId,
    pub(crate) since: Micros,
    /// Which agreed codec its packets are announced as.
    pub(crate) codec: usize,
    pub(crate) layer: Option<usize>,
    /// The layer to change to at its next key frame.
    pub(crate) target: usize,
}

/// The slot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) kind: MediaKind,
    pub(crate) agreed: Agreed,
    pub(crate) ssrc: u32,
    pub(crate) repair_ssrc: u32,
    pub(crate) source: Option<Source>,
    pub(crate) watch: Watch,
    pub(crate) rewrite: Rewrite,
    repair_next: u64,
    resent: [(u16, Micros); RESENT],
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) repaired: u64,
    pub(crate) lost: u64,
    pub(crate) jitter: u32,
    pub(crate) round_trip: Option<Micros>,
    /// Middle bits of our last report's time, and when it went.
    pub(crate) reported: Option<(u32, Micros)>,
    transport_feedback: bool,
}

impl Slot {
    pub(crate) fn new(kind: MediaKind, agreed: Agreed) -> Result<Self> {
        let [first, repair] =
            [random::number()?, random::number()?].map(|number| low16(u64::from(number & 0x7fff)));
        Ok(Self {
            kind,
            transport_feedback: agreed
                .extensions
                .id(ExtensionKind::TransportSequence)
                .is_some()
                && agreed.codecs.iter().any(|codec| codec.feedback.transport),
            agreed,
            ssrc: random::number()?,
            repair_ssrc: random::number()?,
            source: None,
            watch: Watch::Any,
            rewrite: Rewrite::new(first, random::number()?),
            repair_next: u64::from(repair),
            resent: [(0, 0); RESENT],
            packets: 0,
            bytes: 0,
            repaired: 0,
            lost: 0,
            jitter: 0,
            round_trip: None,
            reported: None,
        })
    }

    /// Whether the subscriber says when each packet came.
    pub(crate) const fn has_feedback(&self) -> bool {
        self.transport_feedback
    }

    /// The place of the agreed codec that can carry `codec`.
    pub(crate) fn codec_for(&self, codec: &Codec) -> Option<usize> {
        self.agreed
            .codecs
            .iter()
            .position(|ours| ours.accepts(codec))
    }

    /// The numbers of a layer began anew; if it goes out, it begins anew here too.
    pub(crate) fn restart(&mut self, layer: usize) {
        if let Some(source) = &mut self.source
            && source.layer == Some(layer)
        {
            source.layer = None;
            source.target = layer;
            self.rewrite.end();
        }
    }

    /// Forwards a packet if it is of the layer that goes out, or of the one to change to and it may begin here.
    /// `true` if it went.
    pub(crate) fn forward(&mut self, packet: &Media<'_>, way: &mut Way<'_>) -> Result<bool> {
        let Some(source) = &mut self.source else {
            return Ok(false);
        };
        let Some(codec) = self.agreed.codecs.get(source.codec) else {
            return Ok(false);
        };
        let may_begin = packet.key_frame || self.kind == MediaKind::Audio;
        let mut begins = false;
        if source.layer != Some(packet.layer) {
            if packet.layer != source.target || !may_begin {
                return Ok(false);
            }
            source.layer = Some(packet.layer);
            begins = true;
            let start = (packet.index, packet.timestamp);
            self.rewrite
                .begin(start, packet.vp8.as_ref(), codec.kind.clock_rate(), way.now);
        }
        let Some(place) = self.rewrite.place(packet.index, packet.timestamp) else {
            return Ok(false);
        };
        let header = OutHeader {
            marker: packet.marker || begins && self.kind == MediaKind::Audio,
            payload_type: codec.payload_type,
            seq: low16(place.index),
            timestamp: place.timestamp,
            ssrc: self.ssrc,
        };
        let extensions = Extensions {
            level: packet.level,
            orientation: packet.orientation,
            ..Extensions::default()
        };
        let body = Body {
            original: None,
            payload: packet.payload,
            vp8: packet.vp8,
            place,
        };
        let sent = self.send(header, extensions, &body, (place.index, way))?;
        if sent {
            self.rewrite.note(place, packet.vp8.as_ref(), way.now);
            self.packets += 1;
            self.bytes += packet.payload.len() as u64;
        }
        Ok(sent)
    }

    /// The number of the source's packet that the subscriber lost as `seq`, unless it went again a moment ago.
    pub(crate) fn lost_packet(&mut self, seq: u16, now: Micros) -> Option<u64> {
        let codec = self.agreed.codecs.get(self.source?.codec)?;
        codec.repair?;
        let index = self.rewrite.source_of(seq)?;
        let entry = &mut self.resent[usize::from(seq) % RESENT];
        if *entry != (0, 0) && entry.0 == seq && now.saturating_sub(entry.1) < RESEND_PAUSE {
            return None;
        }
        *entry = (seq, now);
        Some(index)
    }

    /// Sends a packet of the source again. `true` if it went.
    pub(crate) fn resend(
        &mut self,
        index: u64,
        kept: &Cached,
        way: &mut Way<'_>,
        bucket: &mut Bucket,
    ) -> Result<bool> {
        let codec = self
            .source
            .and_then(|source| self.agreed.codecs.get(source.codec));
        let Some((codec, repair)) = codec.and_then(|codec| Some((codec, codec.repair?))) else {
            return Ok(false);
        };
        let Some(place) = self.rewrite.place(index, kept.timestamp) else {
            return Ok(false);
        };
        if !bucket.take(kept.payload.len(), way.now) {
            return Ok(false);
        }
        let vp8 = if codec.kind == CodecKind::Vp8 {
            Descriptor::parse(&kept.payload)
        } else {
            None
        };
        let number = self.repair_next;
        let header = OutHeader {
            marker: kept.marker,
            payload_type: repair,
            seq: low16(number),
            timestamp: place.timestamp,
            ssrc: self.repair_ssrc,
        };
        let extensions = Extensions {
            orientation: kept.orientation,
            ..Extensions::default()
        };
        let body = Body {
            original: Some(low16(place.index)),
            payload: &kept.payload,
            vp8,
            place,
        };
        let sent = self.send(header, extensions, &body, (number, way))?;
        if sent {
            self.repair_next += 1;
            self.repaired += 1;
        }
        Ok(sent)
    }

    fn send<'a>(
        &'a self,
        header: OutHeader,
        mut extensions: Extensions<'a>,
        body: &Body<'_>,
        (index, way): (u64, &mut Way<'_>),
    ) -> Result<bool> {
        let Some(start) = way.outbox.begin() else {
            return Ok(false);
        };
        if self.packets < NAMED_PACKETS {
            extensions.mid = Some(self.agreed.mid.as_bytes());
        }
        if self.transport_feedback {
            extensions.transport_sequence =
                Some(way.estimate.sent(body.payload.len() + 60, way.now));
        }
        extensions.abs_send_time = Some(abs_send_time(way.now));
        let out = &mut way.outbox.bytes;
        let header_len = header.write(out, &extensions, &self.agreed.extensions);
        if let Some(original) = body.original {
            out.extend_from_slice(&original.to_be_bytes());
        }
        let payload = out.len();
        out.extend_from_slice(body.payload);
        if let Some(vp8) = &body.vp8 {
            body.place.shift.apply(vp8, &mut out[payload..]);
        }
        if let Err(error) = way
            .tx
            .seal_rtp(out, start, header_len, (header.ssrc, index))
        {
            way.outbox.cancel(start);
            return Err(error);
        }
        way.outbox.end(start, way.to);
        Ok(true)
    }
}

/// What stands behind the header.
struct Body<'a> {
    /// The number under which a retransmission was lost.
    original: Option<u16>,
    payload: &'a [u8],
    vp8: Option<Descriptor>,
    place: Place,
}

/// 6.18 bits of seconds.
fn abs_send_time(now: Micros) -> [u8; 3] {
    let value = low32(
        (((u128::from(now) << 18) / 1_000_000) & 0xff_ffff)
            .try_into()
            .unwrap_or(0),
    );
    [16, 8, 0].map(|shift| low8(u64::from(value >> shift)))
}
