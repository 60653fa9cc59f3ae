//! Entry points of the fuzz targets and of the seeded loop in the tests: every reader of foreign bytes, and a whole core
//! behind authentic packets, because a client is a stranger too.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::Core;
use crate::bits::{be32, low16};
use crate::core::options::RoomId;
use crate::core::options::{CoreOptions, Join, Limits, ParticipantId, PeerId, Role, RoomOptions};
use crate::core::peer::{Half, Keys};
use crate::core::stats::Stats;
use crate::dtls::{Hello, Identity};
use crate::media::rewrite::Rewrite;
use crate::rtcp::{Packet, Packets, ReportBlock, intra_sources, is_rtcp, nack_numbers, transport};
use crate::rtp::vp8::{Descriptor, Shift};
use crate::rtp::{ExtensionMap, Header, h264};
use crate::srtp::{Inbound, KeyBlock, Outbound, Profile};
use crate::stun;

const PUBLISHER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:them\r\na=ice-pwd:0123456789012345678901\r\na=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\na=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\na=DIRECTION\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:1\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\na=DIRECTION\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rid:q send\r\na=rid:h send\r\n";

fn offer(direction: &str) -> String {
    PUBLISHER.replace("DIRECTION", direction)
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 4000))
}

struct Stage {
    core: Core,
    publisher: PeerId,
    room: RoomId,
    now: Instant,
}

impl Stage {
    /// A publisher with sound and a picture in two layers, a subscriber of both; connected if `secured`.
    fn new(secured: bool) -> Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        let identity =
            IDENTITY.get_or_init(|| Identity::generate().expect("a certificate can be made"));
        let now = Instant::now();
        let options = CoreOptions {
            worker: 0,
            candidates: vec![address(1)],
            limits: Limits::default(),
        };
        let mut core = Core::with_identity(options, identity.clone(), now);
        let room = core
            .create_room(RoomOptions::default())
            .expect("there is room");
        let mut stage = Self {
            core,
            publisher: PeerId(0),
            room,
            now,
        };
        stage.publisher = stage.add(1, Role::Publish, (2, secured));
        let subscriber = stage.add(2, Role::Subscribe, (3, secured));
        let core = &mut stage.core;
        let half = core.peers.get_mut(subscriber.0).map(|peer| &mut peer.half);
        if let Some(Half::Subscriber(receiver)) = half {
            for (ssrc, slot) in (1..).zip(&mut receiver.slots) {
                (slot.ssrc, slot.rewrite) = (ssrc, Rewrite::new(10, 0));
            }
        }
        core.assign(room, 0);
        stage
    }

    /// Somebody joins from the address of `host`, and has keys if `secured`.
    fn add(&mut self, who: u64, role: Role, (host, secured): (u8, bool)) -> PeerId {
        let publishes = role == Role::Publish;
        let offer = offer(if publishes { "sendonly" } else { "recvonly" });
        let participant = ParticipantId(who);
        let join = Join {
            room: self.room,
            participant,
            role,
            offer: &offer,
        };
        let core = &mut self.core;
        let id = core.join(&join, self.now).expect("the offer is good").peer;
        let peer = core.peers.get_mut(id.0).expect("it joined");
        core.by_ufrag.remove(&peer.ufrag);
        peer.ufrag = format!("ours{host}");
        "secret".clone_into(&mut peer.password);
        core.by_ufrag
            .insert(peer.ufrag.clone(), (id, "them".to_owned()));
        peer.learn(address(host), true);
        core.by_address.insert(address(host), id);
        if secured {
            let (rx, tx) = (Inbound::new(&block()), Outbound::new(&block()));
            let (rx, tx) = (rx.expect("keys"), tx.expect("keys"));
            peer.keys = Some(Keys {
                rx,
                tx,
                profile: Profile::Gcm,
            });
        }
        id
    }

    fn deliver(&mut self, mut bytes: Vec<u8>, host: u8) {
        self.core.handle(&mut bytes, address(host), self.now);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }
}

fn block() -> KeyBlock {
    KeyBlock {
        profile: Profile::Gcm,
        key: [1; 16],
        salt: [2; 14],
    }
}

/// Cuts an input into pieces of a kind (2 bits), a length (6 bits, times four, plus the rest) and bytes.
fn pieces(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&head, rest) = input.split_first()?;
        let len = (4 * usize::from(head & 0x3f)).min(rest.len());
        let (piece, next) = rest.split_at(len);
        input = next;
        Some((head >> 6, piece))
    })
}

