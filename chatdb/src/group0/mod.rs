//! Group 0: the raft group that decides what all others obey - identity, tablets, schema.
//!
//! Its state is small, so it is kept whole in memory and saved as one file; the raft log has what
//! came after. Service leases, node membership and id allocation are not built yet.

mod command;
mod machine;
mod state;

pub(crate) use command::{SystemCommand, TABLETS_MAX, decode_outcome, encode_outcome};
pub(crate) use machine::{System, SystemMachine};
pub(crate) use state::{SystemState, TabletRange};
