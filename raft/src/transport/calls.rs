//! The bytes of a call between two replicas, and of its answer.
//!
//! Numbers are little-endian. Entries travel as they lie in the shared log, so a leader copies the
//! bytes of a batch and never encodes them again. The byte layout is in
//! `docs/formats/raft-calls.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};
use lsm::log::{Entry, Vote};

use super::snapshot_calls::{SnapshotCall, SnapshotName};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{LeaderId, LogId, ReplicaId};
use crate::wire::Reader;

/// Most entries of one call.
const ENTRIES_MAX: usize = 4096;
/// Largest entry of a call, in bytes: that of the shared log.
const ENTRY_BYTES_MAX: usize = lsm::limits::ENTRY_BYTES_MAX;
/// Longest text of an error, in bytes.
const ERROR_BYTES_MAX: usize = 1024;

const KIND_APPEND: u8 = 1;
const KIND_VOTE: u8 = 2;
const KIND_PRE_VOTE: u8 = 3;
const KIND_TRANSFER_LEADER: u8 = 4;
const KIND_SNAPSHOT_OFFER: u8 = 5;
const KIND_SNAPSHOT_CHUNK: u8 = 6;
const KIND_SNAPSHOT_INSTALL: u8 = 7;

const ANSWER_REFUSED: u8 = 0;
const ANSWER_SUCCESS: u8 = 1;
const ANSWER_PARTIAL: u8 = 2;
const ANSWER_CONFLICT: u8 = 3;
const ANSWER_HIGHER_VOTE: u8 = 4;
const ANSWER_VOTE: u8 = 5;
const ANSWER_TRANSFER_ACCEPTED: u8 = 6;
const ANSWER_RECEIVED: u8 = 7;

/// Bytes of an entry without its payload: term, leader, index, length.
const ENTRY_HEADER_BYTES: usize = 8 + 8 + 8 + 4;

/// A call of one replica to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Entries after `previous`, none for a heartbeat.
    Append {
        vote: Vote,
        previous: Option<LogId>,
        committed: Option<LogId>,
        entries: Vec<Entry>,
    },
    /// Asks for a vote, or whether one would be given (`is_pre`).
    Vote {
        is_pre: bool,
        vote: Vote,
        last: Option<LogId>,
        /// The leader itself asked for this election.
        is_transfer: bool,
    },
    /// The leader hands its office to `to`.
    TransferLeader {
        from: Vote,
        to: ReplicaId,
        last: Option<LogId>,
    },
    /// A raft snapshot, or a part of it.
    Snapshot(SnapshotName, SnapshotCall),
}

/// What the called replica says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// The call was not looked at.
    Refused(ErrorKind, String),
    /// All entries are durable there, or all that the raft snapshot holds.
    Success,
    /// Entries up to this one are.
    Partial(Option<LogId>),
    /// The log there does not have `previous`.
    Conflict,
    /// A higher vote was seen there.
    HigherVote(Vote),
    /// The vote there, whether it was given, and the last entry there.
    Vote {
        vote: Vote,
        is_granted: bool,
        last: Option<LogId>,
    },
    /// The office will be taken over. Otherwise `HigherVote` says what vote is there instead of the
    /// leader's, or `Partial` how far the log there is durable.
    TransferAccepted,
    /// How far a raft snapshot was received: files before this one, and bytes of it.
    Received { file: u32, offset: u64 },
}

