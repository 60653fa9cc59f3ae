//! Every ten milliseconds: what is due by time and not by a datagram.

use std::time::Instant;

use super::{Core, TICK, control};
use crate::bits::low32;
use crate::core::options::{Event, PeerId, RoomId, TrackId};
use crate::core::outbox::Outbox;
use crate::core::peer::{Half, Peer};
use crate::core::slab::Slab;
use crate::core::slot::Slot;
use crate::core::track::Track;
use crate::media::{Micros, SECOND, ticks};
use crate::sdp::MediaKind;

/// In ticks.
const TRANSPORT_FEEDBACK_EVERY: u64 = 5;
const ROOMS_EVERY: u64 = 10;
const LAYERS_EVERY: u64 = 20;
const REPORTS_EVERY: u64 = 100;
/// Reports of slots in one datagram.
const REPORTS_IN_ONE: usize = 16;

impl Core {
    /// Does what is due; nothing before [`Core::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let instant = now;
        let now = self.micros(now);
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.ticks += 1;
        for id in self.peers.ids().into_iter().map(PeerId) {
            self.tick_handshake(id, instant, now);
        }
        self.ask_for_lost(now);
        let due = |every: u64| self.ticks.is_multiple_of(every);
        let (feedback, rooms) = (due(TRANSPORT_FEEDBACK_EVERY), due(ROOMS_EVERY));
        let (layers, reports) = (due(LAYERS_EVERY), due(REPORTS_EVERY));
        if feedback {
            self.send_transport_feedback();
        }
        if rooms {
            self.tick_rooms(now);
        }
        if layers {
            for id in self.peers.ids() {
                self.choose_layers(PeerId(id), now);
            }
        }
        if reports {
            self.send_reports(now);
            self.expire(now);
        }
    }

    fn tick_handshake(&mut self, id: PeerId, instant: Instant, now: Micros) {
        let Some(peer) = self.peers.get_mut(id.0) else {
            return;
        };
        if peer.dtls.poll_timeout().is_none_or(|due| due > instant) {
            return;
        }
        let progress = peer.dtls.handle_timeout(instant);
        while let Some(datagram) = peer.dtls.poll_transmit() {
            if let Some(to) = peer.address {
                self.outbox.push(&datagram, to);
            }
        }
        self.progress(id, progress, now);
    }

    /// Requests for lost packets and for key frames, to publishers.
    fn ask_for_lost(&mut self, now: Micros) {
        for id in self.tracks.ids() {
            self.ask_for_lost_of(TrackId(id), now);
            let (things, sinks) = (
                (&mut self.tracks, &mut self.peers),
                (&mut self.outbox, &mut self.stats),
            );
            control::request_keys(TrackId(id), things, sinks, now);
        }
    }

    fn ask_for_lost_of(&mut self, id: TrackId, now: Micros) {
        let Some(track) = self.tracks.get_mut(id.0) else {
            return;
        };
        let can_ask = track.can_ask();
        let Some(owner) = self.peers.get_mut(track.owner.0) else {
            return;
        };
        let sender = owner.ssrc;
        let numbers = &mut self.numbers;
        for layer in &mut track.layers {
            let Some(ssrc) = layer.ssrc else { continue };
            layer.missing.due(now, numbers);
            if layer.missing.take_broken() && track.kind == MediaKind::Video {
                layer.want_key();
            }
            if can_ask && !numbers.is_empty() {
                self.stats.asked += numbers.len() as u64;
                owner.send_rtcp(&mut self.outbox, |out| out.nack(sender, ssrc, numbers));
            }
        }
    }

    fn send_transport_feedback(&mut self) {
        let (outbox, body) = (&mut self.outbox, &mut self.scratch);
        for peer in self.peers.values_mut() {
            let sender = peer.ssrc;
            while let Half::Publisher(publisher) = &mut peer.half {
                let media = publisher.any_ssrc;
                if !publisher.arrivals.write(body) {
                    break;
                }
                peer.send_rtcp(outbox, |out| out.transport(sender, media, body));
            }
        }
    }

    fn tick_rooms(&mut self, now: Micros) {
        let mut quiet = Vec::new();
        for track in self
            .tracks
            .values_mut()
            .filter(|track| track.kind == MediaKind::Audio)
        {
            if track.loudness.ends(now) {
                quiet.push((track.room, track.participant));
            }
        }
        for (room, participant) in quiet {
            self.tell(Event::Speaking {
                room,
                participant,
                speaking: false,
            });
        }
        let changed: Vec<RoomId> = self
            .rooms
            .values()
            .filter(|room| room.changed)
            .map(|room| room.id)
            .collect();
        for room in changed {
            self.assign(room, now);
        }
    }

    fn send_reports(&mut self, now: Micros) {
        for peer in self.peers.values_mut() {
            if matches!(peer.half, Half::Publisher(_)) {
                report_to_publisher(peer, &mut self.tracks, &mut self.outbox, now);
            } else {
                report_to_subscriber(peer, &self.tracks, &mut self.outbox, now);
            }
        }
    }

    fn expire(&mut self, now: Micros) {
        let limits = &self.options.limits;
        let (handshake, idle) = (
            crate::bits::micros(limits.handshake),
            crate::bits::micros(limits.idle),
        );
        let mut gone = Vec::new();
        for peer in self.peers.values() {
            if peer.keys.is_none() && now.saturating_sub(peer.created) >= handshake {
                gone.push((peer.id, "no connection was made in time"));
            } else if now.saturating_sub(peer.heard) >= idle {
                gone.push((peer.id, "the client was not heard any more"));
            }
        }
        for (peer, reason) in gone {
            self.remove_peer(peer, reason, now);
        }
    }
}

