//! Damaged logs: refused with file and offset, or harmless; never a panic, never wrong data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm::ErrorKind;
use lsm::encoding::Reader;
use lsm::log::page::{self, Page, PageContext};
use lsm::log::record::{self, Body, Record};
use lsm::log::{GroupId, LeaderId, Log, LogId};
use lsm::vfs::{MemoryVfs, Vfs};

use crate::log_support::{
    DIR, Model, Random, id, is_same, observe, open, prefix_len, run, script, small_options, steps,
};

const PAGE: usize = 4096;

struct Sample {
    vfs: MemoryVfs,
    files: Vec<PathBuf>,
    model: Model,
}

impl Sample {
    /// A log of a few segments, some of them recycled, as `end` leaves it.
    fn new(seed: u64, end: impl FnOnce(Log)) -> Self {
        let vfs = MemoryVfs::new();
        let log = open(&vfs).unwrap();
        assert!(run(&log, &script(seed, 120)).error.is_none());
        assert!(log.metrics().recycled > 0);
        let model = observe(&log).unwrap();
        end(log);
        let files = segment_files(&vfs);
        assert!(files.len() > 1);
        Self { vfs, files, model }
    }

    /// Opens a copy of the log whose files `damage` changed.
    fn damaged(&self, damage: impl FnOnce(&MemoryVfs)) -> lsm::Result<Model> {
        let vfs = self.vfs.deep_clone();
        damage(&vfs);
        observe(&open(&vfs)?)
    }

