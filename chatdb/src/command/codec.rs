//! Commands to bytes and back.
//!
//! One byte per choice, varints for numbers, lengths before bytes. Decoded byte strings share the
//! command's buffer.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::{
    CELLS_MAX, COMMAND_BYTES_MAX, CellChange, CellComparison, CellPath, CellTest, Guard,
    NOTE_BYTES_MAX, SPLIT_NODES_MAX, Split, TOPIC_BYTES_MAX, TOPICS_MAX, WRITES_MAX, Write,
    WriteCommand, WriteOperation,
};
use crate::error::{Error, Result};
use crate::types::ScalarType;
use bytes::Bytes;
use lsm::encoding::varint::{self, unzigzag, zigzag};
use lsm::encoding::{DecodeError, Reader};
use lsm::{ColumnId, PartitionKey, TableId, Window};
use std::ops::Bound;

const VERSION: u8 = 1;
const HAS_REQUEST_ID: u8 = 1;
const HAS_TOPICS: u8 = 2;
const HAS_NOTE: u8 = 4;
const HAS_SETTLED: u8 = 8;
const HAS_SPLIT: u8 = 16;
const FLAGS_KNOWN: u8 = HAS_REQUEST_ID | HAS_TOPICS | HAS_NOTE | HAS_SETTLED | HAS_SPLIT;

type Decoded<T> = std::result::Result<T, DecodeError>;

impl WriteCommand {
    /// The bytes to replicate; `Invalid` when a limit is passed.
    pub fn encode(&self) -> Result<Bytes> {
        self.check_limits()?;
        // Without an id there is nothing that it could be about.
        let settled_below = self.settled_below.filter(|_| self.request_id.is_some());
        let mut out = Vec::with_capacity(256);
        out.push(VERSION);
        let flag = |present: bool, flag: u8| if present { flag } else { 0 };
        out.push(
            flag(self.request_id.is_some(), HAS_REQUEST_ID)
                | flag(!self.topics.is_empty(), HAS_TOPICS)
                | flag(!self.note.is_empty(), HAS_NOTE)
                | flag(settled_below.is_some(), HAS_SETTLED)
                | flag(self.split.is_some(), HAS_SPLIT),
        );
        if let Some(id) = self.request_id {
            out.extend(id.to_le_bytes());
        }
        if let Some(number) = settled_below {
            varint::encode(&mut out, number);
        }
        if !self.topics.is_empty() {
            put_count(&mut out, self.topics.len());
            self.topics
                .iter()
                .for_each(|topic| put_bytes(&mut out, topic.as_bytes()));
        }
        if !self.note.is_empty() {
            put_bytes(&mut out, &self.note);
        }
        if let Some(split) = &self.split {
            put_split(&mut out, split);
        }
        put_count(&mut out, self.writes.len());
        self.writes
            .iter()
            .for_each(|write| put_write(&mut out, write));
        if out.len() > COMMAND_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the write has {} bytes, more than the {COMMAND_BYTES_MAX} allowed",
                out.len()
            ))
            .with_help("try", "smaller batches"));
        }
        Ok(out.into())
    }

    fn check_limits(&self) -> Result<()> {
        let longest = self.topics.iter().map(String::len).max().unwrap_or(0);
        let limits = [
            ("topics", self.topics.len(), TOPICS_MAX),
            ("bytes in a topic", longest, TOPIC_BYTES_MAX),
            ("bytes in the note", self.note.len(), NOTE_BYTES_MAX),
            ("statements in a batch", self.writes.len(), WRITES_MAX),
            ("cells in a row", self.largest_row(), CELLS_MAX),
            (
                "nodes of a split",
                self.split.as_ref().map_or(0, |split| split.nodes.len()),
                SPLIT_NODES_MAX,
            ),
        ];
        match limits.into_iter().find(|(_, count, limit)| count > limit) {
            Some((what, count, limit)) => Err(Error::invalid(format!(
                "{count} {what}, more than the {limit} allowed"
            ))),
            None => Ok(()),
        }
    }

    /// Cells of the operation that writes most.
    fn largest_row(&self) -> usize {
        let operations = self.writes.iter().flat_map(|write| &write.operations);
        let cells = operations.map(|operation| match operation {
            WriteOperation::Upsert { cells, .. } | WriteOperation::UpsertStatic { cells, .. } => {
                cells.len()
            }
            _ => 0,
        });
        cells.max().unwrap_or(0)
    }

    /// The command in these bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self> {
        let damaged = |what: String| Error::corrupt(format!("a write command is damaged: {what}"));
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(damaged(format!("{} bytes are too many", bytes.len())));
        }
        let mut decoder = Decoder {
            bytes,
            reader: Reader::new(bytes),
        };
        let command = decoder
            .command()
            .map_err(|cause| damaged(cause.to_string()))?;
        if decoder.reader.is_empty() {
            Ok(command)
        } else {
            Err(damaged(format!(
                "bytes follow its end at {}",
                decoder.reader.position()
            )))
        }
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    varint::encode(out, u64::try_from(count).unwrap_or(u64::MAX));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    match bytes {
        None => out.push(0),
        Some(bytes) => {
            out.push(1);
            put_bytes(out, bytes);
        }
    }
}