/// How a publisher's sources arrive.
fn report_to_publisher(
    peer: &mut Peer,
    tracks: &mut Slab<Track>,
    outbox: &mut Outbox,
    now: Micros,
) {
    let (sender, mut blocks) = (peer.ssrc, Vec::new());
    let Half::Publisher(publisher) = &peer.half else {
        return;
    };
    for id in &publisher.tracks {
        let layers = tracks.get_mut(id.0).map(|track| track.layers.iter_mut());
        let layers = layers.into_iter().flatten();
        blocks.extend(layers.filter_map(|layer| layer.receive.block(layer.ssrc?, now)));
    }
    for blocks in blocks.chunks(31) {
        peer.send_rtcp(outbox, |out| {
            out.receiver_report(sender, blocks);
            out.source_description(sender, "voice");
        });
    }
}

/// Which time a subscriber's streams have.
fn report_to_subscriber(peer: &mut Peer, tracks: &Slab<Track>, outbox: &mut Outbox, now: Micros) {
    let Half::Subscriber(subscriber) = &mut peer.half else {
        return;
    };
    let mut reports = Vec::new();
    for slot in subscriber.slots.iter_mut().filter(|slot| slot.packets > 0) {
        let Some(times) = report_times(slot, tracks, now) else {
            continue;
        };
        slot.reported = Some((low32(times.0 >> 16), now));
        reports.push((slot.ssrc, times, (low32(slot.packets), low32(slot.bytes))));
    }
    for reports in reports.chunks(REPORTS_IN_ONE) {
        peer.send_rtcp(outbox, |out| {
            for (ssrc, times, sent) in reports {
                out.sender_report(*ssrc, *times, *sent);
            }
        });
    }
}

/// The publisher's clock, so that sound and picture of one publisher fit together at the receiver.
fn report_times(slot: &Slot, tracks: &Slab<Track>, now: Micros) -> Option<(u64, u32)> {
    let source = slot.source?;
    let track = tracks.get(source.track.0)?;
    let (ntp, rtp, at) = track.layers.get(source.layer?)?.clock?;
    let since = now.saturating_sub(at);
    let ntp_since = u64::try_from((u128::from(since) << 32) / u128::from(SECOND)).ok()?;
    let rtp = rtp.wrapping_add(ticks(since, track.codec.kind.clock_rate()));
    Some((ntp.wrapping_add(ntp_since), slot.rewrite.timestamp_of(rtp)?))
}
