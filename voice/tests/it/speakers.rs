//! The loudest are heard, a moderator's mute holds.

use std::collections::BTreeSet;
use std::time::Duration;

use str0m::media::{MediaKind, Mid};
use voice::{Event, ParticipantId, RoomOptions};

use crate::support::{MS, Packet, World, payload};

/// Everybody sends for `frames` of 20 ms, those in `loud` loudly; the payload says who.
fn talk(world: &mut World, people: &[(usize, Mid)], loud: &[usize], frames: std::ops::Range<u32>) {
    for frame in frames {
        for (place, (client, mid)) in people.iter().enumerate() {
            let mut body = payload(frame, 60);
            body[0] = u8::try_from(place).expect("few");
            let level = if loud.contains(&place) { -15 } else { -90 };
            let packet = Packet {
                index: u64::from(frame) + 100,
                timestamp: frame * 960,
                level: Some(level),
                payload: &body,
                ..Packet::default()
            };
            world.send(*client, (*mid, None), packet);
        }
        world.run(20 * MS);
    }
}

fn heard(world: &mut World, listener: usize) -> BTreeSet<u8> {
    let received = std::mem::take(&mut world.clients[listener].received);
    received.iter().map(|packet| packet.payload[0]).collect()
}

#[test]
fn of_ten_open_microphones_the_three_who_speak_are_heard() {
    let mut world = World::new();
    let room = world
        .core
        .create_room(RoomOptions { loudest: 3 })
        .expect("a room");
    let people: Vec<(usize, Mid)> = (0..10)
        .map(|_| {
            let (client, mids) = world.publisher(room, &[MediaKind::Audio], &[]);
            (client, mids[0])
        })
        .collect();
    let (listener, _) = world.subscriber(room, &[MediaKind::Audio; 5]);
    world.connect();
    talk(&mut world, &people, &[7, 8, 9], 0..100);
    world.clients[listener].received.clear();
    talk(&mut world, &people, &[7, 8, 9], 100..150);
    assert!(heard(&mut world, listener).is_superset(&BTreeSet::from([7, 8, 9])));
    talk(&mut world, &people, &[2, 8], 150..250);
    world.clients[listener].received.clear();
    talk(&mut world, &people, &[2, 8], 250..300);
    let now_heard = heard(&mut world, listener);
    assert!(
        now_heard.contains(&2) && now_heard.contains(&8),
        "{now_heard:?}"
    );
    assert!(now_heard.len() <= 5, "{now_heard:?}");
    let events = world.events();
    let speaking = |who: usize, speaking: bool| {
        let participant = ParticipantId(people[who].0 as u64);
        events.contains(&Event::Speaking {
            room,
            participant,
            speaking,
        })
    };
    assert!(speaking(7, true) && speaking(7, false) && speaking(2, true));
    assert!(!speaking(1, true), "who is silent does not speak");
}

#[test]
fn a_muted_track_is_silent_until_it_is_let_through_again() {
    let mut world = World::new();
    let room = world.room();
    let (client, mids) = world.publisher(room, &[MediaKind::Audio], &[]);
    let (listener, _) = world.subscriber(room, &[MediaKind::Audio]);
    world.connect();
    let track = world.events().into_iter().find_map(|event| match event {
        Event::Published { track, .. } => Some(track),
        _ => None,
    });
    let (track, people) = (track.expect("published"), [(client, mids[0])]);
    talk(&mut world, &people, &[0], 0..20);
    assert_eq!(world.clients[listener].received.len(), 20);
    world.core.mute(track, true).expect("there");
    talk(&mut world, &people, &[0], 20..40);
    assert_eq!(world.clients[listener].received.len(), 20);
    world.core.mute(track, false).expect("there");
    talk(&mut world, &people, &[0], 40..60);
    world.run(Duration::from_millis(50));
    assert_eq!(world.clients[listener].received.len(), 40);
}
