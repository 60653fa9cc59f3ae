//! Where a page ended, as bytes that a client holds and hands back.
//!
//! `version u8 = 1 | fingerprint of the read u64 | rows returned | partition, slice, rows of the
//! partition | key and clustering | xxh3-64 u64`. A client may not change it: the checksum and the
//! fingerprint refuse what is damaged or belongs to another statement, so a state never reads rows
//! that the statement would not.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, Result};
use bytes::Bytes;
use lsm::ScanPosition;
use lsm::encoding::{DecodeError, Reader, varint};
use xxhash_rust::xxh3::xxh3_64;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 8;
/// Longest key in a page state, in bytes.
const KEY_BYTES_MAX: usize = 512 * 1024;

/// A place in a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Rows returned before it, for `LIMIT`.
    pub(super) returned: u64,
    /// Rows returned of the current partition, for `PER PARTITION LIMIT`.
    pub(super) returned_of_partition: u64,
    /// Number of the current partition, when partitions are named.
    pub(super) partition: u64,
    /// Number of the current slice in it.
    pub(super) slice: u64,
    /// Last row of the slice that was looked at.
    pub(super) after: Option<Bytes>,
    /// Last place of a scan.
    pub(super) scan: Option<ScanPosition>,
    /// First token of the tablet that is scanned next.
    pub(super) token: u64,
}

impl Place {
    pub(super) fn encode(&self, fingerprint: u64) -> Bytes {
        let mut out = vec![VERSION];
        out.extend(fingerprint.to_le_bytes());
        varint::encode(&mut out, self.returned);
        varint::encode(&mut out, self.returned_of_partition);
        varint::encode(&mut out, self.partition);
        varint::encode(&mut out, self.slice);
        put_optional(&mut out, self.after.as_ref());
        out.extend(self.token.to_le_bytes());
        match &self.scan {
            None => out.push(0),
            Some(position) => {
                out.push(1);
                out.extend(position.token.to_le_bytes());
                put_bytes(&mut out, &position.key);
                put_optional(&mut out, position.clustering.as_ref());
            }
        }
        out.extend(xxh3_64(&out).to_le_bytes());
        out.into()
    }

    pub(super) fn decode(bytes: &Bytes, fingerprint: u64) -> Result<Self> {
        let refuse = |why: &str| {
            Error::invalid(format!("the page state {why}"))
                .with_help("try", "the statement again without a page state")
        };
        let body_len = bytes.len().checked_sub(CHECK_BYTES);
        let parts = body_len.and_then(|len| bytes.split_at_checked(len));
        let (body, check) = parts.ok_or_else(|| refuse("is too short"))?;
        if check != xxh3_64(body).to_le_bytes() {
            return Err(refuse("is damaged: its checksum does not match"));
        }
        let mut reader = Reader::new(body);
        let place = Self::take(bytes, &mut reader, fingerprint)
            .map_err(|cause| refuse("is damaged").with_source(cause))?;
        place.ok_or_else(|| refuse("belongs to another statement"))
    }

    fn take(
        bytes: &Bytes,
        reader: &mut Reader<'_>,
        fingerprint: u64,
    ) -> std::result::Result<Option<Self>, DecodeError> {
        let error = reader.error("version 1");
        if reader.u8("a version")? != VERSION {
            return Err(error);
        }
        if reader.u64("a fingerprint")? != fingerprint {
            return Ok(None);
        }
        let mut place = Self {
            returned: reader.varint("rows returned")?,
            returned_of_partition: reader.varint("rows of the partition")?,
            partition: reader.varint("a partition")?,
            slice: reader.varint("a slice")?,
            after: take_optional(bytes, reader)?,
            token: reader.u64("a token")?,
            scan: None,
        };
        if reader.u8("whether it is a scan")? != 0 {
            place.scan = Some(ScanPosition {
                token: reader.u64("a token")?,
                key: bytes.slice_ref(reader.prefixed(KEY_BYTES_MAX, "a partition key")?),
                clustering: take_optional(bytes, reader)?,
            });
        }
        if reader.is_empty() {
            Ok(Some(place))
        } else {
            Err(reader.error("the end"))
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::encode(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend(bytes);
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

fn take_optional(
    bytes: &Bytes,
    reader: &mut Reader<'_>,
) -> std::result::Result<Option<Bytes>, DecodeError> {
    if reader.u8("whether there is a row")? == 0 {
        return Ok(None);
    }
    Ok(Some(bytes.slice_ref(
        reader.prefixed(KEY_BYTES_MAX, "a clustering key")?,
    )))
}
