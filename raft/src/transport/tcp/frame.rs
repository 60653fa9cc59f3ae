//! What travels on a connection: a greeting each way, then frames.
//!
//! A frame is a length, a checksum and a body; the length belongs to the codec of the connection, which
//! refuses more than [`FRAME_BYTES_MAX`] before it allocates. The byte layout is in
//! `docs/formats/raft-calls.md`.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![deny(clippy::cast_possible_truncation)]

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::LengthDelimitedCodec;

use crate::error::{Error, ErrorKind, Result};
use crate::id::{GroupId, NodeId, ReplicaId};
use crate::transport::{Lane, Peer};
use crate::wire::Reader;

/// Largest frame, in bytes: a read of the log with one largest entry behind it, and some room.
pub(super) const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Version of the protocol.
const VERSION: u16 = 2;
/// Largest greeting or welcome, in bytes: nobody makes a host take more memory before it has said who it is.
const GREETING_BYTES_MAX: usize = 64;
const MAGIC: &[u8; 8] = b"chdbraft";

const _: () = assert!(lsm::limits::ENTRY_BYTES_MAX < FRAME_BYTES_MAX / 2 + 1);

/// What the caller says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) cluster: u64,
    pub(super) lane: Lane,
    pub(super) from: NodeId,
    pub(super) to: NodeId,
}

/// What the called one says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Yes,
    /// It speaks another version, which it names.
    OtherVersion(u16),
    OtherCluster,
    /// Another node listens here.
    OtherNode,
    /// The caller is no node of the cluster any more.
    Removed,
}

/// A call or its answer, with the number that both carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) peer: Peer,
    pub(super) bytes: Bytes,
}

/// The codec of the first frame each way. The further ones may be larger: see [`grow`].
pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(GREETING_BYTES_MAX)
        .new_codec()
}

/// After the greetings: frames of any allowed size.
pub(super) fn grow(codec: &mut LengthDelimitedCodec) {
    codec.set_max_frame_length(FRAME_BYTES_MAX);
}

impl Greeting {
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u8(match self.lane {
            Lane::Control => 0,
            Lane::Append => 1,
            Lane::Bulk => 2,
        });
        out.put_u64_le(self.cluster);
        out.put_u32_le(self.from.0);
        out.put_u32_le(self.to.0);
        seal(&out)
    }

    /// `Ok(None)`: it speaks another version.
    pub(super) fn decode(frame: Bytes) -> Result<Option<Self>> {
        let mut reader = open("raft greeting", frame)?;
        if reader.bytes(MAGIC.len(), "the name of the protocol")? != MAGIC.as_slice() {
            return Err(reader.corrupt("the name of the protocol"));
        }
        if reader.u16("version")? != VERSION {
            return Ok(None);
        }
        let lane = match reader.u8("lane")? {
            0 => Lane::Control,
            1 => Lane::Append,
            2 => Lane::Bulk,
            lane => return Err(reader.corrupt(&format!("lane 0 to 2, found {lane}"))),
        };
        let greeting = Self {
            lane,
            cluster: reader.u64("cluster")?,
            from: NodeId(reader.u32("calling node")?),
            to: NodeId(reader.u32("called node")?),
        };
        reader.finish()?;
        Ok(Some(greeting))
    }
}

impl Welcome {
    pub(super) fn encode(self) -> Bytes {
        let mut out = BytesMut::with_capacity(16);
        out.put_slice(MAGIC);
        out.put_u8(match self {
            Self::Yes => 0,
            Self::OtherVersion(_) => 1,
            Self::OtherCluster => 2,
            Self::OtherNode => 3,
            Self::Removed => 4,
        });
        out.put_u16_le(VERSION);
        seal(&out)
    }

    pub(super) fn decode(frame: Bytes) -> Result<Self> {
        let mut reader = open("answer to a raft greeting", frame)?;
        if reader.bytes(MAGIC.len(), "the name of the protocol")? != MAGIC.as_slice() {
            return Err(reader.corrupt("the name of the protocol"));
        }
        let status = reader.u8("status")?;
        let version = reader.u16("version")?;
        let welcome = match status {
            0 => Self::Yes,
            1 => Self::OtherVersion(version),
            2 => Self::OtherCluster,
            3 => Self::OtherNode,
            4 => Self::Removed,
            other => return Err(reader.corrupt(&format!("status 0 to 4, found {other}"))),
        };
        reader.finish()?;
        Ok(welcome)
    }

