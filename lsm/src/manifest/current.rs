//! `CURRENT`: one line that names the manifest, with a checksum; replaced by renaming.

use std::path::Path;

use super::names::{CURRENT, CURRENT_NEW, manifest_name, manifest_number};
use crate::encoding::checksum::crc32;
use crate::error::{Error, Result};
use crate::vfs::{Vfs, read_exact_at};

/// Longest sound `CURRENT`, in bytes.
const CURRENT_BYTES_MAX: u64 = 64;

/// The number of the current manifest, or `None` in a directory without engine.
pub(crate) fn read(vfs: &dyn Vfs, dir: &Path) -> Result<Option<u64>> {
    let path = dir.join(CURRENT);
    if !vfs.exists(&path)? {
        return Ok(None);
    }
    let file = vfs.open(&path)?;
    let len = file.len()?;
    let mut bytes = vec![0; usize::try_from(len.min(CURRENT_BYTES_MAX)).unwrap_or_default()];
    read_exact_at(file.as_ref(), &path, &mut bytes, 0)?;
    let number = std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.split_once(' ').map(|(name, _)| name))
        .and_then(manifest_number)
        .filter(|number| line(*number).as_bytes() == bytes && len <= CURRENT_BYTES_MAX);
    if number.is_some() {
        return Ok(number);
    }
    let found = String::from_utf8_lossy(&bytes).escape_debug().to_string();
    Err(Error::corrupt(
        &path,
        0,
        "the name of a manifest and its checksum",
        found,
    ))
}

/// Makes manifest `number` the current one, durably.
pub(crate) fn write(vfs: &dyn Vfs, dir: &Path, number: u64) -> Result<()> {
    let new = dir.join(CURRENT_NEW);
    if vfs.exists(&new)? {
        vfs.remove(&new)?;
    }
    let file = vfs.create(&new)?;
    file.write_at(line(number).as_bytes(), 0)?;
    file.sync_data()?;
    vfs.rename(&new, &dir.join(CURRENT))?;
    vfs.sync_dir(dir)
}

fn line(number: u64) -> String {
    let name = manifest_name(number);
    let sum = crc32(0, name.as_bytes());
    format!("{name} {sum:08x}\n")
}
