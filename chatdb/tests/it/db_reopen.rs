//! What a directory keeps, and who may have it.

use crate::harness::{chatdb, open, run, text};
use chatdb::{Db, EmbeddedOptions, ErrorKind, Statement, StreamItem, SubscribeOptions, Value};
use tempfile::TempDir;

async fn fill(db: &Db, range: std::ops::Range<i64>) {
    for id in range {
        let statement = Statement::new("INSERT INTO app.t (id, content) VALUES (?, ?)")
            .bind(vec![Value::from(id), Value::from("x".repeat(100))])
            .topic("t");
        db.execute(statement).await.unwrap();
    }
}

async fn count(db: &Db) -> i64 {
    let result = db.execute("SELECT COUNT(*) FROM app.t").await.unwrap();
    result.first().unwrap().bigint("count").unwrap()
}

async fn create(db: &Db) {
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute("CREATE TABLE app.t (id bigint PRIMARY KEY, content text)")
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reopening_keeps_rows_schema_identity_and_stream_positions() {
    let dir = TempDir::new().unwrap();
    let db = open(dir.path()).await;
    create(&db).await;
    let mut subscription = db.subscribe(SubscribeOptions::new(["t"])).await.unwrap();
    let Some(Ok(StreamItem::Progress(cursor))) = subscription.next().await else {
        panic!("the first item is progress");
    };
    fill(&db, 0..200).await;
    let identity = db.status().await.unwrap().cluster_id;
    db.close().await.unwrap();
    assert_eq!(
        db.execute("SELECT * FROM app.t").await.unwrap_err().kind(),
        ErrorKind::Closed
    );

    let db = open(dir.path()).await;
    assert_eq!(db.status().await.unwrap().cluster_id, identity);
    assert_eq!(count(&db).await, 200);
    fill(&db, 200..250).await;
    let options = SubscribeOptions::new(["t"]).cursor(Some(cursor));
    let mut subscription = db.subscribe(options).await.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 250 {
        if let StreamItem::Change(change) = subscription.next().await.unwrap().unwrap() {
            ids.push(change.get("id").clone());
        }
    }
    ids.sort_by(|a, b| a.compare(b).unwrap());
    assert_eq!(ids, (0..250).map(Value::BigInt).collect::<Vec<_>>());
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushed_tables_survive_reopening_and_dropped_ones_stay_gone() {
    let dir = TempDir::new().unwrap();
    let mut options = EmbeddedOptions::new(dir.path());
    options.tablet_memtable_bytes = 4096;
    let db = Db::open(options.clone()).await.unwrap();
    create(&db).await;
    fill(&db, 0..500).await;
    let is_flushed = || async {
        let status = db.status().await.unwrap();
        status.tablets.iter().all(|tablet| tablet.sstable_count > 0)
    };
    while !is_flushed().await {
        fill(&db, 0..100).await;
    }
    db.execute("CREATE TABLE app.gone (id bigint PRIMARY KEY)")
        .await
        .unwrap();
    db.execute("INSERT INTO app.gone (id) VALUES (1)")
        .await
        .unwrap();
    db.execute("DROP TABLE app.gone").await.unwrap();
    db.execute("ALTER TABLE app.t ADD extra int").await.unwrap();
    db.close().await.unwrap();

    let db = Db::open(options).await.unwrap();
    assert_eq!(count(&db).await, 500);
    db.execute("UPDATE app.t SET extra = 3 WHERE id = 1")
        .await
        .unwrap();
    let read = db
        .execute("SELECT extra FROM app.t WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(read.first().unwrap().int("extra").unwrap(), 3);
    let error = db.execute("SELECT * FROM app.gone").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    db.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_at_a_time_has_a_directory() {
    let dir = TempDir::new().unwrap();
    let db = open(dir.path()).await;
    let error = Db::open(EmbeddedOptions::new(dir.path()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let data = dir.path().to_str().unwrap();
    let output = run(&["serve", "--data", data, "--grpc", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    let first = said.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        format!("error: another process has the data directory {data} open")
    );
    db.close().await.unwrap();
    let output = chatdb()
        .args(["query", "--data", data, "DESCRIBE KEYSPACES"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
