//! The media plane of voice and video: a selective forwarding unit (SFU).
//!
//! Clients are browsers and whatever else speaks WebRTC. Each connection publishes or subscribes; the unit decrypts what
//! a publisher sends once, and seals a rewritten copy for every subscriber. It mixes nothing and decodes nothing.
//!
//! [`Core`] is the whole of it without sockets and without a clock, so that a test decides what is lost, what is late and
//! what time it is. Its parts, each a module of its own:
//!
//! * `stun`, `dtls`, `srtp`: who is there (ICE-lite, DTLS 1.2 as the server), and the keys of the media. `rtc-stun` and
//!   `rtc-dtls` do the protocols, SRTP is ours (`docs/decisions/0013-media-plane.md`).
//! * `sdp`: reads offers, writes answers.
//! * `rtp`, `rtcp`: the packets. Every reader is bounded, allocates nothing by a number of the packet and is fuzzed.
//! * `media`: caches, gaps, rates, rewriting, loudness, the estimate of what a way carries.
//! * `core`: connections, tracks, slots, rooms.
//! * `node`: [`VoiceNode`], the handle to workers that each have a thread, a socket and a [`Core`].
//!
//! Invariants: nothing of a client is believed before its certificate is the one of its offer; an address is sent no more
//! than it sent until it has proven that it receives; no packet number goes out twice under one key; every table, queue
//! and rate has a bound ([`Limits`]).
//!
//! **Not here yet**: the signalling of the gateway, the HTTP endpoints of WHIP and WHEP, the page, TURN, ICE over TCP, a
//! renewed offer on a connection (ICE restart: join again instead), the `udp` protocol of Discord's bot libraries, VP9
//! and AV1, temporal layers, probing with padding, rooms larger than one core, end-to-end encryption.

mod bits;
mod core;
mod dtls;
mod error;
mod media;
mod node;
mod random;
mod rtcp;
mod rtp;
mod sdp;
mod srtp;
mod stun;

#[doc(hidden)]
pub use core::fuzzing;
pub use core::options::{
    CoreOptions, Event, Join, Joined, Limits, ParticipantId, PeerId, Role, RoomId, RoomOptions,
    TrackId, Watch,
};
pub use core::stats::{Dropped, PeerStats, Stats, TrackStats};
pub use core::{Core, Transmit};
pub use error::{Error, ErrorKind, Result};
pub use node::{Events, NodeOptions, VoiceNode};
pub use sdp::MediaKind;
