//! Changes that wait for the next group commit, in the order in which callers saw them happen.
//!
//! # Invariants
//!
//! * Every change has a ticket, one more than the one before it; a batch takes the oldest changes, so
//!   that all up to its last ticket are written when it is.
//! * The bytes that wait are those of the changes in the queue: room is asked for before a change joins.

use std::collections::VecDeque;

use super::record::{Body, CONTROL_BYTES_MAX, ENTRY_OVERHEAD_BYTES, Record};
use super::types::{Completion, Entry, GroupId, LogId, Vote};
use crate::error::{Error, Result};

/// One change that waits to be written.
#[derive(Debug)]
pub(super) enum Change {
    Entry(Entry),
    Vote(Vote),
    Truncate(Option<u64>),
    Purge(LogId),
    Reset(u64),
    /// Nothing to write; its completion waits for what is before it.
    Nothing,
}

struct Pending {
    group: GroupId,
    change: Change,
    done: Option<Completion>,
}

/// What waits.
pub(super) struct Queue {
    pending: VecDeque<Pending>,
    bytes: usize,
    next_ticket: u64,
}

/// What one group commit writes.
pub(super) struct Batch {
    items: Vec<Pending>,
    /// Notes that ride along, behind the changes.
    committed: Vec<(GroupId, LogId)>,
    last_ticket: u64,
}

impl Pending {
    fn bytes(&self) -> usize {
        match &self.change {
            Change::Entry(entry) => entry.payload.len() + ENTRY_OVERHEAD_BYTES,
            Change::Nothing => 0,
            _ => CONTROL_BYTES_MAX,
        }
    }

    fn record(&self) -> Option<Record<'_>> {
        let body = match &self.change {
            Change::Entry(entry) => Body::Entry {
                id: entry.id,
                payload: &entry.payload,
            },
            Change::Vote(vote) => Body::Vote(*vote),
            Change::Truncate(last_kept) => Body::Truncate(*last_kept),
            Change::Purge(upto) => Body::Purge(*upto),
            Change::Reset(owner) => Body::Reset(*owner),
            Change::Nothing => return None,
        };
        Some(Record {
            group: self.group,
            body,
        })
    }
}

impl Queue {
    /// Nothing waits.
    pub(super) fn new() -> Self {
        Self {
            pending: VecDeque::new(),
            bytes: 0,
            next_ticket: 1,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Position of the last change that ever joined.
    pub(super) fn last_ticket(&self) -> u64 {
        self.next_ticket - 1
    }

    /// Position of the next one.
    pub(super) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Fails if so many bytes more would exceed `limit`.
    pub(super) fn check_room(&self, bytes: usize, limit: usize) -> Result<()> {
        if self.bytes.saturating_add(bytes) <= limit {
            return Ok(());
        }
        Err(Error::overloaded(format!(
            "{} bytes wait to be written to the log and {bytes} more exceed {limit}, flush first",
            self.bytes
        )))
    }

    pub(super) fn push(&mut self, group: GroupId, change: Change, done: Option<Completion>) {
        let pending = Pending {
            group,
            change,
            done,
        };
        self.bytes += pending.bytes();
        self.next_ticket += 1;
        self.pending.push_back(pending);
    }

    /// Takes the oldest changes, about `bytes_max` of them, at least one if there is any.
    pub(super) fn take(&mut self, bytes_max: usize) -> Option<Batch> {
        let mut items: Vec<Pending> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.pending.front() {
            if !items.is_empty() && bytes + next.bytes() > bytes_max {
                break;
            }
            bytes += next.bytes();
            items.extend(self.pending.pop_front());
        }
        if items.is_empty() {
            return None;
        }
        self.bytes -= bytes;
        Some(Batch {
            items,
            committed: Vec::new(),
            last_ticket: self.last_ticket() - self.pending.len() as u64,
        })
    }
}

impl Batch {
    /// Position in the queue of its last change.
    pub(super) fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// Adds a note of what is committed for each group that it writes something of, if `note` has one.
    pub(super) fn note_committed(&mut self, mut note: impl FnMut(GroupId) -> Option<LogId>) {
        for item in &self.items {
            if !matches!(item.change, Change::Nothing) {
                let group = item.group;
                self.committed.extend(note(group).map(|id| (group, id)));
            }
        }
    }

    /// The records to write, in order.
    pub(super) fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let committed = self.committed.iter();
        let committed = committed.map(|(group, id)| Record {
            group: *group,
            body: Body::Committed(*id),
        });
        self.items
            .iter()
            .filter_map(Pending::record)
            .chain(committed)
    }

    /// Tells everybody who waits.
    pub(super) fn complete(self, result: &Result<()>) {
        for done in self.items.into_iter().filter_map(|item| item.done) {
            done(result.clone());
        }
    }
}
