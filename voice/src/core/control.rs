//! RTCP comes in: reports, requests for lost packets and key frames, feedback of the transport.

use super::Core;
use crate::core::options::{PeerId, TrackId};
use crate::core::peer::{Half, Peer, Publisher, Subscriber};
use crate::core::slab::Slab;
use crate::core::slot::Way;
use crate::core::stats::Stats;
use crate::core::track::Track;
use crate::media::estimate::Estimator;
use crate::media::{Micros, SECOND};
use crate::rtcp::{Packet, Packets, ReportBlock, intra_sources, nack_numbers, transport};
use crate::srtp::Refused;

/// Numbers of one datagram that are answered; a receiver that lost more needs a key frame.
const NACK_MAX: usize = 256;

impl Core {
    pub(crate) fn handle_rtcp(
        &mut self,
        id: PeerId,
        datagram: &mut [u8],
        now: Micros,
    ) -> Result<(), Refused> {
        let peer = self.peers.get_mut(id.0).ok_or(Refused::Malformed)?;
        let keys = peer.keys.as_mut().ok_or(Refused::Malformed)?;
        let len = keys.rx.open_rtcp(datagram)?;
        peer.heard = now;
        let packets = Packets(&datagram[..len]);
        match &mut peer.half {
            Half::Publisher(publisher) => note_reports(publisher, &mut self.tracks, packets, now),
            Half::Subscriber(_) => self.answer_subscriber(id, packets, now),
        }
        Ok(())
    }

    fn answer_subscriber(&mut self, id: PeerId, packets: Packets<'_>, now: Micros) {
        let mut arrivals = Vec::new();
        let mut key_wanted = Vec::new();
        let mut left = NACK_MAX;
        for packet in packets {
            let Some(peer) = self.peers.get_mut(id.0) else {
                return;
            };
            let Half::Subscriber(subscriber) = &mut peer.half else {
                return;
            };
            match packet {
                Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks } => {
                    ReportBlock::list(blocks).for_each(|block| note_block(subscriber, &block, now));
                }
                Packet::Transport { body } => {
                    if transport::read(body, &mut arrivals).is_some() {
                        subscriber.estimate.feedback(&arrivals, now);
                    }
                }
                Packet::PictureLoss { media } => key_wanted.push(media),
                Packet::FullIntra { entries } => key_wanted.extend(intra_sources(entries).take(64)),
                Packet::Nack { media, pairs } => {
                    let numbers = nack_numbers(pairs).take(left);
                    left -= self.resend(id, media, numbers, now);
                }
                Packet::Goodbye => {}
            }
        }
        for media in key_wanted {
            self.want_key(id, media);
        }
    }

    /// Sends what is still here; how many numbers were looked at.
    fn resend(
        &mut self,
        id: PeerId,
        media: u32,
        numbers: impl Iterator<Item = u16>,
        now: Micros,
    ) -> usize {
        let Some(peer) = self.peers.get_mut(id.0) else {
            return 0;
        };
        let (Half::Subscriber(subscriber), Some(keys), Some(to)) =
            (&mut peer.half, &peer.keys, peer.address)
        else {
            return 0;
        };
        let Some(slot) = subscriber.slots.iter_mut().find(|slot| slot.ssrc == media) else {
            return 0;
        };
        let Some((track, layer)) = slot
            .source
            .and_then(|source| Some((source.track, source.layer?)))
        else {
            return 0;
        };
        let Some(layer) = self
            .tracks
            .get(track.0)
            .and_then(|track| track.layers.get(layer))
        else {
            return 0;
        };
        let mut way = Way {
            to,
            tx: &keys.tx,
            estimate: &mut subscriber.estimate,
            outbox: &mut self.outbox,
            now,
        };
        let mut looked_at = 0;
        for number in numbers {
            looked_at += 1;
            let Some(index) = slot.lost_packet(number, now) else {
                continue;
            };
            let Some(kept) = layer.cache.get(index) else {
                continue;
            };
            match slot.resend(index, kept, &mut way, &mut subscriber.repair) {
                Ok(sent) => self.stats.repairs_out += u64::from(sent),
                Err(error) => tracing::error!(%error, "a retransmission could not be sealed"),
            }
        }
        looked_at
    }

    fn want_key(&mut self, id: PeerId, media: u32) {
        let Some(Half::Subscriber(subscriber)) = self.peers.get(id.0).map(|peer| &peer.half) else {
            return;
        };
        let slot = subscriber.slots.iter().find(|slot| slot.ssrc == media);
        let Some(source) = slot.and_then(|slot| slot.source) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(source.track.0) else {
            return;
        };
        if let Some(layer) = track.layers.get_mut(source.layer.unwrap_or(source.target)) {
            layer.want_key();
        }
        request_keys(
            source.track,
            (&mut self.tracks, &mut self.peers),
            (&mut self.outbox, &mut self.stats),
            self.next_tick,
        );
    }
}

/// Asks the owner of a track for the key frames that are wanted and may be asked for.
pub(super) fn request_keys(
    id: TrackId,
    (tracks, peers): (&mut Slab<Track>, &mut Slab<Peer>),
    (outbox, stats): (&mut crate::core::outbox::Outbox, &mut Stats),
    now: Micros,
) {
    let Some(track) = tracks.get_mut(id.0) else {
        return;
    };
    let feedback = track.codec.feedback;
    let Some(owner) = peers.get_mut(track.owner.0) else {
        return;
    };
    let sender = owner.ssrc;
    for layer in &mut track.layers {
        let Some(ssrc) = layer.ssrc.filter(|_| layer.take_key_request(now)) else {
            continue;
        };
        stats.key_requests += 1;
        if feedback.picture_loss {
            owner.send_rtcp(outbox, |out| out.picture_loss(sender, ssrc));
        } else if feedback.full_intra {
            let number = match &mut owner.half {
                Half::Publisher(publisher) => {
                    publisher.intra_number = publisher.intra_number.wrapping_add(1);
                    publisher.intra_number
                }
                Half::Subscriber(_) => 0,
            };
            owner.send_rtcp(outbox, |out| out.full_intra(sender, ssrc, number));
        }
    }
}

fn note_reports(
    publisher: &Publisher,
    tracks: &mut Slab<Track>,
    packets: Packets<'_>,
    now: Micros,
) {
    for packet in packets {
        let Packet::SenderReport { ssrc, ntp, rtp, .. } = packet else {
            continue;
        };
        let Some(source) = publisher.sources.get(&ssrc).filter(|source| !source.repair) else {
            continue;
        };
        let layer = tracks
            .get_mut(source.track.0)
            .and_then(|track| track.layers.get_mut(source.layer));
        if let Some(layer) = layer {
            layer.clock = Some((ntp, rtp, now));
            layer.receive.note_report(ntp, now);
        }
    }
}

fn note_block(subscriber: &mut Subscriber, block: &ReportBlock, now: Micros) {
    let Some(slot) = subscriber
        .slots
        .iter_mut()
        .find(|slot| slot.ssrc == block.ssrc)
    else {
        return;
    };
    slot.lost = u64::from(block.lost);
    slot.jitter = block.jitter;
    if let Some((_, sent)) = slot
        .reported
        .filter(|(middle, _)| *middle == block.last_report)
    {
        let held = u64::from(block.delay) * SECOND / 65_536;
        slot.round_trip = Some(now.saturating_sub(sent).saturating_sub(held));
    }
}
