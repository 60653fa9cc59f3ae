//! The promises of a subscription against a model: every wanted event once, in order, or a gap.

use crate::command::{ChangeParts, WriteCommand};
use crate::error::Result;
use crate::stream::cursor::Cursor;
use crate::stream::event::{ChangeKind, StreamItem};
use crate::stream::hub::{CHANGE_MASK, Event, Hub, Origin};
use crate::stream::receiver::{Backlog, Receiver, Source};
use crate::telemetry::StreamMetrics;
use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const CLUSTER: u64 = 9;
const GROUPS: [u64; 2] = [1, 2];

/// A raft log of entries with topics per event, and the oldest entry that is left.
#[derive(Debug, Default)]
struct Log {
    entries: Mutex<BTreeMap<(u64, u64), Vec<&'static str>>>,
    oldest: Mutex<u64>,
}

fn event(group: u64, index: u64, command: usize, topic: &str) -> Event {
    let place = Event::place(group, index, command);
    let command = WriteCommand {
        topics: vec![topic.to_owned(), "both".to_owned()],
        ..WriteCommand::default()
    };
    Event::new(place, index, Arc::new(command), 10)
}

impl Source for Log {
    fn read(&self, group: u64, from: u64, upto: u64) -> BoxFuture<'_, Result<Backlog>> {
        let oldest = *self.oldest.lock();
        if from < oldest {
            return Box::pin(std::future::ready(Ok(Backlog::Purged { oldest })));
        }
        // Two entries at a time, so that catching up takes many rounds.
        let upto = upto.min(from + 1);
        let entries = self.entries.lock();
        let events = entries
            .range((group, from)..=(group, upto))
            .flat_map(|(&(group, index), topics)| {
                topics
                    .iter()
                    .enumerate()
                    .map(move |(op, topic)| event(group, index, op, topic))
            })
            .collect();
        Box::pin(std::future::ready(Ok(Backlog::Events { events, upto })))
    }

    fn changes(&self, event: &Event) -> Result<Vec<ChangeParts>> {
        let change = ChangeParts {
            table: event.topics.join(" "),
            kind: ChangeKind::Insert,
            key: Vec::new(),
            columns: Vec::new(),
        };
        // Every command makes two changes, so that cursors stand between them too.
        Ok(vec![change.clone(), change])
    }
}