impl Request {
    /// The bytes of this call.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        match self {
            Self::Append {
                vote,
                previous,
                committed,
                entries,
            } => encode_append((vote, previous, committed), entries),
            Self::Vote {
                is_pre,
                vote,
                last,
                is_transfer,
            } => {
                let mut out = BytesMut::with_capacity(64);
                out.put_u8(if *is_pre { KIND_PRE_VOTE } else { KIND_VOTE });
                put_vote(&mut out, vote);
                put_id(&mut out, *last);
                out.put_u8(u8::from(*is_transfer));
                Ok(out.freeze())
            }
            Self::TransferLeader { from, to, last } => {
                let mut out = BytesMut::with_capacity(64);
                out.put_u8(KIND_TRANSFER_LEADER);
                put_vote(&mut out, from);
                out.put_u64_le(to.0);
                put_id(&mut out, *last);
                Ok(out.freeze())
            }
            Self::Snapshot(name, call) => {
                let (kind, room) = match call {
                    SnapshotCall::Offer { files, .. } => {
                        (KIND_SNAPSHOT_OFFER, files.len().saturating_mul(32))
                    }
                    SnapshotCall::Chunk { bytes, .. } => (KIND_SNAPSHOT_CHUNK, bytes.len()),
                    SnapshotCall::Install => (KIND_SNAPSHOT_INSTALL, 0),
                };
                let mut out = BytesMut::with_capacity(room.saturating_add(128));
                out.put_u8(kind);
                call.encode_into(name, &mut out)?;
                Ok(out.freeze())
            }
        }
    }

    /// Reads what [`Request::encode`] wrote. Payloads share the allocation of `bytes`.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self> {
        let mut reader = Reader::new("raft call", bytes);
        let request = match reader.u8("kind of call")? {
            KIND_APPEND => decode_append(&mut reader)?,
            kind @ (KIND_VOTE | KIND_PRE_VOTE) => Self::Vote {
                is_pre: kind == KIND_PRE_VOTE,
                vote: vote(&mut reader)?,
                last: id(&mut reader)?,
                is_transfer: flag(&mut reader, "leadership transfer")?,
            },
            KIND_TRANSFER_LEADER => Self::TransferLeader {
                from: vote(&mut reader)?,
                to: ReplicaId(reader.u64("next leader")?),
                last: id(&mut reader)?,
            },
            kind @ (KIND_SNAPSHOT_OFFER | KIND_SNAPSHOT_CHUNK | KIND_SNAPSHOT_INSTALL) => {
                let name = SnapshotName::decode(&mut reader)?;
                let call = match kind {
                    KIND_SNAPSHOT_OFFER => SnapshotCall::decode_offer(&mut reader)?,
                    KIND_SNAPSHOT_CHUNK => SnapshotCall::decode_chunk(&mut reader)?,
                    _ => SnapshotCall::Install,
                };
                Self::Snapshot(name, call)
            }
            kind => return Err(reader.corrupt(&format!("kind of call 1 to 7, found {kind}"))),
        };
        reader.finish()?;
        Ok(request)
    }
}

