//! What is on disk: a fold over all records in the order in which they were written.
//!
//! Writing and recovery share it. After each commit the writer applies the commit's records;
//! recovery applies all records of all segments; both end with the same ledger, and the checkpoint
//! at the start of a segment is the ledger at that point, which recovery checks.

use std::collections::BTreeMap;

use super::record::{Body, Checkpoint, Record};
use super::span::{Item, Span};
use super::types::{GroupId, LeaderId};

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) page: u32,
    /// Offset in the payload of `page`, in bytes.
    pub(super) offset: u16,
    /// Bytes of the whole record.
    pub(super) len: u32,
}

/// One durable entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) leader: LeaderId,
    pub(super) place: Place,
}

impl Item for Slot {
    fn leader(&self) -> LeaderId {
        self.leader
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    groups: BTreeMap<GroupId, Span<Slot>>,
    /// Entries that exist, per segment; segments without any are not listed.
    live: BTreeMap<u64, u64>,
}

impl Ledger {
    pub(super) fn from_checkpoints(checkpoints: &BTreeMap<GroupId, Checkpoint>) -> Self {
        let groups = checkpoints.iter();
        let groups = groups.map(|(group, checkpoint)| (*group, Span::from_checkpoint(checkpoint)));
        Self {
            groups: groups.collect(),
            live: BTreeMap::new(),
        }
    }

    pub(super) fn group(&self, group: GroupId) -> Option<&Span<Slot>> {
        self.groups.get(&group)
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = (GroupId, &Span<Slot>)> {
        self.groups.iter().map(|(group, span)| (*group, span))
    }

    /// Applies one record. `Err` says what a sound log would hold in its place.
    pub(super) fn apply(&mut self, record: &Record<'_>, place: Place) -> Result<(), &'static str> {
        let span = self.groups.entry(record.group).or_default();
        let removed = match record.body {
            Body::Entry { id, .. } => {
                let slot = Slot {
                    leader: id.leader,
                    place,
                };
                span.push(id.index, slot)
                    .map_err(|_| "the entry after the last one")?;
                *self.live.entry(place.segment).or_default() += 1;
                Vec::new()
            }
            Body::Vote(vote) => {
                span.state_mut().vote = Some(vote);
                Vec::new()
            }
            Body::Committed(id) => {
                span.state_mut().committed = Some(id);
                Vec::new()
            }
            // An entry whose segment is gone has an unknown leader; a later record purges it.
            Body::Truncate(last_kept) => span.truncate(last_kept, LeaderId::default),
            Body::Purge(upto) => span.purge(upto),
            Body::Reset(owner) => {
                let removed = span.reset(owner);
                if owner == 0 {
                    self.groups.remove(&record.group);
                }
                removed
            }
            Body::Checkpoint(_) => return Err("a record of a change"),
        };
        for slot in removed {
            if let Some(count) = self.live.get_mut(&slot.place.segment) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.live.remove(&slot.place.segment);
                }
            }
        }
        Ok(())
    }

    pub(super) fn checkpoints(&self) -> BTreeMap<GroupId, Checkpoint> {
        self.groups
            .iter()
            .map(|(group, span)| (*group, span.checkpoint()))
            .collect()
    }

    /// Whether the checkpoint of a later segment says the same as the records before it.
    pub(super) fn matches(&mut self, checkpoints: &BTreeMap<GroupId, Checkpoint>) -> bool {
        if self.groups.len() != checkpoints.len() {
            return false;
        }
        for (group, checkpoint) in checkpoints {
            let Some(span) = self.groups.get_mut(group) else {
                return false;
            };
            if span.has_absent() && span.first() == span.end() {
                // The last entry's segment is gone, so only the checkpoint knows its leader.
                let index = span.state().last.map(|last| last.index);
                if index == checkpoint.state.last.map(|last| last.index) {
                    span.state_mut().last = checkpoint.state.last;
                }
            }
            if span.checkpoint() != *checkpoint {
                return false;
            }
        }
        true
    }

    /// The oldest segment that holds an entry.
    pub(super) fn oldest_live(&self) -> Option<u64> {
        self.live.keys().next().copied()
    }

    /// The group, and its first index, whose oldest entry is in the oldest segment in use.
    pub(super) fn oldest_pinned(&self) -> Option<(GroupId, u64)> {
        let spans = self.groups().filter_map(|(group, span)| {
            let slot = span.front()?;
            Some((slot.place.segment, group, span.base()))
        });
        spans
            .min_by_key(|(segment, group, _)| (*segment, *group))
            .map(|(_, group, base)| (group, base))
    }
}
