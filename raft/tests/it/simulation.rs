//! Seeded lives of a process: three groups, random load, flushes, purges and power cuts.
//!
//! The oracle is linear in the number of entries: an acknowledged command never moves or vanishes,
//! an applied entry never changes, and what a stream reads is what was applied.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft::{Group, GroupId, Host, HostOptions, LogDriver, LogRead};

use crate::support::{Ledger, ONE, Random, World, command, propose_all, quiet_life};

/// What is known for certain about one group, across all lives.
#[derive(Default)]
struct Known {
    ledger: Ledger,
    /// The command at each (index, op) that was ever applied or acknowledged.
    places: BTreeMap<(u64, u16), Bytes>,
    acknowledged: usize,
}

impl Known {
    /// Everything known must still be so; everything applied becomes known.
    fn check(&mut self, when: &str) {
        let applied: BTreeMap<(u64, u16), Bytes> = self
            .ledger
            .commands()
            .into_iter()
            .map(|(index, op, command)| ((index, op), command))
            .collect();
        for (place, command) in &self.places {
            assert_eq!(
                applied.get(place),
                Some(command),
                "{when}: entry and op {place:?}"
            );
        }
        let mut commands: Vec<&Bytes> = applied.values().collect();
        commands.sort_unstable();
        let count = commands.len();
        commands.dedup();
        assert_eq!(commands.len(), count, "{when}: a command was applied twice");
        self.places = applied;
    }

    /// What a stream reads from the oldest entry on is what was applied.
    fn check_stream(&self, world: &World, group: &Group) {
        let mut from = 0;
        let mut read = BTreeMap::new();
        let mut oldest = 0;
        loop {
            let Ok(stretch) = group.read_log(from, 200) else {
                return assert!(world.vfs.is_down(), "only a power cut may stop it");
            };
            match stretch {
                LogRead::Purged { oldest: first } => (from, oldest) = (first, first),
                LogRead::Batches { next, .. } if next == from => break,
                LogRead::Batches { batches, next } => {
                    for batch in batches {
                        let ops = (0u16..).zip(batch.commands);
                        read.extend(ops.map(|(op, command)| ((batch.id.index, op), command)));
                    }
                    from = next;
                }
            }
        }
        let expected = self
            .places
            .range((oldest, 0)..)
            .map(|(at, bytes)| (*at, bytes.clone()));
        assert_eq!(
            read,
            expected.collect(),
            "what a stream reads from {oldest} on"
        );
    }
}

/// A few rounds of load on all groups; ends early when the power is cut.
async fn work(world: &World, host: &Host, known: &mut [Known], random: &mut Random) {
    let mut groups = Vec::new();
    for (known, id) in known.iter_mut().zip(0..) {
        let machine = known.ledger.machine();
        match host.open_group(GroupId(id), ONE, machine, true).await {
            Ok(group) => groups.push(group),
            Err(_) => return assert!(world.vfs.is_down(), "only a power cut may stop it"),
        }
        known.check("opened");
    }
    for _ in 0..random.below(8) {
        for (known, group) in known.iter_mut().zip(&groups) {
            let first = usize::try_from(random.below(1 << 40)).expect("it fits") * 64;
            let count = usize::try_from(random.below(20)).expect("it fits");
            let commands: Vec<Bytes> = (first..first + count).map(command).collect();
            let outcomes = propose_all(group, &commands).await;
            for (command, outcome) in commands.into_iter().zip(outcomes) {
                let Ok(done) = outcome else { continue };
                known.acknowledged += 1;
                let before = known.places.insert((done.index, done.op), command);
                assert_eq!(before, None, "two commands at {}.{}", done.index, done.op);
            }
            if random.below(3) == 0 && group.status().failure.is_none() {
                let durable = known.ledger.flush();
                let keep_from = durable.saturating_sub(random.below(10));
                group
                    .flushed(durable, keep_from)
                    .expect("the index is applied");
            }
        }
    }
    if world.vfs.is_down() {
        return;
    }
    for (known, group) in known.iter_mut().zip(&groups) {
        known.check("worked");
        known.check_stream(world, group);
    }
}

#[test]
fn over_many_seeded_lives_nothing_acknowledged_moves_and_nothing_applied_changes() {
    let mut acknowledged = 0;
    let mut cuts = 0;
    for seed in 0..40 {
        let world = World::new(seed);
        let mut random = Random(seed);
        let mut known: [Known; 3] = std::array::from_fn(|_| Known::default());
        for _ in 0..8 {
            if random.below(4) > 0 {
                world.vfs.crash_at(world.vfs.calls() + random.below(120));
            }
            quiet_life(async {
                let options = HostOptions {
                    log_driver: LogDriver::Task,
                    ..HostOptions::default()
                };
                let Ok(host) = world.try_host(options) else {
                    return assert!(world.vfs.is_down(), "only a power cut may stop it");
                };
                work(&world, &host, &mut known, &mut random).await;
                if random.below(3) == 0 && host.stop().await.is_err() {
                    assert!(world.vfs.is_down(), "only a power cut may stop it");
                }
            });
            cuts += usize::from(world.vfs.is_down());
            world.vfs.restart();
        }
        acknowledged += known.iter().map(|known| known.acknowledged).sum::<usize>();
    }
    println!("{acknowledged} commands acknowledged over {cuts} power cuts");
    assert!(
        acknowledged > 5_000 && cuts > 50,
        "too little happened to prove anything"
    );
}
