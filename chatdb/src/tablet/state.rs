//! The store's own state as bytes, kept by the engine with each flush.
//!
//! `version u8 = 1 | last timestamp | remembered requests | silent commands | xxh3-64 u64`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::dedupe::{Dedupe, REQUESTS_MAX};
use super::silent::{SILENT_MAX, Silent};
use crate::error::Result;
use crate::sealed::{put_count, seal, unseal};
use bytes::Bytes;
use lsm::encoding::{DecodeError, Reader, varint};
use std::collections::BTreeSet;

const VERSION: u8 = 1;
const RESPONSE_BYTES_MAX: usize = 64;

/// What a store remembers besides its rows.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The last timestamp given to an operation.
    pub(super) last_timestamp: u64,
    pub(super) dedupe: Dedupe,
    pub(super) silent: Silent,
}

impl State {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        varint::encode(&mut out, self.last_timestamp);
        put_count(&mut out, self.dedupe.iter().len());
        for request in self.dedupe.iter() {
            out.extend(request.id.to_le_bytes());
            varint::encode(&mut out, request.time_ms);
            put_count(&mut out, request.response.len());
            out.extend(&request.response);
        }
        varint::encode(&mut out, self.silent.known_from());
        put_count(&mut out, self.silent.len());
        let mut last = 0;
        for (index, op) in self.silent.iter() {
            varint::encode(&mut out, index.saturating_sub(last));
            varint::encode(&mut out, u64::from(op));
            last = index;
        }
        seal(out)
    }

    /// The state in these bytes; empty bytes are the state before the first command.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        unseal(bytes, "a tablet's state", take)
    }
}

fn take_count(
    reader: &mut Reader<'_>,
    limit: usize,
    expected: &'static str,
) -> std::result::Result<usize, DecodeError> {
    let error = reader.error(expected);
    let count = usize::try_from(reader.varint(expected)?).map_err(|_| error)?;
    if count <= limit {
        Ok(count)
    } else {
        Err(error)
    }
}

fn take(reader: &mut Reader<'_>) -> std::result::Result<State, DecodeError> {
    let error = reader.error("version 1");
    if reader.u8("a version")? != VERSION {
        return Err(error);
    }
    let mut state = State {
        last_timestamp: reader.varint("a timestamp")?,
        ..State::default()
    };
    for _ in 0..take_count(reader, REQUESTS_MAX, "a number of requests")? {
        let id = u128::from_le_bytes(reader.array("a request id")?);
        let time_ms = reader.varint("a time")?;
        let response = reader.prefixed(RESPONSE_BYTES_MAX, "a response")?;
        state
            .dedupe
            .remember(id, time_ms, &Bytes::copy_from_slice(response));
    }
    let known_from = reader.varint("a log index")?;
    let mut places = BTreeSet::new();
    let mut last = 0_u64;
    for _ in 0..take_count(reader, SILENT_MAX, "a number of silent commands")? {
        last = last.saturating_add(reader.varint("a log index")?);
        let error = reader.error("a number in an entry");
        let op = u32::try_from(reader.varint("a number in an entry")?).map_err(|_| error)?;
        places.insert((last, op));
    }
    state.silent = Silent::new(known_from, places);
    Ok(state)
}
