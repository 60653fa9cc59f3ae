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

/// Turns what a read found into entries. Runs without any lock: the handles keep the segments
/// from being reused.
pub(super) fn fetch(group: GroupId, found: Vec<Found>) -> Result<Vec<Entry>> {
    let mut entries = Vec::with_capacity(found.len());
    let mut rest = found.into_iter().peekable();
    while let Some(next) = rest.next() {
        let (mut id, mut place, segment) = match next {
            Found::Hot(entry) => {
                entries.push(entry);
                continue;
            }
            Found::Cold { id, place, segment } => (id, place, segment),
        };
        let mut reader = PageReader::new(&segment, CHUNK_PAGES);
        loop {
            entries.push(read_entry(&mut reader, &segment, (group, id), place)?);
            let is_same = |found: &Found| matches!(found, Found::Cold { segment: other, .. } if Arc::ptr_eq(other, &segment));
            match rest.next_if(is_same) {
                Some(Found::Cold {
                    id: next_id,
                    place: next_place,
                    ..
                }) => {
                    (id, place) = (next_id, next_place);
                }
                _ => break,
            }
        }
    }
    Ok(entries)
}

fn read_entry(
    reader: &mut PageReader<'_>,
    segment: &Segment,
    (group, id): (GroupId, LogId),
    place: Place,
) -> Result<Entry> {
    let len = usize::try_from(place.len).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(len);
    let mut skip = usize::from(place.offset);
    let mut number = place.page;
    let mut commit_of_record = None;
    while bytes.len() < len {
        let Some(Page::Commit {
            commit, payload, ..
        }) = reader.page(number)?
        else {
            return Err(segment.corrupt(
                number,
                "a page of entries",
                "a page that fails its checksum",
            ));
        };
        if *commit_of_record.get_or_insert(commit) != commit || payload.len() > PAGE_PAYLOAD_BYTES {
            return Err(segment.corrupt(number, "the same commit", "another commit"));
        }
        let wanted = len.saturating_sub(bytes.len());
        let piece = payload.get(skip..).unwrap_or_default();
        if piece.is_empty() {
            return Err(segment.corrupt(number, "more of a record", "the end of the commit"));
        }
        bytes.extend_from_slice(piece.get(..wanted).unwrap_or(piece));
        skip = 0;
        number = number.saturating_add(1);
    }
    let bytes = Bytes::from(bytes);
    let mut record = Reader::new(&bytes);
    let decoded = record::decode(&mut record)
        .map_err(|error| segment.corrupt(place.page, error.expected, "something else"))?;
    match decoded.body {
        Body::Entry { id: found, payload } if found == id && decoded.group == group => Ok(Entry {
            id,
            payload: bytes.slice_ref(payload),
        }),
        _ => Err(segment.corrupt(
            place.page,
            format!("entry {} of group {}", id.index, group.0),
            "another record",
        )),
    }
}
