//! What a page from the start of a partition costs.

use crate::engine_support::*;
use lsm::{EngineOptions, PartitionKey, SliceRead};

/// Rows of a page, which together are smaller than a block.
const PAGE_ROWS: usize = 50;

/// A text of 256 bytes.
fn text(random: &mut Random) -> String {
    let words = (0..16).map(|_| format!("{:016x}", random.next()));
    words.collect()
}

/// Partitions of all sizes lie between the large ones, so that those begin anywhere in a block.
#[test]
fn the_first_page_of_a_large_partition_is_in_one_block_whatever_lies_in_front_of_it() {
    let mut random = Random(26);
    let engine = open(&memory(), EngineOptions::default()).unwrap();
    let (mut index, mut large) = (0, Vec::<PartitionKey>::new());
    for number in 0..400 {
        let channel = partition(&format!("channel/{number}"), 0);
        let is_large = number % 2 == 0;
        let rows = if is_large {
            80 + random.below(100)
        } else {
            random.below(40)
        };
        let rows = (0..rows).map(|row| insert(row, &text(&mut random)));
        index += 1;
        apply(&engine, index, &[mutation(&channel, rows.collect())]);
        if is_large {
            large.push(channel);
        }
    }
    flush(&engine);
    let mut touched = Vec::new();
    for channel in large {
        let read = SliceRead::all(TABLE, channel, PAGE_ROWS, 0);
        let found = engine.read(&read).unwrap();
        assert_eq!(found.rows.len(), PAGE_ROWS);
        touched.push(found.stats.blocks_read + found.stats.blocks_cached);
    }
    assert!(touched.iter().all(|blocks| *blocks == 1), "{touched:?}");
}
