//! Opens a log: finds the segments that count, replays them, and begins a new one.
//!
//! Recovery never writes into an old segment's commits. It goes on in a new segment with a new
//! number, whose header says where the old one ends, so that a torn tail stays harmless for good.
//!
//! # Which files count
//!
//! The last segment is the newest file whose header and checkpoint are whole. Newer files are
//! segments whose creation was cut short: nothing in them was ever acknowledged. From the last
//! segment the headers lead back, each to the one before it, until one is not there any more. Other
//! files with older numbers are leftovers of either kind. Both are removed at the end.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::ledger::Ledger;
use super::page::{self, PAGE_PAYLOAD_BYTES, Page};
use super::record::{self, Body, Checkpoint};
use super::scan::{Commit, ScanEnd, scan_closed, scan_last};
use super::segment::{
    FIRST_PAGE, Header, HeaderState, Previous, Segment, file_name, page_offset, parse_name,
};
use super::shared::Shared;
use super::types::{GroupId, LogOptions};
use super::writer::{NewSegment, Writer, create_segment, place};
use crate::encoding::Reader;
use crate::error::{Error, Result};
use crate::vfs::{Vfs, read_exact_at};

/// Opens the log in `dir`, see [`super::Log::open`].
pub(super) fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: LogOptions) -> Result<(Shared, Writer)> {
    options.validate()?;
    vfs.create_dir_all(dir)?;
    let lock = vfs.lock(&dir.join("LOCK"))?;
    let mut ids: Vec<u64> = vfs
        .list(dir)?
        .iter()
        .filter_map(|name| parse_name(name))
        .collect();
    ids.sort_unstable();
    let newest = ids.last().copied().unwrap_or(0);

    let (mut chain, end) = find_chain(&*vfs, dir, &ids)?;
    let ledger = replay(&chain)?;
    check_complete(&ledger, &chain)?;
    let previous = match chain.last() {
        None => Previous::default(),
        Some(last) => {
            make_durable(last, &end)?;
            follow(last, &end)
        }
    };
    // A last segment without a change gives its place to the new one.
    chain.retain(|segment| segment.id() <= previous.segment);

    let mut segments: BTreeMap<u64, Arc<Segment>> = BTreeMap::new();
    segments.extend(
        chain
            .iter()
            .map(|segment| (segment.id(), Arc::clone(segment))),
    );
    let recycled = free_before_last(&ledger, &segments);
    let recycled_id = recycled.as_ref().map(|segment| segment.id());
    segments.retain(|id, _| Some(*id) != recycled_id);
    let new = NewSegment {
        id: newest + 1,
        first_commit: end.next_commit,
        previous,
        checkpoints: &ledger.checkpoints(),
        recycled,
    };
    let tail = create_segment(&*vfs, dir, &options, &new)?;
    if let Some(last) = chain.last() {
        close_segment(last, &previous, new.id)?;
    }
    for id in ids
        .iter()
        .filter(|id| !segments.contains_key(id) && Some(**id) != recycled_id)
    {
        vfs.remove(&dir.join(file_name(*id)))?;
    }
    segments.insert(tail.segment.id(), Arc::clone(&tail.segment));
    let shared = Shared::recovered(ledger, segments);
    let writer = Writer::new(vfs, dir, options, tail, lock);
    Ok((shared, writer))
}

/// What the next segment has to say about where the log so far ends.
fn follow(last: &Segment, end: &ScanEnd) -> Previous {
    if end.next_commit - last.header.first_commit == 1 {
        return last.header.previous;
    }
    Previous {
        segment: last.id(),
        end_page: end.end_page,
        last_commit: end.next_commit - 1,
        salt: last.header.context.salt,
    }
}

