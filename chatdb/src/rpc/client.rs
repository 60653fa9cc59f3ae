//! The remote form of a database: one HTTP/2 connection to one node, shared by all clones.

use crate::db::statement::Statement;
use crate::db::status::{Schema, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::result::ResultSet;
use crate::rpc::convert::{result_from, statement_to};
use crate::rpc::convert_stream::status_from;
use crate::rpc::error::from_status;
use crate::rpc::limits::{CALL_TIMEOUT, CONNECT_TIMEOUT, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};
use crate::rpc::proto;
use crate::rpc::proto::database_client::DatabaseClient;
use crate::rpc::subscribe::RemoteStream;
use crate::stream::subscription::{SubscribeOptions, Subscription};
use bytes::Bytes;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// The stub with the sizes that we allow.
pub(crate) type Client = DatabaseClient<Channel>;

/// A database behind gRPC.
#[derive(Clone, Debug)]
pub(crate) struct RemoteDb {
    client: Client,
}

impl RemoteDb {
    pub(crate) async fn connect(endpoint: &str) -> Result<Self> {
        let address = if endpoint.contains("://") {
            endpoint.to_owned()
        } else {
            format!("http://{endpoint}")
        };
        let channel = Endpoint::from_shared(address.clone())
            .map_err(|cause| {
                Error::invalid(format!(
                    "{endpoint} is not an address such as http://127.0.0.1:7400"
                ))
                .with_source(cause)
            })?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|cause| {
                Error::new(
                    ErrorKind::Unavailable,
                    format!("no database answers at {address}"),
                )
                .with_source(cause)
            })?;
        let client = DatabaseClient::new(channel)
            .max_encoding_message_size(REQUEST_BYTES_MAX)
            .max_decoding_message_size(RESPONSE_BYTES_MAX);
        Ok(Self { client })
    }

    pub(crate) async fn execute(&self, statements: Vec<Statement>) -> Result<ResultSet> {
        let request = proto::ExecuteRequest {
            statements: statements.into_iter().map(statement_to).collect(),
        };
        let mut client = self.client.clone();
        let response = bounded(client.execute(request)).await?;
        result_from(response)
    }

    pub(crate) async fn check(&self, text: &str, keyspace: &str) -> Result<()> {
        let mut client = self.client.clone();
        let request = proto::PrepareRequest {
            text: text.to_owned(),
            keyspace: keyspace.to_owned(),
        };
        bounded(client.prepare(request)).await?;
        Ok(())
    }

    pub(crate) async fn publish(&self, topic: &str, payload: Bytes) -> Result<()> {
        let mut client = self.client.clone();
        let topic = topic.to_owned();
        bounded(client.publish(proto::PublishRequest { topic, payload })).await?;
        Ok(())
    }

    pub(crate) async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        let stream = RemoteStream::start(self.client.clone(), options).await?;
        Ok(Subscription::remote(stream))
    }

    pub(crate) async fn status(&self) -> Result<Status> {
        Ok(self.describe(false).await?.0)
    }

    pub(crate) async fn schema(&self) -> Result<Schema> {
        Ok(self.describe(true).await?.1)
    }

    async fn describe(&self, include_schema: bool) -> Result<(Status, Schema)> {
        let mut client = self.client.clone();
        let response = bounded(client.status(proto::StatusRequest { include_schema })).await?;
        status_from(response)
    }
}

/// The answer, or `Unknown` when it takes too long: the call may still take effect.
async fn bounded<T>(
    call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(from_status(&status)),
        Err(_) => Err(Error::new(
            ErrorKind::Unknown,
            format!("no answer within {} s", CALL_TIMEOUT.as_secs()),
        )),
    }
}
