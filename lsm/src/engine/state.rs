//! What readers share and what the writer owns.

use std::sync::Arc;

use bytes::Bytes;

use crate::manifest::Version;
use crate::memtable::SharedMemtable;
use crate::row::{TableId, Timestamp, Window};

/// One state of the engine. Readers hold it while they read; writers replace it.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// The memtable that is written to.
    pub(super) active: SharedMemtable,
    /// Memtables that wait for flushing, oldest first.
    pub(super) frozen: Vec<Arc<Frozen>>,
    /// Files.
    pub(super) version: Arc<Version>,
}

impl State {
    /// Whether a memtable holds something of the window.
    pub(super) fn holds(&self, table: TableId, window: Window) -> bool {
        let frozen = self.frozen.iter().map(|it| &it.memtable);
        std::iter::once(&self.active)
            .chain(frozen)
            .any(|memtable| memtable.read().has_window(table, window))
    }
}

/// A memtable that nobody writes to any more.
#[derive(Debug)]
pub(super) struct Frozen {
    /// The memtable.
    pub(super) memtable: SharedMemtable,
    /// Last applied log index.
    pub(super) index: u64,
    /// Last timestamp used.
    pub(super) timestamp: Timestamp,
    /// What the owner wants back with them.
    pub(super) owner: Bytes,
}

/// Where applying is.
#[derive(Debug)]
pub(super) struct Writer {
    /// The active memtable, also that of the state; who writes need not look there.
    pub(super) active: SharedMemtable,
    /// Last applied log index.
    pub(super) index: u64,
    /// Last timestamp used.
    pub(super) timestamp: Timestamp,
}
