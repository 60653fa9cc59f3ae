//! Which track stands behind which slot.
//!
//! Audio: the loudest, so that the cost of a room is listeners times the few who speak, not members squared. Who is in a
//! slot stays there for a second, and silence displaces nobody. Video: what the subscriber asked for, then what is left.

use super::Core;
use crate::core::options::{Event, PeerId, RoomId, RoomOptions, TrackId, Watch};
use crate::core::peer::Half;
use crate::core::slot::{Slot, Source};
use crate::core::track::Track;
use crate::error::{Error, ErrorKind, Result};
use crate::media::estimate::Estimator;
use crate::media::{Micros, SECOND};
use crate::sdp::MediaKind;

const SLOT_HOLD: Micros = SECOND;
/// Set aside for each audio slot in use.
const AUDIO_BPS: u64 = 64_000;

/// A room.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) options: RoomOptions,
    pub(crate) peers: Vec<PeerId>,
    /// Somebody came, went or began to speak: the slots are to be looked at.
    pub(crate) changed: bool,
}

/// Slots by place with what stands behind them.
type Places = Vec<(usize, Option<Source>)>;

/// A track as the assignment sees it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    track: TrackId,
    owner: crate::ParticipantId,
    speaking: bool,
}

impl Core {
    /// Opens an empty room.
    pub fn create_room(&mut self, options: RoomOptions) -> Result<RoomId> {
        let rooms_max = self.options.limits.rooms;
        if self.rooms.len() >= rooms_max {
            let message = format!("this node has its {rooms_max} rooms: try another node");
            return Err(Error::new(ErrorKind::Overloaded, message));
        }
        let make = |id| Room {
            id: RoomId(id),
            options,
            peers: Vec::new(),
            changed: false,
        };
        Ok(RoomId(self.rooms.insert_with(make)))
    }

    /// Ends every connection of a room and the room.
    pub fn close_room(&mut self, room: RoomId, now: std::time::Instant) -> Result<()> {
        let now = self.micros(now);
        let Some(closed) = self.rooms.remove(room.0) else {
            return Err(Error::new(ErrorKind::NotFound, "the room is not here"));
        };
        for peer in closed.peers {
            self.remove_peer(peer, "the room was closed", now);
        }
        Ok(())
    }

    /// Ends every room and takes nobody any more.
    pub fn close(&mut self, now: std::time::Instant) {
        for room in self.rooms.ids() {
            let closed = self.close_room(RoomId(room), now);
            debug_assert!(closed.is_ok(), "a room that is listed is here");
        }
        self.options.limits.rooms = 0;
        self.closed = true;
    }

    /// Whether [`Core::close`] was called.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Chooses what a subscriber's video slot shows.
    pub fn watch(&mut self, peer: PeerId, mid: &str, watch: Watch) -> Result<()> {
        let not_found =
            |what: &str| Error::new(ErrorKind::NotFound, format!("the {what} is not here"));
        let member = self
            .peers
            .get_mut(peer.0)
            .ok_or_else(|| not_found("connection"))?;
        let Half::Subscriber(subscriber) = &mut member.half else {
            return Err(Error::invalid("a publisher has no slots to watch with"));
        };
        if let Watch::Track { track, .. } = watch
            && self
                .tracks
                .get(track.0)
                .is_none_or(|track| track.room != member.room)
        {
            return Err(not_found("track"));
        }
        let slot = subscriber
            .slots
            .iter_mut()
            .find(|slot| slot.kind == MediaKind::Video && slot.agreed.mid == mid);
        slot.ok_or_else(|| not_found("video slot"))?.watch = watch;
        if let Some(room) = self.rooms.get_mut(member.room.0) {
            room.changed = true;
        }
        Ok(())
    }

