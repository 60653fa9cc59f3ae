//! Segments that have lost their names, on their way off the disk.
//!
//! A file system takes its time to give up 64 MiB, and one that is mounted with `discard` waits for the disk: eleven
//! segments that a purge freed at once took 200 ms. The thread that commits is the one that everybody waits for, so
//! it only takes the names; the owner frees the bytes piece by piece ([`super::Log::remove_step`]).
//!
//! # Invariants
//!
//! * A segment that is here has no name and is in no map: a crash leaves nothing of it, and no new reader finds it.
//! * Bytes are cut off only when no reader has the segment.
//! * At most [`WAITING_MAX`] segments wait; beyond that, whoever removes one frees the oldest, whole.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::segment::Segment;

/// Bytes that one step gives back to the file system.
const STEP_BYTES: u64 = 4 * 1024 * 1024;
/// Segments that may wait: 1 GiB of the usual size.
const WAITING_MAX: usize = 16;

/// The list.
#[derive(Debug, Default)]
pub(super) struct Removed(Mutex<VecDeque<Cutting>>);

#[derive(Debug)]
struct Cutting {
    segment: Arc<Segment>,
    left: u64,
}

impl Removed {
    /// Takes a segment whose name is gone.
    pub(super) fn push(&self, segment: Arc<Segment>) {
        let left = segment.header.segment_bytes;
        let mut waiting = self.0.lock();
        waiting.push_back(Cutting { segment, left });
        let first = (waiting.len() > WAITING_MAX).then(|| waiting.pop_front());
        drop(waiting);
        // Its last handle goes here, outside of the lock.
        drop(first);
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        self.0.lock().iter().map(|cutting| cutting.left).sum()
    }

    /// Frees a piece of the first segment that nobody reads; how many bytes.
    pub(super) fn step(&self) -> u64 {
        let Some(mut cutting) = self.take_unread() else {
            return 0;
        };
        let left = cutting.left.saturating_sub(STEP_BYTES);
        let freed = cutting.left - left;
        if left == 0 {
            return freed;
        }
        if let Err(error) = cutting.segment.file.set_len(left) {
            // The last handle goes, and all that is left with it.
            let error = error.chain();
            tracing::warn!(error, "cannot shorten a segment that was removed");
            return cutting.left;
        }
        cutting.left = left;
        self.0.lock().push_front(cutting);
        freed
    }

    fn take_unread(&self) -> Option<Cutting> {
        let mut waiting = self.0.lock();
        let is_unread = |cutting: &Cutting| Arc::strong_count(&cutting.segment) == 1;
        let at = waiting.iter().position(is_unread)?;
        waiting.remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::page::PageContext;
    use crate::log::segment::{Header, Previous};
    use crate::vfs::{MemoryVfs, Vfs};
    use std::path::Path;

    #[test]
    fn a_segment_that_is_read_keeps_its_bytes_until_the_reader_is_done() {
        let vfs = MemoryVfs::new();
        let path = Path::new("segment");
        let file = vfs.create(path).unwrap();
        let bytes = 3 * STEP_BYTES;
        file.set_len(bytes).unwrap();
        let seen = vfs.open(path).unwrap();
        let header = Header {
            context: PageContext {
                salt: 1,
                segment: 1,
            },
            segment_bytes: bytes,
            first_commit: 1,
            previous: Previous::default(),
        };
        let segment = Arc::new(Segment::new(header, path.to_owned(), file).unwrap());
        let reader = Arc::clone(&segment);
        vfs.remove(path).unwrap();
        let removed = Removed::default();
        removed.push(segment);
        assert_eq!((removed.step(), seen.len().unwrap()), (0, bytes));
        drop(reader);
        assert_eq!(
            (removed.step(), seen.len().unwrap()),
            (STEP_BYTES, 2 * STEP_BYTES)
        );
        assert_eq!(removed.bytes(), 2 * STEP_BYTES);
    }
}
