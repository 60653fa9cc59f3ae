//! What a node does for others and for operators: taking nodes in, describing, changing.

use crate::db::status::TabletStatus;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{NodePlace, REPLICATION_MAX, SystemCommand, Topology};
use crate::node::Node;
use crate::node::decide::Decided;
use crate::node::environment::disk_room;
use crate::node::steward::{LAG_MAX, SILENCE_MAX};
use crate::overview::Overview;
use crate::rpc::cluster::described;
use bytes::Bytes;
use raft::{NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a leader may take to hand one group over to one other, and how long all of it may take.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(2);
const HAND_OVER_ALL_LIMIT: Duration = Duration::from_secs(4);

/// What a node that joined is told.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) cluster_id: u128,
    pub(crate) node: NodeId,
    /// Where the known nodes take calls of others.
    pub(crate) nodes: BTreeMap<NodeId, String>,
}

/// The cluster as one node knows it.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) cluster_id: u128,
    pub(crate) node: NodeId,
    pub(crate) index: u64,
    /// Of group 0.
    pub(crate) leader: Option<NodeId>,
    /// Of group 0.
    pub(crate) voters: BTreeSet<NodeId>,
    pub(crate) topology: Arc<Topology>,
    /// This node's replicas and the leaders that they know of.
    pub(crate) tablets: BTreeMap<u64, (Option<NodeId>, TabletStatus)>,
    pub(crate) uptime_ms: u64,
    /// Bytes of the shared log.
    pub(crate) log_bytes: u64,
    /// Free bytes and all bytes of the disk under the data.
    pub(crate) disk: Option<(u64, u64)>,
}

impl Node {
    /// Takes a node in, or recognizes it.
    pub(crate) async fn take_in(&self, installation: u128, place: NodePlace) -> Result<NodeId> {
        self.check_open()?;
        if self.options.cluster.is_none() {
            let message = "this node takes no calls of other nodes";
            return Err(Error::invalid(message).with_help("try", "serve with --node-listen"));
        }
        place.check()?;
        let command = SystemCommand::AddNode {
            installation,
            place,
        };
        let id = self.decider.decide(command).await?;
        u32::try_from(id)
            .map(NodeId)
            .map_err(|_| Error::bug(format!("group 0 gave the node id {id}")))
    }

    /// Decides for another node, if this one leads group 0.
    pub(crate) async fn decide_for(&self, cluster_id: u128, command: Bytes) -> Result<Decided> {
        self.check_own(cluster_id)?;
        SystemCommand::decode(&command)?;
        if !self.decider.leads() {
            let message = format!("node {} does not lead group 0", self.id.0);
            return Err(Error::new(ErrorKind::NotLeader, message));
        }
        self.decider.decide_here(command).await
    }

    /// Tells another node how far group 0 is, if this one leads it.
    pub(crate) async fn newest_for(&self, cluster_id: u128) -> Result<u64> {
        self.check_own(cluster_id)?;
        self.decider.newest_here().await
    }

    /// Refuses who means another cluster.
    fn check_own(&self, cluster_id: u128) -> Result<()> {
        self.check_open()?;
        if cluster_id != self.cluster_id {
            let message = "the call was meant for another cluster";
            return Err(Error::new(ErrorKind::Denied, message));
        }
        Ok(())
    }

    /// Makes an operator's decision.
    pub(crate) async fn change(&self, command: SystemCommand) -> Result<()> {
        self.check_open()?;
        if let SystemCommand::SetReplication(count) = command
            && !(1..=REPLICATION_MAX).contains(&count)
        {
            return Err(Error::invalid(format!(
                "a tablet has 1 to {REPLICATION_MAX} replicas, not {count}"
            )));
        }
        self.decider.decide(command).await?;
        Ok(())
    }

    /// The cluster as this node knows it.
    pub(crate) fn describe(&self) -> Description {
        let status = self.group0.status();
        let topology = self.system.topology();
        let mut tablets = BTreeMap::new();
        for local in self.tablet_statuses() {
            if let Some(place) = self.tablets.get(local.group) {
                let leader = place.group.leader().map(ReplicaId::node);
                tablets.insert(local.group, (leader, local));
            }
        }
        let voters = status.membership.voters.iter().flatten();
        Description {
            cluster_id: self.cluster_id,
            node: self.id,
            index: self.system.applied_index(),
            leader: status.leader.map(ReplicaId::node),
            voters: voters.map(|replica| replica.node()).collect(),
            topology,
            tablets,
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            log_bytes: self.log.metrics().segment_bytes,
            disk: disk_room(&self.options.data),
        }
    }

    /// The whole cluster, by what every node of it says.
    pub(crate) async fn overview(&self) -> Overview {
        let place = self.options.cluster.as_ref();
        let address = place.map_or_else(String::new, |it| it.rpc_address.clone());
        let whole = described(&self.describe());
        Overview::around(&self.decider.contacts, address, whole).await
    }

    /// Hands the leadership of every group to another voter, so that nobody has to notice that this
    /// node is gone. What cannot be handed over in time is left to an election.
    pub(super) async fn hand_over(&self) {
        let mut groups: Vec<_> = self
            .tablets
            .list()
            .into_iter()
            .map(|it| it.group.clone())
            .collect();
        groups.push(self.group0.clone());
        let handing = groups.into_iter().map(|group| async move {
            let status = group.status();
            if status.leader != Some(status.replica) {
                return;
            }
            let voters = status.membership.voters.iter().flatten();
            let close = voters.filter(|voter| {
                **voter != status.replica && group.follows_closely(**voter, SILENCE_MAX, LAG_MAX)
            });
            for other in close {
                match group.transfer_leader(*other, HAND_OVER_LIMIT).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::debug!(group = status.group.0, %error, "not handed over");
                    }
                }
            }
        });
        let all = futures::future::join_all(handing);
        if tokio::time::timeout(HAND_OVER_ALL_LIMIT, all)
            .await
            .is_err()
        {
            tracing::warn!("not every leadership was handed over in time; the others will elect");
        }
    }
}
