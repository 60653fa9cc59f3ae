//! The remote form of a database: one HTTP/2 connection to each of its nodes, shared by all clones.
//!
//! Any node takes any request. The client asks the one it prefers, and others when that one does not
//! answer; `attempts` tells when and how often. So that a write may be repeated, it carries a request
//! id: the caller's, or one that is made here. Statements that are sent often are prepared at the
//! endpoint that gets them.

mod attempts;
pub(crate) mod endpoint;
mod pipeline;
mod routes;

pub(in crate::rpc) use pipeline::outcome as pipeline_outcome;

use crate::cql::ast;
use crate::db::options::ConnectOptions;
use crate::db::requests::Requests;
use crate::db::statement::Statement;
use crate::db::status::{ClusterStatus, Schema, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::node::network::Network;
use crate::overview::{DESCRIBE_LIMIT, Overview};
use crate::result::ResultSet;
use crate::rpc::cluster::Contacts;
use crate::rpc::convert::{placement_from, result_from, statement_to};
use crate::rpc::convert_stream::status_from;
use crate::rpc::error::from_status;
use crate::rpc::limits::{CONNECT_TIMEOUT, ENDPOINTS_MAX};
use crate::rpc::proto;
use crate::rpc::proto::database_client::DatabaseClient;
use crate::rpc::subscribe::RemoteStream;
use crate::stream::subscription::{SubscribeOptions, Subscription};
use attempts::{Class, Endpoints};
use bytes::Bytes;
use endpoint::{Endpoint, Prepared};
use futures::future::select_ok;
use proto::statement::Source;
use quick_cache::sync::Cache;
use routes::{Found, Routes};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint as Transport};

/// The stub with the sizes that we allow.
pub(crate) type Client = DatabaseClient<Channel>;

/// An idle connection is asked this often whether it lives, and given as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Statement texts whose class is remembered, and the longest such text in bytes.
const TEXTS_MAX: usize = 2048;
const TEXT_BYTES_MAX: usize = 4096;
/// A text is prepared when it is sent for this many times.
const PREPARE_AFTER: u32 = 3;
/// How long preparing may take; nobody waits for it.
const PREPARE_DEADLINE: Duration = Duration::from_secs(10);
/// A node that answers at all answers within this time.
const HEALTH_DEADLINE: Duration = Duration::from_secs(5);

/// A database behind gRPC.
#[derive(Clone, Debug)]
pub(crate) struct RemoteDb {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoints: Endpoints,
    classes: Cache<Arc<str>, Class>,
    requests: Requests,
    routes: Routes,
    /// Connections for questions about the cluster.
    contacts: Contacts,
}

