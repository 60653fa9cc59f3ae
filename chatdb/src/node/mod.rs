//! A node: the assembly of log, groups, tablets, streams and threads over one data directory.
//!
//! # The directory
//!
//! ```text
//! LOCK          held by the one process that has the directory open
//! installation  a random number, drawn once, that log and tablets mix into their checksums
//! log/          the shared log of all raft groups; the only write-ahead log
//! group0/state  identity, tablets, schema
//! tablets/<n>/  manifest and SSTables of the tablet of group n
//! ```
//!
//! # Opening
//!
//! Group 0 is recovered completely first. Then each tablet learns all tables and replays its part of
//! the log, all tablets at the same time. When [`Node::open`] returns, every write that was ever
//! acknowledged is visible.
//!
//! # Closing
//!
//! [`Node::close`] refuses new work, ends the subscriptions, stops the groups and flushes the log.
//! Memtables are left to the log: what is in it need not be written twice.

mod backlog;
mod beneath;
mod compaction;
pub(crate) mod environment;
mod execute;
mod installation;
pub(crate) mod maintenance;
mod numbers;
mod open;
mod read;
mod status;

use crate::cql::Parsed;
use crate::db::options::EmbeddedOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{System, TabletRange};
use crate::node::backlog::NodeLog;
use crate::node::maintenance::{Maintenance, Pressure};
use crate::stream::hub::Hub;
use crate::stream::receiver::Receiver;
use crate::stream::subscription::{SubscribeOptions, Subscription};
use crate::tablet::Tablet;
use crate::telemetry::NodeMetrics;
use bytes::Bytes;
use lsm::ReadAdmission;
use lsm::log::Log;
use lsm::vfs::Lock;
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use raft::{Group, Host};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::Semaphore;

pub(crate) use numbers::TabletNumbers;

/// One database in this process.
pub(crate) struct Node {
    options: EmbeddedOptions,
    cluster_id: u128,
    started: Instant,
    log: Log,
    group0: Group,
    system: Arc<System>,
    tablets: Vec<TabletPlace>,
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
    is_closed: AtomicBool,
    running: Mutex<Option<Running>>,
}

/// A tablet with its tokens and its raft group.
#[derive(Debug)]
struct TabletPlace {
    range: TabletRange,
    tablet: Arc<Tablet>,
    group: Group,
}

/// What closing takes apart.
struct Running {
    host: Host,
    maintenance: Maintenance,
    lock: Box<dyn Lock>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("data", &self.options.data)
            .field("tablets", &self.tablets.len())
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Delivers bytes to the present subscribers of a topic.
    pub(crate) fn publish(&self, topic: &str, payload: &Bytes) -> Result<()> {
        self.check_open()?;
        self.hub.publish_ephemeral(topic, payload)
    }

    /// Begins a subscription.
    pub(crate) fn subscribe(&self, options: SubscribeOptions) -> Result<Subscription> {
        self.check_open()?;
        let tablets = self.tablets.iter().map(|place| Arc::clone(&place.tablet));
        let source = Arc::new(NodeLog::new(tablets, Arc::clone(&self.system)));
        let hub = Arc::clone(&self.hub);
        let receiver = Receiver::new(hub, source, options.topics, options.cursor.as_ref())?;
        Ok(Subscription::embedded(receiver))
    }

    /// Stops the node. Nothing acknowledged is lost. A second call does nothing.
    pub(crate) async fn close(&self) -> Result<()> {
        self.is_closed.store(true, Ordering::Release);
        let Some(running) = self.running.lock().take() else {
            return Ok(());
        };
        self.hub.close();
        let Running {
            host,
            maintenance,
            lock,
        } = running;
        tokio::task::spawn_blocking(move || maintenance.stop())
            .await
            .map_err(|cause| Error::bug("closing panicked").with_source(cause))?;
        host.stop().await?;
        drop(lock);
        Ok(())
    }

    /// Waits until the node can no longer work, and tells why.
    pub(crate) async fn failed(&self) -> Error {
        let failed = self
            .running
            .lock()
            .as_ref()
            .map(|running| running.host.failed());
        match failed {
            Some(failed) => {
                let failure = failed.await;
                Error::new(ErrorKind::Io, "the node has failed").with_source(failure.error)
            }
            None => std::future::pending().await,
        }
    }

    /// Whether the node can do its work: it is open and every raft group runs and is led.
    pub(crate) fn check_health(&self) -> Result<()> {
        self.check_open()?;
        let groups = self.tablets.iter().map(|place| &place.group);
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
    fn tablet_of(&self, token: u64) -> Result<&TabletPlace> {
        let after = self
            .tablets
            .partition_point(|place| place.range.last < token);
        let place = self
            .tablets
            .get(after)
            .filter(|place| place.range.first <= token);
        place.ok_or_else(|| Error::bug(format!("no tablet holds token {token:016x}")))
    }
}
