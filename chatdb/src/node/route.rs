//! Which node does the work of a tablet, and what to do when it does not.
//!
//! Any node takes any request. It asks the leader of the tablet: its own replica, or another node,
//! which runs the whole statement. A node that does not lead says so, with the leader if it knows it;
//! that is followed at once, three times in a row, and with growing waits after that, which end when the own
//! replica hears of another leader.
//!
//! # Invariants
//!
//! * A write is sent a second time after an unknown outcome only under the same request id.
//! * A statement that came from another node is run here or refused, never sent on.
//! * Which tablet it is about is asked anew for each attempt: a tablet may be split in between.

use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::node::tablets::TabletPlace;
use crate::rpc::client::endpoint::jittered;
use raft::{NodeId, ReplicaId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// No attempt begins after this.
const LIMIT: Duration = Duration::from_secs(10);
/// Leaders followed at once, without a wait.
const HOPS_MAX: u32 = 3;
/// Waits between attempts: from this, doubled, up to that.
const WAIT_MIN: Duration = Duration::from_millis(5);
const WAIT_MAX: Duration = Duration::from_millis(200);

/// Who may do the work of a tablet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worker {
    /// The leader of its group.
    Leader,
    /// Any replica, preferably the own one.
    Anyone,
}

impl Node {
    /// Does the work of the tablet that `find` names, `here`, on this node's replica, or `there`, on the
    /// node that may.
    pub(super) async fn at_tablet<T, H, F>(
        &self,
        (find, worker): (impl Fn() -> Result<u64>, Worker),
        may_repeat: bool,
        here: impl Fn(Arc<TabletPlace>) -> H,
        there: impl Fn(NodeId, u64) -> F,
    ) -> Result<T>
    where
        H: Future<Output = Result<T>>,
        F: Future<Output = Result<T>>,
    {
        let end = Instant::now() + LIMIT;
        let (mut hint, mut hops, mut attempt, mut wait) = (None, 0, 0, WAIT_MIN);
        loop {
            let group = find()?;
            let node = match hint.take() {
                Some(node) => node,
                None => self.worker(group, worker, attempt)?,
            };
            attempt += 1;
            let outcome = match self.tablets.get(group) {
                Some(place) if node == self.id => here(place).await,
                None if node == self.id => Err(self.has_no(group)),
                _ => there(node, group).await,
            };
            let error = match outcome {
                Ok(done) => {
                    self.note_leader(group, worker, node);
                    return Ok(done);
                }
                Err(error) => error,
            };
            match error.kind() {
                ErrorKind::NotLeader => {
                    self.forget_leader(group);
                    hint = error.leader().map(NodeId).filter(|leader| *leader != node);
                    hops += 1;
                    if hint.is_some() && hops <= HOPS_MAX {
                        continue;
                    }
                    hops = 0;
                }
                ErrorKind::Unavailable => self.forget_leader(group),
                ErrorKind::Unknown if may_repeat => self.forget_leader(group),
                ErrorKind::Closed | ErrorKind::Io if may_repeat && node != self.id => {
                    self.forget_leader(group);
                }
                _ => return Err(error),
            }
            if Instant::now() + wait >= end {
                return Err(error);
            }
            self.pause(group, node, jittered(wait)).await;
            self.check_open()?;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Waits for so long, or until the own replica hears of another leader than the node that refused: a
    /// leader that hands over is away for some milliseconds, and waits that double would make them many.
    async fn pause(&self, group: u64, refused: NodeId, wait: Duration) {
        let end = Instant::now() + wait;
        // Two replicas that take each other for the leader are not asked in turns without a pause.
        tokio::time::sleep(wait.min(WAIT_MIN / 2)).await;
        let is_other = |leader: Option<ReplicaId>| leader.is_some_and(|it| it.node() != refused);
        if let Some(place) = self.tablets.get(group) {
            let left = end.saturating_duration_since(Instant::now());
            if place.group.wait_leader(is_other, left).await.is_ok() {
                return;
            }
        }
        tokio::time::sleep_until(end).await;
    }

    /// The node that most likely does the work; another replica with each attempt when nobody knows.
    fn worker(&self, group: u64, worker: Worker, attempt: usize) -> Result<NodeId> {
        if let Some(place) = self.tablets.get(group) {
            let leader = place.group.leader().map(ReplicaId::node);
            return Ok(match worker {
                Worker::Anyone => self.id,
                Worker::Leader => leader.unwrap_or(self.id),
            });
        }
        if let Some(known) = self.leaders.lock().get(&group) {
            return Ok(*known);
        }
        let topology = self.system.topology();
        let record = topology.tablet(group);
        let record = record.ok_or_else(|| Error::bug(format!("there is no tablet {group}")))?;
        let nodes: Vec<NodeId> = record.nodes().collect();
        let node = nodes.get(attempt % nodes.len().max(1)).copied();
        node.ok_or_else(|| Error::bug(format!("tablet {group} is on no node")))
    }

    fn note_leader(&self, group: u64, worker: Worker, node: NodeId) {
        if worker == Worker::Leader && self.tablets.get(group).is_none() {
            self.leaders.lock().insert(group, node);
        }
    }

    fn forget_leader(&self, group: u64) {
        self.leaders.lock().remove(&group);
    }

    /// The refusal of a node without a replica. It does not know who leads.
    pub(super) fn has_no(&self, group: u64) -> Error {
        let message = format!("node {} has no replica of tablet {group}", self.id.0);
        Error::new(ErrorKind::NotLeader, message)
    }

    /// The refusal of a replica that does not lead, with the leader it knows of.
    pub(super) fn does_not_lead(&self, place: &TabletPlace) -> Error {
        let group = place.tablet.group_id();
        let message = format!("node {} does not lead tablet {group}", self.id.0);
        let leader = place.group.leader().map(ReplicaId::node);
        let leader = leader.filter(|leader| *leader != self.id);
        Error::new(ErrorKind::NotLeader, message).with_leader(leader.map(|node| node.0))
    }
}
