//! Nodes of a cluster, processes of their own, that are told to stop while the others are in trouble.

use crate::cluster::{eventually, free_address};
use crate::harness::{Serving, run};
use chatdb::{
    ConnectOptions, Consistency, Db, ErrorKind, Statement, SubscribeOptions, Subscription, Value,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// How long a node may take to stop, whatever the others do.
const STOP_LIMIT: Duration = Duration::from_secs(15);
const TABLETS: usize = 4;

/// A node as a process, and where it lives.
pub(crate) struct Member {
    pub(crate) process: Option<Serving>,
    pub(crate) data: TempDir,
    pub(crate) options: Vec<String>,
    pub(crate) address: String,
}

impl Member {
    /// A node that joins, or the first of a cluster whose tablets have so many replicas.
    pub(crate) fn start(join: Option<&str>, replication: usize) -> Self {
        Self::start_with(join, replication, |_| Vec::new())
    }

    /// The same with more options, which may be about its two IPs.
    pub(crate) fn start_with(
        join: Option<&str>,
        replication: usize,
        more: impl FnOnce([IpAddr; 2]) -> Vec<String>,
    ) -> Self {
        let (grpc, node) = (free_address(), free_address());
        let address = grpc.to_string();
        let mut options = vec![
            format!("--grpc={address}"),
            format!("--node-listen={node}"),
            format!("--tablets={TABLETS}"),
            format!("--replication={replication}"),
        ];
        options.extend(join.map(|other| format!("--join=http://{other}")));
        options.extend(more([grpc.ip(), node.ip()]));
        let mut member = Self {
            process: None,
            data: TempDir::new().expect("a directory"),
            options,
            address,
        };
        member.up();
        member
    }

    pub(crate) fn up(&mut self) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.process = Some(Serving::start_with(self.data.path(), &options));
    }

    fn process(&mut self) -> &mut Serving {
        self.process.as_mut().expect("it runs")
    }

    fn signal(&mut self, name: &str) {
        self.process().signal(name);
    }

    /// Waits until the node that was told to stop has done so, in order and in time.
    async fn stopped(&mut self) -> String {
        let (code, said) = self.process().wait_ended(STOP_LIMIT).await;
        assert_eq!(code, Some(0), "{said}");
        self.process = None;
        said
    }

    /// A client of this node alone, that soon gives up.
    async fn client(&self) -> Db {
        client(&self.address).await
    }
}

pub(crate) async fn client(addresses: &str) -> Db {
    let mut options = ConnectOptions::parse(addresses);
    options.deadline = Duration::from_secs(2);
    Db::connect_with(&options).await.expect("it answers")
}

pub(crate) async fn three(replication: usize) -> Vec<Member> {
    let first = Member::start(None, replication);
    let second = Member::start(Some(&first.address), replication);
    let third = Member::start(Some(&first.address), replication);
    let members = vec![first, second, third];
    let db = members[2].client().await;
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, text text)",
    ] {
        db.execute(text).await.expect(text);
    }
    members
}

/// The tablets that each node has, and those that it leads.
async fn held(members: &[Member]) -> Vec<(usize, usize)> {
    let mut held = Vec::new();
    for member in members {
        let status = member.client().await.status().await.expect("a status");
        let led = status.tablets.iter().filter(|tablet| tablet.leader).count();
        held.push((status.tablets.len(), led));
    }
    held
}

/// Waits until every node has every tablet and leads some.
pub(crate) async fn settled(members: &[Member]) {
    eventually("every node has every tablet, and leads one", async || {
        let held = held(members).await;
        let everywhere = held.iter().all(|(all, led)| *all == TABLETS && *led > 0);
        everywhere && held.iter().map(|(_, led)| led).sum::<usize>() == TABLETS
    })
    .await;
}

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.notes (id, text) VALUES (?, 'x')")
        .bind(vec![Value::from(id)])
        .topic("notes")
}

/// Writes until told to end; tells what was acknowledged.
async fn write(db: Db, next: Arc<AtomicI64>, end: Arc<AtomicBool>) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    while !end.load(Ordering::Acquire) {
        let id = next.fetch_add(1, Ordering::AcqRel);
        if db.execute(insert(id)).await.is_ok() {
            acknowledged.push(id);
        }
    }
    acknowledged
}

/// Writers and a scan that go on until they are told to end.
struct Load {
    tasks: JoinSet<Vec<i64>>,
    next: Arc<AtomicI64>,
    end: Arc<AtomicBool>,
}

