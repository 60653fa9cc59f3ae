//! A statement as a program builds it: text, bound values, and how to run and publish it.

use crate::result::Position;
use crate::value::Value;
use bytes::Bytes;
use std::borrow::Cow;

/// What a read must have seen before it answers. Writes are always a durable quorum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Any replica may answer with what it has applied, if that is not older than the node allows
    /// ([`EmbeddedOptions::stale_reads`](crate::EmbeddedOptions::stale_reads)); the result says how old it may be.
    One,
    /// Every write acknowledged before the read began is seen; the leader answers under its lease.
    #[default]
    Quorum,
    /// As `Quorum`, confirmed by a round to a quorum instead of by the clock.
    Serial,
}

/// One CQL statement with its bound values and options.
///
/// ```
/// use chatdb::{Statement, Value};
/// let statement = Statement::new("INSERT INTO flux.notes (id, text) VALUES (?, ?)")
///     .bind(vec![Value::from(7_i64), Value::from("hello")])
///     .topic("guild:1");
/// ```
#[derive(Clone, Debug, Default)]
pub struct Statement {
    pub(crate) text: Cow<'static, str>,
    pub(crate) values: Vec<Value>,
    pub(crate) topics: Vec<String>,
    pub(crate) note: Bytes,
    pub(crate) page_size: Option<u32>,
    pub(crate) page_state: Option<Bytes>,
    pub(crate) consistency: Consistency,
    pub(crate) request_id: Option<u128>,
    /// Makes the request id a client and its number, see [`crate::db::requests`].
    pub(crate) settled_below: Option<u64>,
    pub(crate) after: Option<Position>,
    pub(crate) keyspace: Option<Cow<'static, str>>,
}

impl Statement {
    /// A statement of this text, with `?` where values are bound.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// The values of the `?` markers, in order.
    #[must_use]
    pub fn bind(mut self, values: Vec<Value>) -> Self {
        self.values = values;
        self
    }

    /// Adds a topic whose subscribers see the change. Reads ignore it.
    #[must_use]
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.topics.push(topic.into());
        self
    }

    /// Bytes (<= 32 KiB) that travel with the change to subscribers and are not stored in the table.
    #[must_use]
    pub fn note(mut self, note: impl Into<Bytes>) -> Self {
        self.note = note.into();
        self
    }

    /// The most rows one page may hold; without it the server chooses 1000.
    #[must_use]
    pub fn page_size(mut self, rows: u32) -> Self {
        self.page_size = Some(rows);
        self
    }

    /// Continues after the page that returned this state; `None` is the first page.
    #[must_use]
    pub fn page_state(mut self, state: Option<Bytes>) -> Self {
        self.page_state = state;
        self
    }

    /// What a read must have seen, [`Consistency::Quorum`] by default.
    #[must_use]
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }

    /// An id that is the same in every retry of one write, so that it takes effect once: within ten
    /// minutes, and as long as its tablet took no 16 384 others with such ids meanwhile. A program that
    /// sends its writes again after longer, or many, numbers them: [`Statement::numbered`].
    #[must_use]
    pub fn request_id(mut self, id: u128) -> Self {
        self.request_id = Some(id);
        self
    }

    /// The write's number among those of `client` (a random number of the program that sends it), the
    /// same in every retry, so that it takes effect once. The caller never again sends a write with a
    /// number below `settled_below`: those are forgotten, and a copy of one that arrives late is
    /// refused as `Unknown` and not applied. So only writes in flight are remembered, at whatever rate.
    #[must_use]
    pub fn numbered(mut self, client: u64, number: u64, settled_below: u64) -> Self {
        self.request_id = Some(u128::from(client) << 64 | u128::from(number));
        self.settled_below = Some(settled_below);
        self
    }

    /// The read sees the write of this position, whichever replica answers: with
    /// [`Consistency::One`] a replica waits for it, and the leader answers when that takes too long.
    #[must_use]
    pub fn after(mut self, position: Position) -> Self {
        self.after = Some(position);
        self
    }

    /// The keyspace of table names that do not name theirs.
    #[must_use]
    pub fn keyspace(mut self, keyspace: impl Into<Cow<'static, str>>) -> Self {
        self.keyspace = Some(keyspace.into());
        self
    }

    /// The statement's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<&'static str> for Statement {
    fn from(text: &'static str) -> Self {
        Self::new(text)
    }
}
