//! What reads found dead and later reads skip: long runs of rows of which nothing is visible.
//!
//! Deleting N rows one by one leaves N rows and N deletions in different sources, and a page that
//! begins there has to walk over all of them, until a merge has both and drops them. The first read
//! does that; the runs that it walked over are noted here, and later reads open their cursors
//! behind them, in memtables and in files alike. Stored data does not change: a run is forgotten
//! with the process, and digests and merges know nothing of it.
//!
//! # Invariants
//!
//! * A run is noted only by a read that had all sources of the partition open, and only if no row
//!   was stored in any partition of the same stripe since before that read began.
//! * Storing a row inside of a run cuts the row out of it, under the lock of the memtable that takes
//!   the row; a reader asks for runs under the same lock. So a run never covers a row that its
//!   reader can see.
//! * Nothing but a stored row makes anything visible: deletions and time only take away. A run is
//!   used by reads of the same or a later time, and of the same or a later log index, so that a
//!   read never sees part of what one index did.
//!
//! # Cost
//!
//! Storing rows: one addition for each mutation, and a look at a map in stripes that have runs. At
//! most 64 partitions in each of 64 stripes, 16 runs in each partition, 256 bytes in a key: less
//! than 50 MiB at the very worst, usually kilobytes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::row::range::{Edge, Place, Side};
use crate::row::{Mutation, Operation, TableId};
use crate::sstable::Slice;

const STRIPES: usize = 64;
const PARTITIONS_MAX: usize = 64;
const RUNS_MAX: usize = 16;
/// Longer keys are not worth the memory.
const KEY_BYTES_MAX: usize = 256;
/// Pieces that a slice is cut into at most; the last one may contain runs.
const PIECES_MAX: usize = 8;

/// The runs of all partitions of an engine.
#[derive(Debug)]
pub(super) struct DeadRuns {
    stripes: Box<[Stripe]>,
}

#[derive(Debug, Default)]
struct Stripe {
    /// Mutations that stored rows.
    writes: AtomicU64,
    /// Whether there has ever been a run.
    is_used: AtomicBool,
    partitions: Mutex<Partitions>,
}

#[derive(Debug, Default)]
struct Partitions {
    runs: BTreeMap<(TableId, u64, Bytes), Runs>,
    /// Grows with every use, to find what was not used for longest.
    uses: u64,
}

#[derive(Debug, Default)]
struct Runs {
    /// In order; they do not touch one another.
    list: Vec<Run>,
    used: u64,
}

/// A range of clustering keys in which nothing is visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) from: Edge,
    pub(super) to: Edge,
    /// Dead rows that were found in it, about: where there are too many runs, short ones go.
    pub(super) rows: usize,
    /// What was known: everything up to this log index,
    pub(super) index: u64,
    /// at this time.
    pub(super) now_ms: u64,
}

impl Run {
    /// Whether it holds the edge or begins or ends there.
    fn reaches(&self, edge: &Edge) -> bool {
        self.from <= *edge && *edge <= self.to
    }
}

