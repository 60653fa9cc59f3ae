//! Reads a whole file and checks that it says what it claims: checksums, order, and every number
//! of the index, the directory and the properties, counted again from the rows.
//!
//! Readers skip blocks and purge tombstones on the word of these numbers, so a wrong one is damage
//! like a wrong byte.

use std::sync::Arc;

use super::block::{BlockEntry, DataBlock, PartitionEntry};
use super::directory::DirectoryEntry;
use super::format::INDEX_ENTRIES;
use super::index::BlockProperties;
use super::open::SsTable;
use super::properties::Properties;
use super::reader::TableReader;
use crate::encoding::DecodeError;
use crate::error::{Error, Result};
use crate::row::range::{Edge, Place};
use crate::row::{CellValue, Fragment, Timestamp, codec};

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Data blocks.
    pub(crate) blocks: u64,
    /// Partitions.
    pub(crate) partitions: u64,
    /// Rows.
    pub(crate) rows: u64,
}

/// A number that the file claims, and the same counted again.
type Claim = (&'static str, u64, u64);

type Decoded<T> = std::result::Result<T, DecodeError>;

/// The partition that the walk is in.
#[derive(Debug)]
struct OpenPartition {
    entry: DirectoryEntry,
    /// Last place seen in it.
    place: Option<Edge>,
    /// Range deletion in force behind that place.
    in_force: Timestamp,
}

/// Timestamps and expiry of a block or a file.
#[derive(Clone, Copy, Debug)]
struct Tally {
    min_timestamp: Timestamp,
    max_timestamp: Timestamp,
    dead_after_ms: u64,
    first_expiry_ms: u64,
    tombstones: u64,
    range_tombstones: u64,
}

/// What one block holds.
#[derive(Debug, Default)]
struct BlockCount {
    tally: Tally,
    rows: u64,
    dead_rows: u64,
    partitions: u64,
    /// Range deletion in force at its start.
    open: Timestamp,
}

/// One pass over a file.
#[derive(Debug)]
struct Walk {
    counted: Counted,
    partition: Option<OpenPartition>,
    directory: Vec<DirectoryEntry>,
    dense_blocks: u64,
    dead_rows: u64,
    raw_bytes: u64,
    /// From when on nothing of each block is visible.
    dead_after_ms: Vec<u64>,
    file: Tally,
}

impl SsTable {
    /// Checks every block, the order of all entries, the index, the directory and the statistics.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<Counted> {
        let mut reader = TableReader::new(Arc::clone(self), None);
        self.verify_index_blocks(&mut reader)?;
        let mut walk = Walk {
            counted: Counted::default(),
            partition: None,
            directory: Vec::new(),
            dense_blocks: 0,
            dead_rows: 0,
            raw_bytes: 0,
            dead_after_ms: Vec::new(),
            file: Tally::default(),
        };
        let mut data_end = u64::from(self.footer.dictionary_len);
        for number in 0..reader.block_count() {
            let claimed = reader.properties(number)?;
            if claimed.extent.offset != data_end {
                return Err(self.gap(data_end));
            }
            data_end = claimed.extent.end();
            let block = reader.data(number)?;
            walk.block(&mut reader, number, &block, &claimed)?;
        }
        walk.leave_partition(reader.block_count().saturating_sub(1));
        if data_end != self.footer.index_offset {
            return Err(self.gap(data_end));
        }
        if self.footer.version >= 3 {
            for entry in &mut walk.directory {
                entry.head = reader.properties(entry.first_block)?.head();
            }
        }
        if walk.directory != self.directory {
            let offset = self.footer.directory.offset;
            let expected = "an entry for each partition of several blocks, as the blocks tell";
            return Err(Error::corrupt(
                self.path(),
                offset,
                expected,
                "another directory",
            ));
        }
        let claims = walk.claims(self.properties());
        self.check(self.footer.properties.offset, &claims)?;
        if self.footer.version >= 2 {
            let claims = walk.later_claims(self.properties());
            self.check(self.footer.properties.offset, &claims)?;
        }
        Ok(walk.counted)
    }

    fn verify_index_blocks(&self, reader: &mut TableReader) -> Result<()> {
        let mut index_end = self.footer.index_offset;
        let firsts = (0..).step_by(INDEX_ENTRIES);
        for (first, top) in firsts.zip(&self.top) {
            if top.extent.offset != index_end {
                return Err(self.gap(index_end));
            }
            index_end = top.extent.end();
            let (index, _) = reader.index(first)?;
            let group = BlockProperties::group(top.extent, &index.entries);
            if self.footer.version >= 2 && group.as_ref() != Some(top) {
                let offset = self.footer.top.offset;
                let expected = "what the index block says in the top index";
                return Err(Error::corrupt(
                    self.path(),
                    offset,
                    expected,
                    "something else",
                ));
            }
        }
        if index_end == self.footer.directory.offset {
            Ok(())
        } else {
            Err(self.gap(index_end))
        }
    }

    fn check(&self, offset: u64, claims: &[Claim]) -> Result<()> {
        match claims.iter().find(|(_, claimed, found)| claimed != found) {
            None => Ok(()),
            Some((what, claimed, found)) => {
                let (expected, found) = (format!("{what} {claimed}"), found.to_string());
                Err(Error::corrupt(self.path(), offset, expected, found))
            }
        }
    }

    fn gap(&self, offset: u64) -> Error {
        let expected = "a block after the one before";
        Error::corrupt(self.path(), offset, expected, "a gap or overlap")
    }
}