struct World {
    log: Arc<Log>,
    hub: Arc<Hub>,
    next: BTreeMap<u64, u64>,
    random: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let hub = Arc::new(Hub::new(CLUSTER, 5, StreamMetrics::default()));
        for group in GROUPS {
            hub.register(group, 0);
        }
        Self {
            log: Arc::new(Log {
                oldest: Mutex::new(1),
                ..Log::default()
            }),
            hub,
            next: GROUPS.into_iter().map(|group| (group, 1)).collect(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn apply(&mut self) {
        let group = GROUPS[usize::try_from(self.random(2)).unwrap()];
        let count = self.random(4);
        let topics: Vec<&'static str> = (0..count)
            .map(|_| ["a", "b", "c"][usize::try_from(self.random(3)).unwrap()])
            .collect();
        let next = self.next.get_mut(&group).unwrap();
        let index = *next;
        *next += 1;
        self.log
            .entries
            .lock()
            .insert((group, index), topics.clone());
        let events = topics.iter().enumerate();
        let events = events
            .map(|(op, topic)| event(group, index, op, topic))
            .collect();
        self.hub.publish(group, index, events);
    }

    fn subscribe(&self, topics: &[&str], cursor: Option<&Cursor>) -> Receiver {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        let source: Arc<dyn Source> = Arc::clone(&self.log) as Arc<dyn Source>;
        Receiver::new(Arc::clone(&self.hub), source, topics, cursor).unwrap()
    }

    /// The subscriber goes away and comes back with its cursor.
    fn come_back(&self, topics: &[&str], seen: &mut Seen) -> Option<Receiver> {
        let cursor = seen.cursor.clone()?;
        let places = cursor.places.iter();
        seen.last = places
            .map(|place| (place.group, (place.index, place.op)))
            .collect();
        Some(self.subscribe(topics, Some(&cursor)))
    }

    /// What a subscriber of these topics must have seen of a group since the beginning.
    fn expected(&self, group: u64, topics: &[&str]) -> Vec<(u64, u32)> {
        let entries = self.log.entries.lock();
        let of_group = entries.range((group, 0)..=(group, u64::MAX));
        of_group
            .flat_map(|(&(_, index), given)| {
                given
                    .iter()
                    .enumerate()
                    .filter(|(_, topic)| topics.contains(topic))
                    .flat_map(move |(command, topic)| {
                        let event = event(group, index, command, topic);
                        [event.place_of(0), event.place_of(1)]
                    })
            })
            .collect()
    }
}

/// Up to `limit` items, as long as they come quickly.
async fn drain(receiver: &mut Receiver, limit: usize, seen: &mut Seen) {
    for _ in 0..limit {
        let quiet = std::time::Duration::from_millis(1);
        match tokio::time::timeout(quiet, receiver.next()).await {
            Ok(Some(item)) => seen.take(item.unwrap()),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Items until `count` changes were seen.
async fn drain_all(receiver: &mut Receiver, count: usize, seen: &mut Seen) {
    let all = async {
        while seen.places.values().map(Vec::len).sum::<usize>() < count {
            seen.take(receiver.next().await.unwrap().unwrap());
        }
    };
    let limit = std::time::Duration::from_secs(20);
    tokio::time::timeout(limit, all)
        .await
        .expect("every expected change comes");
}

#[derive(Default)]
struct Seen {
    places: BTreeMap<u64, Vec<(u64, u32)>>,
    gaps: Vec<(u64, u64, u64)>,
    cursor: Option<Cursor>,
    last: BTreeMap<u64, (u64, u32)>,
}

impl Seen {
    fn take(&mut self, item: StreamItem) {
        match item {
            StreamItem::Change(change) => {
                for place in change.cursor.places.iter() {
                    let now = (place.index, place.op);
                    let before = self.last.insert(place.group, now).unwrap_or((0, 0));
                    // A place behind all changes of a command or an entry is no change.
                    if before != now && now.1 & CHANGE_MASK != CHANGE_MASK {
                        self.places.entry(place.group).or_default().push(now);
                    }
                }
                self.cursor = Some(change.cursor);
            }
            StreamItem::Gap { group, from, to } => self.gaps.push((group, from, to)),
            StreamItem::Progress(cursor) => self.cursor = Some(cursor),
            StreamItem::Ephemeral { .. } => {}
        }
    }
}

#[tokio::test]
async fn every_wanted_event_comes_once_and_in_order_however_slow_the_subscriber() {
    for seed in 1..=24_u64 {
        let mut world = World::new(seed);
        let topics: &[&str] = if seed % 2 == 0 { &["a", "c"] } else { &["b"] };
        let mut receiver = world.subscribe(topics, None);
        let mut seen = Seen::default();
        for _ in 0..60 {
            for _ in 0..world.random(12) {
                world.apply();
            }
            let limit = usize::try_from(world.random(9)).unwrap();
            drain(&mut receiver, limit, &mut seen).await;
            if world.random(6) == 0 {
                receiver = world.come_back(topics, &mut seen).unwrap_or(receiver);
            }
        }
        let count = GROUPS
            .map(|group| world.expected(group, topics).len())
            .iter()
            .sum();
        drain_all(&mut receiver, count, &mut seen).await;
        drain(&mut receiver, 20, &mut seen).await;
        for group in GROUPS {
            let places = seen.places.remove(&group).unwrap_or_default();
            assert_eq!(
                places,
                world.expected(group, topics),
                "seed {seed}, group {group}"
            );
        }
        assert!(seen.gaps.is_empty(), "seed {seed}");
    }
}

#[tokio::test]
async fn what_the_log_lost_is_a_gap_and_the_rest_follows() {
    let mut world = World::new(5);
    let mut receiver = world.subscribe(&["both"], None);
    let mut seen = Seen::default();
    drain(&mut receiver, 1, &mut seen).await;
    drop(receiver);
    for _ in 0..50 {
        world.apply();
    }
    *world.log.oldest.lock() = 10;
    let mut receiver = world.subscribe(&["both"], seen.cursor.clone().as_ref());
    let all = ["a", "b", "c"];
    let late = |group| {
        let mut expected = world.expected(group, &all);
        expected.retain(|(index, _)| *index >= 10);
        expected
    };
    let count = GROUPS.map(|group| late(group).len()).iter().sum();
    drain_all(&mut receiver, count, &mut seen).await;
    seen.gaps.sort_unstable();
    assert_eq!(seen.gaps, [(1, 1, 9), (2, 1, 9)]);
    for group in GROUPS {
        assert_eq!(seen.places.remove(&group).unwrap_or_default(), late(group));
    }
}

#[tokio::test]
async fn a_cursor_in_the_middle_of_an_entry_goes_on_at_a_node_that_has_not_applied_it_yet() {
    let world = World::new(1);
    let [group, _] = GROUPS;
    // The subscriber has the first change of the second command of entry 3.
    let (index, op) = event(group, 3, 1, "a").place_of(0);
    let places = Arc::from([crate::stream::cursor::Place { group, index, op }]);
    let cursor = Cursor {
        cluster: CLUSTER,
        places,
    };
    let behind = World::new(2);
    for index in 1..=2 {
        behind.hub.publish(group, index, Vec::new());
    }
    let mut receiver = behind.subscribe(&["both"], Some(&cursor));
    let mut seen = Seen::default();
    drain(&mut receiver, 4, &mut seen).await;
    for index in 3..=4 {
        let topics = vec!["a", "b", "c"];
        let entries = &behind.log.entries;
        entries.lock().insert((group, index), topics.clone());
        let events = topics.iter().enumerate();
        let events = events.map(|(number, topic)| event(group, index, number, topic));
        behind.hub.publish(group, index, events.collect());
    }
    drain_all(&mut receiver, 9, &mut seen).await;
    let mut expected = world.expected(group, &["both"]);
    for index in 3..=4 {
        for command in 0..3 {
            let event = event(group, index, command, "a");
            expected.extend([event.place_of(0), event.place_of(1)]);
        }
    }
    expected.retain(|place| *place > (index, op));
    let mut places = seen.places.remove(&group).unwrap();
    places.retain(|place| *place > (index, op));
    assert_eq!(places, expected);
}

#[tokio::test]
async fn entries_that_were_told_twice_come_once_and_those_that_nobody_told_come_from_the_log() {
    let world = World::new(3);
    let [group, _] = GROUPS;
    let mut receiver = world.subscribe(&["both"], None);
    let mut seen = Seen::default();
    drain(&mut receiver, 1, &mut seen).await;
    for index in 1..=9 {
        world.log.entries.lock().insert((group, index), vec!["a"]);
    }
    let tell = |after: u64, upto: u64| {
        let events = (after + 1..=upto).map(|index| event(group, index, 0, "a"));
        let events = events.collect();
        world.hub.publish_through(group, (after, upto), events);
    };
    tell(0, 2);
    // A second teller, which is behind the first one.
    tell(0, 1);
    tell(1, 3);
    // The teller was sent the state of entry 6.
    world.hub.register(group, 6);
    tell(6, 7);
    world.hub.skip(group, 8);
    tell(8, 9);
    drain_all(&mut receiver, 18, &mut seen).await;
    let indexes = seen.places[&group].iter().map(|(index, _)| *index);
    let expected = (1..=9).flat_map(|index| [index, index]);
    assert_eq!(
        indexes.collect::<Vec<u64>>(),
        expected.collect::<Vec<u64>>()
    );
    assert!(seen.gaps.is_empty());
}

#[test]
fn a_tablet_that_was_split_off_is_read_while_nothing_of_its_parent_waits() {
    let world = World::new(1);
    let mut receiver = world.subscribe(&["c"], None);
    // The cut is applied, and nothing before it was wanted: the parent's place is behind it.
    world.hub.publish(1, 1, vec![event(1, 1, 0, "a")]);
    let (parent, index) = (1, 1);
    world.hub.set_origin(3, Origin { parent, index });
    let entries = [((3, 2), vec!["c"])];
    world.log.entries.lock().extend(entries);
    world.hub.register(3, 2);
    let (done, is_done) = std::sync::mpsc::channel();
    // On a thread of its own, because it once waited for a lock that it held.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let mut seen = Seen::default();
        let runtime = { runtime }.enable_time().build().unwrap();
        runtime.block_on(drain_all(&mut receiver, 1, &mut seen));
        done.send(seen.places).unwrap();
    });
    let places = is_done.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(places.unwrap().get(&3), Some(&vec![(2, 0)]));
}

#[tokio::test]
async fn ephemeral_events_reach_only_those_who_want_the_topic_now() {
    let world = World::new(1);
    let mut receiver = world.subscribe(&["typing"], None);
    let interest = receiver.interest();
    world
        .hub
        .publish_ephemeral("typing", &Bytes::from_static(b"1"))
        .unwrap();
    world
        .hub
        .publish_ephemeral("other", &Bytes::from_static(b"2"))
        .unwrap();
    interest.add("other".to_owned());
    world
        .hub
        .publish_ephemeral("other", &Bytes::from_static(b"3"))
        .unwrap();
    interest.remove("typing");
    world
        .hub
        .publish_ephemeral("typing", &Bytes::from_static(b"4"))
        .unwrap();
    let mut payloads = Vec::new();
    for _ in 0..3 {
        if let Some(Ok(StreamItem::Ephemeral { payload, .. })) = receiver.next().await {
            payloads.push(payload);
        }
    }
    assert_eq!(
        payloads,
        [Bytes::from_static(b"1"), Bytes::from_static(b"3")]
    );
}

#[tokio::test]
async fn cursor_of_another_cluster_is_refused() {
    let world = World::new(1);
    let cursor = Cursor {
        cluster: 1,
        places: Arc::from([]),
    };
    world.hub.subscribe(Some(&cursor)).unwrap_err();
}
