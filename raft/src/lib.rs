//! Replication: openraft groups over one shared log.
//!
//! A process starts one [`Host`]. The host owns the shared log ([`lsm::log`]) with the thread that
//! syncs it, the hybrid clock, and every Raft group of the process. A [`Group`] takes opaque
//! commands, orders them, makes them durable, hands them to the [`StateMachine`] of its owner and
//! gives each caller the response to its own command.
//!
//! # What it guarantees
//!
//! * A proposal that returned `Ok` is on disk on a quorum and applied; it survives any crash.
//! * Commands are applied once per life of the state machine, in log order, the same on every
//!   replica. After a restart the state machine is fed from the entry after its own durable one.
//! * A proposal whose fate is not known says [`ErrorKind::Unknown`], never that it failed.
//!
//! # What it does not
//!
//! * It does not know tables, and it does not deduplicate: a caller that repeats an `Unknown`
//!   proposal has to carry a request id that its state machine recognizes.
//! * Hibernation, group splits, encryption between hosts: not built yet.
//!
//! # Limits
//!
//! | What | Limit |
//! |---|---|
//! | one command | [`COMMAND_BYTES_MAX`] |
//! | commands in one entry | [`ENTRY_COMMANDS_MAX`] |
//! | bytes of commands batched into one entry | [`BATCH_BYTES_MAX`] (one larger command travels alone) |
//! | commands and bytes that wait in front of a group | [`HostOptions::queue_commands_max`], [`HostOptions::queue_bytes_max`] |
//!
//! # Reading order
//!
//! `types` (what openraft is told), `runtime` (what it runs on), `payload` and `membership` (bytes), `log_store` and `machine`
//! (openraft's storage seams over ours), `log_driver` (who calls fdatasync), `batcher`, `group`,
//! `guard`, `keeper` (raft snapshot point and purge), `snapshot`, `sender` and `receiver`
//! (the state of a replica on its way to another one), `transport` (calls, and TCP), `network`
//! (openraft's calls over it), `pulse` (when who sends heartbeats or runs for
//! election), `members` (who belongs to a group), `recovery` (whose a log is),
//! `survivor` (going on without a majority), `host`. No type of openraft is public.

mod batcher;
mod blocking;
mod clock;
mod error;
mod failure;
mod freshness;
mod group;
mod guard;
mod history;
mod host;
mod id;
mod keeper;
mod lease;
mod log_driver;
mod log_store;
mod machine;
mod members;
mod membership;
mod metrics;
mod network;
mod options;
mod payload;
mod pulse;
mod receiver;
mod recovery;
mod replica;
mod running;
mod runtime;
mod sender;
mod settings;
mod snapshot;
mod stages;
mod state_machine;
mod survivor;
mod transport;
mod types;
mod wire;

pub use blocking::{blocking, may_block};
pub use clock::{Clock, WallClock};
pub use error::{Error, ErrorKind, Result};
pub use failure::Failure;
pub use group::{Group, GroupStatus, LogRead, Proposed};
pub use guard::{ReadGuard, ReadPolicy};
pub use host::Host;
pub use id::{GroupId, LeaderId, LogId, NodeId, ReplicaId};
pub use membership::{Membership, StoredMembership};
pub use metrics::GroupMetrics;
pub use options::{HostOptions, LogDriver, Timing};
pub use payload::{BATCH_BYTES_MAX, COMMAND_BYTES_MAX, ENTRY_COMMANDS_MAX, Payload};
pub use stages::{Stage, StageTimes, Stages};
pub use state_machine::{Applied, CommittedBatch, SnapshotDirs, StateMachine};
pub use survivor::{Loss, Survivor};
pub use transport::{
    Address, Inbound, Lane, NODE_NAME, NoPeers, Peer, Protocol, Secured, Session, TcpOptions,
    TcpTransport, Tls, TlsFiles, Transport,
};
#[doc(hidden)]
pub use transport::{fuzz_frames, fuzz_request, fuzz_response, fuzz_seeds};
