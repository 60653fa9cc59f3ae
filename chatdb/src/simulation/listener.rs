//! Listeners: subscribed to every write, they go on with their cursor at another connection now and then.
//!
//! What was acknowledged must have come to each, what nobody sent must not, the writes of a partition come in the order in
//! which they were made, and none is told as two.

use super::load::{Random, Shared, TOPIC};
use crate::ErrorKind;
use crate::stream::cursor::Cursor;
use crate::stream::event::{ChangeEvent, StreamItem};
use crate::stream::subscription::{SubscribeOptions, Subscription};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a listener stays with a connection, at most.
const STAY_MS: u64 = 6000;

/// Writer and number of a write.
pub(super) type Write = (u64, u64);

/// What a listener heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// When each write was proposed, which tells two that are the same from one that was told twice.
    pub(super) writes: BTreeMap<Write, u64>,
    /// The last write of each writer and partition.
    last: BTreeMap<(u64, u64), u64>,
    /// It was told that something is missing.
    pub(super) gaps: u64,
    pub(super) repeated: u64,
    /// Whether it hears all from here on.
    pub(super) is_ready: bool,
}

/// A note that names a write and its partition, `u64::MAX` for one without order.
pub(super) fn note_of(write: Write, part: u64) -> Vec<u8> {
    [write.0, write.1, part]
        .iter()
        .flat_map(|it| it.to_le_bytes())
        .collect()
}

fn read_note(note: &[u8]) -> Option<(Write, u64)> {
    let (numbers, rest) = note.as_chunks::<8>();
    let &[writer, number, part] = numbers else {
        return None;
    };
    let number_of = u64::from_le_bytes;
    rest.is_empty()
        .then(|| ((number_of(writer), number_of(number)), number_of(part)))
}

impl Heard {
    fn change(&mut self, event: &ChangeEvent) {
        let (write, part) = read_note(&event.note).expect("every write has a note");
        if let Some(before) = self.writes.insert(write, event.timestamp_us) {
            assert_eq!(
                before, event.timestamp_us,
                "write {write:?} was made twice: {event:?}"
            );
            self.repeated += 1;
            return;
        }
        if part == u64::MAX {
            return;
        }
        let last = self.last.entry((write.0, part)).or_default();
        assert!(
            *last < write.1,
            "write {write:?} comes after {last} of partition {part}"
        );
        *last = write.1;
    }
}

/// One listener, until told that the check has begun.
pub(super) async fn run(shared: Arc<Shared>, number: usize, seed: u64) {
    let mut random = Random(seed ^ (number as u64) << 52 ^ 0xea12);
    let mut cursor: Option<Cursor> = None;
    while !shared.is_checked() {
        let db = shared.connect().await;
        let options = SubscribeOptions::new([TOPIC]).cursor(cursor.clone());
        let begun = tokio::time::timeout(Duration::from_secs(5), db.subscribe(options)).await;
        if let Ok(Ok(subscription)) = begun {
            let stay = Duration::from_millis(500 + random.below(STAY_MS));
            let until = Instant::now() + stay;
            stay_with(&shared, number, subscription, (&mut cursor, until)).await;
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn stay_with(
    shared: &Shared,
    number: usize,
    mut subscription: Subscription,
    (cursor, until): (&mut Option<Cursor>, Instant),
) {
    loop {
        let item = match tokio::time::timeout_at(until, subscription.next()).await {
            Ok(Some(Ok(item))) => item,
            Ok(Some(Err(error))) => {
                let kind = error.kind();
                let is_wrong = matches!(
                    kind,
                    ErrorKind::Bug | ErrorKind::Corrupt | ErrorKind::Invalid
                );
                assert!(!is_wrong, "listener {number}: {error:?}");
                return;
            }
            Ok(None) | Err(_) => return,
        };
        let mut heard = shared.heard[number].lock();
        match item {
            StreamItem::Change(event) => {
                heard.change(&event);
                *cursor = Some(event.cursor);
            }
            StreamItem::Progress(at) => {
                heard.is_ready = true;
                *cursor = Some(at);
            }
            StreamItem::Gap { .. } => heard.gaps += 1,
            StreamItem::Ephemeral { .. } => {}
        }
    }
}
