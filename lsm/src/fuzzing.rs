//! Entry points for the fuzz targets: every decoder of bytes from disk that is not public.
//!
//! Not part of the interface: hidden, and free to change. Each function must return, whatever
//! the bytes are; where something decodes, it must survive encoding and decoding again. Where a
//! checksum covers everything it is computed here, because a fuzzer never would.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::manifest::{Edit, decode_manifest, read_current, reseal_manifest};
use crate::row::{Timestamp, codec, view};
use crate::sstable::fuzz;
use crate::vfs::{MemoryVfs, Vfs};

/// A row body.
pub fn row(bytes: &[u8]) {
    let base = Timestamp(1_000_000);
    let body = Bytes::copy_from_slice(bytes);
    let is_live = codec::is_live(&body, base, Timestamp(7), 7);
    let summary = codec::inspect(&body, base);
    view::look_at(&body, base);
    let row = match codec::decode(&body, base) {
        Ok(row) => row,
        Err(error) => {
            assert_eq!(summary, Err(error));
            return;
        }
    };
    is_live.expect("what decodes can be looked at");
    let summary = summary.expect("what decodes is sound");
    let visible = row.clone().visible(Timestamp(7), 7);
    if summary.is_whole(Timestamp(7), 7) {
        assert_eq!(visible.as_ref(), Some(&row));
        view::check_view(&body, base, &row);
    }
    let mut again = Vec::new();
    codec::encode(&row, base, &mut again);
    assert_eq!(codec::decode(&Bytes::from(again), base), Ok(row));
}

/// The payload of a data block: every entry, every partition, searches.
pub fn block(bytes: &[u8]) {
    fuzz::block(Bytes::copy_from_slice(bytes));
}

/// The payloads of index block, top index, directory, filter and properties. The first byte
/// chooses.
pub fn index(bytes: &[u8]) {
    if let Some((kind, payload)) = bytes.split_first() {
        fuzz::section(*kind, &Bytes::copy_from_slice(payload));
    }
}

/// A frame whose checksum is made to fit, then a whole file as it is and with checksums that fit.
pub fn sstable(bytes: &[u8]) {
    fuzz::frame(bytes);
    file(bytes.to_vec());
    let mut sealed = bytes.to_vec();
    if fuzz::reseal(&mut sealed).is_some() {
        file(sealed);
    }
}

fn file(bytes: Vec<u8>) {
    let vfs = MemoryVfs::new();
    let path = Path::new("/fuzz.sst");
    let len = bytes.len() as u64;
    vfs.write(path, bytes);
    if let Ok(file) = vfs.open(path) {
        fuzz::file(Arc::clone(&file), path, len);
    }
}

/// `CURRENT`, a manifest as it is and with checksums that fit, and the payload of an edit.
pub fn manifest(bytes: &[u8]) {
    let path = Path::new("/MANIFEST-000001");
    let vfs = MemoryVfs::new();
    vfs.write(Path::new("/CURRENT"), bytes.to_vec());
    drop(read_current(&vfs, Path::new("/")));
    let mut sealed = bytes.to_vec();
    reseal_manifest(&mut sealed, 1);
    drop(decode_manifest(path, 1, &Bytes::from(sealed)));
    let bytes = Bytes::copy_from_slice(bytes);
    drop(decode_manifest(path, 1, &bytes));
    if let Ok(edit) = Edit::decode(&bytes) {
        assert_eq!(Edit::decode(&Bytes::from(edit.encode())), Ok(edit));
    }
}

#[cfg(test)]
mod tests {
    //! The seeds of the fuzz targets: what the encoders write, one file each.
    //!
    //! `UPDATE=1 cargo test -p lsm --lib fuzzing` writes them again after a format changed. The
    //! seeds of `log_segments` are edits of a log that the target makes itself.

    use super::*;
    use crate::manifest::{FileMeta, Manifest};
    use crate::row::{Change, Mutation, Operation};
    use crate::sstable::format::FrameKind;
    use crate::{
        CellValue, CellWrite, ColumnId, Engine, EngineOptions, Liveness, PartitionKey, TableId,
        TableOptions, Window,
    };
    use std::ops::Bound;

