//! Opens and reads logs whose segment files the input damaged.
//!
//! The input is a list of edits of a valid log, eight bytes each: which file, which page, where in
//! it, what to write, and whether to repair the page's checksum, so that the fuzzer reaches the
//! decoders behind the checksums. An input whose first byte is 255 is a whole segment file.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use lsm::encoding::checksum;
use lsm::log::page::{self, PageContext};
use lsm::log::{Entry, GroupId, LeaderId, Log, LogId, LogOptions, Vote};
use lsm::vfs::{MemoryVfs, Vfs};

const DIR: &str = "log";
const PAGE: usize = 4096;

static SAMPLE: LazyLock<(MemoryVfs, Vec<(u64, PathBuf)>)> = LazyLock::new(sample);

fn open(vfs: &MemoryVfs) -> lsm::Result<Log> {
    let options = LogOptions { segment_bytes: 64 * 1024, ..LogOptions::default() };
    Log::open(Arc::new(vfs.clone()), Path::new(DIR), options)
}

/// Two groups over three segments, with every kind of record.
fn sample() -> (MemoryVfs, Vec<(u64, PathBuf)>) {
    let vfs = MemoryVfs::new();
    let log = open(&vfs).unwrap();
    let id = |index| LogId { leader: LeaderId { term: 1, node: 2 }, index };
    for index in 1..40 {
        let entry = Entry { id: id(index), payload: vec![7; 2500].into() };
        log.append(GroupId(1), vec![entry], Box::new(|_| ())).unwrap();
        let entry = Entry { id: id(index), payload: vec![8; 20].into() };
        log.append(GroupId(2), vec![entry], Box::new(|_| ())).unwrap();
        log.save_committed(GroupId(1), id(index));
        if index % 10 == 0 {
            let vote = Vote { leader: LeaderId { term: index, node: 1 }, committed: true };
            log.save_vote(GroupId(2), vote, Box::new(|_| ())).unwrap();
            log.purge(GroupId(1), id(index / 2)).unwrap();
            log.truncate_after(GroupId(2), Some(index), Box::new(|_| ())).unwrap();
        }
        log.flush().unwrap();
    }
    log.close().unwrap();
    let names = vfs.list(Path::new(DIR)).unwrap().into_iter();
    let ids = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok());
    let files = ids.map(|id: u64| (id, Path::new(DIR).join(format!("{id:020}.log"))));
    let files: Vec<_> = files.collect();
    assert!(files.len() >= 2);
    (vfs, files)
}

fn repair(bytes: &mut [u8], segment: u64, page: usize) {
    let (start, end) = (page * PAGE, (page + 1) * PAGE);
    if end > bytes.len() {
        return;
    }
    if page < 2 {
        let crc = checksum::crc32(0, &bytes[start..end - 4]);
        bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    } else {
        let salt = u64::from_le_bytes(bytes[24..32].try_into().unwrap());
        let seed = PageContext { salt, segment }.seed(u32::try_from(page).unwrap());
        page::seal(&mut bytes[start..end], seed);
    }
}

fn edit(vfs: &MemoryVfs, files: &[(u64, PathBuf)], edit: &[u8; 8]) {
    let [file, page, at_low, at_high, value, flags, ..] = *edit;
    let (segment, path) = &files[usize::from(file) % files.len()];
    let mut bytes = vfs.read(path).unwrap();
    let page = usize::from(page) % 17;
    let at = page * PAGE + usize::from(u16::from_le_bytes([at_low, at_high])) % PAGE;
    let wide = &edit[4..];
    match (flags % 4, bytes.get_mut(at)) {
        (0, _) => bytes.truncate(at),
        (1, Some(byte)) => *byte = value,
        (_, Some(_)) => {
            let end = (at + 4).min(bytes.len());
            let len = end - at;
            bytes[at..end].copy_from_slice(&wide[..len]);
        }
        (_, None) => {}
    }
    if flags & 4 == 0 {
        repair(&mut bytes, *segment, page);
    }
    vfs.write(path, bytes);
}

fn read(vfs: &MemoryVfs) -> lsm::Result<()> {
    let log = open(vfs)?;
    for group in log.groups() {
        let state = log.state(group);
        let start = state.purged.map_or(0, |purged| purged.index.saturating_add(1));
        let end = state.last.map_or(0, |last| last.index.saturating_add(1));
        log.read(group, start..end, 1 << 20)?;
    }
    log.close()
}

fuzz_target!(|data: &[u8]| {
    let (sample, files) = &*SAMPLE;
    let vfs = if data.first() == Some(&255) {
        let vfs = MemoryVfs::new();
        vfs.create_dir_all(Path::new(DIR)).unwrap();
        vfs.write(&files[0].1, data[1..].to_vec());
        vfs
    } else {
        let vfs = sample.deep_clone();
        for bytes in data.as_chunks::<8>().0.iter().take(8) {
            edit(&vfs, files, bytes);
        }
        vfs
    };
    if let Err(error) = read(&vfs) {
        assert_eq!(error.kind(), lsm::ErrorKind::Corrupt, "{error:?}");
        assert!(error.corruption().is_some());
    }
});
