//! What a gateway shows to a monitoring system, beside the numbers of its database.
//!
//! Counted where it happens: requests, events, sockets. Gathered when the page is read: sessions,
//! queues, caches. No label holds anything that a user wrote, and none has more values than a page
//! can name: a method, a class of status codes, a state.
//!
//! # Cost
//!
//! One addition per event and session; one histogram (a short lock) per change and per request.
//! Reading the page takes every session's lock once.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use chatdb::telemetry::seconds;
use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::app::App;
use crate::session::outbox::RETAINED_MAX;

/// Lines of name, meaning and counter.
macro_rules! counters {
    ($($name:literal $help:literal $counter:expr),* $(,)?) => {
        [$(($name, $help, &$counter)),*]
    };
}

/// Lines of name, meaning and number.
macro_rules! gauges {
    ($($name:literal $help:literal $value:expr),* $(,)?) => {
        vec![$(($name, $help, $value)),*]
    };
}

/// What sessions count. Shared by all sessions of a gateway.
#[derive(Clone, Debug, Default)]
pub struct SessionMetrics {
    /// Events put into the queue of a session.
    pub(crate) queued: Counter,
    /// Typing and presence that a slow session did not get, or got only the newest of.
    pub(crate) coalesced: Counter,
    /// Sessions that were given up because they read too slowly.
    pub(crate) overflowed: Counter,
    /// Events written to sockets, replayed ones included.
    pub(crate) written: Counter,
    /// Writes that carried them.
    pub(crate) writes: Counter,
    /// Sessions begun.
    pub(crate) identified: Counter,
    /// Sessions that came back.
    pub(crate) resumed: Counter,
    /// Sessions whose client asked to come back too late.
    pub(crate) not_resumed: Counter,
}

/// The labels of answered requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    status: &'static str,
}

/// The label `method`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByMethod {
    method: &'static str,
}

/// Methods that have a series of their own.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "other"];

fn name_of(method: &Method) -> &'static str {
    let known = METHODS.iter().find(|name| **name == method.as_str());
    known.copied().unwrap_or("other")
}

fn class_of(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// What a gateway counts. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct GatewayMetrics {
    pub(crate) sessions: Arc<SessionMetrics>,
    dispatch: Histogram,
    pub(crate) gaps: Counter,
    pub(crate) stumbles: Counter,
    pub(crate) presence_dropped: Counter,
    requests: Family<Answered, Counter>,
    request_seconds: Family<ByMethod, Histogram>,
    pub(crate) rate_limited: Counter,
}

impl GatewayMetrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            sessions: Arc::default(),
            dispatch: seconds(),
            gaps: Counter::default(),
            stumbles: Counter::default(),
            presence_dropped: Counter::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            rate_limited: Counter::default(),
        };
        // A series that is there from the start can be alerted on.
        for method in METHODS {
            for status in ["2xx", "4xx", "5xx"] {
                drop(metrics.requests.get_or_create(&Answered { method, status }));
            }
            drop(metrics.request_seconds.get_or_create(&ByMethod { method }));
        }
        metrics
    }

    /// A change was committed so long before it stood in the queues of all its listeners.
    pub(crate) fn dispatched(&self, after: Duration) {
        self.dispatch.observe(after.as_secs_f64());
    }

    /// A request was answered.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, took: Duration) {
        let method = name_of(method);
        let answered = Answered {
            method,
            status: class_of(status),
        };
        self.requests.get_or_create(&answered).inc();
        let histogram = self.request_seconds.get_or_create(&ByMethod { method });
        histogram.observe(took.as_secs_f64());
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "flux_dispatch_seconds",
            "Time from proposing a change to the database until it stands in the queues of all sessions that hear of it",
            self.dispatch.clone(),
        );
        registry.register(
            "flux_request_seconds",
            "Time of a REST request",
            self.request_seconds.clone(),
        );
        registry.register(
            "flux_requests",
            "REST requests answered, by class of status",
            self.requests.clone(),
        );
        let sessions = &self.sessions;
        let counters = counters![
            "flux_rate_limited" "REST requests refused by a rate limit" self.rate_limited,
            "flux_stream_gaps" "Times that changes were lost and every client was told to start afresh" self.gaps,
            "flux_stream_errors" "Times that the event stream failed or an event could not be delivered" self.stumbles,
            "flux_presence_dropped" "Presence changes dropped because their queue was full" self.presence_dropped,
            "flux_session_events_queued" "Events put into the queues of sessions" sessions.queued,
            "flux_session_events_coalesced" "Typing and presence that a slow session did not get, or got only the newest of" sessions.coalesced,
            "flux_session_overflows" "Times that a session was given up because it read too slowly" sessions.overflowed,
            "flux_socket_events" "Events written to sockets, replayed ones included" sessions.written,
            "flux_socket_writes" "Writes that carried those events" sessions.writes,
            "flux_sessions_identified" "Sessions begun" sessions.identified,
            "flux_sessions_resumed" "Sessions that came back" sessions.resumed,
            "flux_sessions_not_resumed" "Attempts to come back that were refused" sessions.not_resumed,
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
    }
}

