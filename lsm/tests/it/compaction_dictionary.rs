//! Dictionaries of sealed files: what they save, and that damage to them is seen.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm::vfs::{MemoryVfs, Vfs};
use lsm::{BlockCache, Engine, EngineOptions, ErrorKind, Operation, PartitionKey};

use crate::engine_support::*;

const WORDS: [&str; 16] = [
    "kernel",
    "ubuntu",
    "apt-get install",
    "try rebooting",
    "sudo",
    "thanks",
    "I think that",
    "driver",
    "wireless",
    "package manager",
    "desktop",
    "what does",
    "the terminal",
    "say",
    "works",
    "network",
];

/// Text in which blocks have names and idioms in common that a single block repeats rarely.
fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..4 + random.below(12) {
        let word = WORDS[usize::try_from(random.below(16)).unwrap()];
        let number = random.below(4000);
        write!(text, "{word} user{:04x} ", number * 40_503 % 65_536).unwrap();
    }
    text
}

fn large_options() -> EngineOptions {
    EngineOptions {
        block_bytes: 4096,
        cache: Arc::new(BlockCache::new(1 << 20)),
        ..options()
    }
}

fn channel(number: u64) -> PartitionKey {
    partition(&format!("channel {number:02}"), 0)
}

/// Window 0 with four megabytes of text in five files.
fn fill(vfs: &Arc<dyn Vfs>, options: EngineOptions) -> Engine {
    let engine = open(vfs, options).unwrap();
    fill_window(&engine, 0, &mut Random(7), text);
    engine
}

fn fill_window(
    engine: &Engine,
    window: i64,
    random: &mut Random,
    text: impl Fn(&mut Random) -> String,
) {
    let first = engine.applied_index() + 1;
    for index in first..first + 500 {
        let rows: Vec<Operation> = (0..64)
            .map(|row| insert(index * 64 + row, &text(random)))
            .collect();
        let channel = partition(&format!("channel {:02}", index % 10), window);
        apply(engine, index, &[mutation(&channel, rows)]);
        if (index + 1 - first).is_multiple_of(100) {
            flush(engine);
        }
    }
}

fn tables(vfs: &MemoryVfs) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = vfs
        .list(Path::new(DIR))
        .unwrap()
        .into_iter()
        .filter(|name| name.contains(".sst"))
        .map(|name| Path::new(DIR).join(name))
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_sealed_file_with_a_dictionary_is_smaller_and_reads_the_same() {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let options = EngineOptions {
        sealed_compression_level: 3,
        ..large_options()
    };
    let engine = fill(&vfs, options);
    let before: Vec<_> = (0..10)
        .map(|number| read_all(&engine, &channel(number), 600).rows)
        .collect();
    let young_bytes = engine.metrics().file_bytes;
    compact(&engine, 2000);
    let sealed_bytes = engine.metrics().file_bytes;
    // At the same level: what is left is what the blocks have in common.
    assert!(
        sealed_bytes * 10 < young_bytes * 9,
        "{sealed_bytes} of {young_bytes}"
    );
    let footer = memory.read(&tables(&memory)[0]).unwrap();
    let features = footer[footer.len() - 96 + 12..][..4].to_vec();
    assert_eq!(
        features,
        [1, 0, 0, 0],
        "the file says that it needs its dictionary"
    );
    engine.verify().unwrap();
    drop(engine);
    let engine = open(&vfs, large_options()).unwrap();
    for (number, rows) in (0..).zip(&before) {
        assert_eq!(read_all(&engine, &channel(number), 600).rows, *rows);
    }
}

#[test]
fn data_without_anything_in_common_gets_no_dictionary() {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let engine = open(&vfs, large_options()).unwrap();
    let mut random = Random(3);
    for index in 1..=200 {
        let rows = (0..16).map(|row| {
            let noise: Vec<u8> = (0..125).flat_map(|_| random.next().to_le_bytes()).collect();
            let mut cell = write(1, "");
            cell.value = lsm::CellValue::Live(noise.into());
            Operation::Upsert {
                clustering: key(index * 16 + row),
                liveness: None,
                cells: vec![cell],
            }
        });
        apply(&engine, index, &[mutation(&channel(0), rows.collect())]);
        if index == 100 {
            flush(&engine);
        }
    }
    flush(&engine);
    compact(&engine, 2000);
    let paths = tables(&memory);
    assert_eq!(paths.len(), 1);
    let footer = memory.read(&paths[0]).unwrap();
    assert_eq!(footer[footer.len() - 96 + 12..][..4], [0; 4]);
}

#[test]
fn a_damaged_dictionary_is_an_error_at_opening_and_never_data() {
    let memory = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(memory.clone());
    let engine = fill(&vfs, large_options());
    compact(&engine, 2000);
    drop(engine);
    let path = &tables(&memory)[0];
    let sound = memory.read(path).unwrap();
    assert_eq!(sound[8], 7, "the file begins with its dictionary");
    let len = 20 + usize::try_from(u32::from_le_bytes(sound[16..20].try_into().unwrap())).unwrap();
    assert!(len > 4096, "a dictionary of {len} bytes");
    let mut random = Random(11);
    let mut places: Vec<usize> = (0..20).collect();
    places.extend((0..40).map(|_| usize::try_from(random.below(len as u64)).unwrap()));
    // And the length of the dictionary in the footer.
    places.extend(sound.len() - 12..sound.len() - 8);
    for at in places {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << random.below(8);
        memory.write(path, damaged);
        let error = open(&vfs, large_options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error:?}");
    }
    memory.write(path, sound);
    open(&vfs, large_options()).unwrap().verify().unwrap();
}

#[test]
fn a_dictionary_serves_further_windows_until_another_one_serves_clearly_better() {
    let engine = fill(&memory(), large_options());
    compact(&engine, 2000);
    let trained = |engine: &Engine| {
        let metrics = engine.metrics();
        (metrics.dictionaries_trained, metrics.dictionaries_reused)
    };
    assert_eq!(trained(&engine), (1, 0));
    let first_bytes = engine.metrics().file_bytes;
    let mut random = Random(8);
    fill_window(&engine, 1, &mut random, text);
    compact(&engine, 4000);
    assert_eq!(trained(&engine), (1, 1), "like the window before");
    let bytes = engine.metrics().file_bytes - first_bytes;
    assert!(
        bytes * 100 < first_bytes * 103,
        "{bytes} after {first_bytes}"
    );
    // People begin to talk about something else.
    let other = |random: &mut Random| {
        let text = text(random).to_uppercase();
        text.chars().rev().collect::<String>()
    };
    fill_window(&engine, 2, &mut random, other);
    compact(&engine, 6000);
    assert_eq!(trained(&engine), (2, 1), "unlike the windows before");
    fill_window(&engine, 3, &mut random, other);
    compact(&engine, 8000);
    assert_eq!(trained(&engine), (2, 2));
    engine.verify().unwrap();
}
