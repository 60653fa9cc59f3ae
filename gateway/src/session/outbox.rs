//! The bounded outbox of one session, which is its replay buffer as well.
//!
//! One queue of shared events with a cursor: behind the cursor lies what was written and not yet
//! acknowledged by a heartbeat (for RESUME), ahead of it what waits for the socket.
//!
//! Invariants:
//! - sequence numbers of the queue are contiguous: `first..first + len`;
//! - a heartbeat or RESUME that names sequence `n` forgets everything up to `n`;
//! - `READY` and `GUILD_CREATE` are forgotten as soon as they are written: they are large, and a
//!   client that lost one identifies again;
//! - never more than [`RETAINED_MAX`] events nor [`RETAINED_BYTES_MAX`] bytes, of which the bytes
//!   are shared with all other receivers.
//!
//! What happens to a session that does not read (three levels):
//! 1. more than [`COALESCE_AT`] waiting: a waiting typing or presence is replaced by the newer one
//!    of the same subject, a new typing is dropped;
//! 2. more than [`SHED_AT`] waiting: every typing and presence is dropped;
//! 3. more than [`RETAINED_MAX`] waiting: the queue is given up ([`Push::Overflow`]); the socket is
//!    closed and the client identifies again.
//!
//! Cost: 8 bytes per event; nothing when idle.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::events::{Event, EventKind};
use crate::metrics::SessionDepth;

/// Waiting events above which ephemeral ones are coalesced.
pub const COALESCE_AT: usize = 64;
/// Waiting events above which ephemeral ones are dropped.
pub const SHED_AT: usize = 256;
/// Most events kept for writing and replay.
pub const RETAINED_MAX: usize = 1024;
/// Most bytes of events kept; they are counted as if they were not shared.
pub const RETAINED_BYTES_MAX: usize = 4 << 20;

const _: () = assert!(COALESCE_AT < SHED_AT && SHED_AT < RETAINED_MAX);

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits for the socket.
    Queued,
    /// It was dropped or took the place of an older one; nothing is lost that matters.
    Coalesced,
    /// The session fell too far behind: its queue is gone.
    Overflow,
}

impl Push {
    /// The one of two outcomes that the connection must act on.
    #[must_use]
    pub const fn worst(self, other: Self) -> Self {
        match (self, other) {
            (Self::Overflow, _) | (_, Self::Overflow) => Self::Overflow,
            (Self::Queued, _) | (_, Self::Queued) => Self::Queued,
            (Self::Coalesced, Self::Coalesced) => Self::Coalesced,
        }
    }
}

/// Events of one session in order.
#[derive(Debug)]
pub struct Outbox {
    events: VecDeque<Arc<Event>>,
    /// Sequence number of the first event in the queue, or of the next one if it is empty.
    first: u64,
    /// How many events at the front of the queue are written.
    written: usize,
    bytes: usize,
    overflowed: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            events: VecDeque::new(),
            first: 1,
            written: 0,
            bytes: 0,
            overflowed: false,
        }
    }
}

impl Outbox {
    /// Appends an event, or does to it what the level of backlog asks for.
    pub fn push(&mut self, event: &Arc<Event>) -> Push {
        if self.overflowed {
            return Push::Overflow;
        }
        let waiting = self.waiting();
        if event.is_ephemeral() && waiting > COALESCE_AT {
            if waiting <= SHED_AT && event.kind() != EventKind::TypingStart && self.replace(event) {
                return Push::Coalesced;
            }
            if waiting > SHED_AT || event.kind() == EventKind::TypingStart {
                return Push::Coalesced;
            }
        }
        self.bytes += event.len_bytes();
        self.events.push_back(Arc::clone(event));
        while self.written > 0 && self.is_over() {
            self.forget_first();
        }
        if self.is_over() && self.events.len() > 1 {
            self.give_up();
            return Push::Overflow;
        }
        Push::Queued
    }

    /// Forgets what the client says it received. A number from the future is ignored.
    pub fn acknowledge(&mut self, sequence: u64) {
        while self.written > 0 && self.first <= sequence {
            self.forget_first();
        }
        self.shrink();
    }

    /// Goes back to the event after `sequence`; false if that is no longer here.
    pub fn rewind(&mut self, sequence: u64) -> bool {
        let next = sequence.saturating_add(1);
        if self.overflowed || next < self.first || next > self.first + self.written as u64 {
            return false;
        }
        while self.first < next {
            self.forget_first();
        }
        self.written = 0;
        true
    }

    /// Whether `sequence` was never written.
    pub fn is_future(&self, sequence: u64) -> bool {
        sequence >= self.first + self.written as u64
    }

    /// Up to `max` events from the cursor on, with their sequence numbers.
    pub fn next_batch(&self, max: usize) -> Vec<(u64, Arc<Event>)> {
        let start = self.first + self.written as u64;
        let waiting = self.events.iter().skip(self.written).take(max);
        (start..).zip(waiting.map(Arc::clone)).collect()
    }

    /// Moves the cursor over `count` events that are written.
    pub fn advance(&mut self, count: usize) {
        self.written = (self.written + count).min(self.events.len());
        let snapshot = self
            .events
            .iter()
            .take(self.written)
            .rposition(|event| event.is_snapshot());
        if let Some(last) = snapshot {
            (0..=last).for_each(|_| self.forget_first());
            self.shrink();
        }
    }

    /// Events that wait for the socket.
    pub fn waiting(&self) -> usize {
        self.events.len() - self.written
    }

    /// Adds what is here.
    pub(crate) fn measure(&self, depth: &mut SessionDepth) {
        let waiting = self.waiting();
        depth.waiting += waiting;
        depth.longest = depth.longest.max(waiting);
        depth.retained += self.events.len();
        depth.retained_bytes += self.bytes;
    }

    /// Whether events were lost, so that the session cannot be resumed.
    pub const fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    fn is_over(&self) -> bool {
        self.events.len() > RETAINED_MAX || self.bytes > RETAINED_BYTES_MAX
    }

    fn replace(&mut self, event: &Arc<Event>) -> bool {
        let mut waiting = self.events.iter_mut().skip(self.written + 1);
        let Some(old) = waiting.find(|old| old.is_replaced_by(event)) else {
            return false;
        };
        self.bytes = self.bytes - old.len_bytes() + event.len_bytes();
        *old = Arc::clone(event);
        true
    }

    fn forget_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= event.len_bytes();
            self.first += 1;
            self.written = self.written.saturating_sub(1);
        }
    }

    /// Gives everything up: something that should be here is missing.
    pub fn invalidate(&mut self) {
        self.give_up();
    }

    fn give_up(&mut self) {
        self.first += self.events.len() as u64;
        *self = Self {
            first: self.first,
            overflowed: true,
            ..Self::default()
        };
    }

    fn shrink(&mut self) {
        if self.events.is_empty() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
    }
}