    /// As [`Self::damaged`], with one file's bytes.
    fn damaged_file(&self, file: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> lsm::Result<Model> {
        self.damaged(|vfs| {
            let mut bytes = vfs.read(file).unwrap();
            damage(&mut bytes);
            vfs.write(file, bytes);
        })
    }
}

fn segment_files(vfs: &MemoryVfs) -> Vec<PathBuf> {
    let paths = vfs
        .list(Path::new(DIR))
        .unwrap()
        .into_iter()
        .map(|name| Path::new(DIR).join(name));
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect()
}

/// Checks that the damage was refused in the right place, or touched nothing that matters.
fn check(
    sample: &Sample,
    found: lsm::Result<Model>,
    file: &Path,
    page: Option<usize>,
    story: &str,
) -> bool {
    match found {
        Ok(model) => {
            assert!(is_same(&model, &sample.model), "{story}: other data");
            false
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{story}: {error:?}");
            let corruption = error.corruption().unwrap();
            if let Some(page) = page {
                assert_eq!(corruption.file, file, "{story}: {error}");
                let at = usize::try_from(corruption.offset).unwrap();
                // A commit is refused as a whole: the offset is that of its first bad page.
                assert_eq!(at / PAGE, page, "{story}: {error}");
            }
            true
        }
    }
}

#[test]
fn one_flipped_bit_anywhere_is_refused_with_its_page_or_is_in_unused_space() {
    let closed = Sample::new(1, |log| log.close().unwrap());
    flip_bits(&closed, "closed");
    let idle = Sample::new(1, |log| assert!(!log.wait(std::time::Duration::ZERO)));
    flip_bits(&idle, "killed while idle");
}

fn flip_bits(sample: &Sample, end: &str) {
    let mut random = Random(1);
    let mut refused = 0;
    for file in &sample.files {
        let len = sample.vfs.read(file).unwrap().len();
        for page in 0..len / PAGE {
            // Every bit of the page header in turn, and some of the rest.
            let header = (0..24 * 8).step_by(5).map(|bit| bit + page % 5);
            let payload = (0..40).map(|_| usize::try_from(random.below(PAGE as u64 * 8)).unwrap());
            let bits: Vec<usize> = header.chain(payload).collect();
            for bit in bits {
                let found = sample.damaged_file(file, |bytes| {
                    bytes[page * PAGE + bit / 8] ^= 1 << (bit % 8);
                });
                let story = format!("{end}, {}, page {page}, bit {bit}", file.display());
                refused += usize::from(check(sample, found, file, Some(page), &story));
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn one_flipped_bit_after_a_crash_costs_at_most_the_last_commit() {
    let script = script(1, 120);
    let sample = Sample::new(1, drop);
    let steps = steps(&script);
    for file in &sample.files {
        for page in 0..sample.vfs.read(file).unwrap().len() / PAGE {
            let found = sample.damaged_file(file, |bytes| bytes[page * PAGE + 100] ^= 4);
            let story = format!("{}, page {page}", file.display());
            match found {
                Ok(model) if is_same(&model, &sample.model) => {}
                Ok(model) => {
                    let len = prefix_len(&model, &steps, 0)
                        .unwrap_or_else(|| panic!("{story}: no prefix"));
                    assert!(len + 12 > steps.len(), "{story}: {len} of {}", steps.len());
                }
                Err(error) => assert_eq!(error.corruption().unwrap().file, *file, "{story}"),
            }
        }
    }
}

#[test]
fn cut_swapped_doubled_zeroed_and_missing_pieces_are_refused_or_harmless() {
    let sample = Sample::new(2, |log| log.close().unwrap());
    let mut random = Random(2);
    for file in &sample.files {
        let pages = sample.vfs.read(file).unwrap().len() / PAGE;
        let found = sample.damaged(|vfs| vfs.remove(file).unwrap());
        check(
            &sample,
            found,
            file,
            None,
            &format!("{} removed", file.display()),
        );
        for page in 0..pages {
            let (at, other) = (
                page * PAGE,
                usize::try_from(random.below(pages as u64)).unwrap() * PAGE,
            );
            let story = format!("{}, page {page} and byte {other}", file.display());
            let found = sample.damaged_file(file, |bytes| bytes.truncate(at + 77));
            check(&sample, found, file, None, &format!("cut {story}"));
            let found =
                sample.damaged_file(file, |bytes| bytes.copy_within(other..other + PAGE, at));
            check(&sample, found, file, None, &format!("doubled {story}"));
            let found = sample.damaged_file(file, |bytes| bytes[at..at + PAGE].fill(0));
            check(&sample, found, file, None, &format!("zeroed {story}"));
            let found = sample.damaged_file(file, |bytes| {
                for byte in 0..PAGE {
                    bytes.swap(at + byte, other + byte);
                }
            });
            check(&sample, found, file, None, &format!("swapped {story}"));
            let found = sample.damaged_file(file, |bytes| {
                bytes.drain(at..at + PAGE);
            });
            check(
                &sample,
                found,
                file,
                None,
                &format!("page taken out {story}"),
            );
        }
    }
}

#[test]
fn segments_of_another_log_do_not_pass_for_ours() {
    let sample = Sample::new(3, |log| log.close().unwrap());
    let other = MemoryVfs::new();
    let options = lsm::log::LogOptions {
        salt: 99,
        ..small_options()
    };
    let log = Log::open(Arc::new(other.clone()), Path::new(DIR), options).unwrap();
    assert!(run(&log, &script(3, 120)).error.is_none());
    log.close().unwrap();
    for file in &sample.files {
        let Ok(foreign) = other.read(file) else {
            continue;
        };
        let found = sample.damaged_file(file, |bytes| bytes.clone_from(&foreign));
        assert!(check(&sample, found, file, None, "foreign segment"));
    }
}

#[test]
fn damage_that_appears_while_the_log_is_open_fails_the_read_and_nothing_else() {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    let entries = (1..=20).map(|index| lsm::log::Entry {
        id: id(1, index),
        payload: vec![1; 4000].into(),
    });
    log.append(GroupId(1), entries.collect(), Box::new(|_| ()))
        .unwrap();
    while log.flush().unwrap() {}
    let file = segment_files(&vfs).remove(0);
    let handle = vfs.open(&file).unwrap();
    handle.write_at(&[0xff], 4 * 4096 + 1000).unwrap();
    let error = log.read(GroupId(1), 1..10, usize::MAX).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.corruption().unwrap().file, file);
    assert_eq!(error.corruption().unwrap().offset, 4 * 4096);
    assert_eq!(log.read(GroupId(1), 20..21, usize::MAX).unwrap().len(), 1);
    assert!(!log.flush().unwrap());
}

/// Mutates valid logs for the time it takes to be useful, with and without repaired checksums,
/// and checks that opening and reading them ends.
#[test]
fn thousands_of_mutated_logs_open_or_fail_without_a_panic() {
    let seed = 0x10_6f;
    println!("seed {seed}");
    let mut random = Random(seed);
    let sample = Sample::new(4, |log| log.close().unwrap());
    for round in 0..4000 {
        let vfs = sample.vfs.deep_clone();
        let file = &sample.files[usize::try_from(random.below(sample.files.len() as u64)).unwrap()];
        let mut bytes = vfs.read(file).unwrap();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, file, &mut random);
        }
        vfs.write(file, bytes);
        match open(&vfs).and_then(|log| read_all(&log)) {
            Ok(()) => {}
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Corrupt),
                "round {round}: {error:?}"
            ),
        }
    }
}

