//! `chatdb cluster`: nodes and tablets at a glance, and the decisions of an operator.
//!
//! A decision returns when group 0 has made it. That it is carried out shows in `cluster status`; with
//! `--wait` the command stays until it is.

use crate::cli::recover::{self, Recover};
use crate::cli::render::{DOT, bytes, counted, duration, grid};
use crate::cli::screen::Screen;
use crate::cli::{ADDRESS_DEFAULT, Stop, TlsArguments};
use crate::error::{Error, ErrorKind, Result};
use crate::node::environment::Environment;
use crate::overview::{
    DESCRIBE_LIMIT, NodeFacts, Overview, ReplicaFacts, TabletFacts, bytes_of, hex,
};
use crate::rpc::cluster::Contacts;
use crate::rpc::proto::{self, change_request::Change};
use clap::{Args, Subcommand};
use serde_json::json;
use std::time::Duration;

/// How often a waiting command looks.
const WAIT_INTERVAL: Duration = Duration::from_millis(300);

#[derive(Debug, Subcommand)]
pub(super) enum Cluster {
    /// Prints every node and tablet, who leads, and what is wrong.
    Status(Status),
    /// Moves the replica of one tablet from a node to another.
    Move(Move),
    /// Moves everything away from a node, so that it can be taken out.
    Drain(OneNode),
    /// Ends a drain: the node gets replicas again.
    Undrain(OneNode),
    /// Gives up a node that does not come back; its replicas are made again on the others.
    Replace(OneNode),
    /// Splits a tablet in two, in the middle of its bytes or at a token.
    Split(Split),
    /// Changes how many replicas each tablet has.
    Replication(Replication),
    /// Goes on without nodes that are lost for good, where a majority of them is needed. On a stopped node.
    Recover(Recover),
}

#[derive(Debug, Args)]
pub(super) struct At {
    /// Addresses of nodes of the cluster, separated by commas; the first that answers is asked
    #[arg(long, value_name = "ADDR,..", default_value = ADDRESS_DEFAULT, env = "CHATDB_AT")]
    at: String,
    #[command(flatten)]
    tls: TlsArguments,
}

#[derive(Debug, Args)]
pub(super) struct Status {
    #[command(flatten)]
    at: At,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Move {
    #[command(flatten)]
    at: At,
    /// Number of the tablet
    #[arg(long, value_name = "N")]
    tablet: u64,
    /// Node that it leaves
    #[arg(long, value_name = "NODE")]
    from: u32,
    /// Node that it comes to
    #[arg(long, value_name = "NODE")]
    to: u32,
    /// Stay until it is done
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Split {
    #[command(flatten)]
    at: At,
    /// Number of the tablet
    #[arg(long, value_name = "N")]
    tablet: u64,
    /// First token of the upper part, as 16 hexadecimal digits
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    token: Option<u64>,
    /// Stay until it is done
    #[arg(long)]
    wait: bool,
}

fn token(text: &str) -> std::result::Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "a token is up to 16 hexadecimal digits".to_owned())
}

#[derive(Debug, Args)]
pub(super) struct OneNode {
    #[command(flatten)]
    at: At,
    /// Number of the node: 2 for n2
    #[arg(long, value_name = "NODE")]
    node: u32,
    /// Stay until it is done
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Args)]
pub(super) struct Replication {
    #[command(flatten)]
    at: At,
    /// Replicas of each tablet, 1 to 9
    #[arg(value_name = "N")]
    count: u32,
    /// Stay until it is done
    #[arg(long)]
    wait: bool,
}

impl Cluster {
    fn tls(&self) -> &TlsArguments {
        match self {
            Self::Status(it) => &it.at.tls,
            Self::Move(it) => &it.at.tls,
            Self::Drain(it) | Self::Undrain(it) | Self::Replace(it) => &it.at.tls,
            Self::Split(it) => &it.at.tls,
            Self::Replication(it) => &it.at.tls,
            Self::Recover(it) => &it.tls,
        }
    }
}

