//! Reads durable entries back from their segments, verifying every page and record.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::sync::Arc;

use bytes::Bytes;

use super::ledger::Place;
use super::page::{PAGE_PAYLOAD_BYTES, Page};
use super::record::{self, Body};
use super::segment::{PageReader, Segment};
use super::shared::Found;
use super::types::{Entry, GroupId, LogId};
use crate::encoding::Reader;
use crate::error::Result;

/// Pages read at once: catching up reads neighbors.
const CHUNK_PAGES: u32 = 32;

/// Bytes at which neighbors stop sharing a buffer: what one kept entry keeps alive of the others.
const SHARED_BYTES: usize = 64 * 1024;

/// Turns what a read found into entries. Runs without any lock: the handles keep the segments
/// from being reused.
pub(super) fn fetch(group: GroupId, found: Vec<Found>) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(found.len());
    let mut rest = found.into_iter().peekable();
    while let Some(next) = rest.next() {
        let (id, place, segment) = match next {
            Found::Hot(entry) => {
                entries.push(entry);
                continue;
            }
            Found::Cold { id, place, segment } => (id, place, segment),
        };
        let mut stretch = Stretch {
            reader: PageReader::new(&segment, CHUNK_PAGES),
            segment: &segment,
            group,
            bytes: Vec::new(),
            records: Vec::new(),
        };
        stretch.read(id, place)?;
        let is_same = |found: &Found| matches!(found, Found::Cold { segment: other, .. } if Arc::ptr_eq(other, &segment));
        while let Some(Found::Cold { id, place, .. }) = rest.next_if(is_same) {
            if stretch.bytes.len() >= SHARED_BYTES {
                stretch.decode(&mut entries)?;
            }
            stretch.read(id, place)?;
        }
        stretch.decode(&mut entries)?;
    }
    Ok(entries)
}

/// Neighbors of one segment on their way into one buffer.
struct Stretch<'a> {
    reader: PageReader<'a>,
    segment: &'a Segment,
    group: GroupId,
    bytes: Vec<u8>,
    /// What each record must be, its page, and where it ends in `bytes`.
    records: Vec<(LogId, u32, usize)>,
}

impl Stretch<'_> {
    /// Copies a record out of its pages.
    fn read(&mut self, id: LogId, place: Place) -> Result<()> {
        let len = usize::try_from(place.len).unwrap_or(usize::MAX);
        let end = self.bytes.len().saturating_add(len);
        self.bytes.reserve(len);
        let mut skip = usize::from(place.offset);
        let mut number = place.page;
        let mut commit_of_record = None;
        while self.bytes.len() < end {
            let Some(Page::Commit {
                commit, payload, ..
            }) = self.reader.page(number)?
            else {
                return Err(self.segment.corrupt(
                    number,
                    "a page of entries",
                    "a page that fails its checksum",
                ));
            };
            if *commit_of_record.get_or_insert(commit) != commit
                || payload.len() > PAGE_PAYLOAD_BYTES
            {
                let error = self
                    .segment
                    .corrupt(number, "the same commit", "another commit");
                return Err(error);
            }
            let wanted = end.saturating_sub(self.bytes.len());
            let piece = payload.get(skip..).unwrap_or_default();
            if piece.is_empty() {
                let error =
                    self.segment
                        .corrupt(number, "more of a record", "the end of the commit");
                return Err(error);
            }
            self.bytes
                .extend_from_slice(piece.get(..wanted).unwrap_or(piece));
            skip = 0;
            number = number.saturating_add(1);
        }
        self.records.push((id, place.page, end));
        Ok(())
    }

    /// Verifies the records and hands out their entries, which share the buffer.
    fn decode(&mut self, entries: &mut Vec<Entry>) -> Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        for (id, page, end) in self.records.drain(..) {
            let mut record = Reader::new(bytes.get(start..end).unwrap_or_default());
            start = end;
            let decoded = record::decode(&mut record)
                .map_err(|error| self.segment.corrupt(page, error.expected, "something else"))?;
            match decoded.body {
                Body::Entry { id: found, payload }
                    if found == id && decoded.group == self.group =>
                {
                    let payload = bytes.slice_ref(payload);
                    entries.push(Entry { id, payload });
                }
                _ => {
                    let expected = format!("entry {} of group {}", id.index, self.group.0);
                    return Err(self.segment.corrupt(page, expected, "another record"));
                }
            }
        }
        Ok(())
    }
}
