//! Reads a segment's commits in order and decides where it ends.
//!
//! # Torn tail or damage
//!
//! A commit is written only after the one before it was synced. So at most the last commit of the
//! last segment can be half written, and any good page of a later commit, or a mark, proves that
//! an unreadable page was once durable. Hence the rule: an unreadable page is the torn tail if
//! nothing after it in the segment belongs to a later commit; otherwise it is damage. Where a
//! segment has a successor, the successor's header says where it ends, and every page before that
//! must be good.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::page::{PAGE_PAYLOAD_BYTES, Page};
use super::segment::{FIRST_PAGE, PageReader, Previous, Segment, file_name};
use crate::error::{Error, Result};

/// Pages read at once while scanning: 1 MiB.
const CHUNK_PAGES: u32 = 256;

/// A whole, verified commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commit<'a> {
    pub(super) number: u64,
    pub(super) first_page: u32,
    pub(super) stream: &'a [u8],
}

/// Where a segment's commits end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// First page of the last whole commit.
    pub(super) last_page: u32,
    /// Page after the last whole commit.
    pub(super) end_page: u32,
    /// Number of the commit that would be next.
    pub(super) next_commit: u64,
    /// Whether a mark follows the last commit.
    pub(super) is_marked: bool,
}

/// Visits all commits of a segment that `next` follows; anything unreadable is damage.
pub(super) fn scan_closed(
    segment: &Segment,
    next: &Previous,
    visit: &mut dyn FnMut(Commit<'_>) -> Result<()>,
) -> Result<()> {
    let mut scanner = Scanner::new(segment);
    while scanner.page < next.end_page {
        if let Some(broken) = scanner.step(next.end_page, visit)? {
            return Err(scanner.damage(broken));
        }
    }
    if scanner.commit == next.last_commit.saturating_add(1) {
        return Ok(());
    }
    Err(segment.corrupt(
        scanner.page,
        format!("commit {} at the end", next.last_commit),
        format!("{}", scanner.commit.saturating_sub(1)),
    ))
}

/// Visits all whole commits of the last segment and finds its end.
pub(super) fn scan_last(
    segment: &Segment,
    visit: &mut dyn FnMut(Commit<'_>) -> Result<()>,
) -> Result<ScanEnd> {
    let mut scanner = Scanner::new(segment);
    loop {
        if let Some(broken) = scanner.step(segment.pages(), visit)? {
            return scanner.tail(broken);
        }
    }
}

struct Scanner<'a> {
    segment: &'a Segment,
    reader: PageReader<'a>,
    stream: Vec<u8>,
    last_page: u32,
    page: u32,
    commit: u64,
}

impl<'a> Scanner<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self {
            segment,
            reader: PageReader::new(segment, CHUNK_PAGES),
            stream: Vec::new(),
            last_page: FIRST_PAGE,
            page: FIRST_PAGE,
            commit: segment.header.first_commit,
        }
    }

    /// Reads and visits the next commit, or returns the page that breaks it.
    fn step(
        &mut self,
        end_page: u32,
        visit: &mut dyn FnMut(Commit<'_>) -> Result<()>,
    ) -> Result<Option<u32>> {
        self.stream.clear();
        let mut at = self.page;
        let mut left = 1;
        let mut expected_part = 0;
        while left > 0 {
            let found = if at < end_page {
                self.reader.page(at)?
            } else {
                None
            };
            let Some(Page::Commit {
                commit,
                part,
                parts,
                payload,
            }) = found
            else {
                return Ok(Some(at));
            };
            let is_last = part.checked_add(1) == Some(parts);
            let is_full = payload.len() == PAGE_PAYLOAD_BYTES;
            let is_next = commit == self.commit && part == expected_part;
            if !is_next || !(is_last || is_full) {
                return Ok(Some(at));
            }
            self.stream.extend_from_slice(payload);
            left = parts.saturating_sub(part).saturating_sub(1);
            expected_part = part.saturating_add(1);
            at = at.saturating_add(1);
        }
        visit(Commit {
            number: self.commit,
            first_page: self.page,
            stream: &self.stream,
        })?;
        self.last_page = self.page;
        self.page = at;
        self.commit = self.commit.saturating_add(1);
        Ok(None)
    }

    /// Decides whether everything from the page `broken` on is the torn tail.
    fn tail(mut self, broken: u32) -> Result<ScanEnd> {
        let mut is_marked = false;
        // The header may speak of many more pages than the file has; there is nothing in them.
        for number in broken..self.segment.readable_pages() {
            match self.reader.page(number)? {
                None => {}
                Some(Page::Commit { commit, .. }) if commit == self.commit => {}
                Some(Page::Mark {
                    commit,
                    next_segment,
                }) if number == self.page && commit.checked_add(1) == Some(self.commit) => {
                    is_marked = true;
                    self.check_next(next_segment)?;
                }
                Some(_) => return Err(self.damage(broken)),
            }
        }
        let Self {
            last_page,
            page: end_page,
            commit: next_commit,
            ..
        } = self;
        Ok(ScanEnd {
            last_page,
            end_page,
            next_commit,
            is_marked,
        })
    }

    /// The mark of a closed segment in what seems to be the last one.
    fn check_next(&self, next_segment: u64) -> Result<()> {
        if next_segment == 0 {
            return Ok(());
        }
        let path = self.segment.path.with_file_name(file_name(next_segment));
        let expected = format!("segment {next_segment}, which was in use");
        Err(Error::corrupt(
            &path,
            0,
            expected,
            "no file, or none with a readable start",
        ))
    }

    fn damage(&self, page: u32) -> Error {
        let expected = format!("a page of commit {}, which was synced", self.commit);
        self.segment.corrupt(
            page,
            expected,
            "a page that fails its checksum or is another one",
        )
    }
}
