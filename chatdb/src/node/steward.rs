//! The steward: makes this node what group 0 says it is to be, and makes the decisions while this node
//! leads group 0.
//!
//! It looks at the map of nodes and tablets whenever that changes and several times a second, and does
//! what is due: the difference between what is and what is wanted decides, never a memory of what was
//! begun. So it goes on where it or another node was stopped.
//!
//! # What it does
//!
//! * tells the transport where the other nodes are,
//! * opens the replicas that the map names for this node, and destroys those that it does not,
//! * for tablets that it leads: adds learners, waits for them, changes the voters, says that it is done;
//!   hands the leadership to the replica that the map names first when that one is fit,
//! * cuts tablets that are to be split, and asks for that when one that it leads has grown (`node/growth.rs`),
//! * while it leads group 0: keeps every node a member of group 0, and decides moves (`group0/placement.rs`).
//!
//! Each group has at most one such job at a time. A job that fails is logged once and tried again.

use crate::error::{Error, ErrorKind, Result};
use crate::group0::placement;
use crate::group0::{NodePlace, NodeState, SystemCommand, TabletRecord, Topology};
use crate::node::decide::Decider;
use crate::node::growth::Growth;
use crate::node::network::Lanes;
use crate::node::opener::Opener;
use crate::node::tablets::TabletPlace;
use raft::{Group, NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often it looks when nothing changes.
const INTERVAL: Duration = Duration::from_millis(250);
/// How long a job that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long one change of a group's members may take before it is looked at anew.
const CHANGE_LIMIT: Duration = Duration::from_secs(20);
/// How long new replicas may take to catch up before that is looked at anew. The transfer goes on.
const LEARN_LIMIT: Duration = Duration::from_mins(1);
/// How long an election of a tablet that was split off may take, before it runs again.
const CAMPAIGN_PAUSE: Duration = Duration::from_millis(500);
/// How long a group is left with its leader before another is preferred.
const LEADER_REST: Duration = Duration::from_secs(10);
/// Who has been silent for longer, or lacks more entries, is not handed the leadership.
pub(super) const SILENCE_MAX: Duration = Duration::from_millis(900);
pub(super) const LAG_MAX: u64 = 64;
/// How long handing over may take.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// The replica of a tablet on this node.
    Replica(u64),
    /// The members or the leader of a tablet's group.
    Group(u64),
    /// The members of group 0.
    Group0,
    /// The next decision about tablets.
    Decision,
    /// What this node says of itself.
    Place,
    /// The nodes that it was made to go on without.
    Lost,
}

/// The running steward.
pub(super) struct Steward {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Steward {
    pub(super) fn start(parts: Parts) -> Self {
        let stop = CancellationToken::new();
        let growth = Growth::new(&parts.opener.options);
        let work = Work {
            parts: Arc::new(parts),
            jobs: JoinSet::new(),
            busy: BTreeSet::new(),
            resting: BTreeMap::new(),
            told: BTreeMap::new(),
            led_since: BTreeMap::new(),
            growth,
        };
        let task = tokio::spawn(work.run(stop.clone()));
        Self { stop, task }
    }

    /// Lets the running jobs end where they can be continued, and waits for that.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        if self.task.await.is_err() {
            tracing::error!("the steward panicked");
        }
    }
}

/// What the steward works with.
pub(super) struct Parts {
    pub(super) opener: Opener,
    pub(super) decider: Arc<Decider>,
    pub(super) group0: Group,
    pub(super) lanes: Option<Arc<dyn Lanes>>,
    /// The random number of the directory and where the node is; `None` for a database of one node.
    pub(super) own: Option<(u128, NodePlace)>,
    /// The nodes that this one was made to go on without.
    pub(super) lost: BTreeSet<NodeId>,
}

struct Work {
    parts: Arc<Parts>,
    jobs: JoinSet<(Task, Result<()>)>,
    busy: BTreeSet<Task>,
    /// Tasks that failed, until when they rest.
    resting: BTreeMap<Task, Instant>,
    /// What was logged last of a task that fails.
    told: BTreeMap<Task, String>,
    /// Since when this node leads a group.
    led_since: BTreeMap<u64, Instant>,
    /// When tablets are to be split.
    growth: Growth,
}