/// The segments that count, oldest first, and where the last one ends.
fn find_chain(vfs: &dyn Vfs, dir: &Path, ids: &[u64]) -> Result<(Vec<Arc<Segment>>, ScanEnd)> {
    let nothing = ScanEnd {
        last_page: 0,
        end_page: 0,
        next_commit: 1,
        is_marked: false,
    };
    let mut last = None;
    for id in ids.iter().rev() {
        last = open_last(vfs, dir, *id)?;
        if last.is_some() {
            break;
        }
    }
    let Some((last, end)) = last else {
        return Ok((Vec::new(), nothing));
    };
    let mut previous = last.header.previous;
    let mut chain = vec![Arc::new(last)];
    while ids.binary_search(&previous.segment).is_ok() {
        let path = dir.join(file_name(previous.segment));
        let file = vfs.open(&path)?;
        let header = match Header::read(&*file, &path, previous.segment)? {
            HeaderState::Whole(header) => header,
            HeaderState::Damaged { copy, .. } => return Err(bad_header(&path, copy)),
            HeaderState::Missing => return Err(bad_header(&path, 0)),
        };
        if header.context.salt != previous.salt {
            let expected = "the salt that the next segment names";
            return Err(Error::corrupt(
                &path,
                0,
                expected,
                "a segment of another log",
            ));
        }
        previous = header.previous;
        chain.push(Arc::new(Segment::new(header, path, file)?));
    }
    chain.reverse();
    Ok((chain, end))
}

/// The segment if it is the last one; `None` if its creation was cut short.
fn open_last(vfs: &dyn Vfs, dir: &Path, id: u64) -> Result<Option<(Segment, ScanEnd)>> {
    let path = dir.join(file_name(id));
    let file = vfs.open(&path)?;
    let (header, bad_copy) = match Header::read(&*file, &path, id)? {
        HeaderState::Whole(header) => (header, None),
        HeaderState::Damaged { copy, good } => (good, Some(copy)),
        HeaderState::Missing => return Ok(None),
    };
    let len = file.len()?;
    let segment = Segment::new(header, path, file)?;
    let end = scan_last(&segment, &mut |_| Ok(()))?;
    let commits = end.next_commit - header.first_commit;
    // Only a segment that was made durable whole is written to.
    let is_in_use = commits >= 2 || end.is_marked;
    let is_short = len < header.segment_bytes;
    match bad_copy {
        Some(copy) if is_in_use => Err(bad_header(&segment.path, copy)),
        None if is_in_use && is_short => Err(Error::corrupt(
            &segment.path,
            len,
            format!("{} bytes", header.segment_bytes),
            "the end of the file",
        )),
        None if commits >= 1 && !is_short => Ok(Some((segment, end))),
        _ => Ok(None),
    }
}

fn bad_header(path: &Path, copy: u32) -> Error {
    Error::corrupt(
        path,
        page_offset(copy),
        "a segment header",
        "something else",
    )
}

/// Replays all segments, oldest first.
fn replay(chain: &[Arc<Segment>]) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let mut segments = chain.iter().peekable();
    let mut is_first = true;
    while let Some(segment) = segments.next() {
        let mut visit = |commit: Commit<'_>| {
            if commit.number == segment.header.first_commit {
                let checkpoints = read_checkpoints(segment, &commit)?;
                if is_first {
                    ledger = Ledger::from_checkpoints(&checkpoints);
                } else if !ledger.matches(&checkpoints) {
                    let expected = "a checkpoint that agrees with the segments before";
                    return Err(segment.corrupt(commit.first_page, expected, "another one"));
                }
                return Ok(());
            }
            replay_commit(&mut ledger, segment, &commit)
        };
        match segments.peek() {
            Some(next) => scan_closed(segment, &next.header.previous, &mut visit)?,
            None => scan_last(segment, &mut visit).map(|_| ())?,
        }
        is_first = false;
    }
    Ok(ledger)
}

