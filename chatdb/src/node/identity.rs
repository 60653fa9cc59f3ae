//! Which node of which cluster a data directory is.
//!
//! The file `node` is written once, before the node does anything for its cluster, and never changes:
//! raft counts what a node promised, so that a directory must not become another node. It is one line
//! of text, see `docs/formats/installation.md`.

use crate::error::{Error, Result};
use lsm::encoding::checksum::xxh3;
use lsm::vfs::Vfs;
use raft::NodeId;
use std::path::Path;

const NAME: &str = "node";
const NEW_NAME: &str = "node.new";
const BYTES_MAX: usize = 32 + 1 + 10 + 1 + 16 + 1;

/// A node and its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster_id: u128,
    pub(super) node: NodeId,
}

impl Identity {
    /// The identity of the directory; `None` for one that is no node yet.
    pub(super) fn read(vfs: &dyn Vfs, data: &Path) -> Result<Option<Self>> {
        let path = data.join(NAME);
        if !vfs.exists(&path)? {
            return Ok(None);
        }
        let mut bytes = [0; BYTES_MAX + 1];
        let found = vfs.open(&path)?.read_at(&mut bytes, 0)?;
        let bytes = bytes.get(..found).unwrap_or_default();
        let identity = str::from_utf8(bytes).ok().and_then(Self::decode);
        let damaged = || {
            let found = format!("{:?}", String::from_utf8_lossy(bytes));
            lsm::Error::corrupt(&path, 0, "a cluster, a node and their checksum", found)
        };
        Ok(Some(identity.ok_or_else(damaged)?))
    }

    /// Makes the directory this node, durably.
    pub(super) fn write(self, vfs: &dyn Vfs, data: &Path) -> Result<()> {
        let new = data.join(NEW_NAME);
        if vfs.exists(&new)? {
            vfs.remove(&new)?;
        }
        let file = vfs.create(&new)?;
        file.write_at(self.encode().as_bytes(), 0)?;
        file.sync_data()?;
        vfs.rename(&new, &data.join(NAME))?;
        vfs.sync_dir(data)?;
        Ok(())
    }

    /// What hosts of this cluster greet each other with.
    pub(super) fn greeting(self) -> u64 {
        #[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
        let low = self.cluster_id as u64;
        low
    }

    fn encode(self) -> String {
        let words = format!("{:032x} {}", self.cluster_id, self.node.0);
        let check = xxh3(0, words.as_bytes());
        format!("{words} {check:016x}\n")
    }

    /// The identity in the text of the file, which is what [`Self::encode`] makes of it, to the bit.
    fn decode(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let identity = Self {
            cluster_id: u128::from_str_radix(words.next()?, 16).ok()?,
            node: NodeId(words.next()?.parse().ok()?),
        };
        (identity.encode() == text).then_some(identity)
    }
}

/// Refuses to join with a directory that is a node already.
pub(super) fn check_cluster(own: Identity, cluster_id: u128) -> Result<()> {
    if own.cluster_id == cluster_id {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the data directory belongs to cluster {:032x}, the node to join to {cluster_id:032x}",
        own.cluster_id
    ))
    .with_help("try", "an empty data directory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm::vfs::{FaultyVfs, MemoryVfs};

    const IDENTITY: Identity = Identity {
        cluster_id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        node: NodeId(3),
    };

    #[test]
    fn a_directory_is_no_node_or_the_whole_one_after_a_power_cut_at_any_call() {
        let data = Path::new("data");
        for call in 0..12 {
            let vfs = FaultyVfs::new(call);
            vfs.create_dir_all(data).unwrap();
            vfs.sync_dir(Path::new("")).unwrap();
            vfs.crash_at(vfs.calls() + call);
            let written = IDENTITY.write(&vfs, data).is_ok();
            vfs.restart();
            vfs.create_dir_all(data).unwrap();
            let read = Identity::read(&vfs, data).unwrap();
            assert!(
                read == Some(IDENTITY) || (read.is_none() && !written),
                "call {call}"
            );
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let vfs = MemoryVfs::new();
        let data = Path::new("data");
        vfs.create_dir_all(data).unwrap();
        let sound = IDENTITY.encode().into_bytes();
        let flipped = (0..sound.len() * 8).map(|bit| {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..sound.len()).map(|len| sound[..len].to_vec());
        let longer = [[&sound[..], b"0"].concat()];
        for bytes in flipped.chain(cut).chain(longer) {
            let path = data.join(NAME);
            if vfs.exists(&path).unwrap() {
                vfs.remove(&path).unwrap();
            }
            vfs.create(&path).unwrap().write_at(&bytes, 0).unwrap();
            Identity::read(&vfs, data).unwrap_err();
        }
    }

    #[test]
    fn the_example_of_the_page_is_what_the_code_writes() {
        let page = include_str!("../../../docs/formats/installation.md");
        let example = IDENTITY.encode();
        assert!(page.contains(&format!("```\n{example}```")), "{example}");
    }
}
