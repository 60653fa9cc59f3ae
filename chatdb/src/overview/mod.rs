//! A whole cluster at a glance: what one node knows of all, what every node says of itself, and what is
//! wrong, in words. `chatdb cluster status` prints it, `page` makes a web page of it.
//!
//! # Cost
//!
//! One call to every node, [`ASKED_MAX`] at a time; a silent one is waited for [`DESCRIBE_LIMIT`].

pub(crate) mod page;
mod status;

use crate::error::{Error, ErrorKind, Result};
use crate::rpc::cluster::Contacts;
use crate::rpc::proto;
use futures::StreamExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a node may take to tell of itself before it counts as silent.
pub(crate) const DESCRIBE_LIMIT: Duration = Duration::from_secs(2);
/// Nodes that are asked at the same time.
const ASKED_MAX: usize = 64;
/// A replica that lacks more entries than this is not just a moment late.
const BEHIND_MAX: u64 = 10_000;
/// A disk with less left than one part in so many is nearly full.
const DISK_LEFT_PART: u64 = 20;

/// A cluster as one of its nodes tells of it, and every node of itself.
pub(crate) struct Overview {
    /// Where the answering node is.
    pub(crate) address: String,
    pub(crate) whole: proto::DescribeResponse,
    /// What each node said; a silent one said nothing.
    own: BTreeMap<u32, Result<proto::DescribeResponse>>,
}

/// A node for a person.
#[derive(Clone, Debug)]
pub(crate) struct NodeFacts {
    pub(crate) number: u32,
    pub(crate) state: &'static str,
    /// Region and zone.
    pub(crate) place: String,
    pub(crate) address: String,
    pub(crate) tablets: usize,
    pub(crate) leads: usize,
    pub(crate) bytes: u64,
    /// In group 0.
    pub(crate) role: &'static str,
    /// How long it runs; absent when it is silent.
    pub(crate) uptime_ms: Option<u64>,
    pub(crate) version: String,
    /// Entries that its replicas lack, all together.
    pub(crate) behind: u64,
    pub(crate) log_bytes: u64,
    /// Free bytes and all bytes of the disk under its data.
    pub(crate) disk: Option<(u64, u64)>,
}

/// A tablet for a person.
#[derive(Clone, Debug)]
pub(crate) struct TabletFacts {
    pub(crate) group: u64,
    pub(crate) first_token: u64,
    pub(crate) last_token: u64,
    pub(crate) replicas: Vec<ReplicaFacts>,
    pub(crate) is_settled: bool,
    /// The last entry that any replica has applied, and what the last of them lacks.
    pub(crate) applied: u64,
    pub(crate) behind: u64,
    /// Of the leader.
    pub(crate) bytes: Option<u64>,
}

/// A replica for a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplicaFacts {
    pub(crate) node: u32,
    pub(crate) leads: bool,
    pub(crate) is_silent: bool,
    pub(crate) leaves: bool,
    /// Entries that it lacks.
    pub(crate) behind: u64,
}

/// Something that an operator has to look at.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) what: String,
    /// What it means and what to do.
    pub(crate) advice: &'static str,
}

impl Overview {
    /// What there would be to see if every node said the same.
    pub(crate) fn told_by_all(whole: proto::DescribeResponse) -> Self {
        let nodes = whole.nodes.iter();
        Self {
            address: String::new(),
            own: nodes.map(|node| (node.node, Ok(whole.clone()))).collect(),
            whole,
        }
    }

    /// Asks every node of itself.
    pub(crate) async fn around(
        contacts: &Contacts,
        address: String,
        whole: proto::DescribeResponse,
    ) -> Self {
        let mut asking: Vec<BoxFuture<'_, Said>> = Vec::with_capacity(whole.nodes.len());
        for node in &whole.nodes {
            asking.push(Box::pin(ask(contacts, &whole, node)));
        }
        let asking = futures::stream::iter(asking).buffer_unordered(ASKED_MAX);
        let own = asking.collect().await;
        Self {
            address,
            whole,
            own,
        }
    }

    /// Who leads a tablet, by what its replicas say: a leader knows itself.
    pub(crate) fn leader(&self, group: u64) -> Option<u32> {
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

    /// What a node says of its replica.
    pub(crate) fn local(&self, node: u32, group: u64) -> Option<&proto::TabletStatus> {
        let tablets = &self.said(node)?.tablets;
        let tablet = tablets.iter().find(|tablet| tablet.group == group)?;
        tablet.local.as_ref()
    }

    fn said(&self, node: u32) -> Option<&proto::DescribeResponse> {
        self.own.get(&node)?.as_ref().ok()
    }

    pub(crate) fn is_silent(&self, node: u32) -> bool {
        self.said(node).is_none()
    }

    /// The nodes by number.
    pub(crate) fn nodes(&self) -> Vec<NodeFacts> {
        let tablets = self.tablets();
        let facts = |node: &proto::ClusterNode| self.node(node, &tablets);
        self.whole.nodes.iter().map(facts).collect()
    }

    fn node(&self, node: &proto::ClusterNode, tablets: &[TabletFacts]) -> NodeFacts {
        let number = node.node;
        let place = node.place.clone().unwrap_or_default();
        let held = tablets
            .iter()
            .flat_map(|tablet| tablet.replicas.iter().map(move |it| (tablet, it)))
            .filter(|(_, replica)| replica.node == number);
        let local = held
            .clone()
            .filter_map(|(tablet, _)| self.local(number, tablet.group));
        let said = self.said(number);
        let state = match node.state() {
            proto::NodeState::Up if said.is_none() => "silent",
            proto::NodeState::Up => "up",
            proto::NodeState::Draining if said.is_none() => "draining, silent",
            proto::NodeState::Draining => "draining",
            proto::NodeState::Gone => "gone",
        };
        let role = match (self.whole.leader == number, node.votes) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "follower",
        };
        let named = [place.region, place.zone].into_iter();
        let named: Vec<String> = named.filter(|it| !it.is_empty()).collect();
        NodeFacts {
            number,
            state,
            place: named.join("/"),
            address: place.rpc_address,
            tablets: held.clone().count(),
            leads: held.clone().filter(|(_, replica)| replica.leads).count(),
            bytes: local.map(bytes_of).fold(0, u64::saturating_add),
            role,
            uptime_ms: said.map(|said| said.uptime_ms),
            version: said.map_or_else(String::new, |said| said.version.clone()),
            behind: held
                .map(|(_, replica)| replica.behind)
                .fold(0, u64::saturating_add),
            log_bytes: said.map_or(0, |said| said.log_bytes),
            disk: said
                .filter(|said| said.disk_bytes > 0)
                .map(|said| (said.disk_free_bytes, said.disk_bytes)),
        }
    }

