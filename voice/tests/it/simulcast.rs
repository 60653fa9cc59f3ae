//! Three layers of one picture: each viewer gets the one that his way carries, as one stream.

use std::collections::BTreeMap;
use std::time::Duration;

use str0m::media::{MediaKind, Mid};
use str0m::rtp::RtpPacket;
use voice::{Event, Watch};

use crate::support::{MS, Packet, Part, World, read_vp8, vp8};

/// Packets per frame of each layer: about 220, 660 and 1540 kbit/s at 30 frames a second.
const LAYERS: [(&str, u32); 3] = [("q", 1), ("h", 3), ("f", 7)];

/// A camera that goes on where it was.
struct Camera {
    client: usize,
    mid: Mid,
    frame: u32,
    sent: BTreeMap<&'static str, u32>,
}

impl Camera {
    /// Films for a while, key frames only when asked for (and first).
    fn film(&mut self, world: &mut World, span: Duration) {
        let until = world.now + span;
        while world.now < until {
            let asked = std::mem::take(&mut world.clients[self.client].key_requests);
            for (layer, packets) in LAYERS {
                let key = self.frame == 0
                    || asked
                        .iter()
                        .any(|request| request.rid.is_some_and(|rid| &*rid == layer));
                for part in 0..packets {
                    let sent = self.sent.entry(layer).or_default();
                    *sent += 1;
                    let kind = match part {
                        0 if key => Part::KeyFrame,
                        0 => Part::Frame,
                        _ => Part::Later,
                    };
                    // The stamp says which layer.
                    let body = vp8(
                        u16::try_from(self.frame).expect("15 bits"),
                        kind,
                        packets << 24 | *sent,
                    );
                    let packet = Packet {
                        index: u64::from(*sent + packets * 1000),
                        timestamp: self.frame * 3000 + packets * 777,
                        marker: part + 1 == packets,
                        level: None,
                        payload: &body,
                    };
                    world.send(self.client, (self.mid, Some(layer)), packet);
                }
            }
            self.frame += 1;
            world.run(33 * MS);
        }
    }
}

/// Layers (as packets per frame) in the order in which a viewer got them.
fn layers_seen(world: &World, viewer: usize) -> Vec<u32> {
    let mut seen: Vec<u32> = world.clients[viewer]
        .received
        .iter()
        .map(|packet| read_vp8(&packet.payload).1 >> 24)
        .collect();
    seen.dedup();
    seen
}

/// Numbers, time and picture numbers go on as if there had been one sender.
fn assert_one_stream(received: &[RtpPacket]) {
    for pair in received.windows(2) {
        assert_eq!(*pair[1].seq_no, *pair[0].seq_no + 1, "numbers go on");
        assert_eq!(pair[1].header.ssrc, pair[0].header.ssrc);
        let step = pair[1]
            .header
            .timestamp
            .wrapping_sub(pair[0].header.timestamp);
        assert!(step < 20_000, "time goes on: {step}");
        let layers = [&pair[0], &pair[1]].map(|packet| read_vp8(&packet.payload).1 >> 24);
        let begins = pair[1].payload[0] == 0x90 && pair[1].payload[5] == 0;
        assert!(
            layers[0] == layers[1] || begins,
            "a layer begins with a key frame"
        );
        let pictures = [read_vp8(&pair[0].payload).0, read_vp8(&pair[1].payload).0];
        assert!(
            pictures[1].wrapping_sub(pictures[0]) <= 1,
            "picture numbers go on: {pictures:?}"
        );
    }
}

#[test]
fn viewers_get_the_layer_their_way_carries_as_one_unbroken_stream() {
    let mut world = World::new();
    let room = world.room();
    let (client, mids) = world.publisher(room, &[MediaKind::Video], &["q", "h", "f"]);
    let (wide, _) = world.subscriber(room, &[MediaKind::Video]);
    let (narrow, _) = world.subscriber(room, &[MediaKind::Video]);
    let (small, small_mids) = world.subscriber(room, &[MediaKind::Video]);
    world.narrow.insert(narrow, 400_000);
    world.connect();
    let mut camera = Camera {
        client,
        mid: mids[0],
        frame: 0,
        sent: BTreeMap::new(),
    };
    camera.film(&mut world, Duration::from_secs(2));
    let track = world.events().into_iter().find_map(|event| match event {
        Event::Published { track, .. } => Some(track),
        _ => None,
    });
    let watch = Watch::Track {
        track: track.expect("published"),
        layer_max: 0,
    };
    let peer = world.clients[small].peer.expect("joined");
    world
        .core
        .watch(peer, &small_mids[0], watch)
        .expect("a slot and a track");
    camera.film(&mut world, Duration::from_secs(12));
    let layer = |world: &World, client: usize| {
        let peer = world.clients[client].peer.expect("joined");
        world.core.peer_stats(peer).expect("there").tracks[0].layer
    };
    assert_eq!(
        layer(&world, wide),
        Some(2),
        "{:?}",
        layers_seen(&world, wide)
    );
    assert_eq!(
        layer(&world, narrow),
        Some(0),
        "{:?}",
        layers_seen(&world, narrow)
    );
    assert_eq!(layer(&world, small), Some(0));
    for viewer in [wide, small] {
        assert!(
            layers_seen(&world, viewer).len() > 1,
            "the layer changed while we looked"
        );
        assert_one_stream(&world.clients[viewer].received);
    }
    world.narrow.insert(wide, 500_000);
    camera.film(&mut world, Duration::from_secs(8));
    assert_eq!(
        layer(&world, wide),
        Some(0),
        "the way became narrow: {:?}",
        layers_seen(&world, wide)
    );
}
