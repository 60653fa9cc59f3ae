//! The gRPC server over a database.

use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::peer::service::PeerService;
use crate::rpc::cluster::ClusterService;
use crate::rpc::convert::{placement_to, result_to, statement_from};
use crate::rpc::convert_stream::{item_to, status_to};
use crate::rpc::error::to_status;
use crate::rpc::limits::{
    BATCH_STATEMENTS_MAX, PREPARED_STATEMENTS_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX,
};
use crate::rpc::pipeline::{Answers, Running, answer};
use crate::rpc::proto;
use crate::rpc::proto::cluster_server::ClusterServer;
use crate::rpc::proto::database_server::{Database, DatabaseServer};
use crate::rpc::proto::peer_server::PeerServer;
use crate::rpc::way::{check_node, incoming};
use crate::stream::cursor::Cursor;
use crate::stream::subscription::{Interest, SubscribeOptions, Subscription};
use crate::telemetry::Call;
use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use quick_cache::sync::Cache;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use xxhash_rust::xxh3::xxh3_128;

/// How long running calls may take to finish when the server stops.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// A running gRPC server. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    scheme: &'static str,
    retired: CancellationToken,
    stop: CancellationToken,
    task: JoinHandle<std::result::Result<(), tonic::transport::Error>>,
}

impl Server {
    pub(crate) async fn start(db: Db, listen: SocketAddr) -> Result<Self> {
        let cannot = |cause: std::io::Error| {
            Error::new(ErrorKind::Io, format!("cannot listen on {listen}: {cause}"))
        };
        let listener = TcpListener::bind(listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let certificate = db.node().and_then(|node| node.certificate().cloned());
        Self::over(db, address, incoming(listener, certificate)).await
    }

    /// The server that takes these connections, to `address`.
    pub(crate) async fn over<C>(
        db: Db,
        address: SocketAddr,
        connections: impl Stream<Item = std::io::Result<C>> + Send + 'static,
    ) -> Result<Self>
    where
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let is_secured = db.node().is_some_and(|node| node.certificate().is_some());
        let (retired, stop) = (CancellationToken::new(), CancellationToken::new());
        let service = Service {
            db: db.clone(),
            retired: retired.clone(),
            prepared: Arc::new(Cache::new(PREPARED_STATEMENTS_MAX)),
            stop: stop.clone(),
        };
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .map_err(|cause| Error::bug("the descriptor set is damaged").with_source(cause))?;
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<DatabaseServer<Service>>().await;
        let cluster = db.node().map(|node| {
            ClusterServer::new(ClusterService::new(node))
                .max_decoding_message_size(REQUEST_BYTES_MAX)
        });
        let peer = db.node().map(|node| {
            let is_secured = node.certificate().is_some();
            let service = PeerServer::new(PeerService::new(node, stop.clone()))
                .max_decoding_message_size(REQUEST_BYTES_MAX)
                .max_encoding_message_size(RESPONSE_BYTES_MAX);
            InterceptedService::new(service, move |request: Request<()>| {
                check_node(is_secured, &request)?;
                Ok(request)
            })
        });
        let router = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .add_service(reflection)
            .add_service(health)
            .add_service(
                DatabaseServer::new(service)
                    .max_decoding_message_size(REQUEST_BYTES_MAX)
                    .max_encoding_message_size(RESPONSE_BYTES_MAX),
            )
            .add_optional_service(cluster)
            .add_optional_service(peer);
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(router.serve_with_incoming_shutdown(connections, stopped));
        Ok(Self {
            address,
            scheme: if is_secured { "https" } else { "http" },
            retired,
            stop,
            task,
        })
    }

