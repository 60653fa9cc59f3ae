//! Settings of a host. All are data; what has behavior is passed beside them.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::id::NodeId;
use crate::transport::{NoPeers, Transport};

/// Settings of a [`Host`](crate::Host).
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// This host. All its replicas are on it. Default: 1.
    pub node: NodeId,
    /// How long a caller waits for the outcome of a proposal before it gets
    /// [`ErrorKind::Unknown`]. Default: 10 s. Range: 1 ms and more.
    pub proposal_timeout: Duration,
    /// How long opening a group waits for it to lead and to have applied all that was committed.
    /// Default: 60 s (replaying a long log counts).
    pub open_timeout: Duration,
    /// Commands that may wait in front of one group. Default: 16 384. Range: 1 and more.
    pub queue_commands_max: usize,
    /// Bytes of commands that may wait in front of one group. Default: 16 MiB. A single command is
    /// accepted into an empty queue whatever its size.
    pub queue_bytes_max: usize,
    /// Entries of one group that may be on their way at the same time. Default: 1. Range: 1 ..= 64.
    ///
    /// 1: commands collect during the whole round of an entry, so entries are as large as can be.
    /// 2: the next entry is in the log's queue before the disk is free, but callers split into two
    /// smaller entries: 64 writers on one group made 59 000 instead of 89 000 writes/s.
    pub entries_in_flight_max: usize,
    /// Heartbeats and elections of groups with more than one member.
    pub timing: Timing,
    /// Who runs the shared log's syncs. Default: a thread.
    pub log_driver: LogDriver,
    /// The hybrid clock that stamps proposals. Default: over the system's wall clock.
    pub clock: Clock,
    /// Raft snapshots that are sent at the same time, and that are received. Default: 2 each. Range: 1 ..= 64.
    pub snapshots_max: usize,
    /// Pace of all raft snapshots that this host sends, in bytes per second. Default: 256 MiB/s. Range: 1 and
    /// more.
    ///
    /// Larger: a replica moves faster. Smaller: the disk and the network are left to the rest.
    pub snapshot_bytes_per_second: u64,
    /// How long a raft snapshot that is being sent keeps the log behind it. Default: 15 min. A member
    /// that takes longer may need another one.
    pub snapshot_pin_max: Duration,
    /// The way to other members. Default: [`NoPeers`].
    pub transport: Arc<dyn Transport>,
}

/// Heartbeats and elections, in milliseconds. Members of a group need the same lease.
///
/// A leader that dies is replaced after about `lease_ms` + `spread_ms` / 2; one that is silent for less
/// than `lease_ms` - `heartbeat_ms` keeps its office. Why these: `docs/decisions/0010-time-of-elections.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Interval of heartbeats, and deadline of one. Default: 300. Range: 10 and more.
    pub heartbeat_ms: u64,
    /// Length of a leader's lease: for so long after it was heard, members elect nobody else and it
    /// may serve reads. Default: 1200. Range: three heartbeats and more.
    pub lease_ms: u64,
    /// Longest random delay between the end of a lease and a candidacy, so that one member comes
    /// first. Default: 150. Range: 1 and more.
    pub spread_ms: u64,
}

/// Who runs the shared log's syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogDriver {
    /// A thread of its own: `fdatasync` blocks nobody else.
    Thread,
    /// A task of the runtime: deterministic, for simulations over a log in memory.
    Task,
    /// The same on a slow disk, for simulations: each sync takes up to so long.
    SlowTask(Duration),
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            node: NodeId(1),
            proposal_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_mins(1),
            queue_commands_max: 16 * 1024,
            queue_bytes_max: 16 * 1024 * 1024,
            entries_in_flight_max: 1,
            timing: Timing::default(),
            log_driver: LogDriver::Thread,
            clock: Clock::default(),
            snapshots_max: 2,
            snapshot_bytes_per_second: 256 * 1024 * 1024,
            snapshot_pin_max: Duration::from_mins(15),
            transport: Arc::new(NoPeers),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_ms: 300,
            lease_ms: 1200,
            spread_ms: 150,
        }
    }
}

impl HostOptions {
    /// Refuses settings that cannot work, naming the one that is wrong.
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::new(ErrorKind::Invalid, what));
        if !self.node.is_valid() {
            return wrong("node must be between 1 and 16777215");
        }
        if self.proposal_timeout < Duration::from_millis(1) {
            return wrong("proposal_timeout must be at least 1 ms");
        }
        if self.queue_commands_max == 0 {
            return wrong("queue_commands_max must be at least 1");
        }
        if !(1..=64).contains(&self.snapshots_max) {
            return wrong("snapshots_max must be between 1 and 64");
        }
        if self.snapshot_bytes_per_second == 0 {
            return wrong("snapshot_bytes_per_second must be at least 1");
        }
        if !(1..=64).contains(&self.entries_in_flight_max) {
            return wrong("entries_in_flight_max must be between 1 and 64");
        }
        let Timing {
            heartbeat_ms,
            lease_ms,
            spread_ms,
        } = self.timing;
        if heartbeat_ms < 10 || spread_ms == 0 {
            return wrong("timing needs heartbeat_ms of at least 10 and spread_ms of at least 1");
        }
        if lease_ms / 3 < heartbeat_ms {
            return wrong("timing needs a lease_ms of at least three times heartbeat_ms");
        }
        Ok(())
    }
}
