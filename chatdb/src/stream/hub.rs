//! The hub of a node: takes every applied entry, finds the subscribers of its topics, never waits.
//!
//! # How it works
//!
//! An applied entry reaches [`Hub::publish`] on the thread that applied it. For every event the
//! topic index names the subscribers, and each gets a pointer into its own bounded queue. A
//! subscriber whose queue is full is *behind* for that raft group: nothing more is queued for it
//! from there, and it reads the log from the last event that it was given until it stands at the
//! applied index again, which is checked under the hub's lock. So a slow subscriber costs a writer
//! nothing, and misses nothing that the log still has.
//!
//! # Invariants
//!
//! * For each (subscriber, group): events are handed over in (index, op) order, each at most once,
//!   and every event of a wanted topic after the starting place is handed over, or a gap is.
//! * Entries of a group are published in order and each once, whoever tells them: this node's replica,
//!   or the log of another node. After an entry that is missing, everybody reads the log.
//! * A group's applied index is set after its events were queued, under the same lock: who sees the
//!   index and finds the queue empty has seen everything up to it.
//! * Lock order: hub, then subscriber. No lock is held across an await, a read or a decode.
//!
//! # Cost
//!
//! An entry without topics costs one lock. An event costs one map lookup per topic and one lock and
//! one pointer per interested subscriber.

use crate::command::{TOPIC_BYTES_MAX, WriteCommand};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::cursor::{Cursor, Place};
use crate::stream::subscriber::{Subscriber, Tail};
use crate::telemetry::StreamMetrics;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The largest ephemeral payload, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// The most topics that one subscriber may want.
pub(crate) const TOPICS_MAX: usize = 1 << 20;

/// Bits of a place's op that number the changes of one command; the others number the command.
const CHANGE_BITS: u32 = 22;
pub(crate) const CHANGE_MASK: u32 = (1 << CHANGE_BITS) - 1;

/// One applied command on its way to subscribers. It may hold several changes.
#[derive(Debug)]
pub(crate) struct Event {
    /// Where its first change stands.
    pub(crate) place: Place,
    /// When its entry was proposed, in microseconds since 1970.
    pub(crate) timestamp_us: u64,
    /// The topics that the write named.
    pub(crate) topics: Arc<[String]>,
    /// What changed, with ids in place of names.
    pub(crate) command: Arc<WriteCommand>,
    /// Its weight in a queue, in bytes.
    pub(crate) weight: usize,
}

impl Event {
    pub(crate) fn new(
        place: Place,
        timestamp_us: u64,
        command: Arc<WriteCommand>,
        weight: usize,
    ) -> Self {
        Self {
            place,
            timestamp_us,
            topics: command.topics.as_slice().into(),
            command,
            weight,
        }
    }

    /// The place of the first change of a command.
    pub(crate) fn place(group: u64, index: u64, command: usize) -> Place {
        let command = u32::try_from(command).unwrap_or(u32::MAX >> CHANGE_BITS);
        let op = command << CHANGE_BITS;
        Place { group, index, op }
    }

    /// The place of the change of this number.
    pub(crate) fn place_of(&self, number: usize) -> (u64, u32) {
        let number = u32::try_from(number).unwrap_or(CHANGE_MASK);
        (self.place.index, self.place.op | number.min(CHANGE_MASK))
    }

    /// Number of the command in its entry.
    pub(crate) fn command_number(&self) -> u32 {
        self.place.op >> CHANGE_BITS
    }

    /// The place that stands for all changes of the command.
    pub(crate) fn last_place(&self) -> (u64, u32) {
        (self.place.index, self.place.op | CHANGE_MASK)
    }
}

/// Where a group that was split off begins: what its keys had before is in the log of `parent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) parent: u64,
    /// The entry of the parent with the cut. The own entries begin behind this index.
    pub(crate) index: u64,
}

/// What waits for the subscribers of a node.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Depth {
    pub(crate) subscribers: usize,
    /// Subscribers that read the log of some group.
    pub(crate) behind: usize,
    pub(crate) topics: usize,
    /// Changes in all queues.
    pub(crate) queued: usize,
    /// Changes in the longest queue.
    pub(crate) longest: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) ephemeral: usize,
}

/// Topic index and applied indexes of a node.
#[derive(Debug)]
pub(crate) struct Hub {
    cluster: u64,
    queue_items: usize,
    metrics: StreamMetrics,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    applied: BTreeMap<u64, u64>,
    /// Groups that were split off another one, and where.
    origins: BTreeMap<u64, Origin>,
    topics: HashMap<String, Vec<Arc<Subscriber>>>,
    subscribers: BTreeMap<u64, Arc<Subscriber>>,
    next_subscriber: u64,
    closed: bool,
}

impl Hub {
    /// A hub of the cluster whose subscribers queue up to `queue_items` events each.
    pub(crate) fn new(cluster: u64, queue_items: usize, metrics: StreamMetrics) -> Self {
        Self {
            cluster,
            queue_items: queue_items.max(1),
            metrics,
            inner: Mutex::default(),
        }
    }

