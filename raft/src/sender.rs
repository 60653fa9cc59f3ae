//! The sending end of a raft snapshot.
//!
//! One chunk of a transfer is on its way at a time, so that it needs the memory of one, and all
//! transfers of a host share a pace ([`HostOptions::snapshot_bytes_per_second`]): entries have a
//! connection of their own, but not a disk or a network.
//!
//! [`HostOptions::snapshot_bytes_per_second`]: crate::HostOptions::snapshot_bytes_per_second

use std::time::Duration;

use bytes::Bytes;
use lsm::log::Vote;
use xxhash_rust::xxh3::Xxh3;

use crate::blocking::blocking;
use crate::error::{Error, ErrorKind, Result};
use crate::network::LaneClient;
use crate::snapshot::{CHUNK_BYTES, Outgoing};
use crate::transport::{Lane, Request, Response, SnapshotCall, SnapshotName};

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);
/// How often the receiver is asked whether it has installed.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How often the receiver may send the leader back before the transfer is given up.
const STEPS_BACK_MAX: usize = 16;

/// One transfer to one member.
pub(crate) struct Transfer<'a> {
    pub(crate) client: &'a LaneClient,
    pub(crate) vote: Vote,
    pub(crate) outgoing: &'a Outgoing,
    /// Called before each chunk.
    pub(crate) touch: &'a (dyn Fn() + Sync),
}

/// How a call ended.
enum Told {
    /// Go on there: the number of a file and an offset in it.
    Next(usize, u64),
    /// The member has all of it.
    Done,
    /// The office of this leader is over.
    Higher(Vote),
}

impl Transfer<'_> {
    /// Sends everything that the member does not have, and waits until it is installed. Tells a higher
    /// vote if there is one.
    pub(crate) async fn run(&self) -> Result<Option<Vote>> {
        let Outgoing {
            id,
            membership,
            files,
            ..
        } = self.outgoing;
        let (mut file, mut offset) = match self.call(self.offer(*id, membership.encode()?)).await? {
            Told::Next(file, offset) => (file, offset),
            Told::Done => return Ok(None),
            Told::Higher(vote) => return Ok(Some(vote)),
        };
        let mut steps_back = 0;
        while file < files.len() {
            match self.send_file(file, offset).await? {
                Told::Next(next, from) => {
                    steps_back += usize::from(next <= file);
                    (file, offset) = (next, from);
                }
                Told::Done => return Ok(None),
                Told::Higher(vote) => return Ok(Some(vote)),
            }
            if steps_back > STEPS_BACK_MAX {
                let message = "a member does not get the bytes of a raft snapshot as they are";
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
        loop {
            (self.touch)();
            match self.call(SnapshotCall::Install).await? {
                Told::Next(next, _) if next < files.len() => {
                    let message = "a member has lost a part of a raft snapshot";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Told::Next(..) => tokio::time::sleep(ASK_EVERY).await,
                Told::Done => return Ok(None),
                Told::Higher(vote) => return Ok(Some(vote)),
            }
        }
    }

    fn offer(&self, last: crate::id::LogId, membership: Bytes) -> SnapshotCall {
        SnapshotCall::Offer {
            last,
            membership,
            files: self.outgoing.files.clone(),
        }
    }

    /// Sends a file from `offset` on, until its end or until the member wants something else.
    async fn send_file(&self, file: usize, mut offset: u64) -> Result<Told> {
        let Some(info) = self.outgoing.files.get(file) else {
            return Ok(Told::Next(file, 0));
        };
        let source = blocking(|| self.outgoing.open(info))?;
        let mut hasher = Xxh3::new();
        let mut hashed = 0;
        let number = u32::try_from(file).unwrap_or(u32::MAX);
        loop {
            let is_behind = hashed < offset;
            let end = if is_behind { offset } else { info.bytes };
            let len = usize::try_from(end - hashed).unwrap_or(usize::MAX);
            let bytes = blocking(|| Outgoing::read(&source, hashed, len.min(CHUNK_BYTES)))?;
            hasher.update(&bytes);
            hashed += bytes.len() as u64;
            if is_behind {
                tokio::task::yield_now().await;
                continue;
            }
            self.client.bulk.pace(bytes.len()).await;
            (self.touch)();
            let chunk = SnapshotCall::Chunk {
                file: number,
                offset,
                digest: hasher.digest(),
                bytes: bytes.into(),
            };
            match self.call(chunk).await? {
                Told::Next(next, from) if next == file && from == hashed => offset = hashed,
                other => return Ok(other),
            }
        }
    }

    async fn call(&self, call: SnapshotCall) -> Result<Told> {
        let name = SnapshotName {
            vote: self.vote,
            number: self.outgoing.number,
        };
        let request = Request::Snapshot(name, call);
        let answer = self
            .client
            .send(Lane::Bulk, Ok(request), CALL_LIMIT)
            .await?;
        Ok(match answer {
            Response::Received { file, offset } => {
                let file = usize::try_from(file).unwrap_or(usize::MAX);
                let bytes = self.outgoing.files.get(file).map_or(0, |it| it.bytes);
                if offset > bytes || (offset == bytes && offset > 0) {
                    let message = "a member claims more of a raft snapshot than there is";
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Told::Next(file, offset)
            }
            Response::Success => Told::Done,
            Response::HigherVote(vote) => Told::Higher(vote),
            _ => {
                let message = "the peer answered a raft call with something else";
                return Err(Error::new(ErrorKind::Bug, message));
            }
        })
    }
}
