//! Digests of what is visible: equal on every replica at one log index and time, whatever each of
//! them has flushed, merged or purged.
//!
//! XXH3-64 per table and window over partitions in order of (token, key): static cells, then rows
//! in clustering order, each with its insertion marker and cells, every datum with timestamp and
//! expiry. Deletions are not in it: purging them is up to each replica.
//!
//! # Cost
//!
//! Reads everything. Memory: one page and one hasher for each window.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3Default;

use super::Engine;
use super::request::{ScanPartition, ScanRead};
use crate::error::Result;
use crate::iter::PageMemory;
use crate::row::{Cells, Row, TableId, Window};

const PAGE_ROWS: usize = 4096;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
const PAGE_TOMBSTONES: usize = 1 << 20;

/// What one window of a table shows at some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowDigest {
    /// XXH3-64 of everything visible.
    pub digest: u64,
    /// Partitions with something visible.
    pub partitions: u64,
    /// Visible rows.
    pub rows: u64,
    /// Visible cells, static ones included.
    pub cells: u64,
    /// Bytes of keys, paths and values.
    pub bytes: u64,
}

struct Hasher {
    state: Xxh3Default,
    /// The partition that was hashed last, which may go on on the next page.
    last: Option<(u64, Bytes)>,
    counted: WindowDigest,
}

impl Engine {
    /// What a read at `now_ms` sees, as one digest for each table and window that shows anything.
    ///
    /// Two engines that applied the same log up to the same index give the same digests for the
    /// same `now_ms` from the time of the last compaction on. Nothing must be applied meanwhile.
    pub fn digest(&self, now_ms: u64) -> Result<BTreeMap<(TableId, Window), WindowDigest>> {
        let mut hashers: BTreeMap<(TableId, Window), Hasher> = BTreeMap::new();
        for table in self.stored_tables() {
            let mut scan = ScanRead {
                table,
                tokens: 0..=u64::MAX,
                after: None,
                limit_rows: PAGE_ROWS,
                limit_bytes: PAGE_BYTES,
                tombstone_budget: PAGE_TOMBSTONES,
                now_ms,
            };
            loop {
                let page = self.scan_within(&scan, PageMemory::new(None))?;
                for part in &page.partitions {
                    let place = (table, part.partition.window);
                    hashers.entry(place).or_default().part(part);
                }
                scan.after = page.resume;
                if scan.after.is_none() {
                    break;
                }
            }
        }
        let finished = hashers.into_iter().map(|(place, hasher)| {
            let digest = hasher.state.digest();
            (
                place,
                WindowDigest {
                    digest,
                    ..hasher.counted
                },
            )
        });
        Ok(finished.collect())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self {
            state: Xxh3Default::new(),
            last: None,
            counted: WindowDigest::default(),
        }
    }
}

impl Hasher {
    fn part(&mut self, part: &ScanPartition) {
        let id = (part.partition.token, part.partition.key.clone());
        if self.last.as_ref() != Some(&id) {
            self.counted.partitions += 1;
            self.state.update(b"P");
            self.number(id.0);
            self.bytes(&id.1);
            self.cells(part.static_row.cells());
            self.last = Some(id);
        }
        part.rows.iter().for_each(|row| self.row(&row));
    }

    fn row(&mut self, row: &Row<'_>) {
        self.counted.rows += 1;
        self.state.update(b"R");
        self.bytes(row.clustering);
        match row.liveness() {
            None => self.state.update(&[0]),
            Some(marker) => {
                self.state.update(&[1]);
                self.number(marker.timestamp.0);
                self.number(marker.expires_at_ms.unwrap_or(u64::MAX));
            }
        }
        self.cells(row.cells());
    }

    fn cells(&mut self, cells: Cells<'_>) {
        let count = cells.clone().count() as u64;
        self.counted.cells += count;
        self.number(count);
        for cell in cells {
            self.number(cell.column.0.into());
            self.bytes(cell.path);
            self.number(cell.timestamp.0);
            match cell.expires_at_ms {
                None => self.state.update(&[0]),
                Some(expires_at_ms) => {
                    self.state.update(&[1]);
                    self.number(expires_at_ms);
                }
            }
            self.bytes(cell.value);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.counted.bytes += bytes.len() as u64;
        self.number(bytes.len() as u64);
        self.state.update(bytes);
    }

    fn number(&mut self, number: u64) {
        self.state.update(&number.to_le_bytes());
    }
}
