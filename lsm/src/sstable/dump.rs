//! Every entry of a file as it is stored, for people who look for what went wrong.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{BlockEntry, DataBlock};
use super::open::SsTable;
use super::reader::TableReader;
use crate::encoding::DecodeError;
use crate::engine::{FileEntry, StoredRow};
use crate::error::Result;
use crate::row::codec;
use crate::row::range::{Place, Side};

/// Tells `each` every entry in order. A header that only repeats in a further block is left out.
pub(crate) fn entries(
    table: &Arc<SsTable>,
    each: &mut dyn FnMut(FileEntry) -> ControlFlow<()>,
) -> Result<()> {
    let mut reader = TableReader::new(Arc::clone(table), None);
    for number in 0..reader.block_count() {
        let block = reader.data(number)?;
        for at in 0..block.len() {
            let entry = block.entry(at).and_then(|entry| convert(&block, entry));
            let entry = entry.map_err(|error| reader.in_block(error, number))?;
            if entry.is_some_and(|entry| each(entry).is_break()) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn convert(
    block: &DataBlock,
    entry: BlockEntry<'_>,
) -> std::result::Result<Option<FileEntry>, DecodeError> {
    Ok(Some(match entry {
        BlockEntry::Partition(header) if header.continues => return Ok(None),
        BlockEntry::Partition(header) => FileEntry::Partition {
            token: header.token,
            key: block.payload().slice_ref(header.key),
            deletion: header.deletion,
            static_row: header
                .static_row
                .map(|body| stored(block, body))
                .transpose()?,
        },
        BlockEntry::Row(key, body) => FileEntry::Row {
            clustering: block.payload().slice_ref(key),
            row: stored(block, body)?,
        },
        BlockEntry::Edge(place, deletion) => {
            let (clustering, is_after) = match place {
                Place::At(key, side) => (Some(Bytes::copy_from_slice(key)), side == Side::After),
                Place::End => (None, true),
            };
            FileEntry::RangeDeletion {
                clustering,
                is_after,
                deletion,
            }
        }
    }))
}

fn stored(block: &DataBlock, body: &[u8]) -> std::result::Result<StoredRow, DecodeError> {
    let row = codec::decode(&block.payload().slice_ref(body), block.base())?;
    Ok(StoredRow {
        deletion: row.deletion,
        liveness: row.liveness,
        collections: row.complex,
        cells: row.cells,
    })
}
