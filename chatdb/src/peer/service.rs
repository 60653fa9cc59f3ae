//! The called half: what other nodes of the cluster ask this one.

use crate::error::{Error, ErrorKind, Result};
use crate::node::Node;
use crate::rpc::convert::result_to;
use crate::rpc::error::to_status;
use crate::rpc::proto;
use crate::rpc::proto::peer_server::Peer;
use crate::rpc::told::forwarded;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// The longest that an answer is held back.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The service over a node.
#[derive(Debug)]
pub(crate) struct PeerService {
    node: Arc<Node>,
    /// The server stops: what waits ends.
    stop: CancellationToken,
}

impl PeerService {
    pub(crate) fn new(node: &Arc<Node>, stop: CancellationToken) -> Self {
        Self {
            node: Arc::clone(node),
            stop,
        }
    }

    /// Refuses whoever means another cluster or another node.
    fn check(&self, caller: Option<&proto::Caller>) -> Result<()> {
        let caller = caller.ok_or_else(|| Error::invalid("the call does not say who calls"))?;
        let cluster_id = self.node.cluster_id().to_be_bytes();
        if *caller.cluster_id != cluster_id {
            let message = "the call comes from another cluster";
            return Err(Error::new(ErrorKind::Denied, message));
        }
        let (called, own) = (caller.called, self.node.id().0);
        if called != own {
            let message = format!("node {called} was called and this is node {own}");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        Ok(())
    }

    async fn run(&self, request: proto::ForwardRequest) -> Result<proto::ExecuteResponse> {
        self.check(request.caller.as_ref())?;
        let statements = forwarded(request.statements)?;
        let result = self
            .node
            .execute_forwarded(request.group, request.system_index, statements)
            .await?;
        Ok(result_to(&result))
    }

    async fn tell(&self, request: proto::ReadLogRequest) -> Result<proto::ReadLogResponse> {
        self.check(request.caller.as_ref())?;
        let wait = Duration::from_millis(request.wait_ms.into()).min(WAIT_MAX);
        let told = tokio::select! {
            () = self.stop.cancelled() => Err(Error::new(ErrorKind::Unavailable, "the node stops")),
            told = self.node.tell(request.group, request.from, wait) => told,
        }?;
        let events = told.events.into_iter().map(|event| proto::LogEvent {
            index: event.index,
            number: event.number,
            timestamp_us: event.timestamp_us,
            command: event.command,
        });
        Ok(proto::ReadLogResponse {
            upto: told.upto,
            oldest: told.oldest,
            events: events.collect(),
        })
    }

    async fn deliver(&self, mut requests: Streaming<proto::RelayRequest>) -> Result<()> {
        let mut is_known = false;
        loop {
            let message = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                message = requests.message() => message,
            };
            let Ok(Some(request)) = message else {
                return Ok(());
            };
            if !is_known {
                self.check(request.caller.as_ref())?;
                is_known = true;
            }
            for event in request.events {
                self.node.deliver(&event.topic, &event.payload)?;
            }
        }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn forward(
        &self,
        request: Request<proto::ForwardRequest>,
    ) -> std::result::Result<Response<proto::ExecuteResponse>, Status> {
        let outcome = self.run(request.into_inner()).await;
        outcome
            .map(Response::new)
            .map_err(|error| to_status(&error))
    }

    async fn read_log(
        &self,
        request: Request<proto::ReadLogRequest>,
    ) -> std::result::Result<Response<proto::ReadLogResponse>, Status> {
        let outcome = self.tell(request.into_inner()).await;
        outcome
            .map(Response::new)
            .map_err(|error| to_status(&error))
    }

    async fn relay(
        &self,
        request: Request<Streaming<proto::RelayRequest>>,
    ) -> std::result::Result<Response<proto::RelayResponse>, Status> {
        let outcome = self.deliver(request.into_inner()).await;
        outcome
            .map(|()| Response::new(proto::RelayResponse {}))
            .map_err(|error| to_status(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::options::EmbeddedOptions;
    use crate::node::environment::Environment;
    use bytes::Bytes;

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_of_another_cluster_for_another_node_or_of_nobody_are_refused() {
        let directory = tempfile::TempDir::new().unwrap();
        let options = EmbeddedOptions::new(directory.path());
        let node = Arc::new(Node::open_in(options, Environment::system()).await.unwrap());
        let service = PeerService::new(&node, CancellationToken::new());
        let cluster_id = Bytes::copy_from_slice(&node.cluster_id().to_be_bytes());
        let caller = proto::Caller {
            cluster_id,
            node: 2,
            called: node.id().0,
        };
        service.check(Some(&caller)).unwrap();
        let other_cluster = proto::Caller {
            cluster_id: Bytes::from_static(&[7; 16]),
            ..caller.clone()
        };
        let other_node = proto::Caller {
            called: 9,
            ..caller
        };
        for (refused, kind) in [
            (Some(&other_cluster), ErrorKind::Denied),
            (Some(&other_node), ErrorKind::Unavailable),
            (None, ErrorKind::Invalid),
        ] {
            assert_eq!(service.check(refused).unwrap_err().kind(), kind);
        }
        node.close().await.unwrap();
    }
}
