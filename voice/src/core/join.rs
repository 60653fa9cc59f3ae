//! From an offer to an answer: names, codecs, tracks and slots.

use std::collections::{HashMap, VecDeque};

use super::Core;
use crate::core::options::{Join, Joined, PeerId, Role, TrackId};
use crate::core::peer::{Half, Peer, Publisher, SourceOf, Subscriber};
use crate::core::slot::Slot;
use crate::core::track::{Layer, Track};
use crate::dtls::Dtls;
use crate::error::{Error, ErrorKind, Result};
use crate::media::Micros;
use crate::media::estimate::Estimate;
use crate::media::rate::Bucket;
use crate::media::speaker::Loudness;
use crate::random;
use crate::rtcp::transport::Recorder;
use crate::rtp::ExtensionMap;
use crate::sdp::{
    Agreed, Answer, AnswerMedia, Codec, CodecKind, Direction, Media, Offer, Transport,
};

impl Core {
    /// Takes a client into a room: reads its offer, gives the answer. Media flows when the client has connected, which
    /// [`crate::Event::Connected`] says.
    pub fn join(&mut self, join: &Join<'_>, now: std::time::Instant) -> Result<Joined> {
        let now = self.micros(now);
        let limits = &self.options.limits;
        let room = self
            .rooms
            .get(join.room.0)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the room is not here"))?;
        let full = |what: &str, count: usize| {
            Error::new(
                ErrorKind::Overloaded,
                format!("{what} has its {count} connections: try later or another node"),
            )
        };
        if self.peers.len() >= limits.peers {
            return Err(full("this node", limits.peers));
        }
        if room.peers.len() >= limits.peers_per_room {
            return Err(full("the room", limits.peers_per_room));
        }
        let offer = Offer::parse(join.offer)?;
        let names = Names {
            ufrag: random::text::<8>()?,
            password: random::text::<24>()?,
            session: random::number()?,
        };
        let agreed: Vec<Agreed> = self.agree(&offer, join.role)?;
        let ssrc = random::number()?;
        let slots = match join.role {
            Role::Publish => Vec::new(),
            Role::Subscribe => new_slots(&offer, &agreed)?,
        };
        let answer = self.answer(&offer, &agreed, &slots, (&names, join));
        let id = self.peers.insert_with(|id| Peer {
            id: PeerId(id),
            room: join.room,
            participant: join.participant,
            ufrag: names.ufrag.clone(),
            password: names.password,
            fingerprint: offer.fingerprint.clone(),
            addresses: VecDeque::new(),
            address: None,
            dtls: Dtls::new(),
            keys: None,
            created: now,
            heard: now,
            ssrc,
            half: Half::Subscriber(Box::new(Subscriber {
                slots,
                estimate: Estimate::default(),
                repair: Bucket::new(self.options.limits.repair_bps),
            })),
        });
        let peer = PeerId(id);
        if join.role == Role::Publish {
            self.add_tracks(peer, join, &offer, &agreed);
        }
        self.by_ufrag.insert(names.ufrag, (peer, offer.ufrag));
        if let Some(room) = self.rooms.get_mut(join.room.0) {
            room.peers.push(peer);
            room.changed = true;
        }
        Ok(Joined { peer, answer })
    }

    /// One entry per m-line, without codecs for those that are refused.
    fn agree(&self, offer: &Offer, role: Role) -> Result<Vec<Agreed>> {
        let wanted =
            |media: &&Media| media.is_usable() && direction(role, media.direction).is_some();
        let tracks_max = self.options.limits.tracks_per_peer;
        let count = offer.media.iter().filter(wanted).count();
        if count == 0 {
            let word = if role == Role::Publish {
                "sends (sendonly)"
            } else {
                "receives (recvonly)"
            };
            return Err(Error::invalid(format!("the offer {word} nothing")));
        }
        if count > tracks_max {
            return Err(Error::new(
                ErrorKind::Overloaded,
                format!("the offer has {count} media, {tracks_max} are allowed per connection"),
            ));
        }
        Ok(offer
            .media
            .iter()
            .map(|media| {
                let codecs = if wanted(&media) {
                    codecs(media, role)
                } else {
                    Vec::new()
                };
                Agreed {
                    mid: media.mid.clone(),
                    codecs,
                    extensions: media.extensions.clone(),
                }
            })
            .collect())
    }