/// What waits in the queues of all sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SessionDepth {
    pub(crate) sessions: usize,
    pub(crate) detached: usize,
    pub(crate) connections: usize,
    /// Events that wait for a socket.
    pub(crate) waiting: usize,
    /// Events that wait for the socket that is furthest behind.
    pub(crate) longest: usize,
    /// Events kept, for writing and for replay.
    pub(crate) retained: usize,
    pub(crate) retained_bytes: usize,
}

/// Asks the server while it is there.
#[derive(Debug)]
struct AppCollector(Weak<App>);

impl Collector for AppCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(app) = self.0.upgrade() else {
            return Ok(());
        };
        for (name, help, value) in gauges(&app) {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_gauge(&value)?;
        }
        Ok(())
    }
}

fn gauges(app: &App) -> Vec<(&'static str, &'static str, usize)> {
    let depth = app.sessions.depth();
    let fanout = app.fanout.depth();
    gauges![
        "flux_sessions" "Sessions, with those that wait for their client." depth.sessions,
        "flux_sessions_detached" "Sessions that wait for their client to come back." depth.detached,
        "flux_connections" "Open sockets." depth.connections,
        "flux_session_queue_events" "Events that wait for sockets, all sessions together." depth.waiting,
        "flux_session_queue_events_longest" "Events that wait for the socket furthest behind." depth.longest,
        "flux_session_queue_events_limit" "Events kept for one session before it is given up." RETAINED_MAX,
        "flux_session_retained_events" "Events kept for writing and for replay." depth.retained,
        "flux_session_retained_bytes" "Their bytes, counted as if they were not shared." depth.retained_bytes,
        "flux_accounts_present" "Accounts with a session here." fanout.accounts,
        "flux_guilds_heard" "Guilds that somebody listens to here." fanout.guilds,
        "flux_presence_queue" "Presence changes that wait to be published." fanout.presence_waiting,
        "flux_presence_queue_limit" "Presence changes that may wait; more are dropped." fanout.presence_limit,
        "flux_rate_limit_windows" "Windows of rate limits in memory." app.limiter.len(),
        "flux_password_hashes_running" "Passwords that are hashed now." app.auth.hashes_running(),
        "flux_worker" "Worker number under which this process mints ids." usize::from(app.ids.window().worker),
    ]
}

impl App {
    /// Puts the numbers of this server and of its database on the page of `registry`.
    pub fn register_metrics(self: &Arc<Self>, registry: &mut Registry) {
        self.metrics.register(registry);
        registry.register_collector(Box::new(AppCollector(Arc::downgrade(self))));
        self.db.register_metrics(registry);
    }
}
