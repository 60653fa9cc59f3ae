//! Damage of any file is an error that names the file, never a panic and never wrong data.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lsm::vfs::{MemoryVfs, OsVfs, Vfs};
use lsm::{Engine, EngineOptions, ErrorKind, Operation, PartitionKey, Result, Rows, SlicePage};

use crate::engine_support::*;

/// Two files and three edits: several blocks, a static row, deletions of every kind, a filter.
fn build(vfs: &Arc<dyn Vfs>, dir: &Path) {
    let options = EngineOptions {
        seed: 42,
        block_bytes: 1024,
        ..EngineOptions::default()
    };
    let engine = Engine::open(Arc::clone(vfs), dir, options).unwrap();
    let (large, small) = (partition("large", 0), partition("small", 0));
    let text = "text that compresses badly: 8f2a0c77e1";
    let rows = (0..30).map(|number| insert(number, &format!("{number} {text} {}", number * 7919)));
    let mut operations: Vec<Operation> = rows.collect();
    operations.push(Operation::UpsertStatic {
        cells: vec![write(3, "topic")],
    });
    apply(&engine, 1, &[mutation(&large, operations)]);
    apply(
        &engine,
        100,
        &[mutation(&small, vec![insert(1, "one"), insert(2, "two")])],
    );
    flush(&engine);
    let deletions = vec![delete(3), delete_range(10, 12), delete_range(20, 21)];
    apply(&engine, 200, &[mutation(&large, deletions)]);
    let newer = vec![Operation::DeletePartition, insert(2, "newer")];
    apply(&engine, 300, &[mutation(&small, newer)]);
    flush(&engine);
}

/// A sealed run in each of three windows, and a mixed file with late rows of all of them.
fn build_late(vfs: &Arc<dyn Vfs>, dir: &Path) {
    let engine = build_windows(vfs, dir, 0);
    for (window, channel) in (0_u64..).zip(windows()) {
        let late = vec![
            Operation::UpsertStatic {
                cells: vec![write(3, "topic")],
            },
            insert(200, "late, so it lies in a file that several windows share"),
            delete(window),
        ];
        apply(&engine, 10 + window, &[mutation(&channel, late)]);
    }
    flush(&engine);
    assert_eq!(engine.metrics().mixed_files, 1);
}

/// Three windows that were merged because they are old.
fn build_cold(vfs: &Arc<dyn Vfs>, dir: &Path) {
    let engine = build_windows(vfs, dir, 4);
    assert_eq!(engine.metrics().files, 1);
}

/// Three windows that are over, with a group of `cold_fan_out` windows in a file.
fn build_windows(vfs: &Arc<dyn Vfs>, dir: &Path, cold_fan_out: u32) -> Engine {
    let options = EngineOptions {
        seed: 42,
        block_bytes: 1024,
        seal_grace_ms: 100,
        cold_fan_out,
        ..EngineOptions::default()
    };
    let engine = Engine::open(Arc::clone(vfs), dir, options).unwrap();
    define(&engine, Some(1000)).unwrap();
    for (window, channel) in (0_u64..).zip(windows()) {
        let rows = (0..100).map(|number| insert(number, "in time"));
        // A deletion, because a small file of rows alone is not worth sealing.
        let rows = rows.chain([delete(999)]).collect();
        apply(&engine, 1 + window, &[mutation(&channel, rows)]);
    }
    flush(&engine);
    compact(&engine, 100_000);
    engine
}

/// A sealed file of so many partitions that it has a fuse filter.
fn build_wide(vfs: &Arc<dyn Vfs>, dir: &Path) {
    let options = EngineOptions {
        seed: 42,
        seal_grace_ms: 100,
        ..EngineOptions::default()
    };
    let engine = Engine::open(Arc::clone(vfs), dir, options).unwrap();
    define(&engine, Some(1000)).unwrap();
    let channels = (0..2000).map(|number| mutation(&wide(number), vec![insert(1, "hi")]));
    let gone = mutation(&wide(0), vec![delete(999)]);
    let changes: Vec<lsm::Change> = channels.chain([gone]).collect();
    apply(&engine, 1, &changes);
    flush(&engine);
    compact(&engine, 100_000);
}

fn wide(number: u64) -> PartitionKey {
    PartitionKey {
        token: number / 4,
        ..partition(&format!("{number:04}"), 0)
    }
}

fn partitions() -> Vec<PartitionKey> {
    vec![partition("large", 0), partition("small", 0)]
}

