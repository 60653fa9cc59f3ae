//! The replicated store of one tablet: commands of committed entries in, responses and changes out.
//!
//! # Invariants
//!
//! * Applying is deterministic: the same entries on the same state give the same rows, responses
//!   and changes on every replica.
//! * Timestamps grow strictly with (log index, operation): an entry begins at
//!   `max(last + 1, proposed)`, so that neither a leader change nor a clock that jumps can order a
//!   later write before an earlier one.
//! * A command takes effect wholly or not at all, and once per request id.

use super::dedupe::{RequestId, Seen};
use super::state::{Cut, State};
use super::{apply, counters, guard};
use crate::command::{CurrentRow, Guard, Response, Write, WriteCommand};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::ReadPlan;
use crate::result::ResultSet;
use crate::schema::Table;
use crate::tablet::ReadCursor;
use bytes::Bytes;
use lsm::{Change, Engine, TableId, TableOptions, Timestamp, WindowOptions};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The store of one tablet. One task applies; reads go to [`Store::engine`] from anywhere.
#[derive(Debug)]
pub struct Store {
    engine: Arc<Engine>,
    tables: BTreeSet<TableId>,
    state: State,
}

/// What applying one command did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The answer to whoever proposed it; see [`crate::plan::WritePlan::result`].
    pub response: Bytes,
    /// The time of the write by the log's clock, in microseconds of Unix time.
    pub timestamp_us: u64,
    /// The command, if it took effect and names topics; see [`WriteCommand::changes`].
    pub published: Option<Arc<WriteCommand>>,
}

/// What the engine has to know about a table.
pub(crate) fn table_options(table: &Table) -> TableOptions {
    let windowed = table.window_ms().and_then(|(window_ms, origin_ms)| {
        Some(WindowOptions {
            window_ms,
            origin_ms: u64::try_from(origin_ms).ok()?,
        })
    });
    TableOptions { windowed }
}

/// The commands of an entry.
pub(super) fn decode(commands: &[Bytes]) -> Result<Vec<WriteCommand>> {
    commands.iter().map(WriteCommand::decode).collect()
}

impl Store {
    /// The store over an engine; `state` is what [`Store::state`] gave when it was last flushed.
    pub fn open(engine: Arc<Engine>, state: &[u8]) -> Result<Self> {
        let state = State::decode(state)?;
        Ok(Self {
            engine,
            tables: BTreeSet::new(),
            state,
        })
    }

    /// Takes over what [`Store::state`] gave on another replica, whose files the engine has installed.
    pub fn restore(&mut self, state: &[u8]) -> Result<()> {
        self.state = State::decode(state)?;
        Ok(())
    }

    /// The engine, to read from.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Makes the table known. Writes to a table that is not known fail. Idempotent.
    pub fn define_table(&mut self, table: &Table) -> Result<()> {
        let options = table_options(table);
        self.engine.define_table(table.id, options)?;
        self.tables.insert(table.id);
        Ok(())
    }

    /// Forgets a table and its rows.
    pub fn drop_table(&mut self, id: TableId) -> Result<()> {
        self.tables.remove(&id);
        self.engine.drop_table(id)?;
        Ok(())
    }

    /// The state to keep with a flush, as of the last applied entry.
    pub fn state(&self) -> Bytes {
        self.state.encode()
    }

    /// The log's clock in milliseconds of Unix time: the last timestamp given.
    pub fn time_ms(&self) -> u64 {
        self.state.last_timestamp / 1000
    }

    /// Whether the command at this place of the log published nothing; `None` when forgotten.
    pub fn is_silent(&self, index: u64, op: u32) -> Option<bool> {
        self.state.silent.contains(index, op)
    }

    /// The first and the last token that it holds.
    pub fn tokens(&self) -> (u64, u64) {
        self.state.tokens
    }

    /// The last split that was applied.
    pub(crate) fn last_cut(&self) -> Option<Cut> {
        self.state.cut
    }

