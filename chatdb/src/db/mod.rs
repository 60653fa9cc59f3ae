//! [`Db`]: one handle with two forms, the database in this process or one behind gRPC.

pub(crate) mod options;
pub(crate) mod requests;
pub(crate) mod statement;
pub(crate) mod status;

use crate::db::options::{ConnectOptions, EmbeddedOptions};
use crate::db::statement::Statement;
use crate::db::status::{ClusterStatus, Schema, Status};
use crate::error::{Error, Result};
use crate::node::environment::Environment;
use crate::node::network::Network;
use crate::node::{Node, blocking};
use crate::overview::page;
use crate::result::ResultSet;
use crate::rpc::client::RemoteDb;
use crate::stream::subscription::{SubscribeOptions, Subscription};
use crate::telemetry::server::{HealthCheck, MetricsServer, StatusPage};
use crate::telemetry::{NodeCollector, NodeMetrics};
use bytes::Bytes;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use raft::Tls;
use std::net::SocketAddr;
use std::sync::Arc;

/// A database, embedded or remote. Cheap to clone; all clones are the same database.
#[derive(Clone, Debug)]
pub struct Db {
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Embedded(Arc<Node>),
    Remote(RemoteDb),
}

impl Db {
    /// Opens the database of a directory in this process. `Conflict` when another process has it.
    pub async fn open(options: EmbeddedOptions) -> Result<Self> {
        let certificate = match options.tls.clone() {
            Some(files) => Some(blocking(move || Ok(Tls::node(files)?)).await?),
            None => None,
        };
        Self::open_in(options, Environment::secured(certificate)).await
    }

    pub(crate) async fn open_in(
        options: EmbeddedOptions,
        environment: Environment,
    ) -> Result<Self> {
        let node = Node::open_in(options, environment).await?;
        Ok(Self {
            form: Form::Embedded(Arc::new(node)),
        })
    }

    /// Connects to the nodes of one cluster, such as `http://127.0.0.1:7400` or several with commas
    /// between them. `Unavailable` when none of them answers.
    ///
    /// Requests go to a node that answers, and to another when it stops answering; see
    /// `docs/formats/grpc.md` for what is repeated.
    pub async fn connect(endpoints: &str) -> Result<Self> {
        Self::connect_with(&ConnectOptions::parse(endpoints)).await
    }

    /// Connects with options.
    pub async fn connect_with(options: &ConnectOptions) -> Result<Self> {
        let certificate = match options.tls.clone() {
            Some(files) => Some(blocking(move || Ok(Tls::client(files)?)).await?),
            None => None,
        };
        let network = Environment::secured(certificate).network;
        Self::connect_over(options, &network).await
    }

    pub(crate) async fn connect_over(
        options: &ConnectOptions,
        network: &Arc<dyn Network>,
    ) -> Result<Self> {
        let remote = RemoteDb::connect(options, network).await?;
        Ok(Self {
            form: Form::Remote(remote),
        })
    }

    /// Runs one statement. A write is durable when this returns; `Unknown` means that it may be.
    pub async fn execute(&self, statement: impl Into<Statement>) -> Result<ResultSet> {
        self.execute_batch(vec![statement.into()]).await
    }

    /// Runs writes as one: all or nothing, in order, visible together. They must belong to one
    /// tablet (the same placement key does), otherwise `Invalid`.
    pub async fn execute_batch(&self, statements: Vec<Statement>) -> Result<ResultSet> {
        match &self.form {
            // On the heap: a statement's state is large, and callers nest it in their own. Without its
            // type, which is nested too deep for some of them to be compiled.
            Form::Embedded(node) => {
                let work: BoxFuture<'_, Result<ResultSet>> = Box::pin(node.execute(statements));
                work.await
            }
            Form::Remote(remote) => remote.execute(statements).await,
        }
    }

    /// Whether the statement's text parses and names things that exist.
    pub(crate) async fn check(&self, text: &str, keyspace: &str) -> Result<()> {
        match &self.form {
            Form::Embedded(node) => node.check(text),
            Form::Remote(remote) => remote.check(text, keyspace).await,
        }
    }

