//! Calls between processes over TCP: one connection per peer and lane.
//!
//! Three connections per pair of hosts and not one with three lanes in it: on one connection a
//! heartbeat waits behind whatever data the kernel has accepted before it, and bytes of a raft
//! snapshot that the peer does not read stop the entries behind them.
//!
//! A connection is made when the first call needs it. While a peer does not answer, calls to it fail
//! at once and it is tried again after a pause, so that a dead peer costs nothing.
//!
//! # Invariants
//!
//! * Calls of one lane leave in the order in which they were made.
//! * Calls and bytes that wait or are on their way are bounded per lane: the caller refuses what is
//!   over, the called host does not read it.
//! * A frame that fails its checksum ends the connection; calls on their way end without an answer.
//! * A host that is of another cluster, another version or another node than it was taken for is
//!   refused by both ends before any call.
//! * A connection is made, its TLS handshake done and its greeting said within one limit of time: who
//!   connects and says nothing is gone soon.

mod dial;
mod frame;
mod listen;

pub use frame::fuzz_frames;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::{Inbound, Lane, Peer, Tls, Transport};
use crate::error::{Error, ErrorKind, Result};
use crate::id::NodeId;
use dial::Link;

/// Settings of a [`TcpTransport`].
#[derive(Clone, Debug)]
pub struct TcpOptions {
    /// Hosts of different clusters refuse each other.
    pub cluster: u64,
    /// This host.
    pub node: NodeId,
    /// How long a connection may take to be made and greeted. Default: 2 s.
    pub connect_timeout: Duration,
    /// How long a peer that could not be reached is left alone. Default: 200 ms.
    ///
    /// Shorter: a peer that comes back is noticed sooner, for more attempts while it is gone.
    pub retry_pause: Duration,
    /// How long a peer may be silent while calls to it are on their way, before its connection is
    /// given up. Default: 5 s.
    pub silence_max: Duration,
    /// Calls of one lane that may wait or be on their way. Default: 1024. Range: 1 and more.
    pub calls_max: usize,
    /// Bytes of them, and of the calls that one connection is being answered. Default: 32 MiB. A single call is accepted whatever its size.
    pub bytes_max: usize,
    /// With it every connection is TLS, and both ends are nodes by their certificates; without it none is.
    pub tls: Option<Arc<Tls>>,
}

impl TcpOptions {
    /// The defaults for a node of a cluster.
    pub fn new(cluster: u64, node: NodeId) -> Self {
        Self {
            cluster,
            node,
            connect_timeout: Duration::from_secs(2),
            retry_pause: Duration::from_millis(200),
            silence_max: Duration::from_secs(5),
            calls_max: 1024,
            bytes_max: 32 * 1024 * 1024,
            tls: None,
        }
    }
}

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

/// `host:port`.
impl From<String> for Address {
    fn from(address: String) -> Self {
        Self(address)
    }
}

/// `host:port`.
impl From<&str> for Address {
    fn from(address: &str) -> Self {
        Self(address.to_owned())
    }
}

/// Calls to other hosts over TCP, and theirs to this one.
#[derive(Debug)]
pub struct TcpTransport {
    options: TcpOptions,
    addresses: Mutex<BTreeMap<NodeId, String>>,
    links: Mutex<BTreeMap<(NodeId, u8), Arc<Link>>>,
    inbound: OnceLock<Inbound>,
    refused: Refused,
}

/// The nodes whose calls are not taken.
type Refused = watch::Sender<BTreeSet<NodeId>>;

impl TcpTransport {
    /// A transport that knows no peer yet.
    pub fn new(options: TcpOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            addresses: Mutex::default(),
            links: Mutex::default(),
            inbound: OnceLock::new(),
            refused: Refused::default(),
        })
    }

    /// Says where a node listens: an address, or a host and port whose name is looked up with every
    /// new connection. Connections to where it was before are closed.
    pub fn set_address(&self, node: NodeId, address: impl Into<Address>) {
        let Address(address) = address.into();
        let before = self.addresses.lock().insert(node, address.clone());
        if before.is_some_and(|before| before != address) {
            self.forget_links(node);
        }
    }

    /// Forgets a node and closes the connections to it.
    pub fn forget(&self, node: NodeId) {
        self.addresses.lock().remove(&node);
        self.forget_links(node);
    }

    /// From now on takes no calls of a node, and makes none to it: it is told that it was removed. There is no way
    /// back, as there is none for a number of a node.
    pub fn refuse(&self, node: NodeId) {
        self.refused
            .send_if_modified(|refused| refused.insert(node));
        self.forget(node);
    }

    fn forget_links(&self, node: NodeId) {
        self.links.lock().retain(|(peer, _), _| *peer != node);
    }

    /// Takes connections of peers until the future is dropped, which also closes those that it took.
    pub async fn serve(&self, listener: TcpListener) -> Result<()> {
        let taken = (&self.inbound, &self.refused);
        listen::serve(&self.options, taken, listener).await
    }

    fn link(&self, node: NodeId, lane: Lane) -> Result<Arc<Link>> {
        let address = self.addresses.lock().get(&node).cloned();
        let address = address.ok_or_else(|| {
            let message = format!("the address of node {node} is not known here");
            Error::new(ErrorKind::Unavailable, message)
        })?;
        let mut links = self.links.lock();
        let link = links.entry((node, lane_number(lane))).or_insert_with(|| {
            let greeting = frame::Greeting {
                cluster: self.options.cluster,
                lane,
                from: self.options.node,
                to: node,
            };
            Arc::new(Link::open(address, greeting, self.options.clone()))
        });
        Ok(Arc::clone(link))
    }
}

fn lane_number(lane: Lane) -> u8 {
    match lane {
        Lane::Control => 0,
        Lane::Append => 1,
        Lane::Bulk => 2,
    }
}

impl Transport for TcpTransport {
    fn attach(&self, inbound: Inbound) {
        // A transport belongs to one host: the first one that it was given to.
        if self.inbound.set(inbound).is_err() {
            tracing::error!("a second host was started with the transport of another");
        }
    }

    fn call(
        &self,
        peer: Peer,
        lane: Lane,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, Result<Bytes>> {
        let sent = self
            .link(peer.replica.node(), lane)
            .and_then(|link| link.send(peer, request));
        Box::pin(async move {
            let answer = sent?;
            let node = peer.replica.node();
            let unavailable = |why: String| Error::new(ErrorKind::Unavailable, why);
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(unavailable(format!("the connection to node {node} ended"))),
                Err(_) => Err(unavailable(format!(
                    "node {node} did not answer within {} ms",
                    limit.as_millis()
                ))),
            }
        })
    }
}
