//! The batcher in front of a group: many waiting proposals become one entry.
//!
//! While entries are on their way, commands collect in a bounded queue; as soon as a
//! slot is free, everything that waits (up to the limits of an entry) travels together. Nothing is
//! held back to wait for more, so an idle group answers at the speed of one sync and a busy one
//! grows its entries by itself.
//!
//! # Invariants
//!
//! * Each command is answered once, with its own response and its own (index, op).
//! * An entry that openraft refused before appending is offered again, the same bytes and stamp; an
//!   entry that was appended and lost sight of is `Unknown` and never offered again.
//! * The queue is bounded in commands and in bytes; over that it refuses at once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::errors::{ClientWriteError, ForwardToLeader};
use openraft::impls::OneshotResponder;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::group::Proposed;
use crate::id::ReplicaId;
use crate::metrics::{Counters, add};
use crate::payload::{
    BATCH_BYTES_MAX, COMMAND_BYTES_MAX, ENTRY_COMMANDS_MAX, ENTRY_OVERHEAD_BYTES, Payload,
    command_bytes,
};
use crate::replica::Replica;
use crate::stages::Stage;
use crate::types::{Encoded, Raft, Responses, Types};

/// First pause after a refusal by a leader without a valid lease; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(2);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// A command that waits for its place in an entry, and whom to tell.
#[derive(Debug)]
struct Waiting {
    command: Bytes,
    since: Instant,
    answer: oneshot::Sender<Result<Proposed>>,
}

/// The bounded queue in front of one group.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<WaitingList>,
    ready: Notify,
    limits: Limits,
    pub(crate) counters: Counters,
}

/// Upper bounds of a queue and of the entries that are made from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Commands that may wait.
    pub(crate) waiting_commands: usize,
    /// Bytes of commands that may wait, one command always excepted.
    pub(crate) waiting_bytes: usize,
    /// Bytes of the largest entry that the shared log takes.
    pub(crate) entry_bytes: usize,
}

impl Limits {
    /// Refuses a command that no entry can carry.
    fn check(&self, command: &Bytes) -> Result<()> {
        let room = self.entry_bytes.saturating_sub(ENTRY_OVERHEAD_BYTES);
        if command.len() <= COMMAND_BYTES_MAX && command_bytes(command) <= room {
            return Ok(());
        }
        let allowed = COMMAND_BYTES_MAX.min(room);
        let message = format!(
            "command of {} bytes: about {allowed} are allowed",
            command.len()
        );
        Err(Error::new(ErrorKind::Invalid, message))
    }

    /// Bytes of commands, with their headers, after which an entry is closed.
    fn batch_bytes(&self) -> usize {
        BATCH_BYTES_MAX.min(self.entry_bytes.saturating_sub(ENTRY_OVERHEAD_BYTES))
    }
}

#[derive(Debug, Default)]
struct WaitingList {
    commands: VecDeque<Waiting>,
    bytes: usize,
    closed: Option<Error>,
}

impl Queue {
    pub(crate) fn new(limits: Limits) -> Self {
        let waiting = Mutex::new(WaitingList::default());
        Self {
            waiting,
            ready: Notify::new(),
            limits,
            counters: Counters::default(),
        }
    }

    /// Queues `command`; the receiver gets its outcome.
    pub(crate) fn push(&self, command: Bytes) -> Result<oneshot::Receiver<Result<Proposed>>> {
        self.limits.check(&command)?;
        let (answer, outcome) = oneshot::channel();
        let since = clock::instant();
        {
            let mut list = self.waiting.lock();
            if let Some(error) = &list.closed {
                return Err(error.clone());
            }
            let (commands, bytes) = (list.commands.len(), list.bytes);
            let full = commands >= self.limits.waiting_commands
                || (commands > 0
                    && bytes.saturating_add(command.len()) > self.limits.waiting_bytes);
            if full {
                add(&self.counters.refused, 1);
                let message =
                    format!("proposal queue is full: {commands} commands, {bytes} bytes wait");
                return Err(Error::new(ErrorKind::Overloaded, message));
            }
            list.bytes += command.len();
            list.commands.push_back(Waiting {
                command,
                since,
                answer,
            });
        }
        add(&self.counters.commands, 1);
        self.ready.notify_one();
        Ok(outcome)
    }

    /// Commands that wait now, and their bytes.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let list = self.waiting.lock();
        (list.commands.len(), list.bytes)
    }

    /// Refuses what comes and answers what waits with `error`. Nothing of it was offered.
    pub(crate) fn close(&self, error: &Error) {
        let refused = {
            let mut list = self.waiting.lock();
            list.closed.get_or_insert_with(|| error.clone());
            list.bytes = 0;
            std::mem::take(&mut list.commands)
        };
        for waiting in refused {
            answer(waiting, Err(error.clone()));
        }
        self.ready.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.waiting.lock().closed.is_some()
    }

    /// The commands of the next entry, in order of arrival; none if nothing waits.
    fn take(&self) -> Vec<Waiting> {
        let mut list = self.waiting.lock();
        let mut taken = Vec::with_capacity(list.commands.len().min(ENTRY_COMMANDS_MAX));
        let mut bytes = 0usize;
        while let Some(next) = list.commands.front() {
            let sum = bytes.saturating_add(command_bytes(&next.command));
            let fits = taken.is_empty() || sum <= self.limits.batch_bytes();
            if taken.len() == ENTRY_COMMANDS_MAX || !fits {
                break;
            }
            let Some(waiting) = list.commands.pop_front() else {
                break;
            };
            list.bytes = list.bytes.saturating_sub(waiting.command.len());
            // A caller that has given up already is not proposed for.
            if !waiting.answer.is_closed() {
                bytes = sum;
                taken.push(waiting);
            }
        }
        taken
    }
}

