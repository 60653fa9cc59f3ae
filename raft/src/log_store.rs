//! openraft's log storage over the shared log.
//!
//! # Invariants
//!
//! * An append is readable when it returns and durable when its callback runs; the callback runs on
//!   the thread that syncs. openraft's core never waits for a sync of entries.
//! * A vote is durable before [`RaftLogStorage::save_vote`] returns, in the same stream as entries.
//! * The committed position costs no write of its own: it rides along with the next record.
//! * Reads are cut at [`READ_BYTES`], so that replaying a long log needs little memory.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream;
use lsm::log::Entry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::payload::Payload;
use crate::replica::Replica;
use crate::stages::Stage;
use crate::types::{
    Encoded, RaftEntry, RaftLogId, RaftVote, Types, from_raft_id, from_raft_membership,
    from_raft_vote, to_raft_id, to_raft_membership, to_raft_vote,
};

/// Payload bytes that one read of the log returns, give or take one entry.
const READ_BYTES: usize = 1024 * 1024;

/// First pause when the log's queue is full; doubles up to [`OVERLOAD_PAUSE_MAX`].
const OVERLOAD_PAUSE: Duration = Duration::from_millis(1);
const OVERLOAD_PAUSE_MAX: Duration = Duration::from_millis(50);

/// openraft's callback of one append, until it is called.
type Callback = Arc<Mutex<Option<IOFlushed<Types>>>>;

/// One replica's view of the shared log.
#[derive(Clone, Debug)]
pub(crate) struct LogStore(pub(crate) Arc<Replica>);

impl LogStore {
    /// Entries from `range`, at least one if there is one, cut at [`READ_BYTES`].
    ///
    /// Entries that are purged are left out, as openraft expects.
    fn read(&self, range: Range<u64>) -> io::Result<Vec<RaftEntry>> {
        let purged = self.0.log.state(self.0.group).purged;
        let first = purged.map_or(0, |purged| purged.index.saturating_add(1));
        let range = range.start.max(first)..range.end;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let entries = self
            .0
            .log
            .read(self.0.group, range, READ_BYTES)
            .map_err(|source| self.failed("read", source))?;
        entries
            .into_iter()
            .map(|entry| decode(entry).map_err(Error::into_io))
            .collect()
    }

    fn failed(&self, what: &str, source: lsm::Error) -> io::Error {
        let error = Error::from_log(what, source);
        self.0.fail(error.clone());
        error.into_io()
    }

    /// A completion of an append that answers `callback`, which may be tried again.
    fn appended(&self, callback: &Callback) -> lsm::log::Completion {
        // Weak: the log may be given up with this in its queue, and the replica owns the log.
        let replica = Arc::downgrade(&self.0);
        let (stages, callback) = (Arc::clone(&self.0.stages), Arc::clone(callback));
        let begun = clock::instant();
        Box::new(move |outcome| {
            let took = clock::instant().saturating_duration_since(begun);
            stages.note(Stage::Synced, took);
            let Some(callback) = callback.lock().take() else {
                return;
            };
            callback.io_completed(outcome.map_err(|source| {
                let error = Error::from_log("append", source);
                if let Some(replica) = replica.upgrade() {
                    replica.fail(error.clone());
                }
                error.into_io()
            }));
        })
    }

    /// A completion for the shared log, and what to wait for.
    fn completion() -> (lsm::log::Completion, oneshot::Receiver<lsm::Result<()>>) {
        let (done, result) = oneshot::channel();
        let completion = Box::new(move |outcome| {
            // Nobody waits any more when the group was stopped meanwhile.
            drop(done.send(outcome));
        });
        (completion, result)
    }

    async fn durable(
        &self,
        what: &str,
        result: oneshot::Receiver<lsm::Result<()>>,
    ) -> io::Result<()> {
        self.0.kick.kick();
        match result.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(self.failed(what, source)),
            Err(_) => {
                let message = format!("shared log: {what} was dropped without an outcome");
                Err(Error::new(ErrorKind::Closed, message).into_io())
            }
        }
    }
}

/// An entry as the log and the wire have it.
pub(crate) fn encode(entry: &RaftEntry) -> Result<Entry> {
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank.encode()?,
        EntryPayload::Normal(Encoded(bytes)) => bytes.clone(),
        EntryPayload::Membership(membership) => {
            Payload::Membership(from_raft_membership(membership)).encode()?
        }
    };
    Ok(Entry {
        id: from_raft_id(entry.log_id),
        payload,
    })
}

