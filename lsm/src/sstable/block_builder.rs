//! Builds the payload of one data block.

use super::block::{
    BLOCK_HEADER_BYTES, ENTRY_EDGE, ENTRY_PARTITION, ENTRY_ROW, PARTITION_CONTINUES,
    PARTITION_HAS_STATIC, PARTITION_HAS_WINDOW, WIDTH_HAS_EDGES, encode_place,
};
use crate::encoding::varint;
use crate::row::range::Place;
use crate::row::{Fragment, PlainRow, Timestamp, Window, codec};

/// Entries of a block being built.
#[derive(Debug, Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
    partitions: Vec<usize>,
    base: Option<Timestamp>,
    open: Timestamp,
    has_edges: bool,
}

/// How much a block held at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    bytes: usize,
    entries: usize,
    partitions: usize,
}

/// What a block holds behind a [`Mark`].
#[derive(Debug)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    offsets: Vec<usize>,
    base: Option<Timestamp>,
    has_edges: bool,
}

impl Mark {
    /// Bytes of the block up to here.
    pub(super) fn bytes(self) -> usize {
        self.bytes
    }
}

/// A partition header as the builder takes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    /// Token of the placement key.
    pub(super) token: u64,
    /// Partition key.
    pub(super) key: &'a [u8],
    /// Deletion of the partition, or zero.
    pub(super) deletion: Timestamp,
    /// The window of the partition, in files of many windows.
    pub(super) window: Option<Window>,
    /// Whether the partition began in an earlier block.
    pub(super) continues: bool,
}

impl BlockBuilder {
    /// Begins a block with this deletion in force.
    pub(super) fn begin(&mut self, open: Timestamp) {
        self.bytes.clear();
        self.bytes.resize(BLOCK_HEADER_BYTES, 0);
        self.offsets.clear();
        self.partitions.clear();
        self.base = None;
        self.open = open;
        self.has_edges = false;
    }

    /// Whether nothing was added.
    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Number of rows and edges.
    pub(super) fn item_count(&self) -> usize {
        self.offsets.len() - self.partitions.len()
    }

    /// Number of partition headers.
    pub(super) fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    /// Bytes that the block has so far.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + 2 * (self.offsets.len() + self.partitions.len())
    }

    /// What it holds now.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            bytes: self.bytes.len(),
            entries: self.offsets.len(),
            partitions: self.partitions.len(),
        }
    }

    /// Takes out what was added since `mark`: one partition from its header on. `has_edges` says
    /// whether what stays has edges.
    pub(super) fn split_off(&mut self, mark: Mark, has_edges: bool) -> Tail {
        let down = |offset: usize| offset - mark.bytes + BLOCK_HEADER_BYTES;
        let offsets = self.offsets.split_off(mark.entries);
        self.partitions.truncate(mark.partitions);
        let tail = Tail {
            bytes: self.bytes.split_off(mark.bytes),
            offsets: offsets.into_iter().map(down).collect(),
            // Bodies are encoded with it, and any timestamp will do.
            base: self.base,
            has_edges: self.has_edges,
        };
        self.has_edges = has_edges;
        tail
    }

    /// Begins a block with a partition that was split off another one.
    pub(super) fn begin_with(&mut self, tail: Tail) {
        self.begin(Timestamp::ZERO);
        self.bytes.extend_from_slice(&tail.bytes);
        self.offsets = tail.offsets;
        self.partitions.push(0);
        self.base = tail.base;
        self.has_edges = tail.has_edges;
    }

    /// Whether there are edges of range deletions.
    pub(super) fn has_edges(&self) -> bool {
        self.has_edges
    }

    /// Adds a partition header.
    pub(super) fn partition(&mut self, header: Header<'_>, static_row: Option<&Fragment>) {
        self.partitions.push(self.offsets.len());
        self.offsets.push(self.bytes.len());
        let continues = if header.continues {
            PARTITION_CONTINUES
        } else {
            0
        };
        let has_static = if static_row.is_some() {
            PARTITION_HAS_STATIC
        } else {
            0
        };
        let has_window = if header.window.is_some() {
            PARTITION_HAS_WINDOW
        } else {
            0
        };
        self.bytes
            .extend_from_slice(&[ENTRY_PARTITION, continues | has_static | has_window]);
        self.bytes.extend_from_slice(&header.token.to_le_bytes());
        codec::put_bytes(&mut self.bytes, header.key);
        varint::encode(&mut self.bytes, header.deletion.0);
        if let Some(window) = header.window {
            self.bytes.extend_from_slice(&window.0.to_le_bytes());
        }
        if let Some(fragment) = static_row {
            let base = self.base_for(fragment);
            let mut body = Vec::new();
            codec::encode(fragment, base, &mut body);
            codec::put_bytes(&mut self.bytes, &body);
        }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, key: &[u8], fragment: &Fragment) {
        self.offsets.push(self.bytes.len());
        self.bytes.push(ENTRY_ROW);
        codec::put_bytes(&mut self.bytes, key);
        let base = self.base_for(fragment);
        codec::encode(fragment, base, &mut self.bytes);
    }

    /// Adds a row that stays as it is.
    pub(super) fn plain_row(&mut self, key: &[u8], row: &PlainRow<'_>) {
        self.offsets.push(self.bytes.len());
        self.bytes.push(ENTRY_ROW);
        let base = *self.base.get_or_insert(row.timestamp);
        row.encode(key, base, &mut self.bytes);
    }

    /// Adds an edge of a range deletion.
    pub(super) fn edge(&mut self, place: Place<'_>, deletion: Timestamp) {
        self.has_edges = true;
        self.offsets.push(self.bytes.len());
        self.bytes.push(ENTRY_EDGE);
        encode_place(&mut self.bytes, place);
        varint::encode(&mut self.bytes, deletion.0);
    }

    /// The finished payload.
    pub(super) fn finish(&mut self) -> &[u8] {
        let width: u8 = if u16::try_from(self.bytes.len()).is_ok() {
            2
        } else {
            4
        };
        let mut header = Vec::with_capacity(BLOCK_HEADER_BYTES);
        header.extend_from_slice(&self.base.unwrap_or_default().0.to_le_bytes());
        header.extend_from_slice(&self.open.0.to_le_bytes());
        header.extend_from_slice(&len_u32(self.offsets.len()).to_le_bytes());
        header.extend_from_slice(&len_u32(self.partitions.len()).to_le_bytes());
        header.push(if self.has_edges {
            width | WIDTH_HAS_EDGES
        } else {
            width
        });
        self.bytes[..BLOCK_HEADER_BYTES].copy_from_slice(&header);
        for number in self.offsets.iter().chain(&self.partitions) {
            let bytes = len_u32(*number).to_le_bytes();
            self.bytes.extend_from_slice(&bytes[..usize::from(width)]);
        }
        &self.bytes
    }

    /// The base of the block: the first timestamp that is written to it.
    fn base_for(&mut self, fragment: &Fragment) -> Timestamp {
        *self
            .base
            .get_or_insert_with(|| fragment.timestamps().next().unwrap_or_default())
    }
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("a block is far smaller than 4 GiB")
}
