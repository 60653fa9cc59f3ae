//! Which nodes there are, and which of them hold which tablet.
//!
//! A node and a replica keep their ids for ever and no id is given twice: raft counts what a replica
//! once promised. A node that lost its directory joins again as another node.
//!
//! # A move, in stages
//!
//! | Stage | Who | What | Written down as |
//! |---|---|---|---|
//! | decide | leader of group 0 | names the wanted replicas, new ones under new ids | `replicas`, `leaving`, not settled |
//! | open | each named node | opens its replica, empty | its directory |
//! | learn | leader of the tablet | adds the new replicas as learners, waits until they have caught up | raft membership |
//! | switch | leader of the tablet | makes exactly `replicas` the voters | raft membership |
//! | settle | leader of the tablet | tells group 0 | settled, `leaving` empty |
//! | remove | each node | destroys replicas that the map does not name | - |
//!
//! Whoever dies in between, the next leader sees where the tablet stands from map and membership and
//! goes on. A tablet that is not settled gets no other decision.
//!
//! # A split, in stages
//!
//! | Stage | Who | What | Written down as |
//! |---|---|---|---|
//! | decide | leader of group 0 | gives the child a group number | `splitting`, not settled |
//! | cut | leader of the tablet | proposes where to cut; each replica that applies it keeps the tokens below, and lays a copy of its state beside it for the child | tokens of the tablet, seed of the child |
//! | settle | leader of the tablet | tells group 0 | two tablets, both settled |
//! | open | each node of the tablet | opens its replica of the child on its copy, or empty without one | its directory |
//! | lead | leader of the tablet | its replica of the child runs for election | raft vote |
//!
//! From the cut on the tablet refuses the tokens above, so that a write is in one of the two and never in
//! both; who asked for them waits until the map tells of the child.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::error::{Error, ErrorKind, Result};
use crate::group0::command::TABLETS_MAX;
use crate::stream::hub::Origin;
use raft::{NodeId, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// The most nodes that a cluster ever had.
pub(crate) const NODES_MAX: usize = 4096;
/// The most replicas of one tablet, wanted and leaving.
pub(crate) const REPLICAS_MAX: usize = 32;
/// The largest wanted number of replicas.
pub(crate) const REPLICATION_MAX: u32 = 9;
/// Longest address, zone or region, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 256;

/// A tablet: a raft group and the tokens it holds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TabletRange {
    pub(crate) group: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// What is to become of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeState {
    /// It holds replicas.
    Up,
    /// Its replicas move to other nodes; then it may be taken away.
    Draining,
    /// It is not coming back. What it held is made again elsewhere.
    Gone,
}

/// Where a node is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodePlace {
    /// Where other nodes reach its raft groups, host:port.
    pub(crate) node_address: String,
    /// Where clients and other nodes reach its gRPC service, an http URL.
    pub(crate) rpc_address: String,
    /// What fails together. Replicas of a tablet spread over zones.
    pub(crate) zone: String,
    /// What is near to each other.
    pub(crate) region: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeRecord {
    /// The random number of its directory, by which a repeated join is recognized.
    pub(crate) installation: u128,
    pub(crate) place: NodePlace,
    pub(crate) state: NodeState,
}

/// One tablet: its tokens and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TabletRecord {
    pub(crate) range: TabletRange,
    /// Index of the group 0 entry that decided it last.
    pub(crate) version: u64,
    /// The wanted voters.
    pub(crate) replicas: Vec<ReplicaId>,
    /// Who leaves; empty when settled.
    pub(crate) leaving: Vec<ReplicaId>,
    /// Whether the raft group has exactly the wanted voters, and is not to be split.
    pub(crate) is_settled: bool,
    /// The split that was decided and is not done.
    pub(crate) splitting: Option<Splitting>,
    /// What it was split off; `None` for a tablet of a new cluster.
    pub(crate) born: Option<Born>,
}

/// A split that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Splitting {
    /// The group of the tablet that is to hold the upper tokens.
    pub(crate) child: u64,
    /// Its first token, if that was asked for; else the leader of the tablet cuts in the middle.
    pub(crate) at: Option<u64>,
}