    /// From now on the tokens from `cut.at` on are another store's. A write to one of them does
    /// nothing and says so.
    pub(crate) fn cut(&mut self, cut: Cut) {
        self.state.tokens.1 = cut.at.saturating_sub(1);
        self.state.cut = Some(cut);
    }

    /// The state of a store that takes over the tokens from `at` on: what it remembers of requests
    /// lets a retry of one from before take effect once.
    pub(crate) fn state_above(&self, at: u64) -> Result<Bytes> {
        let mut state = State::decode(&self.state.encode())?;
        state.tokens.0 = at;
        state.cut = None;
        Ok(state.encode())
    }

    /// Forgets which commands before `index` were silent: the log no longer has them.
    pub fn forget_before(&mut self, index: u64) {
        self.state.silent.forget_before(index);
    }

    /// Notes an entry without commands, such as a membership change.
    pub fn apply_nothing(&mut self, index: u64) -> Result<()> {
        let timestamp = Timestamp(self.state.last_timestamp + 1);
        self.engine.apply(index, timestamp, &[])?;
        Ok(())
    }

    /// Applies the commands of one committed entry; one [`Applied`] each, in order.
    ///
    /// An error means that this replica cannot go on. What is wrong with a command alone is its
    /// response.
    pub fn apply(
        &mut self,
        index: u64,
        proposed_us: u64,
        commands: &[Bytes],
    ) -> Result<Vec<Applied>> {
        self.apply_decoded(index, proposed_us, decode(commands)?)
    }

    /// As [`Store::apply`], for commands that were decoded before.
    pub(super) fn apply_decoded(
        &mut self,
        index: u64,
        proposed_us: u64,
        commands: Vec<WriteCommand>,
    ) -> Result<Vec<Applied>> {
        let base = proposed_us.max(self.state.last_timestamp + 1);
        let mut entry = Entry {
            store: self,
            index,
            base,
            next: base,
            pending_from: base,
            pending: Vec::with_capacity(commands.len()),
        };
        let mut applied = Vec::with_capacity(commands.len());
        for (command, op) in commands.into_iter().zip(0_u32..) {
            applied.push(entry.command(command, op)?);
        }
        entry.flush_pending()?;
        // An entry takes at least one timestamp, so that the log's clock goes on.
        let last = entry.next.saturating_sub(1).max(base);
        self.state.last_timestamp = last;
        Ok(applied)
    }

    /// Runs a read whose partitions all are in this store, at `now_ms` of Unix time.
    pub fn read(&self, plan: &ReadPlan, now_ms: u64) -> Result<ResultSet> {
        let mut cursor = ReadCursor::new(plan)?;
        while cursor.token().is_some() {
            cursor.step(&self.engine, u64::MAX, now_ms)?;
        }
        Ok(cursor.finish())
    }
}

/// The answer to a request that its client settled before it came.
fn settled() -> Response {
    Response::Failed {
        kind: ErrorKind::Unknown,
        message: "the request came after its client had given it up".to_owned(),
    }
}

/// One entry while it is applied.
struct Entry<'a> {
    store: &'a mut Store,
    index: u64,
    /// The first timestamp of the entry, and so its time.
    base: u64,
    /// The timestamp of the next operation.
    next: u64,
    /// The timestamp of the first pending operation.
    pending_from: u64,
    /// Changes that the engine does not have yet.
    pending: Vec<Change>,
}