/// Readers of packets, without anything behind them.
pub fn packets(input: &[u8]) {
    let map = {
        let mut map = ExtensionMap::default();
        let uris = PUBLISHER
            .lines()
            .filter_map(|line| line.strip_prefix("a=extmap:")?.split_once(' '));
        for (number, uri) in uris {
            let kind = crate::rtp::ExtensionKind::from_uri(uri).expect("a known name");
            map.insert(number.parse().expect("a number"), kind);
        }
        map
    };
    if let Some(header) = Header::parse(input) {
        let found = header.extensions(input, &map);
        let _ = std::hint::black_box(found);
        let _ = std::hint::black_box(header.payload(input));
    }
    if let Some(descriptor) = Descriptor::parse(input) {
        let mut copy = input.to_vec();
        Shift {
            picture_id: 3,
            tl0: 5,
        }
        .apply(&descriptor, &mut copy);
        let shifted = Descriptor::parse(&copy).expect("its shape is the same");
        assert_eq!(shifted.key_frame, descriptor.key_frame);
    }
    let _ = std::hint::black_box(h264::key_frame(input));
    for packet in Packets(input) {
        match packet {
            Packet::SenderReport { blocks, .. } | Packet::ReceiverReport { blocks } => {
                assert!(ReportBlock::list(blocks).count() <= 31);
            }
            Packet::Nack { pairs, .. } => assert!(nack_numbers(pairs).count() <= 5 * input.len()),
            Packet::FullIntra { entries } => assert!(intra_sources(entries).count() <= input.len()),
            Packet::Transport { body } => feedback(body),
            Packet::Goodbye | Packet::PictureLoss { .. } => {}
        }
    }
    feedback(input);
    let _ = std::hint::black_box((Hello::default().add(input), stun::read(input).is_some()));
}

fn feedback(body: &[u8]) {
    let mut arrivals = Vec::new();
    if transport::read(body, &mut arrivals).is_some() {
        assert!(arrivals.len() <= 2048, "a feedback is bounded");
    }
}

/// Offers: what is accepted gets an answer whose every line is clean.
pub fn offers(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut stage = Stage::new(false);
    let room = stage
        .core
        .peers
        .get(stage.publisher.0)
        .expect("it joined")
        .room;
    for role in [Role::Publish, Role::Subscribe] {
        let join = Join {
            room,
            participant: ParticipantId(3),
            role,
            offer: text,
        };
        let Ok(joined) = stage.core.join(&join, stage.now) else {
            continue;
        };
        for line in joined.answer.split_terminator("\r\n") {
            let clean = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(clean && line.as_bytes().get(1) == Some(&b'='), "{line:?}");
        }
        assert_eq!(
            joined.answer.matches("a=ice-pwd:").count(),
            joined.answer.matches("a=setup:").count()
        );
    }
}

/// Datagrams of known and unknown addresses before the handshake is complete.
pub fn datagrams(input: &[u8]) {
    let mut stage = Stage::new(false);
    for (host, bytes) in pieces(input) {
        stage.deliver(bytes.to_vec(), host + 2);
        stage.wait(Duration::from_millis(5));
        while let Some(transmit) = stage.core.poll_transmit() {
            assert!(transmit.to != address(5), "a stranger gets an answer");
        }
    }
}

/// Authentic packets of a publisher (kind 0: RTP, 1: RTCP) and of a subscriber (2: RTCP), and time (3).
/// Whatever they say, no number goes out twice under one key. Gives the core's counters, so that a test sees how far it got.
pub fn session(input: &[u8]) -> Stats {
    let mut stage = Stage::new(true);
    let mut sealer = Outbound::new(&block()).expect("keys");
    let mut sent = BTreeSet::new();
    for (kind, piece) in pieces(input) {
        let mut bytes = piece.to_vec();
        match (kind, Header::parse(piece)) {
            (0, Some(header)) if !is_rtcp(bytes[1]) => {
                let id = (header.ssrc, u64::from(header.seq));
                sealer
                    .seal_rtp(&mut bytes, 0, header.len, id)
                    .expect("it seals");
                stage.deliver(bytes, 2);
            }
            (1 | 2, _) if bytes.len() >= 8 => {
                bytes[0] = bytes[0] & 0x3f | 0x80;
                bytes[1] = 192 + bytes[1] % 32;
                sealer.seal_rtcp(&mut bytes, 0).expect("it seals");
                stage.deliver(bytes, kind + 1);
            }
            (3, _) => stage.wait(Duration::from_millis(10 + 4 * piece.len() as u64)),
            _ => {}
        }
        while let Some(transmit) = stage.core.poll_transmit() {
            if transmit.to == address(3)
                && transmit
                    .bytes
                    .get(1)
                    .is_some_and(|second| !is_rtcp(*second))
            {
                let id = (
                    be32(transmit.bytes, 8),
                    transmit.bytes.get(2..4).map(<[u8]>::to_vec),
                );
                assert!(sent.insert(id.clone()), "{id:?} went out twice");
            }
        }
    }
    stage.core.stats()
}

/// One publisher and many subscribers with keys, and packets that are sealed already: what forwarding costs, alone.
pub struct Fanout {
    stage: Stage,
    packets: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Fanout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fanout")
            .field("packets", &self.packets.len())
            .finish_non_exhaustive()
    }
}