    /// Lets nothing of a track through, or again: the moderator's mute, which no client can undo.
    pub fn mute(&mut self, track: TrackId, muted: bool) -> Result<()> {
        let track = self
            .tracks
            .get_mut(track.0)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "the track is not here"))?;
        track.muted = muted;
        for layer in &mut track.layers {
            layer.want_key();
        }
        Ok(())
    }

    /// Gives every slot of a room its track.
    pub(crate) fn assign(&mut self, id: RoomId, now: Micros) {
        let Some(room) = self.rooms.get_mut(id.0) else {
            return;
        };
        room.changed = false;
        let loudest = room.options.loudest;
        let peers = room.peers.clone();
        let (mut audio, mut video) = (Vec::new(), Vec::new());
        for peer in &peers {
            let Some(Half::Publisher(publisher)) = self.peers.get(peer.0).map(|peer| &peer.half)
            else {
                continue;
            };
            for track in publisher
                .tracks
                .iter()
                .filter_map(|track| self.tracks.get(track.0))
            {
                let rank = track.loudness.rank();
                let candidate = Candidate {
                    track: track.id,
                    owner: track.participant,
                    speaking: rank.0,
                };
                match track.kind {
                    MediaKind::Audio => audio.push((rank, candidate)),
                    MediaKind::Video => video.push(candidate),
                }
            }
        }
        audio.sort_by_key(|(rank, candidate)| (std::cmp::Reverse(*rank), candidate.track));
        let audio: Vec<Candidate> = audio.into_iter().map(|(_, candidate)| candidate).collect();
        for peer in peers {
            self.assign_audio(peer, &audio, loudest, now);
            self.assign_video(peer, &video, now);
        }
    }

    fn assign_audio(&mut self, id: PeerId, ranked: &[Candidate], loudest: usize, now: Micros) {
        let Some((own, slots)) = self.slots(id, MediaKind::Audio) else {
            return;
        };
        let wanted: Vec<Candidate> = ranked
            .iter()
            .filter(|candidate| candidate.owner != own)
            .take(loudest.min(slots.len()))
            .copied()
            .collect();
        let stands = |track: TrackId| {
            slots
                .iter()
                .any(|(_, source)| source.is_some_and(|source| source.track == track))
        };
        let mut free: Vec<(usize, Option<Source>)> = slots
            .iter()
            .filter(|(_, source)| {
                source
                    .is_none_or(|source| !wanted.iter().any(|wanted| wanted.track == source.track))
            })
            .filter(|(_, source)| {
                source.is_none_or(|source| now.saturating_sub(source.since) >= SLOT_HOLD)
            })
            .copied()
            .collect();
        free.sort_by_key(|(slot, source)| (source.is_some(), *slot));
        let mut free = free.into_iter();
        for candidate in wanted.iter().filter(|wanted| !stands(wanted.track)) {
            let Some((slot, source)) = free.next() else {
                // Everybody in the slots is new there: look again when the time is over.
                if let Some(room) = self
                    .peers
                    .get(id.0)
                    .map(|peer| peer.room)
                    .and_then(|room| self.rooms.get_mut(room.0))
                {
                    room.changed = true;
                }
                return;
            };
            if source.is_none() || candidate.speaking {
                self.set_source(id, slot, Some(candidate.track), now);
            }
        }
    }

    fn assign_video(&mut self, id: PeerId, tracks: &[Candidate], now: Micros) {
        let Some((own, slots)) = self.slots(id, MediaKind::Video) else {
            return;
        };
        let Some(Half::Subscriber(subscriber)) = self.peers.get(id.0).map(|peer| &peer.half) else {
            return;
        };
        let watches: Vec<Watch> = slots
            .iter()
            .filter_map(|(slot, _)| Some(subscriber.slots.get(*slot)?.watch))
            .collect();
        let exists = |track: TrackId| tracks.iter().any(|candidate| candidate.track == track);
        let mut chosen: Vec<Option<TrackId>> = slots
            .iter()
            .zip(&watches)
            .map(|((_, source), watch)| match watch {
                Watch::Track { track, .. } => Some(*track).filter(|track| exists(*track)),
                Watch::Any => source
                    .map(|source| source.track)
                    .filter(|track| exists(*track)),
                Watch::Nothing => None,
            })
            .collect();
        for place in 0..chosen.len() {
            let again = chosen[..place].contains(&chosen[place]);
            if again && watches[place] == Watch::Any {
                chosen[place] = None;
            }
        }
        for place in 0..chosen.len() {
            if chosen[place].is_none() && watches[place] == Watch::Any {
                let mut left = tracks.iter().filter(|candidate| candidate.owner != own);
                chosen[place] = left
                    .find(|candidate| !chosen.contains(&Some(candidate.track)))
                    .map(|left| left.track);
            }
        }
        for ((slot, source), chosen) in slots.into_iter().zip(chosen) {
            if source.map(|source| source.track) != chosen {
                self.set_source(id, slot, chosen, now);
            }
        }
    }

    /// Who the subscriber is, and its slots of a kind; `None` for a publisher.
    fn slots(&self, id: PeerId, kind: MediaKind) -> Option<(crate::ParticipantId, Places)> {
        let peer = self.peers.get(id.0)?;
        let Half::Subscriber(subscriber) = &peer.half else {
            return None;
        };
        let slots = subscriber
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.kind == kind);
        Some((
            peer.participant,
            slots.map(|(place, slot)| (place, slot.source)).collect(),
        ))
    }

    /// Puts a track, or nothing, behind a slot. A track whose codec the subscriber does not know leaves it empty.
    pub(crate) fn set_source(
        &mut self,
        id: PeerId,
        place: usize,
        track: Option<TrackId>,
        now: Micros,
    ) {
        let Some(Half::Subscriber(subscriber)) =
            self.peers.get_mut(id.0).map(|peer| &mut peer.half)
        else {
            return;
        };
        let Some(slot) = subscriber.slots.get_mut(place) else {
            return;
        };
        let before = slot.source.take();
        slot.rewrite.end();
        if let Some(old) = before.and_then(|source| self.tracks.get_mut(source.track.0)) {
            old.subscriptions
                .retain(|subscription| *subscription != (id, place));
        }
        let new = track.and_then(|track| self.tracks.get_mut(track.0));
        let fitting = new.and_then(|track| Some((slot.codec_for(&track.codec)?, track)));
        let owner = fitting.map(|(codec, track)| {
            let target = track.ladder(now).first().map_or(0, |(layer, _)| *layer);
            slot.source = Some(Source {
                track: track.id,
                since: now,
                codec,
                layer: None,
                target,
            });
            track.subscriptions.push((id, place));
            if let Some(layer) = track.layers.get_mut(target) {
                layer.want_key();
            }
            (track.participant, track.id)
        });
        if owner.map(|(_, track)| track) != before.map(|source| source.track) {
            let mid = slot.agreed.mid.clone();
            self.tell(Event::Slot {
                peer: id,
                mid,
                source: owner,
            });
        }
    }

    /// Chooses the simulcast layers of a subscriber's slots by what its way carries.
    pub(crate) fn choose_layers(&mut self, id: PeerId, now: Micros) {
        let half = self.peers.get_mut(id.0).map(|peer| &mut peer.half);
        let Some(Half::Subscriber(subscriber)) = half else {
            return;
        };
        let slots = &mut subscriber.slots;
        let used = |kind: MediaKind| {
            let of_kind = slots.iter().filter(|slot| slot.kind == kind);
            of_kind.filter(|slot| slot.source.is_some()).count() as u64
        };
        let (audio_bps, mut count) = (
            used(MediaKind::Audio) * AUDIO_BPS,
            used(MediaKind::Video).max(1),
        );
        let mut left = if slots.iter().any(Slot::has_feedback) {
            subscriber.estimate.bps().saturating_sub(audio_bps)
        } else {
            u64::MAX / 2
        };
        let mut wish = audio_bps;
        for slot in slots
            .iter_mut()
            .filter(|slot| slot.kind == MediaKind::Video)
        {
            let source = slot.source.map(|source| source.track.0);
            let Some(track) = source.and_then(|track| self.tracks.get_mut(track)) else {
                continue;
            };
            let (bps, wished) = choose_layer(slot, track, left / count, now);
            count = count.saturating_sub(1).max(1);
            left = left.saturating_sub(bps);
            wish += wished;
        }
        subscriber.estimate.allow(wish);
    }
}

