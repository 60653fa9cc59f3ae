//! A datagram comes in: whose it is, and what.
//!
//! The first byte tells STUN (0 to 3, with its cookie), DTLS (20 to 63) and RTP or RTCP (128 to 191) apart (RFC 7983).
//! Only STUN may come from an unknown address: a binding request that names a connection and proves its password makes
//! the address known. Everything else from strangers is dropped unread, so a handshake costs an attacker a valid offer.

use std::net::SocketAddr;
use std::time::Instant;

use super::Core;
use crate::core::options::{Event, PeerId};
use crate::core::peer::{Half, Keys};
use crate::dtls::Progress;
use crate::media::Micros;
use crate::srtp::{Inbound, KeyBlock, Outbound, Refused};
use crate::{rtcp, stun};

impl Core {
    /// Takes a datagram, which is decrypted where it lies.
    pub fn handle(&mut self, datagram: &mut [u8], from: SocketAddr, now: Instant) {
        let now = self.micros(now);
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        let Some(&first) = datagram.first() else {
            return;
        };
        match first {
            0..=3 if stun::is_stun(datagram) => self.handle_stun(datagram, from, now),
            20..=63 => self.handle_dtls(datagram, from, now),
            128..=191 => self.handle_secured(datagram, from, now),
            _ => self.stats.dropped.malformed += 1,
        }
    }

    fn handle_stun(&mut self, datagram: &[u8], from: SocketAddr, now: Micros) {
        let Some(mut request) = stun::read(datagram) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        let known = self.by_ufrag.get(&request.ufrag).map(|(peer, _)| *peer);
        let Some(peer) = known.and_then(|peer| self.peers.get_mut(peer.0)) else {
            self.stats.dropped.stranger += 1;
            return;
        };
        let crypto = self.identity.provider.crypto();
        if !request.is_authentic(&peer.password, crypto) {
            self.stats.dropped.forged += 1;
            return;
        }
        let Some(answer) = request.answer(from, &peer.password, crypto) else {
            self.stats.dropped.malformed += 1;
            return;
        };
        peer.heard = now;
        let id = peer.id;
        if let Some(forgotten) = peer.learn(from, request.nominates()) {
            self.by_address.remove(&forgotten);
        }
        if let Some(other) = self.by_address.insert(from, id)
            && other != id
            && let Some(other) = self.peers.get_mut(other.0)
        {
            other.addresses.retain(|address| *address != from);
            other.address = other.address.filter(|address| *address != from);
        }
        self.outbox.push(&answer, from);
    }

    fn handle_dtls(&mut self, datagram: &[u8], from: SocketAddr, now: Micros) {
        let instant = self.instant(now);
        let known = self.by_address.get(&from).copied();
        let Some(peer) = known.and_then(|peer| self.peers.get_mut(peer.0)) else {
            self.stats.dropped.stranger += 1;
            return;
        };
        let id = peer.id;
        let progress = peer
            .dtls
            .handle(datagram, instant, &self.identity, &peer.fingerprint);
        while let Some(reply) = peer.dtls.poll_transmit() {
            self.outbox.push(&reply, from);
        }
        self.progress(id, progress, now);
    }

    /// Does what the handshake came to.
    pub(crate) fn progress(&mut self, id: PeerId, progress: Progress, now: Micros) {
        match progress {
            Progress::Waiting => {}
            Progress::Connected(pair) => self.connected(id, &pair, now),
            Progress::Closed => self.remove_peer(id, "the client closed the connection", now),
            Progress::Failed(reason) => self.remove_peer(id, reason, now),
        }
    }

    fn connected(&mut self, id: PeerId, (client, server): &(KeyBlock, KeyBlock), now: Micros) {
        let Some(peer) = self.peers.get_mut(id.0) else {
            return;
        };
        let (rx, tx) = match (Inbound::new(client), Outbound::new(server)) {
            (Ok(rx), Ok(tx)) => (rx, tx),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "the keys of a connection are not usable");
                self.remove_peer(id, "the keys are not usable", now);
                return;
            }
        };
        peer.keys = Some(Keys {
            rx,
            tx,
            profile: client.profile,
        });
        peer.heard = now;
        let room = peer.room;
        let tracks = match &peer.half {
            Half::Publisher(publisher) => publisher.tracks.clone(),
            Half::Subscriber(_) => Vec::new(),
        };
        self.tell(Event::Connected { peer: id });
        for track in tracks {
            if let Some(track) = self.tracks.get(track.0) {
                let (participant, kind, track) = (track.participant, track.kind, track.id);
                self.tell(Event::Published {
                    room,
                    participant,
                    track,
                    kind,
                });
            }
        }
        self.assign(room, now);
    }

    fn handle_secured(&mut self, datagram: &mut [u8], from: SocketAddr, now: Micros) {
        let known = self.by_address.get(&from).copied();
        let Some(id) =
            known.filter(|id| self.peers.get(id.0).is_some_and(|peer| peer.keys.is_some()))
        else {
            self.stats.dropped.stranger += 1;
            return;
        };
        let outcome = if datagram.get(1).is_some_and(|second| rtcp::is_rtcp(*second)) {
            self.handle_rtcp(id, datagram, now)
        } else {
            self.handle_rtp(id, datagram, now)
        };
        match outcome {
            Ok(()) => {}
            Err(Refused::Malformed) => self.stats.dropped.malformed += 1,
            Err(Refused::Forged) => self.stats.dropped.forged += 1,
            Err(Refused::Replayed) => self.stats.dropped.replayed += 1,
        }
    }
}
