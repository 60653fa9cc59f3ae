//! Entry points for fuzzing, see [`crate::fuzzing`].

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::block::DataBlock;
use super::dictionary::Dictionary;
use super::directory;
use super::filter::Filter;
use super::format::FrameKind;
use super::frame::FrameFile;
use super::index::{IndexBlock, decode_top};
use super::open::SsTable;
use super::properties::Properties;
use crate::encoding::Reader;
use crate::encoding::checksum::xxh3;
use crate::row::range::Place;
use crate::vfs::File;

/// A data block.
pub(crate) fn block(payload: Bytes) {
    let Ok(block) = DataBlock::decode(payload) else {
        return;
    };
    for at in 0..block.len() {
        std::hint::black_box(block.entry(at).map(|entry| entry.place())).ok();
    }
    let mut number = 0;
    while let Ok(Some((header, first, end))) = block.partition(number) {
        std::hint::black_box(block.seek_partition(header.token, header.key)).ok();
        std::hint::black_box(block.seek(first, end, Place::row(b"key"))).ok();
        std::hint::black_box(block.in_force(first, end, header.continues)).ok();
        number += 1;
    }
}

/// A section of a file.
pub(crate) fn section(kind: u8, payload: &Bytes) {
    match kind % 6 {
        0 => drop(IndexBlock::decode(payload)),
        1 => {
            for version in [1, 2] {
                drop(decode_top(payload, version));
            }
        }
        2 => drop(directory::decode(payload, 1000)),
        3 => drop(Filter::decode(payload.clone()).map(|filter| filter.may_contain(b"key"))),
        4 => drop(Dictionary::decode(payload)),
        _ => drop(Properties::decode(payload, &mut Reader::new(payload), 2)),
    }
}

/// A frame, with a checksum that fits.
pub(crate) fn frame(bytes: &[u8]) {
    let mut frame = bytes.to_vec();
    if frame.len() < 8 {
        return;
    }
    let sum = xxh3(7, &frame[8..]).to_le_bytes();
    frame[..8].copy_from_slice(&sum);
    let frames = FrameFile {
        path: Path::new("/f"),
        uid: 7,
        dictionary: None,
    };
    if let Ok(payload) = frames.decode(&Bytes::from(frame), FrameKind::Data, 0) {
        block(payload);
    }
}

/// A whole file.
pub(crate) fn file(file: Arc<dyn File>, path: &Path, len: u64) {
    if let Ok(table) = SsTable::read(file, path, len) {
        drop(Arc::new(table).verify());
    }
}
