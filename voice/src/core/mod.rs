//! The core: everything but sockets and the clock.
//!
//! Feed it datagrams ([`Core::handle`]) and time ([`Core::handle_timeout`]), take from it datagrams
//! ([`Core::poll_transmit`]), what happened ([`Core::poll_event`]) and when it wants to be woken ([`Core::poll_timeout`]).
//! One core is one worker: a room lives on one of them, nothing is shared, nothing is locked.
//!
//! Cost: a datagram that comes costs one hash look-up and one decrypt; each copy that goes costs a copy and a seal into
//! the outbox. While anybody is connected the core is woken every 10 ms.

mod control;
pub mod fuzzing;
mod input;
mod join;
mod media_in;
pub(crate) mod options;
pub(crate) mod outbox;
pub(crate) mod peer;
mod room;
pub(crate) mod slab;
pub(crate) mod slot;
pub(crate) mod stats;
mod tick;
pub(crate) mod track;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::bits::micros;
use crate::dtls::Identity;
use crate::error::Result;
use crate::media::estimate::Estimator;
use crate::media::{MILLISECOND, Micros};
use options::{CoreOptions, Event, PeerId};
use outbox::Outbox;
use peer::{Half, Peer};
use room::Room;
use slab::Slab;
use stats::{PeerStats, Stats, TrackStats};
use track::Track;

/// Events that wait for the owner; the oldest are lost above.
const EVENTS_MAX: usize = 16_384;
const TICK: Micros = 10 * MILLISECOND;

/// A selective forwarding unit without input and output.
#[derive(Debug)]
pub struct Core {
    options: CoreOptions,
    identity: Identity,
    start: Instant,
    rooms: Slab<Room>,
    peers: Slab<Peer>,
    tracks: Slab<Track>,
    by_address: HashMap<SocketAddr, PeerId>,
    /// Our half of a STUN user name, with the client's half.
    by_ufrag: HashMap<String, (PeerId, String)>,
    outbox: Outbox,
    events: VecDeque<Event>,
    stats: Stats,
    next_tick: Micros,
    ticks: u64,
    scratch: Vec<u8>,
    numbers: Vec<u16>,
    closed: bool,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.id)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A datagram that is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// Where to.
    pub to: SocketAddr,
    /// Its bytes.
    pub bytes: &'a [u8],
}

impl Core {
    /// Makes a core with a key and a certificate of its own. `now` is the beginning of its time.
    pub fn new(options: CoreOptions, now: Instant) -> Result<Self> {
        Ok(Self::with_identity(options, Identity::generate()?, now))
    }

    fn with_identity(options: CoreOptions, identity: Identity, now: Instant) -> Self {
        Self {
            identity,
            start: now,
            rooms: Slab::new(options.worker),
            peers: Slab::new(options.worker),
            tracks: Slab::new(options.worker),
            by_address: HashMap::new(),
            by_ufrag: HashMap::new(),
            outbox: Outbox::new(options.limits.outbox_bytes),
            events: VecDeque::new(),
            stats: Stats::default(),
            next_tick: 0,
            ticks: 0,
            scratch: Vec::new(),
            numbers: Vec::new(),
            closed: false,
            options,
        }
    }

    /// The next datagram to send. Until it gives `None`, what was taken before still takes memory.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.outbox.pop().map(|(to, bytes)| Transmit { to, bytes })
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Core::handle_timeout`] wants to be called; `None` while nobody is connected.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (self.peers.len() > 0).then(|| self.instant(self.next_tick))
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.rooms = self.rooms.len();
        stats.peers = self.peers.len();
        stats.tracks = self.tracks.len();
        stats.dropped.outbox = self.outbox.dropped;
        (stats.datagrams_out, stats.bytes_out) = self.outbox.sent;
        stats
    }

    /// One connection in numbers.
    pub fn peer_stats(&self, peer: PeerId) -> Option<PeerStats> {
        let peer = self.peers.get(peer.0)?;
        let mut stats = PeerStats {
            connected: peer.keys.is_some(),
            profile: peer.keys.as_ref().map_or("", |keys| match keys.profile {
                crate::srtp::Profile::Gcm => "SRTP_AEAD_AES_128_GCM",
                crate::srtp::Profile::CounterSha1 => "SRTP_AES128_CM_HMAC_SHA1_80",
            }),
            ..PeerStats::default()
        };
        match &peer.half {
            Half::Publisher(publisher) => {
                let tracks = publisher
                    .tracks
                    .iter()
                    .filter_map(|track| self.tracks.get(track.0));
                stats.tracks = tracks.map(published).collect();
            }
            Half::Subscriber(subscriber) => {
                stats.estimate_bps = subscriber.estimate.bps();
                stats.round_trip_us = subscriber
                    .slots
                    .iter()
                    .filter_map(|slot| slot.round_trip)
                    .max();
                stats.tracks = subscriber
                    .slots
                    .iter()
                    .map(|slot| self.received(slot))
                    .collect();
            }
        }
        Some(stats)
    }

    fn received(&self, slot: &slot::Slot) -> TrackStats {
        let rank = slot.source.and_then(|source| {
            let track = self.tracks.get(source.track.0)?;
            let current = track.layers.get(source.layer?)?;
            Some(
                track
                    .layers
                    .iter()
                    .filter(|layer| layer.bytes < current.bytes)
                    .count(),
            )
        });
        TrackStats {
            mid: slot.agreed.mid.clone(),
            packets: slot.packets,
            bytes: slot.bytes,
            lost: slot.lost,
            jitter: slot.jitter,
            repaired: slot.repaired,
            layer: rank,
        }
    }

    fn micros(&self, now: Instant) -> Micros {
        micros(now.saturating_duration_since(self.start))
    }

    fn instant(&self, at: Micros) -> Instant {
        self.start + Duration::from_micros(at)
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}

fn published(track: &Track) -> TrackStats {
    let sum = |of: fn(&track::Layer) -> u64| track.layers.iter().map(of).sum();
    TrackStats {
        mid: track.mid.clone(),
        packets: sum(|layer| layer.packets),
        bytes: sum(|layer| layer.bytes),
        lost: sum(|layer| layer.receive.lost()),
        jitter: track
            .layers
            .iter()
            .map(|layer| layer.receive.jitter())
            .max()
            .unwrap_or(0),
        repaired: sum(|layer| layer.repaired),
        layer: None,
    }
}
