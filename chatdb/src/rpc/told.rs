//! What other nodes ask and tell, from their messages to our types: refused where no node of ours would say so.
//!
//! The sizes of whole messages are limited where they are received; here the counts, lengths and orders that the
//! code behind relies on are.

use crate::db::statement::Statement;
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{NODES_MAX, NodePlace, NodeState, SystemCommand, TABLETS_MAX};
use crate::node::backlog::{Told, ToldEvent};
use crate::node::cluster::Joined;
use crate::rpc::convert::statement_from;
use crate::rpc::limits::BATCH_STATEMENTS_MAX;
use crate::rpc::proto;
use crate::rpc::proto::statement::Source;
use raft::NodeId;

/// Replicas of a tablet that a node may name: those that stay and those that leave.
const REPLICAS_TOLD_MAX: usize = 64;
/// Bytes of the name of a version.
const VERSION_BYTES_MAX: usize = 64;

/// The number of a cluster or an installation.
pub(crate) fn number(bytes: &[u8]) -> Result<u128> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| Error::invalid("the number of a cluster or installation has 16 bytes"))?;
    Ok(u128::from_be_bytes(bytes))
}

pub(crate) fn place_to(place: NodePlace) -> proto::NodePlace {
    proto::NodePlace {
        node_address: place.node_address,
        rpc_address: place.rpc_address,
        zone: place.zone,
        region: place.region,
    }
}

/// Where a node says that it, or another one, is.
pub(crate) fn place_from(place: Option<proto::NodePlace>) -> Result<NodePlace> {
    let place = place.unwrap_or_default();
    let place = NodePlace {
        node_address: place.node_address,
        rpc_address: place.rpc_address,
        zone: place.zone,
        region: place.region,
    };
    place.check()?;
    Ok(place)
}

pub(crate) fn state_to(state: NodeState) -> proto::NodeState {
    match state {
        NodeState::Up => proto::NodeState::Up,
        NodeState::Draining => proto::NodeState::Draining,
        NodeState::Gone => proto::NodeState::Gone,
    }
}

fn state_from(state: proto::NodeState) -> NodeState {
    match state {
        proto::NodeState::Up => NodeState::Up,
        proto::NodeState::Draining => NodeState::Draining,
        proto::NodeState::Gone => NodeState::Gone,
    }
}

/// The statements that another node passes on.
pub(crate) fn forwarded(statements: Vec<proto::Statement>) -> Result<Vec<Statement>> {
    let count = statements.len();
    if count == 0 || count > BATCH_STATEMENTS_MAX {
        return Err(Error::invalid(format!(
            "a request has 1 to {BATCH_STATEMENTS_MAX} statements, not {count}"
        )));
    }
    let statements = statements.into_iter().map(|mut wire| {
        let Some(Source::Text(text)) = wire.source.take() else {
            return Err(Error::invalid("a forwarded statement has no text"));
        };
        statement_from(wire, text)
    });
    statements.collect()
}

/// What an operator wants to be decided.
pub(crate) fn change_from(request: proto::ChangeRequest) -> Result<SystemCommand> {
    use proto::change_request::Change;
    let command = match request.change {
        Some(Change::Node(change)) => SystemCommand::SetNodeState {
            node: NodeId(change.node),
            state: state_from(change.state()),
        },
        Some(Change::Tablet(change)) => SystemCommand::Place {
            group: change.group,
            version: change.version,
            nodes: change.nodes.into_iter().map(NodeId).collect(),
        },
        Some(Change::Replication(count)) => SystemCommand::SetReplication(count),
        Some(Change::Split(change)) => SystemCommand::Split {
            group: change.group,
            version: change.version,
            at: change.at,
        },
        None => return Err(Error::invalid("the change is missing")),
    };
    // What every node would refuse to read must not become an entry.
    SystemCommand::decode(&command.encode())?;
    Ok(command)
}

/// Who a node that joins is, and where the others are.
pub(crate) fn joined_from(response: proto::JoinResponse) -> Result<Joined> {
    let node = known(response.node)?;
    check_count(response.nodes.len(), NODES_MAX, "nodes")?;
    let nodes = response.nodes.into_iter().map(|node| {
        let place = place_from(node.place)?;
        Ok((known(node.node)?, place.node_address))
    });
    Ok(Joined {
        cluster_id: number(&response.cluster_id)?,
        node,
        nodes: nodes.collect::<Result<_>>()?,
    })
}

/// A description whose counts and lengths are those of a cluster.
pub(crate) fn description(told: proto::DescribeResponse) -> Result<proto::DescribeResponse> {
    number(&told.cluster_id)?;
    known(told.node)?;
    check_count(
        told.version.len(),
        VERSION_BYTES_MAX,
        "bytes of its version",
    )?;
    check_count(told.nodes.len(), NODES_MAX, "nodes")?;
    let tablets_max = usize::try_from(TABLETS_MAX).unwrap_or(usize::MAX);
    check_count(told.tablets.len(), tablets_max, "tablets")?;
    for node in &told.nodes {
        known(node.node)?;
        place_from(node.place.clone())?;
    }
    for tablet in &told.tablets {
        let replicas = tablet.replicas.len();
        check_count(replicas, REPLICAS_TOLD_MAX, "replicas of a tablet")?;
    }
    Ok(told)
}

/// A part of a log: events in order, of the entries that were asked for.
pub(crate) fn told_from(from: u64, response: proto::ReadLogResponse) -> Result<Told> {
    let mut last = (from, None);
    let mut events = Vec::with_capacity(response.events.len());
    for event in response.events {
        let place = (event.index, Some(event.number));
        if place <= last || event.index > response.upto {
            return Err(wrong("events of a log that are not in order"));
        }
        last = place;
        events.push(ToldEvent {
            index: event.index,
            number: event.number,
            timestamp_us: event.timestamp_us,
            command: event.command,
        });
    }
    Ok(Told {
        upto: response.upto,
        oldest: response.oldest,
        events,
    })
}

fn known(node: u32) -> Result<NodeId> {
    let node = NodeId(node);
    if node.is_valid() {
        return Ok(node);
    }
    Err(wrong(&format!("a node with the number {node}")))
}

fn check_count(count: usize, max: usize, of: &str) -> Result<()> {
    if count <= max {
        return Ok(());
    }
    Err(wrong(&format!("{count} {of}, and there are {max} at most")))
}

fn wrong(what: &str) -> Error {
    let message = format!("a node tells of {what}");
    Error::new(ErrorKind::Bug, message).with_help("check", "that it is of this version")
}