    fn answer(
        &self,
        offer: &Offer,
        agreed: &[Agreed],
        slots: &[Slot],
        (names, join): (&Names, &Join<'_>),
    ) -> String {
        let streams: Vec<String> = (0..agreed.len())
            .map(|place| format!("s{}-{place}", names.session))
            .collect();
        let mut media = Vec::new();
        for ((offered, agreed), stream) in offer.media.iter().zip(agreed).zip(&streams) {
            let slot = slots
                .iter()
                .find(|slot| !agreed.codecs.is_empty() && slot.agreed.mid == agreed.mid);
            let repaired = agreed.codecs.iter().any(|codec| codec.repair.is_some());
            media.push(AnswerMedia {
                offered,
                codecs: &agreed.codecs,
                direction: direction(join.role, offered.direction).unwrap_or(Direction::Inactive),
                sources: slot.map(|slot| (slot.ssrc, repaired.then_some(slot.repair_ssrc))),
                stream,
            });
        }
        let transport = Transport {
            ufrag: &names.ufrag,
            password: &names.password,
            fingerprint: &self.identity.fingerprint,
            candidates: &self.options.candidates,
        };
        Answer {
            session: names.session,
            transport,
            media,
        }
        .render()
    }

    fn add_tracks(&mut self, peer: PeerId, join: &Join<'_>, offer: &Offer, agreed: &[Agreed]) {
        let mut publisher = Publisher {
            tracks: Vec::new(),
            sources: HashMap::new(),
            extensions: ExtensionMap::default(),
            arrivals: Recorder::default(),
            any_ssrc: 0,
            bucket: Bucket::new(self.options.limits.publish_bps),
            intra_number: 0,
        };
        for (media, agreed) in offer.media.iter().zip(agreed) {
            let (Some(codec), Some(kind)) = (agreed.codecs.first(), media.kind) else {
                continue;
            };
            for (id, kind) in media.extensions.iter() {
                publisher.extensions.insert(id, kind);
            }
            let mut layers: Vec<Layer> = media
                .rids
                .iter()
                .map(|rid| Layer::new(codec.kind, Some(rid.clone())))
                .collect();
            if layers.is_empty() {
                layers.push(Layer::new(codec.kind, None));
            }
            let track = TrackId(self.tracks.insert_with(|id| Track {
                id: TrackId(id),
                room: join.room,
                owner: peer,
                participant: join.participant,
                mid: agreed.mid.clone(),
                kind,
                codec: codec.clone(),
                layers,
                loudness: Loudness::default(),
                muted: false,
                subscriptions: Vec::new(),
            }));
            self.announce_sources(&mut publisher, track, media);
            publisher.tracks.push(track);
        }
        if let Some(peer) = self.peers.get_mut(peer.0) {
            peer.half = Half::Publisher(Box::new(publisher));
        }
    }

    /// Sources that stand in the offer are known before their first packet.
    fn announce_sources(&mut self, publisher: &mut Publisher, track: TrackId, media: &Media) {
        let Some(layer) = self
            .tracks
            .get_mut(track.0)
            .and_then(|track| track.layers.first_mut())
        else {
            return;
        };
        let pair = media.repairs.first().copied();
        let Some(ssrc) = pair
            .map(|(ssrc, _)| ssrc)
            .or_else(|| media.ssrcs.first().copied())
        else {
            return;
        };
        if !media.rids.is_empty() {
            return;
        }
        layer.ssrc = Some(ssrc);
        publisher.any_ssrc = ssrc;
        publisher.sources.insert(
            ssrc,
            SourceOf {
                track,
                layer: 0,
                repair: false,
            },
        );
        if let Some((_, repair)) = pair {
            publisher.sources.insert(
                repair,
                SourceOf {
                    track,
                    layer: 0,
                    repair: true,
                },
            );
        }
    }
}

struct Names {
    ufrag: String,
    password: String,
    session: u32,
}

/// Our direction for a client's; `None` if the role has no use for the m-line.
const fn direction(role: Role, offered: Direction) -> Option<Direction> {
    match (role, offered) {
        (Role::Publish, Direction::Send | Direction::Both) => Some(Direction::Receive),
        (Role::Subscribe, Direction::Receive | Direction::Both) => Some(Direction::Send),
        _ => None,
    }
}

/// One codec from a publisher, the first we like; every codec for a subscriber, because publishers differ.
fn codecs(media: &Media, role: Role) -> Vec<Codec> {
    if role == Role::Subscribe {
        let mut codecs = media.codecs.clone();
        for codec in &mut codecs {
            codec.feedback.nack &= codec.repair.is_some();
        }
        return codecs;
    }
    let liked = |kind: CodecKind| {
        media
            .codecs
            .iter()
            .find(|codec| codec.kind == kind)
            .cloned()
    };
    let first = liked(CodecKind::Opus)
        .or_else(|| liked(CodecKind::Vp8))
        .or_else(|| liked(CodecKind::H264));
    first.into_iter().collect()
}

fn new_slots(offer: &Offer, agreed: &[Agreed]) -> Result<Vec<Slot>> {
    let media = offer.media.iter().zip(agreed);
    media
        .filter(|(_, agreed)| !agreed.codecs.is_empty())
        .filter_map(|(media, agreed)| Some((media.kind?, agreed)))
        .map(|(kind, agreed)| Slot::new(kind, agreed.clone()))
        .collect()
}

impl Core {
    /// Ends a connection; its number means nothing afterwards.
    pub fn leave(&mut self, peer: PeerId, now: std::time::Instant) -> Result<()> {
        let now = self.micros(now);
        if self.peers.get(peer.0).is_none() {
            return Err(Error::new(
                ErrorKind::NotFound,
                "the connection is not here",
            ));
        }
        self.remove_peer(peer, "left", now);
        Ok(())
    }