    /// Tells where a group was split off, before it is made known.
    pub(crate) fn set_origin(&self, group: u64, origin: Origin) {
        self.inner.lock().origins.insert(group, origin);
    }

    /// Groups that were split off another one.
    pub(crate) fn origins(&self) -> BTreeMap<u64, Origin> {
        self.inner.lock().origins.clone()
    }

    /// Makes the group known; its entries up to `applied` are history. What is known already stays,
    /// and what is missing in between, the subscribers read from the log.
    pub(crate) fn register(&self, group: u64, applied: u64) {
        let mut inner = self.inner.lock();
        match inner.applied.get(&group) {
            Some(known) if applied <= *known => return,
            Some(_) => inner.fall_behind(group),
            // A tablet that was made after they began: all of it is new to them.
            None => {
                let before = inner.begins_after(group);
                for subscriber in inner.subscribers.values() {
                    subscriber.begin(group, Tail::behind_after(before, u32::MAX));
                }
            }
        }
        inner.applied.insert(group, applied);
    }

    /// Entry `index` of the group is applied and these are its events, in order.
    pub(crate) fn publish(&self, group: u64, index: u64, events: Vec<Event>) {
        self.publish_through(group, (index.saturating_sub(1), index), events);
    }

    /// The entries after `after` up to `upto` are applied and these are their events, in order.
    ///
    /// Entries that the hub has already are passed over: more than one replica may tell them. When
    /// some are missing before, the subscribers read them from the log.
    pub(crate) fn publish_through(
        &self,
        group: u64,
        (after, upto): (u64, u64),
        events: Vec<Event>,
    ) {
        let mut inner = self.inner.lock();
        let applied = inner.applied.get(&group).copied().unwrap_or(after);
        if upto <= applied {
            return;
        }
        if after > applied {
            inner.fall_behind(group);
        }
        if !inner.topics.is_empty() {
            for event in events {
                if event.place.index > applied {
                    inner.deliver(event);
                }
            }
        }
        inner.applied.insert(group, upto);
        inner.wake_at_cuts(group, (applied, upto));
    }

    /// The entries up to `upto` will not be told: the subscribers look for them in the log.
    pub(crate) fn skip(&self, group: u64, upto: u64) {
        let mut inner = self.inner.lock();
        if inner
            .applied
            .get(&group)
            .is_none_or(|applied| *applied < upto)
        {
            inner.fall_behind(group);
            inner.applied.insert(group, upto);
        }
    }

