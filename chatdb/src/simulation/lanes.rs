//! The doors of a simulated host: raft's calls, and lines to gRPC services.

use super::network::{End, HostId, Net};
use crate::db::options::ClusterOptions;
use crate::error::Result;
use crate::node::network::{Door, Lanes, Network};
use bytes::Bytes;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use raft::{ErrorKind, Inbound, Lane, NodeId, Peer, Session, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint};

/// Where raft's calls arrive, by host.
#[derive(Clone, Debug, Default)]
pub(super) struct Doors(Arc<Mutex<BTreeMap<HostId, Arc<HostDoor>>>>);

/// One life of a host.
#[derive(Debug)]
struct HostDoor {
    inbound: Inbound,
    /// The host's runtime: what arrives is worked on there.
    runtime: Handle,
    /// By caller and lane, the calls that are on their way.
    ways: Mutex<BTreeMap<(HostId, u8), mpsc::UnboundedSender<Letter>>>,
    node: NodeId,
    refused: Arc<Mutex<BTreeSet<NodeId>>>,
}

/// A call on its way.
#[derive(Debug)]
struct Letter {
    due: Instant,
    peer: Peer,
    request: Bytes,
    answer: oneshot::Sender<(Instant, Bytes)>,
}

/// The network as one host sees it.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) net: Net,
    pub(super) doors: Doors,
    pub(super) own: HostId,
}

/// The way of raft's calls from one host.
#[derive(Debug)]
struct SimLanes {
    port: Port,
    node: NodeId,
    addresses: Mutex<BTreeMap<NodeId, HostId>>,
    /// Nothing sent later on a lane arrives earlier.
    last: Mutex<BTreeMap<(HostId, u8), Instant>>,
    refused: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Doors {
    pub(super) fn close(&self, host: HostId) {
        self.0.lock().remove(&host);
    }
}

impl HostDoor {
    /// Takes the calls of one way, one after the other.
    async fn deliver(
        inbound: Inbound,
        (net, from, own): (Net, HostId, HostId),
        mut calls: mpsc::UnboundedReceiver<Letter>,
    ) {
        let mut session: Session = inbound.session();
        while let Some(letter) = calls.recv().await {
            tokio::time::sleep_until(letter.due).await;
            if net.is_cut(from, own) {
                continue;
            }
            let answered = session.take(letter.peer, letter.request);
            let net = net.clone();
            tokio::spawn(async move {
                let bytes = answered.await;
                if !net.is_cut(own, from) {
                    let due = Instant::now() + net.delay();
                    // A caller that has lost patience does not listen.
                    drop(letter.answer.send((due, bytes)));
                }
            });
        }
    }

    fn take(
        self: &Arc<Self>,
        net: &Net,
        (from, own, lane): (HostId, HostId, Lane),
        letter: Letter,
    ) {
        let mut ways = self.ways.lock();
        let way = ways.entry((from, lane as u8)).or_insert_with(|| {
            let (way, calls) = mpsc::unbounded_channel();
            let inbound = self.inbound.clone();
            self.runtime
                .spawn(Self::deliver(inbound, (net.clone(), from, own), calls));
            way
        });
        // A host that has just died takes nothing.
        drop(way.send(letter));
    }
}

impl Transport for SimLanes {
    fn attach(&self, inbound: Inbound) {
        let door = Arc::new(HostDoor {
            inbound,
            runtime: Handle::current(),
            ways: Mutex::default(),
            node: self.node,
            refused: Arc::clone(&self.refused),
        });
        self.port.doors.0.lock().insert(self.port.own, door);
    }

    fn call(
        &self,
        peer: Peer,
        lane: Lane,
        request: Bytes,
        limit: Duration,
    ) -> BoxFuture<'static, raft::Result<Bytes>> {
        let answered = self.send(peer, lane, request);
        Box::pin(async move {
            let end = Instant::now() + limit;
            if let Some(answered) = answered
                && let Ok(Ok((due, bytes))) = tokio::time::timeout_at(end, answered).await
                && due <= end
            {
                tokio::time::sleep_until(due).await;
                return Ok(bytes);
            }
            tokio::time::sleep_until(end).await;
            Err(raft::Error::new(ErrorKind::Unavailable, "lost on the way"))
        })
    }
}

impl SimLanes {
    /// Puts a call on its way; `None` if there is none.
    fn send(
        &self,
        peer: Peer,
        lane: Lane,
        request: Bytes,
    ) -> Option<oneshot::Receiver<(Instant, Bytes)>> {
        let (own, node, net) = (self.port.own, peer.replica.node(), &self.port.net);
        let to = *self.addresses.lock().get(&node)?;
        net.note(own, to, &request);
        let due = {
            let mut last = self.last.lock();
            let last = last.entry((to, lane as u8)).or_insert_with(Instant::now);
            *last = (*last).max(Instant::now() + net.delay());
            *last
        };
        let door = self.port.doors.0.lock().get(&to).map(Arc::clone)?;
        let is_refused = self.refused.lock().contains(&node)
            || door.refused.lock().contains(&self.node)
            || door.node != node;
        if is_refused {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let letter = Letter {
            due,
            peer,
            request,
            answer,
        };
        door.take(net, (own, to, lane), letter);
        Some(answered)
    }
}

impl Lanes for SimLanes {
    fn set_address(&self, node: NodeId, address: &str) {
        let host = address.rsplit_once(':').and_then(|(name, _)| host_of(name));
        if let Some(host) = host {
            self.addresses.lock().insert(node, host);
        }
    }

    fn refuse(&self, node: NodeId) {
        self.refused.lock().insert(node);
    }
}

/// Dials over the simulated network.
#[derive(Clone, Debug)]
struct Dialer(Port);

impl Service<Uri> for Dialer {
    type Response = TokioIo<End>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Port { net, own, .. } = self.0.clone();
        Box::pin(async move {
            let host = to.host().and_then(host_of);
            let host = host.ok_or(io::ErrorKind::NotFound)?;
            net.dial(own, host).await.map(TokioIo::new)
        })
    }
}

/// Where a host takes gRPC calls.
pub(super) fn rpc_address(host: HostId) -> String {
    format!("http://10.0.0.{host}:7400")
}

fn host_of(name: &str) -> Option<HostId> {
    name.strip_prefix("10.0.0.")?.parse().ok()
}

impl Network for Port {
    fn open<'a>(
        &'a self,
        _: &'a ClusterOptions,
        _: u64,
        node: NodeId,
    ) -> BoxFuture<'a, Result<Door>> {
        let lanes = Arc::new(SimLanes {
            port: self.clone(),
            node,
            addresses: Mutex::default(),
            last: Mutex::default(),
            refused: Arc::default(),
        });
        Box::pin(std::future::ready(Ok(Door {
            lanes,
            serving: None,
        })))
    }

    fn line(&self, to: &Endpoint) -> Channel {
        to.connect_with_connector_lazy(Dialer(self.clone()))
    }

    fn connect(
        &self,
        to: &Endpoint,
    ) -> BoxFuture<'static, std::result::Result<Channel, tonic::transport::Error>> {
        let (to, dialer) = (to.clone(), Dialer(self.clone()));
        Box::pin(async move { to.connect_with_connector(dialer).await })
    }
}
