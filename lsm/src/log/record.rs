//! Records: what the pages of a commit carry, one after another, across page borders.
//!
//! `length u32, crc u32, kind u8, group u64, ...`, little endian; the length counts the bytes
//! after the checksum. Public for tools and fuzzers; see `docs/formats/log.md`.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::types::{GroupId, GroupState, LeaderId, LogId, Vote};
use crate::encoding::{DecodeError, Reader, checksum};
use crate::limits::ENTRY_BYTES_MAX;

/// Bytes of an entry's record beside its payload.
pub const ENTRY_OVERHEAD_BYTES: usize = 41;

/// Most bytes of any other record.
pub const CONTROL_BYTES_MAX: usize = 128;

const PREFIX_BYTES: usize = 8;
const KIND_ENTRY: u8 = 1;
const KIND_VOTE: u8 = 2;
const KIND_TRUNCATE: u8 = 3;
const KIND_PURGE: u8 = 4;
const KIND_COMMITTED: u8 = 5;
const KIND_CHECKPOINT: u8 = 6;
const KIND_RESET: u8 = 7;

/// One record of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The group it is about.
    pub group: GroupId,
    /// What it says.
    pub body: Body<'a>,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The next entry.
    Entry {
        /// Its position.
        id: LogId,
        /// Its bytes.
        payload: &'a [u8],
    },
    /// The group's vote from here on.
    Vote(Vote),
    /// All entries after this index are gone; all of them if `None`.
    Truncate(Option<u64>),
    /// All entries up to this one are gone.
    Purge(LogId),
    /// The group is known to be committed up to here.
    Committed(LogId),
    /// All that was said about the group is void; from here on it belongs to this owner. 0: the group
    /// is gone.
    Reset(u64),
    /// Everything that the segments before this one say about the group.
    Checkpoint(Checkpoint),
}

/// State of a group at the start of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// Vote, purged, last and committed position.
    pub state: GroupState,
    /// Index of the first entry that is not purged; the next index if there is none.
    pub base: u64,
}

/// Appends `record` to `out` and returns its length in bytes.
pub fn encode(out: &mut Vec<u8>, record: &Record<'_>) -> usize {
    let start = out.len();
    out.extend([0; PREFIX_BYTES]);
    let kind_at = out.len();
    out.push(0);
    out.extend(record.group.0.to_le_bytes());
    let kind = put_body(out, &record.body);
    if let Some(byte) = out.get_mut(kind_at) {
        *byte = kind;
    }
    let len = out.len().saturating_sub(kind_at);
    if let Some((prefix, body)) = out
        .get_mut(start..)
        .and_then(<[u8]>::split_first_chunk_mut::<PREFIX_BYTES>)
    {
        let crc = checksum::crc32(0, body);
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        *prefix = (u64::from(len) | u64::from(crc) << 32).to_le_bytes();
    }
    len.saturating_add(PREFIX_BYTES)
}

fn put_body(out: &mut Vec<u8>, body: &Body<'_>) -> u8 {
    match body {
        Body::Entry { id, payload } => {
            put_id(out, *id);
            out.extend_from_slice(payload);
            KIND_ENTRY
        }
        Body::Vote(vote) => {
            put_leader(out, vote.leader);
            out.push(u8::from(vote.committed));
            KIND_VOTE
        }
        Body::Truncate(last_kept) => {
            out.push(u8::from(last_kept.is_some()));
            out.extend(last_kept.unwrap_or(0).to_le_bytes());
            KIND_TRUNCATE
        }
        Body::Purge(upto) => {
            put_id(out, *upto);
            KIND_PURGE
        }
        Body::Committed(id) => {
            put_id(out, *id);
            KIND_COMMITTED
        }
        Body::Reset(owner) => {
            out.extend(owner.to_le_bytes());
            KIND_RESET
        }
        Body::Checkpoint(Checkpoint { state, base }) => {
            let GroupState {
                vote,
                purged,
                last,
                committed,
                owner,
            } = *state;
            let vote_flags = vote.map_or(0, |vote| 1 | u8::from(vote.committed) << 1);
            out.push(
                vote_flags
                    | u8::from(purged.is_some()) << 2
                    | u8::from(last.is_some()) << 3
                    | u8::from(committed.is_some()) << 4
                    | u8::from(owner != 0) << 5,
            );
            out.extend(base.to_le_bytes());
            put_leader(out, vote.unwrap_or_default().leader);
            for id in [purged, last, committed] {
                put_id(out, id.unwrap_or_default());
            }
            if owner != 0 {
                out.extend(owner.to_le_bytes());
            }
            KIND_CHECKPOINT
        }
    }
}