    /// Hands the payload to the present subscribers of the topic.
    pub(crate) fn publish_ephemeral(&self, topic: &str, payload: &Bytes) -> Result<()> {
        check_topic(topic)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the payload has {} bytes; the most is {PAYLOAD_BYTES_MAX}",
                payload.len()
            )));
        }
        let inner = self.inner.lock();
        for subscriber in inner.topics.get(topic).into_iter().flatten() {
            subscriber.offer_ephemeral(topic, payload.clone());
        }
        Ok(())
    }

    /// A subscriber that begins after the cursor, or now.
    pub(crate) fn subscribe(&self, cursor: Option<&Cursor>) -> Result<Arc<Subscriber>> {
        if cursor.is_some_and(|cursor| cursor.cluster != self.cluster) {
            return Err(
                Error::invalid("the cursor belongs to another cluster").with_help(
                    "try",
                    "subscribe without a cursor and read the tables again",
                ),
            );
        }
        let mut inner = self.inner.lock();
        if inner.closed {
            return Err(Error::new(ErrorKind::Closed, "the database is closed"));
        }
        let tails = inner
            .applied
            .iter()
            .map(|(&group, &applied)| {
                let begins_after = inner.begins_after(group);
                (group, tail(group, (begins_after, applied), cursor))
            })
            .collect();
        let id = inner.next_subscriber;
        inner.next_subscriber += 1;
        let limits = (self.queue_items, self.metrics.clone());
        let subscriber = Arc::new(Subscriber::new(id, limits, tails));
        inner.subscribers.insert(id, Arc::clone(&subscriber));
        Ok(subscriber)
    }

    /// The subscriber wants the topic: from its starting place when `from_start`, else from now.
    pub(crate) fn add_topic(
        &self,
        subscriber: &Arc<Subscriber>,
        topic: String,
        from_start: bool,
    ) -> Result<()> {
        check_topic(&topic)?;
        let mut inner = self.inner.lock();
        let since = if from_start {
            BTreeMap::new()
        } else {
            inner.applied.clone()
        };
        if subscriber.topic_count() >= TOPICS_MAX {
            return Err(Error::invalid(format!(
                "a subscription wants at most {TOPICS_MAX} topics"
            )));
        }
        if subscriber.want(topic.clone(), since) {
            let interested = inner.topics.entry(topic).or_default();
            interested.push(Arc::clone(subscriber));
        }
        Ok(())
    }

    /// The subscriber no longer wants the topic.
    pub(crate) fn remove_topic(&self, subscriber: &Subscriber, topic: &str) {
        let mut inner = self.inner.lock();
        if subscriber.unwant(topic) {
            inner.forget(subscriber.id(), topic);
        }
    }

    /// The subscriber is gone.
    pub(crate) fn unsubscribe(&self, subscriber: &Subscriber) {
        let mut inner = self.inner.lock();
        for topic in subscriber.unwant_all() {
            inner.forget(subscriber.id(), &topic);
        }
        inner.subscribers.remove(&subscriber.id());
    }

    /// The last entry of a group that was published here; `None` when the group is not known.
    pub(crate) fn applied_of(&self, group: u64) -> Option<u64> {
        self.inner.lock().applied.get(&group).copied()
    }

    /// The applied index of a group, 0 when it is not known.
    pub(crate) fn applied(&self, group: u64) -> u64 {
        self.inner.lock().applied.get(&group).copied().unwrap_or(0)
    }

    /// The applied indexes of all groups.
    pub(crate) fn applied_all(&self) -> BTreeMap<u64, u64> {
        self.inner.lock().applied.clone()
    }

    /// Makes the subscriber live again for the group after this place, if it has read everything up to
    /// the applied index.
    pub(crate) fn try_go_live(
        &self,
        subscriber: &Subscriber,
        group: u64,
        after: (u64, u32),
    ) -> bool {
        let inner = self.inner.lock();
        let applied = inner.applied.get(&group).copied().unwrap_or(0);
        let (index, op) = after;
        // In the middle of an entry it has not read that entry yet; one that is not applied here will
        // come, and what the subscriber has of it is left out.
        let stands_at_the_end = index > applied || (index == applied && op == u32::MAX);
        if stands_at_the_end {
            subscriber.go_live(group, after);
        }
        stands_at_the_end
    }

    /// The cursor of these places.
    pub(crate) fn cursor(&self, places: &BTreeMap<u64, (u64, u32)>) -> Cursor {
        Cursor {
            cluster: self.cluster,
            places: places
                .iter()
                .map(|(&group, &(index, op))| Place { group, index, op })
                .collect(),
        }
    }

    /// Live subscriptions.
    pub(crate) fn subscriber_count(&self) -> usize {
        self.inner.lock().subscribers.len()
    }

    /// What waits in all queues. Takes every subscriber's lock once.
    pub(crate) fn depth(&self) -> Depth {
        let inner = self.inner.lock();
        let mut depth = Depth {
            subscribers: inner.subscribers.len(),
            topics: inner.topics.len(),
            ..Depth::default()
        };
        for subscriber in inner.subscribers.values() {
            subscriber.measure(&mut depth);
        }
        depth
    }

    /// Ends every subscription after what it has queued.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        for subscriber in inner.subscribers.values() {
            subscriber.close();
        }
    }
}

impl Inner {
    /// The index behind which the entries of a group begin.
    fn begins_after(&self, group: u64) -> u64 {
        self.origins.get(&group).map_or(0, |origin| origin.index)
    }

    /// Wakes who waits for a group to come to the place where another was split off.
    fn wake_at_cuts(&self, group: u64, (after, upto): (u64, u64)) {
        let passes = |origin: &Origin| {
            origin.parent == group && after < origin.index && origin.index <= upto
        };
        if self.origins.values().any(passes) {
            for subscriber in self.subscribers.values() {
                subscriber.bell.notify_one();
            }
        }
    }

    /// The queues do not have what comes next of the group.
    fn fall_behind(&self, group: u64) {
        for subscriber in self.subscribers.values() {
            subscriber.fall_behind(group);
        }
    }

    fn deliver(&self, event: Event) {
        if event
            .topics
            .iter()
            .all(|topic| !self.topics.contains_key(topic))
        {
            return;
        }
        let event = Arc::new(event);
        for topic in event.topics.iter() {
            for subscriber in self.topics.get(topic).into_iter().flatten() {
                subscriber.offer(&event);
            }
        }
    }

    fn forget(&mut self, subscriber: u64, topic: &str) {
        if let Some(interested) = self.topics.get_mut(topic) {
            interested.retain(|other| other.id() != subscriber);
            if interested.is_empty() {
                self.topics.remove(topic);
            }
        }
    }
}

/// Where a new subscriber stands in a group: live from now, or behind from its cursor.
fn tail(group: u64, (begins_after, applied): (u64, u64), cursor: Option<&Cursor>) -> Tail {
    let Some(cursor) = cursor else {
        return Tail::live_after(applied);
    };
    let place = cursor.places.iter().find(|place| place.group == group);
    match place {
        Some(place) if place.index < applied || place.op < u32::MAX => {
            Tail::behind_after(place.index, place.op)
        }
        Some(place) => Tail::live_after(place.index),
        // It was not there yet.
        None => Tail::behind_after(begins_after, u32::MAX),
    }
}

/// Refuses a topic without a name or with one that is too long.
pub(crate) fn check_topic(topic: &str) -> Result<()> {
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX {
        return Err(Error::invalid(format!(
            "a topic has 1 to {TOPIC_BYTES_MAX} bytes, not {}",
            topic.len()
        )));
    }
    Ok(())
}
