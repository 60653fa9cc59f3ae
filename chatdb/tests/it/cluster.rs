//! Several nodes in one process, over loopback.

use crate::metrics_page::get;
use chatdb::{
    ClusterOptions, Db, EmbeddedOptions, ErrorKind, Result, ResultSet, Server, Statement, Value,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_mins(1);

/// A running node and where it lives.
pub(crate) struct ClusterNode {
    pub(crate) db: Db,
    pub(crate) options: EmbeddedOptions,
    rpc: SocketAddr,
    server: Server,
    directory: Option<TempDir>,
}

/// An address that was free a moment ago. Each is on an IP of its own: on 127.0.0.1 a connection of another
/// test could take the port meanwhile.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = NEXT.fetch_add(1, Ordering::Relaxed) % 250 + 1;
    TcpListener::bind((Ipv4Addr::new(127, 1 + high % 64, low, own), 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

impl ClusterNode {
    pub(crate) async fn start(join: Option<&Self>, tablets: u32) -> Self {
        Self::start_tuned(join, tablets, |_| ()).await
    }

    /// As [`Self::start`], with other options changed.
    pub(crate) async fn start_tuned(
        join: Option<&Self>,
        tablets: u32,
        tune: impl FnOnce(&mut EmbeddedOptions),
    ) -> Self {
        let directory = TempDir::new().expect("a directory");
        let rpc = free_address();
        let mut cluster = ClusterOptions::new(free_address(), format!("http://{rpc}"));
        cluster
            .join
            .extend(join.map(|other| format!("http://{}", other.rpc)));
        let mut options = EmbeddedOptions::new(directory.path());
        options.tablets = tablets;
        options.cluster = Some(cluster);
        tune(&mut options);
        let mut node = Self::open(options, rpc).await;
        node.directory = Some(directory);
        node
    }

    async fn open(options: EmbeddedOptions, rpc: SocketAddr) -> Self {
        let db = Db::open(options.clone()).await.expect("a node");
        let server = db.serve(rpc).await.expect("a server");
        Self {
            db,
            options,
            rpc,
            server,
            directory: None,
        }
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> String {
        self.rpc.to_string()
    }

    /// Stops the node; its directory stays until the returned value is started again.
    pub(crate) async fn stop(self) -> StoppedNode {
        let Self {
            db,
            options,
            rpc,
            server,
            directory,
        } = self;
        server.stop().await.expect("stopped");
        db.close().await.expect("closed");
        StoppedNode {
            options,
            rpc,
            directory,
        }
    }
}

/// A node that does not run.
pub(crate) struct StoppedNode {
    options: EmbeddedOptions,
    rpc: SocketAddr,
    directory: Option<TempDir>,
}

impl StoppedNode {
    pub(crate) async fn start(self) -> ClusterNode {
        let mut node = ClusterNode::open(self.options, self.rpc).await;
        node.directory = self.directory;
        node
    }
}

/// Polls until the condition holds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A cluster of three whose tablets have three replicas each.
pub(crate) async fn cluster_of_three(tablets: u32) -> Vec<ClusterNode> {
    let first = ClusterNode::start(None, tablets).await;
    let second = ClusterNode::start(Some(&first), tablets).await;
    let third = ClusterNode::start(Some(&second), tablets).await;
    let nodes = vec![first, second, third];
    settled(&nodes, tablets).await;
    nodes
}

/// Waits until every node has a replica of every tablet, all of them vote and each tablet is led once.
/// With fewer voters the stop of one node may take the only one that has a tablet.
pub(crate) async fn settled(nodes: &[ClusterNode], tablets: u32) {
    let tablets = usize::try_from(tablets).expect("small");
    eventually("every node has every tablet", async || {
        let mut leads = 0;
        for node in nodes {
            let status = node.db.status().await.expect("status");
            let voters = nodes.len() as u64;
            let all_vote = status.tablets.iter().all(|tablet| tablet.voters == voters);
            if status.tablets.len() != tablets || !all_vote {
                return false;
            }
            leads += status.tablets.iter().filter(|tablet| tablet.leader).count();
        }
        leads == tablets
    })
    .await;
}

/// Runs the statement on whichever node can.
pub(crate) async fn anywhere(nodes: &[ClusterNode], statement: &Statement) -> Result<ResultSet> {
    let begun = Instant::now();
    loop {
        for node in nodes {
            match node.db.execute(statement.clone()).await {
                Err(error) if error.is_retryable() && begun.elapsed() < LIMIT => {}
                Err(error) if error.kind() == ErrorKind::NotFound && begun.elapsed() < LIMIT => {}
                outcome => return outcome,
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.notes (id, text) VALUES (?, ?)")
        .bind(vec![Value::from(id), Value::from(format!("note {id}"))])
}

fn select(id: i64) -> Statement {
    Statement::new("SELECT text FROM app.notes WHERE id = ?").bind(vec![Value::from(id)])
}

async fn make_table(nodes: &[ClusterNode]) {
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, text text)",
    ] {
        // From the node that joined last: it has to reach the leader of group 0.
        nodes[nodes.len() - 1].db.execute(text).await.expect(text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_hold_every_tablet_and_go_on_without_one_of_them() {
    let mut nodes = cluster_of_three(4).await;
    make_table(&nodes).await;
    for id in 0..40 {
        anywhere(&nodes, &insert(id)).await.expect("written");
    }
    let gone = nodes.remove(0).stop().await;
    for id in 40..80 {
        anywhere(&nodes, &insert(id)).await.expect("written");
    }
    nodes.push(gone.start().await);
    settled(&nodes, 4).await;
    for id in 0..80 {
        let found = anywhere(&nodes, &select(id)).await.expect("read");
        let text = found.rows[0].values()[0].clone();
        assert_eq!(text, Value::from(format!("note {id}")));
    }
    // Each replica comes to have every row.
    for node in &nodes {
        for id in 0..80 {
            let select = select(id).consistency(chatdb::Consistency::One);
            eventually("a replica catches up", async || {
                let found = node.db.execute(select.clone()).await;
                found.is_ok_and(|found| found.rows.len() == 1)
            })
            .await;
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

/// The last entry of each raft group of the node that is gone from its log.
fn purged(node: &ClusterNode) -> Vec<u64> {
    let mut registry = Registry::default();
    node.db.register_metrics(&mut registry);
    let mut page = String::new();
    encode(&mut page, &registry).expect("a page");
    let lines = page
        .lines()
        .filter(|line| line.starts_with("raft_purged_index{"));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    numbers.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_entries_are_purged_reach_new_replicas_as_a_snapshot() {
    let small = |options: &mut EmbeddedOptions| {
        options.tablet_memtable_bytes = 64 * 1024;
        options.stream_retention_bytes = 0;
    };
    let first = ClusterNode::start_tuned(None, 2, small).await;
    let alone = [first];
    make_table(&alone).await;
    let long = "x".repeat(2000);
    for id in 0..600 {
        let statement = Statement::new("INSERT INTO app.notes (id, text) VALUES (?, ?)")
            .bind(vec![Value::from(id), Value::from(format!("{id} {long}"))]);
        alone[0].db.execute(statement).await.expect("written");
    }
    eventually(
        "the first node has purged the beginning of every log",
        async || {
            let purged = purged(&alone[0]);
            purged.len() == 3 && purged.iter().all(|index| *index > 0)
        },
    )
    .await;
    let [first] = alone;
    let second = ClusterNode::start(Some(&first), 2).await;
    let third = ClusterNode::start(Some(&first), 2).await;
    let nodes = vec![first, second, third];
    settled(&nodes, 2).await;
    for node in &nodes {
        for id in [0_i64, 1, 2, 299, 598, 599] {
            let select = select(id).consistency(chatdb::Consistency::One);
            eventually("a replica has the row", async || {
                let found = node.db.execute(select.clone()).await.expect("read");
                let row = found.rows.first();
                row.is_some_and(|row| row.values()[0] == Value::from(format!("{id} {long}")))
            })
            .await;
        }
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_cluster_has_every_nodes_tablets_and_names_those_that_do_not_answer() {
    let mut nodes = cluster_of_three(4).await;
    let remote = Db::connect(&nodes[0].address()).await.expect("it answers");
    for db in [&nodes[1].db, &remote] {
        let status = db.cluster_status().await.expect("a status");
        assert_eq!(status.nodes.len(), 3);
        assert_eq!(status.silent().count(), 0, "{status:?}");
        let mut led = 0;
        for (node, own) in status.nodes.iter().zip(&nodes) {
            let report = node.report.as_ref().expect("it answers");
            assert_eq!(node.address, format!("http://{}", own.address()));
            assert_eq!(report.tablets.len(), 4);
            assert!(report.tablets.is_sorted_by_key(|it| it.first_token));
            led += report.tablets.iter().filter(|it| it.leader).count();
        }
        assert_eq!(led, 4, "{status:?}");
    }
    let gone = nodes.remove(2).stop().await;
    for db in [&nodes[1].db, &remote] {
        let begun = Instant::now();
        let status = db.cluster_status().await.expect("a status");
        assert!(begun.elapsed() < Duration::from_secs(20), "it is bounded");
        let silent: Vec<u32> = status.silent().map(|node| node.node).collect();
        assert_eq!(silent, [3]);
        assert_eq!(status.nodes.len(), 3);
    }
    drop(gone);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_of_a_node_tells_of_the_whole_cluster_and_in_words_what_is_wrong() {
    let mut nodes = cluster_of_three(4).await;
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = nodes[0].db.serve_metrics(any).await.expect("a page");
    let page = async || get(server.address(), "/").await;
    // The disk that the tests run on may be nearly full.
    let is_well = async || {
        let body = page().await.1;
        let ill = ["does not answer", "has no leader", "live replicas"];
        !ill.iter().any(|words| body.contains(words))
    };
    eventually("all is well", is_well).await;
    let (status, body) = page().await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("<dd>3 of 3</dd>"), "{body}");
    for node in &nodes {
        assert!(body.contains(&node.address()), "{body}");
    }
    assert_eq!(body.matches("class=\"chip leads\"").count(), 4, "{body}");
    assert!(!body.contains("<script"), "{body}");

    let gone = nodes.remove(2).stop().await;
    eventually("it says what is wrong", async || {
        let body = page().await.1;
        let few = "<strong>4 tablets with fewer than 3 live replicas.</strong>";
        body.contains("<strong>Node n3 does not answer.</strong>") && body.contains(few)
    })
    .await;
    nodes.push(gone.start().await);
    eventually("all is well again", is_well).await;
    drop(server);
    for node in nodes {
        node.stop().await;
    }
}
