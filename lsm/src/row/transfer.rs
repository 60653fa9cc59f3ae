//! Rows that go from a memtable or a block into another block as they are.
//!
//! Most rows were written once, by an insert, and never touched again: an insertion marker, and cells
//! that came with it. All their timestamps are that of the marker, and it is the only thing in the
//! body that depends on the base of the block. Such a body is checked and copied behind a new
//! timestamp, without becoming cells and bytes again.
#![deny(clippy::indexing_slicing)]

use super::Timestamp;
use super::codec::{
    CELL_HAS_PATH, HAS_LIVENESS, KIND_LIVE, KIND_MASK, put_bytes, put_timestamp, timestamp,
};
use crate::encoding::{DecodeError, Reader};
use crate::limits::{CELLS_PER_ROW_MAX, PATH_BYTES_MAX, ROW_BYTES_MAX};

/// A row of one insert that never expires and of which nothing is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainRow<'a> {
    /// When everything in it was written.
    pub(crate) timestamp: Timestamp,
    /// Count of cells and cells, encoded; they do not depend on a base.
    cells: &'a [u8],
}

impl<'a> PlainRow<'a> {
    /// Checks all of a body, as [`super::codec::decode`] does; `None` if it is a row of another kind,
    /// which has to be decoded and is checked then.
    pub(crate) fn decode(body: &'a [u8], base: Timestamp) -> Result<Option<Self>, DecodeError> {
        let mut reader = Reader::new(body);
        if reader.u8("row flags")? != HAS_LIVENESS {
            return Ok(None);
        }
        let timestamp = timestamp(&mut reader, base)?;
        let cells = reader.rest();
        let what = "count of cells";
        let count = usize::try_from(reader.varint(what)?).unwrap_or(usize::MAX);
        if count > CELLS_PER_ROW_MAX {
            return Err(reader.error(what));
        }
        let mut last: Option<(u64, &[u8])> = None;
        for _ in 0..count {
            let flags = reader.u8("cell flags")?;
            if flags & !CELL_HAS_PATH & !KIND_MASK != 0 || flags & KIND_MASK != KIND_LIVE {
                return Ok(None);
            }
            let column = reader.varint("column")?;
            let mut path: &[u8] = &[];
            if flags & CELL_HAS_PATH != 0 {
                path = reader.prefixed(PATH_BYTES_MAX, "path of a cell")?;
            }
            reader.prefixed(ROW_BYTES_MAX, "value of a cell")?;
            let is_in_order = last.replace((column, path)) < Some((column, path));
            if !is_in_order || column > u64::from(u32::MAX) {
                return Err(reader.error("cells in order of column and path"));
            }
        }
        if !reader.is_empty() {
            return Err(reader.error("the end of the row"));
        }
        Ok(Some(Self { timestamp, cells }))
    }

    /// Bytes that it takes in a block, at most.
    pub(crate) fn size_hint(&self) -> usize {
        self.cells.len() + 16
    }

    /// Appends clustering key and body, as [`super::codec::encode`] would write that.
    pub(crate) fn encode(&self, key: &[u8], base: Timestamp, out: &mut Vec<u8>) {
        put_bytes(out, key);
        out.push(HAS_LIVENESS);
        put_timestamp(out, self.timestamp, base);
        out.extend_from_slice(self.cells);
    }
}
