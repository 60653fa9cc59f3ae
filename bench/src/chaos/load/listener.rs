//! A listener: subscribes to every write, moves to another node now and then with its cursor, and keeps what came in
//! which order.

use super::super::Shared;
use super::TOPIC;
use crate::messages::Seeded;
use chatdb::{ChangeEvent, Cursor, StreamItem, SubscribeOptions, Subscription};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a listener stays with one node, at most about that and a quarter.
const STAY_MS: u64 = 20_000;

/// The bits of a place's `op` that number the changes of one command; all set is the whole command.
const CHANGE_BITS: u32 = 22;
const CHANGE_MASK: u32 = (1 << CHANGE_BITS) - 1;

/// A change as a listener saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) group: u64,
    pub(crate) index: u64,
    pub(crate) op: u32,
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

impl Heard {
    /// The number of its command in the entry.
    pub(crate) fn command(&self) -> u32 {
        self.op >> CHANGE_BITS
    }
}

/// What a listener heard.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    pub(crate) heard: Mutex<Vec<Heard>>,
    /// Whether it has begun to listen.
    pub(crate) is_ready: tokio::sync::Notify,
    /// Subscriptions begun.
    pub(crate) begun: Mutex<u64>,
}

/// Listens until the run is over.
pub(crate) async fn run(shared: Arc<Shared>, listener: Arc<Listener>, number: usize) {
    let mut random = Seeded::new(shared.ledger.seed ^ 0x11ea ^ (number as u64) << 40);
    let mut node = number;
    let mut cursor: Option<Cursor> = None;
    let mut places = BTreeMap::new();
    while !shared.is_checked() {
        let options = SubscribeOptions::new([TOPIC]).cursor(cursor.clone());
        let subscribed = match shared.doors.db(node).await {
            Ok(db) => tokio::time::timeout(Duration::from_secs(5), db.subscribe(options)).await,
            Err(error) => Ok(Err(error)),
        };
        node += 1;
        let Ok(Ok(subscription)) = subscribed else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        *listener.begun.lock() += 1;
        let until = Instant::now() + Duration::from_millis(STAY_MS / 4 + random.next() % STAY_MS);
        let mut hearing = Hearing {
            shared: &shared,
            listener: &listener,
            number,
            cursor: &mut cursor,
            places: &mut places,
        };
        hearing.stay(subscription, until).await;
    }
}

struct Hearing<'a> {
    shared: &'a Shared,
    listener: &'a Listener,
    number: usize,
    cursor: &'a mut Option<Cursor>,
    /// The last place of each group in the cursor.
    places: &'a mut BTreeMap<u64, (u64, u32)>,
}

impl Hearing<'_> {
    async fn stay(&mut self, mut subscription: Subscription, until: Instant) {
        loop {
            let next = tokio::time::timeout_at(until.into(), subscription.next()).await;
            match next {
                Ok(Some(Ok(StreamItem::Change(event)))) => {
                    self.change(&event);
                    *self.cursor = Some(event.cursor);
                }
                Ok(Some(Ok(StreamItem::Progress(cursor)))) => {
                    self.advance(&cursor);
                    *self.cursor = Some(cursor);
                    self.listener.is_ready.notify_one();
                }
                Ok(Some(Ok(StreamItem::Gap { group, from, to }))) => {
                    let number = self.number;
                    self.shared.findings.violation(format!(
                        "listener {number} was told of a gap in group {group} from {from} to {to}"
                    ));
                }
                Ok(Some(Ok(StreamItem::Ephemeral { .. }))) => {}
                Ok(Some(Err(error))) => {
                    self.shared.findings.error(&error);
                    return;
                }
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn change(&mut self, event: &ChangeEvent) {
        let moved = self.advance(&event.cursor);
        let note: Option<[u8; 8]> = event.note.as_ref().try_into().ok();
        let (Some(note), &[(group, index, op)]) = (note, moved.as_slice()) else {
            let number = self.number;
            self.shared.findings.violation(format!(
                "listener {number} heard a change of {} whose cursor moved {moved:?}",
                event.table
            ));
            return;
        };
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte))
        };
        self.listener.heard.lock().push(Heard {
            group,
            index,
            op,
            writer: number(&note[..4]),
            number: number(&note[4..]),
        });
    }

    /// Takes over the places of a cursor; returns those of changes (not of whole commands or entries) that moved.
    fn advance(&mut self, cursor: &Cursor) -> Vec<(u64, u64, u32)> {
        let mut moved = Vec::new();
        for (group, index, op) in places(&cursor.encode()) {
            let before = self.places.insert(group, (index, op));
            if before.is_some_and(|before| before > (index, op)) {
                let number = self.number;
                self.shared.findings.violation(format!(
                    "listener {number} was moved back in group {group} from {before:?} to {index}, {op}"
                ));
            }
            let is_whole = op & CHANGE_MASK == CHANGE_MASK;
            if before != Some((index, op)) && !is_whole {
                moved.push((group, index, op));
            }
        }
        moved
    }
}

/// Group, index and change of each place in a cursor's bytes, whose layout `chatdb` documents.
fn places(bytes: &[u8]) -> Vec<(u64, u64, u32)> {
    let body = bytes
        .get(11..bytes.len().saturating_sub(4))
        .unwrap_or_default();
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    body.chunks_exact(20)
        .map(|place| {
            let op = u32::try_from(number(&place[16..])).unwrap_or(u32::MAX);
            (number(&place[..8]), number(&place[8..16]), op)
        })
        .collect()
}