/// Tells a caller its outcome. A caller that has stopped waiting was told `Unknown`.
fn answer(waiting: Waiting, outcome: Result<Proposed>) {
    drop(waiting.answer.send(outcome));
}

/// What the batcher of one group works with.
pub(crate) struct Batcher {
    pub(crate) replica: Arc<Replica>,
    pub(crate) raft: Raft,
    pub(crate) queue: Arc<Queue>,
    pub(crate) in_flight_max: usize,
    pub(crate) retry_for: Duration,
}

impl Batcher {
    /// Proposes until the queue is closed and nothing is on its way any more.
    pub(crate) async fn run(self) {
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < self.in_flight_max {
                let taken = self.queue.take();
                if taken.is_empty() {
                    break;
                }
                in_flight.push(self.propose(taken));
            }
            if in_flight.is_empty() && self.queue.is_closed() {
                return;
            }
            tokio::select! {
                biased;
                // The callers that were just answered often propose again at once. One turn of the
                // scheduler lets them do so, instead of sending the first of them off alone.
                Some(()) = in_flight.next() => tokio::task::yield_now().await,
                () = self.queue.ready.notified(), if in_flight.len() < self.in_flight_max => {}
            }
        }
    }

    /// Carries one entry to its end and answers every command in it.
    async fn propose(&self, waiting: Vec<Waiting>) {
        let offered = clock::instant();
        let stages = &self.replica.stages;
        if let Some(first) = waiting.first() {
            let took = offered.saturating_duration_since(first.since);
            stages.note(Stage::Queued, took);
        }
        let commands: Vec<Bytes> = waiting
            .iter()
            .map(|waiting| waiting.command.clone())
            .collect();
        let proposed_us = self.replica.clock.now_us();
        let outcome = match (Payload::Batch {
            proposed_us,
            commands,
        })
        .encode()
        {
            Ok(bytes) => self.propose_bytes(bytes).await,
            Err(error) => Err(error),
        };
        let counters = &self.queue.counters;
        let counter = match &outcome {
            Ok(_) => &counters.applied,
            Err(_) => &counters.failed,
        };
        add(counter, 1);
        match outcome {
            Ok((index, responses)) if responses.each.len() == waiting.len() => {
                let took = responses.begun.saturating_duration_since(offered);
                stages.note(Stage::Committed, took);
                let took = clock::instant().saturating_duration_since(responses.ended);
                stages.note(Stage::Answered, took);
                let answers = waiting.into_iter().zip(responses.each).zip(0u16..);
                for ((waiting, response), op) in answers {
                    answer(
                        waiting,
                        Ok(Proposed {
                            index,
                            op,
                            response,
                        }),
                    );
                }
            }
            Ok((index, responses)) => {
                let count = responses.each.len();
                let message = format!("entry {index} came back with {count} responses");
                self.refuse(waiting, &Error::new(ErrorKind::Bug, message));
            }
            Err(error) => self.refuse(waiting, &error),
        }
    }

    fn refuse(&self, waiting: Vec<Waiting>, error: &Error) {
        let (group, count, kind) = (self.replica.group.0, waiting.len(), error.kind());
        tracing::debug!(group, count, ?kind, "proposals ended without a response");
        for waiting in waiting {
            answer(waiting, Err(error.clone()));
        }
    }

    /// Offers one entry until it is applied, refused for good, or lost sight of.
    async fn propose_bytes(&self, bytes: Bytes) -> Result<(u64, Responses)> {
        let deadline = clock::instant() + self.retry_for;
        let mut pause = RETRY_FIRST;
        let counters = &self.queue.counters;
        add(&counters.entries, 1);
        add(&counters.entry_bytes, bytes.len() as u64);
        loop {
            let (responder, outcome) = OneshotResponder::<Types, _>::new_pair();
            let sent = self
                .raft
                .client_write_ff(Encoded(bytes.clone()), Some(responder))
                .await;
            if sent.is_err() {
                return Err(self.replica.stopped());
            }
            let refused = match outcome.await {
                Err(_) => return Err(self.replica.unknown("the group stopped meanwhile")),
                Ok(Ok(done)) => return Ok((done.log_id.index, done.data)),
                Ok(Err(refused)) => refused,
            };
            let ClientWriteError::ForwardToLeader(forward) = refused else {
                return Err(self.replica.unknown("another leader replaced the entry"));
            };
            if let Some(error) = self.elsewhere(&forward) {
                return Err(error);
            }
            if clock::instant() + pause >= deadline {
                return Err(no_leader(&self.replica, self.retry_for));
            }
            add(&counters.retries, 1);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// The error that sends the caller to another replica, if one is known to lead.
    fn elsewhere(&self, forward: &ForwardToLeader<Types>) -> Option<Error> {
        let leader = forward
            .leader_id
            .filter(|leader| *leader != self.replica.id.0)?;
        Some(not_leader(&self.replica, ReplicaId(leader)))
    }
}

/// Another replica leads.
pub(crate) fn not_leader(replica: &Replica, leader: ReplicaId) -> Error {
    let (group, id) = (replica.group.0, replica.id);
    let message = format!("replica {id} does not lead raft group {group}; replica {leader} does");
    Error::not_leader(message, leader)
}

/// Nobody led with a valid lease for the whole time.
pub(crate) fn no_leader(replica: &Replica, waited: Duration) -> Error {
    let message = format!(
        "raft group {} had no leader with a valid lease for {} ms",
        replica.group.0,
        waited.as_millis()
    );
    Error::new(ErrorKind::Unavailable, message)
}