impl Walk {
    fn block(
        &mut self,
        reader: &mut TableReader,
        number: u32,
        block: &DataBlock,
        claimed: &BlockProperties,
    ) -> Result<()> {
        let mut found = BlockCount::default();
        for at in 0..block.len() {
            let counted = block.entry(at).and_then(|entry| match entry {
                BlockEntry::Partition(header) => {
                    self.header(reader, (number, block), &header, &mut found)
                }
                BlockEntry::Row(key, body) => {
                    let row = decode(block, body)?;
                    self.row(Place::row(key), &row, claimed, &mut found)
                }
                BlockEntry::Edge(place, deletion) => {
                    self.step(place, claimed, found.partitions == 1)?;
                    found.tally.deletion(deletion);
                    if let Some(open) = &mut self.partition {
                        open.in_force = deletion;
                    }
                    Ok(())
                }
            });
            counted.map_err(|error| reader.in_block(error, number))?;
        }
        self.check_last(claimed, found.partitions)
            .map_err(|error| reader.in_block(error, number))?;
        self.counted.blocks += 1;
        let is_dense = found.dead_rows > 0 && found.dead_rows * 2 >= found.rows;
        self.dense_blocks += u64::from(is_dense);
        self.dead_rows += found.dead_rows;
        self.raw_bytes += block.payload().len() as u64;
        if found.rows > 0 {
            self.dead_after_ms.push(found.tally.dead_after_ms);
        }
        self.file.add(&found.tally);
        reader
            .table()
            .check(claimed.extent.offset, &found.claims(claimed))
    }

    fn header(
        &mut self,
        reader: &TableReader,
        (number, block): (u32, &DataBlock),
        header: &PartitionEntry<'_>,
        found: &mut BlockCount,
    ) -> Decoded<()> {
        found.partitions += 1;
        let properties = reader.table().properties();
        if header.window.is_some() != properties.has_many_windows() {
            return wrong("a window in every partition header of a file of many, and in no other");
        }
        if header
            .window
            .is_some_and(|window| !properties.may_hold(window))
        {
            return wrong("a window between the first and the last of the file");
        }
        self.enter_partition(header, block, number)?;
        if header.continues {
            found.open = self.in_force();
            if block.in_force(1, 1, true)? != found.open {
                return wrong("the range deletion that is open at the end of the block before");
            }
        } else {
            let table = reader.table();
            let (token, key) = (header.token, header.key);
            if !table.may_contain(token, key) || !table.may_contain_token(token) {
                return wrong("a partition that the filter knows");
            }
            found.tally.deletion(header.deletion);
        }
        if let Some(body) = header.static_row {
            let row = decode(block, body)?;
            found.tally.row(&row);
            // Of the file, not of the block: static rows are read from the head.
            let dead_after_ms = row.dead_after_ms(header.deletion);
            self.file.dead_after_ms = self.file.dead_after_ms.max(dead_after_ms);
        }
        Ok(())
    }