impl Load {
    fn start(writers: usize, db: &Db, scanned: &Db) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            next: Arc::new(AtomicI64::new(0)),
            end: Arc::new(AtomicBool::new(false)),
        };
        for _ in 0..writers {
            let (db, next, end) = (db.clone(), Arc::clone(&load.next), Arc::clone(&load.end));
            load.tasks.spawn(write(db, next, end));
        }
        let (db, end) = (scanned.clone(), Arc::clone(&load.end));
        load.tasks.spawn(async move {
            while !end.load(Ordering::Acquire) {
                let scan = Statement::new("SELECT id FROM app.notes").page_size(10);
                // It fails as soon as its node has stopped.
                drop(db.execute(scan).await);
                tokio::task::yield_now().await;
            }
            Vec::new()
        });
        load
    }

    /// Waits until so many more writes have begun.
    async fn go_on(&self, count: i64) {
        let until = self.next.load(Ordering::Acquire) + count;
        eventually("the load goes on", async || {
            self.next.load(Ordering::Acquire) >= until
        })
        .await;
    }

    /// What was acknowledged.
    async fn end(self) -> Vec<i64> {
        self.end.store(true, Ordering::Release);
        self.tasks.join_all().await.concat()
    }
}

/// A stream through the node, after its first item, that nobody reads on.
async fn stream(db: &Db) -> Subscription {
    let options = SubscribeOptions::new(vec!["notes".to_owned()]);
    let mut stream = db.subscribe(options).await.expect("a stream");
    stream.next().await.expect("it begins").expect("a cursor");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_under_load_stops_in_order_while_another_node_hangs() {
    let mut members = three(3).await;
    settled(&members).await;
    let all: Vec<String> = members.iter().map(|it| it.address.clone()).collect();
    let (through, only) = (client(&all.join(",")).await, members[0].client().await);
    let stream = stream(&only).await;
    let load = Load::start(16, &through, &only);
    load.go_on(200).await;

    members[2].signal("STOP");
    load.go_on(8).await;
    members[0].signal("TERM");
    // Its clients are told to go elsewhere, until nothing listens there any more.
    let begun = Instant::now();
    let refused = loop {
        let read = Statement::new("SELECT id FROM app.notes WHERE id = 1");
        match only.execute(read.consistency(Consistency::One)).await {
            Ok(_) => assert!(begun.elapsed() < STOP_LIMIT, "it answers on and on"),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    members[0].stopped().await;
    drop(stream);

    members[2].signal("CONT");
    load.go_on(200).await;
    let acknowledged = load.end().await;
    assert!(acknowledged.len() > 200, "{}", acknowledged.len());
    let left = client(&all[1..].join(",")).await;
    for id in acknowledged {
        let read = Statement::new("SELECT id FROM app.notes WHERE id = ?");
        let found = left.execute(read.bind(vec![Value::from(id)])).await;
        assert_eq!(found.expect("read").rows.len(), 1, "note {id}");
    }
    members[1].signal("TERM");
    members[2].signal("TERM");
    members[1].stopped().await;
    members[2].stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_in_order_when_no_other_answers() {
    let mut members = three(3).await;
    settled(&members).await;
    let only = members[0].client().await;
    let stream = stream(&only).await;
    let load = Load::start(16, &only, &only);
    load.go_on(200).await;
    members[1].signal("STOP");
    members[2].signal("STOP");
    // Writes to every tablet are on their way, and no majority will ever take them.
    let begun = Instant::now();
    let waits = only.execute(insert(-1)).await.expect_err("no majority");
    assert!(begun.elapsed() > Duration::from_secs(1), "{waits}");

    members[0].signal("TERM");
    members[0].stopped().await;
    drop(stream);
    load.end().await;
    for member in &mut members[1..] {
        member.signal("CONT");
        member.signal("TERM");
    }
    members[1].stopped().await;
    members[2].stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_in_order_while_its_replicas_move_away_and_starts_again() {
    let mut members = three(1).await;
    eventually("every node has a tablet", async || {
        held(&members).await.iter().all(|(all, _)| *all > 0)
    })
    .await;
    let through = client(&members[1].address).await;
    for id in 0..300 {
        through.execute(insert(id)).await.expect("written");
    }
    let drained = run(&["cluster", "drain", "--at", &members[1].address, "--node=1"]);
    assert!(drained.status.success(), "{drained:?}");
    members[0].signal("TERM");
    members[0].stopped().await;

    members[0].up();
    eventually("all rows are there", async || {
        let counted = through.execute("SELECT COUNT(*) FROM app.notes").await;
        counted.is_ok_and(|count| count.rows[0].values()[0] == Value::from(300_i64))
    })
    .await;
    for member in &mut members {
        member.signal("TERM");
    }
    for member in &mut members {
        member.stopped().await;
    }
}
