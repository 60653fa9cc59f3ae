//! A subscriber that does not read costs writers nothing and loses nothing.

use bytes::Bytes;
use chatdb::{Db, EmbeddedOptions, Statement, StreamItem, SubscribeOptions, Value};
use std::time::Duration;
use tempfile::TempDir;

async fn write(db: &Db, id: i64) {
    let statement = Statement::new("INSERT INTO app.t (id, content) VALUES (?, ?)")
        .bind(vec![Value::from(id), Value::from("y".repeat(1000))])
        .topic("t");
    db.execute(statement).await.unwrap();
}

async fn open(options: EmbeddedOptions) -> Db {
    let db = Db::open(options).await.unwrap();
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute("CREATE TABLE app.t (id bigint PRIMARY KEY, content text)")
        .await
        .unwrap();
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_subscriber_gets_every_change_and_blocks_no_writer() {
    let dir = TempDir::new().unwrap();
    let mut options = EmbeddedOptions::new(dir.path());
    options.subscriber_queue_items = 16;
    let db = open(options).await;
    let mut slow = db.subscribe(SubscribeOptions::new(["t"])).await.unwrap();
    let writing = async {
        for id in 0..600 {
            write(&db, id).await;
        }
    };
    let limit = Duration::from_mins(1);
    tokio::time::timeout(limit, writing)
        .await
        .expect("no writer waits for the subscriber");
    let mut ids = Vec::new();
    while ids.len() < 600 {
        match slow.next().await.unwrap().unwrap() {
            StreamItem::Change(change) => ids.push(change.get("id").clone()),
            StreamItem::Gap { .. } => panic!("the log still has everything"),
            StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
        }
    }
    ids.sort_by(|a, b| a.compare(b).unwrap());
    assert_eq!(ids, (0..600).map(Value::BigInt).collect::<Vec<_>>());
    write(&db, 600).await;
    let live = tokio::time::timeout(Duration::from_secs(10), slow.next()).await;
    let Ok(Some(Ok(StreamItem::Change(change)))) = live else {
        panic!("{live:?} is not the live change");
    };
    assert_eq!(change.get("id"), &Value::BigInt(600));
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_purged_is_a_gap_and_never_silence() {
    let dir = TempDir::new().unwrap();
    let mut options = EmbeddedOptions::new(dir.path());
    options.tablets = 1;
    options.tablet_memtable_bytes = 64 * 1024;
    options.stream_retention_bytes = 512 * 1024;
    let db = open(options).await;
    let mut early = db.subscribe(SubscribeOptions::new(["t"])).await.unwrap();
    let Some(Ok(StreamItem::Progress(cursor))) = early.next().await else {
        panic!("the first item is progress");
    };
    drop(early);
    let mut written = 0;
    let (gap, first) = loop {
        for _ in 0..500 {
            write(&db, written).await;
            written += 1;
        }
        let options = SubscribeOptions::new(["t"]).cursor(Some(cursor.clone()));
        let mut late = db.subscribe(options).await.unwrap();
        let mut gap = None;
        let first = loop {
            match late.next().await.unwrap().unwrap() {
                StreamItem::Gap { from, to, .. } => gap = Some((from, to)),
                StreamItem::Change(change) => break change,
                StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
            }
        };
        if let Some(gap) = gap {
            break (gap, first);
        }
        assert!(written < 50_000, "the log is never purged");
    };
    assert!(gap.0 <= gap.1);
    assert_ne!(first.get("id"), &Value::BigInt(0));
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_database_ends_its_subscriptions() {
    let dir = TempDir::new().unwrap();
    let db = open(EmbeddedOptions::new(dir.path())).await;
    let mut subscription = db.subscribe(SubscribeOptions::new(["t"])).await.unwrap();
    db.publish("t", Bytes::from_static(b"last")).await.unwrap();
    db.close().await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = subscription.next().await {
        items.push(item.unwrap());
    }
    assert!(
        matches!(items.last(), Some(StreamItem::Ephemeral { .. })),
        "{items:?}"
    );
}
