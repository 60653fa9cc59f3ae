//! Writes group commits: the only code that changes a segment.
//!
//! # Invariants
//!
//! * A page is written once per life of its segment, except that zeros and a mark give way to the
//!   commit that follows. No write touches a page that holds a durable record.
//! * A commit is written after the one before it was synced.
//! * A segment's name is durable before its first byte is written, its header and checkpoint before
//!   the first commit after them, and no number is used twice.
//!
//! # Cost
//!
//! One write and one sync per commit; two more syncs and a directory sync per segment.
//!
//! Syncing a write into space that was reserved and never written makes the file system write down
//! that the space holds data now, which costs about half a sync more. Hence a small commit at the
//! edge of such space writes zeros behind itself, [`FILL_PAGES`] at once, which the next commits
//! overwrite. A reused segment has been written all over and needs none.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::ledger::Place;
use super::page::{self, PAGE_PAYLOAD_BYTES, Page, PageContext};
use super::queue::Batch;
use super::record::{self, Body, Checkpoint, Record};
use super::removed::Removed;
use super::segment::{FIRST_PAGE, Header, Previous, Segment, file_name, page_offset};
use super::shared::Shared;
use super::types::{GroupId, LogOptions};
use crate::encoding::checksum;
use crate::error::{Error, Result};
use crate::limits::PAGE_BYTES;
use crate::vfs::{Lock, Vfs};

/// Pages that a small commit at the edge of written space fills with zeros behind itself. A commit of
/// as many pages does not: its share of that cost is small, and zeros are bytes too.
const FILL_PAGES: u32 = 64;

/// Where writing goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    pub(super) next_page: u32,
    /// Pages from here on were never written since the file was made.
    pub(super) fresh_page: u32,
    pub(super) next_commit: u64,
    pub(super) is_marked: bool,
}

/// A new segment before it exists.
#[derive(Debug)]
pub(super) struct NewSegment<'a> {
    pub(super) id: u64,
    pub(super) first_commit: u64,
    pub(super) previous: Previous,
    pub(super) checkpoints: &'a BTreeMap<GroupId, Checkpoint>,
    /// A segment that nobody needs, to be reused.
    pub(super) recycled: Option<Arc<Segment>>,
}

