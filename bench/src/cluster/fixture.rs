//! The cluster that a part measures: nodes, a table of messages, and clients of it.

use super::options::Options;
use crate::chaos::cluster::Cluster;
use crate::messages::Seeded;
use anyhow::{Context, Result, bail};
use chatdb::{Db, ResultSet, Statement, Value};
use serde_json::Value as Json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long nodes may take until every tablet rests on as many nodes as it should.
const SETTLED_WITHIN: Duration = Duration::from_mins(3);
const SCHEMA: [&str; 2] = [
    "CREATE KEYSPACE chat",
    "CREATE TABLE chat.messages (channel bigint, id bigint, author bigint, body text, PRIMARY KEY ((channel), id)) \
     WITH CLUSTERING ORDER BY (id DESC)",
];
const INSERT: &str = "INSERT INTO chat.messages (channel, id, author, body) VALUES (?, ?, ?, ?)";
/// Characters of a message, the median of public archives.
pub(super) const BODY_BYTES: usize = 113;
/// Channels that are written to.
pub(super) const CHANNELS: u64 = 4096;

/// Running nodes and their directory, which is removed with them.
pub(super) struct Fixture {
    pub(super) cluster: Cluster,
    program: PathBuf,
    /// Removed with the fixture.
    _dir: TempDir,
}

impl Fixture {
    /// A directory for data on the disk that is measured.
    pub(super) fn dir(options: &Options) -> Result<TempDir> {
        let dir = match &options.dir {
            Some(dir) => tempfile::tempdir_in(dir),
            None => tempfile::tempdir(),
        };
        dir.context("make a directory for the data")
    }

    /// Nodes that are not started.
    pub(super) async fn prepare(options: &Options, nodes: usize, serve: &[&str]) -> Result<Self> {
        let dir = Self::dir(options)?;
        let plan = options.plan(nodes, serve)?;
        let program = plan.program.clone();
        let cluster = Cluster::prepare(plan, dir.path()).await?;
        Ok(Self {
            cluster,
            program,
            _dir: dir,
        })
    }

    /// Nodes that run, every tablet with three replicas, and the table.
    pub(super) async fn start(options: &Options, nodes: usize, serve: &[&str]) -> Result<Self> {
        let mut fixture = Self::prepare(options, nodes, serve).await?;
        for number in 1..=nodes {
            fixture.cluster.start(number).await?;
        }
        fixture.settle(3).await?;
        make_table(&fixture.connect().await?).await?;
        Ok(fixture)
    }

    pub(super) fn processes(&self) -> Vec<u32> {
        self.cluster
            .nodes
            .iter()
            .filter_map(crate::chaos::cluster::Node::process)
            .collect()
    }

    /// A client of all nodes.
    pub(super) async fn connect(&self) -> Result<Db> {
        Ok(Db::connect(&self.cluster.endpoints().join(",")).await?)
    }

    /// What `chatdb cluster status --json` says.
    pub(super) async fn status(&self) -> Result<Json> {
        let output = tokio::process::Command::new(&self.program)
            .args(["cluster", "status", "--json", "--at"])
            .arg(self.cluster.endpoints().join(","))
            .output()
            .await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Waits until every tablet has so many replicas, a leader, and no move.
    pub(super) async fn settle(&self, replicas: usize) -> Result<Json> {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            if let Ok(status) = &status
                && is_settled(status, replicas)
            {
                return Ok(status.clone());
            }
            if begun.elapsed() > SETTLED_WITHIN {
                bail!("the tablets do not settle: {status:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Syncs of each node's log so far.
    pub(super) async fn syncs(&self) -> Result<Vec<f64>> {
        let mut syncs = Vec::new();
        for node in &self.cluster.nodes {
            syncs.push(
                self.cluster
                    .metric(node.number, "lsm_log_syncs_total")
                    .await?,
            );
        }
        Ok(syncs)
    }
}

fn is_settled(status: &Json, replicas: usize) -> bool {
    let empty = Vec::new();
    let tablets = status["tablets"].as_array().unwrap_or(&empty);
    let rests = |tablet: &Json| {
        let count = tablet["replicas"].as_array().map_or(0, Vec::len);
        tablet["settled"] == true && !tablet["leader"].is_null() && count == replicas
    };
    !tablets.is_empty() && tablets.iter().all(rests) && status["leader"] != 0
}

pub(super) async fn make_table(db: &Db) -> Result<()> {
    for text in SCHEMA {
        db.execute(text).await.with_context(|| text.to_owned())?;
    }
    Ok(())
}

/// Makes messages: a function of the number, so that clients need not agree.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    bodies: Arc<[String]>,
    /// Keeps the ids of one load apart from those of another.
    pub(super) base: u64,
}

impl Writes {
    pub(super) fn new(base: u64) -> Self {
        let mut seeded = Seeded::new(42);
        let mut letter = || {
            let letters = b"etaoinshrdlucmfwypvbgkjqxz    ";
            char::from(letters[seeded.below(letters.len())])
        };
        let body = |_| (0..BODY_BYTES).map(|_| letter()).collect();
        Self {
            bodies: (0..256).map(body).collect(),
            base,
        }
    }

    /// Message `number` of `client`: its channel, id and text.
    pub(super) fn message(&self, client: usize, number: u64) -> (u64, u64, &str) {
        let id = ((self.base + client as u64) << 32) | number;
        let mixed = Seeded::new(id).next();
        let at = usize::try_from(mixed >> 32).unwrap_or(0) % self.bodies.len();
        (mixed % CHANNELS, id, &self.bodies[at])
    }

    pub(super) fn insert(&self, client: usize, number: u64) -> Statement {
        let (channel, id, body) = self.message(client, number);
        Statement::new(INSERT).bind(vec![
            int(channel),
            int(id),
            int(channel ^ 7),
            Value::from(body),
        ])
    }
}

/// As CQL's `bigint`.
pub(super) fn int(number: u64) -> Value {
    Value::BigInt(number.cast_signed())
}

/// Writes one message.
pub(super) async fn write(db: &Db, statement: Statement) -> Result<ResultSet> {
    Ok(db.execute(statement).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cluster_is_settled_when_every_tablet_has_its_replicas_and_a_leader() {
        let tablet = |settled: bool, leader: Json, replicas: usize| {
            let replicas: Vec<Json> = (0..replicas).map(|it| json!({ "node": it })).collect();
            json!({ "settled": settled, "leader": leader, "replicas": replicas })
        };
        let with = |tablets: Vec<Json>| json!({ "leader": 1, "tablets": tablets });
        assert!(is_settled(&with(vec![tablet(true, json!(2), 3)]), 3));
        for wrong in [
            tablet(false, json!(2), 3),
            tablet(true, Json::Null, 3),
            tablet(true, json!(2), 1),
        ] {
            assert!(!is_settled(
                &with(vec![tablet(true, json!(2), 3), wrong]),
                3
            ));
        }
        assert!(!is_settled(&with(Vec::new()), 3));
    }

    #[test]
    fn messages_are_of_their_number_and_spread_over_channels() {
        let writes = Writes::new(0);
        assert_eq!(writes.message(3, 9), writes.message(3, 9));
        let channels: std::collections::BTreeSet<u64> =
            (0..2000).map(|it| writes.message(0, it).0).collect();
        assert!(channels.len() > 1000, "{}", channels.len());
        assert_eq!(writes.message(0, 1).2.len(), BODY_BYTES);
    }
}
