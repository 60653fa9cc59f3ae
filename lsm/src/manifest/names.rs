//! File names of an engine's directory.

use std::path::{Path, PathBuf};

/// Name of the file that names the manifest.
pub(crate) const CURRENT: &str = "CURRENT";
/// What [`CURRENT`] is called while it is written.
pub(crate) const CURRENT_NEW: &str = "CURRENT.new";
/// Held by the engine that has the directory open.
pub(crate) const LOCK: &str = "LOCK";

const MANIFEST: &str = "MANIFEST-";
const TABLE: &str = ".sst";

/// Name of manifest `number`.
pub(crate) fn manifest_name(number: u64) -> String {
    format!("{MANIFEST}{number:06}")
}

/// Path of SSTable `number`.
pub(crate) fn table_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(table_name(number))
}

/// Name of SSTable `number`.
pub(crate) fn table_name(number: u64) -> String {
    format!("{number:06}{TABLE}")
}

/// Number of the manifest called `name`.
pub(crate) fn manifest_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(MANIFEST)?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

/// Whether an engine writes files of this name, so that one nobody refers to may be removed.
pub(crate) fn is_ours(name: &str) -> bool {
    let is_table = name
        .strip_suffix(TABLE)
        .and_then(|number| number.parse().ok())
        .is_some_and(|number| table_name(number) == name);
    is_table || manifest_number(name).is_some()
}