impl Fanout {
    /// `count` packets with `len` bytes of payload (at most 1200) for `subscribers` (at most 200); video or voice.
    pub fn new(subscribers: u8, count: u16, len: usize, video: bool) -> Self {
        let mut stage = Stage::new(true);
        for host in 0..subscribers.saturating_sub(1) {
            stage.add(
                100_u64 + u64::from(host),
                Role::Subscribe,
                (host + 10, true),
            );
        }
        let room = stage
            .core
            .peers
            .get(stage.publisher.0)
            .expect("it joined")
            .room;
        stage.core.assign(room, 0);
        let sealer = Outbound::new(&block()).expect("keys");
        let mut payload = if video {
            vec![0x90, 0xc0, 0x80, 7, 9, 0]
        } else {
            Vec::new()
        };
        payload.resize(len.clamp(8, 1200), 7);
        let packets = (0..count).map(|seq| {
            let number = if video { 96 } else { 111 };
            let mut bytes = rtp(number, (2, seq), video.then_some(b'q'), &payload);
            let header = Header::parse(&bytes).expect("it was made here");
            sealer
                .seal_rtp(&mut bytes, 0, header.len, (2, u64::from(seq)))
                .expect("it seals");
            bytes
        });
        let packets = packets.collect();
        Self { stage, packets }
    }

    /// Forwards all of them, `gap` apart, and gives the number of copies and of bytes. Once: a second time they are replays.
    pub fn run(&mut self, gap: Duration) -> (u64, u64) {
        for packet in &mut self.packets {
            self.stage.now += gap;
            self.stage.core.handle(packet, address(2), self.stage.now);
            while let Some(transmit) = self.stage.core.poll_transmit() {
                let _ = std::hint::black_box(transmit.bytes);
            }
        }
        let stats = self.stage.core.stats();
        (stats.packets_out, stats.bytes_out)
    }
}

/// A piece as [`pieces`] cuts it.
fn piece(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let words = bytes.len().div_ceil(4);
    let mut out = vec![kind << 6 | u8::try_from(words).expect("short")];
    out.extend_from_slice(bytes);
    out.resize(1 + 4 * words, 0);
    out
}

/// An RTP packet of the publisher; `rid` is that of a layer.
fn rtp(number: u8, (ssrc, seq): (u8, u16), rid: Option<u8>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x90, number];
    bytes.extend_from_slice(&seq.to_be_bytes());
    bytes.extend_from_slice(&[
        0,
        0,
        low16(u64::from(seq)).to_be_bytes()[0],
        seq.to_be_bytes()[1],
        0,
        0,
        0,
        ssrc,
    ]);
    let mid = if number == 111 { b'0' } else { b'1' };
    bytes.extend_from_slice(&[0xbe, 0xde, 0, 3, 0x40, mid, 0x10, 0x14, 0x31, 1, ssrc, 0]);
    bytes.extend_from_slice(&rid.map_or([0; 4], |rid| {
        [if number == 97 { 0xb0 } else { 0xa0 }, rid, 0, 0]
    }));
    bytes.extend_from_slice(payload);
    bytes
}

/// Inputs that get far, by target.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let key = [0x90, 0xc0, 0x80, 7, 9, 0, 1, 2];
    let delta = [0x90, 0xc0, 0x80, 8, 9, 1, 1, 2];
    let mut session = Vec::new();
    for seq in 10..14 {
        session.extend(piece(0, &rtp(111, (1, seq), None, b"abcdefgh")));
        session.extend(piece(
            0,
            &rtp(
                96,
                (2, seq),
                Some(b'q'),
                if seq == 10 { &key } else { &delta },
            ),
        ));
        session.extend(piece(0, &rtp(96, (3, seq + 5), Some(b'h'), &key)));
    }
    session.extend(piece(0, &rtp(96, (2, 16), Some(b'q'), &delta)));
    session.extend(piece(
        0,
        &rtp(97, (4, 1), Some(b'q'), &[0, 15, 0x90, 0xc0, 0x80, 8, 9, 1]),
    ));
    // The same packet late, after its repair: it must not go out a second time.
    session.extend(piece(0, &rtp(96, (2, 15), Some(b'q'), &delta)));
    session.extend(piece(3, &[0; 200]));
    let nack = [0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0xff, 0xff];
    let loss = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    let arrivals = [
        0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 1, 0, 0x20, 3, 1, 2,
    ];
    session.extend(piece(2, &[&nack[..], &loss[..], &arrivals[..]].concat()));
    session.extend(piece(3, &[0; 40]));
    // The client begins anew under another source, with the same numbers.
    session.extend(piece(0, &rtp(96, (5, 10), Some(b'q'), &key)));
    let sdp = |direction: &str| offer(direction).into_bytes();
    let hello = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0];
    let datagrams = [
        piece(0, &hello),
        piece(1, &rtp(111, (1, 1), None, b"x")),
        piece(3, &nack),
    ]
    .concat();
    vec![
        ("session", session),
        ("offers", sdp("sendonly")),
        ("offers", sdp("recvonly")),
        ("datagrams", datagrams),
        ("packets", rtp(111, (1, 1), None, b"x")),
        ("packets", key.to_vec()),
        ("packets", [&nack[..], &loss[..], &arrivals[..]].concat()),
        ("packets", arrivals[12..].to_vec()),
    ]
}
