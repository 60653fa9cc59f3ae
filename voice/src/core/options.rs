//! What an owner of the core decides.

use std::net::SocketAddr;
use std::time::Duration;

use crate::sdp::MediaKind;

/// Number of a room of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub(crate) u64);

/// Number of one connection of a client: it publishes or subscribes; a participant mostly has one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(crate) u64);

/// Number of one published track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub(crate) u64);

/// The owner's number of whoever is in a room (a user id); nobody is sent his own voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParticipantId(pub u64);

/// What one core takes on. Whoever asks for more is refused with [`crate::ErrorKind::Overloaded`].
#[derive(Clone, Debug)]
pub struct Limits {
    /// Rooms.
    pub rooms: usize,
    /// Connections, over all rooms.
    pub peers: usize,
    /// Connections in one room.
    pub peers_per_room: usize,
    /// Tracks that one connection may publish, and slots in which one may receive.
    pub tracks_per_peer: usize,
    /// Bits per second that one connection may publish; what is above is dropped.
    pub publish_bps: u64,
    /// Bits per second of retransmissions to one connection.
    pub repair_bps: u64,
    /// Bytes that may wait for the socket; what is above is dropped.
    pub outbox_bytes: usize,
    /// A connection that is not established after this long is removed.
    pub handshake: Duration,
    /// A connection that was not heard for this long is removed.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 1000,
            peers: 4000,
            peers_per_room: 2000,
            tracks_per_peer: 32,
            publish_bps: 12_000_000,
            repair_bps: 4_000_000,
            outbox_bytes: 8 << 20,
            handshake: Duration::from_secs(20),
            idle: Duration::from_secs(30),
        }
    }
}

/// What a core is made with.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Number of this core among those of a node; it is a part of every number that the core gives.
    pub worker: u8,
    /// Addresses that clients are told to send to: those of the socket, as the clients see them.
    pub candidates: Vec<SocketAddr>,
    /// What it takes on.
    pub limits: Limits,
}

/// What a room is made with.
#[derive(Clone, Copy, Debug)]
pub struct RoomOptions {
    /// So many of the loudest are heard by everybody; in a room with fewer speakers, all are.
    pub loudest: usize,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self { loudest: 8 }
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sends: what its offer marks as `sendonly` or `sendrecv`.
    Publish,
    /// It receives: each m-line marked as `recvonly` or `sendrecv` is a slot for one track at a time.
    Subscribe,
}

/// Somebody connects.
#[derive(Clone, Debug)]
pub struct Join<'a> {
    /// Where to.
    pub room: RoomId,
    /// Who.
    pub participant: ParticipantId,
    /// What for.
    pub role: Role,
    /// The client's SDP offer.
    pub offer: &'a str,
}

/// What a client gets back.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The new connection.
    pub peer: PeerId,
    /// The SDP answer for the client.
    pub answer: String,
}

/// What a video slot of a subscriber shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// Any track that no other slot shows.
    #[default]
    Any,
    /// Nothing.
    Nothing,
    /// This track.
    Track {
        /// Which.
        track: TrackId,
        /// The best simulcast layer wanted, 0 being the one with the lowest rate; `u8::MAX` for whatever the way carries.
        layer_max: u8,
    },
}

/// Something the owner wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Keys are agreed, media flows.
    Connected {
        /// Which connection.
        peer: PeerId,
    },
    /// The connection is gone; its number means nothing any more.
    Left {
        /// Which connection.
        peer: PeerId,
        /// Of whom.
        participant: ParticipantId,
        /// Why, for people.
        reason: &'static str,
    },
    /// A publisher's track is there.
    Published {
        /// In which room.
        room: RoomId,
        /// Whose.
        participant: ParticipantId,
        /// The track.
        track: TrackId,
        /// Of what kind.
        kind: MediaKind,
    },
    /// A track is gone.
    Unpublished {
        /// In which room.
        room: RoomId,
        /// Which.
        track: TrackId,
    },
    /// Somebody begins or stops to speak.
    Speaking {
        /// In which room.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
        /// Whether now.
        speaking: bool,
    },
    /// Another track stands behind a subscriber's slot.
    Slot {
        /// Which connection.
        peer: PeerId,
        /// Which of its m-lines.
        mid: String,
        /// What it carries now.
        source: Option<(ParticipantId, TrackId)>,
    },
}
