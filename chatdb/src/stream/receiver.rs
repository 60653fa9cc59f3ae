//! The reading half of an embedded subscription: queue, catch-up from the log, progress.

use crate::command::ChangeParts;
use crate::error::{Error, Result};
use crate::stream::cursor::Cursor;
use crate::stream::event::{ChangeEvent, StreamItem};
use crate::stream::hub::{Event, Hub, Origin};
use crate::stream::subscriber::{Queued, Subscriber};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A quiet subscription reports its cursor this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// After this many items from the queue, a group that is behind gets its turn.
const QUEUE_TURN_ITEMS: usize = 64;

/// A part of a group's log, as events.
#[derive(Debug)]
pub(crate) enum Backlog {
    /// All events of the entries from the one asked for to `upto`; none when `upto` is before it.
    Events {
        /// The events in order.
        events: Vec<Event>,
        /// The last entry that was looked at.
        upto: u64,
    },
    /// The entry asked for is gone.
    Purged {
        /// The oldest entry that is left.
        oldest: u64,
    },
}

/// Where events come from when the queue does not have them, and their names.
pub(crate) trait Source: Send + Sync + fmt::Debug {
    /// Reads the group's log from entry `from`, not beyond the applied entry `upto`.
    fn read(&self, group: u64, from: u64, upto: u64) -> BoxFuture<'_, Result<Backlog>>;

    /// The changes of the event with names in place of ids; those of dropped tables are left out.
    fn changes(&self, event: &Event) -> Result<Vec<ChangeParts>>;
}

/// The reading half.
pub(crate) struct Receiver {
    hub: Arc<Hub>,
    source: Arc<dyn Source>,
    subscriber: Arc<Subscriber>,
    /// Where the client stands in each group.
    delivered: BTreeMap<u64, (u64, u32)>,
    /// Read from the log and not delivered yet.
    caught: VecDeque<Caught>,
    /// Items taken from the queue since the log was looked at, so that neither starves.
    from_queue: usize,
    /// Changes of the event that is being delivered, with their numbers.
    pending: Option<Pending>,
    reported: Option<BTreeMap<u64, (u64, u32)>>,
}

struct Pending {
    event: Arc<Event>,
    changes: std::iter::Enumerate<std::vec::IntoIter<ChangeParts>>,
}

enum Caught {
    Event(Arc<Event>),
    Gap {
        group: u64,
        from: u64,
        to: u64,
    },
    /// Everything up to this entry was read.
    Upto {
        group: u64,
        index: u64,
    },
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("subscriber", &self.subscriber.id())
            .field("delivered", &self.delivered)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    pub(crate) fn new(
        hub: Arc<Hub>,
        source: Arc<dyn Source>,
        topics: Vec<String>,
        cursor: Option<&Cursor>,
    ) -> Result<Self> {
        let subscriber = hub.subscribe(cursor)?;
        let receiver = Self {
            delivered: subscriber.places(),
            hub,
            source,
            subscriber,
            caught: VecDeque::new(),
            from_queue: 0,
            pending: None,
            reported: None,
        };
        for topic in topics {
            let from_start = true;
            receiver
                .hub
                .add_topic(&receiver.subscriber, topic, from_start)?;
        }
        Ok(receiver)
    }

    pub(crate) fn interest(&self) -> EmbeddedInterest {
        EmbeddedInterest {
            hub: Arc::clone(&self.hub),
            subscriber: Arc::clone(&self.subscriber),
        }
    }

    /// The next item; `None` when the hub closed and everything queued was delivered.
    pub(crate) async fn next(&mut self) -> Option<Result<StreamItem>> {
        loop {
            if self.reported.is_none() {
                return Some(Ok(self.progress()));
            }
            if let Some(item) = self.take_pending() {
                return Some(Ok(item));
            }
            if let Some(item) = self.take_caught() {
                return Some(item);
            }
            if let Some(error) = self.subscriber.failure() {
                return Some(Err(error));
            }
            let is_log_due = self.from_queue >= QUEUE_TURN_ITEMS;
            let queued = if is_log_due { None } else { self.take_queued() };
            if queued.is_some() {
                return queued;
            }
            self.from_queue = 0;
            if let Some((group, after)) = self.behind() {
                if let Err(error) = self.catch_up(group, after).await {
                    return Some(Err(error));
                }
                continue;
            }
            if is_log_due {
                continue;
            }
            if self.subscriber.is_closed() {
                return None;
            }
            let bell = self.subscriber.bell.notified();
            if tokio::time::timeout(PROGRESS_INTERVAL, bell).await.is_err() {
                self.notice_idle();
                if self.reported.as_ref() != Some(&self.delivered) {
                    return Some(Ok(self.progress()));
                }
            }
        }
    }

    /// The group whose log is read next. One that was split off waits until everything before the cut was
    /// delivered: a key's changes come in order.
    fn behind(&self) -> Option<(u64, (u64, u32))> {
        // Most of the time there is none, and the hub is not asked.
        self.subscriber.behind(|_| true)?;
        let origins = self.hub.origins();
        self.subscriber.behind(|group| {
            origins
                .get(&group)
                .is_none_or(|origin| self.has_passed(*origin))
        })
    }

