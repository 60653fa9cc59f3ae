//! The subscriber's end of a stream: what it wants and what it gets.

use crate::error::Result;
use crate::rpc::subscribe::RemoteInterest;
use crate::rpc::subscribe::RemoteStream;
use crate::stream::cursor::Cursor;
use crate::stream::event::StreamItem;
use crate::stream::receiver::{EmbeddedInterest, Receiver};

/// Where a subscription begins and what it wants first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// The topics wanted from the beginning.
    pub topics: Vec<String>,
    /// Deliver what was applied after it; `None` begins now.
    pub cursor: Option<Cursor>,
}

impl SubscribeOptions {
    /// From now on, these topics.
    pub fn new(topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            cursor: None,
        }
    }

    /// Begins after this cursor instead of now.
    #[must_use]
    pub fn cursor(mut self, cursor: Option<Cursor>) -> Self {
        self.cursor = cursor;
        self
    }
}

/// A live subscription; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Embedded(Box<Receiver>),
    Remote(Box<RemoteStream>),
}

impl Subscription {
    /// A handle that adds and removes topics while another task waits in [`Self::next`].
    pub fn interest(&self) -> Interest {
        Interest {
            target: match &self.source {
                Source::Embedded(receiver) => Target::Embedded(receiver.interest()),
                Source::Remote(stream) => Target::Remote(stream.interest()),
            },
        }
    }

    /// Waits for the next item. `None` when the database is closed. Dropping the future loses
    /// nothing. An error ends the subscription unless its kind is retryable.
    pub async fn next(&mut self) -> Option<Result<StreamItem>> {
        match &mut self.source {
            Source::Embedded(receiver) => receiver.next().await,
            Source::Remote(stream) => stream.next().await,
        }
    }

    pub(crate) fn embedded(receiver: Receiver) -> Self {
        Self {
            source: Source::Embedded(Box::new(receiver)),
        }
    }

    pub(crate) fn remote(stream: RemoteStream) -> Self {
        Self {
            source: Source::Remote(Box::new(stream)),
        }
    }
}

/// The topics of one subscription. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interest {
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Embedded(EmbeddedInterest),
    Remote(RemoteInterest),
}

impl Interest {
    /// Wants the topic from now on. An embedded database delivers everything applied after the call
    /// returns; a remote one begins when its node has heard of it.
    pub fn add(&self, topic: impl Into<String>) {
        match &self.target {
            Target::Embedded(interest) => interest.add(topic.into()),
            Target::Remote(interest) => interest.add(topic.into()),
        }
    }

    /// No longer wants the topic. Items that wait already may still come.
    pub fn remove(&self, topic: &str) {
        match &self.target {
            Target::Embedded(interest) => interest.remove(topic),
            Target::Remote(interest) => interest.remove(topic),
        }
    }
}
