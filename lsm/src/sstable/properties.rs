//! Statistics of a file, stored in it and repeated in the manifest.
#![deny(clippy::indexing_slicing)]

use bytes::Bytes;

use crate::encoding::{DecodeError, Reader, varint};
use crate::limits::ENGINE_KEY_BYTES_MAX;
use crate::row::{TableId, Timestamp, Window, codec};
use crate::sstable::format::VERSION_MERGED;

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Properties {
    /// The table of all its rows.
    pub(crate) table: TableId,
    /// The window of all its rows, or the first one of several.
    pub(crate) window: Window,
    /// The last window that it may have rows of. After `window` in a file of merged windows.
    pub(crate) last_window: Window,
    /// First log index whose changes may be in it.
    pub(crate) first_index: u64,
    /// Last log index whose changes may be in it.
    pub(crate) last_index: u64,
    /// Data blocks.
    pub(crate) blocks: u32,
    /// Data blocks of which at least half of the rows are dead.
    pub(crate) dense_blocks: u32,
    /// Partitions.
    pub(crate) partitions: u64,
    /// Rows, dead ones included.
    pub(crate) rows: u64,
    /// Bytes of all data blocks before compression.
    pub(crate) raw_bytes: u64,
    /// Deletions of any kind.
    pub(crate) tombstones: u64,
    /// Deletions of rows, and rows covered by a deletion of the same file.
    pub(crate) dead_rows: u64,
    /// Places from which a range deletion is in force, and deletions of partitions.
    pub(crate) range_tombstones: u64,
    /// Oldest datum or deletion.
    pub(crate) min_timestamp: Timestamp,
    /// Newest datum or deletion.
    pub(crate) max_timestamp: Timestamp,
    /// First millisecond from which nothing in it is visible; 0 = never was, MAX = some always is.
    pub(crate) dead_after_ms: u64,
    /// First millisecond at which something in it expires; MAX = nothing does.
    pub(crate) first_expiry_ms: u64,
    /// First millisecond from which nothing is visible of a quarter of the blocks with rows.
    pub(crate) quarter_dead_after_ms: u64,
    /// Token of the first partition.
    pub(crate) first_token: u64,
    /// Key of the first partition.
    pub(crate) first_key: Bytes,
    /// Token of the last partition.
    pub(crate) last_token: u64,
    /// Key of the last partition.
    pub(crate) last_key: Bytes,
}

impl Properties {
    /// Statistics of a file without rows.
    pub(crate) fn empty(table: TableId, window: Window, (first, last): (u64, u64)) -> Self {
        Self {
            table,
            window,
            last_window: window,
            first_index: first,
            last_index: last,
            blocks: 0,
            dense_blocks: 0,
            partitions: 0,
            rows: 0,
            raw_bytes: 0,
            tombstones: 0,
            dead_rows: 0,
            range_tombstones: 0,
            min_timestamp: Timestamp(u64::MAX),
            max_timestamp: Timestamp::ZERO,
            dead_after_ms: 0,
            first_expiry_ms: u64::MAX,
            quarter_dead_after_ms: u64::MAX,
            first_token: 0,
            first_key: Bytes::new(),
            last_token: 0,
            last_key: Bytes::new(),
        }
    }

    /// Whether (token, key) is between the first and the last partition.
    pub(crate) fn spans(&self, token: u64, key: &[u8]) -> bool {
        (self.first_token, self.first_key.as_ref()) <= (token, key)
            && (token, key) <= (self.last_token, self.last_key.as_ref())
    }

    /// Whether each partition says its window.
    pub(crate) fn has_many_windows(&self) -> bool {
        self.window == Window::MIXED || self.is_merged()
    }

    /// Whether it was made of neighboring windows.
    pub(crate) fn is_merged(&self) -> bool {
        self.window < self.last_window
    }

    /// Whether a partition of this window may be in it.
    pub(crate) fn may_hold(&self, window: Window) -> bool {
        self.window == Window::MIXED || (self.window..=self.last_window).contains(&window)
    }

    /// Appends the statistics to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::encode(out, u64::from(self.table.0));
        varint::encode(out, varint::zigzag(self.window.0));
        for number in [
            self.first_index,
            self.last_index,
            u64::from(self.blocks),
            u64::from(self.dense_blocks),
            self.partitions,
            self.rows,
            self.tombstones,
            self.min_timestamp.0,
            self.max_timestamp.0,
            self.dead_after_ms,
            self.first_expiry_ms,
            self.first_token,
            self.last_token,
        ] {
            varint::encode(out, number);
        }
        codec::put_bytes(out, &self.first_key);
        codec::put_bytes(out, &self.last_key);
        for number in [
            self.raw_bytes,
            self.dead_rows,
            self.range_tombstones,
            self.quarter_dead_after_ms,
        ] {
            varint::encode(out, number);
        }
        if self.is_merged() {
            let further = self.last_window.0.wrapping_sub(self.window.0);
            varint::encode(out, further.cast_unsigned());
        }
    }

    /// Reads what [`Self::encode`] wrote, or what it wrote in an older format `version`.
    pub(crate) fn decode(
        payload: &Bytes,
        reader: &mut Reader<'_>,
        version: u32,
    ) -> Result<Self, DecodeError> {
        let mut properties = Self::decode_first(payload, reader)?;
        if version >= 2 {
            properties.raw_bytes = reader.varint("bytes before compression")?;
            properties.dead_rows = reader.varint("count of dead rows")?;
            properties.range_tombstones = reader.varint("count of range deletions")?;
            properties.quarter_dead_after_ms = reader.varint("expiry of a quarter")?;
        }
        if version >= VERSION_MERGED {
            let further = reader.varint("count of further windows")?;
            let last = properties.window.0.checked_add_unsigned(further);
            let last = last.filter(|_| further > 0 && properties.window > Window::MIXED);
            properties.last_window =
                Window(last.ok_or_else(|| reader.error("windows after the first"))?);
        }
        Ok(properties)
    }

    /// The fields that version 1 has.
    fn decode_first(payload: &Bytes, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let table = TableId(number(reader, "table")?);
        let window = Window(varint::unzigzag(reader.varint("window")?));
        let empty = Self::empty(table, window, (0, 0));
        Ok(Self {
            table,
            window,
            first_index: reader.varint("first log index")?,
            last_index: reader.varint("last log index")?,
            blocks: number(reader, "count of blocks")?,
            dense_blocks: number(reader, "count of dense blocks")?,
            partitions: reader.varint("count of partitions")?,
            rows: reader.varint("count of rows")?,
            tombstones: reader.varint("count of tombstones")?,
            min_timestamp: Timestamp(reader.varint("oldest timestamp")?),
            max_timestamp: Timestamp(reader.varint("newest timestamp")?),
            dead_after_ms: reader.varint("expiry of the file")?,
            first_expiry_ms: reader.varint("first expiry")?,
            first_token: reader.varint("first token")?,
            last_token: reader.varint("last token")?,
            first_key: key(payload, reader)?,
            last_key: key(payload, reader)?,
            ..empty
        })
    }
}

fn key(payload: &Bytes, reader: &mut Reader<'_>) -> Result<Bytes, DecodeError> {
    reader
        .prefixed(ENGINE_KEY_BYTES_MAX, "partition key")
        .map(|key| payload.slice_ref(key))
}

fn number(reader: &mut Reader<'_>, what: &'static str) -> Result<u32, DecodeError> {
    u32::try_from(reader.varint(what)?).map_err(|_| reader.error(what))
}
