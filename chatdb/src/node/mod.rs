//! A node: the assembly of log, groups, tablets, streams and threads over one data directory.
//!
//! # The directory
//!
//! ```text
//! LOCK            held by the one process that has the directory open
//! installation    a random number, drawn once, that log and tablets mix into their checksums
//! node            which node of which cluster the directory is
//! log/            the shared log of all raft groups; the only write-ahead log
//! group0/state    nodes, tablets, schema
//! tablets/<n.g>/  manifest and SSTables of the replica of generation g of the tablet of group n
//! ```
//!
//! # Opening
//!
//! An empty directory becomes the first node of a new cluster or joins one. Group 0 is recovered first.
//! Then each tablet that it names for this node learns all tables and replays its part of the log, all
//! tablets at the same time. When [`Node::open`] of a cluster of one node returns, every write that was
//! ever acknowledged is visible; in a larger cluster the leader of a tablet answers for that.
//!
//! # While it runs
//!
//! The steward (`node/steward.rs`) does what group 0 decides: it opens and destroys replicas, leads
//! moves, and makes the decisions while this node leads group 0.
//!
//! # Closing
//!
//! [`Node::close`] hands leaderships to others, refuses new work, ends the subscriptions, stops the
//! groups and flushes the log. Memtables are left to the log: what is in it need not be written twice.
//! Nothing in it waits for another node longer than a few seconds: a node stops in order when all
//! others hang.

pub(crate) mod backlog;
mod beneath;
pub(crate) mod cluster;
mod compaction;
pub(crate) mod decide;
pub(crate) mod environment;
mod execute;
mod follow;
mod growth;
mod identity;
mod installation;
mod join;
mod lost;
pub(crate) mod maintenance;
pub(crate) mod network;
mod numbers;
mod open;
pub(crate) mod opener;
mod read;
pub(crate) mod recover;
mod route;
mod split;
mod status;
mod steward;
pub(crate) mod tablets;

use crate::cql::Parsed;
use crate::db::options::EmbeddedOptions;
use crate::db::requests::Requests;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::System;
use crate::node::backlog::Told;
use crate::node::decide::Decider;
use crate::node::environment::Environment;
use crate::node::follow::Streams;
use crate::node::maintenance::{Maintenance, Pressure};
use crate::node::network::Serving;
use crate::node::steward::Steward;
use crate::node::tablets::Tablets;
use crate::stream::hub::Hub;
use crate::stream::receiver::{Receiver, Source};
use crate::stream::subscription::{SubscribeOptions, Subscription};
use crate::telemetry::NodeMetrics;
use bytes::Bytes;
use lsm::ReadAdmission;
use lsm::log::Log;
use lsm::vfs::Lock;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use raft::{Group, Host, NodeId, Tls};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use numbers::TabletNumbers;
pub(crate) use open::blocking;

/// How long a subscription waits for tablets that this node does not hear of yet, and how often it
/// looks.
const STREAMS_LIMIT: Duration = Duration::from_secs(5);
const STREAMS_PAUSE: Duration = Duration::from_millis(10);

/// One node of a database, in this process.
pub(crate) struct Node {
    options: EmbeddedOptions,
    pub(crate) environment: Environment,
    id: NodeId,
    cluster_id: u128,
    started: Instant,
    log: Log,
    /// Where the time of writes goes.
    stages: Arc<raft::Stages>,
    group0: Group,
    pub(crate) system: Arc<System>,
    decider: Arc<Decider>,
    pub(crate) tablets: Arc<Tablets>,
    hub: Arc<Hub>,
    pressure: Arc<Pressure>,
    /// Parsed statements by text.
    parsed: Cache<Arc<str>, Arc<Parsed>>,
    /// Permits of reads that run.
    readers: Arc<Semaphore>,
    /// Permits of reads that run or wait.
    waiting_readers: Arc<Semaphore>,
    most_waiting_readers: usize,
    /// What the engines let in.
    admission: Arc<ReadAdmission>,
    pub(crate) metrics: NodeMetrics,
    streams: Streams,
    /// Numbers for writes that came without a request id.
    requests: Requests,
    /// Who led tablets that this node has no replica of.
    leaders: Mutex<BTreeMap<u64, NodeId>>,
    is_closed: AtomicBool,
    running: Mutex<Option<Running>>,
}

