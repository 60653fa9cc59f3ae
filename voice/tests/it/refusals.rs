//! What is forged, replayed, of somebody else or of nobody gets nowhere and gets no answer.

use std::net::SocketAddr;
use std::time::Duration;

use str0m::media::{Direction, MediaKind};
use voice::{Event, Role};

use crate::support::{Packet, World, payload};

fn elsewhere() -> SocketAddr {
    "10.9.9.9:9".parse().expect("an address")
}

#[test]
fn a_changed_stun_request_is_neither_answered_nor_believed() {
    let mut world = World::new();
    let room = world.room();
    world.tape = Some(Vec::new());
    world.publisher(room, &[MediaKind::Audio], &[]);
    world.connect();
    let tape = world.tape.take().expect("recorded");
    let (_, request) = tape
        .iter()
        .find(|(_, bytes)| bytes[0] < 4)
        .expect("a binding request")
        .clone();
    for at in 0..request.len() {
        let mut forged = request.clone();
        forged[at] ^= 0x20;
        world.deliver(&forged, elsewhere());
    }
    assert_eq!(world.bytes[&elsewhere()].1, 0, "nothing went back");
    let media = tape
        .iter()
        .find(|(_, bytes)| bytes[0] >= 20)
        .expect("some DTLS")
        .1
        .clone();
    let before = world.core.stats().dropped.stranger;
    world.deliver(&media, elsewhere());
    assert_eq!(
        world.core.stats().dropped.stranger,
        before + 1,
        "the address is still unknown"
    );
    world.deliver(&request, elsewhere());
    assert!(
        world.bytes[&elsewhere()].1 > 0,
        "unchanged it is answered: the test sees the difference"
    );
}

#[test]
fn a_client_with_another_certificate_than_its_offer_says_is_refused() {
    let mut world = World::new();
    let room = world.room();
    let (client, _, offer) = world.client(&[(MediaKind::Audio, Direction::SendOnly)], &[]);
    let at = offer.find("a=fingerprint:sha-256 ").expect("a fingerprint") + 22;
    let mut forged = offer.clone();
    let other = if &offer[at..=at] == "A" { "B" } else { "A" };
    forged.replace_range(at..=at, other);
    let peer = world.join(room, client, Role::Publish, &forged);
    world.run(Duration::from_secs(3));
    let reason = world.events().into_iter().find_map(|event| match event {
        Event::Left {
            peer: left, reason, ..
        } if left == peer => Some(reason),
        Event::Connected { .. } => panic!("it must not connect"),
        _ => None,
    });
    assert_eq!(reason, Some("the certificate is not the one of the offer"));
}

#[test]
fn a_replayed_packet_is_dropped_and_a_changed_one_too() {
    let mut world = World::new();
    let room = world.room();
    let (speaker, mids) = world.publisher(room, &[MediaKind::Audio], &[]);
    let (listener, _) = world.subscriber(room, &[MediaKind::Audio]);
    world.connect();
    world.tape = Some(Vec::new());
    for i in 0..50_u32 {
        let body = payload(i, 80);
        let packet = Packet {
            index: u64::from(i),
            timestamp: i * 960,
            payload: &body,
            ..Packet::default()
        };
        world.send(speaker, (mids[0], None), packet);
        world.run(Duration::from_millis(20));
    }
    let media: Vec<_> = world
        .tape
        .take()
        .expect("recorded")
        .into_iter()
        .filter(|(_, bytes)| crate::support::is_media(bytes))
        .collect();
    let before = world.core.stats();
    for (from, bytes) in &media {
        world.deliver(bytes, *from);
        let mut forged = bytes.clone();
        forged[3] ^= 0x40;
        world.deliver(&forged, *from);
    }
    let after = world.core.stats();
    assert_eq!(after.packets_out, before.packets_out);
    assert_eq!(
        after.dropped.replayed - before.dropped.replayed,
        media.len() as u64
    );
    assert!(after.dropped.forged - before.dropped.forged >= 50);
    world.run(Duration::from_millis(100));
    assert_eq!(world.clients[listener].received.len(), 50);
}

#[test]
fn until_an_address_proves_that_it_receives_it_gets_no_more_than_it_sent() {
    let mut world = World::new();
    let room = world.room();
    let (client, _) = world.publisher(room, &[MediaKind::Audio], &[]);
    let address = world.clients[client].address;
    world.connect_halfway(client);
    for _ in 0..8000 {
        world.step();
        let (from, to) = world.bytes[&address];
        assert!(to <= from, "{to} bytes went to an address that sent {from}");
    }
    let (from, _) = world.bytes[&address];
    assert!(
        from > 1000 && world.hellos > 1,
        "the client tried: {from} bytes, {} hellos",
        world.hellos
    );
}
