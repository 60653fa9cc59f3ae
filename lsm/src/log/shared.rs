//! What callers see of the log, in memory.
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
use super::queue::{Batch, Change, Queue};
use super::record::{Body, CONTROL_BYTES_MAX, ENTRY_OVERHEAD_BYTES};
use super::segment::Segment;
use super::span::{Item, Span};
use super::types::{
    Completion, Entry, GroupId, GroupState, LeaderId, LogId, LogMetrics, LogOptions,
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

pub(super) struct Shared {
    views: BTreeMap<GroupId, View>,
    pub(super) ledger: Ledger,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    queue: Queue,
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
            queue: Queue::new(),
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
        !self.queue.is_empty()
    }

    /// Position in the queue of the last change.
    pub(super) fn last_ticket(&self) -> u64 {
        self.queue.last_ticket()
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

    pub(super) fn append(
        &mut self,
        group: GroupId,
        entries: Vec<Entry>,
        done: Completion,
        options: &LogOptions,
    ) -> Result<()> {
        let total = check_entries(&entries, options)?;
        self.queue.check_room(total, options.pending_bytes_max)?;
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
            let ticket = self.queue.next_ticket();
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
            self.queue.push(group, Change::Entry(entry), done);
        }
        if let Some(done) = done {
            self.queue.push(group, Change::Nothing, Some(done));
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
        self.queue.check_room(
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
        self.queue.push(group, change, done);
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
        let mut batch = self.queue.take(bytes_max)?;
        batch.note_committed(|group| {
            let view = self.views.get_mut(&group)?;
            let is_new = std::mem::take(&mut view.has_new_committed);
            view.span.state().committed.filter(|_| is_new)
        });
        Some(batch)
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
        self.durable_ticket = batch.last_ticket();
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
            pending_bytes: self.queue.bytes(),
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