/// What closing takes apart.
struct Running {
    /// `None` once the node has retired.
    steward: Option<Steward>,
    host: Arc<Host>,
    /// Answers the calls of other nodes.
    serving: Option<Serving>,
    maintenance: Maintenance,
    lock: Box<dyn Lock>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.id.0)
            .field("data", &self.options.data)
            .field("tablets", &self.tablets.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Delivers bytes to the present subscribers of a topic, on every node.
    pub(crate) fn publish(&self, topic: &str, payload: &Bytes) -> Result<()> {
        self.deliver(topic, payload)?;
        self.streams.peers.relay(topic, payload);
        Ok(())
    }

    /// Delivers bytes to the present subscribers of a topic on this node.
    pub(crate) fn deliver(&self, topic: &str, payload: &Bytes) -> Result<()> {
        self.check_open()?;
        self.hub.publish_ephemeral(topic, payload)
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// What this node shows to others, if its connections are TLS.
    pub(crate) fn certificate(&self) -> Option<&Arc<Tls>> {
        self.environment.network.certificate()
    }

    pub(crate) fn cluster_id(&self) -> u128 {
        self.cluster_id
    }

    /// Begins a subscription, once this node knows where every tablet stands.
    pub(crate) async fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.check_open()?;
        let end = Instant::now() + STREAMS_LIMIT;
        while let Some(group) = self.unheard_tablet() {
            if Instant::now() >= end {
                let message = format!("this node does not hear of tablet {group} yet");
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
            tokio::time::sleep(STREAMS_PAUSE).await;
        }
        let source = Arc::clone(&self.streams.log) as Arc<dyn Source>;
        let hub = Arc::clone(&self.hub);
        let receiver = Receiver::new(hub, source, options.topics, options.cursor.as_ref())?;
        Ok(Subscription::embedded(receiver))
    }

    /// A tablet whose changes do not come to this node.
    fn unheard_tablet(&self) -> Option<u64> {
        let topology = self.system.topology();
        let groups = topology.tablets.iter().map(|record| record.range.group);
        let mut unheard = groups.filter(|group| self.hub.applied_of(*group).is_none());
        unheard.next()
    }

    /// Tells another node what is in a tablet's log.
    pub(crate) async fn tell(&self, group: u64, from: u64, wait: Duration) -> Result<Told> {
        self.check_open()?;
        self.streams.log.tell(group, from, wait).await
    }

    /// Makes this node one that nobody misses: it begins no moves and decisions any more and hands its
    /// leaderships over, within a few seconds. It goes on answering. A second call does nothing.
    pub(crate) async fn retire(&self) {
        let steward = {
            let mut running = self.running.lock();
            running.as_mut().and_then(|running| running.steward.take())
        };
        let Some(steward) = steward else {
            return;
        };
        steward.stop().await;
        self.hand_over().await;
    }

    /// Stops the node. Nothing acknowledged is lost. A second call does nothing.
    pub(crate) async fn close(&self) -> Result<()> {
        self.is_closed.store(true, Ordering::Release);
        self.streams.stop();
        self.retire().await;
        let Some(running) = self.running.lock().take() else {
            return Ok(());
        };
        let Running {
            steward: _,
            host,
            serving,
            maintenance,
            lock,
        } = running;
        self.hub.close();
        self.system.close();
        maintenance.stop().await?;
        let host = Arc::try_unwrap(host).map_err(|_| Error::bug("the raft host is in use"))?;
        host.stop().await?;
        drop((serving, lock));
        Ok(())
    }

    /// Waits until the node can no longer work, and tells why.
    pub(crate) async fn failed(&self) -> Error {
        let failure = self
            .running
            .lock()
            .as_ref()
            .map(|running| running.host.failed());
        match failure {
            Some(failure) => open::failed(failure.await),
            None => std::future::pending().await,
        }
    }

    /// Whether the node can do its work: it is open and every raft group runs and is led.
    pub(crate) fn check_health(&self) -> Result<()> {
        self.check_open()?;
        let places = self.tablets.list();
        let groups = places.iter().map(|place| &place.group);
        for group in groups.chain([&self.group0]) {
            let status = group.status();
            if let Some(failure) = status.failure {
                return Err(failure.into());
            }
            if status.leader.is_none() {
                let message = format!("raft group {} has no leader", status.group.0);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
        Ok(())
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the database is closed"));
        }
        Ok(())
    }

    /// The tablet that holds the token.
    fn group_of(&self, token: u64) -> Result<u64> {
        let topology = self.system.topology();
        let record = topology.tablet_of(token);
        let record =
            record.ok_or_else(|| Error::bug(format!("no tablet holds token {token:016x}")))?;
        Ok(record.range.group)
    }
}
