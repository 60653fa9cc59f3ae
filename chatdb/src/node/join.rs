//! Which node this is to be, and the door for the calls of others.

use crate::db::options::{ClusterOptions, EmbeddedOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::group0::{NodePlace, NodeRecord, NodeState};
use crate::node::environment::random;
use crate::node::identity::{Identity, check_cluster};
use crate::node::lost;
use crate::node::network::{Door, Lanes, Network, Serving};
use crate::node::open::{FIRST, Ground, blocking};
use crate::rpc::cluster::Contacts;
use crate::rpc::proto;
use raft::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long joining is tried.
const JOIN_LIMIT: Duration = Duration::from_mins(1);
/// Pause between attempts.
const JOIN_PAUSE: Duration = Duration::from_millis(500);
/// How long a node that has been a member asks to be taken in again, before what it knows has to do.
const AGAIN_LIMIT: Duration = Duration::from_secs(3);
/// How long the others may take to tell whether this node still belongs to them.
const KEPT_LIMIT: Duration = Duration::from_secs(1);

/// Who this node is, and where the others are as far as it was told just now.
pub(super) struct Identified {
    pub(super) identity: Identity,
    pub(super) addresses: BTreeMap<NodeId, String>,
    /// Whom it was made to go on without.
    pub(super) lost: BTreeSet<NodeId>,
}

/// Where this node is, and the number of its directory.
pub(super) fn own_place(options: &EmbeddedOptions, ground: &Ground) -> Option<(u128, NodePlace)> {
    let cluster = options.cluster.as_ref()?;
    Some((ground.installation.number(), place(cluster)))
}

fn place(cluster: &ClusterOptions) -> NodePlace {
    NodePlace {
        node_address: cluster.node_address.clone(),
        rpc_address: cluster.rpc_address.clone(),
        zone: cluster.zone.clone(),
        region: cluster.region.clone(),
    }
}

/// What the directory says, or what a cluster makes of it, or the first node of a new cluster.
pub(super) async fn identify(
    options: &EmbeddedOptions,
    ground: &Ground,
    contacts: &Contacts,
) -> Result<Identified> {
    if let Some(cluster) = &options.cluster {
        place(cluster).check()?;
    }
    let (vfs, data) = (Arc::clone(&ground.vfs), options.data.clone());
    let found = blocking(move || Ok((Identity::read(&*vfs, &data)?, lost::read(&*vfs, &data)?)));
    let (found, lost) = found.await?;
    let topology = ground.system.topology();
    let known = topology.nodes.iter();
    let mut addresses: BTreeMap<NodeId, String> = known
        .map(|(node, record)| (*node, record.place.node_address.clone()))
        .collect();
    let asked = options.cluster.as_ref().filter(|it| !it.join.is_empty());
    let identity = match (found, asked) {
        (Some(identity), None) => {
            check_kept(options, identity, ground, contacts).await?;
            return Ok(Identified {
                identity,
                addresses,
                lost,
            });
        }
        // The others may have moved while it was away; if none answers, what it knows has to do.
        (Some(identity), Some(cluster)) => {
            // Those that answer cannot take it in as long as most nodes are away, and this may be the one that they miss.
            let asking = ask(cluster, ground, contacts, Instant::now());
            if let Ok(Ok(joined)) = tokio::time::timeout(AGAIN_LIMIT, asking).await {
                check_cluster(identity, joined.cluster_id)?;
                addresses.extend(joined.nodes);
            }
            check_kept(options, identity, ground, contacts).await?;
            return Ok(Identified {
                identity,
                addresses,
                lost,
            });
        }
        (None, Some(cluster)) => {
            let end = Instant::now() + JOIN_LIMIT;
            let joined = ask(cluster, ground, contacts, end).await?;
            addresses.extend(joined.nodes);
            Identity {
                cluster_id: joined.cluster_id,
                node: joined.node,
            }
        }
        (None, None) => Identity {
            cluster_id: random(),
            node: FIRST,
        },
    };
    let (vfs, data) = (Arc::clone(&ground.vfs), options.data.clone());
    blocking(move || identity.write(&*vfs, &data)).await?;
    Ok(Identified {
        identity,
        addresses,
        lost,
    })
}

/// Refuses to start if another node tells that this one was removed. Silence does not count, nor who knows
/// nothing of it yet: a whole cluster that starts has nobody to ask.
async fn check_kept(
    options: &EmbeddedOptions,
    own: Identity,
    ground: &Ground,
    contacts: &Contacts,
) -> Result<()> {
    if options.cluster.is_none() {
        return Ok(());
    }
    let topology = ground.system.topology();
    let is_other = |(node, record): &(&NodeId, &NodeRecord)| {
        **node != own.node && record.state != NodeState::Gone
    };
    let others = topology.nodes.iter().filter(is_other);
    let asking = others.map(|(_, record)| contacts.describe(&record.place.rpc_address, KEPT_LIMIT));
    let is_own = |node: &proto::ClusterNode| node.node == own.node.0;
    for answer in futures::future::join_all(asking).await {
        let Ok(told) = answer else { continue };
        let is_removed = |node: &proto::ClusterNode| node.state() == proto::NodeState::Gone;
        if told.cluster_id[..] == own.cluster_id.to_be_bytes()
            && told
                .nodes
                .iter()
                .any(|node| is_own(node) && is_removed(node))
        {
            let message = format!(
                "node {} was removed from the cluster, as node {} tells",
                own.node.0, told.node
            );
            return Err(Error::new(ErrorKind::Denied, message).with_help(
                "try",
                "an empty data directory: the cluster takes it in as a new node",
            ));
        }
    }
    Ok(())
}

/// Asks the named nodes in turn to take this one in, until `end` and each at least once.
async fn ask(
    cluster: &ClusterOptions,
    ground: &Ground,
    contacts: &Contacts,
    end: Instant,
) -> Result<crate::node::cluster::Joined> {
    let number = ground.installation.number();
    loop {
        let mut last = Error::invalid("there is no node to join");
        for address in &cluster.join {
            match contacts.join(address, number, place(cluster)).await {
                Ok(joined) => return Ok(joined),
                Err(error) => {
                    let is_final = matches!(
                        error.kind(),
                        ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::Denied
                    );
                    if is_final {
                        return Err(error);
                    }
                    tracing::info!("cannot join through {address} yet: {error}");
                    last = error;
                }
            }
        }
        if Instant::now() + JOIN_PAUSE >= end {
            return Err(last);
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
}

/// The way to the other nodes, and what takes their calls while it is held.
type Opened = (Option<Arc<dyn Lanes>>, Option<Serving>);

/// Opens the door for the calls of other nodes, and knows where they are. None for a node alone.
pub(super) async fn listen(
    cluster: Option<&ClusterOptions>,
    network: &Arc<dyn Network>,
    joined: &Identified,
) -> Result<Opened> {
    let Some(cluster) = cluster else {
        return Ok((None, None));
    };
    let identity = joined.identity;
    let opening = network.open(cluster, identity.greeting(), identity.node);
    let Door { lanes, serving } = opening.await?;
    for (node, address) in &joined.addresses {
        if *node != identity.node {
            lanes.set_address(*node, address);
        }
    }
    for node in &joined.lost {
        lanes.refuse(*node);
    }
    Ok((Some(lanes), serving))
}
