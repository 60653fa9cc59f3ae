//! The client's end of a remote subscription, which survives broken connections.
//!
//! The wanted topics live in one shared set. A request stream tells the node the difference between
//! the set and what the node was told, whenever the set changes. When the connection breaks, the
//! next call of `next` connects again with the present set and the cursor of the last item that was
//! delivered, so that the subscriber sees neither a gap nor a duplicate. Ephemeral events of the
//! time in between are lost, as they may be.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::client::Client;
use crate::rpc::convert_stream::item_from;
use crate::rpc::error::from_status;
use crate::rpc::proto;
use crate::stream::cursor::Cursor;
use crate::stream::event::StreamItem;
use crate::stream::subscription::SubscribeOptions;
use futures::Stream;
use parking_lot::Mutex;
use proto::subscribe_request::Request;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tonic::Streaming;

/// Waits before connecting again: from this, doubled, up to [`RETRY_WAIT_MAX`].
const RETRY_WAIT_MIN: Duration = Duration::from_millis(50);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(2);

/// The wanted topics, shared by the handle and the request stream.
#[derive(Debug, Default)]
struct Wanted {
    topics: Mutex<BTreeSet<String>>,
    changed: Notify,
}

/// Adds and removes topics of a remote subscription.
#[derive(Clone, Debug)]
pub(crate) struct RemoteInterest {
    wanted: Arc<Wanted>,
}

impl RemoteInterest {
    pub(crate) fn add(&self, topic: String) {
        self.wanted.topics.lock().insert(topic);
        self.wanted.changed.notify_one();
    }

    pub(crate) fn remove(&self, topic: &str) {
        self.wanted.topics.lock().remove(topic);
        self.wanted.changed.notify_one();
    }
}

/// The items of a remote subscription.
#[derive(Debug)]
pub(crate) struct RemoteStream {
    client: Client,
    wanted: Arc<Wanted>,
    cursor: Option<Cursor>,
    responses: Option<Streaming<proto::SubscribeResponse>>,
    wait: Duration,
}

impl RemoteStream {
    pub(crate) async fn start(client: Client, options: SubscribeOptions) -> Result<Self> {
        let wanted = Arc::new(Wanted::default());
        wanted.topics.lock().extend(options.topics);
        let mut stream = Self {
            client,
            wanted,
            cursor: options.cursor,
            responses: None,
            wait: RETRY_WAIT_MIN,
        };
        stream.connect().await?;
        Ok(stream)
    }

    pub(crate) fn interest(&self) -> RemoteInterest {
        RemoteInterest {
            wanted: Arc::clone(&self.wanted),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<StreamItem>> {
        loop {
            let Some(responses) = &mut self.responses else {
                tokio::time::sleep(self.wait).await;
                self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
                match self.connect().await {
                    Err(error) if !may_reconnect(&error) => return Some(Err(error)),
                    Ok(()) | Err(_) => continue,
                }
            };
            match responses.message().await {
                Ok(Some(response)) => {
                    self.wait = RETRY_WAIT_MIN;
                    let item = item_from(response);
                    self.remember(item.as_ref().ok());
                    return Some(item);
                }
                Ok(None) => self.responses = None,
                Err(status) => {
                    self.responses = None;
                    let error = from_status(&status);
                    if !may_reconnect(&error) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn remember(&mut self, item: Option<&StreamItem>) {
        match item {
            Some(StreamItem::Change(event)) => self.cursor = Some(event.cursor.clone()),
            Some(StreamItem::Progress(cursor)) => self.cursor = Some(cursor.clone()),
            Some(StreamItem::Gap { .. } | StreamItem::Ephemeral { .. }) | None => {}
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let requests = requests(Arc::clone(&self.wanted), self.cursor.as_ref());
        let responses = self
            .client
            .subscribe(requests)
            .await
            .map_err(|status| from_status(&status))?;
        self.responses = Some(responses.into_inner());
        Ok(())
    }
}

/// A subscription asks for nothing to be done, so that an unknown outcome may be tried again too.
fn may_reconnect(error: &Error) -> bool {
    error.is_retryable() || matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Closed)
}

/// The start, then one request per change of the wanted topics.
fn requests(
    wanted: Arc<Wanted>,
    cursor: Option<&Cursor>,
) -> impl Stream<Item = proto::SubscribeRequest> + Send + 'static {
    let told = wanted.topics.lock().clone();
    let start = Request::Start(proto::SubscribeStart {
        topics: told.iter().cloned().collect(),
        cursor: cursor.map(Cursor::encode).unwrap_or_default(),
    });
    futures::stream::unfold(
        (wanted, told, Some(start)),
        |(wanted, mut told, mut first)| async move {
            loop {
                let change = match first.take() {
                    Some(start) => Some(start),
                    None => difference(&wanted, &mut told),
                };
                if let Some(request) = change {
                    let request = proto::SubscribeRequest {
                        request: Some(request),
                    };
                    return Some((request, (wanted, told, None)));
                }
                wanted.changed.notified().await;
            }
        },
    )
}

fn difference(wanted: &Wanted, told: &mut BTreeSet<String>) -> Option<Request> {
    let topics = wanted.topics.lock();
    let gone: Vec<String> = told.difference(&topics).cloned().collect();
    if !gone.is_empty() {
        told.retain(|topic| topics.contains(topic));
        return Some(Request::Remove(proto::Topics { topics: gone }));
    }
    let new: Vec<String> = topics.difference(told).cloned().collect();
    if new.is_empty() {
        return None;
    }
    told.extend(new.iter().cloned());
    Some(Request::Add(proto::Topics { topics: new }))
}
