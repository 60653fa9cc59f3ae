//! A tablet as raft sees it: applies commands to the store, tells the hub, knows what is durable.
//!
//! # Invariants
//!
//! * Applying and freezing exclude each other, so that the bytes handed to a freeze (last entry,
//!   membership, store) are exactly those of the frozen data.
//! * An entry's events reach the hub after its effects are readable: who gets an event and reads
//!   the row finds it.
//! * The log is kept for streams by bytes, not by time: the newest part of it, whatever it holds.

use crate::command::{Write, WriteCommand, WriteOperation};
use crate::error::{Error, ErrorKind, Result};
use crate::group0::System;
use crate::node::maintenance::Pressure;
use crate::schema::Catalog;
use crate::stream::hub::{Event, Hub};
use crate::tablet::owner::Owner;
use crate::tablet::store::{Store, decode};
use bytes::Bytes;
use futures::future::BoxFuture;
use lsm::{Engine, TableId};
use parking_lot::Mutex;
use raft::{Applied, CommittedBatch, Group, LogId, SnapshotDirs, StateMachine};
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A mark of how many bytes lie before an index is set about every so many bytes.
const MARK_BYTES: u64 = 256 * 1024;

/// After a read that was not in memory, so many others are not tried there.
const OUT_OF_MEMORY_READS: u32 = 16;

/// One tablet of this node.
pub(crate) struct Tablet {
    pub(super) group_id: u64,
    pub(super) engine: Arc<Engine>,
    pub(super) hub: Arc<Hub>,
    pressure: Arc<Pressure>,
    pub(super) progress: Mutex<Progress>,
    /// The log's clock in milliseconds, for readers.
    pub(super) time_ms: AtomicU64,
    /// The first and the last token that it holds.
    pub(super) tokens: Mutex<(u64, u64)>,
    /// The entry of the last split.
    pub(super) cut_at: AtomicU64,
    /// Brings the tables that writes name.
    pub(super) system: OnceLock<Weak<System>>,
    group: OnceLock<Group>,
    /// Reads that are not tried in memory, because of late one was not there.
    out_of_memory: AtomicU32,
}

#[derive(Debug)]
pub(super) struct Progress {
    pub(super) store: Store,
    pub(super) applied: Option<LogId>,
    pub(super) membership: Bytes,
    /// Bytes applied since the tablet was opened.
    pub(super) bytes: u64,
    /// Marks (log index, bytes applied before it), ascending.
    pub(super) marks: VecDeque<(u64, u64)>,
    /// The oldest entry that streams may still replay.
    pub(super) keep_from: u64,
}

impl fmt::Debug for Tablet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tablet")
            .field("group", &self.group_id)
            .finish_non_exhaustive()
    }
}