/// Chooses a slot's layer within `share` bits per second: what it takes, and what the next better one would.
fn choose_layer(slot: &mut Slot, track: &mut Track, share: u64, now: Micros) -> (u64, u64) {
    let mut ladder = track.ladder(now);
    if let Watch::Track { layer_max, .. } = slot.watch {
        ladder.truncate(usize::from(layer_max).saturating_add(1));
    }
    let Some(source) = &mut slot.source else {
        return (0, 0);
    };
    let current = ladder
        .iter()
        .position(|(layer, _)| Some(*layer) == source.layer);
    let fits = |place: usize, bps: u64| {
        let better = current.is_some_and(|current| place > current);
        bps + if better { bps / 6 } else { 0 } <= share
    };
    let places = (0..ladder.len()).rev();
    let chosen = places
        .into_iter()
        .find(|place| fits(*place, ladder[*place].1))
        .unwrap_or(0);
    let Some(&(target, bps)) = ladder.get(chosen) else {
        return (0, 0);
    };
    source.target = target;
    if source.layer != Some(target)
        && let Some(layer) = track.layers.get_mut(target)
    {
        layer.want_key();
    }
    let better = ladder.get(chosen + 1).map_or(bps, |(_, bps)| *bps);
    (bps, better * 5 / 4)
}
