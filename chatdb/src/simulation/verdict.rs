//! Whether a cluster is whole: every tablet has its replicas, one leader, and all of them hold the same, as do all nodes
//! of group 0.

use super::world::World;
use crate::group0::TabletRecord;
use crate::node::Node;
use crate::node::tablets::TabletPlace;
use lsm::{ScanPartition, ScanRead, TableId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Replicas of a tablet once there are as many nodes.
const REPLICAS: usize = 3;
/// A day in milliseconds: digests are taken at a time that no clock has reached.
const DAY_MS: u64 = 86_400_000;

/// What is missing until the cluster is whole; `None` if nothing is.
pub(super) fn missing(world: &World) -> Option<String> {
    let mut nodes = Vec::new();
    for host in world.hosts.iter().filter(|host| host.was_started()) {
        let db = host.db();
        let node = db.as_ref().and_then(crate::Db::node).map(Arc::clone);
        let Some(node) = node else {
            return Some(format!("host {} is not open", host.id));
        };
        nodes.push(node);
    }
    let first = nodes.first()?;
    let state = first.system.state();
    for node in &nodes {
        if node.system.applied_index() != first.system.applied_index() {
            return Some(format!("node {} is behind in group 0", node.id().0));
        }
        let same = node.system.state().encode() == state.encode();
        assert!(same, "node {} has another state of group 0", node.id().0);
    }
    let topology = first.system.topology();
    topology
        .tablets
        .iter()
        .find_map(|record| of_tablet(&nodes, record))
}

fn of_tablet(nodes: &[Arc<Node>], record: &TabletRecord) -> Option<String> {
    let group = record.range.group;
    let wanted = REPLICAS.min(nodes.len());
    if !record.is_settled || !record.leaving.is_empty() || record.replicas.len() != wanted {
        return Some(format!("tablet {group} is not settled: {record:?}"));
    }
    let mut places: Vec<Arc<TabletPlace>> = Vec::new();
    for node in nodes {
        let open = node.tablets.get(group);
        let replica = record.replica_on(node.id());
        if open.as_ref().map(|place| place.replica) != replica {
            return Some(format!(
                "tablet {group} is not as named on node {}",
                node.id().0
            ));
        }
        places.extend(open);
    }
    let told = places.iter().map(|place| {
        let applied = *place.group.applied().borrow();
        (place.group.leader(), applied)
    });
    let told: BTreeSet<_> = told.collect();
    match told.first() {
        Some((Some(_), _)) if told.len() == 1 => None,
        _ => Some(format!(
            "the replicas of tablet {group} do not agree: {told:?}"
        )),
    }
}

/// Everything that is visible of a tablet at a replica. What a split has left beside its tokens does not count.
fn held(place: &TabletPlace, record: &TabletRecord, now_ms: u64) -> Vec<(TableId, ScanPartition)> {
    let engine = place.tablet.engine();
    let tables = engine.stored_tables().into_iter();
    let parts = tables.flat_map(|table| {
        let page = engine.scan(&ScanRead {
            table,
            tokens: record.range.first..=record.range.last,
            after: None,
            limit_rows: 1_000_000,
            limit_bytes: 1 << 30,
            tombstone_budget: 1_000_000,
            now_ms,
        });
        let page = page.expect("it is readable");
        assert_eq!(page.resume, None, "one page holds a simulated tablet");
        page.partitions.into_iter().map(move |part| (table, part))
    });
    parts.collect()
}

/// All replicas hold the same; of a cluster that is whole. How many tablets there are.
pub(super) fn compare(world: &World) -> usize {
    let nodes: Vec<Arc<Node>> = world
        .hosts
        .iter()
        .filter_map(|host| host.db()?.node().map(Arc::clone))
        .collect();
    let topology = nodes.first().expect("a node").system.topology();
    let now_ms = nodes.iter().map(|node| node.environment.now_ms()).max();
    let later = now_ms.unwrap_or(0) + DAY_MS;
    for record in &topology.tablets {
        let group = record.range.group;
        let places = nodes.iter().filter_map(|node| node.tablets.get(group));
        let held: Vec<_> = places.map(|place| held(&place, record, later)).collect();
        let first = held.first().expect("a replica");
        for other in &held {
            assert_eq!(first, other, "replicas of tablet {group} differ");
        }
    }
    topology.tablets.len()
}
