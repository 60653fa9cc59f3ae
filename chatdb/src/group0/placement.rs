//! Where tablets are to be: what the leader of group 0 decides next, from what it knows.
//!
//! Pure functions of the topology, so that a decision can be tried without a cluster. One step at a
//! time: repair what has too few replicas, empty what is drained, then even out.
//!
//! # Rules
//!
//! * A tablet has `replication` replicas, or the largest odd number of nodes that are up if those are
//!   fewer: two replicas are no safer than one, since both have to answer.
//! * Nothing that is safe is given up: a replica leaves a drained node when another has taken its
//!   place, and a tablet that lost one of three goes on with two.
//! * Replicas spread over zones first, then over nodes with fewer replicas.
//! * At most [`MOVES_MAX`] tablets move at a time, so that moves do not take the disks from requests.

use crate::group0::SystemCommand;
use crate::group0::topology::{NodeState, TabletRecord, Topology};
use raft::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Tablets that may move at the same time.
pub(crate) const MOVES_MAX: usize = 2;
/// Voters of group 0 in a cluster of that many nodes or more.
const GROUP0_VOTERS_MAX: usize = 5;

/// The decision that brings the cluster nearer to what it should be, if one is due.
pub(crate) fn next(topology: &Topology) -> Option<SystemCommand> {
    let moving = topology.tablets.iter().filter(|it| !it.is_settled).count();
    if moving >= MOVES_MAX {
        return None;
    }
    let loads = loads(topology);
    let settled = || topology.tablets.iter().filter(|tablet| tablet.is_settled);
    let repair =
        settled().find_map(|tablet| repaired(topology, &loads, tablet).map(|to| (tablet, to)));
    let (tablet, nodes) = repair.or_else(|| evened(topology, &loads))?;
    Some(SystemCommand::Place {
        group: tablet.range.group,
        version: tablet.version,
        nodes,
    })
}

/// The nodes that are to vote in group 0, of those that are up: at most five and an odd number,
/// present voters first, spread over zones.
pub(crate) fn group0_voters(topology: &Topology, present: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let up: BTreeMap<NodeId, u64> = loads(topology).keys().map(|node| (*node, 0)).collect();
    let count = odd(up.len().min(GROUP0_VOTERS_MAX));
    let staying = present.iter().filter(|node| up.contains_key(node));
    // Who votes already stays, also as one of two: fewer voters would not be safer.
    let mut voters: BTreeSet<NodeId> = staying.take(GROUP0_VOTERS_MAX).copied().collect();
    while voters.len() < count {
        match best(topology, &up, &voters) {
            Some(node) => voters.insert(node),
            None => break,
        };
    }
    voters
}

/// Replicas on each node that may hold some.
fn loads(topology: &Topology) -> BTreeMap<NodeId, u64> {
    let up = topology
        .nodes
        .iter()
        .filter(|(_, record)| record.state == NodeState::Up);
    let mut loads: BTreeMap<NodeId, u64> = up.map(|(node, _)| (*node, 0)).collect();
    for node in topology.tablets.iter().flat_map(TabletRecord::nodes) {
        if let Some(load) = loads.get_mut(&node) {
            *load += 1;
        }
    }
    loads
}

fn odd(count: usize) -> usize {
    if count.is_multiple_of(2) {
        count.saturating_sub(1)
    } else {
        count
    }
}

fn wanted_count(topology: &Topology, up: usize) -> usize {
    if up >= replication(topology) {
        replication(topology)
    } else {
        odd(up)
    }
}

fn replication(topology: &Topology) -> usize {
    usize::try_from(topology.replication).unwrap_or(1).max(1)
}