    const DIR: &str = "/t";

    /// Rows of every shape in two partitions, flushed.
    fn flushed() -> MemoryVfs {
        let vfs = MemoryVfs::new();
        let engine = Engine::open(
            Arc::new(vfs.clone()),
            Path::new(DIR),
            EngineOptions::default(),
        )
        .unwrap();
        let table = TableId(1);
        engine.define_table(table, TableOptions::default()).unwrap();
        for index in 1..=12_u64 {
            let cell = |column, path: &'static [u8], value| CellWrite {
                column: ColumnId(column),
                path: Bytes::from_static(path),
                value,
            };
            let clustering = Bytes::from(vec![b'k', u8::try_from(index).unwrap()]);
            let value = Bytes::from(vec![b'v'; usize::try_from(index).unwrap() * 3]);
            let operation = match index % 6 {
                0 => Operation::DeleteRow { clustering },
                1 => Operation::DeleteRange {
                    start: Bound::Included(Bytes::from_static(b"k\x02")),
                    end: Bound::Excluded(Bytes::from_static(b"k\x07")),
                },
                2 => Operation::UpsertStatic {
                    cells: vec![cell(9, b"", CellValue::Live(value))],
                },
                _ => Operation::Upsert {
                    clustering,
                    liveness: Some(Liveness {
                        expires_at_ms: (index % 2 == 0).then_some(1_800_000_000_000),
                    }),
                    cells: vec![
                        cell(1, b"", CellValue::Live(value.clone())),
                        cell(2, b"element", CellValue::Tombstone),
                        cell(
                            3,
                            b"",
                            CellValue::Expiring {
                                value,
                                expires_at_ms: 1_800_000_000_000,
                            },
                        ),
                    ],
                },
            };
            let key = Bytes::from(format!("partition {}", index % 2));
            let mutation = Mutation {
                table,
                partition: PartitionKey {
                    token: index % 2,
                    key,
                    window: Window::TIMELESS,
                },
                operations: vec![operation],
            };
            let timestamp = Timestamp(1_700_000_000_000_000 + index);
            engine
                .apply(index, timestamp, &[Change::Mutation(mutation)])
                .unwrap();
        }
        engine.freeze(Bytes::from_static(b"owner")).unwrap();
        while engine.flush_step().unwrap() {}
        vfs
    }

    /// Rows in each of three sealed windows, and late rows of them in one file.
    fn mixed() -> MemoryVfs {
        let vfs = windows(0);
        let path = Path::new(DIR);
        let engine = Engine::open(Arc::new(vfs.clone()), path, EngineOptions::default());
        assert_eq!(engine.unwrap().metrics().mixed_files, 1);
        vfs
    }

    /// The same after the windows became one group, without late rows.
    fn windows(cold_fan_out: u32) -> MemoryVfs {
        let vfs = MemoryVfs::new();
        let options = EngineOptions {
            seal_grace_ms: 100,
            cold_fan_out,
            ..EngineOptions::default()
        };
        let engine = Engine::open(Arc::new(vfs.clone()), Path::new(DIR), options).unwrap();
        let table = TableId(1);
        let windowed = Some(crate::WindowOptions {
            window_ms: 1000,
            origin_ms: 0,
        });
        engine
            .define_table(table, TableOptions { windowed })
            .unwrap();
        let end = if cold_fan_out == 0 { 6_u64 } else { 3 };
        for index in 1..=end {
            let window = i64::try_from(index % 3).unwrap();
            let partition = PartitionKey {
                token: index % 3,
                key: Bytes::from(format!("channel {window}")),
                window: Window(window),
            };
            let rows = if index <= 3 { 100_u8 } else { 2 };
            let row = |number: u8| Operation::Upsert {
                clustering: Bytes::from(vec![b'k', number]),
                liveness: Some(Liveness::default()),
                cells: Vec::new(),
            };
            // A deletion, because a small file of rows alone is not worth sealing.
            let clustering = Bytes::from_static(b"l");
            let gone = Operation::DeleteRow { clustering };
            let operations = (0..rows).map(row).chain([gone]).collect();
            let mutation = Mutation {
                table,
                partition,
                operations,
            };
            let change = [Change::Mutation(mutation)];
            engine
                .apply(index, Timestamp(index * 1000), &change)
                .unwrap();
            if index % 3 == 0 {
                engine.freeze(Bytes::new()).unwrap();
                while engine.flush_step().unwrap() {}
            }
            if index == 3 {
                while engine.compact_step(100_000).unwrap() {}
            }
        }
        vfs
    }

    fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
        let mut seeds = seeds_of(&flushed(), "");
        let mut late = seeds_of(&mixed(), "mixed-");
        // `CURRENT` is the same, and of the files the youngest is the mixed one.
        late.retain(|(_, name, _)| name != "mixed-CURRENT");
        seeds.append(&mut late);
        let mut cold = seeds_of(&windows(4), "cold-");
        cold.retain(|(_, name, _)| name != "cold-CURRENT");
        seeds.append(&mut cold);
        for (number, edit) in [Edit::default(), full_edit()].into_iter().enumerate() {
            seeds.push(("manifest", format!("edit-{number}"), edit.encode()));
        }
        for (number, operation) in [1_u8, 3].into_iter().enumerate() {
            seeds.push(("sstable_row", number.to_string(), row_body(operation)));
        }
        let fuse = [&[6], fuzz::fuse_filter().as_slice()].concat();
        seeds.push(("sstable_index", "fuse".to_owned(), fuse));
        let dictionary = [&[4], [b"dictionary ".as_slice(); 40].concat().as_slice()].concat();
        seeds.push(("sstable_index", "dictionary".to_owned(), dictionary));
        let keys: [&[u8]; 3] = [
            &[0, 4, 0, 0x80, 0, 0, 5],
            &[
                1,
                9,
                5,
                128 + 1,
                b'a',
                0,
                255,
                b'b',
                0,
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                8,
            ],
            &[
                2, 30, 6, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0x80, 0, 0,
            ],
        ];
        for (number, key) in keys.into_iter().enumerate() {
            seeds.push(("ordered_keys", number.to_string(), key.to_vec()));
        }
        let edits: [&[u8]; 3] = [
            &[0, 1, 0x30, 0, 0, 1, 0, 0],
            &[1, 3, 24, 0, 200, 2, 1, 0, 0, 0, 40, 0, 9, 1, 0, 0],
            &[2, 2, 4, 0, 2, 1, 0, 0, 0, 9, 0, 8, 0, 4, 0, 0],
        ];
        for (number, edit) in edits.into_iter().enumerate() {
            seeds.push(("log_segments", number.to_string(), edit.to_vec()));
        }
        seeds
    }

    /// Manifest and youngest file of an engine, piece by piece.
    fn seeds_of(vfs: &MemoryVfs, prefix: &str) -> Vec<(&'static str, String, Vec<u8>)> {
        let mut seeds = Vec::new();
        let mut names = vfs.list(Path::new(DIR)).unwrap();
        names.sort();
        let youngest = names.iter().rfind(|name| name.contains(".sst")).cloned();
        for name in names {
            let bytes = vfs.read(&Path::new(DIR).join(&name)).unwrap_or_default();
            if name == "CURRENT" || name.starts_with("MANIFEST") {
                seeds.push(("manifest", format!("{prefix}{name}"), bytes));
            } else if Some(&name) == youngest.as_ref() {
                let bytes = Bytes::from(bytes);
                for (number, (kind, payload)) in fuzz::payloads(&bytes).into_iter().enumerate() {
                    let name = format!("{prefix}{number}");
                    let section = |kind: u8| [&[kind], payload.as_ref()].concat();
                    match kind {
                        FrameKind::Data => seeds.push(("block", name, payload.to_vec())),
                        FrameKind::Index => seeds.push(("sstable_index", name, section(0))),
                        FrameKind::Top => seeds.push(("sstable_index", name, section(1))),
                        FrameKind::Directory => seeds.push(("sstable_index", name, section(2))),
                        FrameKind::Filter => seeds.push(("sstable_index", name, section(3))),
                        FrameKind::Dictionary => seeds.push(("sstable_index", name, section(4))),
                        FrameKind::Properties => seeds.push(("sstable_index", name, section(5))),
                    }
                }
                seeds.push(("sstable_file", format!("{prefix}file"), bytes.to_vec()));
            }
        }
        seeds
    }

    fn full_edit() -> Edit {
        let range = (1, 12);
        let mut edit = Edit {
            next_file: 7,
            removed: vec![1, 2],
            ..Edit::default()
        };
        edit.added.push(FileMeta {
            number: 3,
            uid: 0xfeed,
            len: 4096,
            is_sealed: true,
            run: 3,
            merges: 1,
            epochs_applied: Timestamp(5),
            properties: crate::sstable::Properties::empty(TableId(1), Window::TIMELESS, range),
        });
        edit
    }

    fn row_body(cells: u8) -> Vec<u8> {
        let at = Timestamp(1_000_007);
        let mut row = crate::row::Fragment::default();
        for column in 0..cells {
            row.cells.push(crate::Cell {
                column: ColumnId(u32::from(column)),
                path: Bytes::from(vec![b'p'; usize::from(column)]),
                timestamp: at,
                value: CellValue::Live(Bytes::from_static(b"value")),
            });
        }
        row.liveness = Some(crate::RowLiveness {
            timestamp: at,
            expires_at_ms: Some(99),
        });
        let mut body = Vec::new();
        codec::encode(&row, Timestamp(1_000_000), &mut body);
        body
    }

    #[expect(clippy::disallowed_methods, reason = "seeds are files of the source")]
    #[test]
    fn seeds_are_what_the_encoders_write_and_every_target_takes_them() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let seeds = seeds();
        for (target, name, bytes) in &seeds {
            match *target {
                "block" => block(bytes),
                "sstable_index" => index(bytes),
                "sstable_file" => sstable(bytes),
                "sstable_row" => row(bytes),
                "manifest" => manifest(bytes),
                _ => {}
            }
            if std::env::var_os("UPDATE").is_some() {
                let path = root.join(target).join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(&path, bytes).unwrap();
            }
        }
        for target in [
            "block",
            "sstable_index",
            "sstable_file",
            "sstable_row",
            "manifest",
        ] {
            assert!(seeds.iter().any(|(known, ..)| *known == target), "{target}");
        }
    }

    #[test]
    fn a_changed_file_with_new_checksums_gets_behind_them() {
        let found = seeds().into_iter().find(|(at, ..)| *at == "sstable_file");
        let (_, _, mut bytes) = found.unwrap();
        let sound = bytes.clone();
        assert!(fuzz::reseal(&mut bytes).is_some());
        assert_eq!(bytes, sound, "sound checksums stay");
        bytes[30] ^= 1;
        fuzz::reseal(&mut bytes);
        assert_ne!(
            bytes[..8],
            sound[..8],
            "the first block has another checksum"
        );
    }

    #[test]
    fn a_changed_manifest_with_new_checksums_is_read() {
        let vfs = MemoryVfs::new();
        vfs.create_dir_all(Path::new(DIR)).unwrap();
        drop(Manifest::create(&vfs, Path::new(DIR), 1, &full_edit()).unwrap());
        let path = Path::new(DIR).join(crate::manifest::manifest_name(1));
        let sound = vfs.read(&path).unwrap();
        let mut damaged = sound.clone();
        damaged[15] ^= 1; // the checksum of the header
        decode_manifest(&path, 1, &Bytes::from(damaged.clone())).unwrap_err();
        reseal_manifest(&mut damaged, 1);
        assert_eq!(damaged, sound);
    }
}