    /// Delivers bytes (<= 64 KiB) to the present subscribers of a topic. Nothing is stored.
    pub async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        match &self.form {
            Form::Embedded(node) => node.publish(topic, &payload),
            Form::Remote(remote) => remote.publish(topic, payload).await,
        }
    }

    /// Begins a subscription; see [`Subscription`].
    pub async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        match &self.form {
            Form::Embedded(node) => node.subscribe(options).await,
            Form::Remote(remote) => remote.subscribe(options).await,
        }
    }

    /// What the node is, holds and does.
    pub async fn status(&self) -> Result<Status> {
        match &self.form {
            Form::Embedded(node) => Ok(node.status()),
            Form::Remote(remote) => remote.status().await,
        }
    }

    /// What every node of the cluster is, holds and does. Each is asked at its own address and has two seconds;
    /// those that do not answer are named.
    pub async fn cluster_status(&self) -> Result<ClusterStatus> {
        match &self.form {
            Form::Embedded(node) => Ok(node.overview().await.status()),
            Form::Remote(remote) => remote.cluster_status().await,
        }
    }

    /// Keyspaces, tables and columns as they are now.
    pub async fn schema(&self) -> Result<Schema> {
        match &self.form {
            Form::Embedded(node) => Ok(node.schema()),
            Form::Remote(remote) => remote.schema().await,
        }
    }

    /// Whether the database can do its work: the embedded one runs and its groups are led, or any
    /// node of the remote one answers.
    pub async fn check_health(&self) -> Result<()> {
        match &self.form {
            Form::Embedded(node) => node.check_health(),
            Form::Remote(remote) => remote.check_health().await,
        }
    }

    /// Puts the numbers of the embedded database on the page of `registry`; those of a remote one are
    /// on its own page. They stay readable until the last handle of the database is dropped.
    pub fn register_metrics(&self, registry: &mut Registry) {
        if let Form::Embedded(node) = &self.form {
            node.metrics.register(registry);
            let collector = NodeCollector(Arc::downgrade(node));
            registry.register_collector(Box::new(collector));
        }
    }

    /// Serves `/metrics` and `/healthz` on `listen`, and of an embedded database the status of its cluster
    /// as a page at `/`; see [`MetricsServer`].
    pub async fn serve_metrics(&self, listen: SocketAddr) -> Result<MetricsServer> {
        let mut registry = Registry::default();
        self.register_metrics(&mut registry);
        let db = self.clone();
        let health: HealthCheck = Arc::new(move || {
            let db = db.clone();
            Box::pin(async move { db.check_health().await })
        });
        let status = self.node().map(|node| {
            let node = Arc::clone(node);
            let page: StatusPage = Arc::new(move || {
                let node = Arc::clone(&node);
                Box::pin(async move { page::render(&node.overview().await) })
            });
            page
        });
        MetricsServer::start_with(listen, registry, health, status).await
    }

    /// The node of an embedded database.
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        match &self.form {
            Form::Embedded(node) => Some(node),
            Form::Remote(_) => None,
        }
    }

    /// What the gRPC service counts into; nothing for a remote database.
    pub(crate) fn node_metrics(&self) -> Option<&NodeMetrics> {
        match &self.form {
            Form::Embedded(node) => Some(&node.metrics),
            Form::Remote(_) => None,
        }
    }

    /// Prepares the embedded database for [`close`](Self::close): a node of a cluster hands what it leads
    /// to others, within a few seconds, and goes on answering.
    pub(crate) async fn retire(&self) {
        if let Form::Embedded(node) = &self.form {
            node.retire().await;
        }
    }

    /// Stops the embedded database, or lets go of the remote one. Nothing acknowledged is lost.
    pub async fn close(&self) -> Result<()> {
        match &self.form {
            Form::Embedded(node) => node.close().await,
            Form::Remote(_) => Ok(()),
        }
    }

    /// Waits until the embedded database can no longer work, for example because its disk failed,
    /// and tells why. The process should exit and start again. Never returns for a remote one.
    pub async fn failed(&self) -> Error {
        match &self.form {
            Form::Embedded(node) => node.failed().await,
            Form::Remote(_) => std::future::pending().await,
        }
    }

    /// Serves gRPC on `listen` (port 0 chooses one) until the returned server is stopped.
    pub async fn serve(&self, listen: SocketAddr) -> Result<crate::rpc::server::Server> {
        crate::rpc::server::Server::start(self.clone(), listen).await
    }
}
