//! Names of groups, replicas and positions in a raft log.
//!
//! Groups and positions are those of the shared log, so that nothing is translated on the way to
//! disk. A replica has its own name, because it is neither a node nor a place in a list.

use std::fmt;

pub use lsm::log::{GroupId, LeaderId, LogId};

/// One process with its data directory, 1 ..= [`NodeId::MAX`]. Never reused: a node that lost its
/// directory comes back as another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

impl NodeId {
    /// The largest one: a replica's id has 24 bits for its node.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// Whether it is within 1 ..= [`NodeId::MAX`].
    pub fn is_valid(self) -> bool {
        (1..=Self::MAX.0).contains(&self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One replica of one group: the node that it is on, and which of that node's replicas it is.
///
/// Never reused. Raft counts a replica's earlier votes and acknowledgements as promises. A replica
/// that forgot them and keeps its name can elect two leaders, and nothing can detect it. So a replica
/// that is destroyed and made again gets another generation, and one that lost its disk is on another
/// node. A host refuses to open a log under another replica's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl ReplicaId {
    /// Bits of the generation.
    const GENERATION_BITS: u32 = 40;
    /// The largest generation.
    pub const GENERATION_MAX: u64 = (1 << Self::GENERATION_BITS) - 1;

    /// The replica of `generation` (0 ..= [`ReplicaId::GENERATION_MAX`]) on `node`.
    pub const fn new(node: NodeId, generation: u64) -> Self {
        debug_assert!(generation <= Self::GENERATION_MAX);
        Self((node.0 as u64) << Self::GENERATION_BITS | (generation & Self::GENERATION_MAX))
    }

    /// The node that it is on.
    pub const fn node(self) -> NodeId {
        NodeId((self.0 >> Self::GENERATION_BITS) as u32)
    }

    /// Which of the node's replicas of this group it is, in the order in which they were made.
    pub const fn generation(self) -> u64 {
        self.0 & Self::GENERATION_MAX
    }
}

/// `node.generation`.
impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.node(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_tells_its_node_and_its_generation() {
        for node in [1, 2, NodeId::MAX.0] {
            for generation in [0, 1, ReplicaId::GENERATION_MAX] {
                let replica = ReplicaId::new(NodeId(node), generation);
                assert_eq!(replica.node(), NodeId(node));
                assert_eq!(replica.generation(), generation);
            }
        }
        assert_eq!(ReplicaId::new(NodeId(3), 7).to_string(), "3.7");
        assert!(!NodeId(0).is_valid() && !NodeId(NodeId::MAX.0 + 1).is_valid());
    }
}
