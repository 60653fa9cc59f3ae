//! One subscriber's side of the hub: its queue, its topics and where it stands in each group.
//!
//! The hub writes under its own lock and this one; the subscription reads under this one alone.

use crate::error::Error;
use crate::stream::hub::{Depth, Event};
use crate::telemetry::StreamMetrics;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::sync::Notify;

/// The most bytes of events that wait in one queue; larger ones may travel alone.
const QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most ephemeral events that wait; the oldest leave first.
const EPHEMERAL_ITEMS_MAX: usize = 1024;

/// Where a subscriber stands in one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Whether the hub queues new events; otherwise the subscriber reads the log.
    pub(crate) is_live: bool,
    /// The last place that was queued or read: index and op.
    pub(crate) after: (u64, u32),
    /// Events of the group in the queue.
    pub(crate) queued: usize,
}

impl Tail {
    /// Has everything up to and including the entry.
    pub(crate) fn live_after(index: u64) -> Self {
        Self {
            is_live: true,
            after: (index, u32::MAX),
            queued: 0,
        }
    }

    /// Has to read the log after this place.
    pub(crate) fn behind_after(index: u64, op: u32) -> Self {
        Self {
            is_live: false,
            after: (index, op),
            queued: 0,
        }
    }
}

/// What waits in a queue.
#[derive(Debug)]
pub(crate) enum Queued {
    /// An applied change.
    Change(Arc<Event>),
    /// An ephemeral event.
    Ephemeral {
        /// Its topic.
        topic: String,
        /// Its bytes.
        payload: Bytes,
    },
}

/// The shared half of one subscription.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: u64,
    queue_items: usize,
    pub(crate) metrics: StreamMetrics,
    state: Mutex<State>,
    /// Rung when something was queued or the hub closed.
    pub(crate) bell: Notify,
}

#[derive(Debug)]
struct State {
    /// The wanted topics, each with the applied indexes at the time when it was added.
    wanted: HashMap<String, BTreeMap<u64, u64>>,
    tails: BTreeMap<u64, Tail>,
    changes: VecDeque<(u64, Arc<Event>)>,
    changes_bytes: usize,
    ephemeral: VecDeque<(u64, String, Bytes)>,
    arrivals: u64,
    failure: Option<Error>,
    closed: bool,
}