fn mutate(bytes: &mut [u8], file: &Path, random: &mut Random) {
    let at = usize::try_from(random.below(bytes.len() as u64)).unwrap();
    bytes[at] = u8::try_from(random.below(256)).unwrap();
    let page = at / PAGE;
    let (start, end) = (page * PAGE, page * PAGE + PAGE);
    if random.below(3) == 0 || end > bytes.len() {
        return;
    }
    if page < 2 {
        let crc = lsm::encoding::checksum::crc32(0, &bytes[start..end - 4]);
        bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
        return;
    }
    let name = file.file_stem().unwrap().to_str().unwrap();
    let salt = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
    let context = PageContext {
        salt,
        segment: name.parse().unwrap(),
    };
    page::seal(
        &mut bytes[start..end],
        context.seed(u32::try_from(page).unwrap()),
    );
}

fn read_all(log: &Log) -> lsm::Result<()> {
    for group in log.groups() {
        let state = log.state(group);
        let start = state
            .purged
            .map_or(0, |purged| purged.index.saturating_add(1));
        let end = state.last.map_or(0, |last| last.index.saturating_add(1));
        log.read(group, start..end, usize::MAX)?;
    }
    Ok(())
}

#[test]
fn a_page_decodes_to_what_was_encoded_and_only_in_its_place() {
    let context = PageContext {
        salt: 7,
        segment: 3,
    };
    let payload = vec![9; 100];
    let pages = [
        Page::Commit {
            commit: 4,
            part: 0,
            parts: 2,
            payload: &payload,
        },
        Page::Mark {
            commit: 5,
            next_segment: 6,
        },
    ];
    for page in pages {
        let mut bytes = Vec::new();
        page::encode(&mut bytes, context.seed(8), &page);
        assert_eq!(bytes.len(), PAGE);
        assert_eq!(page::decode(&bytes, context.seed(8)), Some(page));
        assert_eq!(page::decode(&bytes, context.seed(9)), None);
        assert_eq!(
            page::decode(&bytes, PageContext { salt: 8, ..context }.seed(8)),
            None
        );
        assert_eq!(
            page::decode(
                &bytes,
                PageContext {
                    segment: 4,
                    ..context
                }
                .seed(8)
            ),
            None
        );
    }
}

#[test]
fn the_record_of_the_format_page_is_what_is_written() {
    let id = LogId {
        leader: LeaderId { term: 1, node: 2 },
        index: 3,
    };
    let record = Record {
        group: GroupId(5),
        body: Body::Entry { id, payload: b"hi" },
    };
    let mut bytes = Vec::new();
    record::encode(&mut bytes, &record);
    let page = include_str!("../../../docs/formats/log.md");
    let example = page.split("```\n").nth(1).unwrap();
    let expected: Vec<u8> = example
        .split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(bytes, expected, "{bytes:02x?}");
    assert_eq!(record::decode(&mut Reader::new(&bytes)), Ok(record));
}
