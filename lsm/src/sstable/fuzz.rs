//! Entry points for fuzzing, see [`crate::fuzzing`].

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::block::DataBlock;
use super::dictionary::Dictionary;
use super::directory;
use super::filter::{Filter, FilterKind};
use super::format::{Extent, FOOTER_BYTES, Footer, FrameKind};
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
    let probe = |kind| {
        let filter = Filter::decode(kind, payload.clone());
        std::hint::black_box(filter.map(|filter| filter.may_contain(b"key"))).ok();
    };
    match kind % 7 {
        0 => drop(IndexBlock::decode(payload)),
        1 => {
            for version in [1, 2] {
                drop(decode_top(payload, version));
            }
        }
        2 => drop(directory::decode(payload, 1000)),
        3 => probe(FilterKind::Lines),
        4 => drop(Dictionary::decode(payload)),
        6 => probe(FilterKind::Fuse),
        _ => {
            for version in [2, 5] {
                drop(Properties::decode(
                    payload,
                    &mut Reader::new(payload),
                    version,
                ));
            }
        }
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
    if let Ok(payload) = plain_frames(7).decode(&Bytes::from(frame), FrameKind::Data, 0) {
        block(payload);
    }
}

/// Makes the checksums of a file fit, as far as its footer and its index lead, so that what they
/// cover is reached.
pub(crate) fn reseal(bytes: &mut [u8]) -> Option<()> {
    let at = bytes.len().checked_sub(FOOTER_BYTES)?;
    let (body, tail) = bytes.split_at_mut(at);
    let (covered, check) = tail.split_last_chunk_mut::<8>()?;
    *check = xxh3(0, covered).to_le_bytes();
    let footer = Footer::decode(tail, Path::new("/f"), at as u64).ok()?;
    let frames = plain_frames(footer.uid);
    let sections = [footer.directory, footer.filter, footer.properties];
    for extent in sections.into_iter().chain(footer.dictionary()) {
        seal(body, footer.uid, extent);
    }
    let top = seal(body, footer.uid, footer.top)?;
    let top = frames
        .decode(&top, FrameKind::Top, footer.top.offset)
        .ok()?;
    for entry in decode_top(&top, footer.version).ok()? {
        let index = seal(body, footer.uid, entry.extent)?;
        let at = entry.extent.offset;
        let index = frames.decode(&index, FrameKind::Index, at).ok()?;
        for block in IndexBlock::decode(&index).ok()?.entries {
            seal(body, footer.uid, block.extent);
        }
    }
    Some(())
}

/// Frames of a file without a dictionary.
fn plain_frames(uid: u64) -> FrameFile<'static> {
    FrameFile {
        path: Path::new("/f"),
        uid,
        dictionary: None,
    }
}

/// Gives a frame the checksum of its bytes.
fn seal(body: &mut [u8], uid: u64, extent: Extent) -> Option<Bytes> {
    let range = usize::try_from(extent.offset).ok()?..usize::try_from(extent.end()).ok()?;
    let frame = body.get_mut(range)?;
    let (check, covered) = frame.split_first_chunk_mut::<8>()?;
    *check = xxh3(uid ^ extent.offset, covered).to_le_bytes();
    Some(Bytes::copy_from_slice(frame))
}

/// A filter of a file that stays.
#[cfg(test)]
pub(crate) fn fuse_filter() -> Vec<u8> {
    let mut builder = super::filter::FilterBuilder::default();
    for number in 0..2000_u64 {
        builder.add(number, &number.to_be_bytes());
    }
    let (kind, bytes) = builder.finish(true);
    assert_eq!(kind, FilterKind::Fuse);
    bytes
}

/// The payloads of a sound file with their kinds, to begin from.
#[cfg(test)]
pub(crate) fn payloads(bytes: &Bytes) -> Vec<(FrameKind, Bytes)> {
    let at = bytes.len() - FOOTER_BYTES;
    let footer = Footer::decode(&bytes.slice(at..), Path::new("/f"), at as u64).unwrap();
    let read = |kind, extent: Extent| {
        let range = usize::try_from(extent.offset).unwrap()..usize::try_from(extent.end()).unwrap();
        let frames = plain_frames(footer.uid);
        let payload = frames.decode(&bytes.slice(range), kind, extent.offset);
        (kind, payload.unwrap())
    };
    let mut found = vec![
        read(FrameKind::Directory, footer.directory),
        read(FrameKind::Filter, footer.filter),
        read(FrameKind::Properties, footer.properties),
    ];
    let top = read(FrameKind::Top, footer.top);
    for entry in decode_top(&top.1, footer.version).unwrap() {
        let index = read(FrameKind::Index, entry.extent);
        for block in IndexBlock::decode(&index.1).unwrap().entries {
            found.push(read(FrameKind::Data, block.extent));
        }
        found.push(index);
    }
    found.push(top);
    found
}

/// A whole file.
pub(crate) fn file(file: Arc<dyn File>, path: &Path, len: u64) {
    if let Ok(table) = SsTable::read(file, path, len) {
        drop(Arc::new(table).verify());
    }
}
