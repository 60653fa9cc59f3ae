//! The store's own state as bytes, kept by the engine with each flush.
//!
//! `version u8 = 3 | last timestamp | tokens | last cut | remembered requests | clients | silent commands |
//! xxh3-64 u64`; tokens are the first and the last, u64 each, the last cut is `0`, or `1 | child | token | entry`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::dedupe::{CLIENT_ANSWERS_MAX, CLIENTS_MAX, Client, Dedupe, REQUESTS_MAX, RequestId};
use super::silent::{SILENT_MAX, Silent};
use crate::error::Result;
use crate::sealed::{put_count, seal, unseal};
use bytes::Bytes;
use lsm::encoding::{DecodeError, Reader, varint};
use std::collections::BTreeSet;

const VERSION: u8 = 3;
const RESPONSE_BYTES_MAX: usize = 64;

/// What a store remembers besides its rows.
#[derive(Debug)]
pub(super) struct State {
    /// The last timestamp given to an operation.
    pub(super) last_timestamp: u64,
    /// The first and the last token that the store holds.
    pub(super) tokens: (u64, u64),
    /// The last tablet that was split off, and the entry that did it.
    pub(super) cut: Option<Cut>,
    pub(super) dedupe: Dedupe,
    pub(super) silent: Silent,
}

/// A split that the store has applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The raft group of the tablet that holds the upper tokens.
    pub(crate) child: u64,
    /// The first of them.
    pub(crate) at: u64,
    /// The entry.
    pub(crate) entry: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            last_timestamp: 0,
            tokens: (0, u64::MAX),
            cut: None,
            dedupe: Dedupe::default(),
            silent: Silent::default(),
        }
    }
}

impl State {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        varint::encode(&mut out, self.last_timestamp);
        out.extend(self.tokens.0.to_le_bytes());
        out.extend(self.tokens.1.to_le_bytes());
        out.push(u8::from(self.cut.is_some()));
        if let Some(cut) = self.cut {
            varint::encode(&mut out, cut.child);
            varint::encode(&mut out, cut.at);
            varint::encode(&mut out, cut.entry);
        }
        put_count(&mut out, self.dedupe.iter().len());
        for request in self.dedupe.iter() {
            out.extend(request.id.to_le_bytes());
            varint::encode(&mut out, request.time_ms);
            put_count(&mut out, request.response.len());
            out.extend(&request.response);
        }
        put_count(&mut out, self.dedupe.client_count());
        for client in self.dedupe.clients() {
            put_client(&mut out, client);
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

/// `id u64 | time ms | settled below | count | (number delta | response bytes)*`.
fn put_client(out: &mut Vec<u8>, client: &Client) {
    out.extend(client.id.to_le_bytes());
    varint::encode(out, client.time_ms);
    varint::encode(out, client.settled_below);
    put_count(out, client.answers.len());
    let mut last = client.settled_below;
    for (number, response) in &client.answers {
        varint::encode(out, number.saturating_sub(last));
        put_count(out, response.len());
        out.extend(response);
        last = *number;
    }
}

fn take_client(reader: &mut Reader<'_>) -> std::result::Result<Client, DecodeError> {
    let id = u64::from_le_bytes(reader.array("a client")?);
    let time_ms = reader.varint("a time")?;
    let settled_below = reader.varint("a request number")?;
    let mut client = Client::new(id, time_ms, settled_below);
    let mut last = settled_below;
    for place in 0..take_count(reader, CLIENT_ANSWERS_MAX, "a number of answers")? {
        let error = reader.error("ascending request numbers");
        let delta = reader.varint("a request number")?;
        // Only the first answer may be that of the settled number itself.
        let next = last.checked_add(delta).filter(|_| delta > 0 || place == 0);
        last = next.ok_or(error)?;
        let response = reader.prefixed(RESPONSE_BYTES_MAX, "a response")?;
        client
            .answers
            .insert(last, Bytes::copy_from_slice(response));
    }
    Ok(client)
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
    let error = reader.error("version 3");
    if reader.u8("a version")? != VERSION {
        return Err(error);
    }
    let mut state = State {
        last_timestamp: reader.varint("a timestamp")?,
        tokens: (
            u64::from_le_bytes(reader.array("the first token")?),
            u64::from_le_bytes(reader.array("the last token")?),
        ),
        ..State::default()
    };
    let error = reader.error("a cut or none");
    state.cut = match reader.u8("a cut")? {
        0 => None,
        1 => Some(Cut {
            child: reader.varint("a group")?,
            at: reader.varint("a token")?,
            entry: reader.varint("an entry")?,
        }),
        _ => return Err(error),
    };
    for _ in 0..take_count(reader, REQUESTS_MAX, "a number of requests")? {
        let id = u128::from_le_bytes(reader.array("a request id")?);
        let time_ms = reader.varint("a time")?;
        let response = reader.prefixed(RESPONSE_BYTES_MAX, "a response")?;
        let response = Bytes::copy_from_slice(response);
        let id = RequestId::Alone(id);
        state.dedupe.remember(id, time_ms, &response);
    }
    for _ in 0..take_count(reader, CLIENTS_MAX, "a number of clients")? {
        let error = reader.error("a client once");
        if !state.dedupe.restore(take_client(reader)?) {
            return Err(error);
        }
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
