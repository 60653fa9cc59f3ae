//! The calls that carry a raft snapshot: what is offered, its bytes, and that it may be installed.
//!
//! The byte layout is in `docs/formats/raft-calls.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use bytes::{BufMut, Bytes, BytesMut};
use lsm::log::Vote;

use super::calls::{id, put_id, put_vote, vote};
use crate::error::{Error, ErrorKind, Result};
use crate::id::LogId;
use crate::snapshot::{CHUNK_BYTES, FILES_MAX, FileInfo, NAME_BYTES_MAX};
use crate::wire::Reader;

/// Largest membership of an offer, in bytes.
const MEMBERSHIP_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a file in an offer without its name: length of the name, length.
const FILE_HEADER_BYTES: usize = 2 + 8;

/// Which raft snapshot a call is about: a leader numbers those that it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotName {
    pub(crate) vote: Vote,
    pub(crate) number: u64,
}

/// What a leader says about a raft snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotCall {
    /// There is one. The answer says where to begin or to go on.
    Offer {
        /// The last entry whose effects are in it.
        last: LogId,
        /// The members as of it, as a state machine keeps them.
        membership: Bytes,
        files: Vec<FileInfo>,
    },
    /// The next bytes of a file.
    Chunk {
        file: u32,
        offset: u64,
        /// XXH3-64 of the file's bytes from its start to the end of these.
        digest: u64,
        bytes: Bytes,
    },
    /// All of it was sent: install it, or say how far that is.
    Install,
}

impl SnapshotCall {
    pub(super) fn encode_into(&self, name: &SnapshotName, out: &mut BytesMut) -> Result<()> {
        put_vote(out, &name.vote);
        out.put_u64_le(name.number);
        match self {
            Self::Offer {
                last,
                membership,
                files,
            } => {
                let sizes = membership.len() <= MEMBERSHIP_BYTES_MAX && files.len() <= FILES_MAX;
                if !sizes || files.iter().any(|it| it.name.len() > NAME_BYTES_MAX) {
                    let message = "a raft snapshot with more files or members than can be offered";
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                put_id(out, Some(*last));
                out.put_u32_le(u32::try_from(membership.len()).unwrap_or(u32::MAX));
                out.put_slice(membership);
                out.put_u32_le(u32::try_from(files.len()).unwrap_or(u32::MAX));
                for file in files {
                    out.put_u16_le(u16::try_from(file.name.len()).unwrap_or(u16::MAX));
                    out.put_slice(file.name.as_bytes());
                    out.put_u64_le(file.bytes);
                }
            }
            Self::Chunk {
                file,
                offset,
                digest,
                bytes,
            } => {
                if bytes.len() > CHUNK_BYTES {
                    let message = format!("a chunk of {} bytes is too large", bytes.len());
                    return Err(Error::new(ErrorKind::Invalid, message));
                }
                out.put_u32_le(*file);
                out.put_u64_le(*offset);
                out.put_u64_le(*digest);
                out.put_slice(bytes);
            }
            Self::Install => {}
        }
        Ok(())
    }

    pub(super) fn decode_offer(reader: &mut Reader) -> Result<Self> {
        let last = id(reader)?.ok_or_else(|| reader.corrupt("the last entry of a snapshot"))?;
        let len = usize::try_from(reader.u32("length of a membership")?).unwrap_or(usize::MAX);
        if len > MEMBERSHIP_BYTES_MAX {
            return Err(reader.corrupt("a membership within its limit"));
        }
        let membership = reader.bytes(len, "a membership")?;
        let count = usize::try_from(reader.u32("number of files")?).unwrap_or(usize::MAX);
        if count > FILES_MAX || count.saturating_mul(FILE_HEADER_BYTES) > reader.remaining() {
            return Err(reader.corrupt(&format!("{count} files")));
        }
        let mut files: Vec<FileInfo> = Vec::with_capacity(count);
        for _ in 0..count {
            let file = file(reader)?;
            if files.last().is_some_and(|last| last.name >= file.name) {
                return Err(reader.corrupt("files in strictly ascending order"));
            }
            files.push(file);
        }
        Ok(Self::Offer {
            last,
            membership,
            files,
        })
    }

    pub(super) fn decode_chunk(reader: &mut Reader) -> Result<Self> {
        let file = reader.u32("number of a file")?;
        let offset = reader.u64("offset in a file")?;
        let digest = reader.u64("digest of a file")?;
        let len = reader.remaining();
        if len > CHUNK_BYTES {
            return Err(reader.corrupt(&format!("a chunk of at most {CHUNK_BYTES} bytes")));
        }
        Ok(Self::Chunk {
            file,
            offset,
            digest,
            bytes: reader.bytes(len, "a chunk")?,
        })
    }
}

impl SnapshotName {
    pub(super) fn decode(reader: &mut Reader) -> Result<Self> {
        Ok(Self {
            vote: vote(reader)?,
            number: reader.u64("number of a snapshot")?,
        })
    }
}

/// A file's name is one part of a path and no way out of the directory.
fn file(reader: &mut Reader) -> Result<FileInfo> {
    let len = usize::from(reader.u16("length of a name")?);
    if len > NAME_BYTES_MAX {
        return Err(reader.corrupt(&format!("a name of at most {NAME_BYTES_MAX} bytes")));
    }
    let name = reader.bytes(len, "a name")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if name.is_empty() || name.starts_with(b".") || !name.iter().all(is_plain) {
        return Err(reader.corrupt("a name of letters, digits, dots, dashes and underscores"));
    }
    Ok(FileInfo {
        name: String::from_utf8_lossy(&name).into_owned(),
        bytes: reader.u64("length of a file")?,
    })
}
