//! State kept as bytes with a checksum behind it: the catalog, the store of a tablet.
//!
//! `body | xxh3-64 of the body, u64 little endian`. Bytes are sound if the checksum matches and the
//! body decodes to its last byte.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use bytes::Bytes;
use lsm::encoding::{DecodeError, Reader, varint};
use xxhash_rust::xxh3::xxh3_64;

const CHECK_BYTES: usize = 8;

/// Puts the checksum behind the body.
pub(crate) fn seal(mut body: Vec<u8>) -> Bytes {
    let check = xxh3_64(&body);
    body.extend(check.to_le_bytes());
    body.into()
}

/// What `take` finds in the body of sealed bytes; `what` names them in errors.
pub(crate) fn unseal<T>(
    bytes: &[u8],
    what: &str,
    take: impl FnOnce(&mut Reader<'_>) -> std::result::Result<T, DecodeError>,
) -> Result<T> {
    let damaged = |how: &str| damaged(what, how);
    let mut reader = Reader::new(body_of(bytes, what)?);
    let taken =
        take(&mut reader).map_err(|cause| damaged("its bytes do not decode").with_source(cause))?;
    if reader.is_empty() {
        Ok(taken)
    } else {
        Err(damaged("bytes follow its end"))
    }
}

/// The body of sealed bytes; `what` names them in errors.
pub(crate) fn body_of<'a>(bytes: &'a [u8], what: &str) -> Result<&'a [u8]> {
    let body_len = bytes.len().checked_sub(CHECK_BYTES);
    let parts = body_len.and_then(|len| bytes.split_at_checked(len));
    let (body, check) = parts.ok_or_else(|| damaged(what, "it is too short"))?;
    if check == xxh3_64(body).to_le_bytes() {
        Ok(body)
    } else {
        Err(damaged(what, "its checksum does not match"))
    }
}

fn damaged(what: &str, how: &str) -> Error {
    Error::corrupt(format!("{what} is damaged: {how}"))
}

/// Appends a length or a count.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    varint::encode(out, u64::try_from(count).unwrap_or(u64::MAX));
}