/// Where a tablet with a wrong number of replicas, or with some on nodes that are not up, has to be.
fn repaired(
    topology: &Topology,
    loads: &BTreeMap<NodeId, u64>,
    tablet: &TabletRecord,
) -> Option<BTreeSet<NodeId>> {
    let present: BTreeSet<NodeId> = tablet.nodes().collect();
    let mut nodes: BTreeSet<NodeId> = present
        .iter()
        .filter(|node| loads.contains_key(node))
        .copied()
        .collect();
    while nodes.len() > replication(topology) {
        let surplus = worst(topology, loads, &nodes)?;
        nodes.remove(&surplus);
    }
    while nodes.len() < wanted_count(topology, loads.len()) {
        nodes.insert(best(topology, loads, &nodes)?);
    }
    let least = present.len().min(replication(topology));
    let draining = present.iter().filter(|node| {
        let record = topology.nodes.get(node);
        record.is_some_and(|record| record.state == NodeState::Draining)
    });
    let missing = least.saturating_sub(nodes.len());
    nodes.extend(draining.take(missing));
    (nodes != present && !nodes.is_empty()).then_some(nodes)
}

/// One tablet moved from the fullest node to the emptiest, if that evens out and keeps the zones.
fn evened<'a>(
    topology: &'a Topology,
    loads: &BTreeMap<NodeId, u64>,
) -> Option<(&'a TabletRecord, BTreeSet<NodeId>)> {
    let (from, most) = loads.iter().max_by_key(|(node, load)| (**load, node.0))?;
    let mut emptier: Vec<_> = loads
        .iter()
        .filter(|(_, load)| **load + 1 < *most)
        .collect();
    emptier.sort_by_key(|(node, load)| (**load, node.0));
    for (to, _) in emptier {
        for tablet in topology.tablets.iter().filter(|tablet| tablet.is_settled) {
            let present: BTreeSet<NodeId> = tablet.nodes().collect();
            if !present.contains(from) || present.contains(to) {
                continue;
            }
            let mut nodes = present.clone();
            nodes.remove(from);
            nodes.insert(*to);
            if zone_count(topology, &nodes) >= zone_count(topology, &present) {
                return Some((tablet, nodes));
            }
        }
    }
    None
}

fn zone(topology: &Topology, node: NodeId) -> Option<(&str, &str)> {
    let place = &topology.nodes.get(&node)?.place;
    Some((place.region.as_str(), place.zone.as_str()))
}

fn zone_count(topology: &Topology, nodes: &BTreeSet<NodeId>) -> usize {
    let zones: BTreeSet<_> = nodes.iter().map(|node| zone(topology, *node)).collect();
    zones.len()
}

/// Nodes of the set in the zone of this one, itself not counted.
fn neighbors(topology: &Topology, nodes: &BTreeSet<NodeId>, node: NodeId) -> usize {
    let own = zone(topology, node);
    let others = nodes.iter().filter(|other| **other != node);
    others
        .filter(|other| zone(topology, **other) == own)
        .count()
}

/// The node to add: in the zone with the fewest of the set, with the fewest replicas.
fn best(
    topology: &Topology,
    loads: &BTreeMap<NodeId, u64>,
    nodes: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let free = loads.iter().filter(|(node, _)| !nodes.contains(node));
    let chosen =
        free.min_by_key(|(node, load)| (neighbors(topology, nodes, **node), **load, node.0));
    chosen.map(|(node, _)| *node)
}

