//! What is encoded decodes to the same, for bytes whose types are not public.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::engine::Flushed;
use crate::manifest::{Edit, FileMeta, Manifest};
use crate::memtable::Epochs;
use crate::row::{
    Cell, CellValue, ColumnId, Fragment, PlainRow, RowLiveness, TableId, Timestamp, Window, codec,
};
use crate::sstable::Properties;
use crate::vfs::{MemoryVfs, Vfs};

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

/// Timestamps near each other, as in a block, and some far away.
fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        1_u64..1000,
        1_700_000_000_000_000_u64..1_700_000_001_000_000,
        1_u64..
    ]
    .prop_map(Timestamp)
}

fn value() -> impl Strategy<Value = CellValue> {
    prop_oneof![
        bytes(40).prop_map(CellValue::Live),
        (bytes(40), any::<u64>()).prop_map(|(value, expires_at_ms)| CellValue::Expiring {
            value,
            expires_at_ms
        }),
        Just(CellValue::Tombstone),
    ]
}

fn fragment() -> impl Strategy<Value = Fragment> {
    let deletion = prop_oneof![Just(Timestamp::ZERO), timestamp()];
    let liveness = proptest::option::of((timestamp(), proptest::option::of(any::<u64>())));
    let complex = btree_map(any::<u32>(), timestamp(), 0..4);
    let cells = btree_map((any::<u32>(), bytes(6)), (timestamp(), value()), 0..8);
    (deletion, liveness, complex, cells).prop_map(|(deletion, liveness, complex, cells)| Fragment {
        deletion,
        liveness: liveness.map(|(timestamp, expires_at_ms)| RowLiveness {
            timestamp,
            expires_at_ms,
        }),
        complex: complex
            .into_iter()
            .map(|(column, at)| (ColumnId(column), at))
            .collect(),
        cells: cells
            .into_iter()
            .map(|((column, path), (timestamp, value))| Cell {
                column: ColumnId(column),
                path,
                timestamp,
                value,
            })
            .collect(),
    })
}

/// The row as one insert that never expires would have written it.
fn plain(row: Fragment) -> Fragment {
    let timestamp = row.liveness.map_or(Timestamp(7), |marker| marker.timestamp);
    let alive = |cell: Cell| Cell {
        timestamp,
        value: CellValue::Live(cell.value.bytes().cloned().unwrap_or_default()),
        ..cell
    };
    Fragment {
        deletion: Timestamp::ZERO,
        liveness: Some(RowLiveness {
            timestamp,
            expires_at_ms: None,
        }),
        complex: Vec::new(),
        cells: row.cells.into_iter().map(alive).collect(),
    }
}

fn meta() -> impl Strategy<Value = FileMeta> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>());
    let counts = (
        any::<u32>(),
        any::<u64>(),
        timestamp(),
        timestamp(),
        any::<u64>(),
    );
    (numbers, counts, any::<u32>(), any::<i64>(), bytes(20)).prop_map(
        |((number, uid, len, is_sealed), (blocks, rows, min, max, dead), table, window, key)| {
            let mut properties = Properties::empty(TableId(table), Window(window), (uid, len));
            (properties.blocks, properties.rows) = (blocks, rows);
            (properties.min_timestamp, properties.max_timestamp) = (min, max);
            (properties.dead_after_ms, properties.last_key) = (dead, key);
            // Every other file is of merged windows, if there can be such from its window on.
            let last = properties.window.0.saturating_add(1 + i64::from(blocks));
            if is_sealed && properties.window > Window::MIXED {
                properties.last_window = Window(last);
            }
            FileMeta {
                number,
                uid,
                len,
                is_sealed,
                run: uid,
                merges: 3,
                epochs_applied: max,
                properties,
            }
        },
    )
}

fn edit() -> impl Strategy<Value = Edit> {
    let flushed = proptest::option::of((any::<u64>(), timestamp(), bytes(50)));
    let epochs = proptest::option::of(vec(
        (any::<u32>(), any::<u64>(), bytes(9), timestamp()),
        0..4,
    ));
    (
        vec(meta(), 0..4),
        vec(any::<u64>(), 0..4),
        flushed,
        epochs,
        any::<u64>(),
    )
        .prop_map(|(added, removed, flushed, epochs, next_file)| Edit {
            added,
            removed,
            flushed: flushed.map(|(index, timestamp, owner)| Flushed {
                index,
                timestamp,
                owner,
            }),
            epochs: epochs.map(|list| {
                let mut epochs = Epochs::default();
                for (table, token, placement, timestamp) in list {
                    epochs.insert(TableId(table), token, &placement, timestamp);
                }
                epochs
            }),
            next_file,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_row_decodes_to_what_was_encoded_from_any_base(row in fragment(), base in timestamp()) {
        let mut body = Vec::new();
        codec::encode(&row, base, &mut body);
        prop_assert_eq!(codec::decode(&Bytes::from(body), base), Ok(row));
    }

    #[test]
    fn a_row_that_is_copied_is_the_row_as_it_would_be_encoded(
        row in fragment(),
        from in timestamp(),
        to in timestamp(),
        is_plain in any::<bool>(),
    ) {
        let row = if is_plain { plain(row) } else { row };
        let (mut body, mut wanted, mut copied) = (Vec::new(), Vec::new(), Vec::new());
        codec::encode(&row, from, &mut body);
        codec::put_bytes(&mut wanted, b"key");
        codec::encode(&row, to, &mut wanted);
        let found = PlainRow::decode(&body, from);
        prop_assert_eq!(found.map(|it| it.is_some()), Ok(row == plain(row.clone())));
        if let Ok(Some(found)) = found {
            found.encode(b"key", to, &mut copied);
            prop_assert_eq!(copied, wanted);
            // Damage is seen, as it is by whoever decodes the row.
            for len in 0..body.len() {
                let copy = PlainRow::decode(&body[..len], from);
                let decoded = codec::decode(&Bytes::copy_from_slice(&body[..len]), from);
                prop_assert!(copy.is_err() && decoded.is_err(), "{} bytes", len);
            }
        }
    }

    #[test]
    fn a_manifest_replays_to_the_edits_that_were_appended(edits in vec(edit(), 1..6)) {
        let vfs: Arc<dyn Vfs> = Arc::new(MemoryVfs::new());
        let dir = Path::new("/tablet");
        vfs.create_dir_all(dir).unwrap();
        let mut manifest = Manifest::create(vfs.as_ref(), dir, 7, &edits[0]).unwrap();
        for edit in &edits[1..] {
            manifest.append(edit).unwrap();
        }
        let replayed = Manifest::replay(vfs.as_ref(), dir).unwrap();
        prop_assert_eq!(replayed, Some((7, edits)));
    }
}
