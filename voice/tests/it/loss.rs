//! Lost packets come back, both ways.

use std::collections::BTreeSet;
use std::time::Duration;

use str0m::media::MediaKind;

use crate::support::{MS, Packet, Part, World, read_vp8, vp8};

/// Sends the frames `frames` of three packets, 30 a second; a key frame first and whenever one is asked for.
fn film(world: &mut World, client: usize, mid: str0m::media::Mid, frames: std::ops::Range<u32>) {
    for frame in frames {
        let asked = !std::mem::take(&mut world.clients[client].key_requests).is_empty();
        for part in 0..3 {
            let kind = match part {
                0 if frame == 0 || asked => Part::KeyFrame,
                0 => Part::Frame,
                _ => Part::Later,
            };
            let stamp = 3 * frame + part;
            let body = vp8(u16::try_from(frame).expect("15 bits"), kind, stamp);
            let packet = Packet {
                index: u64::from(stamp) + 65_000,
                timestamp: frame * 3000,
                marker: part == 2,
                level: None,
                payload: &body,
            };
            world.send(client, (mid, None), packet);
        }
        world.run(33 * MS);
    }
}

#[test]
fn five_percent_lost_on_every_way_is_repaired() {
    let mut world = World::new();
    world.delay = 25 * MS;
    let room = world.room();
    let (camera, mids) = world.publisher(room, &[MediaKind::Video], &[]);
    let viewers = [
        world.subscriber(room, &[MediaKind::Video]).0,
        world.subscriber(room, &[MediaKind::Video]).0,
    ];
    world.connect();
    film(&mut world, camera, mids[0], 0..10);
    for viewer in viewers {
        world.clients[viewer].received.clear();
        world.loss_down.insert(viewer, 50);
    }
    world.loss_up.insert(camera, 50);
    film(&mut world, camera, mids[0], 10..310);
    let sent = 900_usize;
    world.run(Duration::from_secs(2));
    for viewer in viewers {
        let stamps: BTreeSet<u32> = world.clients[viewer]
            .received
            .iter()
            .map(|packet| read_vp8(&packet.payload).1)
            .filter(|stamp| *stamp >= 30)
            .collect();
        let share = stamps.len() * 1000 / sent;
        assert!(
            share >= 999,
            "{} of {sent} packets came to viewer {viewer}",
            stamps.len()
        );
    }
    let stats = world.core.stats();
    assert!(
        stats.repairs_in > 30 && stats.repairs_out > 60,
        "the loss was real: {stats:?}"
    );
    assert_eq!(stats.dropped.forged, 0);
}