    pub(crate) fn remove_peer(&mut self, id: PeerId, reason: &'static str, now: Micros) {
        let instant = self.instant(now);
        let Some(mut peer) = self.peers.remove(id.0) else {
            return;
        };
        peer.dtls.close(instant);
        if let Some(to) = peer.address {
            while let Some(datagram) = peer.dtls.poll_transmit() {
                self.outbox.push(&datagram, to);
            }
        }
        self.by_ufrag.remove(&peer.ufrag);
        for address in &peer.addresses {
            if self.by_address.get(address) == Some(&id) {
                self.by_address.remove(address);
            }
        }
        match &peer.half {
            Half::Publisher(publisher) => {
                for track in &publisher.tracks {
                    self.remove_track(*track, now);
                }
            }
            Half::Subscriber(subscriber) => {
                for source in subscriber.slots.iter().filter_map(|slot| slot.source) {
                    if let Some(track) = self.tracks.get_mut(source.track.0) {
                        track
                            .subscriptions
                            .retain(|(subscriber, _)| *subscriber != id);
                    }
                }
            }
        }
        if let Some(room) = self.rooms.get_mut(peer.room.0) {
            room.peers.retain(|member| *member != id);
            room.changed = true;
        }
        self.tell(crate::Event::Left {
            peer: id,
            participant: peer.participant,
            reason,
        });
    }

    fn remove_track(&mut self, id: TrackId, now: Micros) {
        let subscriptions = self
            .tracks
            .get_mut(id.0)
            .map(|track| std::mem::take(&mut track.subscriptions));
        for (subscriber, slot) in subscriptions.unwrap_or_default() {
            self.set_source(subscriber, slot, None, now);
        }
        if let Some(track) = self.tracks.remove(id.0) {
            if track.loudness.speaking {
                let (room, participant) = (track.room, track.participant);
                self.tell(crate::Event::Speaking {
                    room,
                    participant,
                    speaking: false,
                });
            }
            self.tell(crate::Event::Unpublished {
                room: track.room,
                track: id,
            });
        }
    }
}
