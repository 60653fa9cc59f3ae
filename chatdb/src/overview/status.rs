//! The same for a program: [`ClusterStatus`].

use crate::db::status::{ClusterStatus, NodeReport, NodeStatus};
use crate::error::{Error, ErrorKind};
use crate::overview::{Overview, hex};
use crate::rpc::convert_stream::tablet_from;
use crate::rpc::proto;

impl Overview {
    /// What every node said of itself, without those that were given up.
    pub(crate) fn status(&self) -> ClusterStatus {
        let nodes = self.whole.nodes.iter();
        let present = nodes.filter(|node| node.state() != proto::NodeState::Gone);
        let status = |node: &proto::ClusterNode| NodeStatus {
            node: node.node,
            address: node.place.clone().unwrap_or_default().rpc_address,
            report: match self.own.get(&node.node) {
                Some(said) => said.as_ref().map(report).map_err(Clone::clone),
                None => Err(Error::new(ErrorKind::Unavailable, "it was not asked")),
            },
        };
        ClusterStatus {
            cluster_id: hex(&self.whole.cluster_id),
            replication: self.whole.replication,
            nodes: present.map(status).collect(),
        }
    }
}

fn report(said: &proto::DescribeResponse) -> NodeReport {
    let local = said.tablets.iter().filter_map(|it| it.local);
    NodeReport {
        version: said.version.clone(),
        uptime_ms: said.uptime_ms,
        log_bytes: said.log_bytes,
        tablets: local.map(tablet_from).collect(),
    }
}