    /// The tablets in token order.
    pub(crate) fn tablets(&self) -> Vec<TabletFacts> {
        let facts = |tablet: &proto::ClusterTablet| {
            let group = tablet.group;
            let leader = self.leader(group);
            let applied = |node: u32| self.local(node, group).map(|local| local.applied_index);
            let all = tablet.replicas.iter();
            let all: Vec<u64> = all.filter_map(|replica| applied(replica.node)).collect();
            let most = all.iter().max().copied().unwrap_or(0);
            let least = all.iter().min().copied().unwrap_or(0);
            let replica = |replica: &proto::TabletReplica| ReplicaFacts {
                node: replica.node,
                leads: leader == Some(replica.node),
                is_silent: self.is_silent(replica.node),
                leaves: replica.leaving,
                behind: applied(replica.node).map_or(0, |applied| most - applied),
            };
            let local = leader.and_then(|node| self.local(node, group));
            TabletFacts {
                group,
                first_token: tablet.first_token,
                last_token: tablet.last_token,
                replicas: tablet.replicas.iter().map(replica).collect(),
                is_settled: tablet.settled,
                applied: most,
                behind: most - least,
                bytes: local.map(bytes_of),
            }
        };
        self.whole.tablets.iter().map(facts).collect()
    }

    /// What an operator has to look at, most urgent first.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let mut tell = |what: String, advice| troubles.push(Trouble { what, advice });
        let (nodes, tablets) = (self.nodes(), self.tablets());
        for tablet in &tablets {
            if !tablet.replicas.iter().any(|replica| replica.leads) {
                tell(
                    format!("tablet {} has no leader", tablet.group),
                    "Nobody can write to it. It needs more than half of its replicas: start the nodes that are silent.",
                );
            }
        }
        if self.whole.leader == 0 {
            tell(
                "group 0 has no leader".to_owned(),
                "No table can be made and no tablet moved. It needs more than half of its voters: start the nodes that are silent.",
            );
        }
        for node in &self.whole.nodes {
            if node.state() != proto::NodeState::Gone && self.is_silent(node.node) {
                tell(
                    format!("node n{} does not answer", node.node),
                    "Look at its log and start it again. If it will never come back: chatdb cluster replace.",
                );
            }
        }
        for node in &nodes {
            if let Some((free, all)) = node.disk
                && free < all / DISK_LEFT_PART
            {
                let percent = free.saturating_mul(100) / all.max(1);
                tell(
                    format!("node n{} has {percent} % of its disk left", node.number),
                    "A node whose disk is full stops writing. Make room, or add a node and let it take a share.",
                );
            }
        }
        let wanted = usize::try_from(self.whole.replication).unwrap_or(0);
        let live = |tablet: &&TabletFacts| {
            let staying = tablet.replicas.iter().filter(|replica| !replica.leaves);
            staying.filter(|replica| !replica.is_silent).count() < wanted
        };
        let few = tablets.iter().filter(live).count();
        if few > 0 {
            let ending = if few == 1 { "" } else { "s" };
            tell(
                format!("{few} tablet{ending} with fewer than {wanted} live replicas"),
                "Nothing is lost, but one more failure may stop them. Bring the silent nodes back, or add nodes.",
            );
        }
        for tablet in tablets.iter().filter(|it| it.behind > BEHIND_MAX) {
            tell(
                format!(
                    "tablet {} has a replica that is {} entries behind",
                    tablet.group, tablet.behind
                ),
                "It catches up by itself. If the number grows for minutes, its node or the way to it is too slow.",
            );
        }
        troubles
    }
}

/// What a replica takes, as its node says.
pub(crate) fn bytes_of(local: &proto::TabletStatus) -> u64 {
    local.sstable_bytes.saturating_add(local.memtable_bytes)
}

/// What a node said, by its number.
type Said = (u32, Result<proto::DescribeResponse>);

async fn ask(
    contacts: &Contacts,
    whole: &proto::DescribeResponse,
    node: &proto::ClusterNode,
) -> Said {
    let place = node.place.clone().unwrap_or_default();
    let said = if node.node == whole.node {
        Ok(whole.clone())
    } else if node.state() == proto::NodeState::Gone || place.rpc_address.is_empty() {
        Err(Error::new(ErrorKind::Unavailable, "it is gone"))
    } else {
        contacts.describe(&place.rpc_address, DESCRIBE_LIMIT).await
    };
    (node.node, said)
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}