/// `token u64 | child | generation | count | nodes`.
fn put_split(out: &mut Vec<u8>, split: &Split) {
    out.extend(split.at.to_le_bytes());
    varint::encode(out, split.child);
    varint::encode(out, split.generation);
    put_count(out, split.nodes.len());
    for node in &split.nodes {
        varint::encode(out, u64::from(*node));
    }
}

fn put_write(out: &mut Vec<u8>, write: &Write) {
    varint::encode(out, u64::from(write.table.0));
    out.extend(write.partition.token.to_le_bytes());
    put_bytes(out, &write.partition.key);
    if write.partition.window == Window::TIMELESS {
        out.push(0);
    } else {
        out.push(1);
        varint::encode(out, zigzag(write.partition.window.0));
    }
    put_guard(out, &write.guard);
    put_count(out, write.operations.len());
    write
        .operations
        .iter()
        .for_each(|operation| put_operation(out, operation));
}

fn put_guard(out: &mut Vec<u8>, guard: &Guard) {
    match guard {
        Guard::None => out.push(0),
        Guard::Exists(row) => {
            out.push(1);
            put_optional(out, row.as_ref());
        }
        Guard::Missing(row) => {
            out.push(2);
            put_optional(out, row.as_ref());
        }
        Guard::Cells {
            row,
            must_exist,
            tests,
        } => {
            out.push(3);
            put_optional(out, row.as_ref());
            out.push(u8::from(*must_exist));
            put_count(out, tests.len());
            for test in tests {
                varint::encode(out, u64::from(test.column.0));
                out.push(u8::from(test.is_static));
                put_bytes(out, &test.path);
                out.push(test.scalar.code());
                out.push(comparison_code(test.comparison));
                put_count(out, test.operands.len());
                test.operands
                    .iter()
                    .for_each(|operand| put_optional(out, operand.as_ref()));
            }
        }
    }
}

fn comparison_code(comparison: CellComparison) -> u8 {
    match comparison {
        CellComparison::Equal => 0,
        CellComparison::NotEqual => 1,
        CellComparison::Less => 2,
        CellComparison::LessOrEqual => 3,
        CellComparison::Greater => 4,
        CellComparison::GreaterOrEqual => 5,
        CellComparison::In => 6,
    }
}

fn put_operation(out: &mut Vec<u8>, operation: &WriteOperation) {
    match operation {
        WriteOperation::Upsert {
            clustering,
            is_insert,
            ttl_s,
            cells,
        } => {
            out.push(u8::from(*is_insert));
            put_bytes(out, clustering);
            put_cells(out, *ttl_s, cells);
        }
        WriteOperation::UpsertStatic { ttl_s, cells } => {
            out.push(2);
            put_cells(out, *ttl_s, cells);
        }
        WriteOperation::DeleteComplex { clustering, column } => {
            out.push(3);
            put_optional(out, clustering.as_ref());
            varint::encode(out, u64::from(column.0));
        }
        WriteOperation::DeleteRow { clustering } => {
            out.push(4);
            put_bytes(out, clustering);
        }
        WriteOperation::DeleteRange { start, end } => {
            out.push(5);
            put_bound(out, start);
            put_bound(out, end);
        }
        WriteOperation::DeletePartition => out.push(6),
    }
}

fn put_bound(out: &mut Vec<u8>, bound: &Bound<Bytes>) {
    match bound {
        Bound::Unbounded => out.push(0),
        Bound::Included(key) => {
            out.push(1);
            put_bytes(out, key);
        }
        Bound::Excluded(key) => {
            out.push(2);
            put_bytes(out, key);
        }
    }
}

fn put_cells(out: &mut Vec<u8>, ttl_s: u32, cells: &[CellChange]) {
    varint::encode(out, u64::from(ttl_s));
    put_count(out, cells.len());
    for cell in cells {
        varint::encode(out, u64::from(cell.column.0));
        let path = match &cell.path {
            CellPath::Plain => 0,
            CellPath::Element(_) => 2,
            CellPath::Append => 4,
            CellPath::Prepend => 6,
            CellPath::Add => 8,
        };
        out.push(path | u8::from(cell.value.is_some()));
        if let CellPath::Element(key) = &cell.path {
            put_bytes(out, key);
        }
        if let Some(value) = &cell.value {
            put_bytes(out, value);
        }
    }
}

