//! Where the network enters this crate: the door for raft's calls, and the lines to gRPC services.

use crate::db::options::ClusterOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::way::Dial;
use futures::future::BoxFuture;
use raft::{NodeId, TcpOptions, TcpTransport, Tls, Transport};
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

    /// What this process shows to others, if its connections are TLS.
    fn certificate(&self) -> Option<&Arc<Tls>> {
        None
    }

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

/// The network of the operating system: in the clear, or with a certificate under TLS only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sockets {
    pub(crate) certificate: Option<Arc<Tls>>,
}

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
            let mut options = TcpOptions::new(greeting, node);
            options.tls.clone_from(&self.certificate);
            let transport = TcpTransport::new(options);
            let serving = Arc::clone(&transport);
            let serving = tokio::spawn(async move { serving.serve(listener).await });
            Ok(Door {
                lanes: transport,
                serving: Some(AbortOnDropHandle::new(serving)),
            })
        })
    }

    fn certificate(&self) -> Option<&Arc<Tls>> {
        self.certificate.as_ref()
    }

    fn line(&self, to: &Endpoint) -> Channel {
        match &self.certificate {
            Some(tls) => to.connect_with_connector_lazy(Dial::new(tls)),
            None => to.connect_lazy(),
        }
    }

    fn connect(
        &self,
        to: &Endpoint,
    ) -> BoxFuture<'static, std::result::Result<Channel, tonic::transport::Error>> {
        let (to, certificate) = (to.clone(), self.certificate.clone());
        Box::pin(async move {
            match certificate {
                Some(tls) => to.connect_with_connector(Dial::new(&tls)).await,
                None => to.connect().await,
            }
        })
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
