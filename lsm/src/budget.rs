//! Memory of all memtables of a process, counted in one place.
//!
//! Every engine that shares a budget adds what its memtables grow by and takes away what it frees,
//! so that the sum is known at any moment without asking all engines. A memtable counts until the last
//! reader lets go of it, which may be a little after its engine has. The budget refuses nothing:
//! an apply must not fail. Who owns the engines freezes the largest one when the budget is used up,
//! and slows proposals down beyond it, see [`crate::Pace`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that the memtables of several engines may take together.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: u64,
    used: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `bytes_max` bytes, of which nothing is used.
    pub fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            used: AtomicU64::new(0),
        }
    }

    /// Bytes of all memtables, active and frozen, of all engines that share the budget.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The bytes that it was made for.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Whether something has to be frozen and flushed now.
    pub fn is_used_up(&self) -> bool {
        self.used() >= self.bytes_max
    }

    /// Whether memtables take twice the budget: writers are held back long before, so this is a log that
    /// is being replayed, or a member that catches up. Flushing is then what everything waits for.
    pub(crate) fn is_overrun(&self) -> bool {
        self.used() / 2 >= self.bytes_max
    }

    /// Memtables changed their size.
    pub(crate) fn change(&self, before: usize, after: usize) {
        if after >= before {
            self.used
                .fetch_add((after - before) as u64, Ordering::Relaxed);
        } else {
            self.used
                .fetch_sub((before - after) as u64, Ordering::Relaxed);
        }
    }
}

impl Default for MemoryBudget {
    /// 64 MiB.
    fn default() -> Self {
        Self::new(64 * 1024 * 1024)
    }
}