fn read_checkpoints(
    segment: &Segment,
    commit: &Commit<'_>,
) -> Result<BTreeMap<GroupId, Checkpoint>> {
    let mut checkpoints = BTreeMap::new();
    let mut reader = Reader::new(commit.stream);
    while !reader.is_empty() {
        let at = reader.position();
        let record = record::decode(&mut reader)
            .map_err(|error| damaged_record(segment, commit, error.at, error.expected))?;
        let Body::Checkpoint(checkpoint) = record.body else {
            return Err(damaged_record(segment, commit, at, "a checkpoint"));
        };
        checkpoints.insert(record.group, checkpoint);
    }
    Ok(checkpoints)
}

fn replay_commit(ledger: &mut Ledger, segment: &Segment, commit: &Commit<'_>) -> Result<()> {
    let mut reader = Reader::new(commit.stream);
    while !reader.is_empty() {
        let at = reader.position();
        let record = record::decode(&mut reader)
            .map_err(|error| damaged_record(segment, commit, error.at, error.expected))?;
        let place = place(
            segment.id(),
            commit.first_page,
            at,
            reader.position().saturating_sub(at),
        );
        ledger
            .apply(&record, place)
            .map_err(|expected| damaged_record(segment, commit, at, expected))?;
    }
    Ok(())
}

fn damaged_record(
    segment: &Segment,
    commit: &Commit<'_>,
    at: usize,
    expected: &'static str,
) -> Error {
    let page = u32::try_from(at / PAGE_PAYLOAD_BYTES).unwrap_or(u32::MAX);
    segment.corrupt(
        commit.first_page.saturating_add(page),
        expected,
        "something else",
    )
}

/// Fails if entries exist whose segment is gone.
fn check_complete(ledger: &Ledger, chain: &[Arc<Segment>]) -> Result<()> {
    let Some((group, _)) = ledger.groups().find(|(_, span)| span.has_absent()) else {
        return Ok(());
    };
    let missing = chain.first().map(|oldest| {
        let id = oldest.header.previous.segment;
        oldest.path.with_file_name(file_name(id))
    });
    let expected = format!("a segment with entries of group {}", group.0);
    Err(Error::corrupt(
        &missing.unwrap_or_default(),
        0,
        expected,
        "no such file",
    ))
}

/// Makes the last commit durable, the only one that may not be.
///
/// A crash of the process alone leaves bytes that we can read and a power cut can lose. Syncing is
/// not enough: if a sync failed before, the system may take those bytes for written. So they are
/// written again, the same bytes in the same place, which cannot make anything worse.
fn make_durable(last: &Segment, end: &ScanEnd) -> Result<()> {
    let is_checkpoint = end.last_page == FIRST_PAGE;
    let start = page_offset(if is_checkpoint { 0 } else { end.last_page });
    let len = usize::try_from(page_offset(end.end_page) - start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    read_exact_at(&*last.file, &last.path, &mut bytes, start)?;
    last.file.write_at(&bytes, start)?;
    last.file.sync_data()
}

/// The oldest segment that no entry needs, unless it is the last one.
fn free_before_last(
    ledger: &Ledger,
    segments: &BTreeMap<u64, Arc<Segment>>,
) -> Option<Arc<Segment>> {
    let (oldest, segment) = segments.first_key_value()?;
    let (last, _) = segments.last_key_value()?;
    let needed = ledger.oldest_live().unwrap_or(*last).min(*last);
    (*oldest < needed).then(|| Arc::clone(segment))
}

/// Writes the final mark into the segment before the new one and gives its unused space back.
fn close_segment(last: &Segment, end: &Previous, next_segment: u64) -> Result<()> {
    if end.segment != last.id() || end.end_page >= last.pages() {
        return Ok(());
    }
    let mark = Page::Mark {
        commit: end.last_commit,
        next_segment,
    };
    let mut bytes = Vec::new();
    page::encode(&mut bytes, last.header.context.seed(end.end_page), &mark);
    last.file.write_at(&bytes, page_offset(end.end_page))?;
    last.file.set_len(page_offset(end.end_page + 1))
}