impl Tablet {
    /// A tablet over its recovered engine. `oldest` is the first entry that its log still has.
    pub(crate) fn new(
        group_id: u64,
        engine: Arc<Engine>,
        hub: Arc<Hub>,
        pressure: Arc<Pressure>,
        oldest: u64,
    ) -> Result<Self> {
        let owner = Owner::decode(&engine.flushed().owner)?;
        let store = Store::open(Arc::clone(&engine), &owner.store)?;
        let tokens = store.tokens();
        engine.set_tokens(tokens.0, tokens.1);
        hub.register(group_id, owner.applied.map_or(0, |id| id.index));
        Ok(Self {
            group_id,
            engine,
            hub,
            pressure,
            time_ms: AtomicU64::new(store.time_ms()),
            tokens: Mutex::new(tokens),
            cut_at: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                store,
                applied: owner.applied,
                membership: owner.membership,
                bytes: 0,
                marks: VecDeque::from([(oldest, 0)]),
                keep_from: oldest,
            }),
            system: OnceLock::new(),
            group: OnceLock::new(),
            out_of_memory: AtomicU32::new(0),
        })
    }

    /// Whether reads were not in memory of late. Each call counts as one of them.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        let left = self.out_of_memory.load(Ordering::Relaxed);
        if left > 0 {
            // Two that count as one only try sooner.
            self.out_of_memory.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }

    /// A read was not in memory.
    pub(crate) fn note_out_of_memory(&self) {
        self.out_of_memory
            .store(OUT_OF_MEMORY_READS, Ordering::Relaxed);
    }

    pub(crate) fn group_id(&self) -> u64 {
        self.group_id
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Refuses a write that would make a row too large, before it is proposed. May read files.
    pub(crate) fn check_room(&self, writes: &[Write]) -> Result<()> {
        for write in writes {
            for (row, growth) in write.operations.iter().filter_map(WriteOperation::growth) {
                self.engine
                    .check_room(write.table, &write.partition, row, growth)?;
            }
        }
        Ok(())
    }

    /// The log's clock: the time of the last applied write, in milliseconds since 1970.
    pub(crate) fn time_ms(&self) -> u64 {
        self.time_ms.load(Ordering::Relaxed)
    }

    /// The raft group; absent while the tablet is being opened.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.group.get()
    }

    /// The raft group, once it is open.
    pub(crate) fn set_group(&self, group: Group) {
        // A second call would be a bug of the only caller and changes nothing.
        drop(self.group.set(group));
    }

    /// Where the tablet hears of tables.
    pub(crate) fn set_system(&self, system: &Arc<System>) {
        // A second call would be a bug of the only caller and changes nothing.
        drop(self.system.set(Arc::downgrade(system)));
    }

    /// Waits until this node has heard of the tables that the commands name: another node may have
    /// planned them with a newer schema. Must not hold what defining tables takes.
    fn wait_tables(&self, commands: &[WriteCommand]) -> Result<()> {
        let Some((system, newest)) = self.unheard_table(commands) else {
            return Ok(());
        };
        // Where no thread may wait, it was waited for before.
        if raft::may_block() && raft::blocking(|| system.wait_table(newest)) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Closed, "the node is closing"))
    }

    /// The newest table that the commands name, if this node has not heard of it.
    fn unheard_table(&self, commands: &[WriteCommand]) -> Option<(Arc<System>, TableId)> {
        let system = self.system.get()?.upgrade()?;
        let named = commands.iter().flat_map(|command| &command.writes);
        let newest = named.map(|write| write.table).max()?;
        (!system.has_made_table(newest)).then_some((system, newest))
    }

    /// The same as [`Self::wait_tables`], for a thread that must not wait.
    fn hear_tables(&self, commands: &[Bytes]) -> Option<BoxFuture<'static, raft::Result<()>>> {
        // What cannot be decoded is told by who applies it.
        let commands = decode(commands).ok()?;
        let (system, newest) = self.unheard_table(&commands)?;
        Some(Box::pin(async move {
            if system.hear_table(newest).await {
                return Ok(());
            }
            let message = "the node is closing";
            Err(raft::Error::new(raft::ErrorKind::Closed, message))
        }))
    }

    /// Makes every table of the catalog known to the store and forgets the dropped ones.
    pub(crate) fn define_tables(&self, catalog: &Catalog, dropped: &[TableId]) -> Result<()> {
        let mut progress = self.progress.lock();
        for table in catalog.tables() {
            progress.store.define_table(table)?;
        }
        for table in dropped {
            progress.store.drop_table(*table)?;
        }
        Ok(())
    }

    /// Drops tables that are in files or were in the replayed log, and not in the catalog.
    pub(crate) fn drop_unknown_tables(&self, catalog: &Catalog) -> Result<()> {
        let mut progress = self.progress.lock();
        for table in self.engine.stored_tables() {
            // A table that this node has not heard of yet is not a dropped one.
            let is_old = table.0 < catalog.next_table_id();
            if is_old && catalog.table_by_id(table).is_none() {
                progress.store.drop_table(table)?;
            }
        }
        Ok(())
    }

    /// Moves what is in memory to the queue of the flush. False when there is nothing to move.
    pub(crate) fn freeze(&self) -> Result<bool> {
        let progress = self.progress.lock();
        self.freeze_locked(&progress)
    }

    pub(super) fn freeze_locked(&self, progress: &Progress) -> Result<bool> {
        let owner = Owner {
            applied: progress.applied,
            membership: progress.membership.clone(),
            store: progress.store.state(),
        };
        Ok(self.engine.freeze(owner.encode())?)
    }

    /// Tells raft what is durable, and how much of the log streams want to keep.
    pub(crate) fn release_log(&self, retention_bytes: u64) -> Result<()> {
        let Some(group) = self.group() else {
            return Ok(());
        };
        let durable = Owner::decode(&self.engine.flushed().owner)?;
        let Some(id) = durable.applied else {
            return Ok(());
        };
        self.release_tokens(id.index);
        let keep_from = self.progress.lock().retain(retention_bytes);
        group.flushed(id.index, keep_from)?;
        Ok(())
    }

    fn apply(&self, batch: &CommittedBatch) -> Result<Vec<Bytes>> {
        let commands = decode(&batch.commands)?;
        self.wait_tables(&commands)?;
        if commands.iter().any(WriteCommand::may_read) {
            // Of a disk, perhaps: the other tasks of this thread go on elsewhere.
            return raft::blocking(|| self.apply_decoded(batch, commands));
        }
        self.apply_decoded(batch, commands)
    }

    fn apply_decoded(
        &self,
        batch: &CommittedBatch,
        commands: Vec<WriteCommand>,
    ) -> Result<Vec<Bytes>> {
        let mut progress = self.progress.lock();
        let index = batch.id.index;
        if let Some(split) = commands.iter().find_map(|command| command.split.as_ref()) {
            self.split(&mut progress, split, index)?;
        }
        let applied = progress
            .store
            .apply_decoded(index, batch.proposed_us, commands)?;
        let mut responses = Vec::with_capacity(applied.len());
        let mut events = Vec::new();
        for (number, (applied, bytes)) in applied.into_iter().zip(&batch.commands).enumerate() {
            responses.push(applied.response);
            if let Some(command) = applied.published {
                let place = Event::place(self.group_id, index, number);
                events.push(Event::new(place, batch.proposed_us, command, bytes.len()));
            }
        }
        progress.advance(batch);
        self.time_ms
            .store(progress.store.time_ms(), Ordering::Relaxed);
        self.hub.publish(self.group_id, index, events);
        drop(progress);
        self.pressure.observe(self.engine.memory_bytes());
        Ok(responses)
    }

    /// Notes an entry without commands, so that a flush can release the log up to it.
    fn note(&self, id: LogId, membership: Option<Bytes>) -> Result<()> {
        let mut progress = self.progress.lock();
        if let Some(membership) = membership {
            progress.membership = membership;
        }
        progress.store.apply_nothing(id.index)?;
        progress.applied = Some(id);
        self.hub.publish(self.group_id, id.index, Vec::new());
        Ok(())
    }

    /// The events of committed batches up to entry `upto`, or the oldest entry whose events can
    /// still be told.
    pub(crate) fn events(
        &self,
        batches: &[CommittedBatch],
        upto: u64,
    ) -> Result<std::result::Result<Vec<Event>, u64>> {
        let mut events = Vec::new();
        for batch in batches.iter().filter(|batch| batch.id.index <= upto) {
            for (number, bytes) in batch.commands.iter().enumerate() {
                let command = WriteCommand::decode(bytes)?;
                if command.topics.is_empty() {
                    continue;
                }
                match self.is_silent(batch.id.index, number) {
                    Some(true) => {}
                    Some(false) => {
                        let place = Event::place(self.group_id, batch.id.index, number);
                        let command = Arc::new(command);
                        events.push(Event::new(place, batch.proposed_us, command, bytes.len()));
                    }
                    None => return Ok(Err(batch.id.index + 1)),
                }
            }
        }
        Ok(Ok(events))
    }

    fn is_silent(&self, index: u64, number: usize) -> Option<bool> {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.progress.lock().store.is_silent(index, number)
    }

    /// The oldest entry that streams may replay.
    pub(crate) fn oldest_for_streams(&self) -> u64 {
        self.progress.lock().keep_from
    }
}

