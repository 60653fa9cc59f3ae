//! Flips one bit in a file of a node that is down, and flips it back.

use crate::messages::Seeded;
use anyhow::{Context, Result};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A flipped bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flip {
    pub(crate) path: PathBuf,
    offset: u64,
    bit: u8,
    /// Identity of the file: a later one of the same name was never damaged.
    file: u64,
}

impl Flip {
    /// Flips a bit of some file below `dir`; `None` when there is none with content.
    pub(crate) fn somewhere(dir: &Path, random: &mut Seeded) -> Result<Option<Self>> {
        let mut files = Vec::new();
        collect(dir, &mut files)?;
        files.sort();
        // Every kind of file is as likely as the others, however many there are of it.
        let mut kinds: Vec<String> = files.iter().map(|(path, _)| kind(path)).collect();
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() {
            return Ok(None);
        }
        let chosen = &kinds[random.below(kinds.len())];
        files.retain(|(path, _)| kind(path) == *chosen);
        let (path, length) = files.swap_remove(random.below(files.len()));
        let length = usize::try_from(length)?;
        // Log files are longer than their content: half of the flips go to the part that is in use.
        let used = match random.next() % 2 {
            0 => length,
            _ => used(&path)?.unwrap_or(length),
        };
        let flip = Self {
            offset: random.below(used.max(1)) as u64,
            bit: u8::try_from(random.below(8))?,
            file: identity(&path)?,
            path,
        };
        flip.turn()?;
        Ok(Some(flip))
    }

    /// Flips the bit back, unless the file is gone, or the part of it: a node cuts off what it takes for a torn tail.
    pub(crate) fn undo(&self) -> Result<()> {
        let is_there = self.path.exists()
            && identity(&self.path)? == self.file
            && std::fs::metadata(&self.path)?.len() > self.offset;
        if is_there {
            self.turn()?;
        }
        Ok(())
    }

    fn turn(&self) -> Result<()> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(&self.path);
        let file = file.with_context(|| self.path.display().to_string())?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, self.offset)?;
        byte[0] ^= 1 << self.bit;
        file.write_all_at(&byte, self.offset)?;
        file.sync_all()?;
        Ok(())
    }

    /// File and offset, without the directory of the node.
    pub(crate) fn place(&self, dir: &Path) -> String {
        let path = self.path.strip_prefix(dir).unwrap_or(&self.path);
        format!(
            "{} at byte {}, bit {}",
            path.display(),
            self.offset,
            self.bit
        )
    }
}

/// The letters of a file's name, which are the same for all files of its kind.
fn kind(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|it| !it.is_ascii_digit()).collect()
}

fn identity(path: &Path) -> Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(
        path,
    )?))
}

/// The length up to the last byte that is not zero, if there is one.
fn used(path: &Path) -> Result<Option<usize>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map(|at| at + 1))
}

/// The files with content below `dir`.
fn collect(dir: &Path, files: &mut Vec<(PathBuf, u64)>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        let name = entry.file_name();
        if about.is_dir() {
            if name != "lost+found" {
                collect(&entry.path(), files)?;
            }
        } else if about.len() > 0 && name != "LOCK" {
            files.push((entry.path(), about.len()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_is_flipped_and_flipped_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("000001.log");
        std::fs::write(&path, vec![7; 5000]).expect("it is written");
        std::fs::write(dir.path().join("LOCK"), "x").expect("it is written");
        let flip = Flip::somewhere(dir.path(), &mut Seeded::new(3));
        let flip = flip.expect("it can be written").expect("there is a file");
        let damaged = std::fs::read(&path).expect("it can be read");
        let bits: u32 = damaged.iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!(bits, 1);
        flip.undo().expect("it can be written");
        assert_eq!(std::fs::read(&path).expect("it can be read"), vec![7; 5000]);
        // Cut off before the bit: nothing is left to undo.
        std::fs::write(&path, []).expect("it is written");
        flip.undo().expect("there is nothing to do");
        assert!(std::fs::read(&path).expect("it can be read").is_empty());
    }
}
