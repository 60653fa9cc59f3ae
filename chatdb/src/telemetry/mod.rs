//! What a node shows to a monitoring system.
//!
//! Two kinds of numbers stand on one page. *Counted* ones ([`NodeMetrics`], [`StreamMetrics`]) are
//! added to where something happens; *gathered* ones (`collector`) are asked for when the page is
//! read: engines, log, raft groups and queues know their own numbers already. Names begin with
//! `lsm_`, `raft_` or `chatdb_`, units are in the name, and no label holds anything that a user
//! wrote: no keyspace, table, topic or key.
//!
//! A [`Registry`] belongs to who serves the page, not to the process, so that several nodes in one
//! process do not mix. `docs/operations/metrics.md` is written from such a page by a test.
//!
//! # Cost
//!
//! A statement adds to one histogram (a short lock) and, if it fails, to one counter. Reading the
//! page costs one look at every tablet's files.

mod collector;
pub(crate) mod server;

use crate::error::{Error, ErrorKind};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

pub(crate) use collector::NodeCollector;

/// Upper bounds of the buckets of durations, in seconds: 50 us to 10 s.
pub const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// A histogram of durations.
pub fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

/// What a statement was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StatementKind {
    /// `SELECT`.
    Read,
    /// `INSERT`, `UPDATE`, `DELETE`, batches.
    Write,
    /// Anything that changes the schema.
    Schema,
    /// `USE`, `DESCRIBE`, and what could not be planned.
    Other,
}

impl StatementKind {
    const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Schema, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Schema => "schema",
            Self::Other => "other",
        }
    }
}

/// The label `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    kind: &'static str,
}

/// The label `method`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Method {
    method: &'static str,
}

/// The calls of the gRPC service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Execute,
    Prepare,
    Subscribe,
    Publish,
    Status,
}

impl Call {
    const ALL: [Self; 5] = [
        Self::Execute,
        Self::Prepare,
        Self::Subscribe,
        Self::Publish,
        Self::Status,
    ];

    fn label(self) -> Method {
        let method = match self {
            Self::Execute => "execute",
            Self::Prepare => "prepare",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Status => "status",
        };
        Method { method }
    }
}

/// What a node counts by itself. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct NodeMetrics {
    statements: Family<Kind, Histogram>,
    errors: Family<Kind, Counter>,
    delays: Histogram,
    rpc: Family<Method, Histogram>,
    rpc_failed: Family<Method, Counter>,
    pub(crate) stream: StreamMetrics,
}

/// What the streams of a node count. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamMetrics {
    /// Changes put into a queue.
    pub(crate) queued: Counter,
    /// Times a queue was full, so that its subscriber reads the log instead.
    pub(crate) fell_behind: Counter,
    /// Gaps told to subscribers.
    pub(crate) gaps: Counter,
    /// Ephemeral events put into a queue.
    pub(crate) ephemeral: Counter,
    /// Ephemeral events that left a full queue unread.
    pub(crate) ephemeral_dropped: Counter,
}

impl NodeMetrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            statements: Family::new_with_constructor(seconds),
            errors: Family::default(),
            delays: seconds(),
            rpc: Family::new_with_constructor(seconds),
            rpc_failed: Family::default(),
            stream: StreamMetrics::default(),
        };
        // A series that is there from the start can be alerted on.
        for kind in StatementKind::ALL {
            let kind = kind.name();
            drop(metrics.statements.get_or_create(&Kind { kind }));
        }
        for kind in ErrorKind::ALL {
            let kind = kind.name();
            drop(metrics.errors.get_or_create(&Kind { kind }));
        }
        for call in Call::ALL {
            drop(metrics.rpc.get_or_create(&call.label()));
            drop(metrics.rpc_failed.get_or_create(&call.label()));
        }
        metrics
    }

    /// A statement took this long and ended so.
    pub(crate) fn statement(&self, kind: StatementKind, took: Duration, error: Option<&Error>) {
        let kind = kind.name();
        let histogram = self.statements.get_or_create(&Kind { kind });
        histogram.observe(took.as_secs_f64());
        if let Some(error) = error {
            let kind = error.kind().name();
            self.errors.get_or_create(&Kind { kind }).inc();
        }
    }

    /// A write was held back so long before it was proposed.
    pub(crate) fn delayed(&self, waited: Duration) {
        self.delays.observe(waited.as_secs_f64());
    }

    /// A call took this long.
    pub(crate) fn call(&self, call: Call, took: Duration, failed: bool) {
        let label = call.label();
        self.rpc.get_or_create(&label).observe(took.as_secs_f64());
        if failed {
            self.rpc_failed.get_or_create(&label).inc();
        }
    }

    /// Shows the numbers on the page of `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "chatdb_statement_seconds",
            "Time of a statement in the node, waiting included; its count is the number of statements",
            self.statements.clone(),
        );
        registry.register(
            "chatdb_statement_errors",
            "Statements that failed, by what the caller should do",
            self.errors.clone(),
        );
        registry.register(
            "chatdb_write_delay_seconds",
            "Time that a write was held back because flushing or compaction lags",
            self.delays.clone(),
        );
        registry.register(
            "chatdb_rpc_seconds",
            "Time of a gRPC call until its response; of subscribe, until the stream begins",
            self.rpc.clone(),
        );
        registry.register(
            "chatdb_rpc_errors",
            "gRPC calls that were answered with an error",
            self.rpc_failed.clone(),
        );
        self.stream.register(registry);
    }
}

impl StreamMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "chatdb_stream_queued",
            "Changes put into the queues of subscribers",
            self.queued.clone(),
        );
        registry.register(
            "chatdb_stream_fell_behind",
            "Times that the queue of a subscriber was full, so that it reads the log instead",
            self.fell_behind.clone(),
        );
        registry.register(
            "chatdb_stream_gaps",
            "Gaps told to subscribers: the log no longer had what they missed",
            self.gaps.clone(),
        );
        registry.register(
            "chatdb_stream_ephemeral",
            "Ephemeral events put into the queues of subscribers",
            self.ephemeral.clone(),
        );
        registry.register(
            "chatdb_stream_ephemeral_dropped",
            "Ephemeral events that left a full queue unread",
            self.ephemeral_dropped.clone(),
        );
    }
}