/// Bytes of what is added to a counter.
const ADDED_BYTES: usize = 8;

/// Items of a list that are allocated for before they are seen. Left to itself a list grows to four, of 200 bytes each.
const EAGER_ITEMS: usize = 8;

struct Decoder<'a> {
    bytes: &'a Bytes,
    reader: Reader<'a>,
}

impl Decoder<'_> {
    fn command(&mut self) -> Decoded<WriteCommand> {
        let error = self.reader.error("version 1");
        if self.reader.u8("a version")? != VERSION {
            return Err(error);
        }
        let error = self.reader.error("known flags");
        let flags = self.reader.u8("flags")?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(error);
        }
        let mut command = WriteCommand::default();
        if flags & HAS_REQUEST_ID != 0 {
            let id = self.reader.array("a request id")?;
            command.request_id = Some(u128::from_le_bytes(id));
        }
        let error = self.reader.error("a request id before a settled number");
        if flags & HAS_SETTLED != 0 {
            if command.request_id.is_none() {
                return Err(error);
            }
            command.settled_below = Some(self.reader.varint("a settled number")?);
        }
        if flags & HAS_TOPICS != 0 {
            command.topics = self.many(TOPICS_MAX, "a number of topics", Self::topic)?;
        }
        if flags & HAS_NOTE != 0 {
            command.note = self.prefixed(NOTE_BYTES_MAX, "a note")?;
        }
        let error = self.reader.error("at least one of what its flag announces");
        let announces_nothing = (flags & HAS_TOPICS != 0 && command.topics.is_empty())
            || (flags & HAS_NOTE != 0 && command.note.is_empty());
        if announces_nothing {
            return Err(error);
        }
        if flags & HAS_SPLIT != 0 {
            command.split = Some(self.split()?);
        }
        command.writes = self.many(WRITES_MAX, "a number of writes", Self::write)?;
        Ok(command)
    }

    fn split(&mut self) -> Decoded<Split> {
        let at = u64::from_le_bytes(self.reader.array("a token")?);
        let child = self.reader.varint("a group")?;
        let generation = self.reader.varint("a generation")?;
        let error = self.reader.error("nodes in ascending order");
        let nodes = self.many(SPLIT_NODES_MAX, "a number of nodes", |decoder| {
            let error = decoder.reader.error("a node");
            u32::try_from(decoder.reader.varint("a node")?).map_err(|_| error)
        })?;
        if nodes.is_empty() || !nodes.is_sorted_by(|one, next| one < next) {
            return Err(error);
        }
        Ok(Split {
            at,
            child,
            generation,
            nodes: nodes.into_iter().collect(),
        })
    }

    /// A count of at most `limit`, then that many items. Allocates for few of them at once, nearly always all, and for more
    /// as they really arrive.
    fn many<T>(
        &mut self,
        limit: usize,
        expected: &'static str,
        mut item: impl FnMut(&mut Self) -> Decoded<T>,
    ) -> Decoded<Vec<T>> {
        let error = self.reader.error(expected);
        let count = usize::try_from(self.reader.varint(expected)?).map_err(|_| error)?;
        if count > limit {
            return Err(error);
        }
        let mut items = Vec::with_capacity(count.min(EAGER_ITEMS));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn prefixed(&mut self, limit: usize, expected: &'static str) -> Decoded<Bytes> {
        self.reader
            .prefixed(limit, expected)
            .map(|slice| self.bytes.slice_ref(slice))
    }

    fn payload(&mut self, expected: &'static str) -> Decoded<Bytes> {
        self.prefixed(COMMAND_BYTES_MAX, expected)
    }

    fn flag(&mut self, expected: &'static str) -> Decoded<bool> {
        let error = self.reader.error(expected);
        match self.reader.u8(expected)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(error),
        }
    }

    fn optional(&mut self, expected: &'static str) -> Decoded<Option<Bytes>> {
        if self.flag(expected)? {
            self.payload(expected).map(Some)
        } else {
            Ok(None)
        }
    }

    fn u32(&mut self, expected: &'static str) -> Decoded<u32> {
        let error = self.reader.error(expected);
        u32::try_from(self.reader.varint(expected)?).map_err(|_| error)
    }

    fn topic(&mut self) -> Decoded<String> {
        let error = self.reader.error("a topic in UTF-8");
        let bytes = self.reader.prefixed(TOPIC_BYTES_MAX, "a topic")?;
        String::from_utf8(bytes.to_vec()).map_err(|_| error)
    }

    fn write(&mut self) -> Decoded<Write> {
        let table = TableId(self.u32("a table id")?);
        let token = self.reader.u64("a token")?;
        let key = self.payload("a partition key")?;
        let window = if self.flag("whether there is a window")? {
            let error = self.reader.error("a window");
            let window = Window(unzigzag(self.reader.varint("a window")?));
            if window == Window::TIMELESS {
                return Err(error);
            }
            window
        } else {
            Window::TIMELESS
        };
        let partition = PartitionKey { token, key, window };
        let guard = self.guard()?;
        let operations = self.many(WRITES_MAX, "a number of operations", Self::operation)?;
        Ok(Write {
            table,
            partition,
            guard,
            operations,
        })
    }

    fn guard(&mut self) -> Decoded<Guard> {
        let error = self.reader.error("a known guard");
        Ok(match self.reader.u8("a guard")? {
            0 => Guard::None,
            1 => Guard::Exists(self.optional("a row")?),
            2 => Guard::Missing(self.optional("a row")?),
            3 => Guard::Cells {
                row: self.optional("a row")?,
                must_exist: self.flag("whether the row must exist")?,
                tests: self.many(WRITES_MAX, "a number of tests", Self::test)?,
            },
            _ => return Err(error),
        })
    }

    fn test(&mut self) -> Decoded<CellTest> {
        let column = ColumnId(self.u32("a column id")?);
        let is_static = self.flag("whether the column is static")?;
        let path = self.payload("an element key")?;
        let error = self.reader.error("a scalar type");
        let scalar = ScalarType::from_code(self.reader.u8("a scalar type")?).ok_or(error)?;
        let error = self.reader.error("a known comparison");
        let comparison = match self.reader.u8("a comparison")? {
            0 => CellComparison::Equal,
            1 => CellComparison::NotEqual,
            2 => CellComparison::Less,
            3 => CellComparison::LessOrEqual,
            4 => CellComparison::Greater,
            5 => CellComparison::GreaterOrEqual,
            6 => CellComparison::In,
            _ => return Err(error),
        };
        let operands = self.many(WRITES_MAX, "operands", |decoder| {
            decoder.optional("an operand")
        })?;
        Ok(CellTest {
            column,
            is_static,
            path,
            scalar,
            comparison,
            operands,
        })
    }

    fn operation(&mut self) -> Decoded<WriteOperation> {
        let error = self.reader.error("a known operation");
        Ok(match self.reader.u8("an operation")? {
            kind @ (0 | 1) => {
                let clustering = self.payload("a row")?;
                let (ttl_s, cells) = self.cells()?;
                WriteOperation::Upsert {
                    clustering,
                    is_insert: kind == 1,
                    ttl_s,
                    cells,
                }
            }
            2 => {
                let (ttl_s, cells) = self.cells()?;
                WriteOperation::UpsertStatic { ttl_s, cells }
            }
            3 => WriteOperation::DeleteComplex {
                clustering: self.optional("a row")?,
                column: ColumnId(self.u32("a column id")?),
            },
            4 => WriteOperation::DeleteRow {
                clustering: self.payload("a row")?,
            },
            5 => WriteOperation::DeleteRange {
                start: self.bound()?,
                end: self.bound()?,
            },
            6 => WriteOperation::DeletePartition,
            _ => return Err(error),
        })
    }

    fn bound(&mut self) -> Decoded<Bound<Bytes>> {
        let error = self.reader.error("a known bound");
        Ok(match self.reader.u8("a bound")? {
            0 => Bound::Unbounded,
            1 => Bound::Included(self.payload("a bound")?),
            2 => Bound::Excluded(self.payload("a bound")?),
            _ => return Err(error),
        })
    }

    fn cells(&mut self) -> Decoded<(u32, Vec<CellChange>)> {
        let ttl_s = self.u32("a time to live")?;
        Ok((
            ttl_s,
            self.many(CELLS_MAX, "a number of cells", Self::cell)?,
        ))
    }

    fn cell(&mut self) -> Decoded<CellChange> {
        let column = ColumnId(self.u32("a column id")?);
        let error = self.reader.error("a known kind of cell");
        let kind = self.reader.u8("a kind of cell")?;
        let path = match kind & !1 {
            0 => CellPath::Plain,
            2 => CellPath::Element(self.payload("an element key")?),
            4 => CellPath::Append,
            6 => CellPath::Prepend,
            8 => CellPath::Add,
            _ => return Err(error),
        };
        let error = self.reader.error("8 bytes to add to a counter");
        let value = if kind & 1 == 1 {
            Some(self.payload("a value")?)
        } else {
            None
        };
        let added = value.as_ref().map(Bytes::len);
        if path == CellPath::Add && added != Some(ADDED_BYTES) {
            return Err(error);
        }
        Ok(CellChange {
            column,
            path,
            value,
        })
    }
}
