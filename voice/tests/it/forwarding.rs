//! What one sends, the others get, and nobody gets himself.

use std::time::Duration;

use str0m::media::MediaKind;
use voice::{Event, ParticipantId, Role};

use crate::support::{Packet, World, payload};

const FRAME: Duration = Duration::from_millis(20);

/// Sends `count` voice packets, 20 ms apart.
fn speak(world: &mut World, client: usize, mid: str0m::media::Mid, count: u32) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    for i in 0..count {
        let body = payload(i, 80);
        let packet = Packet {
            index: u64::from(i) + 60_000,
            timestamp: i * 960,
            level: Some(-20),
            payload: &body,
            ..Packet::default()
        };
        world.send(client, (mid, None), packet);
        sent.push(body);
        world.run(FRAME);
    }
    sent
}

#[test]
fn a_voice_reaches_both_listeners_whole_in_order_and_not_its_owner() {
    let mut world = World::new();
    let room = world.room();
    let (speaker, mids) = world.publisher(room, &[MediaKind::Audio], &[]);
    let listeners = [
        world.subscriber(room, &[MediaKind::Audio]).0,
        world.subscriber(room, &[MediaKind::Audio]).0,
    ];
    let (own, _, offer) = world.client(
        &[(MediaKind::Audio, str0m::media::Direction::RecvOnly)],
        &[],
    );
    let participant = ParticipantId(speaker as u64);
    world.join_as(
        &voice::Join {
            room,
            participant,
            role: Role::Subscribe,
            offer: &offer,
        },
        own,
    );
    world.connect();
    let sent = speak(&mut world, speaker, mids[0], 300);
    for listener in listeners {
        let received = &world.clients[listener].received;
        let payloads: Vec<Vec<u8>> = received
            .iter()
            .map(|packet| packet.payload.to_vec())
            .collect();
        assert_eq!(payloads, sent);
        for pair in received.windows(2) {
            assert_eq!(*pair[1].seq_no, *pair[0].seq_no + 1);
            assert_eq!(
                pair[1]
                    .header
                    .timestamp
                    .wrapping_sub(pair[0].header.timestamp),
                960
            );
            assert_eq!(pair[1].header.ssrc, pair[0].header.ssrc);
        }
        assert_eq!(received[0].header.ext_vals.audio_level, Some(-20));
    }
    assert!(
        world.clients[own].received.is_empty(),
        "nobody hears himself"
    );
    let peer = world.clients[speaker].peer.expect("joined");
    let stats = world.core.peer_stats(peer).expect("there");
    assert_eq!(stats.profile, "SRTP_AEAD_AES_128_GCM");
    assert_eq!((stats.tracks[0].packets, stats.tracks[0].lost), (300, 0));
    assert_eq!(world.core.stats().packets_out, 600);
    let events = world.events();
    assert!(
        events.contains(&Event::Speaking {
            room,
            participant,
            speaking: true
        }),
        "{events:?}"
    );
    world.run(Duration::from_millis(600));
    assert!(world.events().contains(&Event::Speaking {
        room,
        participant,
        speaking: false
    }));
}