/// The partitions of [`build_late`].
fn windows() -> Vec<PartitionKey> {
    let windows = ["lobby", "music", "help"].into_iter().zip(0..);
    windows
        .map(|(key, window)| partition(key, window))
        .collect()
}

/// Opens the engine, reads everything in both directions, and verifies all files.
fn examine(vfs: &Arc<dyn Vfs>, dir: &Path) -> Result<Vec<SlicePage>> {
    examine_these(vfs, dir, partitions())
}

fn examine_these(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    partitions: Vec<PartitionKey>,
) -> Result<Vec<SlicePage>> {
    let engine = Engine::open(Arc::clone(vfs), dir, EngineOptions::default())?;
    let mut pages = Vec::new();
    for partition in partitions {
        let mut read = lsm::SliceRead::all(TABLE, partition, 1000, 0);
        pages.push(engine.read(&read)?);
        read.reverse = true;
        pages.push(engine.read(&read)?);
    }
    engine.verify()?;
    Ok(pages)
}

fn rows(pages: &[SlicePage]) -> Vec<Rows> {
    pages.iter().map(|page| page.rows.clone()).collect()
}

fn files(vfs: &MemoryVfs) -> Vec<PathBuf> {
    let names = vfs.list(Path::new(DIR)).unwrap().into_iter();
    names
        .filter(|name| name != "LOCK")
        .map(|name| Path::new(DIR).join(name))
        .collect()
}

#[test]
fn any_flipped_bit_of_any_file_is_an_error_that_names_the_file() {
    let sound = MemoryVfs::new();
    build(&(Arc::new(sound.clone()) as Arc<dyn Vfs>), Path::new(DIR));
    let copy: Arc<dyn Vfs> = Arc::new(sound.deep_clone());
    let expected = examine(&copy, Path::new(DIR)).unwrap();
    assert_eq!(expected[0].rows.len(), 26);
    let mut flips = 0;
    for path in files(&sound) {
        let bytes = sound.read(&path).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let copy = sound.deep_clone();
                copy.write(&path, damaged);
                let what = format!("{} byte {at} bit {bit}", path.display());
                let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
                let error = outcome.expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
                assert_eq!(error.corruption().unwrap().file, path, "{what}: {error:?}");
                flips += 1;
            }
        }
    }
    assert!(flips > 10_000, "{flips} flips");
}

#[test]
fn any_truncation_of_a_table_is_an_error_that_names_the_file() {
    let sound = MemoryVfs::new();
    build(&(Arc::new(sound.clone()) as Arc<dyn Vfs>), Path::new(DIR));
    let tables = files(&sound)
        .into_iter()
        .filter(|path| path.extension().is_some());
    for path in tables.filter(|path| path.extension().unwrap() == "sst") {
        let bytes = sound.read(&path).unwrap();
        for len in 0..bytes.len() {
            let copy = sound.deep_clone();
            copy.write(&path, bytes[..len].to_vec());
            let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
            assert_eq!(
                outcome.unwrap_err().corruption().unwrap().file,
                path,
                "length {len}"
            );
        }
    }
}

#[test]
fn a_table_in_the_place_of_another_is_an_error() {
    let sound = MemoryVfs::new();
    build(&(Arc::new(sound.clone()) as Arc<dyn Vfs>), Path::new(DIR));
    let tables: Vec<PathBuf> = files(&sound)
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with("sst"))
        .collect();
    let other = sound.read(&tables[1]).unwrap();
    sound.write(&tables[0], other);
    let outcome = examine(&(Arc::new(sound) as Arc<dyn Vfs>), Path::new(DIR));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt);
}

/// Offset and stored length of each data block, from the layout in `docs/formats/sstable.md`.
fn data_blocks(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while bytes[at + 8] == 1 {
        let stored = u32::from_le_bytes(bytes[at + 16..at + 20].try_into().unwrap());
        let len = 20 + usize::try_from(stored).unwrap();
        blocks.push((at, len));
        at += len;
    }
    blocks
}