    fn row(
        &mut self,
        place: Place<'_>,
        row: &Fragment,
        claimed: &BlockProperties,
        found: &mut BlockCount,
    ) -> Decoded<()> {
        let deletion = self.step(place, claimed, found.partitions == 1)?;
        let dead_after_ms = row.dead_after_ms(deletion);
        found.tally.row(row);
        found.tally.dead_after_ms = found.tally.dead_after_ms.max(dead_after_ms);
        found.rows += 1;
        found.dead_rows += u64::from(dead_after_ms == 0);
        self.counted.rows += 1;
        if let Some(open) = &mut self.partition {
            open.entry.rows += 1;
        }
        Ok(())
    }

    fn in_force(&self) -> Timestamp {
        self.partition
            .as_ref()
            .map_or(Timestamp::ZERO, |open| open.in_force)
    }

    fn enter_partition(
        &mut self,
        header: &PartitionEntry<'_>,
        block: &DataBlock,
        number: u32,
    ) -> Decoded<()> {
        let last = self.partition.as_ref().map(|open| &open.entry);
        let this = (header.token, header.key);
        let is_same = last.is_some_and(|last| (last.token, last.key.as_ref()) == this);
        if header.continues {
            let deletion = last.map(|last| last.deletion);
            return if is_same && deletion == Some(header.deletion) {
                Ok(())
            } else {
                wrong("the partition of the block before")
            };
        }
        if last.is_some_and(|last| (last.token, last.key.as_ref()) >= this) {
            return wrong("partitions in order");
        }
        if self.in_force() != Timestamp::ZERO {
            return wrong("every range deletion closed in its partition");
        }
        let key = block.payload().slice_ref(header.key);
        self.leave_partition_at(number, block);
        self.counted.partitions += 1;
        self.partition = Some(OpenPartition {
            entry: DirectoryEntry {
                token: header.token,
                key,
                first_block: number,
                last_block: number,
                deletion: header.deletion,
                has_static: header.static_row.is_some(),
                rows: 0,
                head: None,
            },
            place: None,
            in_force: Timestamp::ZERO,
        });
        Ok(())
    }

    /// Ends the partition before the one that begins in block `number`. It ended in this block if
    /// it continued into it, else in the one before.
    fn leave_partition_at(&mut self, number: u32, block: &DataBlock) {
        let continued =
            matches!(block.entry(0), Ok(BlockEntry::Partition(first)) if first.continues);
        let begun_here = self
            .partition
            .as_ref()
            .is_some_and(|open| open.entry.first_block == number);
        self.leave_partition(if continued || begun_here {
            number
        } else {
            number.saturating_sub(1)
        });
    }

    fn leave_partition(&mut self, last_block: u32) {
        if let Some(open) = self.partition.take() {
            let entry = DirectoryEntry {
                last_block,
                ..open.entry
            };
            if entry.first_block < last_block {
                self.directory.push(entry);
            }
        }
    }

    /// Moves to a row or edge and returns the deletion that covers it.
    fn step(
        &mut self,
        place: Place<'_>,
        claimed: &BlockProperties,
        is_first_partition: bool,
    ) -> Decoded<Timestamp> {
        let Some(open) = &mut self.partition else {
            return wrong("a partition header");
        };
        if open
            .place
            .as_ref()
            .is_some_and(|last| last.place() >= place)
        {
            return wrong("entries in order");
        }
        if is_first_partition && place < claimed.first.place() {
            return wrong("no entry before the first place of the index");
        }
        open.place = Some(place.to_edge());
        Ok(open.in_force.max(open.entry.deletion))
    }

    fn check_last(&self, claimed: &BlockProperties, partitions: u64) -> Decoded<()> {
        let last = self.partition.as_ref().and_then(|open| open.place.as_ref());
        if partitions == 1 && last.is_some_and(|last| last.place() > claimed.last.place()) {
            return wrong("no entry after the last place of the index");
        }
        Ok(())
    }

    fn claims(&self, claimed: &Properties) -> [Claim; 9] {
        let counted = self.counted;
        let file = self.file;
        [
            ("blocks", claimed.blocks.into(), counted.blocks),
            (
                "dense blocks",
                claimed.dense_blocks.into(),
                self.dense_blocks,
            ),
            ("partitions", claimed.partitions, counted.partitions),
            ("rows", claimed.rows, counted.rows),
            ("tombstones", claimed.tombstones, file.tombstones),
            (
                "oldest timestamp",
                claimed.min_timestamp.0,
                file.min_timestamp.0,
            ),
            (
                "newest timestamp",
                claimed.max_timestamp.0,
                file.max_timestamp.0,
            ),
            ("expiry", claimed.dead_after_ms, file.dead_after_ms),
            (
                "first expiry",
                claimed.first_expiry_ms,
                file.first_expiry_ms,
            ),
        ]
    }
}