/// Where a tablet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Born {
    /// The group that held its tokens before.
    pub(crate) parent: u64,
    /// The entry of that group with the cut. The own entries begin behind this index.
    pub(crate) index: u64,
    /// Index of the group 0 entry that decided the split: the generation of its first replicas.
    pub(crate) decided: u64,
}

impl Born {
    /// Where its entries begin, for streams.
    pub(crate) fn origin(self) -> Origin {
        Origin {
            parent: self.parent,
            index: self.index,
        }
    }
}

impl TabletRecord {
    /// The replica that a node has or is to have, leaving ones included.
    pub(crate) fn replica_on(&self, node: NodeId) -> Option<ReplicaId> {
        let mut all = self.replicas.iter().chain(&self.leaving);
        all.find(|replica| replica.node() == node).copied()
    }

    /// The nodes of the wanted voters.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.replicas.iter().map(|replica| replica.node())
    }
}

/// Nodes and tablets. Immutable once published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// How many replicas a tablet is to have.
    pub(crate) replication: u32,
    pub(super) next_node: u32,
    pub(super) next_group: u64,
    pub(crate) nodes: BTreeMap<NodeId, NodeRecord>,
    /// In token order.
    pub(crate) tablets: Vec<TabletRecord>,
}

impl Topology {
    /// A cluster of one node that holds `tablets` tablets with even ranges, groups 1 ..= count.
    pub(crate) fn new(node: NodeRecord, tablets: u32, replication: u32) -> Self {
        let first = NodeId(1);
        let tablets = even_ranges(tablets);
        let record = |range| TabletRecord {
            range,
            version: 0,
            replicas: vec![ReplicaId::new(first, 0)],
            leaving: Vec::new(),
            is_settled: true,
            splitting: None,
            born: None,
        };
        Self {
            replication,
            next_node: 2,
            next_group: (tablets.len() as u64).saturating_add(1),
            nodes: BTreeMap::from([(first, node)]),
            tablets: tablets.into_iter().map(record).collect(),
        }
    }

    /// The tablet that holds a token.
    pub(crate) fn tablet_of(&self, token: u64) -> Option<&TabletRecord> {
        let at = self
            .tablets
            .partition_point(|tablet| tablet.range.last < token);
        let found = self.tablets.get(at);
        found.filter(|tablet| tablet.range.first <= token)
    }

    /// The tablet of a raft group.
    pub(crate) fn tablet(&self, group: u64) -> Option<&TabletRecord> {
        self.tablets
            .iter()
            .find(|tablet| tablet.range.group == group)
    }

    /// Takes a node in, or recognizes it; tells its id. What it says about its place counts.
    pub(crate) fn add_node(&mut self, installation: u128, place: NodePlace) -> Result<NodeId> {
        let known = self
            .nodes
            .iter()
            .find(|(_, record)| record.installation == installation)
            .map(|(id, record)| (*id, record.state));
        if let Some((id, NodeState::Gone)) = known {
            let message = format!("node {} was removed from the cluster", id.0);
            return Err(Error::invalid(message)
                .with_help("try", "join with an empty data directory as a new node"));
        }
        let addresses = |place: &NodePlace| (place.node_address.clone(), place.rpc_address.clone());
        let (node_address, rpc_address) = addresses(&place);
        let taken = self.nodes.iter().find(|(id, record)| {
            let is_other = known.is_none_or(|(known, _)| known != **id);
            is_other
                && record.state != NodeState::Gone
                && (record.place.node_address == node_address
                    || record.place.rpc_address == rpc_address)
        });
        if let Some((id, _)) = taken {
            let message = format!(
                "node {} already has the address {node_address} or {rpc_address}",
                id.0
            );
            return Err(conflict(message).with_help(
                "try",
                format!(
                    "chatdb cluster replace --node {}, if it is not coming back",
                    id.0
                ),
            ));
        }
        if let Some((id, _)) = known
            && let Some(record) = self.nodes.get_mut(&id)
        {
            record.place = place;
            return Ok(id);
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(Error::invalid(format!(
                "a cluster has at most {NODES_MAX} nodes over time"
            )));
        }
        let id = NodeId(self.next_node);
        self.next_node = self.next_node.saturating_add(1);
        let record = NodeRecord {
            installation,
            place,
            state: NodeState::Up,
        };
        self.nodes.insert(id, record);
        Ok(id)
    }