/// One file of blocks that zstd cannot shrink and that therefore have equal lengths.
fn uniform(seed: u64) -> (MemoryVfs, PathBuf) {
    let sound = MemoryVfs::new();
    let vfs: Arc<dyn Vfs> = Arc::new(sound.clone());
    let options = EngineOptions {
        seed,
        block_bytes: 1024,
        ..EngineOptions::default()
    };
    let engine = Engine::open(vfs, Path::new(DIR), options).unwrap();
    let mut random = Random(1);
    let rows = (0..60).map(|number| {
        let noise: Vec<u8> = (0..25).flat_map(|_| random.next().to_le_bytes()).collect();
        let mut cell = write(1, "");
        cell.value = lsm::CellValue::Live(noise.into());
        Operation::Upsert {
            clustering: key(number),
            liveness: None,
            cells: vec![cell],
        }
    });
    apply(
        &engine,
        1,
        &[mutation(&partition("large", 0), rows.collect())],
    );
    flush(&engine);
    let table = files(&sound)
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with("sst"));
    (sound, table.unwrap())
}

#[test]
fn a_sound_block_in_the_place_of_another_or_from_another_file_is_an_error() {
    let (sound, path) = uniform(1);
    let bytes = sound.read(&path).unwrap();
    let blocks = data_blocks(&bytes);
    let mut swaps = 0;
    for (a, len) in &blocks {
        for (b, _) in blocks.iter().filter(|(b, other)| b > a && other == len) {
            let mut damaged = bytes.clone();
            damaged[*a..a + len].copy_from_slice(&bytes[*b..b + len]);
            damaged[*b..b + len].copy_from_slice(&bytes[*a..a + len]);
            let copy = sound.deep_clone();
            copy.write(&path, damaged);
            let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
            let error = outcome.expect_err("a swapped block");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            let found = error.corruption().unwrap();
            assert_eq!((&found.file, found.offset), (&path, *a as u64), "{error:?}");
            assert!(found.expected.contains("checksum"), "{error:?}");
            swaps += 1;
        }
    }
    assert!(swaps > 3, "{swaps} swaps of {} blocks", blocks.len());
    // The same rows in a file of another identity: not one block of it passes for ours.
    let (other, other_path) = uniform(2);
    let foreign = other.read(&other_path).unwrap();
    assert_eq!(data_blocks(&foreign), blocks);
    for (at, len) in blocks {
        let mut damaged = bytes.clone();
        damaged[at..at + len].copy_from_slice(&foreign[at..at + len]);
        let copy = sound.deep_clone();
        copy.write(&path, damaged);
        let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
        let error = outcome.unwrap_err();
        let found = error.corruption().unwrap();
        assert_eq!(found.offset, at as u64, "{error:?}");
        assert!(found.expected.contains("checksum"), "{error:?}");
    }
}