    /// An error unless welcome.
    pub(super) fn check(self, node: NodeId) -> Result<()> {
        let message = match self {
            Self::Yes => return Ok(()),
            Self::OtherVersion(version) => format!(
                "node {node} speaks version {version} of the raft protocol, this host {VERSION}"
            ),
            Self::OtherCluster => format!("node {node} belongs to another cluster"),
            Self::OtherNode => {
                format!("another node than {node} listens at its address")
            }
            Self::Removed => {
                format!("node {node} says that this one was removed from the cluster")
            }
        };
        Err(Error::new(ErrorKind::Unavailable, message))
    }
}

impl Call {
    pub(super) fn encode(&self) -> Result<Bytes> {
        if self.bytes.len() > FRAME_BYTES_MAX - 64 {
            let message = format!("a raft call of {} bytes is too large", self.bytes.len());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let mut out = BytesMut::with_capacity(self.bytes.len().saturating_add(32));
        out.put_u32_le(0);
        out.put_u64_le(self.number);
        out.put_u64_le(self.peer.group.0);
        out.put_u64_le(self.peer.replica.0);
        out.put_slice(&self.bytes);
        Ok(seal_in_place(out))
    }

    /// Reads what [`Call::encode`] wrote. The bytes share the allocation of `frame`.
    pub(super) fn decode(frame: Bytes) -> Result<Self> {
        let mut reader = open("raft frame", frame)?;
        let number = reader.u64("number of the call")?;
        let peer = Peer {
            group: GroupId(reader.u64("group")?),
            replica: ReplicaId(reader.u64("replica")?),
        };
        let len = reader.remaining();
        let bytes = reader.bytes(len, "body")?;
        Ok(Self {
            number,
            peer,
            bytes,
        })
    }
}

/// Puts the checksum in front of a body.
fn seal(body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len().saturating_add(4));
    out.put_u32_le(0);
    out.put_slice(body);
    seal_in_place(out)
}

/// Writes the checksum of what follows over the first four bytes.
fn seal_in_place(mut out: BytesMut) -> Bytes {
    if let Some((checksum, body)) = out.split_first_chunk_mut::<4>() {
        *checksum = crc32fast::hash(body).to_le_bytes();
    }
    out.freeze()
}

/// Checks the checksum and begins to read the body.
fn open(what: &'static str, mut frame: Bytes) -> Result<Reader> {
    if frame.len() < 4 {
        return Err(Error::corrupt(format!(
            "{what} of {} bytes: at offset 0 expected a checksum",
            frame.len()
        )));
    }
    let expected = frame.get_u32_le();
    let found = crc32fast::hash(&frame);
    if expected != found {
        return Err(Error::corrupt(format!(
            "{what} of {} bytes: expected checksum {expected:08x}, found {found:08x}",
            frame.len()
        )));
    }
    Ok(Reader::new(what, frame))
}

/// For fuzzing: everything that a connection may receive.
#[doc(hidden)]
pub fn fuzz_frames(bytes: &[u8]) {
    let body = Bytes::copy_from_slice(bytes);
    let sealed = seal(bytes);
    for frame in [body, sealed] {
        if let Ok(Some(greeting)) = Greeting::decode(frame.clone()) {
            assert_eq!(greeting.encode(), frame);
        }
        if let Ok(welcome) = Welcome::decode(frame.clone()) {
            std::hint::black_box(welcome.check(NodeId(1)).is_ok());
        }
        if let Ok(call) = Call::decode(frame.clone()) {
            assert_eq!(call.encode().expect("it came in a frame"), frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_reads_back_and_no_flipped_bit_of_it_does() {
        let greeting = Greeting {
            cluster: 77,
            lane: Lane::Append,
            from: NodeId(1),
            to: NodeId(2),
        };
        let call = Call {
            number: 5,
            peer: Peer {
                group: GroupId(9),
                replica: ReplicaId(2),
            },
            bytes: Bytes::from_static(b"a call"),
        };
        let frames = [
            greeting.encode(),
            Welcome::OtherVersion(VERSION).encode(),
            call.encode().expect("it is small"),
        ];
        assert_eq!(
            Greeting::decode(frames[0].clone()).expect("reads"),
            Some(greeting)
        );
        assert_eq!(
            Welcome::decode(frames[1].clone()).expect("reads"),
            Welcome::OtherVersion(VERSION)
        );
        assert_eq!(Call::decode(frames[2].clone()).expect("reads"), call);
        for (number, frame) in frames.iter().enumerate() {
            for bit in 0..frame.len() * 8 {
                let mut damaged = frame.to_vec();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let damaged = Bytes::from(damaged);
                let is_error = match number {
                    0 => Greeting::decode(damaged).is_err(),
                    1 => Welcome::decode(damaged).is_err(),
                    _ => Call::decode(damaged).is_err(),
                };
                assert!(is_error, "frame {number} with bit {bit} flipped");
            }
        }
    }
}
