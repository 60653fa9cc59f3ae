//! Everything about a run that must not show in what is read, chosen by the seed.

use std::sync::Arc;

use lsm::{BlockCache, EngineOptions, MemoryBudget};

use crate::engine_support::{Random, options};

/// Options of the engine and habits of its owner.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) engine: EngineOptions,
    /// The active memtable is frozen at this size.
    pub(super) memtable_bytes: usize,
    /// Whether compaction runs at all.
    pub(super) compacts: bool,
    /// Row keys are below this.
    pub(super) keys: u64,
    /// Width of a time window in milliseconds; `None` = a table without time.
    pub(super) window_ms: Option<u64>,
    /// Partitions are in so many of them.
    pub(super) windows: u64,
    /// Percentage of operations that delete something.
    pub(super) deletes: u64,
    /// Percentage of values that expire.
    pub(super) expires: u64,
}

impl Settings {
    pub(super) fn random(seed: u64) -> Self {
        let mut random = Random(seed ^ 0x5e77);
        let mut choose = |list: &[u64]| {
            let at = usize::try_from(random.below(list.len() as u64)).unwrap();
            list[at]
        };
        let small = |number: u64| usize::try_from(number).unwrap();
        // Options that are not chosen here keep their defaults.
        let mut engine = options();
        engine.cache = Arc::new(BlockCache::new(choose(&[0, 3000, 100_000, 64 << 20])));
        engine.block_bytes = small(choose(&[1024, 2048, 4096, 16_384, 65_536]));
        engine.compression_level = i32::try_from(choose(&[1, 3, 7])).unwrap();
        engine.frozen_max = small(choose(&[1, 2, 4, 16]));
        engine.tier_files = small(choose(&[2, 3, 4, 8]));
        engine.seal_grace_ms = choose(&[0, 100, 5000]);
        engine.dead_run_rows = small(choose(&[1, 1, 4, 128]));
        engine.sweep_rows = u32::try_from(choose(&[0, 1, 4, 100])).unwrap();
        engine.mixed_files = small(choose(&[0, 1, 4, 4]));
        engine.mixed_bytes = choose(&[1000, 64 << 20]);
        engine.cold_fan_out = u32::try_from(choose(&[0, 2, 2, 3, 8])).unwrap();
        engine.unmerged_windows = choose(&[0, 0, 1, 4]);
        engine.sealed_fragment_bytes = choose(&[64 << 10, 1 << 20, 1 << 30]);
        // Flushes in a hurry do not compress.
        engine.memory = Arc::new(MemoryBudget::new(choose(&[1, 10_000, 64 << 20])));
        engine.seed = seed;
        Self {
            engine,
            memtable_bytes: small(choose(&[2_000, 20_000, 200_000, 2_000_000])),
            compacts: choose(&[0, 1, 1, 1]) == 1,
            keys: choose(&[8, 60, 500, 4000]),
            // Windows that are soon over and sealed, one that never is, none at all.
            window_ms: Some(choose(&[1000, 1 << 40, 0])).filter(|width| *width > 0),
            windows: choose(&[3, 3, 14]),
            deletes: choose(&[2, 20, 50]),
            expires: choose(&[0, 10, 50]),
        }
    }
}
