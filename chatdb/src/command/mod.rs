//! Write commands: what a tablet's raft group replicates.
//!
//! A command carries ids and encoded values, so that applying it needs no names, and times to live
//! instead of times, so that every replica computes the same expiry from the log's clock. One
//! command takes effect wholly or not at all. The bytes are described in `docs/formats/commands.md`.
//!
//! # Invariants
//!
//! * `decode(encode(c)) = c`, and what decodes encodes to the same bytes.
//! * Any bytes decode to a command or an error, with limits checked before allocating.
//! * Nothing in a command depends on the clock or the randomness of the node that applies it.

mod codec;
mod event;
mod response;

pub use event::ChangeParts;
pub(crate) use event::element_value;
pub use response::{CurrentRow, Response};

use crate::types::ScalarType;
use bytes::Bytes;
use lsm::{ColumnId, Growth, PartitionKey, TableId};
use std::collections::BTreeSet;
use std::ops::Bound;

/// Largest encoded command, in bytes.
pub const COMMAND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most topics of a command.
pub const TOPICS_MAX: usize = 64;
/// Most nodes of a split.
pub const SPLIT_NODES_MAX: usize = 32;
/// Longest topic, in bytes.
pub const TOPIC_BYTES_MAX: usize = 256;
/// Longest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 32 * 1024;
/// Most writes of a command, one per statement of a batch.
pub const WRITES_MAX: usize = 16 * 1024;

/// Most cells that one statement writes to one row: elements of its collections, mostly.
pub const CELLS_MAX: usize = 64 * 1024;

// The engine would refuse what is larger, and at apply that is too late.
const _: () = assert!(CELLS_MAX <= lsm::limits::CELLS_PER_ROW_MAX / 2);
const _: () = assert!(COMMAND_BYTES_MAX <= lsm::limits::ROW_BYTES_MAX / 2);

/// What one statement or batch does to one tablet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteCommand {
    /// The same in every retry of one request; the command with it takes effect once.
    pub request_id: Option<u128>,
    /// With it, the upper half of the request id is a client and the lower half its number of this
    /// request. The client never sends its requests below this number again.
    pub settled_below: Option<u64>,
    /// Topics whose subscribers see the changes.
    pub topics: Vec<String>,
    /// Bytes that travel with the changes to subscribers.
    pub note: Bytes,
    /// Writes, in order. All guards are judged before the first one, and all must hold.
    pub writes: Vec<Write>,
    /// Cuts the tablet in two, before every write of the entry that carries it.
    pub split: Option<Split>,
}

/// Where a tablet is cut, and what becomes of its upper tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The first token that the tablet does not hold any more.
    pub at: u64,
    /// The raft group of the tablet that holds the tokens from there on.
    pub child: u64,
    /// The generation of its first replicas.
    pub generation: u64,
    /// The nodes of its first replicas.
    pub nodes: BTreeSet<u32>,
}

/// What one statement does to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The table.
    pub table: TableId,
    /// The partition.
    pub partition: PartitionKey,
    /// What must hold for the command to take effect.
    pub guard: Guard,
    /// What to do, in order.
    pub operations: Vec<WriteOperation>,
}

/// A condition on the state just before the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Guard {
    /// Nothing is asked.
    #[default]
    None,
    /// The row exists, or with `None` any static column of the partition has a value.
    Exists(Option<Bytes>),
    /// The row does not exist, or with `None` no static column of the partition has a value.
    Missing(Option<Bytes>),
    /// Every test holds on the cells of the row and of the static row.
    Cells {
        /// The row; `None` when only static columns are tested.
        row: Option<Bytes>,
        /// Whether the row must exist besides, so that `IF a != 1` makes no row where none is.
        must_exist: bool,
        /// Tests.
        tests: Vec<CellTest>,
    },
}

/// A comparison of one stored cell with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellTest {
    /// The column.
    pub column: ColumnId,
    /// Whether the cell is in the static row.
    pub is_static: bool,
    /// Empty for a plain column; the element key for a map.
    pub path: Bytes,
    /// How to compare the bytes.
    pub scalar: ScalarType,
    /// What must hold.
    pub comparison: CellComparison,
    /// Operands: one, or for [`CellComparison::In`] any number. `None` is null.
    pub operands: Vec<Option<Bytes>>,
}