impl Work {
    async fn run(mut self, stop: CancellationToken) {
        let mut changes = self.parts.opener.system.watch_topology();
        let mut tick = tokio::time::interval(INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let topology = changes.borrow_and_update().clone();
            self.look(&topology);
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
                changed = changes.changed() => if changed.is_err() { break },
                Some(done) = self.jobs.join_next() => self.ended(done),
            }
        }
        self.jobs.shutdown().await;
    }

    fn ended(&mut self, done: std::result::Result<(Task, Result<()>), tokio::task::JoinError>) {
        let (task, outcome) = match done {
            Ok(done) => done,
            Err(cause) => {
                // It is not known which one: all of them rest, and none stays busy for ever.
                tracing::error!(%cause, "a job of the steward panicked");
                self.busy.clear();
                return;
            }
        };
        self.busy.remove(&task);
        match outcome {
            Ok(()) => {
                self.resting.remove(&task);
                if self.told.remove(&task).is_some() {
                    tracing::info!(?task, "works again");
                }
            }
            Err(error) => {
                self.resting.insert(task, Instant::now() + RETRY_PAUSE);
                let text = error.to_string();
                if self.told.get(&task) != Some(&text) {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(?task, cause, "will be tried again: {text}");
                    self.told.insert(task, text);
                }
            }
        }
    }

    /// Begins a job unless one of its kind runs or rests.
    fn begin<F>(&mut self, task: Task, job: F)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let rests = self.resting.get(&task);
        if self.busy.contains(&task) || rests.is_some_and(|until| *until > Instant::now()) {
            return;
        }
        self.busy.insert(task);
        self.jobs.spawn(async move { (task, job.await) });
    }

    /// Begins what is due.
    fn look(&mut self, topology: &Arc<Topology>) {
        self.parts.tell_addresses(topology);
        self.look_at_replicas(topology);
        for record in &topology.tablets {
            self.look_at_group(topology, record);
        }
        let parts = Arc::clone(&self.parts);
        if parts.own_place_differs(topology) {
            self.begin(Task::Place, async move { parts.tell_own_place().await });
        }
        let lost = self.parts.lost.iter();
        let is_known = |node: &&NodeId| {
            let record = topology.nodes.get(node);
            record.is_some_and(|record| record.state != NodeState::Gone)
        };
        if let Some(node) = lost.copied().find(|node| is_known(&node)) {
            // Before anything else is decided: nothing is to wait for it.
            let decider = Arc::clone(&self.parts.decider);
            let state = NodeState::Gone;
            self.begin(Task::Lost, async move {
                let command = SystemCommand::SetNodeState { node, state };
                decider.decide(command).await.map(drop)
            });
        } else if self.parts.decider.leads() {
            self.look_at_cluster(topology);
        }
    }

    fn look_at_replicas(&mut self, topology: &Arc<Topology>) {
        let node = self.parts.opener.node;
        for place in self.parts.opener.tablets.list() {
            let group = place.tablet.group_id();
            let wanted = topology.tablet(group).and_then(|it| it.replica_on(node));
            // A map that is older than the replica does not count.
            let is_heard = self.parts.opener.system.applied_index() >= place.replica.generation();
            if wanted != Some(place.replica) && is_heard {
                let (parts, replica) = (Arc::clone(&self.parts), place.replica);
                self.begin(Task::Replica(group), async move {
                    parts.opener.destroy(group, replica).await
                });
            }
        }
        for record in &topology.tablets {
            let group = record.range.group;
            let is_named = record.replica_on(node).is_some();
            if is_named && self.parts.opener.tablets.get(group).is_none() {
                let (parts, record) = (Arc::clone(&self.parts), record.clone());
                self.begin(Task::Replica(group), async move {
                    parts.opener.open(&record).await
                });
            }
        }
    }

    fn look_at_group(&mut self, topology: &Topology, record: &TabletRecord) {
        let group = record.range.group;
        let Some(place) = self.parts.opener.tablets.get(group) else {
            self.led_since.remove(&group);
            return;
        };
        if !place.leads() {
            self.led_since.remove(&group);
            if self.parts.is_to_begin(record, &place) {
                self.begin(Task::Group(group), async move {
                    place.group.campaign().await?;
                    // Running again before the answers are here would make them worthless.
                    tokio::time::sleep(CAMPAIGN_PAUSE).await;
                    Ok(())
                });
            }
            return;
        }
        let now = Instant::now();
        let since = *self.led_since.entry(group).or_insert(now);
        if !record.is_settled {
            let (parts, record) = (Arc::clone(&self.parts), record.clone());
            self.begin(Task::Group(group), async move {
                match record.splitting {
                    Some(splitting) => parts.split(&place, &record, splitting).await,
                    None => parts.settle_while_wanted(&place, &record).await,
                }
            });
            return;
        }
        if let Some(at) = self.growth.look(&place, now) {
            let decider = Arc::clone(&self.parts.decider);
            let command = SystemCommand::Split {
                group,
                version: record.version,
                at: Some(at),
            };
            self.begin(Task::Group(group), async move {
                decider.decide(command).await.map(drop)
            });
            return;
        }
        let preferred = preferred_leader(topology, record);
        if let Some(preferred) = preferred.filter(|it| *it != place.replica)
            && now.duration_since(since) > LEADER_REST
            && place.group.follows_closely(preferred, SILENCE_MAX, LAG_MAX)
        {
            self.led_since.insert(group, now);
            self.begin(Task::Group(group), async move {
                place
                    .group
                    .transfer_leader(preferred, HAND_OVER_LIMIT)
                    .await?;
                Ok(())
            });
        }
    }

    fn look_at_cluster(&mut self, topology: &Arc<Topology>) {
        let (parts, wanted) = (Arc::clone(&self.parts), Arc::clone(topology));
        if parts.group0_differs(topology) {
            self.begin(
                Task::Group0,
                async move { parts.change_group0(&wanted).await },
            );
        }
        if let Some(command) = placement::next(topology) {
            let parts = Arc::clone(&self.parts);
            self.begin(Task::Decision, async move {
                match parts.decider.decide(command).await {
                    // Somebody decided before: the next look sees it.
                    Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
                    outcome => outcome.map(drop),
                }
            });
        }
    }
}