impl DeadRuns {
    /// None.
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
        }
    }

    fn stripe(&self, token: u64) -> &Stripe {
        // Tokens are hashes.
        let at = usize::try_from(token % STRIPES as u64).unwrap_or_default();
        &self.stripes[at]
    }

    /// A mark that [`Self::note`] compares: ask before the state of the engine is looked at.
    pub(super) fn mark(&self, token: u64) -> u64 {
        self.stripe(token).writes.load(Ordering::SeqCst)
    }

    /// A mutation is being applied; the caller holds the memtable locked.
    pub(super) fn stored(&self, mutation: &Mutation) {
        let keys = mutation.operations.iter().filter_map(|it| match it {
            Operation::Upsert { clustering, .. } => Some(clustering),
            _ => None,
        });
        let mut keys = keys.peekable();
        if keys.peek().is_none() {
            return;
        }
        let id = &mutation.partition;
        let stripe = self.stripe(id.token);
        // Before the look at `is_used`: whoever notes a run does it the other way round, so that one
        // of the two sees the other.
        stripe.writes.fetch_add(1, Ordering::SeqCst);
        if !stripe.is_used.load(Ordering::SeqCst) {
            return;
        }
        let mut partitions = stripe.partitions.lock();
        let place = (mutation.table, id.token, id.key.clone());
        if let Some(runs) = partitions.runs.get_mut(&place) {
            keys.for_each(|key| runs.cut(key));
        }
    }

    /// Notes runs that a read of `slice` walked over, unless rows were stored since `mark`: then returns
    /// false.
    pub(super) fn note(&self, slice: &Slice, found: Vec<Run>, mark: u64) -> bool {
        let stripe = self.stripe(slice.token);
        let mut partitions = stripe.partitions.lock();
        stripe.is_used.store(true, Ordering::SeqCst);
        if stripe.writes.load(Ordering::SeqCst) != mark {
            return false;
        }
        if slice.key.len() > KEY_BYTES_MAX {
            return true;
        }
        let Partitions { runs, uses } = &mut *partitions;
        *uses += 1;
        let place = (slice.table, slice.token, slice.key.clone());
        if runs.len() >= PARTITIONS_MAX && !runs.contains_key(&place) {
            let oldest = runs.iter().min_by_key(|(_, runs)| runs.used);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                runs.remove(&oldest);
            }
        }
        let runs = runs.entry(place).or_default();
        runs.used = *uses;
        for run in found {
            runs.add(run);
        }
        true
    }

    /// What lies between the runs at both ends of a slice and the runs next to them; or the end of the
    /// partition, if there is none and the run ends with the slice.
    pub(super) fn gaps_beside(&self, slice: &Slice) -> Vec<(Edge, Edge)> {
        let place = (slice.table, slice.token, slice.key.clone());
        let partitions = self.stripe(slice.token).partitions.lock();
        let list = partitions
            .runs
            .get(&place)
            .map_or(&[][..], |it| it.list.as_slice());
        let at = |edge: &Edge| list.iter().position(|run| run.reaches(edge));
        let below = at(&slice.from).and_then(|at| match at.checked_sub(1) {
            Some(before) => Some((list[before].to.clone(), list[at].from.clone())),
            None if list[at].from == slice.from => {
                Some((Place::START.to_edge(), slice.from.clone()))
            }
            None => None,
        });
        let above = at(&slice.to).and_then(|at| match list.get(at + 1) {
            Some(after) => Some((list[at].to.clone(), after.from.clone())),
            None if list[at].to == slice.to => Some((slice.to.clone(), Edge::End)),
            None => None,
        });
        let gaps = below.into_iter().chain(above);
        gaps.filter(|(from, to)| from < to).collect()
    }

    /// What is left of a slice without the runs that a read at this index and time may skip, in
    /// reading order. `None`: all of it.
    pub(super) fn pieces(
        &self,
        slice: &Slice,
        index: u64,
        now_ms: u64,
    ) -> Option<Vec<(Edge, Edge)>> {
        let stripe = self.stripe(slice.token);
        if !stripe.is_used.load(Ordering::SeqCst) {
            return None;
        }
        let mut partitions = stripe.partitions.lock();
        let Partitions { runs, uses } = &mut *partitions;
        let place = (slice.table, slice.token, slice.key.clone());
        let runs = runs.get_mut(&place)?;
        *uses += 1;
        runs.used = *uses;
        runs.pieces(slice, index, now_ms)
    }

    /// Forgets everything: the data is replaced.
    pub(super) fn forget(&self) {
        for stripe in &self.stripes {
            stripe.writes.fetch_add(1, Ordering::SeqCst);
            stripe.partitions.lock().runs.clear();
        }
    }
}

impl Runs {
    /// Takes a row out.
    fn cut(&mut self, key: &[u8]) {
        let place = Place::row(key);
        let at = self.list.partition_point(|run| run.to.place() <= place);
        let Some(run) = self.list.get_mut(at) else {
            return;
        };
        if run.from.place() > place {
            return;
        }
        // The shorter half cannot be told from the longer one.
        let half = run.rows / 2;
        let behind = Run {
            from: Place::At(key, Side::After).to_edge(),
            rows: half,
            ..run.clone()
        };
        run.to = Place::At(key, Side::Before).to_edge();
        run.rows -= half;
        self.list.insert(at + 1, behind);
        self.list.retain(|run| run.from < run.to);
        self.shrink();
    }

    /// Adds a run, joined with those that it touches.
    fn add(&mut self, mut run: Run) {
        let is_small = run.from.key_len() <= KEY_BYTES_MAX && run.to.key_len() <= KEY_BYTES_MAX;
        if !is_small || run.from >= run.to {
            return;
        }
        self.list.retain(|other| {
            let touches = other.from <= run.to && run.from <= other.to;
            if touches {
                run.from = run.from.clone().min(other.from.clone());
                run.to = run.to.clone().max(other.to.clone());
                run.rows = run.rows.saturating_add(other.rows);
                run.index = run.index.max(other.index);
                run.now_ms = run.now_ms.max(other.now_ms);
            }
            !touches
        });
        let at = self.list.partition_point(|other| other.from < run.from);
        self.list.insert(at, run);
        self.shrink();
    }

    /// Forgets the shortest run if there are too many.
    fn shrink(&mut self) {
        let shortest = self.list.iter().enumerate().min_by_key(|(_, run)| run.rows);
        if let Some((at, _)) = shortest.filter(|_| self.list.len() > RUNS_MAX) {
            self.list.remove(at);
        }
    }