    /// Whether everything of the parent up to the cut was delivered. Nothing waits in `caught`.
    fn has_passed(&self, origin: Origin) -> bool {
        let delivered = self.delivered.get(&origin.parent);
        if delivered.is_some_and(|place| *place >= (origin.index, u32::MAX)) {
            return true;
        }
        // In this order: what is applied was queued before.
        self.hub.applied(origin.parent) >= origin.index
            && self.subscriber.is_live_and_empty(origin.parent)
    }

    fn progress(&mut self) -> StreamItem {
        self.reported = Some(self.delivered.clone());
        StreamItem::Progress(self.hub.cursor(&self.delivered))
    }

    /// The next item that was read from the log. All of it goes before the queue, because what
    /// the queue has of the same group is newer.
    fn take_caught(&mut self) -> Option<Result<StreamItem>> {
        while let Some(caught) = self.caught.pop_front() {
            let item = match caught {
                Caught::Event(event) => self.deliver(&event),
                Caught::Gap { group, from, to } => {
                    self.delivered.insert(group, (to, u32::MAX));
                    Some(Ok(StreamItem::Gap { group, from, to }))
                }
                Caught::Upto { group, index } => {
                    self.delivered.insert(group, (index, u32::MAX));
                    None
                }
            };
            if item.is_some() {
                return item;
            }
        }
        None
    }

    fn take_queued(&mut self) -> Option<Result<StreamItem>> {
        while let Some(queued) = self.subscriber.pop() {
            self.from_queue += 1;
            let item = match queued {
                Queued::Ephemeral { topic, payload } => {
                    Some(Ok(StreamItem::Ephemeral { topic, payload }))
                }
                Queued::Change(event) => self.deliver(&event),
            };
            if item.is_some() {
                return item;
            }
        }
        None
    }

    /// The first change of the event; the others wait.
    fn deliver(&mut self, event: &Arc<Event>) -> Option<Result<StreamItem>> {
        match self.source.changes(event) {
            Ok(changes) => {
                self.pending = Some(Pending {
                    event: Arc::clone(event),
                    changes: changes.into_iter().enumerate(),
                });
                self.take_pending().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn take_pending(&mut self) -> Option<StreamItem> {
        let pending = self.pending.as_mut()?;
        let event = Arc::clone(&pending.event);
        let group = event.place.group;
        for (number, parts) in pending.changes.by_ref() {
            let place = event.place_of(number);
            // A cursor may stand between two changes of one command.
            if self
                .delivered
                .get(&group)
                .is_some_and(|&delivered| place <= delivered)
            {
                continue;
            }
            self.delivered.insert(group, place);
            return Some(StreamItem::Change(ChangeEvent {
                cursor: self.hub.cursor(&self.delivered),
                timestamp_us: event.timestamp_us,
                topics: Arc::clone(&event.topics),
                table: parts.table,
                kind: parts.kind,
                key: parts.key,
                columns: parts.columns,
                note: event.command.note.clone(),
            }));
        }
        self.pending = None;
        let delivered = self.delivered.entry(group).or_default();
        *delivered = (*delivered).max(event.last_place());
        None
    }

    /// Reads one part of the log. Cancelling it loses nothing: what was read counts at the end.
    async fn catch_up(&mut self, group: u64, after: (u64, u32)) -> Result<()> {
        let (index, op) = after;
        let from = if op == u32::MAX { index + 1 } else { index };
        let applied = self.hub.applied(group);
        if from > applied {
            self.hub.try_go_live(&self.subscriber, group, after);
            return Ok(());
        }
        match self.source.read(group, from, applied).await? {
            Backlog::Purged { oldest } if oldest > from => {
                let to = oldest - 1;
                self.subscriber.metrics.gaps.inc();
                self.caught.push_back(Caught::Gap { group, from, to });
                self.subscriber.advance(group, to);
            }
            Backlog::Purged { .. } => {
                return Err(Error::bug(format!(
                    "group {group} calls its entry {from} purged and present"
                )));
            }
            Backlog::Events { events, upto } => {
                for event in events {
                    let is_new = event.last_place() > after;
                    if is_new && self.subscriber.wants(&event) {
                        self.caught.push_back(Caught::Event(Arc::new(event)));
                    }
                }
                self.caught.push_back(Caught::Upto { group, index: upto });
                let read = (upto, u32::MAX);
                if !self.hub.try_go_live(&self.subscriber, group, read) {
                    self.subscriber.advance(group, upto);
                }
            }
        }
        Ok(())
    }

    /// With nothing queued, live groups have delivered everything up to their applied index.
    fn notice_idle(&mut self) {
        let applied = self.hub.applied_all();
        if !self.caught.is_empty() || self.pending.is_some() {
            return;
        }
        for group in self.subscriber.live_when_idle() {
            let Some(&index) = applied.get(&group) else {
                continue;
            };
            let place = self.delivered.entry(group).or_insert((0, u32::MAX));
            *place = (*place).max((index, u32::MAX));
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.hub.unsubscribe(&self.subscriber);
    }
}

/// Adds and removes topics of an embedded subscription.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedInterest {
    hub: Arc<Hub>,
    subscriber: Arc<Subscriber>,
}

impl EmbeddedInterest {
    /// A topic that cannot be added fails the subscription.
    pub(crate) fn add(&self, topic: String) {
        let from_start = false;
        if let Err(error) = self.hub.add_topic(&self.subscriber, topic, from_start) {
            self.subscriber.fail(error);
        }
    }

    pub(crate) fn remove(&self, topic: &str) {
        self.hub.remove_topic(&self.subscriber, topic);
    }
}