impl Progress {
    fn advance(&mut self, batch: &CommittedBatch) {
        self.applied = Some(batch.id);
        let last = self.marks.back();
        if last.is_none_or(|(_, before)| self.bytes - before >= MARK_BYTES) {
            self.marks.push_back((batch.id.index, self.bytes));
        }
        let bytes: usize = batch.commands.iter().map(Bytes::len).sum();
        self.bytes += bytes as u64;
    }

    /// The oldest entry to keep so that about this many bytes of the newest ones are kept.
    fn retain(&mut self, bytes: u64) -> u64 {
        while let Some(&(index, before)) = self.marks.get(1) {
            if self.bytes - before < bytes {
                break;
            }
            self.marks.pop_front();
            self.keep_from = self.keep_from.max(index);
        }
        self.store.forget_before(self.keep_from);
        self.keep_from
    }
}

/// The handle that raft drives.
#[derive(Debug)]
pub(crate) struct TabletMachine(pub(crate) Arc<Tablet>);

impl TabletMachine {
    fn judge<T>(&self, outcome: Result<T>) -> raft::Result<T> {
        let what = || format!("tablet {} cannot apply an entry", self.0.group_id);
        outcome.map_err(|cause| cause.for_raft(what()))
    }
}

impl StateMachine for TabletMachine {
    fn applied(&self) -> Applied {
        let progress = self.0.progress.lock();
        Applied {
            id: progress.applied,
            membership: progress.membership.clone(),
        }
    }

    fn before(&self, batch: &CommittedBatch) -> Option<BoxFuture<'static, raft::Result<()>>> {
        self.0.hear_tables(&batch.commands)
    }

    fn apply(&mut self, batch: CommittedBatch) -> raft::Result<Vec<Bytes>> {
        self.judge(self.0.apply(&batch))
    }

    fn apply_membership(&mut self, id: LogId, membership: Bytes) -> raft::Result<()> {
        self.judge(self.0.note(id, Some(membership)))
    }

    fn apply_blank(&mut self, id: LogId) -> raft::Result<()> {
        self.judge(self.0.note(id, None))
    }

    fn snapshot_dirs(&self) -> Option<SnapshotDirs> {
        self.0.snapshot_dirs()
    }

    fn make_snapshot(&mut self, dir: &Path) -> raft::Result<Applied> {
        self.0.make_snapshot(dir).map_err(|cause| {
            let message = format!("tablet {} cannot make a raft snapshot", self.0.group_id);
            raft::Error::new(raft::ErrorKind::Io, message).with_source(cause)
        })
    }

    fn install_snapshot(&mut self, dir: &Path) -> raft::Result<Applied> {
        self.judge(self.0.install_snapshot(dir))
    }
}
