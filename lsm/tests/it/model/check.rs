//! Reads of all kinds, compared with the oracle.

use bytes::Bytes;
use lsm::{Cell, Engine, ScanPartition, ScanRead, SliceRead};

use super::oracle::Id;
use super::world::World;
use crate::engine_support::*;

type Found = Vec<(Id, Vec<Cell>, Vec<OwnedRow>)>;

impl World {
    fn random_read(&mut self) -> SliceRead {
        let partition = self.partition();
        let mut read = SliceRead::all(TABLE, partition, 1 + self.small(60), self.now_ms);
        (read.start, read.end) = (self.bound(), self.bound());
        read.reverse = self.random.percent(50);
        read.limit_bytes = 1 + self.small(20_000);
        read.tombstone_budget = 1 + self.small(300);
        read
    }

    /// One page is the beginning of what is there, and says so if it is not all.
    pub(super) fn check_page(&mut self) {
        let read = self.random_read();
        let page = self.engine().read(&read).unwrap();
        let bounds = (read.start.clone(), read.end.clone());
        let most = page.rows.len() + 1;
        let id = Self::id(&read.partition);
        let (fixed, mut rows) = self
            .oracle
            .slice(&id, bounds, (read.reverse, most), self.now_ms);
        assert_eq!(
            cells(page.static_row.cells()),
            fixed,
            "{} {read:?}",
            self.place()
        );
        if page.resume_after.is_some() {
            rows.truncate(page.rows.len());
        }
        assert_eq!(owned(&page.rows), rows, "{} {read:?}", self.place());
        assert!(page.rows.len() <= read.limit_rows);
    }

    /// All pages of a read are what is there.
    pub(super) fn check_all_pages(&mut self) {
        let read = self.random_read();
        let bounds = (read.start.clone(), read.end.clone());
        let (mut found, mut next) = (Vec::new(), Some(read.clone()));
        while let Some(read) = next.take() {
            let page = self.engine().read(&read).unwrap();
            found.extend(owned(&page.rows));
            next = page.resume_after.map(|after| read.resumed_after(after));
        }
        let id = Self::id(&read.partition);
        let how = (read.reverse, usize::MAX);
        let (_, rows) = self.oracle.slice(&id, bounds, how, self.now_ms);
        assert_eq!(found, rows, "{} {read:?}", self.place());
    }

    /// A scan of some tokens is what is there, in order.
    pub(super) fn check_scan(&mut self) {
        let scan = ScanRead {
            table: TABLE,
            tokens: self.random.below(3)..=1 + self.random.below(3),
            after: None,
            limit_rows: 1 + self.small(200),
            limit_bytes: 1 + self.small(50_000),
            tombstone_budget: 1 + self.small(200),
            now_ms: self.now_ms,
        };
        let mut expected = self.oracle.all(self.now_ms);
        expected.retain(|((token, ..), ..)| scan.tokens.contains(token));
        assert_eq!(scan_all(self.engine(), scan), expected, "{}", self.place());
    }

    fn check_whole(&self, engine: &Engine, what: &str) {
        let scan = ScanRead {
            table: TABLE,
            tokens: 0..=u64::MAX,
            after: None,
            limit_rows: usize::MAX,
            limit_bytes: usize::MAX,
            tombstone_budget: usize::MAX,
            now_ms: self.now_ms,
        };
        let expected = self.oracle.all(self.now_ms);
        let place = self.place();
        assert_eq!(scan_all(engine, scan), expected, "{what} {place}");
    }

    /// A checkpoint and the log after it are this engine.
    pub(super) fn check_copy(&mut self) {
        self.check_whole(self.engine(), "itself");
        let copy = self.copy();
        self.check_whole(&copy, "copy");
        let digest = copy.digest(self.now_ms).unwrap();
        assert_eq!(digest, self.engine().digest(self.now_ms).unwrap());
    }

    /// Every file says the truth.
    pub(super) fn check_files(&self) {
        let report = self.engine().verify();
        report.unwrap_or_else(|error| panic!("{}: {error:?}", self.place()));
    }

    /// At the end everything is read, then flushed and merged to the last, and read again.
    pub(super) fn check_end(&mut self) {
        self.check_whole(self.engine(), "before the end");
        let digest = self.engine().digest(self.now_ms).unwrap();
        flush_as(self.engine(), &self.flush_owner());
        self.check_whole(self.engine(), "flushed");
        compact(self.engine(), self.now_ms);
        self.check_files();
        self.check_whole(self.engine(), "merged");
        assert_eq!(self.engine().digest(self.now_ms).unwrap(), digest);
        self.now_ms += 100_000;
        compact(self.engine(), self.now_ms);
        self.check_files();
        self.check_whole(self.engine(), "sealed");
        for _ in 0..20 {
            self.check_page();
        }
    }

    fn flush_owner(&self) -> Bytes {
        Bytes::from(self.engine().applied_index().to_string())
    }
}

fn scan_all(engine: &Engine, mut scan: ScanRead) -> Found {
    let mut found: Found = Vec::new();
    loop {
        let page = engine.scan(&scan).unwrap();
        for part in &page.partitions {
            add(&mut found, part);
        }
        scan.after = page.resume;
        if scan.after.is_none() {
            return found;
        }
    }
}

/// Adds a partition, or the continuation of the last one.
fn add(found: &mut Found, part: &ScanPartition) {
    let id = World::id(&part.partition);
    let (here, rows_here) = (cells(part.static_row.cells()), owned(&part.rows));
    match found.last_mut().filter(|(last, ..)| *last == id) {
        Some((_, fixed, rows)) => {
            assert_eq!(*fixed, here);
            rows.extend(rows_here);
        }
        None => found.push((id, here, rows_here)),
    }
}
