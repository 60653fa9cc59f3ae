//! What every file system promises, and what the faulty one takes away.

use std::path::Path;

use lsm::ErrorKind;
use lsm::vfs::{Fault, FaultyVfs, MemoryVfs, OsVfs, Vfs};

/// Runs `check` on all three with a directory of its own.
fn on_every_vfs(check: impl Fn(&dyn Vfs, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    check(&OsVfs, dir.path());
    for vfs in [&MemoryVfs::new() as &dyn Vfs, &FaultyVfs::new(1)] {
        vfs.create_dir_all(Path::new("d/e")).unwrap();
        check(vfs, Path::new("d/e"));
    }
}

#[test]
fn files_read_back_what_was_written_and_end_where_they_end() {
    on_every_vfs(|vfs, dir| {
        let file = vfs.create(&dir.join("a")).unwrap();
        file.write_at(b"hello", 3).unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut bytes = [9; 10];
        assert_eq!(file.read_at(&mut bytes, 1).unwrap(), 7);
        assert_eq!(&bytes[..7], b"\0\0hello");
        assert_eq!(file.read_at(&mut bytes, 8).unwrap(), 0);
        assert_eq!(file.read_at(&mut bytes, 1000).unwrap(), 0);
        file.allocate(100).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        file.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 100);
        file.set_len(4).unwrap();
        file.sync_data().unwrap();
        assert_eq!(vfs.open(&dir.join("a")).unwrap().len().unwrap(), 4);
        assert!(!file.is_empty().unwrap());
    });
}

#[test]
fn names_are_created_once_listed_sorted_renamed_linked_and_removed() {
    on_every_vfs(|vfs, dir| {
        let kind = |result: lsm::Result<()>| result.unwrap_err().kind();
        for name in ["b", "a", "c"] {
            vfs.create(&dir.join(name))
                .unwrap()
                .write_at(name.as_bytes(), 0)
                .unwrap();
        }
        vfs.create(&dir.join("a")).unwrap_err();
        assert_eq!(vfs.list(dir).unwrap(), ["a", "b", "c"]);
        vfs.rename(&dir.join("a"), &dir.join("b")).unwrap();
        assert_eq!(vfs.list(dir).unwrap(), ["b", "c"]);
        assert_eq!(vfs.names_of(&dir.join("b")).unwrap(), 1);
        vfs.hard_link(&dir.join("b"), &dir.join("d")).unwrap();
        for name in ["b", "d"] {
            assert_eq!(vfs.names_of(&dir.join(name)).unwrap(), 2);
        }
        vfs.names_of(&dir.join("missing")).unwrap_err();
        assert!(vfs.hard_link(&dir.join("b"), &dir.join("c")).is_err());
        vfs.remove(&dir.join("b")).unwrap();
        let mut byte = [0];
        vfs.open(&dir.join("d"))
            .unwrap()
            .read_at(&mut byte, 0)
            .unwrap();
        assert_eq!(&byte, b"a");
        assert_eq!(kind(vfs.remove(&dir.join("b"))), ErrorKind::NotFound);
        assert_eq!(
            kind(vfs.open(&dir.join("b")).map(|_| ())),
            ErrorKind::NotFound
        );
        assert!(vfs.exists(&dir.join("d")).unwrap() && !vfs.exists(&dir.join("b")).unwrap());
        vfs.sync_dir(dir).unwrap();
    });
}

#[test]
fn a_lock_is_held_by_one_until_it_is_dropped() {
    on_every_vfs(|vfs, dir| {
        let lock = vfs.lock(&dir.join("LOCK")).unwrap();
        assert_eq!(
            vfs.lock(&dir.join("LOCK")).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        drop(lock);
        drop(vfs.lock(&dir.join("LOCK")).unwrap());
    });
}

/// A file with `old` synced and `new` written over it, after a power cut.
fn after_power_cut(seed: u64, is_synced: bool) -> Vec<u8> {
    let vfs = FaultyVfs::new(seed);
    let dir = Path::new("d");
    vfs.create_dir_all(dir).unwrap();
    let file = vfs.create(&dir.join("f")).unwrap();
    file.write_at(&[1; 16 * 1024], 0).unwrap();
    file.sync_data().unwrap();
    vfs.sync_dir(dir).unwrap();
    file.write_at(&[2; 16 * 1024], 0).unwrap();
    if is_synced {
        file.sync_data().unwrap();
    }
    vfs.restart();
    assert!(file.len().is_err(), "a handle survived the power cut");
    vfs.memory().read(&dir.join("f")).unwrap()
}

#[test]
fn a_power_cut_keeps_synced_bytes_and_loses_keeps_or_tears_the_others() {
    let (mut lost, mut kept, mut torn) = (0, 0, 0);
    for seed in 0..64 {
        assert_eq!(after_power_cut(seed, true), [2; 16 * 1024]);
        for page in after_power_cut(seed, false).chunks(4096) {
            assert!(
                page.chunks(512)
                    .all(|sector| sector == [1; 512] || sector == [2; 512])
            );
            match (page.contains(&1), page.contains(&2)) {
                (true, true) => torn += 1,
                (true, false) => lost += 1,
                _ => kept += 1,
            }
        }
    }
    assert!(lost > 20 && kept > 20 && torn > 20, "{lost} {kept} {torn}");
}

#[test]
fn a_power_cut_keeps_synced_names_and_may_undo_the_others() {
    let (mut renamed, mut kept, mut created) = (0, 0, 0);
    for seed in 0..64 {
        let vfs = FaultyVfs::new(seed);
        let dir = Path::new("d");
        vfs.create_dir_all(dir).unwrap();
        drop(vfs.create(&dir.join("old")).unwrap());
        vfs.sync_dir(dir).unwrap();
        vfs.rename(&dir.join("old"), &dir.join("new")).unwrap();
        drop(vfs.create(&dir.join("fresh")).unwrap());
        vfs.restart();
        let names = vfs.list(dir).unwrap();
        let has = |name: &str| names.iter().any(|found| found == name);
        assert!(
            has("old") != has("new"),
            "seed {seed}: a rename is all or nothing, {names:?}"
        );
        renamed += u32::from(has("new"));
        kept += u32::from(has("old"));
        created += u32::from(has("fresh"));
    }
    assert!(
        renamed > 5 && kept > 5 && created > 5,
        "{renamed} {kept} {created}"
    );
}

#[test]
fn a_planned_fault_hits_its_call_once_and_a_failed_sync_loses_bytes_for_good() {
    let vfs = FaultyVfs::new(3);
    let dir = Path::new("d");
    vfs.create_dir_all(dir).unwrap();
    let file = vfs.create(&dir.join("f")).unwrap();
    vfs.sync_dir(dir).unwrap();
    vfs.fail_at(vfs.calls(), Fault::NoSpace);
    assert_eq!(
        file.write_at(b"x", 0).unwrap_err().kind(),
        ErrorKind::NoSpace
    );
    file.write_at(b"x", 0).unwrap();
    vfs.fail_at(vfs.calls(), Fault::Eio);
    assert_eq!(file.sync_data().unwrap_err().kind(), ErrorKind::Io);
    file.sync_data().unwrap();
    assert_eq!(vfs.memory().read(&dir.join("f")).unwrap(), b"x");
    vfs.restart();
    assert_eq!(vfs.memory().read(&dir.join("f")).unwrap(), b"");
}