impl Entry<'_> {
    fn command(&mut self, command: WriteCommand, op: u32) -> Result<Applied> {
        let time_ms = self.base / 1000;
        let request = command
            .request_id
            .map(|id| RequestId::of(id, command.settled_below));
        let dedupe = &mut self.store.state.dedupe;
        let seen = request.map_or(Seen::New, |request| dedupe.judge(request, time_ms));
        let (response, took_effect) = match seen {
            Seen::Answered(response) => (response, false),
            Seen::Settled => (settled().encode(), false),
            Seen::New => {
                let response = self.run(&command)?;
                let took_effect = matches!(response, Response::Done | Response::Applied);
                let was_judged = !matches!(response, Response::Failed { .. } | Response::Moved);
                let response = response.encode();
                if let Some(request) = request.filter(|_| was_judged) {
                    let dedupe = &mut self.store.state.dedupe;
                    dedupe.remember(request, time_ms, &response);
                }
                (response, took_effect)
            }
        };
        let has_topics = !command.topics.is_empty();
        if has_topics && !took_effect {
            self.store.state.silent.insert(self.index, op);
        }
        let published = (has_topics && took_effect).then(|| Arc::new(command));
        Ok(Applied {
            response,
            timestamp_us: self.base,
            published,
        })
    }

    /// Judges and executes a command.
    fn run(&mut self, command: &WriteCommand) -> Result<Response> {
        let (first, last) = self.store.state.tokens;
        let is_held = |write: &Write| (first..=last).contains(&write.partition.token);
        if !command.writes.iter().all(is_held) {
            return Ok(Response::Moved);
        }
        let unknown = command
            .writes
            .iter()
            .find(|write| !self.store.tables.contains(&write.table));
        if let Some(write) = unknown {
            let message = format!("table {} was dropped or truncated meanwhile", write.table.0);
            return Ok(Response::Failed {
                kind: ErrorKind::Conflict,
                message,
            });
        }
        for write in &command.writes {
            if let Some(current) = self.judge(write)? {
                return Ok(Response::NotApplied(current));
            }
        }
        let writes = match self.sum_up(command)? {
            Ok(writes) => writes,
            Err(message) => {
                let kind = ErrorKind::Invalid;
                return Ok(Response::Failed { kind, message });
            }
        };
        for write in writes.iter() {
            let change = apply::change(write, self.next, self.base / 1000);
            let count = u64::try_from(write.operations.len()).unwrap_or(u64::MAX);
            self.next = self
                .next
                .checked_add(count)
                .ok_or_else(|| Error::bug("timestamps have come to their end"))?;
            self.pending.push(change);
        }
        let is_conditional = command
            .writes
            .iter()
            .any(|write| write.guard != Guard::None);
        Ok(if is_conditional {
            Response::Applied
        } else {
            Response::Done
        })
    }

    /// The writes with values in place of additions, or why one cannot be made.
    fn sum_up<'a>(
        &mut self,
        command: &'a WriteCommand,
    ) -> Result<std::result::Result<Cow<'a, [Write]>, String>> {
        if !command.writes.iter().any(Write::adds) {
            return Ok(Ok(Cow::Borrowed(&command.writes)));
        }
        for write in command.writes.iter().filter(|write| write.adds()) {
            self.settle(write)?;
        }
        let summed = counters::sum_up(&self.store.engine, &command.writes, self.base / 1000)?;
        Ok(summed.map(Cow::Owned))
    }

    fn judge(&mut self, write: &Write) -> Result<Option<CurrentRow>> {
        if write.guard == Guard::None {
            return Ok(None);
        }
        self.settle(write)?;
        guard::judge(&self.store.engine, write, self.base / 1000)
    }

    /// Lets the engine have what earlier commands of the entry did to the partition of the write.
    fn settle(&mut self, write: &Write) -> Result<()> {
        let touches = |change: &Change| match change {
            Change::Mutation(mutation) => {
                mutation.table == write.table && mutation.partition == write.partition
            }
            Change::DeletePlacement { .. } => true,
        };
        if self.pending.iter().any(touches) {
            self.flush_pending()?;
        }
        Ok(())
    }

    /// Gives the engine what is pending. An entry may do that in several parts: they are commands
    /// of their own, and nothing freezes the memtable in between.
    fn flush_pending(&mut self) -> Result<()> {
        let timestamp = Timestamp(self.pending_from);
        self.store
            .engine
            .apply(self.index, timestamp, &self.pending)?;
        self.pending.clear();
        self.pending_from = self.next;
        Ok(())
    }
}