/// Which replica leads if all are fit: leaders spread over the nodes with the groups.
fn preferred_leader(topology: &Topology, record: &TabletRecord) -> Option<ReplicaId> {
    let up = |replica: &&ReplicaId| {
        let node = topology.nodes.get(&replica.node());
        node.is_some_and(|node| node.state == NodeState::Up)
    };
    let mut fit: Vec<ReplicaId> = record.replicas.iter().filter(up).copied().collect();
    fit.sort_by_key(|replica| replica.node());
    let count = u64::try_from(fit.len()).ok().filter(|count| *count > 0)?;
    let at = usize::try_from(record.range.group % count).ok()?;
    fit.get(at).copied()
}

/// A leader that is to leave brings the others in and hands over; the next leader takes it out. A
/// leader that removes itself would leave its group without one until an election.
async fn leave(group: &Group, wanted: &BTreeSet<ReplicaId>) -> Result<()> {
    let status = group.status();
    let mut with_it = wanted.clone();
    with_it.insert(status.replica);
    if status.membership.voters != [with_it.clone()] {
        group.change_voters(&with_it, CHANGE_LIMIT).await?;
    }
    let close = |it: &&ReplicaId| group.follows_closely(**it, SILENCE_MAX, LAG_MAX);
    let Some(successor) = wanted.iter().find(close) else {
        let message = "no replica that stays has caught up yet";
        return Err(Error::new(ErrorKind::Unavailable, message));
    };
    group.transfer_leader(*successor, HAND_OVER_LIMIT).await?;
    Ok(())
}

impl Parts {
    fn tell_addresses(&self, topology: &Topology) {
        let Some(lanes) = &self.lanes else {
            return;
        };
        for (node, record) in &topology.nodes {
            if *node == self.opener.node {
                continue;
            }
            // A node that was given up was told so before group 0 hears of it.
            if record.state == NodeState::Gone || self.lost.contains(node) {
                lanes.refuse(*node);
            } else {
                lanes.set_address(*node, &record.place.node_address);
            }
        }
    }

    fn own_place_differs(&self, topology: &Topology) -> bool {
        let told = topology.nodes.get(&self.opener.node);
        match (&self.own, told) {
            (Some((_, own)), Some(told)) => told.place != *own && told.state != NodeState::Gone,
            _ => false,
        }
    }

    async fn tell_own_place(&self) -> Result<()> {
        let Some((installation, place)) = self.own.clone() else {
            return Ok(());
        };
        let command = SystemCommand::AddNode {
            installation,
            place,
        };
        self.decider.decide(command).await.map(drop)
    }

