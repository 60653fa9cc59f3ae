//! Files as sorted runs: what a read touches one file of.

use std::collections::BTreeMap;

use crate::manifest::FileMeta;
use crate::row::Timestamp;

/// A file as the picker sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// What the manifest says.
    pub(crate) meta: &'a FileMeta,
    /// Blocks of large partitions that placement deletions newer than the file have killed.
    pub(crate) epoch_blocks: u32,
}

/// Files of one table and window that share no key, in the order of their keys.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub(super) id: u64,
    pub(super) files: Vec<Candidate<'a>>,
    pub(super) len: u64,
    pub(super) is_sealed: bool,
    pub(super) merges: u8,
    last_index: u64,
}

impl<'a> Run<'a> {
    /// The runs of one table and window, newest first.
    pub(super) fn of(files: &[Candidate<'a>]) -> Vec<Self> {
        let mut runs: BTreeMap<u64, Self> = BTreeMap::new();
        for file in files {
            let meta = file.meta;
            let run = runs.entry(meta.run).or_insert_with(|| Self {
                id: meta.run,
                files: Vec::new(),
                len: 0,
                is_sealed: true,
                merges: 0,
                last_index: 0,
            });
            run.files.push(*file);
            run.len += meta.len;
            run.is_sealed &= meta.is_sealed;
            run.merges = run.merges.max(meta.merges);
            run.last_index = run.last_index.max(meta.properties.last_index);
        }
        let mut runs: Vec<Self> = runs.into_values().collect();
        for run in &mut runs {
            run.files.sort_by(|a, b| first(a).cmp(&first(b)));
        }
        runs.sort_by_key(|run| std::cmp::Reverse((run.last_index, run.id)));
        runs
    }
}

/// First partition of a file.
pub(super) fn first<'a>(file: &Candidate<'a>) -> (u64, &'a [u8]) {
    let properties = &file.meta.properties;
    (properties.first_token, properties.first_key.as_ref())
}

/// Last partition of a file.
pub(super) fn last<'a>(file: &Candidate<'a>) -> (u64, &'a [u8]) {
    let properties = &file.meta.properties;
    (properties.last_token, properties.last_key.as_ref())
}

/// Whether both files may hold the same partition.
fn overlap(a: &Candidate<'_>, b: &Candidate<'_>) -> bool {
    first(a) <= last(b) && first(b) <= last(a)
}

/// Whether any other file may hold something that `file` hides: older, in the same partitions.
pub(super) fn hides_something(file: &Candidate<'_>, all: &[Candidate<'_>]) -> bool {
    all.iter().any(|other| {
        other.meta.number != file.meta.number
            && overlap(other, file)
            && other.meta.properties.min_timestamp <= file.meta.properties.max_timestamp
    })
}

/// Newest timestamp of some files.
pub(super) fn newest(files: &[Candidate<'_>]) -> Timestamp {
    files
        .iter()
        .map(|file| file.meta.properties.max_timestamp)
        .max()
        .unwrap_or_default()
}
