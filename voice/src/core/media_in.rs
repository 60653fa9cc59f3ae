//! A media packet comes in and goes to whoever watches its track.

use super::Core;
use crate::bits::{be16, extend};
use crate::core::options::{Event, PeerId, TrackId};
use crate::core::peer::{Half, Publisher, SourceOf};
use crate::core::slab::Slab;
use crate::core::slot::{Media, Way};
use crate::core::track::{Layer, Track};
use crate::media::Micros;
use crate::rtp::vp8::Descriptor;
use crate::rtp::{Extensions, Header, PACKET_LEN_MAX, h264};
use crate::sdp::{CodecKind, MediaKind};
use crate::srtp::Refused;

const SOURCES_MAX: usize = 64;

/// Header and payload of a packet under its original number.
struct Packet<'a> {
    index: u64,
    header: Header,
    payload: &'a [u8],
    extensions: Extensions<'a>,
    repair: bool,
}

impl Core {
    pub(crate) fn handle_rtp(
        &mut self,
        id: PeerId,
        datagram: &mut [u8],
        now: Micros,
    ) -> Result<(), Refused> {
        let peer = self.peers.get_mut(id.0).ok_or(Refused::Malformed)?;
        let header = Header::parse(datagram).ok_or(Refused::Malformed)?;
        let (Some(keys), Half::Publisher(publisher)) = (&mut peer.keys, &mut peer.half) else {
            return Err(Refused::Malformed);
        };
        let (len, index) = keys.rx.open_rtp(datagram, &header)?;
        peer.heard = now;
        if len > PACKET_LEN_MAX {
            return Err(Refused::Malformed);
        }
        if !publisher.bucket.take(len, now) {
            self.stats.dropped.excess += 1;
            return Ok(());
        }
        let packet = &datagram[..len];
        let extensions = header.extensions(packet, &publisher.extensions);
        if let Some(sequence) = extensions.transport_sequence {
            publisher.arrivals.note(sequence, now.cast_signed());
        }
        let known = publisher.sources.get(&header.ssrc).copied();
        let source = if let Some(source) = known {
            source
        } else {
            let bound = bind(publisher, &mut self.tracks, &header, &extensions);
            let (source, renewed) = bound.ok_or(Refused::Malformed)?;
            if renewed {
                self.restart(source);
            }
            source
        };
        let payload = header.payload(packet).ok_or(Refused::Malformed)?;
        let track = self
            .tracks
            .get_mut(source.track.0)
            .ok_or(Refused::Malformed)?;
        let repair = source.repair || Some(header.payload_type) == track.codec.repair;
        if !repair && header.payload_type != track.codec.payload_type {
            return Err(Refused::Malformed);
        }
        let layer = track.layers.get(source.layer).ok_or(Refused::Malformed)?;
        let mut packet = Packet {
            index,
            header,
            payload,
            extensions,
            repair,
        };
        if repair {
            let Some(highest) = layer.seen.highest() else {
                return Ok(());
            };
            let Some(original) = be16(payload, 0) else {
                return Ok(());
            };
            packet.index = extend(highest, original);
            packet.payload = &payload[2..];
        }
        self.accept(source, &packet, now);
        Ok(())
    }

    /// The numbers of a layer begin anew: no slot may take them for those that it sent.
    fn restart(&mut self, source: SourceOf) {
        let Some(track) = self.tracks.get_mut(source.track.0) else {
            return;
        };
        if let Some(layer) = track.layers.get_mut(source.layer) {
            layer.want_key();
        }
        for (subscriber, place) in &track.subscriptions {
            let half = self.peers.get_mut(subscriber.0).map(|peer| &mut peer.half);
            if let Some(Half::Subscriber(receiver)) = half
                && let Some(slot) = receiver.slots.get_mut(*place)
            {
                slot.restart(source.layer);
            }
        }
    }

    /// Notes a packet in its layer and forwards it, once.
    fn accept(&mut self, source: SourceOf, packet: &Packet<'_>, now: Micros) {
        let Some(track) = self.tracks.get_mut(source.track.0) else {
            return;
        };
        let (codec, kind) = (track.codec.kind, track.kind);
        let Some(layer) = track.layers.get_mut(source.layer) else {
            return;
        };
        if !packet.repair {
            layer
                .receive
                .note(packet.index, packet.header.timestamp, now);
        }
        if !layer.seen.is_new(packet.index) {
            return;
        }
        layer.seen.note(packet.index);
        layer.missing.note(packet.index, now);
        layer.rate.note(packet.payload.len(), now);
        layer.last_packet = Some(now);
        layer.packets += 1;
        layer.bytes += packet.payload.len() as u64;
        layer.repaired += u64::from(packet.repair);
        self.stats.packets_in += 1;
        self.stats.repairs_in += u64::from(packet.repair);
        if track.muted {
            return;
        }
        let media = describe(codec, source.layer, packet);
        let frame = (media.timestamp, media.marker);
        layer
            .cache
            .insert(media.index, frame, media.orientation, media.payload);
        if layer.missing.take_broken() {
            layer.want_key();
        }
        if kind == MediaKind::Audio
            && let Some(level) = media.level
            && track.loudness.note(level, now)
        {
            let (room, participant) = (track.room, track.participant);
            self.tell(Event::Speaking {
                room,
                participant,
                speaking: true,
            });
            if let Some(room) = self.rooms.get_mut(room.0) {
                room.changed = true;
            }
        }
        self.forward(source.track, &media, now);
    }

