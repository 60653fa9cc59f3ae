//! Entry points for the fuzz targets: every decoder of bytes from disk that is not public.
//!
//! Not part of the interface: hidden, and free to change. Each function must return, whatever
//! the bytes are; where something decodes, it must survive encoding and decoding again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::manifest::{Edit, decode_manifest};
use crate::row::{Timestamp, codec, view};
use crate::sstable::fuzz;
use crate::vfs::{MemoryVfs, Vfs};

/// A row body.
pub fn row(bytes: &[u8]) {
    let base = Timestamp(1_000_000);
    let body = Bytes::copy_from_slice(bytes);
    let is_live = codec::is_live(&body, base, Timestamp(7), 7);
    let summary = codec::inspect(&body, base);
    view::look_at(&body, base);
    let row = match codec::decode(&body, base) {
        Ok(row) => row,
        Err(error) => {
            assert_eq!(summary, Err(error));
            return;
        }
    };
    is_live.expect("what decodes can be looked at");
    let summary = summary.expect("what decodes is sound");
    let visible = row.clone().visible(Timestamp(7), 7);
    if summary.is_whole(Timestamp(7), 7) {
        assert_eq!(visible.as_ref(), Some(&row));
        view::check_view(&body, base, &row);
    }
    let mut again = Vec::new();
    codec::encode(&row, base, &mut again);
    assert_eq!(codec::decode(&Bytes::from(again), base), Ok(row));
}

/// The payload of a data block: every entry, every partition, searches.
pub fn block(bytes: &[u8]) {
    fuzz::block(Bytes::copy_from_slice(bytes));
}

/// The payloads of index block, top index, directory, filter and properties. The first byte
/// chooses.
pub fn index(bytes: &[u8]) {
    if let Some((kind, payload)) = bytes.split_first() {
        fuzz::section(*kind, &Bytes::copy_from_slice(payload));
    }
}

/// A frame whose checksum is made to fit, then a whole file.
pub fn sstable(bytes: &[u8]) {
    fuzz::frame(bytes);
    let vfs = MemoryVfs::new();
    let path = Path::new("/fuzz.sst");
    vfs.write(path, bytes.to_vec());
    let Ok(file) = vfs.open(path) else { return };
    fuzz::file(Arc::clone(&file), path, bytes.len() as u64);
}

/// A manifest, and the payload of an edit.
pub fn manifest(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    drop(decode_manifest(Path::new("/MANIFEST-000001"), 1, &bytes));
    if let Ok(edit) = Edit::decode(&bytes) {
        assert_eq!(Edit::decode(&Bytes::from(edit.encode())), Ok(edit));
    }
}