fn put_leader(out: &mut Vec<u8>, leader: LeaderId) {
    out.extend(leader.term.to_le_bytes());
    out.extend(leader.node.to_le_bytes());
}

fn put_id(out: &mut Vec<u8>, id: LogId) {
    put_leader(out, id.leader);
    out.extend(id.index.to_le_bytes());
}

/// Reads one record from the front of a commit's stream.
pub fn decode<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
    let at = reader.clone();
    let len = reader.u32("the length of a record")?;
    let crc = reader.u32("the checksum of a record")?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > ENTRY_BYTES_MAX.saturating_add(ENTRY_OVERHEAD_BYTES) {
        return Err(at.error("a record within the limit of entries"));
    }
    let bytes = reader.take(len, "a whole record")?;
    if checksum::crc32(0, bytes) != crc {
        return Err(at.error("a record that matches its checksum"));
    }
    let mut body = Reader::new(bytes);
    decode_body(&mut body).map_err(|error| at.error(error.expected))
}

fn decode_body<'a>(reader: &mut Reader<'a>) -> Result<Record<'a>, DecodeError> {
    let kind = reader.u8("the kind of a record")?;
    let group = GroupId(reader.u64("the group of a record")?);
    let body = match kind {
        KIND_ENTRY => {
            let id = id(reader)?;
            let payload = reader.take(reader.rest().len(), "a payload")?;
            Body::Entry { id, payload }
        }
        KIND_VOTE => {
            let leader = leader(reader)?;
            Body::Vote(Vote {
                leader,
                committed: flag(reader)?,
            })
        }
        KIND_TRUNCATE => {
            let is_some = flag(reader)?;
            let index = reader.u64("an index")?;
            Body::Truncate(is_some.then_some(index))
        }
        KIND_PURGE => Body::Purge(id(reader)?),
        KIND_COMMITTED => Body::Committed(id(reader)?),
        KIND_RESET => Body::Reset(reader.u64("an owner")?),
        KIND_CHECKPOINT => Body::Checkpoint(checkpoint(reader)?),
        _ => return Err(reader.error("a known kind of record")),
    };
    if reader.is_empty() {
        Ok(Record { group, body })
    } else {
        Err(reader.error("the end of the record"))
    }
}

fn checkpoint(reader: &mut Reader<'_>) -> Result<Checkpoint, DecodeError> {
    let flags = reader.u8("checkpoint flags")?;
    if flags >> 6 != 0 {
        return Err(reader.error("known checkpoint flags"));
    }
    let base = reader.u64("a first index")?;
    let leader = leader(reader)?;
    let is_set = |bit: u8| flags >> bit & 1 == 1;
    let vote = is_set(0).then_some(Vote {
        leader,
        committed: is_set(1),
    });
    let purged = id(reader)?;
    let last = id(reader)?;
    let committed = id(reader)?;
    let owner = if is_set(5) {
        reader.u64("an owner")?
    } else {
        0
    };
    let state = GroupState {
        vote,
        purged: is_set(2).then_some(purged),
        last: is_set(3).then_some(last),
        committed: is_set(4).then_some(committed),
        owner,
    };
    Ok(Checkpoint { state, base })
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8("a flag")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.error("0 or 1")),
    }
}

fn leader(reader: &mut Reader<'_>) -> Result<LeaderId, DecodeError> {
    Ok(LeaderId {
        term: reader.u64("a term")?,
        node: reader.u64("a node")?,
    })
}

fn id(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    Ok(LogId {
        leader: leader(reader)?,
        index: reader.u64("an index")?,
    })
}