impl Subscriber {
    pub(crate) fn new(
        id: u64,
        (queue_items, metrics): (usize, StreamMetrics),
        tails: BTreeMap<u64, Tail>,
    ) -> Self {
        Self {
            id,
            queue_items,
            metrics,
            state: Mutex::new(State {
                wanted: HashMap::new(),
                tails,
                changes: VecDeque::new(),
                changes_bytes: 0,
                ephemeral: VecDeque::new(),
                arrivals: 0,
                failure: None,
                closed: false,
            }),
            bell: Notify::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Queues the event, or falls behind when the queue is full.
    pub(crate) fn offer(&self, event: &Arc<Event>) {
        let mut state = self.state.lock();
        let is_full =
            state.changes.len() >= self.queue_items || state.changes_bytes >= QUEUE_BYTES_MAX;
        let place = event.last_place();
        let Some(tail) = state.tails.get_mut(&event.place.group) else {
            return;
        };
        // An event with two wanted topics is offered twice.
        if !tail.is_live || place <= tail.after {
            return;
        }
        if is_full {
            tail.is_live = false;
            self.metrics.fell_behind.inc();
            return;
        }
        tail.after = place;
        tail.queued += 1;
        let arrival = state.arrivals;
        state.arrivals += 1;
        state.changes_bytes += event.weight;
        state.changes.push_back((arrival, Arc::clone(event)));
        drop(state);
        self.metrics.queued.inc();
        self.bell.notify_one();
    }

    /// Queues an ephemeral event; the oldest leaves when there are too many.
    pub(crate) fn offer_ephemeral(&self, topic: &str, payload: Bytes) {
        let mut state = self.state.lock();
        if state.ephemeral.len() >= EPHEMERAL_ITEMS_MAX {
            state.ephemeral.pop_front();
            self.metrics.ephemeral_dropped.inc();
        }
        let arrival = state.arrivals;
        state.arrivals += 1;
        state
            .ephemeral
            .push_back((arrival, topic.to_owned(), payload));
        drop(state);
        self.metrics.ephemeral.inc();
        self.bell.notify_one();
    }

    /// What arrived first.
    pub(crate) fn pop(&self) -> Option<Queued> {
        let mut state = self.state.lock();
        let change = state.changes.front().map(|(arrival, _)| *arrival);
        let ephemeral = state.ephemeral.front().map(|(arrival, ..)| *arrival);
        if change.is_some_and(|change| ephemeral.is_none_or(|other| change < other)) {
            let (_, event) = state.changes.pop_front()?;
            state.changes_bytes -= event.weight;
            if let Some(tail) = state.tails.get_mut(&event.place.group) {
                tail.queued -= 1;
            }
            return Some(Queued::Change(event));
        }
        let (_, topic, payload) = state.ephemeral.pop_front()?;
        Some(Queued::Ephemeral { topic, payload })
    }

    /// A group for which the log must be read now: behind, nothing of it waits in the queue, and its turn
    /// has come.
    pub(crate) fn behind(&self, is_due: impl Fn(u64) -> bool) -> Option<(u64, (u64, u32))> {
        let behind: Vec<(u64, (u64, u32))> = {
            let state = self.state.lock();
            let tails = state.tails.iter();
            let behind = tails.filter(|(_, tail)| !tail.is_live && tail.queued == 0);
            behind.map(|(&group, tail)| (group, tail.after)).collect()
        };
        // Not under the lock: whether a turn has come is asked of this subscriber too.
        behind.into_iter().find(|(group, _)| is_due(*group))
    }

    /// Whether a group is live and nothing of it waits in the queue.
    pub(crate) fn is_live_and_empty(&self, group: u64) -> bool {
        let state = self.state.lock();
        let tail = state.tails.get(&group);
        tail.is_some_and(|tail| tail.is_live && tail.queued == 0)
    }

    /// The log was read up to this entry.
    pub(crate) fn advance(&self, group: u64, index: u64) {
        if let Some(tail) = self.state.lock().tails.get_mut(&group) {
            tail.after = (index, u32::MAX);
        }
    }

    /// Everything up to this place was read and new events are queued again. Called by the hub.
    pub(crate) fn go_live(&self, group: u64, after: (u64, u32)) {
        let tail = Tail {
            is_live: true,
            after,
            queued: 0,
        };
        self.state.lock().tails.insert(group, tail);
    }

    /// The group goes on in the log. Called by the hub.
    pub(crate) fn fall_behind(&self, group: u64) {
        if let Some(tail) = self.state.lock().tails.get_mut(&group) {
            tail.is_live = false;
        }
        self.bell.notify_one();
    }

    /// A group that was not there before. Called by the hub.
    pub(crate) fn begin(&self, group: u64, tail: Tail) {
        self.state.lock().tails.entry(group).or_insert(tail);
        self.bell.notify_one();
    }

    /// The groups that are live, if nothing waits in the queue.
    pub(crate) fn live_when_idle(&self) -> Vec<u64> {
        let state = self.state.lock();
        if !state.changes.is_empty() {
            return Vec::new();
        }
        let live = state.tails.iter().filter(|(_, tail)| tail.is_live);
        live.map(|(&group, _)| group).collect()
    }

    /// The starting place in each group.
    pub(crate) fn places(&self) -> BTreeMap<u64, (u64, u32)> {
        let state = self.state.lock();
        state
            .tails
            .iter()
            .map(|(&group, tail)| (group, tail.after))
            .collect()
    }

    /// Whether an event read from the log is wanted: one of its topics is, since before the event.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let state = self.state.lock();
        event.topics.iter().any(|topic| {
            state.wanted.get(topic).is_some_and(|since| {
                since
                    .get(&event.place.group)
                    .is_none_or(|&index| event.place.index > index)
            })
        })
    }

    /// Whether the topic is new.
    pub(crate) fn want(&self, topic: String, since: BTreeMap<u64, u64>) -> bool {
        use std::collections::hash_map::Entry;
        match self.state.lock().wanted.entry(topic) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(since);
                true
            }
        }
    }

    /// Whether the topic was wanted.
    pub(crate) fn unwant(&self, topic: &str) -> bool {
        self.state.lock().wanted.remove(topic).is_some()
    }

    /// All topics, which are wanted no longer.
    pub(crate) fn unwant_all(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().wanted)
            .into_keys()
            .collect()
    }

    /// Adds what waits here.
    pub(crate) fn measure(&self, depth: &mut Depth) {
        let state = self.state.lock();
        let waiting = state.changes.len();
        depth.queued += waiting;
        depth.longest = depth.longest.max(waiting);
        depth.queued_bytes += state.changes_bytes;
        depth.ephemeral += state.ephemeral.len();
        depth.behind += usize::from(state.tails.values().any(|tail| !tail.is_live));
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.state.lock().wanted.len()
    }

    /// The subscription cannot go on as its owner asked.
    pub(crate) fn fail(&self, error: Error) {
        self.state.lock().failure = Some(error);
        self.bell.notify_one();
    }

    /// The failure, once.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.state.lock().failure.take()
    }

    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.bell.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().closed
    }
}