pub(super) async fn run(command: Cluster, screen: &Screen) -> std::result::Result<(), Stop> {
    let contacts = Contacts::new(&Environment::secured(command.tls().identity()?).network);
    match command {
        Cluster::Status(arguments) => {
            let view = take(&contacts, &arguments.at).await?;
            if arguments.json {
                screen.line(&json(&view).to_string())?;
            } else {
                screen.write(&text(&view, screen.width()))?;
            }
            Ok(())
        }
        Cluster::Move(arguments) => {
            let view = take(&contacts, &arguments.at).await?;
            let change = Change::Tablet(moved(&view, &arguments)?);
            decide(&contacts, &view, change, arguments.wait, screen).await
        }
        Cluster::Drain(it) => set(&contacts, &it, proto::NodeState::Draining, screen).await,
        Cluster::Undrain(it) => set(&contacts, &it, proto::NodeState::Up, screen).await,
        Cluster::Replace(it) => set(&contacts, &it, proto::NodeState::Gone, screen).await,
        Cluster::Split(arguments) => {
            let view = take(&contacts, &arguments.at).await?;
            let change = Change::Split(proto::SplitTablet {
                group: arguments.tablet,
                version: tablet_of(&view, arguments.tablet)?.version,
                at: arguments.token,
            });
            decide(&contacts, &view, change, arguments.wait, screen).await
        }
        Cluster::Recover(arguments) => recover::run(&arguments, &contacts, screen).await,
        Cluster::Replication(arguments) => {
            let view = take(&contacts, &arguments.at).await?;
            let change = Change::Replication(arguments.count);
            decide(&contacts, &view, change, arguments.wait, screen).await
        }
    }
}

async fn set(
    contacts: &Contacts,
    arguments: &OneNode,
    state: proto::NodeState,
    screen: &Screen,
) -> std::result::Result<(), Stop> {
    let view = take(contacts, &arguments.at).await?;
    if state == proto::NodeState::Gone && !view.is_silent(arguments.node) {
        let message = format!(
            "node n{} answers; giving it up would lose what only it has",
            arguments.node
        );
        return Err(Error::invalid(message)
            .with_help("try", "chatdb cluster drain, or stop the node first")
            .into());
    }
    let change = Change::Node(proto::SetNodeState {
        node: arguments.node,
        state: state.into(),
    });
    decide(contacts, &view, change, arguments.wait, screen).await
}

/// Makes a decision, and with `wait` stays until every tablet rests.
async fn decide(
    contacts: &Contacts,
    view: &Overview,
    change: Change,
    wait: bool,
    screen: &Screen,
) -> std::result::Result<(), Stop> {
    let drained = match &change {
        Change::Node(node) if node.state() == proto::NodeState::Draining => Some(node.node),
        _ => None,
    };
    contacts.change(&view.address, change).await?;
    screen.line("decided")?;
    let mut calm = 0;
    while wait && calm < 3 {
        tokio::time::sleep(WAIT_INTERVAL).await;
        let now = contacts.describe(&view.address, DESCRIBE_LIMIT).await;
        // The next move begins a moment after the one before: rest counts when it lasts.
        let rests = now.is_ok_and(|now| now.tablets.iter().all(|tablet| tablet.settled));
        calm = if rests { calm + 1 } else { 0 };
    }
    if !wait {
        return Ok(());
    }
    if let Some(node) = drained {
        let now = contacts.describe(&view.address, DESCRIBE_LIMIT).await?;
        let is_on = |tablet: &&proto::ClusterTablet| {
            let mut replicas = tablet.replicas.iter();
            replicas.any(|replica| replica.node == node)
        };
        let left = now.tablets.iter().filter(is_on).count();
        if left > 0 {
            let tablets = counted(left as u64, "tablet");
            let message = format!("node n{node} keeps {tablets}: no other node can take them");
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_help("try", "add a node: the drain goes on by itself")
                .into());
        }
    }
    screen.line("done")?;
    Ok(())
}