fn encode_append(
    (vote, previous, committed): (&Vote, &Option<LogId>, &Option<LogId>),
    entries: &[Entry],
) -> Result<Bytes> {
    if entries.len() > ENTRIES_MAX {
        let message = format!(
            "{} entries in one call: at most {ENTRIES_MAX}",
            entries.len()
        );
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let payloads: usize = entries.iter().fold(0, |sum, entry| {
        sum.saturating_add(ENTRY_HEADER_BYTES)
            .saturating_add(entry.payload.len())
    });
    let mut out = BytesMut::with_capacity(payloads.saturating_add(96));
    out.put_u8(KIND_APPEND);
    put_vote(&mut out, vote);
    put_id(&mut out, *previous);
    put_id(&mut out, *committed);
    out.put_u32_le(u32::try_from(entries.len()).unwrap_or(u32::MAX));
    for entry in entries {
        out.put_u64_le(entry.id.leader.term);
        out.put_u64_le(entry.id.leader.node);
        out.put_u64_le(entry.id.index);
        out.put_u32_le(u32::try_from(entry.payload.len()).unwrap_or(u32::MAX));
        out.put_slice(&entry.payload);
    }
    Ok(out.freeze())
}

fn decode_append(reader: &mut Reader) -> Result<Request> {
    let vote = vote(reader)?;
    let previous = id(reader)?;
    let committed = id(reader)?;
    let count = usize::try_from(reader.u32("number of entries")?).unwrap_or(usize::MAX);
    if count > ENTRIES_MAX || count.saturating_mul(ENTRY_HEADER_BYTES) > reader.remaining() {
        return Err(reader.corrupt(&format!("{count} entries")));
    }
    let mut entries = Vec::with_capacity(count);
    let mut next = previous.map(|id| id.index.saturating_add(1));
    for _ in 0..count {
        let leader = LeaderId {
            term: reader.u64("term of an entry")?,
            node: reader.u64("leader of an entry")?,
        };
        let index = reader.u64("index of an entry")?;
        if next.is_some_and(|next| next != index) {
            return Err(reader.corrupt("entries without a gap"));
        }
        next = Some(index.saturating_add(1));
        let len = usize::try_from(reader.u32("length of an entry")?).unwrap_or(usize::MAX);
        if len > ENTRY_BYTES_MAX {
            return Err(reader.corrupt(&format!("an entry of at most {ENTRY_BYTES_MAX} bytes")));
        }
        let payload = reader.bytes(len, "an entry")?;
        let id = LogId { leader, index };
        entries.push(Entry { id, payload });
    }
    Ok(Request::Append {
        vote,
        previous,
        committed,
        entries,
    })
}

impl Response {
    /// The bytes of this answer.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        match self {
            Self::Refused(kind, text) => {
                out.put_u8(ANSWER_REFUSED);
                out.put_u8(u8::from(*kind == ErrorKind::Unavailable));
                let text = text.as_bytes();
                out.put_slice(text.get(..ERROR_BYTES_MAX).unwrap_or(text));
            }
            Self::Success => out.put_u8(ANSWER_SUCCESS),
            Self::Partial(last) => {
                out.put_u8(ANSWER_PARTIAL);
                put_id(&mut out, *last);
            }
            Self::Conflict => out.put_u8(ANSWER_CONFLICT),
            Self::HigherVote(vote) => {
                out.put_u8(ANSWER_HIGHER_VOTE);
                put_vote(&mut out, vote);
            }
            Self::Vote {
                vote,
                is_granted,
                last,
            } => {
                out.put_u8(ANSWER_VOTE);
                put_vote(&mut out, vote);
                out.put_u8(u8::from(*is_granted));
                put_id(&mut out, *last);
            }
            Self::TransferAccepted => out.put_u8(ANSWER_TRANSFER_ACCEPTED),
            Self::Received { file, offset } => {
                out.put_u8(ANSWER_RECEIVED);
                out.put_u32_le(*file);
                out.put_u64_le(*offset);
            }
        }
        out.freeze()
    }

    /// Reads what [`Response::encode`] wrote.
    pub(crate) fn decode(bytes: Bytes) -> Result<Self> {
        let mut reader = Reader::new("answer to a raft call", bytes);
        let response = match reader.u8("kind of answer")? {
            ANSWER_REFUSED => {
                let kind = if flag(&mut reader, "kind of error")? {
                    ErrorKind::Unavailable
                } else {
                    ErrorKind::Invalid
                };
                let len = reader.remaining();
                if len > ERROR_BYTES_MAX {
                    return Err(
                        reader.corrupt(&format!("a text of at most {ERROR_BYTES_MAX} bytes"))
                    );
                }
                let text = reader.bytes(len, "text of an error")?;
                Self::Refused(kind, String::from_utf8_lossy(&text).into_owned())
            }
            ANSWER_SUCCESS => Self::Success,
            ANSWER_PARTIAL => Self::Partial(id(&mut reader)?),
            ANSWER_CONFLICT => Self::Conflict,
            ANSWER_HIGHER_VOTE => Self::HigherVote(vote(&mut reader)?),
            ANSWER_VOTE => Self::Vote {
                vote: vote(&mut reader)?,
                is_granted: flag(&mut reader, "vote granted")?,
                last: id(&mut reader)?,
            },
            ANSWER_TRANSFER_ACCEPTED => Self::TransferAccepted,
            ANSWER_RECEIVED => Self::Received {
                file: reader.u32("number of a file")?,
                offset: reader.u64("offset in a file")?,
            },
            kind => return Err(reader.corrupt(&format!("kind of answer 0 to 7, found {kind}"))),
        };
        reader.finish()?;
        Ok(response)
    }
}