pub(super) struct Writer {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    options: LogOptions,
    pub(super) tail: Tail,
    pub(super) lock: Option<Box<dyn Lock>>,
    stream: Vec<u8>,
    pages: Vec<u8>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("dir", &self.dir)
            .field("tail", &self.tail)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        options: LogOptions,
        tail: Tail,
        lock: Box<dyn Lock>,
    ) -> Self {
        let (dir, lock) = (dir.to_path_buf(), Some(lock));
        Self {
            vfs,
            dir,
            options,
            tail,
            lock,
            stream: Vec::new(),
            pages: Vec::new(),
        }
    }

    /// Bytes of records that one commit may hold beside its last entry.
    pub(super) fn commit_bytes_max(&self) -> usize {
        let quarter = usize::try_from(self.options.segment_bytes / 4).unwrap_or(usize::MAX);
        self.options.commit_bytes.min(quarter)
    }

    /// Writes and syncs a batch; returns where each record is.
    pub(super) fn commit(&mut self, shared: &Mutex<Shared>, batch: &Batch) -> Result<Vec<Place>> {
        self.stream.clear();
        let mut places = Vec::new();
        for record in batch.records() {
            let start = self.stream.len();
            let len = record::encode(&mut self.stream, &record);
            places.push((start, len));
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let parts = count_parts(self.stream.len());
        if !self.has_room(parts) {
            self.roll(shared)?;
            if !self.has_room(parts) {
                return Err(Error::invalid(format!(
                    "a commit of {parts} pages fits no segment"
                )));
            }
        }
        let Tail {
            segment,
            next_page,
            next_commit,
            ..
        } = &self.tail;
        let (first_page, context) = (*next_page, segment.header.context);
        self.pages.clear();
        encode_commit(
            &mut self.pages,
            context,
            (first_page, *next_commit),
            &self.stream,
        );
        let end = first_page + parts;
        let fresh_page = self.tail.fresh_page;
        if end > fresh_page && parts < FILL_PAGES {
            let fill_end = end.saturating_add(FILL_PAGES).min(segment.pages());
            let len = page_offset(fill_end - first_page);
            self.pages
                .resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
        }
        segment
            .file
            .write_at(&self.pages, page_offset(first_page))?;
        segment.file.sync_data()?;
        let id = segment.id();
        let written = self.pages.len() as u64;
        self.tail.fresh_page = fresh_page.max(first_page + whole_pages(self.pages.len()));
        // A rare large entry does not keep its buffers for good.
        let capacity = self.options.commit_bytes.saturating_mul(2);
        self.stream.clear();
        self.stream.shrink_to(capacity);
        self.pages.clear();
        self.pages.shrink_to(capacity);
        self.tail.next_page += parts;
        self.tail.next_commit += 1;
        self.tail.is_marked = false;
        let mut shared = shared.lock();
        shared.metrics.commits += 1;
        shared.metrics.syncs += 1;
        shared.metrics.written_bytes += written;
        Ok(places
            .into_iter()
            .map(|(start, len)| place(id, first_page, start, len))
            .collect())
    }

    /// Whether a commit of so many pages and a mark after it fit.
    fn has_room(&self, parts: u32) -> bool {
        let end = self.tail.next_page.saturating_add(parts).saturating_add(1);
        end <= self.tail.segment.pages()
    }

    /// Goes on in a new segment, which begins with a checkpoint of all groups.
    fn roll(&mut self, shared: &Mutex<Shared>) -> Result<()> {
        let (checkpoints, recycled) = {
            let mut shared = shared.lock();
            (shared.ledger.checkpoints(), take_unread(&mut shared))
        };
        let last = &self.tail.segment;
        let new = NewSegment {
            id: last.id() + 1,
            first_commit: self.tail.next_commit,
            previous: Previous {
                segment: last.id(),
                end_page: self.tail.next_page,
                last_commit: self.tail.next_commit - 1,
                salt: last.header.context.salt,
            },
            checkpoints: &checkpoints,
            recycled,
        };
        let is_recycled = new.recycled.is_some();
        let tail = self.create(&new)?;
        self.write_mark(tail.segment.id())?;
        let mut shared = shared.lock();
        shared
            .segments
            .insert(tail.segment.id(), Arc::clone(&tail.segment));
        shared.metrics.rolls += 1;
        shared.metrics.recycled += u64::from(is_recycled);
        shared.metrics.syncs += 1;
        shared.metrics.written_bytes += page_offset(tail.next_page);
        drop(shared);
        self.tail = tail;
        Ok(())
    }

    fn create(&self, new: &NewSegment<'_>) -> Result<Tail> {
        create_segment(&*self.vfs, &self.dir, &self.options, new)
    }

    /// Writes down that everything so far is durable, where the next commit will be. Not synced:
    /// what it proves is true whether it survives or not.
    pub(super) fn write_mark(&mut self, next_segment: u64) -> Result<()> {
        let Tail {
            segment,
            next_page,
            next_commit,
            ..
        } = &self.tail;
        let mark = Page::Mark {
            commit: next_commit - 1,
            next_segment,
        };
        self.pages.clear();
        page::encode(
            &mut self.pages,
            segment.header.context.seed(*next_page),
            &mark,
        );
        segment
            .file
            .write_at(&self.pages, page_offset(*next_page))?;
        self.tail.is_marked = true;
        Ok(())
    }

    /// Takes their names from freed segments, oldest first, except the newest ones, which are kept for reuse. Their
    /// bytes go later.
    pub(super) fn remove_free(&self, shared: &Mutex<Shared>, removed: &Removed) -> Result<()> {
        let mut free = shared.lock().free_segments();
        free.truncate(free.len().saturating_sub(self.options.spare_segments));
        for segment in free {
            self.vfs.remove(&segment.path)?;
            shared.lock().segments.remove(&segment.id());
            removed.push(segment);
        }
        Ok(())
    }
}

