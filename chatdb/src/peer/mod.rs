//! What the nodes of one cluster say to each other over gRPC: forwarded statements, ephemeral events.
//!
//! # How it works
//!
//! One HTTP/2 connection per other node, made when it is first needed, to the address that group 0
//! knows. Every call names the cluster, the caller and who is called, so that a node which took over
//! an address, or a node of another cluster, refuses it. What one node forwards at a time is bounded:
//! beyond that it answers `Overloaded` at once.
//!
//! `relay` has the queues of ephemeral events, `service` the called half.

mod relay;
pub(crate) mod service;

use crate::db::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{NodeState, System};
use crate::node::backlog::Told;
use crate::node::network::Network;
use crate::result::ResultSet;
use crate::rpc::client::channel;
use crate::rpc::convert::{result_from, statement_to};
use crate::rpc::error::from_status;
use crate::rpc::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::rpc::proto;
use crate::rpc::proto::peer_client::PeerClient;
use crate::rpc::told::told_from;
use bytes::Bytes;
use parking_lot::Mutex;
use raft::NodeId;
use relay::Relays;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tonic::transport::Channel;

/// Statements that this node forwards at the same time; more are refused.
const FORWARDED_MAX: usize = 4096;

/// How long a node may take to tell a part of its log, besides what it is asked to wait.
const READ_LOG_LIMIT: Duration = Duration::from_secs(5);

type Client = PeerClient<Channel>;

/// The way to the other nodes.
#[derive(Debug)]
pub(crate) struct Peers {
    lines: Arc<Lines>,
    forwarded: Semaphore,
    relays: Relays,
}

/// The connections.
#[derive(Debug)]
struct Lines {
    cluster_id: u128,
    node: NodeId,
    system: Arc<System>,
    network: Arc<dyn Network>,
    /// By node, with the address that they go to.
    clients: Mutex<BTreeMap<NodeId, (String, Client)>>,
}

impl Peers {
    /// The other nodes that group 0 knows, as seen from this one of the cluster.
    pub(crate) fn new(
        (cluster_id, node): (u128, NodeId),
        system: Arc<System>,
        network: &Arc<dyn Network>,
    ) -> Self {
        let lines = Arc::new(Lines {
            cluster_id,
            node,
            system,
            network: Arc::clone(network),
            clients: Mutex::default(),
        });
        Self {
            relays: Relays::new(Arc::clone(&lines)),
            lines,
            forwarded: Semaphore::new(FORWARDED_MAX),
        }
    }

    /// Has the node run the statements, if it leads the tablet of this group. `Unknown` when it does
    /// not answer within the limit.
    pub(crate) async fn forward(
        &self,
        node: NodeId,
        group: u64,
        statements: Vec<Statement>,
        limit: Duration,
    ) -> Result<ResultSet> {
        let _permit = self.forwarded.try_acquire().map_err(|_| {
            let message = format!("{FORWARDED_MAX} statements wait for other nodes already");
            Error::new(ErrorKind::Overloaded, message)
        })?;
        let mut client = self.lines.client(node)?;
        let mut request = tonic::Request::new(proto::ForwardRequest {
            caller: Some(self.lines.caller(node)),
            group,
            statements: statements.into_iter().map(statement_to).collect(),
            system_index: self.lines.system.applied_index(),
        });
        request.set_timeout(limit);
        match tokio::time::timeout(limit, client.forward(request)).await {
            Ok(Ok(response)) => result_from(response.into_inner()),
            Ok(Err(status)) => Err(from_status(&status)),
            Err(_) => Err(Error::new(
                ErrorKind::Unknown,
                format!("node {} does not answer", node.0),
            )),
        }
    }

    /// The events of a tablet's log from entry `from` on, as the node has it; from entry 0, where it
    /// stands. The node holds its answer back for `wait` when there is nothing yet.
    pub(crate) async fn read_log(
        &self,
        node: NodeId,
        (group, from): (u64, u64),
        wait: Duration,
    ) -> Result<Told> {
        let mut client = self.lines.client(node)?;
        let limit = wait + READ_LOG_LIMIT;
        let mut request = tonic::Request::new(proto::ReadLogRequest {
            caller: Some(self.lines.caller(node)),
            group,
            from,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        });
        request.set_timeout(limit);
        let response = match tokio::time::timeout(limit, client.read_log(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return Err(from_status(&status)),
            Err(_) => {
                let message = format!("node {} does not tell its log", node.0);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        };
        told_from(from, response)
    }

    /// Sends an ephemeral event to every other node, some time soon or never. Does not wait.
    pub(crate) fn relay(&self, topic: &str, payload: &Bytes) {
        self.relays.offer(topic, payload);
    }

    /// Ends what goes on by itself.
    pub(crate) fn close(&self) {
        self.relays.close();
    }
}

impl Lines {
    fn caller(&self, called: NodeId) -> proto::Caller {
        proto::Caller {
            cluster_id: Bytes::copy_from_slice(&self.cluster_id.to_be_bytes()),
            node: self.node.0,
            called: called.0,
        }
    }

    /// The other nodes that are not gone.
    fn others(&self) -> Vec<NodeId> {
        let topology = self.system.topology();
        let nodes = topology.nodes.iter();
        nodes
            .filter(|(node, record)| **node != self.node && record.state != NodeState::Gone)
            .map(|(node, _)| *node)
            .collect()
    }

    fn client(&self, node: NodeId) -> Result<Client> {
        let topology = self.system.topology();
        let record = topology.nodes.get(&node);
        let Some(record) = record.filter(|record| record.state != NodeState::Gone) else {
            self.clients.lock().remove(&node);
            let message = format!("node {} is not known here", node.0);
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let address = &record.place.rpc_address;
        let mut clients = self.clients.lock();
        if let Some((known, client)) = clients.get(&node)
            && known == address
        {
            return Ok(client.clone());
        }
        let client = PeerClient::new(self.network.line(&channel(address)?))
            .max_encoding_message_size(REQUEST_BYTES_MAX)
            .max_decoding_message_size(RESPONSE_BYTES_MAX);
        clients.insert(node, (address.clone(), client.clone()));
        Ok(client)
    }
}
