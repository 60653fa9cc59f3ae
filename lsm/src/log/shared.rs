//! What callers see and what waits for the next group commit.
//!
//! # Invariants
//!
//! * A call changes the view and joins the queue under one lock, so that the order of the queue is
//!   the order in which callers saw things happen.
//! * Payloads of entries that are not durable are in memory. Payloads are dropped oldest first,
//!   and only then, so that every entry is either in memory or has a place on disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::commit::Waiter;
use super::ledger::{Ledger, Place};
use super::record::{Body, CONTROL_BYTES_MAX, ENTRY_OVERHEAD_BYTES, Record};
use super::segment::Segment;
use super::span::{Item, Span};
use super::types::{
    Completion, Entry, GroupId, GroupState, LeaderId, LogId, LogMetrics, LogOptions, Vote,
};
use crate::error::{Error, Result};
use crate::limits::LOG_GROUPS_MAX;

/// Memory that an entry costs beside its payload, roughly, in bytes.
const HOT_OVERHEAD_BYTES: usize = 64;

/// An entry in memory.
#[derive(Clone, Debug)]
struct HotEntry {
    leader: LeaderId,
    payload: Bytes,
    /// Position in the queue when it was appended.
    ticket: u64,
}

impl Item for HotEntry {
    fn leader(&self) -> LeaderId {
        self.leader
    }
}

#[derive(Debug, Default)]
struct View {
    span: Span<HotEntry>,
    has_new_committed: bool,
    hot_bytes: usize,
}

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

pub(super) struct Pending {
    group: GroupId,
    change: Change,
    done: Option<Completion>,
}

/// What one group commit writes.
pub(super) struct Batch {
    items: Vec<Pending>,
    committed: Vec<(GroupId, LogId)>,
    last_ticket: u64,
}

pub(super) struct Shared {
    views: BTreeMap<GroupId, View>,
    pub(super) ledger: Ledger,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    next_ticket: u64,
    pub(super) durable_ticket: u64,
    /// Up to here completions have run.
    pub(super) told_ticket: u64,
    /// Whether somebody commits, or was just told to.
    pub(super) is_led: bool,
    /// Threads that wait for a commit, by the last change they wait for.
    pub(super) waiters: VecDeque<Arc<Waiter>>,
    hot_bytes: usize,
    pub(super) failed: Option<Error>,
    pub(super) is_closed: bool,
    pub(super) metrics: LogMetrics,
}

