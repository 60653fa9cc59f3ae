//! Tablets that are split while they are used.

use crate::cluster::{ClusterNode, cluster_of_three, eventually, settled};
use chatdb::{
    ConnectOptions, Consistency, Cursor, Db, Statement, StreamItem, SubscribeOptions, Subscription,
    Value,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const LISTS: i32 = 24;

async fn make_tables(db: &Db) {
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.lists (id int PRIMARY KEY, items list<int>)",
    ] {
        db.execute(text).await.expect(text);
    }
}

fn append(list: i32, number: i32) -> Statement {
    Statement::new("UPDATE app.lists SET items = items + [?] WHERE id = ?")
        .bind(vec![Value::from(number), Value::from(list)])
        .topic("lists")
        // A subscriber is told what was added, and to which list.
        .note(format!("{list}").into_bytes())
}

async fn items(db: &Db, list: i32, consistency: Consistency) -> Vec<i32> {
    let select = Statement::new("SELECT items FROM app.lists WHERE id = ?")
        .bind(vec![Value::from(list)])
        .consistency(consistency);
    let found = db.execute(select).await.expect("a list");
    let Some(Value::List(items)) = found.rows.first().map(|row| row.values()[0].clone()) else {
        return Vec::new();
    };
    let numbers = items.iter().map(|item| match item {
        Value::Int(number) => *number,
        other => panic!("{other} is no int"),
    });
    numbers.collect()
}

/// Asks a node for a split, as an operator does, and waits until it is done.
async fn split(node: &ClusterNode, tablet: u64) {
    let address = node.address();
    let output = tokio::task::spawn_blocking(move || {
        std::process::Command::new(env!("CARGO_BIN_EXE_chatdb"))
            .args(["cluster", "split", "--wait", "--at", &address])
            .args(["--tablet", &tablet.to_string()])
            .output()
            .expect("it runs")
    });
    let output = output.await.expect("it ends");
    assert!(output.status.success(), "{output:?}");
}

/// Appends 0, 1, 2.. to each list in turn through different nodes until told to stop; tells how many each
/// list has.
async fn write_until(stop: Arc<AtomicBool>, addresses: Vec<String>) -> i32 {
    let mut options = ConnectOptions::new(addresses);
    options.deadline = Duration::from_secs(40);
    let db = Db::connect_with(&options).await.expect("it connects");
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for list in 0..LISTS {
            db.execute(append(list, number)).await.expect("it appends");
        }
        number += 1;
    }
    number
}

/// Reads a subscription until every list has so many items, each once and in order.
async fn follow(subscription: &mut Subscription, seen: &mut BTreeMap<i32, i32>, to: i32) -> Cursor {
    loop {
        let item = tokio::time::timeout(Duration::from_secs(40), subscription.next()).await;
        match item.expect("an item comes").unwrap().unwrap() {
            StreamItem::Change(change) => {
                let list: i32 = std::str::from_utf8(&change.note).unwrap().parse().unwrap();
                let Value::List(items) = &change.columns[0].1 else {
                    panic!("{change:?} is no list");
                };
                let next = seen.entry(list).or_insert(0);
                assert_eq!(items.as_slice(), [Value::Int(*next)], "of list {list}");
                *next += 1;
                let is_done = seen.len() == usize::try_from(LISTS).unwrap()
                    && seen.values().all(|next| *next >= to);
                if is_done {
                    return change.cursor;
                }
            }
            StreamItem::Gap { group, from, to } => panic!("a gap in {group}: {from} to {to}"),
            StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_is_split_under_writers_and_nothing_is_lost_doubled_or_reordered() {
    let mut nodes = cluster_of_three(1).await;
    make_tables(&nodes[0].db).await;
    let everything = SubscribeOptions::new(["lists"]);
    let mut live = nodes[1].db.subscribe(everything.clone()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let addresses: Vec<String> = nodes.iter().map(ClusterNode::address).collect();
    let writer = tokio::spawn(write_until(Arc::clone(&stop), addresses));
    let mut seen = BTreeMap::new();
    let early = follow(&mut live, &mut seen, 2).await;
    let at_early = seen.clone();

    split(&nodes[0], 1).await;
    settled(&nodes, 2).await;
    split(&nodes[2], 2).await;
    split(&nodes[1], 1).await;
    settled(&nodes, 4).await;
    // One that is away comes back to tablets that it knows.
    let gone = nodes.remove(1).stop().await;
    split(&nodes[0], 3).await;
    nodes.push(gone.start().await);
    settled(&nodes, 5).await;

    stop.store(true, Ordering::Relaxed);
    let count = writer.await.unwrap();
    let expected: Vec<i32> = (0..count).collect();
    for list in 0..LISTS {
        for node in &nodes {
            assert_eq!(items(&node.db, list, Consistency::Quorum).await, expected);
            eventually("a replica has all", async || {
                items(&node.db, list, Consistency::One).await == expected
            })
            .await;
        }
    }
    // Who comes back with a cursor from before goes on through all of it, on any node.
    for node in &nodes {
        let options = everything.clone().cursor(Some(early.clone()));
        let mut resumed = node.db.subscribe(options).await.unwrap();
        follow(&mut resumed, &mut at_early.clone(), count).await;
    }
    drop(live);

    // And so it is after all have stopped.
    let mut stopped = Vec::new();
    for node in nodes {
        stopped.push(node.stop().await);
    }
    let starting = stopped.into_iter().map(|node| tokio::spawn(node.start()));
    let mut nodes = Vec::new();
    for node in starting.collect::<Vec<_>>() {
        nodes.push(node.await.unwrap());
    }
    settled(&nodes, 5).await;
    for list in 0..LISTS {
        let node = &nodes[usize::try_from(list).unwrap() % 3];
        assert_eq!(items(&node.db, list, Consistency::Quorum).await, expected);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_that_grows_is_split_by_itself_and_gives_its_bytes_back() {
    let node = ClusterNode::start_tuned(None, 1, |options| {
        options.replication = 1;
        options.split_bytes = 256 * 1024;
        options.tablet_memtable_bytes = 128 * 1024;
    })
    .await;
    make_tables(&node.db).await;
    node.db
        .execute("CREATE TABLE app.notes (id int PRIMARY KEY, text text)")
        .await
        .unwrap();
    let mut random = 7_u64;
    let mut texts = BTreeMap::new();
    let mut id = 0;
    eventually("the tablet is split", async || {
        for _ in 0..200 {
            id += 1;
            let words: Vec<String> = std::iter::repeat_with(|| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                random.to_string()
            })
            .take(8)
            .collect();
            let text = words.concat();
            let insert = Statement::new("INSERT INTO app.notes (id, text) VALUES (?, ?)")
                .bind(vec![Value::from(id), Value::from(text.clone())]);
            node.db.execute(insert).await.unwrap();
            texts.insert(id, text);
        }
        node.db.status().await.unwrap().tablets.len() > 1
    })
    .await;
    for (id, text) in &texts {
        let select =
            Statement::new("SELECT text FROM app.notes WHERE id = ?").bind(vec![Value::from(*id)]);
        let found = node.db.execute(select).await.unwrap();
        assert_eq!(found.rows[0].values()[0], Value::from(text.clone()));
    }
    let all = node
        .db
        .execute("SELECT count(*) FROM app.notes")
        .await
        .unwrap();
    let count = i64::try_from(texts.len()).unwrap();
    assert_eq!(all.rows[0].values()[0], Value::BigInt(count));
    node.stop().await;
}