/// The cluster as the first of the named nodes that answers tells of it.
async fn take(contacts: &Contacts, at: &At) -> Result<Overview> {
    let mut last = Error::invalid("--at names no address");
    for address in at.at.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let address = contacts.url(address)?;
        match contacts.describe(&address, DESCRIBE_LIMIT).await {
            Ok(whole) => return Ok(Overview::around(contacts, address, whole).await),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn tablet_of(view: &Overview, group: u64) -> Result<&proto::ClusterTablet> {
    let found = view.whole.tablets.iter().find(|it| it.group == group);
    found.ok_or_else(|| Error::not_found(format!("there is no tablet {group}")))
}

fn moved(view: &Overview, arguments: &Move) -> Result<proto::PlaceTablet> {
    let tablet = tablet_of(view, arguments.tablet)?;
    let present = tablet.replicas.iter().filter(|replica| !replica.leaving);
    let mut nodes: Vec<u32> = present.map(|replica| replica.node).collect();
    let at = nodes.iter().position(|node| *node == arguments.from);
    let at = at.ok_or_else(|| {
        Error::invalid(format!(
            "tablet {} is not on node n{}",
            arguments.tablet, arguments.from
        ))
    })?;
    if nodes.contains(&arguments.to) {
        return Err(Error::invalid(format!(
            "tablet {} is on node n{} already",
            arguments.tablet, arguments.to
        )));
    }
    if let Some(node) = nodes.get_mut(at) {
        *node = arguments.to;
    }
    Ok(proto::PlaceTablet {
        group: tablet.group,
        version: tablet.version,
        nodes,
    })
}

pub(super) fn text(view: &Overview, width: usize) -> String {
    let whole = &view.whole;
    let nodes = view.nodes();
    let alive = nodes.iter().filter(|node| node.uptime_ms.is_some()).count();
    let moving = whole.tablets.iter().filter(|it| !it.settled).count();
    let facts = [
        format!("cluster {}", hex(&whole.cluster_id)),
        format!("{alive} of {} answer", counted(nodes.len() as u64, "node")),
        counted(whole.tablets.len() as u64, "tablet"),
        format!(
            "{} wanted",
            counted(u64::from(whole.replication), "replica")
        ),
        format!("{moving} moving"),
        format!("decided up to {}", whole.index),
    ];
    let mut text = facts.join(DOT);
    text.push_str("\n\n");
    let rows = nodes.into_iter().map(node_row).collect();
    text.push_str(&grid(&NODE_HEADER, rows, &[4, 5, 6], width));
    text.push('\n');
    let rows = view.tablets().into_iter().map(|it| tablet_row(&it));
    text.push_str(&grid(&TABLET_HEADER, rows.collect(), &[0, 4, 5], width));
    let troubles = view.troubles();
    text.push('\n');
    if troubles.is_empty() {
        text.push_str("all is well\n");
    }
    for trouble in troubles {
        text.extend(["! ", &trouble.what, "\n"]);
    }
    text
}

fn node_row(node: NodeFacts) -> Vec<String> {
    vec![
        format!("n{}", node.number),
        node.state.to_owned(),
        node.place,
        node.address,
        node.tablets.to_string(),
        node.leads.to_string(),
        bytes(node.bytes),
        node.role.to_owned(),
        node.uptime_ms.map_or_else(
            || "-".to_owned(),
            |uptime_ms| duration(uptime_ms.saturating_mul(1000)),
        ),
    ]
}

fn tablet_row(tablet: &TabletFacts) -> Vec<String> {
    let replica = |replica: &ReplicaFacts| {
        let mut text = format!("n{}", replica.node);
        for (mark, applies) in [
            ("*", replica.leads),
            ("!", replica.is_silent),
            (" leaves", replica.leaves),
        ] {
            if applies {
                text.push_str(mark);
            }
        }
        text
    };
    let replicas: Vec<String> = tablet.replicas.iter().map(replica).collect();
    vec![
        tablet.group.to_string(),
        format!("{:016x}", tablet.first_token),
        replicas.join(" "),
        if tablet.is_settled {
            "settled"
        } else {
            "moving"
        }
        .to_owned(),
        tablet.applied.to_string(),
        tablet.behind.to_string(),
        tablet.bytes.map_or_else(|| "-".to_owned(), bytes),
    ]
}

pub(super) fn json(view: &Overview) -> serde_json::Value {
    let whole = &view.whole;
    let nodes = whole.nodes.iter().map(|node| {
        let place = node.place.clone().unwrap_or_default();
        json!({
            "node": node.node, "answers": !view.is_silent(node.node),
            "state": node.state().as_str_name().trim_start_matches("NODE_STATE_").to_lowercase(),
            "node_address": place.node_address, "rpc_address": place.rpc_address,
            "zone": place.zone, "region": place.region, "votes": node.votes,
        })
    });
    let tablets = whole.tablets.iter().map(|tablet| {
        let replicas = tablet.replicas.iter().map(|replica| {
            let local = view.local(replica.node, tablet.group);
            json!({
                "node": replica.node, "generation": replica.generation, "leaving": replica.leaving,
                "applied_index": local.map(|local| local.applied_index),
                "bytes": local.map(bytes_of),
            })
        });
        json!({
            "group": tablet.group, "first_token": tablet.first_token, "last_token": tablet.last_token,
            "version": tablet.version, "settled": tablet.settled, "leader": view.leader(tablet.group),
            "replicas": replicas.collect::<Vec<_>>(),
        })
    });
    let troubles = view.troubles().into_iter().map(|it| it.what);
    json!({
        "cluster_id": hex(&whole.cluster_id),
        "replication": whole.replication, "index": whole.index,
        "leader": whole.leader, "nodes": nodes.collect::<Vec<_>>(), "tablets": tablets.collect::<Vec<_>>(),
        "troubles": troubles.collect::<Vec<_>>(),
    })
}

const NODE_HEADER: [&str; 9] = [
    "node", "state", "zone", "address", "tablets", "leads", "size", "group 0", "up",
];
const TABLET_HEADER: [&str; 7] = [
    "tablet",
    "tokens from",
    "replicas",
    "state",
    "applied",
    "behind",
    "size",
];
