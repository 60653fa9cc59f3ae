//! Names of groups, replicas and positions in a raft log.
//!
//! Groups and positions are those of the shared log, so that nothing is translated on the way to
//! disk. A replica has its own name, because it is neither a node nor a place in a list.

use std::fmt;

pub use lsm::log::{GroupId, LeaderId, LogId};

/// One replica of one group. Never reused: a replica that lost its disk comes back under a new id.
///
/// Raft counts a replica's earlier votes and acknowledgements as promises. A replica that forgot
/// them and keeps its name can elect two leaders, and nothing can detect it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
