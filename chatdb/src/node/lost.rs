//! The nodes that were given up when this one was made to go on without them (`node/recover.rs`).
//!
//! The file `lost` is made before any group goes on alone. From then on this node takes no call of theirs,
//! before it opens its first group: together they are still a majority of what the groups once were. It is one line
//! of text, see `docs/formats/installation.md`.

use crate::error::Result;
use crate::group0::NODES_MAX;
use lsm::encoding::checksum::xxh3;
use lsm::vfs::Vfs;
use raft::NodeId;
use std::collections::BTreeSet;
use std::path::Path;

const NAME: &str = "lost";
const NEW_NAME: &str = "lost.new";
/// Ten digits and a space for each node, the checksum, line feed.
const BYTES_MAX: usize = NODES_MAX * 11 + 17;

/// The nodes that were given up here; none without the file.
pub(super) fn read(vfs: &dyn Vfs, data: &Path) -> Result<BTreeSet<NodeId>> {
    let path = data.join(NAME);
    if !vfs.exists(&path)? {
        return Ok(BTreeSet::new());
    }
    let mut bytes = vec![0; BYTES_MAX + 1];
    let found = vfs.open(&path)?.read_at(&mut bytes, 0)?;
    let bytes = bytes.get(..found).unwrap_or_default();
    let lost = str::from_utf8(bytes).ok().and_then(decode);
    let damaged = || {
        let found = format!("{:?}", String::from_utf8_lossy(bytes));
        lsm::Error::corrupt(&path, 0, "numbers of nodes and their checksum", found)
    };
    Ok(lost.ok_or_else(damaged)?)
}

/// Adds to the nodes that were given up, durably.
pub(super) fn add(vfs: &dyn Vfs, data: &Path, more: &BTreeSet<NodeId>) -> Result<()> {
    let known = read(vfs, data)?;
    let all: BTreeSet<NodeId> = known.union(more).copied().collect();
    let new = data.join(NEW_NAME);
    if vfs.exists(&new)? {
        vfs.remove(&new)?;
    }
    let file = vfs.create(&new)?;
    file.write_at(encode(&all).as_bytes(), 0)?;
    file.sync_data()?;
    vfs.rename(&new, &data.join(NAME))?;
    vfs.sync_dir(data)?;
    Ok(())
}

fn encode(lost: &BTreeSet<NodeId>) -> String {
    let numbers: Vec<String> = lost.iter().map(|node| node.0.to_string()).collect();
    let words = numbers.join(" ");
    let check = xxh3(0, words.as_bytes());
    format!("{words} {check:016x}\n")
}

/// The nodes in the text of the file, which is what [`encode`] makes of them, to the bit.
fn decode(text: &str) -> Option<BTreeSet<NodeId>> {
    let (numbers, _) = text.rsplit_once(' ')?;
    let numbers = numbers.split(' ').map(|number| number.parse().map(NodeId));
    let lost: BTreeSet<NodeId> = numbers.collect::<std::result::Result<_, _>>().ok()?;
    (lost.len() <= NODES_MAX && encode(&lost) == text).then_some(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm::vfs::{FaultyVfs, MemoryVfs};

    fn nodes(numbers: &[u32]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn what_was_given_up_stays_so_after_a_power_cut_at_any_call_of_giving_up_more() {
        let data = Path::new("data");
        for call in 0..16 {
            let vfs = FaultyVfs::new(call);
            vfs.create_dir_all(data).unwrap();
            vfs.sync_dir(Path::new("")).unwrap();
            assert_eq!(read(&vfs, data).unwrap(), nodes(&[]));
            add(&vfs, data, &nodes(&[2])).unwrap();
            vfs.crash_at(vfs.calls() + call);
            let written = add(&vfs, data, &nodes(&[11, 3])).is_ok();
            vfs.restart();
            let read = read(&vfs, data).unwrap();
            let all = nodes(&[2, 3, 11]);
            assert!(read == all || (read == nodes(&[2]) && !written), "{call}");
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let vfs = MemoryVfs::new();
        let data = Path::new("data");
        vfs.create_dir_all(data).unwrap();
        let sound = encode(&nodes(&[2, 3])).into_bytes();
        let flipped = (0..sound.len() * 8).map(|bit| {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..sound.len()).map(|len| sound[..len].to_vec());
        let longer = [[&sound[..], b"0"].concat()];
        for bytes in flipped.chain(cut).chain(longer) {
            vfs.write(&data.join(NAME), bytes);
            read(&vfs, data).unwrap_err();
        }
    }

    #[test]
    fn the_example_of_the_page_is_what_the_code_writes() {
        let page = include_str!("../../../docs/formats/installation.md");
        let example = encode(&nodes(&[2, 3]));
        assert!(page.contains(&format!("```\n{example}```")), "{example}");
    }
}
