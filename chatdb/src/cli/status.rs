//! `chatdb status`: what a node is, holds and does.

use crate::cli::render::{DOT, bytes, counted, duration, grid};
use crate::cli::screen::Screen;
use crate::cli::{Status as Arguments, Stop};
use crate::db::status::Status;
use serde_json::json;

pub(crate) async fn run(arguments: Arguments, screen: &Screen) -> Result<(), Stop> {
    let db = arguments.target.open().await?;
    let status = db.status().await?;
    if arguments.json {
        screen.line(&as_json(&status).to_string())?;
    } else {
        screen.write(&as_text(&status, screen.width()))?;
    }
    db.close().await?;
    Ok(())
}

/// One line about the node.
pub(crate) fn headline(status: &Status) -> String {
    [
        format!("chatdb {}", status.version),
        counted(1, "node"),
        counted(status.group_count() as u64, "group"),
        counted(status.table_count, "table"),
    ]
    .join(DOT)
}

fn as_text(status: &Status, width: usize) -> String {
    let facts = [
        format!("node n{}", status.node),
        format!("cluster {}", status.cluster_id),
        format!("up {}", duration(status.uptime_ms.saturating_mul(1000))),
        format!("log {}", bytes(status.log_bytes)),
        counted(status.subscribers, "subscriber"),
    ];
    let header = [
        "group",
        "tokens from",
        "role",
        "applied",
        "flushed",
        "memtables",
        "SSTables",
        "size",
    ];
    let rows = status
        .tablets
        .iter()
        .map(|tablet| {
            vec![
                tablet.group.to_string(),
                format!("{:016x}", tablet.first_token),
                if tablet.leader { "leader" } else { "follower" }.to_owned(),
                tablet.applied_index.to_string(),
                tablet.flushed_index.to_string(),
                bytes(tablet.memtable_bytes),
                tablet.sstable_count.to_string(),
                bytes(tablet.sstable_bytes),
            ]
        })
        .collect();
    let table = grid(&header, rows, &[0, 3, 4, 5, 6, 7], width);
    format!("{}\n{}\n\n{table}", headline(status), facts.join(DOT))
}

fn as_json(status: &Status) -> serde_json::Value {
    let tablets: Vec<_> = status
        .tablets
        .iter()
        .map(|tablet| {
            json!({
                "group": tablet.group,
                "first_token": tablet.first_token,
                "last_token": tablet.last_token,
                "leader": tablet.leader,
                "applied_index": tablet.applied_index,
                "flushed_index": tablet.flushed_index,
                "memtable_bytes": tablet.memtable_bytes,
                "sstable_count": tablet.sstable_count,
                "sstable_bytes": tablet.sstable_bytes,
                "voters": tablet.voters,
            })
        })
        .collect();
    json!({
        "version": status.version,
        "node": status.node,
        "cluster_id": status.cluster_id,
        "uptime_ms": status.uptime_ms,
        "log_bytes": status.log_bytes,
        "subscribers": status.subscribers,
        "table_count": status.table_count,
        "tablets": tablets,
    })
}
