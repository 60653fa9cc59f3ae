//! What operators do meanwhile: tablets are split and moved, nodes drained and taken back.

use super::load::{Random, Shared};
use crate::error::{ErrorKind, Result};
use crate::rpc::cluster::Contacts;
use crate::rpc::proto::{self, change_request::Change};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a node may take to describe the cluster.
const LIMIT: Duration = Duration::from_secs(2);
/// Tablets after which none is split.
const TABLETS_MAX: usize = 6;
/// Pause between two changes, at most.
const PAUSE_MS: u64 = 3000;

/// Changes one thing after the other until told to stop.
pub(super) async fn run(shared: Arc<Shared>, seed: u64) {
    let contacts = Contacts::new(&shared.network);
    let mut random = Random(seed ^ 0xc4u64 << 32);
    while !shared.is_stopped() {
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
        if let Err(error) = step(&shared, &contacts, &mut random).await {
            // What was decided meanwhile makes a change one that is refused.
            let kind = error.kind();
            let is_wrong = matches!(kind, ErrorKind::Bug | ErrorKind::Corrupt);
            assert!(!is_wrong, "a change of the cluster: {error:?}");
        }
    }
    // All nodes are to hold replicas in the end.
    while !shared.is_checked() {
        if restore(&shared, &contacts, &mut random)
            .await
            .unwrap_or(false)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn pick<'a, T>(all: &'a [T], random: &mut Random) -> Option<&'a T> {
    let at = random.below((all.len() as u64).max(1));
    all.get(usize::try_from(at).unwrap_or(0))
}

async fn step(shared: &Shared, contacts: &Contacts, random: &mut Random) -> Result<()> {
    let Some(address) = pick(&shared.nodes, random) else {
        return Ok(());
    };
    let told = contacts.describe(address, LIMIT).await?;
    let state = |state: proto::NodeState| move |node: &&proto::ClusterNode| node.state() == state;
    let up: Vec<u32> = told
        .nodes
        .iter()
        .filter(state(proto::NodeState::Up))
        .map(|it| it.node)
        .collect();
    let draining = told.nodes.iter().find(state(proto::NodeState::Draining));
    let Some(tablet) = pick(&told.tablets, random) else {
        return Ok(());
    };
    let change = match random.below(6) {
        0 | 1 if told.tablets.len() < TABLETS_MAX => Change::Split(proto::SplitTablet {
            group: tablet.group,
            version: tablet.version,
            at: None,
        }),
        2 if up.len() > 3 && draining.is_none() => {
            set(*pick(&up, random).unwrap_or(&1), proto::NodeState::Draining)
        }
        3 => match draining {
            Some(node) => set(node.node, proto::NodeState::Up),
            None => return Ok(()),
        },
        _ => {
            let mut nodes = up;
            while nodes.len() > 3 {
                let at = random.below(nodes.len() as u64);
                nodes.remove(usize::try_from(at).unwrap_or(0));
            }
            Change::Tablet(proto::PlaceTablet {
                group: tablet.group,
                version: tablet.version,
                nodes,
            })
        }
    };
    contacts.change(address, change).await?;
    shared.changes.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn set(node: u32, state: proto::NodeState) -> Change {
    Change::Node(proto::SetNodeState {
        node,
        state: state.into(),
    })
}

/// Takes a drained node back; whether there is none.
async fn restore(shared: &Shared, contacts: &Contacts, random: &mut Random) -> Result<bool> {
    let Some(address) = pick(&shared.nodes, random) else {
        return Ok(true);
    };
    let told = contacts.describe(address, LIMIT).await?;
    let is_drained = |node: &&proto::ClusterNode| node.state() == proto::NodeState::Draining;
    match told.nodes.iter().find(is_drained) {
        Some(node) => {
            contacts
                .change(address, set(node.node, proto::NodeState::Up))
                .await?;
            Ok(false)
        }
        None => Ok(true),
    }
}
