//! One connection: its addresses, its handshake, its keys, and what it publishes or receives.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use crate::core::options::{ParticipantId, PeerId, RoomId, TrackId};
use crate::core::outbox::Outbox;
use crate::core::slot::Slot;
use crate::dtls::{Dtls, Fingerprint};
use crate::media::Micros;
use crate::media::estimate::Estimate;
use crate::media::rate::Bucket;
use crate::rtcp::Writer;
use crate::rtcp::transport::Recorder;
use crate::rtp::ExtensionMap;
use crate::srtp::{Inbound, Outbound, Profile};

/// Wi-Fi, mobile, a relay, and one to spare.
const ADDRESSES_MAX: usize = 4;

/// A connection.
pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) room: RoomId,
    pub(crate) participant: ParticipantId,
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) fingerprint: Fingerprint,
    /// Addresses that proved to know the password, oldest first.
    pub(crate) addresses: VecDeque<SocketAddr>,
    /// The one that the client chose.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) dtls: Dtls,
    pub(crate) keys: Option<Keys>,
    pub(crate) created: Micros,
    pub(crate) heard: Micros,
    /// Who sends our reports.
    pub(crate) ssrc: u32,
    pub(crate) half: Half,
}

/// What DTLS agreed.
pub(crate) struct Keys {
    pub(crate) rx: Inbound,
    pub(crate) tx: Outbound,
    pub(crate) profile: Profile,
}

/// What a connection is for.
pub(crate) enum Half {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
}

/// The sending client.
pub(crate) struct Publisher {
    pub(crate) tracks: Vec<TrackId>,
    pub(crate) sources: HashMap<u32, SourceOf>,
    pub(crate) extensions: ExtensionMap,
    pub(crate) arrivals: Recorder,
    /// A source of the transport, for feedback that must name one.
    pub(crate) any_ssrc: u32,
    pub(crate) bucket: Bucket,
    pub(crate) intra_number: u8,
}

/// Where packets of a source belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceOf {
    pub(crate) track: TrackId,
    pub(crate) layer: usize,
    pub(crate) repair: bool,
}

/// The receiving client.
pub(crate) struct Subscriber {
    pub(crate) slots: Vec<Slot>,
    pub(crate) estimate: Estimate,
    pub(crate) repair: Bucket,
}

impl Peer {
    /// Notes an address that knows the password; one that falls out of the list is given back.
    pub(crate) fn learn(&mut self, from: SocketAddr, nominated: bool) -> Option<SocketAddr> {
        if nominated || self.address.is_none() {
            self.address = Some(from);
        }
        if self.addresses.contains(&from) {
            return None;
        }
        self.addresses.push_back(from);
        if self.addresses.len() <= ADDRESSES_MAX {
            return None;
        }
        let current = self.address;
        let place = self
            .addresses
            .iter()
            .position(|address| Some(*address) != current)?;
        self.addresses.remove(place)
    }

    /// Seals and sends what `write` writes; nothing if it writes nothing or there are no keys yet.
    pub(crate) fn send_rtcp(&mut self, outbox: &mut Outbox, write: impl FnOnce(&mut Writer<'_>)) {
        let (Some(to), Some(keys)) = (self.address, self.keys.as_mut()) else {
            return;
        };
        let Some(start) = outbox.begin() else { return };
        write(&mut Writer(&mut outbox.bytes));
        if outbox.bytes.len() == start {
            return;
        }
        match keys.tx.seal_rtcp(&mut outbox.bytes, start) {
            Ok(()) => outbox.end(start, to),
            Err(error) => {
                tracing::error!(%error, "an RTCP packet could not be sealed");
                outbox.cancel(start);
            }
        }
    }
}