/// How a cell is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellComparison {
    /// Equal; null equals null.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less; false for null.
    Less,
    /// Less or equal; false for null.
    LessOrEqual,
    /// Greater; false for null.
    Greater,
    /// Greater or equal; false for null.
    GreaterOrEqual,
    /// Equal to any operand.
    In,
}

/// One operation of a write; becomes one [`lsm::Operation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOperation {
    /// Writes cells of a row.
    Upsert {
        /// The row.
        clustering: Bytes,
        /// Whether the row exists from now on even without cells: true for INSERT.
        is_insert: bool,
        /// Seconds until the cells and the row's existence end; 0 = never.
        ttl_s: u32,
        /// Cells.
        cells: Vec<CellChange>,
    },
    /// Writes cells of the static row.
    UpsertStatic {
        /// Seconds until the cells end; 0 = never.
        ttl_s: u32,
        /// Cells.
        cells: Vec<CellChange>,
    },
    /// Deletes all elements of a collection.
    DeleteComplex {
        /// The row; `None` is the static row.
        clustering: Option<Bytes>,
        /// The collection column.
        column: ColumnId,
    },
    /// Deletes one row.
    DeleteRow {
        /// The row.
        clustering: Bytes,
    },
    /// Deletes the rows of a clustering range.
    DeleteRange {
        /// First row.
        start: Bound<Bytes>,
        /// Last row.
        end: Bound<Bytes>,
    },
    /// Deletes the partition.
    DeletePartition,
}

/// A cell to write or delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellChange {
    /// The column.
    pub column: ColumnId,
    /// Which cell of the column.
    pub path: CellPath,
    /// The new value; `None` deletes the cell.
    pub value: Option<Bytes>,
}

/// Which cell of a column is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellPath {
    /// The only one of a plain column.
    Plain,
    /// The element of this key (set element, map key).
    Element(Bytes),
    /// A new element at the end of a list; its key is made of the write's timestamp at apply.
    Append,
    /// A new element at the start of a list.
    Prepend,
    /// The only one of a counter; the value is what is added to it, 8 bytes big endian, signed.
    Add,
}

impl WriteCommand {
    /// Whether applying it may look at what is stored; plain upserts do not.
    pub(crate) fn may_read(&self) -> bool {
        self.split.is_some() || self.writes.iter().any(Write::may_read)
    }
}

impl Write {
    fn may_read(&self) -> bool {
        let is_plain = |operation: &WriteOperation| {
            matches!(
                operation,
                WriteOperation::Upsert { .. } | WriteOperation::UpsertStatic { .. }
            )
        };
        self.guard != Guard::None || !self.operations.iter().all(is_plain) || self.adds()
    }

    /// Whether it adds to a counter.
    pub(crate) fn adds(&self) -> bool {
        self.operations.iter().any(|operation| {
            matches!(
                operation,
                WriteOperation::Upsert { cells, .. } | WriteOperation::UpsertStatic { cells, .. }
                    if cells.iter().any(|cell| cell.path == CellPath::Add)
            )
        })
    }
}

impl WriteOperation {
    /// The row that the operation writes to (`None` = the static row) and by how much it can grow;
    /// `None` for operations that only delete.
    pub(crate) fn growth(&self) -> Option<(Option<&Bytes>, Growth)> {
        let (row, cells) = match self {
            Self::Upsert {
                clustering, cells, ..
            } => (Some(clustering), cells),
            Self::UpsertStatic { cells, .. } => (None, cells),
            _ => return None,
        };
        let mut growth = Growth::default();
        for cell in cells {
            growth.bytes += cell.value.as_ref().map_or(0, Bytes::len);
            match &cell.path {
                CellPath::Plain | CellPath::Add => {}
                CellPath::Element(_) if cell.value.is_none() => {}
                CellPath::Element(key) => {
                    growth.bytes += key.len();
                    growth.elements += 1;
                }
                CellPath::Append | CellPath::Prepend => growth.elements += 1,
            }
        }
        Some((row, growth))
    }
}