    /// Settles a tablet until something else is decided of it: then another leader has settled it, and the replicas
    /// that are waited for here may be nobody's any more.
    async fn settle_while_wanted(&self, place: &TabletPlace, record: &TabletRecord) -> Result<()> {
        let mut changes = self.opener.system.watch_topology();
        let is_other = |topology: &Arc<Topology>| {
            let now = topology.tablet(record.range.group);
            now.is_none_or(|now| now.version != record.version)
        };
        tokio::select! {
            biased;
            settled = self.settle(place, record) => settled,
            Ok(_) = changes.wait_for(is_other) => Ok(()),
        }
    }

    /// Brings the group of a tablet that this node leads to the wanted voters, and says so.
    async fn settle(&self, place: &TabletPlace, record: &TabletRecord) -> Result<()> {
        let group = &place.group;
        let wanted: BTreeSet<ReplicaId> = record.replicas.iter().copied().collect();
        let membership = group.status().membership;
        if membership.voters != [wanted.clone()] {
            for replica in &wanted {
                if !membership.is_voter(*replica) {
                    group.add_learner(*replica, LEARN_LIMIT).await?;
                }
            }
            if !wanted.contains(&place.replica) {
                return leave(group, &wanted).await;
            }
            group.change_voters(&wanted, CHANGE_LIMIT).await?;
        }
        let strangers: BTreeSet<ReplicaId> = group
            .status()
            .membership
            .learners
            .difference(&wanted)
            .copied()
            .collect();
        if !strangers.is_empty() {
            group.remove_learners(&strangers, CHANGE_LIMIT).await?;
        }
        let settled = SystemCommand::Settled {
            group: record.range.group,
            version: record.version,
        };
        match self.decider.decide(settled).await {
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Members of group 0 as they are to be: all nodes that are not gone, some of them voters.
    fn wanted_group0(&self, topology: &Topology) -> (BTreeSet<ReplicaId>, BTreeSet<ReplicaId>) {
        let membership = self.group0.status().membership;
        let present = membership.voters.iter().flatten();
        let present: BTreeSet<NodeId> = present.map(|replica| replica.node()).collect();
        let member = |node: NodeId| ReplicaId::new(node, 0);
        let voters = placement::group0_voters(topology, &present);
        let voters: BTreeSet<ReplicaId> = voters.into_iter().map(member).collect();
        let all = topology.nodes.iter();
        let alive = all.filter(|(_, record)| record.state != NodeState::Gone);
        let learners = alive.map(|(node, _)| member(*node));
        let learners = learners
            .filter(|replica| !voters.contains(replica))
            .collect();
        (voters, learners)
    }

    fn group0_differs(&self, topology: &Topology) -> bool {
        let (voters, learners) = self.wanted_group0(topology);
        let membership = self.group0.status().membership;
        membership.voters != [voters] || membership.learners != learners
    }

    async fn change_group0(&self, topology: &Topology) -> Result<()> {
        let (voters, learners) = self.wanted_group0(topology);
        let membership = self.group0.status().membership;
        let all = voters.union(&learners);
        let new: Vec<ReplicaId> = all
            .filter(|it| !membership.contains(**it))
            .copied()
            .collect();
        let mut missing = None;
        for replica in new {
            // One that does not answer must not keep the others out.
            if let Err(error) = self.group0.add_learner(replica, CHANGE_LIMIT).await {
                missing = Some(error);
            }
        }
        let membership = self.group0.status().membership;
        let ready = voters.iter().all(|voter| membership.contains(*voter));
        if ready && membership.voters != [voters.clone()] {
            if !voters.contains(&self.group0.status().replica) {
                return leave(&self.group0, &voters).await;
            }
            self.group0.change_voters(&voters, CHANGE_LIMIT).await?;
        }
        let membership = self.group0.status().membership;
        let stale: BTreeSet<ReplicaId> = membership
            .learners
            .iter()
            .filter(|it| !voters.contains(it) && !learners.contains(it))
            .copied()
            .collect();
        if !stale.is_empty() {
            self.group0.remove_learners(&stale, CHANGE_LIMIT).await?;
        }
        missing.map_or(Ok(()), |error| Err(Error::from(error)))
    }
}