    fn pieces(&self, slice: &Slice, index: u64, now_ms: u64) -> Option<Vec<(Edge, Edge)>> {
        let usable = self.list.iter().filter(|run| {
            let is_known = run.index <= index && run.now_ms <= now_ms;
            is_known && run.to > slice.from && run.from < slice.to
        });
        let mut pieces = Vec::new();
        let (mut from, mut is_cut) = (&slice.from, false);
        for run in usable {
            is_cut = true;
            if run.from > *from {
                pieces.push((from.clone(), run.from.clone()));
            }
            from = &run.to;
        }
        if !is_cut {
            return None;
        }
        if *from < slice.to {
            pieces.push((from.clone(), slice.to.clone()));
        }
        if slice.reverse {
            pieces.reverse();
        }
        if pieces.len() > PIECES_MAX {
            pieces.truncate(PIECES_MAX);
            if let Some((from, to)) = pieces.last_mut() {
                if slice.reverse {
                    from.clone_from(&slice.from);
                } else {
                    to.clone_from(&slice.to);
                }
            }
        }
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{PartitionKey, Window};

    fn slice() -> Slice {
        Slice {
            table: TableId(1),
            token: 7,
            key: Bytes::from_static(b"channel"),
            from: Place::START.to_edge(),
            to: Edge::End,
            reverse: false,
        }
    }

    fn all_at(index: u64, now_ms: u64) -> Vec<Run> {
        let Slice { from, to, .. } = slice();
        vec![Run {
            from,
            to,
            rows: 1,
            index,
            now_ms,
        }]
    }

    fn store(runs: &DeadRuns, key: &'static [u8]) {
        runs.stored(&Mutation {
            table: TableId(1),
            partition: PartitionKey {
                token: 7,
                key: slice().key,
                window: Window::TIMELESS,
            },
            operations: vec![Operation::Upsert {
                clustering: Bytes::from_static(key),
                liveness: None,
                cells: Vec::new(),
            }],
        });
    }

    #[test]
    fn what_a_read_found_is_not_noted_if_a_row_was_stored_since_it_began() {
        let runs = DeadRuns::new();
        let mark = runs.mark(7);
        store(&runs, b"row");
        runs.note(&slice(), all_at(1, 0), mark);
        assert_eq!(runs.pieces(&slice(), 9, 9), None);
        runs.note(&slice(), all_at(2, 0), runs.mark(7));
        assert_eq!(runs.pieces(&slice(), 9, 9), Some(Vec::new()));
    }

    #[test]
    fn runs_are_for_reads_of_the_same_or_a_later_index_and_time() {
        let runs = DeadRuns::new();
        runs.note(&slice(), all_at(5, 100), runs.mark(7));
        assert_eq!(runs.pieces(&slice(), 4, 100), None);
        assert_eq!(runs.pieces(&slice(), 5, 99), None);
        assert_eq!(runs.pieces(&slice(), 5, 100), Some(Vec::new()));
        runs.forget();
        assert_eq!(runs.pieces(&slice(), 5, 100), None);
    }

    #[test]
    fn of_too_many_runs_the_shortest_is_forgotten() {
        let edge = |at: u8| Place::At(&[at], Side::Row).to_edge();
        let run = |at: u8, rows| Run {
            from: edge(2 * at),
            to: edge(2 * at + 1),
            rows,
            index: 1,
            now_ms: 0,
        };
        let mut runs = Runs::default();
        (0..16).for_each(|at| runs.add(run(at, usize::from(10 + at))));
        runs.add(run(16, 5));
        assert_eq!(runs.list.len(), RUNS_MAX);
        assert!(!runs.list.contains(&run(16, 5)));
        runs.add(run(17, 11));
        assert!(runs.list.contains(&run(17, 11)) && !runs.list.contains(&run(0, 10)));
    }

    #[test]
    fn a_stored_row_is_cut_out_of_its_run_and_nothing_grows_without_bound() {
        let runs = DeadRuns::new();
        runs.note(&slice(), all_at(5, 0), runs.mark(7));
        store(&runs, b"row");
        let row = |side| Place::At(b"row", side).to_edge();
        let left = vec![(row(Side::Before), row(Side::After))];
        assert_eq!(runs.pieces(&slice(), 5, 0), Some(left));
        for number in 0..1000_u32 {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            let other = Slice { key, ..slice() };
            runs.note(&other, all_at(5, 0), runs.mark(7));
        }
        let kept = runs.stripe(7).partitions.lock().runs.len();
        assert_eq!(kept, PARTITIONS_MAX);
    }
}