    /// Changes what is to become of a node. A node that is gone stays gone.
    pub(crate) fn set_node_state(&mut self, id: NodeId, state: NodeState) -> Result<()> {
        let remaining = self
            .nodes
            .iter()
            .filter(|(other, record)| **other != id && record.state == NodeState::Up)
            .count();
        let record = self
            .nodes
            .get_mut(&id)
            .ok_or_else(|| Error::not_found(format!("the cluster has no node {}", id.0)))?;
        if record.state == NodeState::Gone && state != NodeState::Gone {
            return Err(
                Error::invalid(format!("node {} was removed and cannot come back", id.0))
                    .with_help("try", "join with an empty data directory as a new node"),
            );
        }
        if state != NodeState::Up && remaining == 0 {
            let message = format!("node {} is the last one that is up", id.0);
            return Err(Error::invalid(message).with_help("try", "add another node first"));
        }
        record.state = state;
        Ok(())
    }

    /// Decides on which nodes a tablet is to be. Those that stay keep their replicas, the others
    /// get new ones of generation `index`, the index of this decision.
    pub(crate) fn place(
        &mut self,
        group: u64,
        version: u64,
        wanted: &BTreeSet<NodeId>,
        index: u64,
    ) -> Result<()> {
        if wanted.is_empty() || wanted.len() > REPLICAS_MAX.saturating_sub(1) / 2 {
            return Err(Error::invalid("a tablet has 1 to 15 replicas"));
        }
        let states: BTreeMap<NodeId, NodeState> = self
            .nodes
            .iter()
            .map(|(node, record)| (*node, record.state))
            .collect();
        let tablet = self.decided(group, version)?;
        if let Some(unfit) = wanted.iter().find(|node| match states.get(node) {
            Some(NodeState::Up) => false,
            Some(NodeState::Draining) => tablet.nodes().all(|present| present != **node),
            Some(NodeState::Gone) | None => true,
        }) {
            return Err(Error::invalid(format!("node {} is not up", unfit.0)));
        }
        if !tablet.is_settled {
            let message = format!("tablet {group} moves already");
            return Err(conflict(message).with_help("try", "again when it has settled"));
        }
        let (staying, leaving): (Vec<_>, Vec<_>) = tablet
            .replicas
            .iter()
            .partition(|replica| wanted.contains(&replica.node()));
        let new = wanted
            .iter()
            .filter(|node| {
                staying
                    .iter()
                    .all(|replica: &ReplicaId| replica.node() != **node)
            })
            .map(|node| ReplicaId::new(*node, index));
        tablet.replicas = staying.iter().copied().chain(new).collect();
        tablet.leaving = leaving;
        tablet.version = index;
        tablet.is_settled = false;
        Ok(())
    }

    /// Decides that a tablet is to be split.
    pub(crate) fn split(
        &mut self,
        group: u64,
        version: u64,
        at: Option<u64>,
        index: u64,
    ) -> Result<()> {
        if self.tablets.len() >= usize::try_from(TABLETS_MAX).unwrap_or(usize::MAX) {
            return Err(Error::invalid(format!(
                "a cluster has at most {TABLETS_MAX} tablets"
            )));
        }
        let child = self.next_group;
        let tablet = self.decided(group, version)?;
        let TabletRange { first, last, .. } = tablet.range;
        if first == last {
            return Err(Error::invalid(format!(
                "tablet {group} holds one token and cannot be split"
            )));
        }
        if let Some(at) = at.filter(|at| *at <= first || *at > last) {
            return Err(Error::invalid(format!(
                "tablet {group} cannot be split at token {at:016x}"
            ))
            .with_help(
                "tokens",
                format!("{:016x} to {last:016x}", first.saturating_add(1)),
            ));
        }
        if !tablet.is_settled {
            let message = format!("tablet {group} moves already");
            return Err(conflict(message).with_help("try", "again when it has settled"));
        }
        tablet.splitting = Some(Splitting { child, at });
        tablet.version = index;
        tablet.is_settled = false;
        self.next_group = child.saturating_add(1);
        Ok(())
    }

