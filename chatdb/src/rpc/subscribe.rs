//! The client's end of a remote subscription, which survives broken connections.
//!
//! The wanted topics live in one shared set. A request stream tells the node the difference between
//! the set and what the node was told, whenever the set changes. When the connection breaks, the
//! next call of `next` connects again, to whichever node answers, with the present set and the cursor
//! of the last item that was delivered, so that the subscriber sees neither a gap nor a duplicate.
//! A cursor means the same on every node. Ephemeral events of the time in between are lost, as they
//! may be.
//!
//! A subscription that begins now has its first cursor before [`RemoteStream::start`] returns: what is
//! written after that comes, whatever happens to the first connection.

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::client::RemoteDb;
use crate::rpc::client::endpoint::jittered;
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
/// A node that does not take the call for so long is given up for another.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// A subscription begins within this time or not at all.
const START_DEADLINE: Duration = Duration::from_secs(15);

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
    remote: RemoteDb,
    wanted: Arc<Wanted>,
    cursor: Option<Cursor>,
    connection: Option<Connection>,
    /// An item that came before anybody asked.
    first: Option<StreamItem>,
    wait: Duration,
}

/// A call that delivers, and the number of the endpoint that answers it.
#[derive(Debug)]
struct Connection {
    endpoint: usize,
    responses: Streaming<proto::SubscribeResponse>,
}

impl RemoteStream {
    pub(crate) async fn start(remote: RemoteDb, options: SubscribeOptions) -> Result<Self> {
        let wanted = Arc::new(Wanted::default());
        wanted.topics.lock().extend(options.topics);
        let mut stream = Self {
            remote,
            wanted,
            cursor: options.cursor,
            connection: None,
            first: None,
            wait: RETRY_WAIT_MIN,
        };
        let begin = async {
            loop {
                let begun = stream.begin().await;
                match begun {
                    Err(error) if may_reconnect(&error) => stream.pause().await,
                    outcome => return outcome,
                }
            }
        };
        let begun = tokio::time::timeout(START_DEADLINE, begin).await;
        begun.map_err(|_| {
            let message = "no node begins the subscription";
            Error::new(ErrorKind::Unavailable, message)
        })??;
        Ok(stream)
    }

    /// Connects and waits for the first item, which is the cursor to begin from.
    async fn begin(&mut self) -> Result<()> {
        self.connect().await?;
        let received = tokio::time::timeout(CONNECT_DEADLINE, self.receive()).await;
        if let Ok(received) = received
            && let Some(item) = received?
        {
            self.first = Some(item);
            return Ok(());
        }
        if let Some(connection) = self.connection.take() {
            self.remote.failed(connection.endpoint);
        }
        let message = "the node does not begin the subscription";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    pub(crate) fn interest(&self) -> RemoteInterest {
        RemoteInterest {
            wanted: Arc::clone(&self.wanted),
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Result<StreamItem>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            if self.connection.is_none() {
                self.pause().await;
                match self.connect().await {
                    Err(error) if !may_reconnect(&error) => return Some(Err(error)),
                    Ok(()) | Err(_) => continue,
                }
            }
            match self.receive().await {
                Ok(Some(item)) => return Some(Ok(item)),
                Ok(None) => {}
                Err(error) if may_reconnect(&error) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(jittered(self.wait)).await;
        self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
    }

    /// The next item of the connection; nothing when it ended. Dropping the future loses nothing.
    async fn receive(&mut self) -> Result<Option<StreamItem>> {
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        let endpoint = connection.endpoint;
        match connection.responses.message().await {
            Ok(Some(response)) => {
                self.wait = RETRY_WAIT_MIN;
                self.remote.succeeded(endpoint);
                let item = item_from(response)?;
                self.remember(&item);
                Ok(Some(item))
            }
            Ok(None) => {
                self.remote.failed(endpoint);
                self.connection = None;
                Ok(None)
            }
            Err(status) => {
                self.connection = None;
                let error = from_status(&status);
                if may_reconnect(&error) {
                    self.remote.failed(endpoint);
                }
                Err(error)
            }
        }
    }

    fn remember(&mut self, item: &StreamItem) {
        match item {
            StreamItem::Change(event) => self.cursor = Some(event.cursor.clone()),
            StreamItem::Progress(cursor) => self.cursor = Some(cursor.clone()),
            StreamItem::Gap { .. } | StreamItem::Ephemeral { .. } => {}
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let requests = requests(Arc::clone(&self.wanted), self.cursor.as_ref());
        let (endpoint, mut client) = self.remote.choose()?;
        let call = tokio::time::timeout(CONNECT_DEADLINE, client.subscribe(requests));
        let outcome = match call.await {
            Ok(outcome) => outcome.map_err(|status| from_status(&status)),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the node is silent")),
        };
        match outcome {
            Ok(responses) => {
                self.connection = Some(Connection {
                    endpoint,
                    responses: responses.into_inner(),
                });
                Ok(())
            }
            Err(error) => {
                if may_reconnect(&error) {
                    self.remote.failed(endpoint);
                }
                Err(error)
            }
        }
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
