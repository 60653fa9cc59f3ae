//! What is too much is refused or dropped, who is gone is removed.

use std::time::Duration;

use str0m::media::{Direction, MediaKind};
use voice::{ErrorKind, Event, Join, Limits, ParticipantId, Role, RoomOptions};

use crate::support::{MS, Packet, World, options, payload};

fn world(limits: Limits) -> World {
    let mut options = options("10.0.0.1:4000".parse().expect("an address"));
    options.limits = limits;
    World::with(options)
}

#[test]
fn rooms_peers_and_media_have_limits_and_room_is_made_by_leaving() {
    let mut world = world(Limits {
        rooms: 1,
        peers_per_room: 2,
        tracks_per_peer: 2,
        ..Limits::default()
    });
    let room = world.room();
    let refused = world
        .core
        .create_room(RoomOptions::default())
        .expect_err("one room is allowed");
    assert_eq!(refused.kind(), ErrorKind::Overloaded);
    let (_, _, many) = world.client(&[(MediaKind::Audio, Direction::RecvOnly); 3], &[]);
    let (_, _, offer) = world.client(&[(MediaKind::Audio, Direction::RecvOnly)], &[]);
    let participant = ParticipantId(1);
    let join = Join {
        room,
        participant,
        role: Role::Subscribe,
        offer: &offer,
    };
    let now = world.now;
    let too_many = world
        .core
        .join(
            &Join {
                offer: &many,
                ..join.clone()
            },
            now,
        )
        .expect_err("three media");
    assert_eq!(too_many.kind(), ErrorKind::Overloaded);
    let wrong = Join {
        role: Role::Publish,
        ..join.clone()
    };
    assert_eq!(
        world
            .core
            .join(&wrong, now)
            .expect_err("nothing to publish")
            .kind(),
        ErrorKind::Invalid
    );
    let first = world.core.join(&join, now).expect("the first");
    world.core.join(&join, now).expect("the second");
    assert_eq!(
        world.core.join(&join, now).expect_err("the third").kind(),
        ErrorKind::Overloaded
    );
    world.core.leave(first.peer, now).expect("there");
    world.core.join(&join, now).expect("there is room again");
    assert_eq!(
        world.core.leave(first.peer, now).expect_err("gone").kind(),
        ErrorKind::NotFound
    );
    world.core.close_room(room, now).expect("there");
    assert_eq!((world.core.stats().rooms, world.core.stats().peers), (0, 0));
}

#[test]
fn who_never_connects_and_who_falls_silent_is_removed() {
    let mut world = world(Limits {
        handshake: Duration::from_secs(3),
        idle: Duration::from_secs(6),
        ..Limits::default()
    });
    let room = world.room();
    let (speaker, _) = world.publisher(room, &[MediaKind::Audio], &[]);
    world.connect();
    let (_, _, offer) = world.client(&[(MediaKind::Audio, Direction::RecvOnly)], &[]);
    let join = Join {
        room,
        participant: ParticipantId(9),
        role: Role::Subscribe,
        offer: &offer,
    };
    let now = world.now;
    let never = world.core.join(&join, now).expect("joins").peer;
    world.run(Duration::from_secs(5));
    let left = |world: &mut World| -> Vec<_> {
        let events = world.events().into_iter();
        events
            .filter_map(|event| {
                if let Event::Left { peer, .. } = event {
                    Some(peer)
                } else {
                    None
                }
            })
            .collect()
    };
    assert_eq!(left(&mut world), [never]);
    world.run(Duration::from_secs(15));
    assert_eq!(
        left(&mut world),
        [],
        "checks of consent keep a silent client"
    );
    let gone = world.clients.remove(speaker).peer.expect("joined");
    world.run(Duration::from_secs(8));
    assert_eq!(left(&mut world), [gone]);
    assert_eq!(world.core.stats().tracks, 0);
    assert_eq!(
        world.core.poll_timeout(),
        None,
        "nobody is here, nothing is due"
    );
}

#[test]
fn a_publisher_above_its_rate_is_cut_and_the_other_room_does_not_notice() {
    let mut world = world(Limits {
        publish_bps: 200_000,
        ..Limits::default()
    });
    let mut pairs = Vec::new();
    for _ in 0..2 {
        let room = world.room();
        let (speaker, mids) = world.publisher(room, &[MediaKind::Audio], &[]);
        pairs.push((
            speaker,
            mids[0],
            world.subscriber(room, &[MediaKind::Audio]).0,
        ));
    }
    world.connect();
    for i in 0..500_u32 {
        let (loud, quiet) = (payload(i, 1000), payload(i, 80));
        for (place, (speaker, mid, _)) in pairs.clone().into_iter().enumerate() {
            let body = if place == 0 { &loud } else { &quiet };
            let packet = Packet {
                index: u64::from(i),
                timestamp: i * 480,
                payload: body,
                ..Packet::default()
            };
            world.send(speaker, (mid, None), packet);
        }
        world.run(5 * MS);
    }
    world.run(50 * MS);
    let got = pairs
        .iter()
        .map(|(_, _, listener)| world.clients[*listener].received.len())
        .collect::<Vec<_>>();
    assert!(
        (40..130).contains(&got[0]),
        "200 kbit/s of 1600 kbit/s: {got:?}"
    );
    assert_eq!(got[1], 500);
    assert!(world.core.stats().dropped.excess > 300);
}
