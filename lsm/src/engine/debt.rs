//! What writes have caused and is not done yet.

use super::Engine;

/// Work that waits in an engine, or in several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// Bytes of memtables, active and frozen.
    pub memory_bytes: u64,
    /// Memtables that wait for [`Engine::flush_step`].
    pub frozen: usize,
    /// Their bytes.
    pub frozen_bytes: u64,
    /// Bytes that merges have to read until no window has more files than a tier: all but the
    /// largest file of each such window.
    pub compaction_bytes: u64,
    /// Files of the table and window that has most of them: what a read has to merge at worst.
    pub files: usize,
}

impl Debt {
    /// The debt of two engines together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            frozen: self.frozen.saturating_add(other.frozen),
            frozen_bytes: self.frozen_bytes.saturating_add(other.frozen_bytes),
            compaction_bytes: self.compaction_bytes.saturating_add(other.compaction_bytes),
            files: self.files.max(other.files),
        }
    }
}

impl Engine {
    /// The work that waits. Costs a look at every file's size; ask after a flush, after a
    /// compaction and now and then, not at every write.
    pub fn debt(&self) -> Debt {
        let state = self.state();
        let frozen_bytes: usize = state
            .frozen
            .iter()
            .map(|it| it.memtable.read().bytes())
            .sum();
        let mut debt = Debt {
            memory_bytes: (state.active.read().bytes() + frozen_bytes) as u64,
            frozen: state.frozen.len(),
            frozen_bytes: frozen_bytes as u64,
            ..Debt::default()
        };
        for files in state.version.files.values() {
            debt.files = debt.files.max(files.len());
            if files.len() >= self.options.tier_files {
                let sizes = files.iter().map(|file| file.meta.len);
                let largest = sizes.clone().max().unwrap_or(0);
                debt.compaction_bytes += sizes.sum::<u64>() - largest;
            }
        }
        debt
    }
}
