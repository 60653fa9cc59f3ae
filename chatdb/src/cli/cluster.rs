//! `chatdb cluster`: nodes and tablets at a glance, and the decisions of an operator.
//!
//! A decision returns when group 0 has made it. That it is carried out shows in `cluster status`; with
//! `--wait` the command stays until it is.

use crate::cli::render::{DOT, bytes, counted, duration, grid};
use crate::cli::screen::Screen;
use crate::cli::{ADDRESS_DEFAULT, Stop};
use crate::error::{Error, ErrorKind, Result};
use crate::rpc::client::url;
use crate::rpc::cluster::Contacts;
use crate::rpc::proto::{self, change_request::Change};
use clap::{Args, Subcommand};
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a node may take to tell of itself before it counts as silent.
const DESCRIBE_LIMIT: Duration = Duration::from_secs(2);
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
    /// Changes how many replicas each tablet has.
    Replication(Replication),
}

#[derive(Debug, Args)]
pub(super) struct At {
    /// Addresses of nodes of the cluster, separated by commas; the first that answers is asked
    #[arg(long, value_name = "ADDR,..", default_value = ADDRESS_DEFAULT, env = "CHATDB_AT")]
    at: String,
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

/// A cluster as one of its nodes tells of it, and every node of itself.
struct View {
    /// Where the answering node is.
    address: String,
    whole: proto::DescribeResponse,
    /// What each node said; a silent one said nothing.
    own: BTreeMap<u32, Result<proto::DescribeResponse>>,
}

pub(super) async fn run(command: Cluster, screen: &Screen) -> std::result::Result<(), Stop> {
    let contacts = Contacts::default();
    match command {
        Cluster::Status(arguments) => {
            let view = View::take(&contacts, &arguments.at).await?;
            if arguments.json {
                screen.line(&view.json().to_string())?;
            } else {
                screen.write(&view.text(screen.width()))?;
            }
            Ok(())
        }
        Cluster::Move(arguments) => {
            let view = View::take(&contacts, &arguments.at).await?;
            let change = Change::Tablet(view.moved(&arguments)?);
            decide(&contacts, &view, change, arguments.wait, screen).await
        }
        Cluster::Drain(it) => set(&contacts, &it, proto::NodeState::Draining, screen).await,
        Cluster::Undrain(it) => set(&contacts, &it, proto::NodeState::Up, screen).await,
        Cluster::Replace(it) => set(&contacts, &it, proto::NodeState::Gone, screen).await,
        Cluster::Replication(arguments) => {
            let view = View::take(&contacts, &arguments.at).await?;
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
    let view = View::take(contacts, &arguments.at).await?;
    let answers = view.own.get(&arguments.node).is_some_and(Result::is_ok);
    if state == proto::NodeState::Gone && answers {
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
    view: &View,
    change: Change,
    wait: bool,
    screen: &Screen,
) -> std::result::Result<(), Stop> {
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
    if wait {
        screen.line("done")?;
    }
    Ok(())
}

impl View {
    async fn take(contacts: &Contacts, at: &At) -> Result<Self> {
        let mut last = Error::invalid("--at names no address");
        for address in at.at.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let address = url(address);
            match contacts.describe(&address, DESCRIBE_LIMIT).await {
                Ok(whole) => return Ok(Self::around(contacts, address, whole).await),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks every node of itself, all at the same time.
    async fn around(contacts: &Contacts, address: String, whole: proto::DescribeResponse) -> Self {
        let asking = whole.nodes.iter().map(|node| async {
            let place = node.place.clone().unwrap_or_default();
            let said = if node.node == whole.node {
                Ok(whole.clone())
            } else if node.state() == proto::NodeState::Gone || place.rpc_address.is_empty() {
                Err(Error::new(ErrorKind::Unavailable, "it is gone"))
            } else {
                contacts.describe(&place.rpc_address, DESCRIBE_LIMIT).await
            };
            (node.node, said)
        });
        let own = join_all(asking).await.into_iter().collect();
        Self {
            address,
            whole,
            own,
        }
    }

    fn moved(&self, arguments: &Move) -> Result<proto::PlaceTablet> {
        let tablets = &self.whole.tablets;
        let tablet = tablets.iter().find(|it| it.group == arguments.tablet);
        let tablet = tablet
            .ok_or_else(|| Error::not_found(format!("there is no tablet {}", arguments.tablet)))?;
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

    /// Who leads a tablet, by what its replicas say: a leader knows itself.
    fn leader(&self, group: u64) -> Option<u32> {
        let said = self
            .own
            .iter()
            .filter_map(|(node, said)| Some((node, said.as_ref().ok()?)));
        let mut leads = said.filter(|(node, said)| {
            let mut tablets = said.tablets.iter();
            tablets.any(|tablet| tablet.group == group && tablet.leader == **node)
        });
        leads.next().map(|(node, _)| *node)
    }

    fn local(&self, node: u32, group: u64) -> Option<&proto::TabletStatus> {
        let said = self.own.get(&node)?.as_ref().ok()?;
        let tablet = said.tablets.iter().find(|tablet| tablet.group == group)?;
        tablet.local.as_ref()
    }

    fn is_silent(&self, node: u32) -> bool {
        !self.own.get(&node).is_some_and(Result::is_ok)
    }

    /// What an operator has to look at, most urgent first.
    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        for tablet in &self.whole.tablets {
            if self.leader(tablet.group).is_none() {
                troubles.push(format!("tablet {} has no leader", tablet.group));
            }
        }
        for node in &self.whole.nodes {
            if node.state() != proto::NodeState::Gone && self.is_silent(node.node) {
                troubles.push(format!("node n{} does not answer", node.node));
            }
        }
        let wanted = usize::try_from(self.whole.replication).unwrap_or(0);
        let few = self.whole.tablets.iter().filter(|tablet| {
            let present = tablet.replicas.iter().filter(|replica| !replica.leaving);
            present
                .filter(|replica| !self.is_silent(replica.node))
                .count()
                < wanted
        });
        let few = few.count();
        if few > 0 {
            let tablets = counted(few as u64, "tablet");
            troubles.push(format!("{tablets} with fewer than {wanted} live replicas"));
        }
        troubles
    }

    fn text(&self, width: usize) -> String {
        let whole = &self.whole;
        let id = hex(&whole.cluster_id);
        let alive = whole
            .nodes
            .iter()
            .filter(|node| !self.is_silent(node.node))
            .count();
        let moving = whole
            .tablets
            .iter()
            .filter(|tablet| !tablet.settled)
            .count();
        let facts = [
            format!("cluster {id}"),
            format!(
                "{alive} of {} answer",
                counted(whole.nodes.len() as u64, "node")
            ),
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
        text.push_str(&grid(&NODE_HEADER, self.node_rows(), &[4, 5, 6], width));
        text.push('\n');
        text.push_str(&grid(&TABLET_HEADER, self.tablet_rows(), &[0, 4, 5], width));
        let troubles = self.troubles();
        text.push('\n');
        if troubles.is_empty() {
            text.push_str("all is well\n");
        }
        for trouble in troubles {
            text.extend(["! ", &trouble, "\n"]);
        }
        text
    }

    fn node_rows(&self) -> Vec<Vec<String>> {
        let row = |node: &proto::ClusterNode| {
            let place = node.place.clone().unwrap_or_default();
            let held = |tablet: &&proto::ClusterTablet| {
                tablet
                    .replicas
                    .iter()
                    .any(|replica| replica.node == node.node)
            };
            let tablets = self.whole.tablets.iter().filter(held);
            let leads = tablets
                .clone()
                .filter(|tablet| self.leader(tablet.group) == Some(node.node));
            let size = tablets
                .clone()
                .filter_map(|it| self.local(node.node, it.group));
            let size: u64 = size
                .map(|local| local.sstable_bytes + local.memtable_bytes)
                .sum();
            let said = self.own.get(&node.node).and_then(|said| said.as_ref().ok());
            let state = match node.state() {
                proto::NodeState::Up if said.is_none() => "silent",
                proto::NodeState::Up => "up",
                proto::NodeState::Draining if said.is_none() => "draining, silent",
                proto::NodeState::Draining => "draining",
                proto::NodeState::Gone => "gone",
            };
            let role = match (self.whole.leader == node.node, node.votes) {
                (true, _) => "leader",
                (false, true) => "voter",
                (false, false) => "follower",
            };
            let where_it_is = [place.region.as_str(), place.zone.as_str()];
            let named: Vec<&str> = where_it_is
                .into_iter()
                .filter(|it| !it.is_empty())
                .collect();
            vec![
                format!("n{}", node.node),
                state.to_owned(),
                named.join("/"),
                place.rpc_address,
                tablets.count().to_string(),
                leads.count().to_string(),
                bytes(size),
                role.to_owned(),
                said.map_or_else(
                    || "-".to_owned(),
                    |said| duration(said.uptime_ms.saturating_mul(1000)),
                ),
            ]
        };
        self.whole.nodes.iter().map(row).collect()
    }

    fn tablet_rows(&self) -> Vec<Vec<String>> {
        let row = |tablet: &proto::ClusterTablet| {
            let leader = self.leader(tablet.group);
            let replica = |replica: &proto::TabletReplica| {
                let mut text = format!("n{}", replica.node);
                if leader == Some(replica.node) {
                    text.push('*');
                }
                if self.is_silent(replica.node) {
                    text.push('!');
                }
                if replica.leaving {
                    text.push_str(" leaves");
                }
                text
            };
            let replicas: Vec<String> = tablet.replicas.iter().map(replica).collect();
            let nodes = tablet.replicas.iter().map(|replica| replica.node);
            let applied = nodes
                .clone()
                .filter_map(|node| self.local(node, tablet.group));
            let applied: Vec<u64> = applied.map(|local| local.applied_index).collect();
            let most = applied.iter().max().copied().unwrap_or(0);
            let least = applied.iter().min().copied().unwrap_or(0);
            let size = leader.and_then(|node| self.local(node, tablet.group));
            vec![
                tablet.group.to_string(),
                format!("{:016x}", tablet.first_token),
                replicas.join(" "),
                if tablet.settled { "settled" } else { "moving" }.to_owned(),
                most.to_string(),
                (most - least).to_string(),
                size.map_or_else(
                    || "-".to_owned(),
                    |it| bytes(it.sstable_bytes + it.memtable_bytes),
                ),
            ]
        };
        self.whole.tablets.iter().map(row).collect()
    }

    fn json(&self) -> serde_json::Value {
        let nodes = self.whole.nodes.iter().map(|node| {
            let place = node.place.clone().unwrap_or_default();
            json!({
                "node": node.node, "answers": !self.is_silent(node.node),
                "state": node.state().as_str_name().trim_start_matches("NODE_STATE_").to_lowercase(),
                "node_address": place.node_address, "rpc_address": place.rpc_address,
                "zone": place.zone, "region": place.region, "votes": node.votes,
            })
        });
        let tablets = self.whole.tablets.iter().map(|tablet| {
            let replicas = tablet.replicas.iter().map(|replica| {
                let local = self.local(replica.node, tablet.group);
                json!({
                    "node": replica.node, "generation": replica.generation, "leaving": replica.leaving,
                    "applied_index": local.map(|local| local.applied_index),
                    "bytes": local.map(|local| local.sstable_bytes + local.memtable_bytes),
                })
            });
            json!({
                "group": tablet.group, "first_token": tablet.first_token, "last_token": tablet.last_token,
                "version": tablet.version, "settled": tablet.settled, "leader": self.leader(tablet.group),
                "replicas": replicas.collect::<Vec<_>>(),
            })
        });
        json!({
            "cluster_id": hex(&self.whole.cluster_id),
            "replication": self.whole.replication, "index": self.whole.index,
            "leader": self.whole.leader, "nodes": nodes.collect::<Vec<_>>(), "tablets": tablets.collect::<Vec<_>>(),
            "troubles": self.troubles(),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
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