    /// The tablet was cut at a token, by an entry of its group: from now on there are two.
    pub(crate) fn cut(&mut self, group: u64, version: u64, (at, entry): (u64, u64)) -> Result<()> {
        let tablet = self.decided(group, version)?;
        let TabletRange { first, last, .. } = tablet.range;
        let splitting = tablet.splitting.filter(|_| first < at && at <= last);
        let Some(Splitting { child, .. }) = splitting else {
            return Err(conflict(format!("tablet {group} is not to be split there")));
        };
        tablet.splitting = None;
        tablet.is_settled = true;
        tablet.range.last = at.saturating_sub(1);
        let replicas = tablet.replicas.iter();
        let child = TabletRecord {
            range: TabletRange {
                group: child,
                first: at,
                last,
            },
            version,
            replicas: replicas
                .map(|replica| ReplicaId::new(replica.node(), version))
                .collect(),
            leaving: Vec::new(),
            is_settled: true,
            splitting: None,
            born: Some(Born {
                parent: group,
                index: entry,
                decided: version,
            }),
        };
        let place = self.tablets.partition_point(|it| it.range.first < at);
        self.tablets.insert(place, child);
        Ok(())
    }

    /// The raft group has the wanted voters.
    pub(crate) fn settle(&mut self, group: u64, version: u64) -> Result<()> {
        let tablet = self.decided(group, version)?;
        if tablet.splitting.is_some() {
            return Err(conflict(format!("tablet {group} is to be split first")));
        }
        tablet.is_settled = true;
        tablet.leaving.clear();
        Ok(())
    }

    /// The tablet, if nothing was decided about it since `version`.
    fn decided(&mut self, group: u64, version: u64) -> Result<&mut TabletRecord> {
        let tablet = self
            .tablets
            .iter_mut()
            .find(|tablet| tablet.range.group == group)
            .ok_or_else(|| Error::not_found(format!("there is no tablet {group}")))?;
        if tablet.version != version {
            return Err(conflict(format!(
                "tablet {group} was decided anew meanwhile"
            )));
        }
        Ok(tablet)
    }
}

impl NodePlace {
    /// Refuses what cannot be an address or is too long.
    pub(crate) fn check(&self) -> Result<()> {
        let texts = [
            ("node address", &self.node_address),
            ("gRPC address", &self.rpc_address),
            ("zone", &self.zone),
            ("region", &self.region),
        ];
        for (what, text) in texts {
            if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
                return Err(Error::invalid(format!(
                    "the {what} of a node has at most {NAME_BYTES_MAX} printable bytes"
                )));
            }
        }
        Ok(())
    }
}

fn conflict(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Conflict, message)
}

