//! Group 0: the raft group that decides what all others obey - identity, nodes, tablets, schema.
//!
//! Every node has a replica of it and follows its log. Its state is small, so it is kept whole in
//! memory and saved as one file; the raft log has what came after. Service leases and id allocation
//! are not built yet.

mod codec;
mod command;
mod machine;
pub(crate) mod placement;
mod snapshot;
mod state;
mod topology;

pub(crate) use command::{SystemCommand, TABLETS_MAX, decode_outcome, encode_outcome};
pub(crate) use machine::{System, SystemMachine};
pub(crate) use state::SystemState;
#[cfg(test)]
pub(crate) use topology::Born;
pub(crate) use topology::{
    NODES_MAX, NodePlace, NodeRecord, NodeState, REPLICATION_MAX, Splitting, TabletRange,
    TabletRecord, Topology,
};