pub(super) fn put_vote(out: &mut BytesMut, vote: &Vote) {
    out.put_u64_le(vote.leader.term);
    out.put_u64_le(vote.leader.node);
    out.put_u8(u8::from(vote.committed));
}

pub(super) fn put_id(out: &mut BytesMut, id: Option<LogId>) {
    out.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        out.put_u64_le(id.leader.term);
        out.put_u64_le(id.leader.node);
        out.put_u64_le(id.index);
    }
}

pub(super) fn vote(reader: &mut Reader) -> Result<Vote> {
    let leader = LeaderId {
        term: reader.u64("term of a vote")?,
        node: reader.u64("candidate of a vote")?,
    };
    let committed = flag(reader, "vote committed")?;
    Ok(Vote { leader, committed })
}

pub(super) fn id(reader: &mut Reader) -> Result<Option<LogId>> {
    if !flag(reader, "presence of a log id")? {
        return Ok(None);
    }
    let leader = LeaderId {
        term: reader.u64("term")?,
        node: reader.u64("leader")?,
    };
    let index = reader.u64("index")?;
    Ok(Some(LogId { leader, index }))
}

fn flag(reader: &mut Reader, field: &str) -> Result<bool> {
    match reader.u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(reader.corrupt(&format!("{field} 0 or 1, found {other}"))),
    }
}

/// One of each call and answer, for tests and as seeds of fuzzing.
pub(super) mod samples {
    use super::{
        Bytes, Entry, ErrorKind, LeaderId, LogId, ReplicaId, Request, Response, SnapshotCall,
        SnapshotName, Vote,
    };
    use crate::snapshot::FileInfo;

    pub(super) fn at(index: u64) -> LogId {
        let leader = LeaderId { term: 3, node: 2 };
        LogId { leader, index }
    }

    pub(super) fn voted(committed: bool) -> Vote {
        let leader = LeaderId { term: 4, node: 1 };
        Vote { leader, committed }
    }

    pub(super) fn entry(index: u64, payload: &'static str) -> Entry {
        Entry {
            id: at(index),
            payload: Bytes::from_static(payload.as_bytes()),
        }
    }

    pub(super) fn requests() -> Vec<Request> {
        let append = |previous, entries| Request::Append {
            vote: voted(true),
            previous,
            committed: Some(at(5)),
            entries,
        };
        let mut all = vec![
            append(None, vec![]),
            append(Some(at(6)), vec![entry(7, "seven"), entry(8, "")]),
        ];
        for is_pre in [false, true] {
            all.push(Request::Vote {
                is_pre,
                vote: voted(false),
                last: Some(at(9)),
                is_transfer: !is_pre,
            });
        }
        all.push(Request::TransferLeader {
            from: voted(true),
            to: ReplicaId(3),
            last: None,
        });
        let name = SnapshotName {
            vote: voted(true),
            number: 2,
        };
        let file = |name: &str, bytes| FileInfo {
            name: name.to_owned(),
            bytes,
        };
        let offer = SnapshotCall::Offer {
            last: at(9),
            membership: Bytes::from_static(b"members"),
            files: vec![file("1.sst", 5), file("CURRENT", 0)],
        };
        let chunk = SnapshotCall::Chunk {
            file: 0,
            offset: 2,
            digest: 0x0102_0304_0506_0708,
            bytes: Bytes::from_static(b"ytes"),
        };
        for call in [offer, chunk, SnapshotCall::Install] {
            all.push(Request::Snapshot(name, call));
        }
        all
    }

    pub(super) fn responses() -> Vec<Response> {
        vec![
            Response::Refused(ErrorKind::Unavailable, "no such group".to_owned()),
            Response::Success,
            Response::Partial(Some(at(3))),
            Response::Conflict,
            Response::HigherVote(voted(true)),
            Response::Vote {
                vote: voted(false),
                is_granted: true,
                last: None,
            },
            Response::TransferAccepted,
            Response::Received { file: 1, offset: 2 },
        ]
    }
}