impl Walk {
    /// What properties of version 2 say beyond those of version 1.
    fn later_claims(&self, claimed: &Properties) -> [Claim; 4] {
        let mut times = self.dead_after_ms.clone();
        times.sort_unstable();
        let quarter = times.len().div_ceil(4).saturating_sub(1);
        let quarter = times.get(quarter).copied().unwrap_or(u64::MAX);
        [
            (
                "bytes before compression",
                claimed.raw_bytes,
                self.raw_bytes,
            ),
            ("dead rows", claimed.dead_rows, self.dead_rows),
            (
                "range deletions",
                claimed.range_tombstones,
                self.file.range_tombstones,
            ),
            (
                "expiry of a quarter",
                claimed.quarter_dead_after_ms,
                quarter,
            ),
        ]
    }
}

impl BlockCount {
    fn claims(&self, claimed: &BlockProperties) -> [Claim; 7] {
        let tally = &self.tally;
        let oldest = tally.min_timestamp.min(tally.max_timestamp);
        let is_one_partition = self.partitions == 1;
        [
            ("open deletion", claimed.open.0, self.open.0),
            ("rows", claimed.rows.into(), self.rows),
            ("dead rows", claimed.dead_rows.into(), self.dead_rows),
            ("expiry", claimed.dead_after_ms, tally.dead_after_ms),
            (
                "newest timestamp",
                claimed.max_timestamp.0,
                tally.max_timestamp.0,
            ),
            ("oldest timestamp", claimed.min_timestamp.0, oldest.0),
            (
                "one partition",
                claimed.is_one_partition.into(),
                is_one_partition.into(),
            ),
        ]
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            min_timestamp: Timestamp(u64::MAX),
            max_timestamp: Timestamp::ZERO,
            dead_after_ms: 0,
            first_expiry_ms: u64::MAX,
            tombstones: 0,
            range_tombstones: 0,
        }
    }
}

impl Tally {
    fn timestamp(&mut self, timestamp: Timestamp) {
        self.min_timestamp = self.min_timestamp.min(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// Counts the deletion of a range or partition, if it is one.
    fn deletion(&mut self, deletion: Timestamp) {
        if deletion != Timestamp::ZERO {
            self.timestamp(deletion);
            self.tombstones += 1;
            self.range_tombstones += 1;
        }
    }

    fn row(&mut self, row: &Fragment) {
        row.timestamps()
            .for_each(|timestamp| self.timestamp(timestamp));
        self.tombstones += u64::from(row.deletion != Timestamp::ZERO);
        self.tombstones += row.complex.len() as u64;
        let marker = row.liveness.and_then(|marker| marker.expires_at_ms);
        self.first_expiry_ms = self.first_expiry_ms.min(marker.unwrap_or(u64::MAX));
        for cell in &row.cells {
            match &cell.value {
                CellValue::Live(_) => {}
                CellValue::Expiring { expires_at_ms, .. } => {
                    self.first_expiry_ms = self.first_expiry_ms.min(*expires_at_ms);
                }
                CellValue::Tombstone => self.tombstones += 1,
            }
        }
    }

    fn add(&mut self, block: &Self) {
        self.min_timestamp = self.min_timestamp.min(block.min_timestamp);
        self.max_timestamp = self.max_timestamp.max(block.max_timestamp);
        self.dead_after_ms = self.dead_after_ms.max(block.dead_after_ms);
        self.first_expiry_ms = self.first_expiry_ms.min(block.first_expiry_ms);
        self.tombstones += block.tombstones;
        self.range_tombstones += block.range_tombstones;
    }
}

fn wrong<T>(expected: &'static str) -> Decoded<T> {
    Err(DecodeError { at: 0, expected })
}

fn decode(block: &DataBlock, body: &[u8]) -> Decoded<Fragment> {
    codec::decode(&block.payload().slice_ref(body), block.base())
}
