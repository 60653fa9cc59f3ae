//! The gRPC door of cluster management: joining, describing, changing, and decisions between nodes.

use crate::error::{Error, ErrorKind, Result};
use crate::group0::NodePlace;
use crate::node::Node;
use crate::node::cluster::{Description, Joined};
use crate::node::decide::Decided;
use crate::node::network::Network;
use crate::rpc::client::{channel, named};
use crate::rpc::convert_stream::tablet_to;
use crate::rpc::error::{from_status, to_status};
use crate::rpc::limits::CALL_TIMEOUT;
use crate::rpc::proto;
use crate::rpc::proto::cluster_client::ClusterClient;
use crate::rpc::proto::cluster_server::Cluster;
use crate::rpc::told::{
    change_from, description, joined_from, number, place_from, place_to, state_to,
};
use crate::rpc::way::check_node;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// How long another node may take to decide.
const DECIDE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to tell how far group 0 is.
const NEWEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that are kept; beyond that all are made anew.
const CONTACTS_MAX: usize = 4096;

/// Connections to the gRPC services of other nodes, made when they are needed.
#[derive(Debug)]
pub(crate) struct Contacts {
    network: Arc<dyn Network>,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Contacts {
    pub(crate) fn new(network: &Arc<dyn Network>) -> Self {
        Self {
            network: Arc::clone(network),
            channels: Mutex::default(),
        }
    }

    fn client(&self, address: &str) -> Result<ClusterClient<Channel>> {
        let mut channels = self.channels.lock();
        if let Some(channel) = channels.get(address) {
            return Ok(ClusterClient::new(channel.clone()));
        }
        if channels.len() >= CONTACTS_MAX {
            channels.clear();
        }
        let channel = self.network.line(&channel(address)?);
        channels.insert(address.to_owned(), channel.clone());
        Ok(ClusterClient::new(channel))
    }

    /// The address that somebody gave, with a scheme; `Invalid` if it cannot be called so.
    pub(crate) fn url(&self, address: &str) -> Result<String> {
        named(address, &self.network)
    }

    /// Asks a node to take another one in.
    pub(crate) async fn join(
        &self,
        address: &str,
        installation: u128,
        place: NodePlace,
    ) -> Result<Joined> {
        let request = proto::JoinRequest {
            installation: Bytes::copy_from_slice(&installation.to_be_bytes()),
            place: Some(place_to(place)),
        };
        let mut client = self.client(address)?;
        let response = within(CALL_TIMEOUT, client.join(request)).await?;
        joined_from(response)
    }

    /// Has a node decide a command of group 0.
    pub(crate) async fn decide(
        &self,
        address: &str,
        cluster_id: u128,
        command: Bytes,
    ) -> Result<Decided> {
        let request = proto::DecideRequest {
            cluster_id: Bytes::copy_from_slice(&cluster_id.to_be_bytes()),
            command,
        };
        let mut client = self.client(address)?;
        let response = within(DECIDE_TIMEOUT, client.decide(request)).await?;
        Ok(Decided {
            index: response.index,
            outcome: response.outcome,
        })
    }

    /// Asks the leader of group 0 how far that is.
    pub(crate) async fn newest(&self, address: &str, cluster_id: u128) -> Result<u64> {
        let request = proto::NewestRequest {
            cluster_id: Bytes::copy_from_slice(&cluster_id.to_be_bytes()),
        };
        let mut client = self.client(address)?;
        let response = within(NEWEST_TIMEOUT, client.newest(request)).await?;
        Ok(response.index)
    }

    /// What a node says of the cluster.
    pub(crate) async fn describe(
        &self,
        address: &str,
        limit: Duration,
    ) -> Result<proto::DescribeResponse> {
        let mut client = self.client(address)?;
        description(within(limit, client.describe(proto::DescribeRequest {})).await?)
    }

    /// Asks for a change of nodes or tablets.
    pub(crate) async fn change(
        &self,
        address: &str,
        change: proto::change_request::Change,
    ) -> Result<()> {
        let request = proto::ChangeRequest {
            change: Some(change),
        };
        let mut client = self.client(address)?;
        within(CALL_TIMEOUT, client.change(request)).await?;
        Ok(())
    }
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = std::result::Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(from_status(&status)),
        Err(_) => Err(Error::new(
            ErrorKind::Unknown,
            format!("no answer within {} s", limit.as_secs_f32()),
        )),
    }
}

/// The server's half.
#[derive(Debug)]
pub(crate) struct ClusterService {
    node: Arc<Node>,
}