/// For fuzzing: what the encoders write.
#[doc(hidden)]
pub fn fuzz_seeds() -> Vec<Bytes> {
    let calls = samples::requests();
    let calls = calls.iter().filter_map(|call| call.encode().ok());
    let answers = samples::responses();
    calls.chain(answers.iter().map(Response::encode)).collect()
}

/// For fuzzing: what decodes as a call encodes to the same bytes.
#[doc(hidden)]
pub fn fuzz_request(bytes: &[u8]) {
    if let Ok(request) = Request::decode(Bytes::copy_from_slice(bytes)) {
        let again = request.encode().expect("a decoded call is within limits");
        assert_eq!(again, bytes);
    }
}

/// For fuzzing: what decodes as an answer decodes the same after encoding.
#[doc(hidden)]
pub fn fuzz_response(bytes: &[u8]) {
    if let Ok(response) = Response::decode(Bytes::copy_from_slice(bytes)) {
        let again = Response::decode(response.encode());
        // Text that is no UTF-8 grows when it is mended, and may then be cut.
        if !matches!(response, Response::Refused(..)) {
            assert_eq!(again.expect("an encoded answer decodes"), response);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{at, entry, requests, responses, voted};
    use super::*;

    #[test]
    fn every_call_and_answer_reads_back_and_no_cut_of_it_does() {
        for request in requests() {
            let bytes = request.encode().expect("it is within limits");
            assert_eq!(Request::decode(bytes.clone()).expect("reads back"), request);
            // The bytes of a chunk end where the frame does.
            let is_chunk = matches!(request, Request::Snapshot(_, SnapshotCall::Chunk { .. }));
            let needed = bytes.len() - if is_chunk { 4 } else { 0 };
            for len in 0..needed {
                assert!(
                    Request::decode(bytes.slice(..len)).is_err(),
                    "{request:?} cut at {len}"
                );
            }
        }
        for response in responses() {
            let bytes = response.encode();
            assert_eq!(
                Response::decode(bytes.clone()).expect("reads back"),
                response
            );
            if !matches!(response, Response::Refused(..)) {
                for len in 0..bytes.len() {
                    Response::decode(bytes.slice(..len)).unwrap_err();
                }
            }
        }
    }

    /// The bytes of the example called `name` on the format page.
    fn example(name: &str) -> Bytes {
        let page = include_str!("../../../docs/formats/raft-calls.md");
        let marker = format!("<!-- example {name} -->");
        let block = page.split(&marker).nth(1).expect("the example");
        let lines = block.split("```").nth(1).expect("a block").lines().skip(1);
        let columns = lines.map(|line| line.split("  ").next().unwrap_or_default());
        let digits = columns.flat_map(str::split_whitespace);
        digits
            .map(|byte| u8::from_str_radix(byte, 16).expect("a hexadecimal byte"))
            .collect()
    }

    #[test]
    fn the_examples_of_the_format_page_are_what_the_code_writes() {
        let append = &requests()[1];
        assert_eq!(append.encode().expect("it encodes"), example("append"));
        let offer = requests()
            .into_iter()
            .find(|it| matches!(it, Request::Snapshot(_, SnapshotCall::Offer { .. })));
        let offer = offer.expect("one of each").encode().expect("it encodes");
        assert_eq!(offer, example("offer"));
        let voted = responses()
            .into_iter()
            .find(|it| matches!(it, Response::Vote { .. }));
        assert_eq!(voted.expect("one of each").encode(), example("voted"));
    }

    #[test]
    fn entries_with_a_gap_or_a_length_that_is_not_there_are_refused() {
        let gap = Request::Append {
            vote: voted(true),
            previous: Some(at(6)),
            committed: None,
            entries: vec![entry(8, "eight")],
        };
        let error = Request::decode(gap.encode().expect("encodes")).expect_err("a gap");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let mut many = vec![KIND_APPEND];
        many.extend([0; 17]); // a vote
        many.extend([0, 0]); // no positions
        many.extend(u32::MAX.to_le_bytes());
        Request::decode(Bytes::from(many)).unwrap_err();
    }
}
