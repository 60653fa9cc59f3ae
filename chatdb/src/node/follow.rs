//! Streams of tablets that this node has no replica of: it follows the log of a node that has.
//!
//! One task per such tablet asks for the entries after the last one that the hub has, waits there when
//! there are none yet, and goes to another replica when one does not answer. The hub takes entries in
//! order and each once, so that it does not matter whether an own replica comes or goes meanwhile.

use crate::error::{Error, Result};
use crate::group0::System;
use crate::node::backlog::{NodeLog, Told};
use crate::node::identity::Identity;
use crate::node::tablets::Tablets;
use crate::peer::Peers;
use crate::rpc::client::endpoint::jittered;
use crate::stream::hub::Hub;
use crate::stream::receiver::Backlog;
use raft::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long another node holds an answer back when it has nothing new.
const WAIT: Duration = Duration::from_secs(2);
/// How often the tablets are looked at again, besides when group 0 decides something.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Pause after a node that did not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// The way to the other nodes, the logs of all, and the tasks that follow them.
pub(super) struct Streams {
    pub(super) peers: Arc<Peers>,
    pub(super) log: Arc<NodeLog>,
    followers: Followers,
}

impl Streams {
    pub(super) fn start(
        identity: Identity,
        (system, peers): (&Arc<System>, Arc<Peers>),
        hub: &Arc<Hub>,
        tablets: &Arc<Tablets>,
    ) -> Self {
        let node = identity.node;
        let log = Arc::new(NodeLog::new(
            node,
            Arc::clone(tablets),
            Arc::clone(system),
            Arc::clone(&peers),
        ));
        let followers = Followers::start(Followed {
            node,
            log: Arc::clone(&log),
            hub: Arc::clone(hub),
            system: Arc::clone(system),
            tablets: Arc::clone(tablets),
            peers: Arc::clone(&peers),
        });
        Self {
            peers,
            log,
            followers,
        }
    }
}

impl Streams {
    /// Ends what goes on by itself.
    pub(super) fn stop(&self) {
        self.peers.close();
        self.followers.stop.cancel();
    }
}

/// What following needs.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) node: NodeId,
    pub(super) log: Arc<NodeLog>,
    pub(super) hub: Arc<Hub>,
    pub(super) system: Arc<System>,
    pub(super) tablets: Arc<Tablets>,
    pub(super) peers: Arc<Peers>,
}

/// The tasks that follow; dropping it stops them.
#[derive(Debug)]
pub(super) struct Followers {
    stop: CancellationToken,
}

impl Followers {
    pub(super) fn start(followed: Followed) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            let mut tasks = BTreeMap::new();
            tokio::select! {
                () = stopped.cancelled() => {}
                () = watch(&followed, &mut tasks) => {}
            }
            for task in tasks.into_values() {
                task.abort();
            }
        });
        Self { stop }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Keeps a task for each tablet that needs one.
async fn watch(followed: &Followed, tasks: &mut BTreeMap<u64, JoinHandle<()>>) {
    let mut changes = followed.system.watch_topology();
    loop {
        tasks.retain(|_, task| !task.is_finished());
        let topology = followed.system.topology();
        for record in &topology.tablets {
            let group = record.range.group;
            if followed.tablets.get(group).is_none() && !tasks.contains_key(&group) {
                let followed = followed.clone();
                let task = tokio::spawn(async move { followed.follow(group).await });
                tasks.insert(group, task);
            }
        }
        let changed = tokio::time::timeout(LOOK_EVERY, changes.changed());
        if matches!(changed.await, Ok(Err(_))) {
            return;
        }
    }
}

impl Followed {
    /// Follows until this node has a replica or the tablet is gone.
    async fn follow(&self, group: u64) {
        let mut turn = 0_usize;
        while self.tablets.get(group).is_none() {
            let topology = self.system.topology();
            let Some(record) = topology.tablet(group) else {
                return;
            };
            let others: Vec<NodeId> = record.nodes().filter(|it| *it != self.node).collect();
            let Some(node) = others.get(turn % others.len().max(1)) else {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            };
            if let Some(born) = record.born {
                self.hub.set_origin(group, born.origin());
            }
            if let Err(error) = self.step(*node, group).await {
                tracing::debug!(tablet = group, node = node.0, %error, "cannot follow");
                turn += 1;
                tokio::time::sleep(jittered(PAUSE)).await;
            }
        }
    }

    async fn step(&self, node: NodeId, group: u64) -> Result<()> {
        let Some(after) = self.hub.applied_of(group) else {
            let told = self
                .peers
                .read_log(node, (group, 0), Duration::ZERO)
                .await?;
            self.hub.register(group, told.upto);
            return Ok(());
        };
        let told = self.peers.read_log(node, (group, after + 1), WAIT).await?;
        if told.oldest > after + 1 {
            self.hub.skip(group, told.oldest - 1);
            return Ok(());
        }
        match self.log.events_of(group, told).await? {
            Backlog::Events { events, upto } => {
                self.hub.publish_through(group, (after, upto), events);
                Ok(())
            }
            Backlog::Purged { oldest } => Err(Error::bug(format!(
                "tablet {group} calls its entries from {oldest} on purged and present"
            ))),
        }
    }
}

impl Told {
    /// Where the replica stands, without its events.
    pub(super) fn standing(upto: u64) -> Self {
        Self {
            upto,
            oldest: 0,
            events: Vec::new(),
        }
    }
}
