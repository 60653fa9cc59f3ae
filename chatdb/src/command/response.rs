//! What applying a command answers; kept small, because the dedupe table stores it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use lsm::ColumnId;
use lsm::encoding::{DecodeError, Reader, varint};

/// Most bytes of current values that a failed condition reports.
const CURRENT_BYTES_MAX: usize = 64 * 1024;
const MESSAGE_BYTES_MAX: usize = 4 * 1024;

/// The outcome of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Took effect; there was no condition.
    Done,
    /// Took effect; its condition held.
    Applied,
    /// Did nothing: its condition did not hold.
    NotApplied(CurrentRow),
    /// Did nothing: it asked for something that is not there, such as a dropped table.
    Failed {
        /// What the client should do.
        kind: ErrorKind,
        /// What happened.
        message: String,
    },
    /// Did nothing: the tablet was split before, and another one holds a token of it.
    Moved,
}

/// The row that made a condition fail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentRow {
    /// Whether the row exists.
    pub exists: bool,
    /// Its visible cells as (column, path, value), static ones too; empty when they are too many.
    pub cells: Vec<(ColumnId, Bytes, Bytes)>,
}

impl Response {
    /// The bytes to answer with.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        match self {
            Self::Done => return Bytes::from_static(&[0]),
            Self::Applied => return Bytes::from_static(&[1]),
            Self::NotApplied(current) => {
                out.extend([2, u8::from(current.exists)]);
                let sizes = current
                    .cells
                    .iter()
                    .flat_map(|(_, path, value)| [path.len(), value.len()]);
                let total = sizes.fold(0_usize, usize::saturating_add);
                let fits = total <= CURRENT_BYTES_MAX;
                for (column, path, value) in current.cells.iter().filter(|_| fits) {
                    varint::encode(&mut out, u64::from(column.0));
                    put(&mut out, path);
                    put(&mut out, value);
                }
            }
            Self::Failed { kind, message } => {
                let kind = match kind {
                    ErrorKind::Conflict => 1,
                    ErrorKind::Unknown => 2,
                    _ => 0,
                };
                out.extend([3, kind]);
                out.extend(message.bytes().take(MESSAGE_BYTES_MAX));
            }
            Self::Moved => return Bytes::from_static(&[4]),
        }
        out.into()
    }

    /// The response in these bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self> {
        decode(bytes)
            .map_err(|cause| Error::corrupt(format!("the response of a write is damaged: {cause}")))
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::encode(out, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend(bytes);
}

fn decode(bytes: &Bytes) -> std::result::Result<Response, DecodeError> {
    let mut reader = Reader::new(bytes);
    let error = reader.error("a known outcome");
    match reader.u8("an outcome")? {
        0 => Ok(Response::Done),
        1 => Ok(Response::Applied),
        2 => {
            let mut current = CurrentRow {
                exists: reader.u8("whether it exists")? != 0,
                cells: Vec::new(),
            };
            while !reader.is_empty() {
                let error = reader.error("a column id");
                let column = u32::try_from(reader.varint("a column id")?).map_err(|_| error)?;
                let path = bytes.slice_ref(reader.prefixed(CURRENT_BYTES_MAX, "a path")?);
                let value = bytes.slice_ref(reader.prefixed(CURRENT_BYTES_MAX, "a value")?);
                current.cells.push((ColumnId(column), path, value));
            }
            Ok(Response::NotApplied(current))
        }
        3 => {
            let error = reader.error("a known kind");
            let kind = match reader.u8("a kind")? {
                0 => ErrorKind::Invalid,
                1 => ErrorKind::Conflict,
                2 => ErrorKind::Unknown,
                _ => return Err(error),
            };
            let message = String::from_utf8_lossy(reader.rest()).into_owned();
            Ok(Response::Failed { kind, message })
        }
        4 => Ok(Response::Moved),
        _ => Err(error),
    }
}
