//! The random number of an installation, drawn once and kept in a file.
//!
//! Every engine derives its own number from it and mixes it into its checksums, so that a block of
//! another installation, copied in or left over on the disk, never passes for one of ours. The log
//! draws a number at every start: two histories that begin with one backup differ there as well.
//! The storage engine draws no random number itself: a simulation gives it one.
//!
//! The file `installation` is one line of text with a checksum of its own, because a wrong number
//! would make every sound file look damaged: see `docs/formats/installation.md`.

use crate::error::{Error, Result};
use crate::node::environment::random;
use lsm::encoding::checksum::xxh3;
use lsm::vfs::Vfs;
use std::path::Path;

const NAME: &str = "installation";
const NEW_NAME: &str = "installation.new";
/// Digits of the number, in bytes; the checksum covers them.
const DIGITS: usize = 32;
/// The whole file: digits, space, 16 digits of checksum, line feed.
const BYTES: usize = DIGITS + 18;

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
            return Self::decode(&path, bytes.get(..found).unwrap_or_default());
        }
        let drawn = Self(random());
        let new = data.join(NEW_NAME);
        if vfs.exists(&new)? {
            vfs.remove(&new)?;
        }
        let file = vfs.create(&new)?;
        file.write_at(drawn.encode().as_bytes(), 0)?;
        file.sync_data()?;
        vfs.rename(&new, &path)?;
        vfs.sync_dir(data)?;
        Ok(drawn)
    }

    fn encode(self) -> String {
        let digits = format!("{:032x}", self.0);
        let check = xxh3(0, digits.as_bytes());
        format!("{digits} {check:016x}\n")
    }

    /// The number in the bytes of the file. They are what [`Self::encode`] makes of it, to the bit.
    fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let digits = bytes.get(..DIGITS).and_then(|it| str::from_utf8(it).ok());
        let number = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
        let Some(read) = number.map(Self) else {
            let wrong = bytes.iter().position(|byte| !byte.is_ascii_hexdigit());
            let at = wrong.unwrap_or(bytes.len());
            return Err(damaged(path, at, "a hexadecimal digit", bytes));
        };
        let sound = read.encode();
        if bytes == sound.as_bytes() {
            return Ok(read);
        }
        let same = sound.bytes().zip(bytes).take_while(|(a, b)| a == *b);
        let at = same.count();
        let expected = format!("{:?}", sound.get(at..).unwrap_or_default());
        Err(damaged(path, at, &expected, bytes))
    }

    /// The number itself, by which a cluster recognizes the directory.
    pub(super) fn number(self) -> u128 {
        self.0
    }

    /// The number of one part of the installation.
    pub(super) fn seed(self, part: u64) -> u64 {
        xxh3(part, &self.0.to_le_bytes())
    }
}

fn damaged(path: &Path, at: usize, expected: &str, bytes: &[u8]) -> Error {
    let found = String::from_utf8_lossy(bytes.get(at..).unwrap_or_default());
    let offset = u64::try_from(at).unwrap_or(u64::MAX);
    lsm::Error::corrupt(path, offset, expected, format!("{found:?}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
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
    fn the_example_of_the_page_is_what_the_code_writes() {
        let example = Installation(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef).encode();
        let page = include_str!("../../../docs/formats/installation.md");
        assert!(page.contains(&format!("```\n{example}```")), "{example}");
    }

    #[test]
    fn parts_have_numbers_of_their_own_and_neighbors_differ() {
        let (one, other) = (Installation(1), Installation(2));
        assert_ne!(one.seed(1), one.seed(2));
        assert_ne!(one.seed(1), other.seed(1));
    }

    /// What opening says about a file that holds `bytes`.
    fn open_damaged(bytes: &[u8]) -> Result<Installation> {
        let vfs = MemoryVfs::new();
        let data = Path::new("data");
        vfs.create_dir_all(data)?;
        let file = vfs.create(&data.join(NAME))?;
        file.write_at(bytes, 0)?;
        Installation::open(&vfs, data)
    }

    #[test]
    fn any_flipped_bit_any_cut_and_any_addition_is_an_error_that_names_file_and_offset() {
        let sound = Installation(random()).encode().into_bytes();
        assert_eq!(sound.len(), BYTES);
        open_damaged(&sound).unwrap();
        let flipped = (0..sound.len() * 8).map(|bit| {
            let mut bytes = sound.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cut = (0..sound.len()).map(|len| sound[..len].to_vec());
        let longer = [b"\n", b"0"].map(|more| [&sound[..], more].concat());
        for bytes in flipped.chain(cut).chain(longer) {
            let shown = String::from_utf8_lossy(&bytes).into_owned();
            let refused = open_damaged(&bytes).expect_err(&shown);
            assert_eq!(refused.kind(), ErrorKind::Corrupt, "{shown:?}");
            let named = "data/installation is damaged at byte ";
            assert!(refused.message().starts_with(named), "{refused}");
        }
    }
}