#[test]
fn any_doubled_byte_of_any_file_is_an_error_that_names_the_file() {
    let sound = MemoryVfs::new();
    build(&(Arc::new(sound.clone()) as Arc<dyn Vfs>), Path::new(DIR));
    let copy: Arc<dyn Vfs> = Arc::new(sound.deep_clone());
    let expected = rows(&examine(&copy, Path::new(DIR)).unwrap());
    for path in files(&sound) {
        let bytes = sound.read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged.insert(at, bytes[at]);
            let copy = sound.deep_clone();
            copy.write(&path, damaged);
            let what = format!("{} byte {at}", path.display());
            let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
            let is_manifest = path.to_string_lossy().contains("MANIFEST");
            match outcome {
                // One byte after the last edit is what a torn append of the next one looks like.
                Ok(found) if is_manifest && bytes[at..].iter().all(|byte| *byte == bytes[at]) => {
                    assert_eq!(rows(&found), expected, "{what}");
                }
                outcome => {
                    let error = outcome.expect_err(&what);
                    assert_eq!(error.corruption().unwrap().file, path, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_file_that_needs_an_unknown_feature_or_a_newer_version_is_refused_and_not_called_damaged() {
    let (sound, path) = uniform(1);
    let bytes = sound.read(&path).unwrap();
    let footer = bytes.len() - 96;
    for (field, value) in [(8, 200_u32), (12, 1 << 31)] {
        let mut newer = bytes.clone();
        newer[footer + field..footer + field + 4].copy_from_slice(&value.to_le_bytes());
        let sum = lsm::encoding::checksum::xxh3(0, &newer[footer..footer + 88]);
        newer[footer + 88..].copy_from_slice(&sum.to_le_bytes());
        let copy = sound.deep_clone();
        copy.write(&path, newer);
        let outcome = examine(&(Arc::new(copy) as Arc<dyn Vfs>), Path::new(DIR));
        let error = outcome.expect_err("a newer file");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert!(error.to_string().contains("upgrade"), "{error}");
    }
}

/// Like the flips above, in the one kind of file that those have not.
#[test]
fn any_flipped_bit_of_a_mixed_file_is_an_error_that_names_the_file() {
    let sound = MemoryVfs::new();
    build_late(&(Arc::new(sound.clone()) as Arc<dyn Vfs>), Path::new(DIR));
    let tables = files(&sound).into_iter();
    let tables = tables.filter(|path| path.to_string_lossy().ends_with("sst"));
    let mixed = tables.max().expect("the youngest file");
    let bytes = sound.read(&mixed).unwrap();
    assert_eq!(version(&bytes), 4);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let copy = sound.deep_clone();
        copy.write(&mixed, damaged);
        let vfs: Arc<dyn Vfs> = Arc::new(copy);
        let outcome = examine_these(&vfs, Path::new(DIR), windows());
        let error = outcome.expect_err("a flipped bit");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error:?}");
        assert_eq!(error.corruption().unwrap().file, mixed, "byte {at}");
    }
}

/// Features without which a file cannot be read.
fn features(file: &[u8]) -> u32 {
    let footer = file.len() - 96;
    u32::from_le_bytes(file[footer + 12..footer + 16].try_into().unwrap())
}

/// The version that the footer of a file asks for.
fn version(file: &[u8]) -> u32 {
    let footer = file.len() - 96;
    u32::from_le_bytes(file[footer + 8..footer + 12].try_into().unwrap())
}

/// Files of format version 1 as they were first written; nothing can write them any more.
#[test]
fn files_of_format_version_1_are_readable() {
    check_golden("v1", 1, build, partitions());
}

/// As they were written before a partition could say where its first block is.
#[test]
fn files_of_format_version_2_are_readable() {
    check_golden("v2", 2, build, partitions());
}

#[test]
fn files_of_format_version_3_are_readable() {
    write_golden("v3", build);
    check_golden("v3", 3, build, partitions());
}

#[test]
fn files_of_format_version_4_are_readable() {
    write_golden("v4", build_late);
    check_golden("v4", 4, build_late, windows());
}

#[test]
fn files_of_format_version_5_are_readable() {
    write_golden("v5", build_cold);
    check_golden("v5", 5, build_cold, windows());
}

#[test]
fn files_with_a_fuse_filter_are_readable() {
    write_golden("fuse", build_wide);
    let sst = OsVfs.list(&golden("fuse")).unwrap();
    let sst = sst.into_iter().find(|name| name.contains(".sst")).unwrap();
    let file = OsVfs.open(&golden("fuse").join(sst)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(&mut bytes, 0).unwrap();
    assert_eq!(features(&bytes) & 2, 2);
    check_golden("fuse", 3, build_wide, (0..2000).map(wide).collect());
}

type Build = fn(&Arc<dyn Vfs>, &Path);

fn golden(name: &str) -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.join("testdata/sstable").join(name)
}

/// With `UPDATE_GOLDEN=1`, which is right only before the version is released.
fn write_golden(name: &str, build: Build) {
    if std::env::var_os("UPDATE_GOLDEN").is_none() {
        return;
    }
    let golden = golden(name);
    for name in OsVfs.list(&golden).unwrap_or_default() {
        OsVfs.remove(&golden.join(name)).unwrap();
    }
    build(&(Arc::new(OsVfs) as Arc<dyn Vfs>), &golden);
}

/// The kept files, the newest of which has this version, read like those that are written today.
fn check_golden(name: &str, newest: u32, build: Build, partitions: Vec<PartitionKey>) {
    let golden = golden(name);
    let disk = OsVfs;
    let copy = MemoryVfs::new();
    let mut versions = Vec::new();
    for name in disk.list(&golden).unwrap() {
        let file = disk.open(&golden.join(&name)).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        if name.contains(".sst") {
            versions.push(version(&bytes));
        }
        copy.write(&Path::new(DIR).join(name), bytes);
    }
    assert_eq!(versions.into_iter().max(), Some(newest));
    let copy: Arc<dyn Vfs> = Arc::new(copy);
    let found = examine_these(&copy, Path::new(DIR), partitions.clone()).unwrap();
    let fresh = memory();
    build(&fresh, Path::new(DIR));
    let expected = examine_these(&fresh, Path::new(DIR), partitions).unwrap();
    assert_eq!(rows(&found), rows(&expected));
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.static_row, expected.static_row);
    }
}