/// The oldest free segment, if no reader holds it.
fn take_unread(shared: &mut Shared) -> Option<Arc<Segment>> {
    let oldest = shared.free_segments().into_iter().next()?;
    // Readers take their handle under the lock that we hold. Two are the map's and ours.
    (Arc::strong_count(&oldest) == 2).then(|| {
        shared.segments.remove(&oldest.id());
        oldest
    })
}

/// Makes a segment with its header and checkpoint, all of it durable.
pub(super) fn create_segment(
    vfs: &dyn Vfs,
    dir: &Path,
    options: &LogOptions,
    new: &NewSegment<'_>,
) -> Result<Tail> {
    let path = dir.join(file_name(new.id));
    let file = match &new.recycled {
        Some(old) => {
            vfs.rename(&old.path, &path)?;
            vfs.open(&path)?
        }
        None => vfs.create(&path)?,
    };
    let old_bytes = file.len()?;
    if old_bytes > options.segment_bytes {
        file.set_len(options.segment_bytes)?;
    }
    file.allocate(options.segment_bytes)?;
    vfs.sync_dir(dir)?;
    let mut salt = Vec::new();
    for part in [new.id, new.previous.salt] {
        salt.extend(part.to_le_bytes());
    }
    let context = PageContext {
        salt: checksum::xxh3(options.salt, &salt),
        segment: new.id,
    };
    let header = Header {
        context,
        segment_bytes: options.segment_bytes,
        first_commit: new.first_commit,
        previous: new.previous,
    };
    let mut stream = Vec::new();
    for (group, checkpoint) in new.checkpoints {
        let body = Body::Checkpoint(*checkpoint);
        record::encode(
            &mut stream,
            &Record {
                group: *group,
                body,
            },
        );
    }
    let mut pages = Vec::new();
    header.encode(&mut pages);
    encode_commit(&mut pages, context, (FIRST_PAGE, new.first_commit), &stream);
    file.write_at(&pages, 0)?;
    file.sync_data()?;
    let next_page = FIRST_PAGE + count_parts(stream.len());
    Ok(Tail {
        segment: Arc::new(Segment::new(header, path, file)?),
        next_page,
        // A file that is reused at its full length was left because it was full.
        fresh_page: whole_pages(usize::try_from(old_bytes).unwrap_or(0)).max(next_page),
        next_commit: new.first_commit + 1,
        is_marked: false,
    })
}

fn whole_pages(bytes: usize) -> u32 {
    u32::try_from(bytes / PAGE_BYTES).unwrap_or(u32::MAX)
}

/// Pages that a record stream takes; an empty one takes one.
fn count_parts(stream_bytes: usize) -> u32 {
    u32::try_from(stream_bytes.div_ceil(PAGE_PAYLOAD_BYTES).max(1)).unwrap_or(u32::MAX)
}

/// Appends the pages of one commit to `out`.
fn encode_commit(
    out: &mut Vec<u8>,
    context: PageContext,
    (first_page, commit): (u32, u64),
    stream: &[u8],
) {
    let parts = count_parts(stream.len());
    let mut payloads = stream.chunks(PAGE_PAYLOAD_BYTES);
    for part in 0..parts {
        let payload = payloads.next().unwrap_or_default();
        let page = Page::Commit {
            commit,
            part,
            parts,
            payload,
        };
        page::encode(out, context.seed(first_page + part), &page);
    }
}

/// The place of a record in a commit's stream.
pub(super) fn place(segment: u64, first_page: u32, start: usize, len: usize) -> Place {
    Place {
        segment,
        page: first_page
            .saturating_add(u32::try_from(start / PAGE_PAYLOAD_BYTES).unwrap_or(u32::MAX)),
        offset: u16::try_from(start % PAGE_PAYLOAD_BYTES).unwrap_or(u16::MAX),
        len: u32::try_from(len).unwrap_or(u32::MAX),
    }
}
