//! Getting a decision of group 0, from any node.
//!
//! A decision is proposed to this node's replica of group 0; when that does not lead, to the node whose
//! replica does. The decision has been applied here when its value returns, so that the caller sees its
//! own decision. Commands of the topology carry what they follow, so that one that is made twice is
//! refused the second time; a schema command whose outcome is not known is not made again.
//!
//! A node that follows may be behind: a table made a moment ago through another node, or before this one
//! was started again, is not there yet. [`Decider::hear`] asks the leader how far group 0 is and waits for
//! that. Callers that come while it asks share the next question.

use crate::error::{Error, ErrorKind, Result};
use crate::group0::{NodeState, System, SystemCommand, decode_outcome};
use crate::node::environment::random;
use crate::node::identity::Identity;
use crate::rpc::cluster::Contacts;
use bytes::Bytes;
use raft::{Group, NodeId, ReadPolicy, ReplicaId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a decision may take.
const LIMIT: Duration = Duration::from_secs(15);
/// Pause before asking again when nobody leads; up to half as much again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a node may take to hear what group 0 has decided so far.
const HEAR_LIMIT: Duration = Duration::from_secs(5);

/// What a decided command came to.
#[derive(Clone, Debug)]
pub(crate) struct Decided {
    /// Its entry in group 0's log.
    pub(crate) index: u64,
    /// What applying it answered, see [`decode_outcome`].
    pub(crate) outcome: Bytes,
}

/// This node's way to group 0.
#[derive(Debug)]
pub(crate) struct Decider {
    node: NodeId,
    pub(super) cluster_id: u128,
    group0: Group,
    system: Arc<System>,
    pub(super) contacts: Arc<Contacts>,
    hearing: Hearing,
}

/// The questions how far group 0 is, one at a time.
#[derive(Debug, Default)]
struct Hearing {
    /// How many questions were begun.
    begun: AtomicU64,
    /// The number of the last one that was answered.
    answered: Mutex<u64>,
}

impl Decider {
    /// The way of the node of this identity, over its own replica of group 0.
    pub(super) fn new(
        identity: Identity,
        (group0, system): (Group, Arc<System>),
        contacts: Arc<Contacts>,
    ) -> Self {
        Self {
            node: identity.node,
            cluster_id: identity.cluster_id,
            group0,
            system,
            contacts,
            hearing: Hearing::default(),
        }
    }

    /// Decides, and waits until this node has applied it.
    pub(crate) async fn decide(&self, command: SystemCommand) -> Result<u64> {
        let is_once = matches!(command, SystemCommand::Ddl(_));
        let command = command.encode();
        let end = Instant::now() + LIMIT;
        let decided = loop {
            let error = match self.attempt(&command).await {
                Ok(decided) => break decided,
                Err(error) => error,
            };
            let may_repeat =
                error.is_retryable() || (error.kind() == ErrorKind::Unknown && !is_once);
            let pause = PAUSE + Duration::from_millis(u64::from(jitter()) % 50);
            if !may_repeat || Instant::now() + pause >= end {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        };
        let left = end.saturating_duration_since(Instant::now());
        self.group0.wait_applied(decided.index, left).await?;
        decode_outcome(&decided.outcome)
    }

    async fn attempt(&self, command: &Bytes) -> Result<Decided> {
        let refused = match self.decide_here(command.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotLeader => error,
            outcome => return outcome,
        };
        let address = self.address_of_leader(refused)?;
        self.contacts
            .decide(&address, self.cluster_id, command.clone())
            .await
    }

    /// Decides on this node, if it leads group 0.
    pub(crate) async fn decide_here(&self, command: Bytes) -> Result<Decided> {
        let proposed = self.group0.propose(command).await?;
        Ok(Decided {
            index: proposed.index,
            outcome: proposed.response,
        })
    }

    /// Whether this node leads group 0, as far as it knows.
    pub(crate) fn leads(&self) -> bool {
        let status = self.group0.status();
        status.leader == Some(status.replica)
    }

    /// Waits until this node has applied all that group 0 had decided when this was called.
    pub(crate) async fn hear(&self) -> Result<()> {
        let arrived = self.hearing.begun.load(Ordering::Acquire);
        let mut answered = self.hearing.answered.lock().await;
        if *answered > arrived {
            return Ok(());
        }
        let number = self.hearing.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let end = Instant::now() + HEAR_LIMIT;
        let index = loop {
            let error = match self.newest().await {
                Ok(index) => break index,
                Err(error) => error,
            };
            if !may_ask_again(error.kind()) || Instant::now() + PAUSE >= end {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        };
        let left = end.saturating_duration_since(Instant::now());
        self.group0.wait_applied(index, left).await?;
        *answered = number;
        Ok(())
    }

    /// How far group 0 is, from its leader.
    async fn newest(&self) -> Result<u64> {
        let refused = match self.newest_here().await {
            Err(error) if error.kind() == ErrorKind::NotLeader => error,
            outcome => return outcome,
        };
        let address = self.address_of_leader(refused)?;
        self.contacts.newest(&address, self.cluster_id).await
    }

    /// How far group 0 is, if this node leads it; a majority has confirmed that it does.
    pub(crate) async fn newest_here(&self) -> Result<u64> {
        let guard = self.group0.read_guard(ReadPolicy::ReadIndex).await?;
        Ok(guard.applied_index)
    }

    /// Where the leader of group 0 is, for a node that was `refused` because it does not lead itself.
    fn address_of_leader(&self, refused: Error) -> Result<String> {
        let leader = self.group0.status().leader.map(ReplicaId::node);
        let leader = leader.filter(|leader| *leader != self.node);
        self.address(leader.ok_or(refused)?)
    }

    /// The gRPC address of a node.
    pub(crate) fn address(&self, node: NodeId) -> Result<String> {
        let topology = self.system.topology();
        let record = topology.nodes.get(&node);
        match record {
            Some(record) if record.state != NodeState::Gone => Ok(record.place.rpc_address.clone()),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                format!("node {} is not known here", node.0),
            )),
        }
    }
}

/// Asking does nothing, so whatever may pass is asked again.
fn may_ask_again(kind: ErrorKind) -> bool {
    kind.is_retryable() || matches!(kind, ErrorKind::Unknown | ErrorKind::Closed)
}

fn jitter() -> u8 {
    random().to_le_bytes()[0]
}
