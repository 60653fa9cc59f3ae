//! Clients, a core and the wire between them, in virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{
    Direction, KeyframeRequest, MediaKind, Mid, Pt, Rid, Simulcast, SimulcastLayer,
};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};
use voice::{Core, CoreOptions, Join, Limits, ParticipantId, PeerId, Role, RoomId, RoomOptions};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// A seeded source of chance; the seed stands in the test.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A client with one connection.
pub(crate) struct Client {
    pub(crate) rtc: Rtc,
    pub(crate) address: SocketAddr,
    pub(crate) peer: Option<PeerId>,
    pub(crate) connected: bool,
    pub(crate) received: Vec<RtpPacket>,
    pub(crate) key_requests: Vec<KeyframeRequest>,
    timeout: Instant,
    pending: Option<SdpPendingOffer>,
}

/// A datagram on its way.
struct Flight {
    at: Instant,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// Everything.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) now: Instant,
    pub(crate) clients: Vec<Client>,
    pub(crate) server: SocketAddr,
    flights: VecDeque<Flight>,
    pub(crate) chance: Chance,
    pub(crate) delay: Duration,
    /// Of a thousand media packets from this client to the core, and from the core to it, so many are lost.
    pub(crate) loss_up: BTreeMap<usize, u64>,
    pub(crate) loss_down: BTreeMap<usize, u64>,
    /// Bits per second that the way to a client carries.
    pub(crate) narrow: BTreeMap<usize, u64>,
    /// DTLS datagrams that went to the core.
    pub(crate) hellos: usize,
    /// Clients that nothing reaches.
    pub(crate) deaf: BTreeSet<usize>,
    free: BTreeMap<usize, Instant>,
    /// Everything that went to the core, when asked for.
    pub(crate) tape: Option<Vec<(SocketAddr, Vec<u8>)>>,
    /// Bytes from and to each address.
    pub(crate) bytes: BTreeMap<SocketAddr, (usize, usize)>,
}