/// The address with a scheme.
pub(crate) fn url(address: &str, is_secured: bool) -> String {
    if address.contains("://") {
        return address.to_owned();
    }
    let scheme = if is_secured { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// The address that somebody gave, with a scheme. `Invalid` if the scheme is not the one that is spoken.
///
/// Between nodes the scheme says nothing: all of them use TLS, or none does.
pub(crate) fn named(address: &str, network: &Arc<dyn Network>) -> Result<String> {
    let is_secured = network.certificate().is_some();
    let scheme = address.split_once("://").map(|(scheme, _)| scheme);
    let (what, try_) = match (scheme, is_secured) {
        (Some("https"), false) => (
            "asks for TLS, and no certificate is given",
            "--tls-certificate, --tls-key and --tls-authority",
        ),
        (Some("http"), true) => (
            "is in the clear, and a certificate is given",
            "https:// if the node uses TLS",
        ),
        _ => return Ok(url(address, is_secured)),
    };
    Err(Error::invalid(format!("{address} {what}")).with_help("try", try_))
}

/// How a node is connected to, by its address with or without the scheme.
pub(crate) fn channel(address: &str) -> Result<Transport> {
    let transport = Transport::from_shared(url(address, false)).map_err(|cause| {
        Error::invalid(format!(
            "{address} is not an address such as http://127.0.0.1:7400"
        ))
        .with_source(cause)
    })?;
    Ok(transport
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .keep_alive_timeout(KEEP_ALIVE))
}

impl RemoteDb {
    /// Connects to whichever endpoint answers first; to the others when they are needed.
    pub(crate) async fn connect(
        options: &ConnectOptions,
        network: &Arc<dyn Network>,
    ) -> Result<Self> {
        let addresses: BTreeSet<&str> = options.endpoints.iter().map(String::as_str).collect();
        if addresses.is_empty() || addresses.len() > ENDPOINTS_MAX {
            return Err(Error::invalid(format!(
                "a client takes 1 to {ENDPOINTS_MAX} addresses, not {}",
                addresses.len()
            )));
        }
        let all: Vec<Endpoint> = addresses
            .into_iter()
            .map(|address| Endpoint::new(address, network))
            .collect::<Result<_>>()?;
        let dials = all.iter().enumerate().map(|(number, endpoint)| {
            Box::pin(async move { endpoint.connect().await.map(|()| number) })
        });
        let (first, others) = select_ok(dials).await?;
        drop(others);
        Ok(Self {
            shared: Arc::new(Shared {
                endpoints: Endpoints::new(all, first, options.deadline),
                classes: Cache::new(TEXTS_MAX),
                requests: Requests::new(),
                routes: Routes::new(),
                contacts: Contacts::new(network),
            }),
        })
    }

    pub(crate) async fn execute(&self, mut statements: Vec<Statement>) -> Result<ResultSet> {
        let class = self.class(&statements);
        let is_named = statements.iter().any(|it| it.request_id.is_some());
        // Settled at the end of this request, however it ends.
        let mut open = None;
        if class == Class::Write
            && !is_named
            && let Some(last) = statements.last_mut()
        {
            let request = open.insert(self.shared.requests.open());
            last.request_id = Some(request.id());
            last.settled_below = Some(request.settled_below());
        }
        let found = self.found(class, &statements);
        let statements: Vec<proto::Statement> = statements.into_iter().map(statement_to).collect();
        let statements = &statements;
        let attempt = |number, left| self.execute_at(number, left, (class, statements));
        let attempt = |number, left| {
            let asked = attempt(number, left);
            async move {
                let answer = asked.await;
                self.note_answer(found, number, &answer);
                answer
            }
        };
        let endpoints = self.endpoints();
        let response = endpoints.run_at(found.endpoint, class, attempt).await?;
        result_from(response)
    }

    pub(crate) async fn check(&self, text: &str, keyspace: &str) -> Result<()> {
        let attempt = |number, left| {
            let request = proto::PrepareRequest {
                text: text.to_owned(),
                keyspace: keyspace.to_owned(),
            };
            self.call(
                number,
                left,
                request,
                async |mut client: Client, request| client.prepare(request).await,
            )
        };
        self.endpoints().run(Class::Read, attempt).await?;
        Ok(())
    }

    pub(crate) async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        let attempt = |number, left| {
            let request = proto::PublishRequest {
                topic: topic.to_owned(),
                payload: payload.clone(),
            };
            self.call(
                number,
                left,
                request,
                async |mut client: Client, request| client.publish(request).await,
            )
        };
        self.endpoints().run(Class::Once, attempt).await?;
        Ok(())
    }

    pub(crate) async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        let stream = RemoteStream::start(self.clone(), options).await?;
        Ok(Subscription::remote(stream))
    }

    /// The state of whichever node answers.
    pub(crate) async fn status(&self) -> Result<Status> {
        Ok(self.describe(false).await?.0)
    }

    /// The state of the whole cluster: one node tells which there are, and each of itself.
    pub(crate) async fn cluster_status(&self) -> Result<ClusterStatus> {
        let contacts = &self.shared.contacts;
        let attempt = |number, left: Duration| async move {
            let address = self.endpoints().get(number)?.address().to_owned();
            let whole = contacts
                .describe(&address, left.min(DESCRIBE_LIMIT))
                .await?;
            Ok((address, whole))
        };
        let (address, whole) = self.endpoints().run(Class::Read, attempt).await?;
        Ok(Overview::around(contacts, address, whole).await.status())
    }

    /// Whether any node answers, soon.
    pub(crate) async fn check_health(&self) -> Result<()> {
        let answered = tokio::time::timeout(HEALTH_DEADLINE, self.status()).await;
        answered.map_err(|_| Error::new(ErrorKind::Unavailable, "no node answers"))??;
        Ok(())
    }

    pub(crate) async fn schema(&self) -> Result<Schema> {
        Ok(self.describe(true).await?.1)
    }

    async fn describe(&self, include_schema: bool) -> Result<(Status, Schema)> {
        let attempt = |number, left| {
            let request = proto::StatusRequest { include_schema };
            self.call(
                number,
                left,
                request,
                async |mut client: Client, request| client.status(request).await,
            )
        };
        status_from(self.endpoints().run(Class::Read, attempt).await?)
    }

    /// Where the statements belong, as far as is known.
    fn found(&self, class: Class, statements: &[Statement]) -> Found {
        if !self.endpoints().has_several() {
            return Found::default();
        }
        let found = self.shared.routes.find(class, statements);
        if found.is_routed && found.endpoint.is_none() {
            self.refresh_routes();
        }
        found
    }

    /// What an answer says about the map: it is old when another node did the work, or none could.
    fn note_answer(&self, found: Found, number: usize, answer: &Result<proto::ExecuteResponse>) {
        if !found.is_routed {
            return;
        }
        let node = match answer {
            Ok(response) => response.stats.as_ref().and_then(|stats| stats.node),
            Err(error) => match error.kind() {
                ErrorKind::NotLeader | ErrorKind::Unavailable | ErrorKind::Unknown => None,
                _ => return,
            },
        };
        if !node.is_some_and(|node| self.shared.routes.is_node(number, node)) {
            self.refresh_routes();
        }
    }

    fn refresh_routes(&self) {
        if !self.shared.routes.should_refresh(Instant::now()) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move { this.shared.routes.refresh(this.endpoints()).await });
    }

    pub(super) fn endpoints(&self) -> &Endpoints {
        &self.shared.endpoints
    }

    /// An endpoint for a subscription: its number and its connection.
    pub(super) fn choose(&self) -> Result<(usize, Client)> {
        let number = self.endpoints().choose(&[]);
        Ok((number, self.endpoints().get(number)?.client()))
    }

    /// The endpoint of a subscription answered.
    pub(super) fn succeeded(&self, number: usize) {
        self.endpoints().succeeded(number, None);
    }

    /// The endpoint of a subscription broke it.
    pub(super) fn failed(&self, number: usize) {
        self.endpoints().failed(number);
    }

    /// What a failure of these statements allows. What this client cannot parse, the node judges.
    fn class(&self, statements: &[Statement]) -> Class {
        let mut classes = statements
            .iter()
            .map(|statement| self.class_of(&statement.text));
        let first = classes.next().unwrap_or(Class::Once);
        if classes.all(|class| class == first) {
            first
        } else {
            Class::Once
        }
    }

    fn class_of(&self, text: &str) -> Class {
        use ast::Statement as Parsed;
        if let Some(class) = self.shared.classes.get(text) {
            return class;
        }
        let class = match crate::cql::parse(text).map(|parsed| parsed.statement) {
            Ok(Parsed::Select(_) | Parsed::Describe(_) | Parsed::Use(_)) => Class::Read,
            Ok(Parsed::Insert(_) | Parsed::Update(_) | Parsed::Delete(_) | Parsed::Batch(_)) => {
                Class::Write
            }
            Ok(_) | Err(_) => Class::Once,
        };
        if text.len() <= TEXT_BYTES_MAX {
            self.shared.classes.insert(Arc::from(text), class);
        }
        class
    }

    /// Asks one endpoint; an id that it forgot is replaced by the text.
    async fn execute_at(
        &self,
        number: usize,
        left: Duration,
        (class, statements): (Class, &[proto::Statement]),
    ) -> Result<proto::ExecuteResponse> {
        let endpoint = self.endpoints().get(number)?;
        let mut sent = statements.to_vec();
        let mut by_id = false;
        for statement in &mut sent {
            by_id |= self.replace_text(number, endpoint, statement);
        }
        let ask = |statements| self.send(number, left, (class, statements));
        match ask(sent).await {
            Err(error) if by_id && error.kind() == ErrorKind::NotFound => {
                for statement in statements {
                    endpoint.prepared.remove(&prepared_key(statement));
                }
                ask(statements.to_vec()).await
            }
            outcome => outcome,
        }
    }

    /// Sends statements to one endpoint: writes together with others, the rest in calls of their own.
    async fn send(
        &self,
        number: usize,
        left: Duration,
        (class, statements): (Class, Vec<proto::Statement>),
    ) -> Result<proto::ExecuteResponse> {
        let endpoint = self.endpoints().get(number)?;
        let mut statements = statements;
        if class == Class::Write && endpoint.pipeline.takes(&statements) {
            let kept = (!endpoint.pipeline.is_taken()).then(|| statements.clone());
            let client = || endpoint.client();
            let answer = endpoint.pipeline.call(client, statements).await;
            match kept.filter(|_| endpoint.pipeline.is_refused()) {
                Some(kept) => statements = kept,
                None => return answer,
            }
        }
        let request = proto::ExecuteRequest { statements };
        self.call(
            number,
            left,
            request,
            async |mut client: Client, request| client.execute(request).await,
        )
        .await
    }

    /// Puts the id that the endpoint gave in place of the text, if it gave one. A text that comes
    /// often is prepared meanwhile; nothing waits for that.
    fn replace_text(
        &self,
        number: usize,
        endpoint: &Endpoint,
        statement: &mut proto::Statement,
    ) -> bool {
        let Some(Source::Text(text)) = &statement.source else {
            return false;
        };
        if text.len() > TEXT_BYTES_MAX {
            return false;
        }
        let key = prepared_key(statement);
        let known = match endpoint.prepared.get(&key) {
            Some(Prepared::Known(id)) => {
                statement.source = Some(Source::PreparedId(id));
                return true;
            }
            Some(Prepared::Asked) => return false,
            Some(Prepared::Sent(times)) if times + 1 >= PREPARE_AFTER => Prepared::Asked,
            Some(Prepared::Sent(times)) => Prepared::Sent(times + 1),
            None => Prepared::Sent(1),
        };
        if matches!(known, Prepared::Asked) {
            let request = proto::PrepareRequest {
                text: text.clone(),
                keyspace: statement.keyspace.clone(),
            };
            tokio::spawn(self.clone().prepare(number, key.clone(), request));
        }
        endpoint.prepared.insert(key, known);
        false
    }

    async fn prepare(self, number: usize, key: String, request: proto::PrepareRequest) {
        let prepare = async |mut client: Client, request| client.prepare(request).await;
        let outcome = self.call(number, PREPARE_DEADLINE, request, prepare).await;
        if let Ok(endpoint) = self.endpoints().get(number) {
            let known = match outcome {
                Ok(response) => {
                    let placement = placement_from(&response.placement);
                    self.shared.routes.learn(&key, placement);
                    Prepared::Known(response.prepared_id)
                }
                // The text still works, and the next sends try again.
                Err(_) => Prepared::Sent(0),
            };
            endpoint.prepared.insert(key, known);
        }
    }

    /// Asks one endpoint once; the node is told how long the answer is waited for.
    async fn call<Q, A, F>(
        &self,
        number: usize,
        left: Duration,
        request: Q,
        ask: impl FnOnce(Client, tonic::Request<Q>) -> F,
    ) -> Result<A>
    where
        F: Future<Output = std::result::Result<tonic::Response<A>, tonic::Status>>,
    {
        let client = self.endpoints().get(number)?.client();
        let mut request = tonic::Request::new(request);
        request.set_timeout(left);
        match ask(client, request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(from_status(&status)),
        }
    }
}

/// Keyspace and text, which an id stands for. Neither holds the separator.
fn prepared_key(statement: &proto::Statement) -> String {
    match &statement.source {
        Some(Source::Text(text)) => routes::key(&statement.keyspace, text),
        Some(Source::PreparedId(_)) | None => String::new(),
    }
}
