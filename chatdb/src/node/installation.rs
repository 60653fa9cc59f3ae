//! The random number of an installation, drawn once and kept in a file.
//!
//! Every engine derives its own number from it and mixes it into its checksums, so that a block of
//! another installation, copied in or left over on the disk, never passes for one of ours. The log
//! draws a number at every start: two histories that begin with one backup differ there as well.
//! The storage engine draws no random number itself: a simulation gives it one.
//!
//! The file `installation` holds 32 lower-case hexadecimal digits and a line feed.

use crate::error::{Error, ErrorKind, Result};
use crate::node::environment::random;
use lsm::encoding::checksum::xxh3;
use lsm::vfs::Vfs;
use std::path::Path;

const NAME: &str = "installation";
const NEW_NAME: &str = "installation.new";
const BYTES: usize = 33;

/// The random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Installation(u128);

impl Installation {
    /// Reads the number of the installation in `data`, or draws it and makes it durable.
    pub(super) fn open(vfs: &dyn Vfs, data: &Path) -> Result<Self> {
        let path = data.join(NAME);
        if vfs.exists(&path)? {
            let mut bytes = [0; BYTES + 1];
            let found = vfs.open(&path)?.read_at(&mut bytes, 0)?;
            return parse(bytes.get(..found).unwrap_or_default()).ok_or_else(|| {
                let message = format!(
                    "{} does not hold 32 hexadecimal digits; restore it from a backup",
                    path.display()
                );
                Error::new(ErrorKind::Corrupt, message)
            });
        }
        let drawn = random();
        let new = data.join(NEW_NAME);
        if vfs.exists(&new)? {
            vfs.remove(&new)?;
        }
        let file = vfs.create(&new)?;
        file.write_at(format!("{drawn:032x}\n").as_bytes(), 0)?;
        file.sync_data()?;
        vfs.rename(&new, &path)?;
        vfs.sync_dir(data)?;
        Ok(Self(drawn))
    }

    /// The number of one part of the installation.
    pub(super) fn seed(self, part: u64) -> u64 {
        xxh3(part, &self.0.to_le_bytes())
    }
}

fn parse(bytes: &[u8]) -> Option<Installation> {
    let digits = bytes.strip_suffix(b"\n")?;
    let is_whole = digits.len() + 1 == BYTES && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_whole)?;
    u128::from_str_radix(text, 16).ok().map(Installation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lsm::vfs::{FaultyVfs, MemoryVfs};

    #[test]
    fn the_number_is_drawn_once_differs_between_installations_and_survives_a_power_cut_at_any_call()
    {
        let data = Path::new("data");
        let mut numbers = Vec::new();
        for call in 0..20 {
            let vfs = FaultyVfs::new(call);
            vfs.create_dir_all(data).unwrap();
            vfs.sync_dir(Path::new("")).unwrap();
            vfs.crash_at(vfs.calls() + call);
            let first = Installation::open(&vfs, data).ok();
            vfs.restart();
            vfs.create_dir_all(data).unwrap();
            let second = Installation::open(&vfs, data).unwrap();
            assert!(first.is_none_or(|first| first == second), "call {call}");
            assert_eq!(Installation::open(&vfs, data).unwrap(), second);
            numbers.push(second.0);
        }
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
    }

    #[test]
    fn parts_have_numbers_of_their_own_and_a_damaged_file_is_refused() {
        let vfs = MemoryVfs::new();
        let data = Path::new("data");
        vfs.create_dir_all(data).unwrap();
        let installation = Installation::open(&vfs, data).unwrap();
        assert_ne!(installation.seed(1), installation.seed(2));
        for damage in [
            "",
            "12\n",
            &"g".repeat(32),
            &format!("{}\n\n", "0".repeat(32)),
        ] {
            vfs.remove(&data.join(NAME)).unwrap();
            let file = vfs.create(&data.join(NAME)).unwrap();
            file.write_at(damage.as_bytes(), 0).unwrap();
            let refused = Installation::open(&vfs, data).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{damage:?}");
        }
    }
}
