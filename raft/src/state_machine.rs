//! What a group's owner gives: the state that commands change.

use bytes::Bytes;

use crate::error::Result;
use crate::id::LogId;

/// How far the durable state of a state machine reaches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last entry whose effects are durable; `None` for an empty state machine.
    pub id: Option<LogId>,
    /// The bytes last given to [`StateMachine::apply_membership`] at or before `id`; empty if none.
    pub membership: Bytes,
}

/// One committed entry: the commands that were proposed together, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedBatch {
    /// Where the entry stands in the raft log.
    pub id: LogId,
    /// The proposing leader's hybrid clock, in microseconds since the Unix epoch. Grows with the
    /// log under one leader; after a change of leader it may lag behind by their clocks' skew.
    pub proposed_us: u64,
    /// The commands, at least one.
    pub commands: Vec<Bytes>,
}

/// The state that a group's commands change. One per group and replica.
///
/// # Rules
///
/// * `apply` is deterministic: what it does depends on the batch and on earlier entries only.
/// * Entries come in log order, each index once per life of the process. After a restart they
///   come again from the one after [`StateMachine::applied`].
/// * An error stops the group (and is reported by [`Host::failed`](crate::Host::failed)): a replica
///   that cannot apply what the others applied must not go on. A command that is *refused* is not
///   an error but a response.
/// * The methods are called by one task at a time, on a thread that may block for a disk read. They
///   must not wait for the group's own progress.
pub trait StateMachine: Send + 'static {
    /// How far the durable state reaches. Called once, before anything is applied.
    fn applied(&self) -> Applied;

    /// Applies one batch and returns one response per command, in order.
    fn apply(&mut self, batch: CommittedBatch) -> Result<Vec<Bytes>>;

    /// Takes note of the membership as of `id`. The bytes belong into the same durable edit as the
    /// state of this index ([`Applied::membership`]); to decode them is not needed.
    fn apply_membership(&mut self, id: LogId, membership: Bytes) -> Result<()>;

    /// Takes note of an entry without content, which a new leader writes.
    fn apply_blank(&mut self, id: LogId) -> Result<()>;
}