    fn forward(&mut self, id: TrackId, media: &Media<'_>, now: Micros) {
        let Some(track) = self.tracks.get_mut(id.0) else {
            return;
        };
        let mut stale = None;
        for &(subscriber, place) in &track.subscriptions {
            let Some(peer) = self.peers.get_mut(subscriber.0) else {
                continue;
            };
            let (Half::Subscriber(receiver), Some(keys), Some(to)) =
                (&mut peer.half, &peer.keys, peer.address)
            else {
                continue;
            };
            let Some(slot) = receiver.slots.get_mut(place) else {
                continue;
            };
            let outbox = &mut self.outbox;
            let mut way = Way {
                to,
                tx: &keys.tx,
                estimate: &mut receiver.estimate,
                outbox,
                now,
            };
            match slot.forward(media, &mut way) {
                Ok(sent) => self.stats.packets_out += u64::from(sent),
                Err(error) => {
                    tracing::error!(%error, "a packet could not be sealed");
                    stale = Some(subscriber);
                }
            }
        }
        if let Some(subscriber) = stale {
            self.remove_peer(subscriber, "its packets could not be sealed", now);
        }
    }
}

fn describe<'a>(codec: CodecKind, layer: usize, packet: &Packet<'a>) -> Media<'a> {
    let vp8 = if codec == CodecKind::Vp8 {
        Descriptor::parse(packet.payload)
    } else {
        None
    };
    Media {
        layer,
        index: packet.index,
        timestamp: packet.header.timestamp,
        marker: packet.header.marker,
        payload: packet.payload,
        vp8,
        key_frame: match codec {
            CodecKind::Opus => true,
            CodecKind::Vp8 => vp8.is_some_and(|vp8| vp8.key_frame),
            CodecKind::H264 => h264::key_frame(packet.payload),
        },
        level: packet.extensions.level,
        orientation: packet.extensions.orientation,
    }
}

/// Finds out where a new source belongs: by its m-line and layer if it says them, else by its payload type if that is of
/// one track only. `true` if the client began anew under another source, so that nothing of the old numbers holds.
fn bind(
    publisher: &mut Publisher,
    tracks: &mut Slab<Track>,
    header: &Header,
    extensions: &Extensions<'_>,
) -> Option<(SourceOf, bool)> {
    if publisher.sources.len() >= SOURCES_MAX {
        return None;
    }
    let number = header.payload_type;
    let fits = |track: &Track| match extensions.mid {
        Some(mid) => track.mid.as_bytes() == mid,
        None => track.codec.payload_type == number || track.codec.repair == Some(number),
    };
    let mut fitting = publisher
        .tracks
        .iter()
        .filter(|id| tracks.get(id.0).is_some_and(fits));
    let (Some(&id), None) = (fitting.next(), fitting.next()) else {
        return None;
    };
    let track = tracks.get_mut(id.0)?;
    let repair = track.codec.repair == Some(number);
    let rid = if repair {
        extensions.repaired_rid.or(extensions.rid)
    } else {
        extensions.rid
    };
    let named = |layer: &Layer| rid.is_some() && layer.rid.as_deref().map(str::as_bytes) == rid;
    let place = match track.layers.as_slice() {
        [only] if only.rid.is_none() => 0,
        layers => layers.iter().position(named)?,
    };
    let source = SourceOf {
        track: id,
        layer: place,
        repair,
    };
    let mut renewed = false;
    if !repair {
        let kind = track.codec.kind;
        let layer = track.layers.get_mut(place)?;
        if let Some(old) = layer.ssrc.filter(|old| *old != header.ssrc) {
            publisher.sources.remove(&old);
            renewed = layer.seen.highest().is_some();
        }
        if renewed {
            *layer = Layer::new(kind, layer.rid.take());
        }
        layer.ssrc = Some(header.ssrc);
        publisher.any_ssrc = header.ssrc;
    }
    publisher.sources.insert(header.ssrc, source);
    Some((source, renewed))
}
