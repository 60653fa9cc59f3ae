//! Any node of a cluster takes any request, whoever leads.

use crate::cluster::{ClusterNode, cluster_of_three, eventually};
use bytes::Bytes;
use chatdb::{
    ConnectOptions, Consistency, Db, ErrorKind, Statement, StreamItem, SubscribeOptions, Value,
};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::time::Duration;

const TABLETS: u32 = 4;

async fn cluster() -> Vec<ClusterNode> {
    let nodes = cluster_of_three(TABLETS).await;
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, text text)",
        "CREATE TABLE app.lists (id int PRIMARY KEY, items list<int>)",
    ] {
        nodes[2].db.execute(text).await.expect(text);
    }
    nodes
}

async fn stop(nodes: Vec<ClusterNode>) {
    for node in nodes {
        node.stop().await;
    }
}

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.notes (id, text) VALUES (?, ?)")
        .bind(vec![Value::from(id), Value::from(format!("note {id}"))])
}

fn append(list: i32, number: i32) -> Statement {
    Statement::new("UPDATE app.lists SET items = items + [?] WHERE id = ?")
        .bind(vec![Value::from(number), Value::from(list)])
        .topic("lists")
}

async fn items(db: &Db, list: i32) -> Vec<i32> {
    let select = Statement::new("SELECT items FROM app.lists WHERE id = ?");
    let result = db
        .execute(select.bind(vec![Value::from(list)]))
        .await
        .unwrap();
    let items = result.first().unwrap().list("items").unwrap();
    let number = |item: &Value| match item {
        Value::Int(number) => *number,
        other => panic!("{other} is no int"),
    };
    items.iter().map(number).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_scans_counts_and_conditions_are_the_same_through_every_node() {
    let nodes = cluster().await;
    for id in 0..60_i64 {
        let node = &nodes[usize::try_from(id % 3).unwrap()];
        node.db.execute(insert(id)).await.unwrap();
        // Another node reads it at once.
        let other = &nodes[usize::try_from((id + 1) % 3).unwrap()];
        let select = Statement::new("SELECT text FROM app.notes WHERE id = ?");
        for consistency in [Consistency::Quorum, Consistency::Serial] {
            let select = select.clone().bind(vec![Value::from(id)]);
            let found = other
                .db
                .execute(select.consistency(consistency))
                .await
                .unwrap();
            let text = found.first().unwrap().text("text").unwrap();
            assert_eq!(text, format!("note {id}"));
        }
    }
    let mut scans = Vec::new();
    for node in &nodes {
        let count = node
            .db
            .execute("SELECT COUNT(*) FROM app.notes")
            .await
            .unwrap();
        assert_eq!(count.first().unwrap().bigint("count").unwrap(), 60);
        assert!(count.page_state.is_none());
        for page_size in [7, 1000] {
            scans.push(scan(&nodes, node, page_size).await);
        }
        let some = Statement::new("SELECT id FROM app.notes WHERE id IN (?, ?, ?, ?, ?)");
        let wanted = [5_i64, 59, 0, 31, 17];
        let some = some.bind(wanted.map(Value::from).to_vec());
        let found = node.db.execute(some).await.unwrap();
        let ids = found.rows.iter().map(|row| row.bigint("id").unwrap());
        let mut ids: Vec<i64> = ids.collect();
        ids.sort_unstable();
        assert_eq!(ids, [0, 5, 17, 31, 59]);
    }
    let mut ids = scans[0].clone();
    ids.sort_unstable();
    assert_eq!(ids, (0..60).collect::<Vec<i64>>());
    assert!(
        scans.iter().all(|scan| *scan == scans[0]),
        "in the same order"
    );
    for (number, node) in nodes.iter().enumerate() {
        let text = "INSERT INTO app.notes (id, text) VALUES (100, 'x') IF NOT EXISTS";
        let applied = node.db.execute(text).await.unwrap().applied;
        assert_eq!(applied, Some(number == 0));
        let across = node.db.execute_batch((0..40).map(insert).collect()).await;
        assert_eq!(across.unwrap_err().kind(), ErrorKind::Invalid);
        let list = 10 + i32::try_from(number).unwrap();
        let batch = vec![append(list, 1), append(list, 2)];
        node.db.execute_batch(batch).await.unwrap();
        assert_eq!(items(&nodes[0].db, list).await, [1, 2]);
        let error = node
            .db
            .execute("SELECT * FROM app.nothing")
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_any_replica_sees_the_write_whose_position_it_carries() {
    let nodes = cluster().await;
    for id in 0..120_i64 {
        let turn = usize::try_from(id).unwrap();
        let written = nodes[turn % 3].db.execute(insert(id)).await.unwrap();
        let position = written.position.expect("a write has a position");
        for reader in [1, 2] {
            let select = Statement::new("SELECT text FROM app.notes WHERE id = ?")
                .bind(vec![Value::from(id)])
                .consistency(Consistency::One)
                .after(position);
            let found = nodes[(turn + reader) % 3].db.execute(select).await.unwrap();
            assert_eq!(found.len(), 1, "note {id}");
        }
    }
    stop(nodes).await;
}

/// A replica says how old what it answers may be, and does not answer at all once that is more than
/// it is allowed to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_any_replica_tells_its_age_and_is_refused_when_it_may_be_too_old() {
    let mut nodes = cluster().await;
    for id in 0..40 {
        nodes[0].db.execute(insert(id)).await.unwrap();
    }
    let read = async |node: &ClusterNode, id: i64| {
        let select = Statement::new("SELECT text FROM app.notes WHERE id = ?");
        let select = select.bind(vec![Value::from(id)]);
        node.db.execute(select.consistency(Consistency::One)).await
    };
    let mut ages = BTreeSet::new();
    for id in 0..40 {
        for node in &nodes {
            ages.insert(read(node, id).await.unwrap().stats.stale_ms);
        }
    }
    // Leaders have no age. Others hear of theirs three times a second.
    assert!(ages.contains(&None) && ages.len() > 1, "{ages:?}");
    let oldest = ages.last().copied().flatten();
    assert!(oldest < Some(5_000), "{ages:?}");

    let alone = nodes.remove(0);
    for node in nodes {
        node.stop().await;
    }
    let mut before = 0;
    let mut refused = None;
    eventually("the replica is too old", async || {
        match read(&alone, 7).await {
            Ok(found) => {
                assert_eq!(found.len(), 1);
                let age = found.stats.stale_ms.unwrap_or(0);
                assert!(age <= 10_000, "{age} ms are more than is allowed");
                before = before.max(age);
            }
            Err(error) => refused = Some(error),
        }
        refused.is_some()
    })
    .await;
    assert!(before > 2_000, "the last answer was {before} ms old");
    let error = refused.expect("an error");
    assert!(error.is_retryable(), "{error:?}");
    let help = format!("{:?}", error.help());
    assert!(help.contains("--stale-reads"), "{help}");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_made_through_one_node_is_there_on_every_other_at_once() {
    let nodes = cluster().await;
    for number in 0..24 {
        let [maker, user, reader] = [0, 1, 2].map(|turn| &nodes[(number + turn) % 3].db);
        let made = format!("CREATE TABLE app.made{number} (id int PRIMARY KEY, text text)");
        maker.execute(Statement::new(made)).await.unwrap();
        let insert = format!("INSERT INTO app.made{number} (id, text) VALUES (1, 'here')");
        user.execute(Statement::new(insert)).await.unwrap();
        let added = format!("ALTER TABLE app.made{number} ADD more int");
        user.execute(Statement::new(added)).await.unwrap();
        let select = format!("SELECT more FROM app.made{number} WHERE id = 1");
        assert_eq!(
            reader.execute(Statement::new(select)).await.unwrap().len(),
            1
        );
    }
    let missing = nodes[1].db.execute("SELECT id FROM app.never WHERE id = 1");
    assert_eq!(missing.await.unwrap_err().kind(), ErrorKind::NotFound);
    stop(nodes).await;
}

/// All ids, each page through another node than the one before.
async fn scan(nodes: &[ClusterNode], first: &ClusterNode, page_size: u32) -> Vec<i64> {
    let mut ids = Vec::new();
    let (mut node, mut state) = (first, None);
    for turn in 0.. {
        let select = Statement::new("SELECT id FROM app.notes").page_size(page_size);
        let page = node.db.execute(select.page_state(state)).await.unwrap();
        assert!(page.len() <= usize::try_from(page_size).unwrap());
        ids.extend(page.rows.iter().map(|row| row.bigint("id").unwrap()));
        state = page.page_state;
        if state.is_none() {
            break;
        }
        node = &nodes[turn % nodes.len()];
    }
    ids
}

/// Statements that each node got from clients, those of other nodes left out.
fn asked(nodes: &[ClusterNode]) -> Vec<u64> {
    let mut asked = Vec::new();
    for node in nodes {
        let mut registry = Registry::default();
        node.db.register_metrics(&mut registry);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let line = "chatdb_rpc_seconds_count{method=\"execute\"} ";
        let count = page.lines().find_map(|it| it.strip_prefix(line)).unwrap();
        asked.push(count.parse().unwrap());
    }
    asked
}

async fn led(nodes: &[ClusterNode]) -> Vec<BTreeSet<u64>> {
    let mut led = Vec::new();
    for node in nodes {
        let status = node.db.status().await.unwrap();
        let tablets = status.tablets.iter().filter(|tablet| tablet.leader);
        led.push(tablets.map(|tablet| tablet.group).collect());
    }
    led
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_all_nodes_asks_the_leader_and_follows_it_to_another() {
    let mut nodes = cluster().await;
    let options = ConnectOptions::new(nodes.iter().map(ClusterNode::address));
    let db = Db::connect_with(&options).await.unwrap();
    for _ in 0..2 {
        eventually("every write goes to its leader at once", async || {
            let (before, leaders) = (asked(&nodes), led(&nodes).await);
            let mut wanted = before.clone();
            for id in 0..64 {
                let written = db.execute(insert(id)).await.unwrap();
                let group = written.position.unwrap().group;
                let asked_of = leaders.iter().map(|led| u64::from(led.contains(&group)));
                wanted
                    .iter_mut()
                    .zip(asked_of)
                    .for_each(|(all, one)| *all += one);
            }
            asked(&nodes) == wanted
        })
        .await;
        // The leaders change; the client finds out by itself.
        let gone = nodes.remove(0).stop().await;
        for id in 0..8 {
            db.execute(insert(id)).await.unwrap();
        }
        nodes.push(gone.start().await);
        crate::cluster::settled(&nodes, TABLETS).await;
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numbered_write_takes_effect_once_however_many_others_came_before_it_is_sent_again() {
    let nodes = cluster().await;
    let add = |number: i32, settled_below: u64| {
        append(7, number).numbered(11, u64::try_from(number).unwrap(), settled_below)
    };
    nodes[0].db.execute(add(1, 1)).await.unwrap();
    nodes[0].db.execute(add(2, 1)).await.unwrap();
    // More than the ids without a client that a tablet remembers, to the same partition's tablet.
    let others = (0..24_i32).map(|writer| {
        let db = nodes[0].db.clone();
        tokio::spawn(async move {
            for number in 0..800_i32 {
                let id = u128::try_from(writer * 1000 + number + 1).unwrap();
                let text = "UPDATE app.lists SET items = [1] WHERE id = 7";
                db.execute(Statement::new(text).request_id(id << 64))
                    .await
                    .unwrap();
            }
        })
    });
    for other in others.collect::<Vec<_>>() {
        other.await.unwrap();
    }
    nodes[1].db.execute(add(2, 1)).await.unwrap();
    assert_eq!(items(&nodes[2].db, 7).await, [1], "it took effect again");
    // What is settled is refused when its first copy comes late.
    nodes[1].db.execute(add(9, 9)).await.unwrap();
    let late = nodes[2].db.execute(add(8, 8)).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Unknown);
    assert_eq!(items(&nodes[0].db, 7).await, [1, 9]);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_on_every_node_see_no_error_while_leaders_stop_and_every_write_takes_effect_once() {
    let mut nodes = cluster().await;
    let mut options = ConnectOptions::new(nodes.iter().map(ClusterNode::address));
    options.deadline = Duration::from_secs(40);
    let writers = (0..6_i32).map(|list| {
        let options = options.clone();
        tokio::spawn(async move {
            let db = Db::connect_with(&options).await.unwrap();
            for number in 0..60 {
                db.execute(append(list, number)).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    // Each node in turn goes away and comes back, also the one that leads most.
    for _ in 0..3 {
        let gone = nodes.remove(0).stop().await;
        nodes.push(gone.start().await);
        crate::cluster::settled(&nodes, TABLETS).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for list in 0..6 {
        for node in &nodes {
            assert_eq!(items(&node.db, list).await, (0..60).collect::<Vec<i32>>());
        }
    }
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_on_every_node_get_every_change_once_and_what_any_node_publishes() {
    let nodes = cluster().await;
    let mut subscriptions = Vec::new();
    for node in &nodes {
        let options = SubscribeOptions::new(["lists", "typing"]);
        subscriptions.push(node.db.subscribe(options).await.unwrap());
    }
    for number in 0..30 {
        let node = &nodes[usize::try_from(number % 3).unwrap()];
        node.db.execute(append(number % 5, number)).await.unwrap();
    }
    for (from, node) in nodes.iter().enumerate() {
        let payload = Bytes::from(vec![u8::try_from(from).unwrap()]);
        node.db.publish("typing", payload).await.unwrap();
    }
    for (to, subscription) in subscriptions.iter_mut().enumerate() {
        let (mut changes, mut payloads) = (Vec::new(), Vec::new());
        while changes.len() < 30 || payloads.len() < 3 {
            let item = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
            match item.expect("an item comes").unwrap().unwrap() {
                StreamItem::Change(change) => match &change.columns[0].1 {
                    Value::List(items) => changes.push(items[0].clone()),
                    other => panic!("{other} is no list"),
                },
                StreamItem::Ephemeral { payload, .. } => payloads.push(payload[0]),
                StreamItem::Gap { .. } => panic!("a gap"),
                StreamItem::Progress(_) => {}
            }
        }
        let mut numbers: Vec<i32> = changes
            .iter()
            .map(|value| match value {
                Value::Int(number) => *number,
                other => panic!("{other} is no int"),
            })
            .collect();
        // In order inside each list; the lists have no order between them.
        for list in 0..5 {
            let of_list: Vec<i32> = numbers
                .iter()
                .copied()
                .filter(|it| it % 5 == list)
                .collect();
            assert!(of_list.is_sorted(), "node {to}: {of_list:?}");
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..30).collect::<Vec<i32>>());
        payloads.sort_unstable();
        assert_eq!(payloads, [0, 1, 2]);
    }
    drop(subscriptions);
    stop(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_replicas_serves_requests_and_streams_of_all_tablets() {
    let mut nodes = cluster().await;
    nodes.push(ClusterNode::start(Some(&nodes[1]), TABLETS).await);
    let fourth = &nodes[3].db;
    let mut subscription = fourth
        .subscribe(SubscribeOptions::new(["lists"]))
        .await
        .unwrap();
    for number in 0..40 {
        let node = &nodes[usize::try_from(number % 4).unwrap()];
        node.db.execute(append(number % 5, number)).await.unwrap();
        assert!(items(fourth, number % 5).await.contains(&number));
    }
    let mut numbers = Vec::new();
    let mut cursor = None;
    while numbers.len() < 40 {
        if let Some(cursor) = cursor.take_if(|_| numbers.len() == 20) {
            // It goes on at a node that has replicas.
            let options = SubscribeOptions::new(["lists"]).cursor(Some(cursor));
            subscription = nodes[0].db.subscribe(options).await.unwrap();
        }
        let item = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
        match item.expect("an item comes").unwrap().unwrap() {
            StreamItem::Change(change) => {
                numbers.push(change.columns[0].1.clone());
                cursor = Some(change.cursor);
            }
            StreamItem::Gap { .. } => panic!("a gap"),
            StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
        }
    }
    let mut numbers: Vec<i32> = numbers
        .iter()
        .map(|value| match value {
            Value::List(items) => match items[0] {
                Value::Int(number) => number,
                _ => panic!("no int"),
            },
            other => panic!("{other} is no list"),
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..40).collect::<Vec<i32>>());
    drop(subscription);
    stop(nodes).await;
}