/// The node to leave out: in the zone with the most of the set, with the most replicas.
fn worst(
    topology: &Topology,
    loads: &BTreeMap<NodeId, u64>,
    nodes: &BTreeSet<NodeId>,
) -> Option<NodeId> {
    let load = |node: &NodeId| loads.get(node).copied().unwrap_or(0);
    let chosen = nodes
        .iter()
        .max_by_key(|node| (neighbors(topology, nodes, **node), load(node), node.0));
    chosen.copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group0::topology::tests::{place, record};

    fn cluster(zones: &[&str], tablets: u32) -> Topology {
        let mut topology = Topology::new(record(1, zones[0]), tablets, 3);
        for (zone, number) in zones.iter().zip(1..).skip(1) {
            topology
                .add_node(u128::from(number), place(number, zone))
                .unwrap();
        }
        topology
    }

    /// Carries out decisions until none is due; tells how many it took.
    fn settle(topology: &mut Topology) -> u64 {
        for index in 1..1000 {
            let Some(SystemCommand::Place {
                group,
                version,
                nodes,
            }) = next(topology)
            else {
                assert!(next(topology).is_none());
                return index - 1;
            };
            topology.place(group, version, &nodes, 100 + index).unwrap();
            topology.settle(group, 100 + index).unwrap();
        }
        panic!("it never comes to rest");
    }

    fn replica_counts(topology: &Topology) -> Vec<u64> {
        loads(topology).into_values().collect()
    }

    #[test]
    fn one_and_two_nodes_keep_one_replica_and_the_third_brings_three() {
        assert!(next(&cluster(&["a"], 4)).is_none());
        assert!(next(&cluster(&["a", "b"], 1)).is_none());
        let mut topology = cluster(&["a", "b", "c"], 4);
        assert_eq!(settle(&mut topology), 4);
        assert_eq!(replica_counts(&topology), [4, 4, 4]);
    }

    #[test]
    fn replicas_spread_over_zones_and_evenly_over_nodes() {
        let mut topology = cluster(&["a", "a", "b", "b", "c", "c"], 8);
        settle(&mut topology);
        assert_eq!(replica_counts(&topology), [4; 6]);
        for tablet in &topology.tablets {
            let nodes = tablet.nodes().collect();
            assert_eq!(zone_count(&topology, &nodes), 3, "{tablet:?}");
        }
    }

    #[test]
    fn a_drained_node_ends_empty_and_a_new_one_gets_its_share() {
        let mut topology = cluster(&["a", "b", "c", "d"], 8);
        settle(&mut topology);
        assert_eq!(replica_counts(&topology), [6; 4]);
        topology
            .set_node_state(NodeId(2), NodeState::Draining)
            .unwrap();
        settle(&mut topology);
        assert_eq!(replica_counts(&topology), [8; 3]);
        assert!(
            topology
                .tablets
                .iter()
                .all(|it| it.replica_on(NodeId(2)).is_none())
        );
        topology.add_node(5, place(5, "b")).unwrap();
        settle(&mut topology);
        assert_eq!(replica_counts(&topology), [6; 4]);
    }

    #[test]
    fn what_is_left_of_a_lost_node_stays_and_a_drained_one_waits_for_its_successor() {
        for (state, left) in [(NodeState::Gone, 2), (NodeState::Draining, 3)] {
            let mut topology = cluster(&["a", "b", "c"], 2);
            settle(&mut topology);
            topology.set_node_state(NodeId(3), state).unwrap();
            settle(&mut topology);
            assert!(topology.tablets.iter().all(|it| it.replicas.len() == left));
            topology.add_node(4, place(4, "c")).unwrap();
            settle(&mut topology);
            let nodes = BTreeSet::from([NodeId(1), NodeId(2), NodeId(4)]);
            let all = &topology.tablets;
            assert!(
                all.iter()
                    .all(|it| it.nodes().collect::<BTreeSet<_>>() == nodes)
            );
        }
    }

    #[test]
    fn few_tablets_move_at_a_time() {
        let mut topology = cluster(&["a", "b", "c"], 8);
        for index in 1.. {
            let Some(SystemCommand::Place {
                group,
                version,
                nodes,
            }) = next(&topology)
            else {
                break;
            };
            topology.place(group, version, &nodes, index).unwrap();
        }
        let moving = topology.tablets.iter().filter(|it| !it.is_settled).count();
        assert_eq!(moving, MOVES_MAX);
    }

    #[test]
    fn group_0_has_an_odd_number_of_voters_in_different_zones() {
        let voters = |zones: &[&str], present: &[u32]| {
            let present = present.iter().map(|node| NodeId(*node)).collect();
            let voters = group0_voters(&cluster(zones, 1), &present);
            voters.into_iter().map(|node| node.0).collect::<Vec<_>>()
        };
        assert_eq!(voters(&["a", "b"], &[1]), [1]);
        assert_eq!(voters(&["a", "a", "b", "c"], &[1]), [1, 3, 4]);
        assert_eq!(voters(&["a"; 7], &[2, 4]), [1, 2, 3, 4, 5]);
        assert_eq!(voters(&["a"; 4], &[1, 2, 4]), [1, 2, 4]);
        // One of three was lost: the others go on voting.
        assert_eq!(voters(&["a"; 2], &[1, 2, 3]), [1, 2]);
    }
}