pub(crate) fn options(server: SocketAddr) -> CoreOptions {
    CoreOptions {
        worker: 0,
        candidates: vec![server],
        limits: Limits::default(),
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let server: SocketAddr = "10.0.0.1:4000".parse().expect("an address");
        Self::with(options(server))
    }

    pub(crate) fn with(options: CoreOptions) -> Self {
        let now = Instant::now();
        let server = options.candidates[0];
        Self {
            core: Core::new(options, now).expect("a core"),
            now,
            clients: Vec::new(),
            server,
            flights: VecDeque::new(),
            chance: Chance::new(1),
            delay: 5 * MS,
            loss_up: BTreeMap::new(),
            loss_down: BTreeMap::new(),
            narrow: BTreeMap::new(),
            deaf: BTreeSet::new(),
            hellos: 0,
            free: BTreeMap::new(),
            tape: None,
            bytes: BTreeMap::new(),
        }
    }

    pub(crate) fn room(&mut self) -> RoomId {
        self.core
            .create_room(RoomOptions::default())
            .expect("a room")
    }

    /// A client that is not in a room yet, with its offer.
    pub(crate) fn client(
        &mut self,
        media: &[(MediaKind, Direction)],
        layers: &[&str],
    ) -> (usize, Vec<Mid>, String) {
        let mut rtc = Rtc::builder()
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .enable_h264(true)
            .set_rtp_mode(true)
            .enable_bwe(None)
            .build(self.now);
        let place = self.clients.len();
        let address: SocketAddr = format!("10.0.1.{}:5000", place + 1)
            .parse()
            .expect("an address");
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("a candidate"));
        let mut changes = rtc.sdp_api();
        let mids = media
            .iter()
            .map(|(kind, direction)| {
                let simulcast = (*kind == MediaKind::Video && !layers.is_empty()).then(|| {
                    let mut simulcast = Simulcast::new();
                    for layer in layers {
                        simulcast.add_send_layer(SimulcastLayer::new(layer));
                    }
                    simulcast
                });
                changes.add_media(*kind, *direction, None, None, simulcast)
            })
            .collect();
        let (offer, pending) = changes.apply().expect("changes");
        self.clients.push(Client {
            rtc,
            address,
            peer: None,
            connected: false,
            received: Vec::new(),
            key_requests: Vec::new(),
            timeout: self.now,
            pending: Some(pending),
        });
        (place, mids, offer.to_sdp_string())
    }

    pub(crate) fn join(&mut self, room: RoomId, client: usize, role: Role, offer: &str) -> PeerId {
        let participant = ParticipantId(client as u64);
        self.join_as(
            &Join {
                room,
                participant,
                role,
                offer,
            },
            client,
        )
    }

    pub(crate) fn join_as(&mut self, join: &Join<'_>, client: usize) -> PeerId {
        let joined = self.core.join(join, self.now).expect("joins");
        let client = &mut self.clients[client];
        let answer = SdpAnswer::from_sdp_string(&joined.answer).expect("an answer that parses");
        let pending = client.pending.take().expect("an offer");
        client
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("an answer that fits");
        client.peer = Some(joined.peer);
        joined.peer
    }

    pub(crate) fn publisher(
        &mut self,
        room: RoomId,
        kinds: &[MediaKind],
        layers: &[&str],
    ) -> (usize, Vec<Mid>) {
        let media: Vec<_> = kinds
            .iter()
            .map(|kind| (*kind, Direction::SendOnly))
            .collect();
        let (client, mids, offer) = self.client(&media, layers);
        self.join(room, client, Role::Publish, &offer);
        (client, mids)
    }

    pub(crate) fn subscriber(&mut self, room: RoomId, kinds: &[MediaKind]) -> (usize, Vec<Mid>) {
        let media: Vec<_> = kinds
            .iter()
            .map(|kind| (*kind, Direction::RecvOnly))
            .collect();
        let (client, mids, offer) = self.client(&media, &[]);
        self.join(room, client, Role::Subscribe, &offer);
        (client, mids)
    }

    /// Runs until the first DTLS datagram of a client, then nothing reaches it any more.
    pub(crate) fn connect_halfway(&mut self, client: usize) {
        while self.hellos == 0 {
            self.step();
        }
        self.deaf.insert(client);
        self.flights.clear();
    }

    /// Runs until every client is connected.
    pub(crate) fn connect(&mut self) {
        for _ in 0..3000 {
            self.step();
            if self.clients.iter().all(|client| client.connected) {
                let stats = self
                    .clients
                    .iter()
                    .filter_map(|client| self.core.peer_stats(client.peer?));
                if stats.into_iter().all(|stats| stats.connected) {
                    return;
                }
            }
        }
        panic!(
            "not everybody connected within 3 s: {:?}",
            self.core.stats()
        );
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.step();
        }
    }

    /// One millisecond.
    pub(crate) fn step(&mut self) {
        self.now += MS;
        while let Some(place) = self.flights.iter().position(|flight| flight.at <= self.now) {
            let flight = self.flights.remove(place).expect("found");
            self.land(&flight);
        }
        if self.core.poll_timeout().is_some_and(|due| due <= self.now) {
            self.core.handle_timeout(self.now);
        }
        self.drain_core();
        for place in 0..self.clients.len() {
            if self.clients[place].timeout <= self.now {
                self.clients[place]
                    .rtc
                    .handle_input(Input::Timeout(self.now))
                    .expect("time is taken");
            }
            self.drain_client(place);
        }
    }

    fn land(&mut self, flight: &Flight) {
        if flight.to == self.server {
            self.deliver(&flight.bytes, flight.from);
            return;
        }
        let Some(place) = self
            .clients
            .iter()
            .position(|client| client.address == flight.to)
        else {
            return;
        };
        let contents = Receive::new(Protocol::Udp, flight.from, flight.to, &flight.bytes);
        let input = Input::Receive(
            self.now,
            contents.expect("a datagram that a client understands"),
        );
        let rtc = &mut self.clients[place].rtc;
        if rtc.accepts(&input) {
            rtc.handle_input(input)
                .expect("a client takes what the core sends");
            self.drain_client(place);
        }
    }

    /// Gives the core a datagram at once.
    pub(crate) fn deliver(&mut self, bytes: &[u8], from: SocketAddr) {
        self.bytes.entry(from).or_default().0 += bytes.len();
        self.hellos += usize::from(bytes.first() == Some(&22));
        if let Some(tape) = &mut self.tape {
            tape.push((from, bytes.to_vec()));
        }
        self.core.handle(&mut bytes.to_vec(), from, self.now);
        self.drain_core();
    }

    fn drain_core(&mut self) {
        while let Some(transmit) = self.core.poll_transmit() {
            let (to, bytes) = (transmit.to, transmit.bytes.to_vec());
            self.bytes.entry(to).or_default().1 += bytes.len();
            let place = self
                .clients
                .iter()
                .position(|client| client.address == to)
                .unwrap_or(usize::MAX);
            if self.deaf.contains(&place) {
                continue;
            }
            let lost = self.loss_down.get(&place).copied().unwrap_or(0);
            if is_media(&bytes) && self.chance.below(1000) < lost {
                continue;
            }
            let mut at = self.now + self.delay;
            if let Some(bps) = self.narrow.get(&place) {
                let free = self.free.entry(place).or_insert(self.now);
                if *free > self.now + 300 * MS {
                    continue;
                }
                let took = Duration::from_micros(bytes.len() as u64 * 8_000_000 / bps);
                *free = (*free).max(self.now) + took;
                at = *free + self.delay;
            }
            self.flights.push_back(Flight {
                at,
                from: self.server,
                to,
                bytes,
            });
        }
    }

    fn drain_client(&mut self, place: usize) {
        loop {
            let client = &mut self.clients[place];
            match client.rtc.poll_output().expect("a client goes on") {
                Output::Timeout(at) => {
                    client.timeout = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    let bytes = transmit.contents.to_vec();
                    let lost = self.loss_up.get(&place).copied().unwrap_or(0);
                    if is_media(&bytes) && self.chance.below(1000) < lost {
                        continue;
                    }
                    let (from, to) = (self.clients[place].address, transmit.destination);
                    self.flights.push_back(Flight {
                        at: self.now + self.delay,
                        from,
                        to,
                        bytes,
                    });
                }
                Output::Event(Event::Connected) => client.connected = true,
                Output::Event(Event::RtpPacket(packet)) => client.received.push(packet),
                Output::Event(Event::KeyframeRequest(request)) => client.key_requests.push(request),
                Output::Event(_) => {}
            }
        }
    }

    /// The payload type that a client agreed for a codec.
    pub(crate) fn payload_type(&self, client: usize, mid: Mid) -> Pt {
        let media = self.clients[client].rtc.media(mid).expect("negotiated");
        *media.remote_pts().first().expect("a codec was agreed")
    }

    /// Sends a packet of a client.
    pub(crate) fn send(&mut self, client: usize, track: (Mid, Option<&str>), packet: Packet<'_>) {
        let pt = self.payload_type(client, track.0);
        let now = self.now;
        let mut direct = self.clients[client].rtc.direct_api();
        let rid = track.1.map(Rid::from);
        let stream = direct.stream_tx_by_mid(track.0, rid).expect("a stream");
        let values = ExtensionValues {
            audio_level: packet.level,
            voice_activity: packet.level.map(|_| true),
            ..Default::default()
        };
        let write = RtpWrite::new(
            pt,
            packet.index.into(),
            packet.timestamp,
            now,
            packet.payload,
        )
        .marker(packet.marker)
        .ext_vals(values)
        .nackable(true);
        stream.write_rtp(write);
        self.drain_client(client);
    }

    pub(crate) fn events(&mut self) -> Vec<voice::Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }
}