    /// From now on new calls of clients are `Unavailable`, so that they go to another node. Running ones
    /// and those of other nodes go on.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// Where it listens; the port that was chosen when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, with the scheme that says whether it uses TLS.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Ends the subscriptions, lets running calls finish for up to four seconds and stops. Calls that
    /// still run then end without an answer, which their callers take for an unknown outcome.
    pub async fn stop(mut self) -> Result<()> {
        self.retire();
        self.stop.cancel();
        let Ok(ended) = tokio::time::timeout(STOP_LIMIT, &mut self.task).await else {
            tracing::warn!("calls still run; the gRPC server stops without waiting for them");
            self.task.abort();
            return Ok(());
        };
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => {
                Err(Error::new(ErrorKind::Io, "the gRPC server failed").with_source(cause))
            }
            Err(cause) => Err(Error::bug("the gRPC server panicked").with_source(cause)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What was prepared under an id.
#[derive(Clone, Debug)]
struct Prepared {
    text: Arc<str>,
    keyspace: Arc<str>,
}

#[derive(Clone, Debug)]
struct Service {
    db: Db,
    prepared: Arc<Cache<u128, Prepared>>,
    /// New calls are refused.
    retired: CancellationToken,
    stop: CancellationToken,
}

impl Service {
    fn statement(&self, mut wire: proto::Statement) -> Result<crate::Statement> {
        let text = match wire.source.take() {
            Some(proto::statement::Source::Text(text)) => text,
            Some(proto::statement::Source::PreparedId(id)) => {
                let prepared = self.prepared(&id)?;
                if wire.keyspace.is_empty() {
                    prepared.keyspace.as_ref().clone_into(&mut wire.keyspace);
                }
                prepared.text.as_ref().to_owned()
            }
            None => {
                return Err(Error::invalid(
                    "a statement has neither text nor prepared id",
                ));
            }
        };
        statement_from(wire, text)
    }

    fn prepared(&self, id: &[u8]) -> Result<Prepared> {
        let id: [u8; 16] = id
            .try_into()
            .map_err(|_| Error::invalid("a prepared id has 16 bytes"))?;
        self.prepared.get(&u128::from_be_bytes(id)).ok_or_else(|| {
            Error::not_found("this node does not know the prepared id")
                .with_help("try", "Prepare the statement again")
        })
    }

    /// Runs a call and counts it, unless the node is about to stop.
    async fn counted<T>(
        &self,
        call: Call,
        work: impl Future<Output = Result<T>>,
    ) -> std::result::Result<Response<T>, Status> {
        if self.retired.is_cancelled() {
            let error = Error::new(ErrorKind::Unavailable, "the node is stopping")
                .with_help("try", "another node of the cluster");
            return Err(to_status(&error));
        }
        let begun = Instant::now();
        let outcome = work.await;
        if let Some(metrics) = self.db.node_metrics() {
            metrics.call(call, begun.elapsed(), outcome.is_err());
        }
        outcome
            .map(Response::new)
            .map_err(|error| to_status(&error))
    }

    async fn remember(&self, request: proto::PrepareRequest) -> Result<proto::PrepareResponse> {
        self.db.check(&request.text, &request.keyspace).await?;
        let node = self.db.node();
        let placement = node.and_then(|node| node.placement(&request.text, &request.keyspace));
        let id = xxh3_128(format!("{}\0{}", request.keyspace, request.text).as_bytes());
        let prepared = Prepared {
            text: request.text.into(),
            keyspace: request.keyspace.into(),
        };
        self.prepared.insert(id, prepared);
        Ok(proto::PrepareResponse {
            prepared_id: Bytes::copy_from_slice(&id.to_be_bytes()),
            placement: placement_to(placement),
        })
    }

    async fn run(&self, request: proto::ExecuteRequest) -> Result<proto::ExecuteResponse> {
        let count = request.statements.len();
        if count == 0 || count > BATCH_STATEMENTS_MAX {
            return Err(Error::invalid(format!(
                "a request has 1 to {BATCH_STATEMENTS_MAX} statements, not {count}"
            )));
        }
        let mut statements = request
            .statements
            .into_iter()
            .map(|wire| self.statement(wire))
            .collect::<Result<Vec<_>>>()?;
        let result = match statements.pop() {
            Some(statement) if statements.is_empty() => self.db.execute(statement).await?,
            Some(last) => {
                statements.push(last);
                self.db.execute_batch(statements).await?
            }
            None => return Err(Error::bug("the statements are gone")),
        };
        Ok(result_to(&result))
    }
}

#[tonic::async_trait]
impl Database for Service {
    type PipelineStream = BoxStream<'static, std::result::Result<proto::PipelineResponse, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<proto::PipelineRequest>>,
    ) -> std::result::Result<Response<Self::PipelineStream>, Status> {
        let service = Arc::new(self.clone());
        let run = move |call| -> Running {
            let service = Arc::clone(&service);
            Box::pin(async move {
                let proto::PipelineCall { number, statements } = call;
                let request = proto::ExecuteRequest { statements };
                let ended = service.counted(Call::Execute, service.run(request)).await;
                answer(number, ended.map(Response::into_inner))
            })
        };
        let answers = Answers::new(request.into_inner(), run, self.stop.clone());
        Ok(Response::new(Box::pin(answers)))
    }

    type SubscribeStream =
        BoxStream<'static, std::result::Result<proto::SubscribeResponse, Status>>;

    async fn execute(
        &self,
        request: Request<proto::ExecuteRequest>,
    ) -> std::result::Result<Response<proto::ExecuteResponse>, Status> {
        self.counted(Call::Execute, self.run(request.into_inner()))
            .await
    }

    async fn prepare(
        &self,
        request: Request<proto::PrepareRequest>,
    ) -> std::result::Result<Response<proto::PrepareResponse>, Status> {
        self.counted(Call::Prepare, self.remember(request.into_inner()))
            .await
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<proto::SubscribeRequest>>,
    ) -> std::result::Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?;
        let options = start_options(first).map_err(|error| to_status(&error))?;
        let subscription = self
            .counted(Call::Subscribe, self.db.subscribe(options))
            .await?
            .into_inner();
        let ended = self.stop.child_token();
        tokio::spawn(follow_interest(
            requests,
            subscription.interest(),
            ended.clone(),
        ));
        Ok(Response::new(Box::pin(responses(subscription, ended))))
    }

    async fn publish(
        &self,
        request: Request<proto::PublishRequest>,
    ) -> std::result::Result<Response<proto::PublishResponse>, Status> {
        let request = request.into_inner();
        let publish = async {
            self.db.publish(&request.topic, request.payload).await?;
            Ok(proto::PublishResponse {})
        };
        self.counted(Call::Publish, publish).await
    }

    async fn status(
        &self,
        request: Request<proto::StatusRequest>,
    ) -> std::result::Result<Response<proto::StatusResponse>, Status> {
        let include_schema = request.into_inner().include_schema;
        let describe = async {
            let status = self.db.status().await?;
            let schema = if include_schema {
                Some(self.db.schema().await?)
            } else {
                None
            };
            Ok(status_to(status, schema))
        };
        self.counted(Call::Status, describe).await
    }
}

pub(super) fn start_options(first: Option<proto::SubscribeRequest>) -> Result<SubscribeOptions> {
    let Some(proto::subscribe_request::Request::Start(start)) =
        first.and_then(|request| request.request)
    else {
        return Err(Error::invalid(
            "the first request of a subscription is its start",
        ));
    };
    let cursor = if start.cursor.is_empty() {
        None
    } else {
        Some(Cursor::decode(&start.cursor)?)
    };
    Ok(SubscribeOptions::new(start.topics).cursor(cursor))
}

/// Items until the subscriber goes away, the database closes or an error ends the subscription.
fn responses(
    subscription: Subscription,
    ended: CancellationToken,
) -> impl Stream<Item = std::result::Result<proto::SubscribeResponse, Status>> + Send + 'static {
    let guard = ended.clone().drop_guard();
    futures::stream::unfold(
        (subscription, ended, guard, false),
        |(mut subscription, ended, guard, failed)| async move {
            if failed {
                return None;
            }
            let item = tokio::select! {
                () = ended.cancelled() => return None,
                item = subscription.next() => item?,
            };
            let failed = item.is_err();
            let item = item.map(item_to).map_err(|error| to_status(&error));
            Some((item, (subscription, ended, guard, failed)))
        },
    )
}

/// Applies the later requests of a subscription; a wrong one ends it.
async fn follow_interest(
    mut requests: Streaming<proto::SubscribeRequest>,
    interest: Interest,
    ended: CancellationToken,
) {
    use proto::subscribe_request::Request;
    loop {
        let message = tokio::select! {
            () = ended.cancelled() => return,
            message = requests.message() => message,
        };
        match message.map(|request| request.and_then(|request| request.request)) {
            Ok(Some(Request::Add(add))) => {
                for topic in add.topics {
                    interest.add(topic);
                }
            }
            Ok(Some(Request::Remove(remove))) => {
                for topic in &remove.topics {
                    interest.remove(topic);
                }
            }
            // The client ended its half: items go on until it drops the other half.
            Ok(None) => return,
            Ok(Some(Request::Start(_))) | Err(_) => return ended.cancel(),
        }
    }
}