/// A batch stays encoded here: only the state machine needs its commands.
pub(crate) fn decode(entry: Entry) -> Result<RaftEntry> {
    let payload = if Payload::is_batch(&entry.payload) {
        EntryPayload::Normal(Encoded(entry.payload))
    } else {
        match Payload::decode(entry.payload)? {
            Payload::Blank | Payload::Batch { .. } => EntryPayload::Blank,
            Payload::Membership(members) => EntryPayload::Membership(to_raft_membership(&members)?),
        }
    };
    Ok(RaftEntry {
        log_id: to_raft_id(entry.id),
        payload,
    })
}

fn to_range(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

/// The range that is left after `entries`, or `None` at its end.
fn rest(range: &Range<u64>, entries: &[RaftEntry]) -> Option<Range<u64>> {
    let next = entries.last()?.log_id.index.saturating_add(1);
    (next < range.end).then_some(next..range.end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<RaftEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let mut left = Some(to_range(&range));
        let mut all = Vec::new();
        while let Some(range) = left {
            let entries = self.read(range.clone())?;
            left = rest(&range, &entries);
            all.extend(entries);
        }
        Ok(all)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = io::Result<RaftEntry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let start = Chunks {
            store: self.clone(),
            left: Some(to_range(&range)),
            ready: Vec::new().into_iter(),
        };
        Box::pin(stream::unfold(start, |mut chunks| async move {
            let next = chunks.next()?;
            Some((next, chunks))
        }))
    }

    async fn read_vote(&mut self) -> io::Result<Option<RaftVote>> {
        Ok(self.0.log.state(self.0.group).vote.map(to_raft_vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> io::Result<Vec<RaftEntry>> {
        self.read(start..end)
    }
}

/// Entries of a range, read a chunk at a time.
struct Chunks {
    store: LogStore,
    left: Option<Range<u64>>,
    ready: std::vec::IntoIter<RaftEntry>,
}

impl Chunks {
    fn next(&mut self) -> Option<io::Result<RaftEntry>> {
        if let Some(entry) = self.ready.next() {
            return Some(Ok(entry));
        }
        let range = self.left.take()?;
        match self.store.read(range.clone()) {
            Ok(entries) => {
                self.left = rest(&range, &entries);
                self.ready = entries.into_iter();
                self.ready.next().map(Ok)
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.0.log.state(self.0.group);
        let purged = state.purged.map(to_raft_id);
        Ok(LogState {
            last_purged_log_id: purged,
            last_log_id: state.last.map(to_raft_id).or(purged),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> io::Result<()> {
        let (completion, result) = Self::completion();
        self.0
            .log
            .save_vote(self.0.group, from_raft_vote(vote), completion)
            .map_err(|source| self.failed("save a vote", source))?;
        self.durable("save a vote", result).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        if let Some(id) = committed {
            self.0.log.save_committed(self.0.group, from_raft_id(id));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        Ok(self.0.log.state(self.0.group).committed.map(to_raft_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries
            .into_iter()
            .map(|entry| encode(&entry))
            .collect::<Result<_>>()
            .map_err(Error::into_io)?;
        let callback = Arc::new(Mutex::new(Some(callback)));
        let mut pause = OVERLOAD_PAUSE;
        loop {
            let done = self.appended(&callback);
            match self.0.log.append(self.0.group, entries.clone(), done) {
                Ok(()) => break,
                // Other groups filled the log's queue. Waiting here holds back this group's
                // proposals, as it should.
                Err(full) if full.kind() == lsm::ErrorKind::Overloaded => {
                    self.0.kick.kick();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(OVERLOAD_PAUSE_MAX);
                }
                Err(source) => return Err(self.failed("append", source)),
            }
        }
        self.0.kick.kick();
        Ok(())
    }

    async fn truncate_after(&mut self, last_kept: Option<RaftLogId>) -> io::Result<()> {
        let (completion, result) = Self::completion();
        self.0
            .log
            .truncate_after(self.0.group, last_kept.map(|id| id.index), completion)
            .map_err(|source| self.failed("truncate", source))?;
        self.durable("truncate", result).await
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        let upto: LogId = from_raft_id(upto);
        self.0
            .log
            .purge(self.0.group, upto)
            .map_err(|source| self.failed("purge", source))
    }
}