impl ClusterService {
    pub(crate) fn new(node: &Arc<Node>) -> Self {
        Self {
            node: Arc::clone(node),
        }
    }

    async fn take_in(&self, request: proto::JoinRequest) -> Result<proto::JoinResponse> {
        let installation = number(&request.installation)?;
        let place = place_from(request.place)?;
        let node = self.node.take_in(installation, place).await?;
        let described = described(&self.node.describe());
        Ok(proto::JoinResponse {
            cluster_id: described.cluster_id,
            node: node.0,
            nodes: described.nodes,
        })
    }

    async fn decided(&self, request: proto::DecideRequest) -> Result<proto::DecideResponse> {
        let cluster_id = number(&request.cluster_id)?;
        let decided = self.node.decide_for(cluster_id, request.command).await?;
        Ok(proto::DecideResponse {
            index: decided.index,
            outcome: decided.outcome,
        })
    }

    async fn changed(&self, request: proto::ChangeRequest) -> Result<proto::ChangeResponse> {
        self.node.change(change_from(request)?).await?;
        Ok(proto::ChangeResponse {})
    }
}

/// A description as it is sent.
pub(crate) fn described(told: &Description) -> proto::DescribeResponse {
    let topology = &told.topology;
    let nodes = topology
        .nodes
        .iter()
        .map(|(id, record)| proto::ClusterNode {
            node: id.0,
            place: Some(place_to(record.place.clone())),
            state: state_to(record.state).into(),
            votes: told.voters.contains(id),
        });
    let tablets = topology.tablets.iter().map(|record| {
        let replica = |leaving| {
            move |replica: &raft::ReplicaId| proto::TabletReplica {
                node: replica.node().0,
                generation: replica.generation(),
                leaving,
            }
        };
        let staying = record.replicas.iter().map(replica(false));
        let local = told.tablets.get(&record.range.group);
        proto::ClusterTablet {
            group: record.range.group,
            first_token: record.range.first,
            last_token: record.range.last,
            version: record.version,
            settled: record.is_settled,
            splitting: record.splitting.map_or(0, |splitting| splitting.child),
            replicas: staying
                .chain(record.leaving.iter().map(replica(true)))
                .collect(),
            leader: local.and_then(|local| local.0).map_or(0, |node| node.0),
            local: local.map(|local| tablet_to(&local.1)),
        }
    });
    let (disk_free_bytes, disk_bytes) = told.disk.unwrap_or_default();
    proto::DescribeResponse {
        cluster_id: Bytes::copy_from_slice(&told.cluster_id.to_be_bytes()),
        node: told.node.0,
        replication: topology.replication,
        index: told.index,
        leader: told.leader.map_or(0, |node| node.0),
        nodes: nodes.collect(),
        tablets: tablets.collect(),
        uptime_ms: told.uptime_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        log_bytes: told.log_bytes,
        disk_free_bytes,
        disk_bytes,
    }
}

fn answer<T>(outcome: Result<T>) -> std::result::Result<Response<T>, Status> {
    outcome
        .map(Response::new)
        .map_err(|error| to_status(&error))
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> std::result::Result<Response<proto::JoinResponse>, Status> {
        check_node(self.node.certificate().is_some(), &request)?;
        answer(self.take_in(request.into_inner()).await)
    }

    async fn describe(
        &self,
        _request: Request<proto::DescribeRequest>,
    ) -> std::result::Result<Response<proto::DescribeResponse>, Status> {
        answer(Ok(described(&self.node.describe())))
    }

    async fn change(
        &self,
        request: Request<proto::ChangeRequest>,
    ) -> std::result::Result<Response<proto::ChangeResponse>, Status> {
        answer(self.changed(request.into_inner()).await)
    }

    async fn decide(
        &self,
        request: Request<proto::DecideRequest>,
    ) -> std::result::Result<Response<proto::DecideResponse>, Status> {
        check_node(self.node.certificate().is_some(), &request)?;
        answer(self.decided(request.into_inner()).await)
    }

    async fn newest(
        &self,
        request: Request<proto::NewestRequest>,
    ) -> std::result::Result<Response<proto::NewestResponse>, Status> {
        check_node(self.node.certificate().is_some(), &request)?;
        let asked = async {
            let cluster_id = number(&request.into_inner().cluster_id)?;
            let index = self.node.newest_for(cluster_id).await?;
            Ok(proto::NewestResponse { index })
        };
        answer(asked.await)
    }
}
