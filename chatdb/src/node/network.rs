//! Where the network enters this crate: the door for raft's calls, and the lines to gRPC services.

use crate::db::options::ClusterOptions;
use crate::error::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use raft::{NodeId, TcpOptions, TcpTransport, Transport};
use std::fmt;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Channel, Endpoint};

/// The network as a node or a client sees it.
pub(crate) trait Network: fmt::Debug + Send + Sync + 'static {
    /// Opens the door of a node of the cluster `greeting` for the calls of others.
    fn open<'a>(
        &'a self,
        own: &'a ClusterOptions,
        greeting: u64,
        node: NodeId,
    ) -> BoxFuture<'a, Result<Door>>;

    /// A line to a gRPC service that is connected when it is first used, and again when it broke.
    fn line(&self, to: &Endpoint) -> Channel;

    /// A line that is connected now.
    fn connect(
        &self,
        to: &Endpoint,
    ) -> BoxFuture<'static, std::result::Result<Channel, tonic::transport::Error>>;
}

/// The way of raft's calls to other nodes, which are told to it as group 0 tells of them.
pub(crate) trait Lanes: Transport {
    /// Says where a node takes calls.
    fn set_address(&self, node: NodeId, address: &str);

    /// From now on neither takes calls of the node nor makes any to it.
    fn refuse(&self, node: NodeId);
}

/// An open door.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) lanes: Arc<dyn Lanes>,
    /// Takes the calls of other nodes while it is held.
    pub(crate) serving: Option<Serving>,
}

/// Ends when it is dropped.
pub(crate) type Serving = AbortOnDropHandle<raft::Result<()>>;

/// The network of the operating system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sockets;

impl Network for Sockets {
    fn open<'a>(
        &'a self,
        own: &'a ClusterOptions,
        greeting: u64,
        node: NodeId,
    ) -> BoxFuture<'a, Result<Door>> {
        Box::pin(async move {
            let listen = own.node_listen;
            let listener = TcpListener::bind(listen).await.map_err(|cause| {
                Error::new(ErrorKind::Io, format!("cannot listen on {listen}")).with_source(cause)
            })?;
            let transport = TcpTransport::new(TcpOptions::new(greeting, node));
            let serving = Arc::clone(&transport);
            let serving = tokio::spawn(async move { serving.serve(listener).await });
            Ok(Door {
                lanes: transport,
                serving: Some(AbortOnDropHandle::new(serving)),
            })
        })
    }

    fn line(&self, to: &Endpoint) -> Channel {
        to.connect_lazy()
    }

    fn connect(
        &self,
        to: &Endpoint,
    ) -> BoxFuture<'static, std::result::Result<Channel, tonic::transport::Error>> {
        let to = to.clone();
        Box::pin(async move { to.connect().await })
    }
}

impl Lanes for TcpTransport {
    fn set_address(&self, node: NodeId, address: &str) {
        Self::set_address(self, node, address.to_owned());
    }

    fn refuse(&self, node: NodeId) {
        Self::refuse(self, node);
    }
}