/// One entry to be returned by a read.
pub(super) enum Found {
    Hot(Entry),
    Cold {
        id: LogId,
        place: Place,
        segment: Arc<Segment>,
    },
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

impl Batch {
    /// Position in the queue of its last change.
    pub(super) fn last_ticket(&self) -> u64 {
        self.last_ticket
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

impl Shared {
    /// The state after recovery: everything in the ledger, nothing in memory.
    pub(super) fn recovered(ledger: Ledger, segments: BTreeMap<u64, Arc<Segment>>) -> Self {
        let mut views = BTreeMap::new();
        for (group, slots) in ledger.groups() {
            let mut view = View {
                span: Span::from_checkpoint(&slots.checkpoint()),
                ..View::default()
            };
            let state = view.span.state_mut();
            // The note may speak of entries that the crash cut off. What is left of them is
            // committed too.
            state.committed = state
                .committed
                .zip(state.last)
                .map(|(a, b)| if a.index < b.index { a } else { b });
            views.insert(group, view);
        }
        Self {
            views,
            ledger,
            segments,
            pending: VecDeque::new(),
            pending_bytes: 0,
            next_ticket: 1,
            durable_ticket: 0,
            told_ticket: 0,
            is_led: false,
            waiters: VecDeque::new(),
            hot_bytes: 0,
            failed: None,
            is_closed: false,
            metrics: LogMetrics::default(),
        }
    }

    /// Fails if the log failed.
    pub(super) fn check_failed(&self) -> Result<()> {
        match &self.failed {
            Some(error) => {
                let context = "the log failed earlier and refuses every call, stop the process";
                Err(error.context(context))
            }
            None => Ok(()),
        }
    }

    /// Fails if the log cannot be used any more.
    pub(super) fn check_usable(&self) -> Result<()> {
        self.check_failed()?;
        if self.is_closed {
            Err(Error::closed("the log"))
        } else {
            Ok(())
        }
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        let known = self
            .views
            .iter()
            .filter(|(_, view)| view.span.state() != GroupState::default());
        known.map(|(group, _)| *group).collect()
    }

    pub(super) fn state(&self, group: GroupId) -> GroupState {
        self.views
            .get(&group)
            .map(|view| view.span.state())
            .unwrap_or_default()
    }

    pub(super) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Position in the queue of the last change.
    pub(super) fn last_ticket(&self) -> u64 {
        self.next_ticket - 1
    }

    /// The view of a group, created if the log has room for one more.
    fn view(&mut self, group: GroupId, options: &LogOptions) -> Result<&mut View> {
        // All checkpoints must fit in a quarter of a segment.
        let quarter = usize::try_from(options.segment_bytes / 4).unwrap_or(usize::MAX);
        let limit = LOG_GROUPS_MAX.min(quarter / CONTROL_BYTES_MAX);
        if self.views.len() >= limit && !self.views.contains_key(&group) {
            return Err(Error::invalid(format!(
                "the log holds {limit} groups, its limit"
            )));
        }
        Ok(self.views.entry(group).or_default())
    }

    fn enqueue(&mut self, group: GroupId, change: Change, done: Option<Completion>) {
        let pending = Pending {
            group,
            change,
            done,
        };
        self.pending_bytes += pending.bytes();
        self.next_ticket += 1;
        self.pending.push_back(pending);
    }

    fn check_room(&self, bytes: usize, limit: usize) -> Result<()> {
        if self.pending_bytes.saturating_add(bytes) <= limit {
            return Ok(());
        }
        Err(Error::overloaded(format!(
            "{} bytes wait to be written to the log and {bytes} more exceed {limit}, flush first",
            self.pending_bytes
        )))
    }

    pub(super) fn append(
        &mut self,
        group: GroupId,
        entries: Vec<Entry>,
        done: Completion,
        options: &LogOptions,
    ) -> Result<()> {
        let total = check_entries(&entries, options)?;
        self.check_room(total, options.pending_bytes_max)?;
        let view = self.view(group, options)?;
        if let Some(first) = entries.first() {
            let is_fresh = view.span.state().last.is_none() && first.id.index <= 1;
            if !is_fresh && first.id.index != view.span.end() {
                return Err(Error::invalid(format!(
                    "entry {} of group {} does not follow entry {}",
                    first.id.index,
                    group.0,
                    view.span.end().wrapping_sub(1).cast_signed()
                )));
            }
        }
        let count = entries.len();
        let mut done = Some(done);
        for (at, entry) in entries.into_iter().enumerate() {
            let done = if at + 1 == count { done.take() } else { None };
            let ticket = self.next_ticket;
            let hot = HotEntry {
                leader: entry.id.leader,
                payload: entry.payload.clone(),
                ticket,
            };
            let bytes = hot_bytes(&hot);
            let view = self.view(group, options)?;
            view.span
                .push(entry.id.index, hot)
                .map_err(|next| Error::invalid(format!("entry {next} is expected next")))?;
            view.hot_bytes += bytes;
            self.hot_bytes += bytes;
            self.enqueue(group, Change::Entry(entry), done);
        }
        if let Some(done) = done {
            self.enqueue(group, Change::Nothing, Some(done));
        }
        Ok(())
    }

    /// Saves a vote, truncates or purges.
    pub(super) fn control(
        &mut self,
        group: GroupId,
        change: Change,
        done: Option<Completion>,
        options: &LogOptions,
    ) -> Result<()> {
        // Small and needed for progress, so admitted beyond the limit of entries, but not forever.
        self.check_room(
            CONTROL_BYTES_MAX,
            options.pending_bytes_max.saturating_mul(2),
        )?;
        self.view(group, options)?;
        let Some(view) = self.views.get_mut(&group) else {
            return Ok(());
        };
        let removed = match &change {
            Change::Vote(vote) => {
                view.span.state_mut().vote = Some(*vote);
                Vec::new()
            }
            Change::Truncate(last_kept) => {
                let ledger = &self.ledger;
                view.span
                    .truncate(*last_kept, || leader_on_disk(ledger, group, *last_kept))
            }
            Change::Purge(upto) => view.span.purge(*upto),
            Change::Reset(owner) => {
                view.has_new_committed = false;
                view.span.reset(*owner)
            }
            Change::Entry(_) | Change::Nothing => Vec::new(),
        };
        let bytes: usize = removed.iter().map(hot_bytes).sum();
        view.hot_bytes = view.hot_bytes.saturating_sub(bytes);
        self.hot_bytes = self.hot_bytes.saturating_sub(bytes);
        if matches!(change, Change::Reset(0)) {
            self.views.remove(&group);
        }
        self.enqueue(group, change, done);
        Ok(())
    }

    pub(super) fn save_committed(&mut self, group: GroupId, id: LogId) {
        if let Some(view) = self.views.get_mut(&group) {
            view.span.state_mut().committed = Some(id);
            view.has_new_committed = true;
        }
    }

    /// Takes the oldest pending changes, about `bytes_max` of them, at least one if there is any.
    pub(super) fn take_batch(&mut self, bytes_max: usize) -> Option<Batch> {
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
        self.pending_bytes -= bytes;
        let mut committed = Vec::new();
        for item in items
            .iter()
            .filter(|item| !matches!(item.change, Change::Nothing))
        {
            let Some(view) = self.views.get_mut(&item.group) else {
                continue;
            };
            if std::mem::take(&mut view.has_new_committed) {
                committed.extend(view.span.state().committed.map(|id| (item.group, id)));
            }
        }
        let last_ticket = self.next_ticket - 1 - self.pending.len() as u64;
        Some(Batch {
            items,
            committed,
            last_ticket,
        })
    }

    /// All that waits, as one batch that will never be written.
    pub(super) fn take_all(&mut self) -> Option<Batch> {
        self.take_batch(usize::MAX)
    }

    /// Notes that a batch is durable, each of its records at its place.
    pub(super) fn committed(&mut self, batch: &Batch, places: &[Place]) -> Result<()> {
        for (record, place) in batch.records().zip(places) {
            if let Body::Entry { payload, .. } = record.body {
                self.metrics.entries += 1;
                self.metrics.payload_bytes += payload.len() as u64;
            }
            self.ledger.apply(&record, *place).map_err(|expected| {
                Error::invalid(format!("the log wrote something else than {expected}"))
            })?;
        }
        self.durable_ticket = batch.last_ticket;
        Ok(())
    }

    /// Drops the oldest durable payloads of the groups that hold most, down to `budget` bytes.
    pub(super) fn evict(&mut self, budget: usize) {
        let durable = self.durable_ticket;
        while self.hot_bytes > budget {
            let evictable = self.views.values_mut().filter(|view| {
                view.span
                    .front()
                    .is_some_and(|entry| entry.ticket <= durable)
            });
            let Some(view) = evictable.max_by_key(|view| view.hot_bytes) else {
                return;
            };
            let goal =
                (view.hot_bytes / 2).max(view.hot_bytes.saturating_sub(self.hot_bytes - budget));
            let mut bytes = 0;
            let mut count = 0;
            for entry in view
                .span
                .items()
                .take_while(|entry| entry.ticket <= durable)
            {
                if count > 0 && view.hot_bytes - bytes <= goal {
                    break;
                }
                bytes += hot_bytes(entry);
                count += 1;
            }
            let first = view.span.first() + count;
            view.span.evict_below(first);
            view.hot_bytes -= bytes;
            self.hot_bytes -= bytes;
        }
    }

    /// The segments that no entry needs, oldest first. Never the last one.
    pub(super) fn free_segments(&self) -> Vec<Arc<Segment>> {
        self.free().map(Arc::clone).collect()
    }

    /// Whether more than `spare` segments are free.
    pub(super) fn has_excess(&self, spare: usize) -> bool {
        self.free().nth(spare).is_some()
    }

    fn free(&self) -> impl Iterator<Item = &Arc<Segment>> {
        let last = self.segments.keys().next_back().copied().unwrap_or(0);
        let needed = self.ledger.oldest_live().unwrap_or(last).min(last);
        self.segments.range(..needed).map(|(_, segment)| segment)
    }

    /// Finds the entries of `[start, end)`, the first always, more while they fit in `max_bytes`.
    pub(super) fn find(
        &mut self,
        group: GroupId,
        (start, end): (u64, u64),
        max_bytes: usize,
    ) -> Result<Vec<Found>> {
        let Some(view) = self.views.get(&group) else {
            return Ok(Vec::new());
        };
        let is_purged = view.span.state().purged.is_some();
        if start < view.span.base() && start < end && is_purged {
            return Err(Error::not_found(format!(
                "entry {start} of group {} was purged, the first one left is {}",
                group.0,
                view.span.base()
            )));
        }
        let slots = self.ledger.group(group);
        let mut found = Vec::new();
        let mut bytes = 0_usize;
        for index in start.max(view.span.base())..end.min(view.span.end()) {
            let (entry, len) = if let Some(hot) = view.span.get(index) {
                let id = LogId {
                    leader: hot.leader,
                    index,
                };
                let payload = hot.payload.clone();
                let len = payload.len();
                (Found::Hot(Entry { id, payload }), len)
            } else {
                let slot = slots.and_then(|slots| slots.get(index));
                let Some(slot) = slot else {
                    return Err(lost(group, index));
                };
                let segment = self.segments.get(&slot.place.segment);
                let Some(segment) = segment else {
                    return Err(lost(group, index));
                };
                let id = LogId {
                    leader: slot.leader,
                    index,
                };
                let len = (slot.place.len as usize).saturating_sub(ENTRY_OVERHEAD_BYTES);
                self.metrics.disk_reads += 1;
                (
                    Found::Cold {
                        id,
                        place: slot.place,
                        segment: Arc::clone(segment),
                    },
                    len,
                )
            };
            bytes = bytes.saturating_add(len);
            if bytes > max_bytes && !found.is_empty() {
                break;
            }
            found.push(entry);
        }
        Ok(found)
    }

    pub(super) fn metrics(&self) -> LogMetrics {
        let segment_bytes = self
            .segments
            .values()
            .map(|segment| segment.header.segment_bytes);
        LogMetrics {
            segments: self.segments.len(),
            segment_bytes: segment_bytes.sum(),
            pending_bytes: self.pending_bytes,
            hot_bytes: self.hot_bytes,
            ..self.metrics
        }
    }
}

fn hot_bytes(entry: &HotEntry) -> usize {
    entry.payload.len() + HOT_OVERHEAD_BYTES
}

fn leader_on_disk(ledger: &Ledger, group: GroupId, index: Option<u64>) -> LeaderId {
    let slot = index.and_then(|index| ledger.group(group)?.get(index));
    slot.map_or_else(LeaderId::default, |slot| slot.leader)
}

/// Checks what does not depend on the group, and returns the bytes that the entries will take.
fn check_entries(entries: &[Entry], options: &LogOptions) -> Result<usize> {
    let mut total = 0_usize;
    let mut previous: Option<LogId> = None;
    for Entry { id, payload } in entries {
        if payload.len() > options.entry_bytes_max() {
            return Err(Error::invalid(format!(
                "entry {} has {} bytes, the limit is {}",
                id.index,
                payload.len(),
                options.entry_bytes_max()
            )));
        }
        if previous.is_some_and(|last| last.index.checked_add(1) != Some(id.index)) {
            return Err(Error::invalid(format!(
                "entry {} is out of order",
                id.index
            )));
        }
        previous = Some(*id);
        total = total.saturating_add(payload.len() + ENTRY_OVERHEAD_BYTES);
    }
    if total > options.pending_bytes_max {
        return Err(Error::invalid(format!(
            "{total} bytes in one append, the limit is {}, split it",
            options.pending_bytes_max
        )));
    }
    Ok(total)
}

fn lost(group: GroupId, index: u64) -> Error {
    Error::invalid(format!(
        "entry {index} of group {} has no place, this is a bug",
        group.0
    ))
}