/// What a client sends.
#[derive(Clone, Copy, Default)]
pub(crate) struct Packet<'a> {
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) level: Option<i8>,
    pub(crate) payload: &'a [u8],
}

pub(crate) fn is_media(bytes: &[u8]) -> bool {
    matches!(bytes, [128..=191, second, ..] if !(192..=223).contains(second))
}

/// A payload that nobody else sends: a stamp and a body that follows from it.
pub(crate) fn payload(stamp: u32, len: usize) -> Vec<u8> {
    let mut chance = Chance::new(u64::from(stamp));
    let mut payload = stamp.to_be_bytes().to_vec();
    payload.resize_with(len, || u8::try_from(chance.below(256)).expect("a byte"));
    payload
}

/// Where a VP8 packet stands in its stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    KeyFrame,
    Frame,
    Later,
}

/// A VP8 packet: descriptor with picture id and layer counter, a frame's first byte, then [`payload`].
pub(crate) fn vp8(picture: u16, part: Part, stamp: u32) -> Vec<u8> {
    let [high, low] = picture.to_be_bytes();
    let first = if part == Part::Later { 0x80 } else { 0x90 };
    let mut bytes = vec![first, 0xc0, 0x80 | high, low, low];
    bytes.push(u8::from(part != Part::KeyFrame));
    bytes.extend_from_slice(&payload(stamp, 900));
    bytes
}

/// Picture id and stamp of what [`vp8`] made, after it was forwarded.
pub(crate) fn read_vp8(payload: &[u8]) -> (u16, u32) {
    let picture = u16::from_be_bytes([payload[2] & 0x7f, payload[3]]);
    let stamp = u32::from_be_bytes(*payload[6..].first_chunk().expect("a stamp"));
    assert_eq!(
        payload[6..],
        self::payload(stamp, 900),
        "the body is as it was sent"
    );
    (picture, stamp)
}
