//! Reads a whole file and checks that it says what it claims.

use std::sync::Arc;

use bytes::Bytes;

use super::block::BlockEntry;
use super::open::SsTable;
use super::reader::TableReader;
use crate::error::{Error, Result};
use crate::row::codec;
use crate::row::range::{Edge, Place};

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

/// The last place seen in the order of the file.
#[derive(Debug, Default)]
struct Last {
    partition: Option<(u64, Bytes)>,
    place: Option<Edge>,
}

impl SsTable {
    /// Checks every block, the order of all entries, the index and the counts.
    pub(crate) fn verify(self: &Arc<Self>) -> Result<Counted> {
        let mut reader = TableReader::new(Arc::clone(self), None);
        let mut counted = Counted::default();
        let mut last = Last::default();
        let (mut data_end, mut index_end) = (0, self.footer.index_offset);
        for top in &self.top {
            if top.extent.offset != index_end {
                return Err(self.gap(index_end));
            }
            index_end = top.extent.end();
        }
        if index_end != self.footer.directory.offset {
            return Err(self.gap(index_end));
        }
        for number in 0..reader.block_count() {
            let properties = reader.properties(number)?;
            if properties.extent.offset != data_end {
                return Err(self.gap(data_end));
            }
            data_end = properties.extent.end();
            check_block(&mut reader, number, &mut last, &mut counted)?;
            counted.blocks += 1;
        }
        if data_end != self.footer.index_offset {
            return Err(self.gap(data_end));
        }
        let claimed = self.properties();
        if (counted.partitions, counted.rows) != (claimed.partitions, claimed.rows) {
            let expected = format!("{} partitions, {} rows", claimed.partitions, claimed.rows);
            let found = format!("{} partitions, {} rows", counted.partitions, counted.rows);
            return Err(Error::corrupt(self.path(), 0, expected, found));
        }
        Ok(counted)
    }

    fn gap(&self, offset: u64) -> Error {
        Error::corrupt(
            self.path(),
            offset,
            "a block after the one before",
            "a gap or overlap",
        )
    }
}

fn check_block(
    reader: &mut TableReader,
    number: u32,
    last: &mut Last,
    counted: &mut Counted,
) -> Result<()> {
    let block = reader.data(number)?;
    let in_block = |error| reader.in_block(error, number);
    let out_of_order = |at: usize| {
        let expected = "entries in order";
        in_block(crate::encoding::DecodeError { at, expected })
    };
    for at in 0..block.len() {
        match block.entry(at).map_err(in_block)? {
            BlockEntry::Partition(header) => {
                let this = (header.token, block.payload().slice_ref(header.key));
                if header.continues != (last.partition.as_ref() == Some(&this)) {
                    return Err(out_of_order(at));
                }
                if !header.continues {
                    if last
                        .partition
                        .as_ref()
                        .is_some_and(|before| *before >= this)
                    {
                        return Err(out_of_order(at));
                    }
                    let may_be_here = reader.table().may_contain(this.0, &this.1)
                        && reader.table().may_contain_token(this.0);
                    if !may_be_here {
                        return Err(out_of_order(at));
                    }
                    *last = Last {
                        partition: Some(this),
                        place: None,
                    };
                    counted.partitions += 1;
                }
                if let Some(body) = header.static_row {
                    codec::decode(&block.payload().slice_ref(body), block.base())
                        .map_err(in_block)?;
                }
            }
            entry => {
                let place = entry.place().unwrap_or(Place::START);
                if last
                    .place
                    .as_ref()
                    .is_some_and(|before| before.place() >= place)
                {
                    return Err(out_of_order(at));
                }
                if let BlockEntry::Row(_, body) = entry {
                    codec::decode(&block.payload().slice_ref(body), block.base())
                        .map_err(in_block)?;
                    counted.rows += 1;
                }
                last.place = Some(place.to_edge());
            }
        }
    }
    Ok(())
}
