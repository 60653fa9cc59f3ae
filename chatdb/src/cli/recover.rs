//! `chatdb cluster recover`: goes on without nodes that are lost for good, on a stopped node that is left.
//!
//! Without `--yes` it only tells what would become of each group, and changes nothing.

use crate::cli::render::{DOT, counted, grid, plain};
use crate::cli::screen::Screen;
use crate::cli::{Stop, TlsArguments};
use crate::error::{Error, ErrorKind, Result};
use crate::node::recover::Recovery;
use crate::overview::DESCRIBE_LIMIT;
use crate::rpc::cluster::Contacts;
use crate::value::Value;
use clap::Args;
use raft::{Loss, NodeId, ReplicaId, Survivor};
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct Recover {
    /// Data directory of this node, which is stopped
    #[arg(long, value_name = "DIR", env = "CHATDB_DATA")]
    data: PathBuf,
    /// Numbers of the nodes that will never come back: 2,3 for n2 and n3
    #[arg(long, value_name = "NODE,..", value_delimiter = ',', required = true)]
    lost: Vec<u32>,
    /// Groups of which other replicas are left too, and this one has the newest last entry
    #[arg(long, value_name = "GROUP,..", value_delimiter = ',')]
    newest: Vec<u64>,
    #[command(flatten)]
    pub(super) tls: TlsArguments,
    /// Do it; without this it is only told
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(
    arguments: &Recover,
    contacts: &Contacts,
    screen: &Screen,
) -> std::result::Result<(), Stop> {
    let lost: BTreeSet<NodeId> = arguments.lost.iter().copied().map(NodeId).collect();
    let newest: BTreeSet<u64> = arguments.newest.iter().copied().collect();
    let recovery = Recovery::look(&arguments.data, &lost)?;
    check_silent(&recovery, &lost, contacts).await?;
    screen.write(&told(&recovery, &lost, &newest, screen.width()))?;
    if !arguments.yes {
        screen.line("nothing was changed; --yes does it")?;
        return Ok(());
    }
    let count = recovery.go_on(&newest)?;
    let groups = counted(count, "group");
    screen.line(&format!(
        "done: {groups} go on here alone as soon as this node is started"
    ))?;
    Ok(())
}

/// Refuses to give up who answers.
async fn check_silent(
    recovery: &Recovery,
    lost: &BTreeSet<NodeId>,
    contacts: &Contacts,
) -> Result<()> {
    let nodes = &recovery.topology.nodes;
    let asking = nodes.iter().filter(|(node, _)| lost.contains(node));
    let asking = asking.map(|(node, record)| async move {
        let address = &record.place.rpc_address;
        let answer = contacts.describe(address, DESCRIBE_LIMIT).await.ok()?;
        let own = recovery.cluster_id.to_be_bytes();
        let is_it = answer.node == node.0 && answer.cluster_id[..] == own;
        is_it.then(|| (node.0, address.clone()))
    });
    let answered = futures::future::join_all(asking).await;
    let Some((node, address)) = answered.into_iter().flatten().next() else {
        return Ok(());
    };
    let message = format!("node n{node} answers at {address}: it is not lost");
    Err(Error::new(ErrorKind::Conflict, message)
        .with_help("try", "leave it out of --lost, or stop it for good"))
}

fn names(nodes: impl Iterator<Item = NodeId>) -> String {
    let names: Vec<String> = nodes.map(|node| format!("n{}", node.0)).collect();
    names.join(" ")
}

fn told(
    recovery: &Recovery,
    lost: &BTreeSet<NodeId>,
    newest: &BTreeSet<u64>,
    width: usize,
) -> String {
    let facts = [
        format!("cluster {:032x}", recovery.cluster_id),
        format!("node n{}", recovery.node.0),
        format!("without {}", names(lost.iter().copied())),
    ];
    let mut text = facts.join(DOT);
    text.push_str("\n\n");
    let rows = recovery.groups.iter().map(|(survivor, loss)| {
        let goes_on = recovery.is_to_go_on(survivor.group, newest);
        row(survivor, loss, goes_on)
    });
    text.push_str(&grid(&HEADER, rows.collect(), &[2], width));
    text.push('\n');
    for group in recovery.without_replica() {
        text.extend([format!(
            "! tablet {group} has no replica outside of the lost nodes: its rows are gone\n"
        )]);
    }
    let few = |(survivor, loss): &&(Survivor, Loss)| {
        matches!(loss, Loss::Few(_)) && !newest.contains(&survivor.group.0)
    };
    for (survivor, _) in recovery.groups.iter().filter(few) {
        text.extend([format!(
            "! group {0} is left on other nodes too: compare the last entries, and give --newest {0} where it is greatest\n",
            survivor.group.0
        )]);
    }
    text.push_str(
        "what the lost nodes acknowledged after these last entries is gone; they must never run again\n",
    );
    text
}

fn row(survivor: &Survivor, loss: &Loss, goes_on: bool) -> Vec<String> {
    let group = match survivor.group.0 {
        0 => "group 0".to_owned(),
        group => format!("tablet {group}"),
    };
    let voters: BTreeSet<NodeId> = survivor
        .membership
        .voters
        .iter()
        .flatten()
        .map(|replica: &ReplicaId| replica.node())
        .collect();
    let last = survivor.last.unwrap_or_default();
    let written = survivor
        .proposed_us
        .and_then(|us| i64::try_from(us / 1000).ok());
    let becomes = match loss {
        Loss::MajorityLives => "goes on by itself",
        _ if goes_on => "goes on here, alone",
        Loss::Few(_) => "left alone: others are left too",
        Loss::NoVoter => "left alone: only learns here",
        Loss::Alone => "left alone",
    };
    vec![
        group,
        names(voters.into_iter()),
        format!("{}.{}", last.leader.term, last.index),
        written.map_or_else(|| "-".to_owned(), |ms| plain(&Value::Timestamp(ms))),
        becomes.to_owned(),
    ]
}

const HEADER: [&str; 5] = ["group", "voters", "last entry", "last write", "becomes"];