/// Cuts the tokens into `count` even ranges for groups 1 ..= count.
pub(crate) fn even_ranges(count: u32) -> Vec<TabletRange> {
    let count = u64::from(count.clamp(1, TABLETS_MAX));
    let width = u64::MAX
        .checked_div(count)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    (0..count)
        .map(|number| {
            let first = width.saturating_mul(number);
            let is_last = number.saturating_add(1) == count;
            TabletRange {
                group: number.saturating_add(1),
                first,
                last: if is_last {
                    u64::MAX
                } else {
                    first.saturating_add(width).saturating_sub(1)
                },
            }
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::group0) fn record(number: u32, zone: &str) -> NodeRecord {
        NodeRecord {
            installation: u128::from(number),
            place: place(number, zone),
            state: NodeState::Up,
        }
    }

    pub(in crate::group0) fn place(number: u32, zone: &str) -> NodePlace {
        NodePlace {
            node_address: format!("127.0.0.{number}:7500"),
            rpc_address: format!("http://127.0.0.{number}:7400"),
            zone: zone.to_owned(),
            region: String::new(),
        }
    }

    #[test]
    fn tablets_cover_every_token_once() {
        for count in [1, 2, 3, 4, 7, 256] {
            let ranges = even_ranges(count);
            assert_eq!(ranges.len(), usize::try_from(count).unwrap());
            assert_eq!(ranges.first().unwrap().first, 0);
            assert_eq!(ranges.last().unwrap().last, u64::MAX);
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first);
            }
            let topology = Topology::new(record(1, ""), count, 3);
            for range in ranges {
                for token in [range.first, range.last] {
                    assert_eq!(topology.tablet_of(token).unwrap().range, range);
                }
            }
        }
    }

    #[test]
    fn a_repeated_join_gets_the_same_id_and_no_id_is_given_twice() {
        let mut topology = Topology::new(record(1, ""), 1, 3);
        let second = topology.add_node(7, place(2, "")).unwrap();
        assert_eq!(topology.add_node(7, place(3, "b")).unwrap(), second);
        assert_eq!(topology.nodes[&second].place, place(3, "b"));
        let refused = topology.add_node(8, place(3, "")).unwrap_err();
        assert!(refused.report().contains("replace --node 2"), "{refused}");
        topology.set_node_state(second, NodeState::Gone).unwrap();
        topology.add_node(7, place(3, "")).unwrap_err();
        topology.set_node_state(second, NodeState::Up).unwrap_err();
        let third = topology.add_node(8, place(3, "")).unwrap();
        assert_eq!((second, third), (NodeId(2), NodeId(3)));
    }

    #[test]
    fn a_split_tablet_is_two_that_hold_every_token_once_and_have_new_replicas() {
        let mut topology = Topology::new(record(1, ""), 2, 3);
        let (low, high) = (topology.tablets[0].range, topology.tablets[1].range);
        topology.split(2, 0, Some(high.first), 7).unwrap_err();
        topology.split(2, 1, None, 7).unwrap_err();
        topology.split(1, 0, None, 7).unwrap();
        topology.split(1, 7, None, 8).unwrap_err();
        topology.settle(1, 7).unwrap_err();
        let only = BTreeSet::from([NodeId(1)]);
        topology.place(1, 7, &only, 8).unwrap_err();
        topology.cut(1, 7, (low.last + 1, 99)).unwrap_err();
        topology.cut(2, 0, (high.last, 99)).unwrap_err();
        let at = low.last / 2;
        topology.cut(1, 7, (at, 99)).unwrap();
        topology.cut(1, 7, (at, 99)).unwrap_err();
        let ranges: Vec<(u64, u64, u64)> = topology
            .tablets
            .iter()
            .map(|it| (it.range.group, it.range.first, it.range.last))
            .collect();
        let child = (3, at, low.last);
        assert_eq!(ranges, [(1, 0, at - 1), child, (2, high.first, high.last)]);
        let child = topology.tablet_of(at).unwrap();
        assert_eq!(child.replicas, [ReplicaId::new(NodeId(1), 7)]);
        let (parent, index, decided) = (1, 99, 7);
        assert_eq!(
            child.born,
            Some(Born {
                parent,
                index,
                decided
            })
        );
        assert!(topology.tablets.iter().all(|it| it.is_settled));
        let mut bytes = Vec::new();
        topology.split(2, 0, Some(high.last), 9).unwrap();
        topology.put(&mut bytes);
        let mut reader = lsm::encoding::Reader::new(&bytes);
        assert_eq!(Topology::take(&mut reader).unwrap(), topology);
        assert!(reader.is_empty());
    }

    #[test]
    fn a_tablet_moves_one_decision_at_a_time_and_gives_every_replica_a_new_id() {
        let mut topology = Topology::new(record(1, ""), 1, 3);
        for number in [2, 3] {
            topology
                .add_node(u128::from(number), place(number, ""))
                .unwrap();
        }
        let on = |nodes: &[u32]| nodes.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>();
        topology.place(1, 0, &on(&[1, 2, 3]), 10).unwrap();
        topology.place(1, 10, &on(&[1]), 11).unwrap_err();
        topology.settle(1, 9).unwrap_err();
        topology.settle(1, 10).unwrap();
        topology.place(1, 0, &on(&[1]), 12).unwrap_err();
        topology.place(1, 10, &on(&[1, 9]), 12).unwrap_err();
        topology.place(1, 10, &on(&[1, 2]), 12).unwrap();
        let tablet = topology.tablet(1).unwrap();
        assert_eq!(tablet.leaving, [ReplicaId::new(NodeId(3), 10)]);
        assert_eq!(
            tablet.replica_on(NodeId(3)),
            tablet.leaving.first().copied()
        );
        topology.settle(1, 12).unwrap();
        topology.place(1, 12, &on(&[1, 2, 3]), 13).unwrap();
        let generations: Vec<u64> = topology
            .tablet(1)
            .unwrap()
            .replicas
            .iter()
            .map(|it| it.generation())
            .collect();
        assert_eq!(generations, [0, 10, 13]);
    }
}
