//! A process that dies in the middle of 64 writers loses nothing that it acknowledged, and what is
//! tried again takes effect once.

use crate::harness::Serving;
use chatdb::{Cursor, Db, ErrorKind, Statement, StreamItem, SubscribeOptions, Value};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

const WRITERS: i32 = 64;
const KILLS: u32 = 20;

/// What one writer knows: how many of its numbers are acknowledged. The next may be there too.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    count: i32,
}

fn insert(writer: i32, number: i32) -> Statement {
    let id = (u128::from(writer.cast_unsigned()) << 64) | u128::from(number.cast_unsigned());
    Statement::new("UPDATE app.log SET numbers = numbers + [?] WHERE writer = ?")
        .bind(vec![Value::from(number), Value::from(writer)])
        .topic("log")
        .request_id(id + 1)
}

/// Writes number after number until the process dies under it.
async fn write_until_dead(db: Db, writer: i32, mut acknowledged: Acknowledged) -> Acknowledged {
    loop {
        match db.execute(insert(writer, acknowledged.count)).await {
            Ok(_) => acknowledged.count += 1,
            Err(error) if error.kind() == ErrorKind::Overloaded => {}
            Err(_) => return acknowledged,
        }
    }
}

async fn first_cursor(db: &Db) -> Cursor {
    let mut subscription = db.subscribe(SubscribeOptions::new(["log"])).await.unwrap();
    match subscription.next().await {
        Some(Ok(StreamItem::Progress(cursor))) => cursor,
        other => panic!("{other:?} is no progress"),
    }
}

async fn check_rows(db: &Db, acknowledged: &BTreeMap<i32, Acknowledged>) {
    for (&writer, known) in acknowledged {
        let select = Statement::new("SELECT numbers FROM app.log WHERE writer = ?")
            .bind(vec![Value::from(writer)]);
        let result = db.execute(select).await.unwrap();
        let numbers = result
            .first()
            .map_or(&[][..], |row| row.list("numbers").unwrap());
        let all = i32::try_from(numbers.len()).unwrap();
        let expected: Vec<Value> = (0..all).map(Value::Int).collect();
        assert_eq!(
            numbers, expected,
            "writer {writer}: a number is missing or doubled"
        );
        let may_be = known.count..=known.count + 1;
        assert!(
            may_be.contains(&all),
            "writer {writer}: {all} there, {known:?}"
        );
    }
}

/// From the first cursor on, every row's every number comes once and in order.
async fn check_stream(db: &Db, cursor: Cursor, acknowledged: &BTreeMap<i32, Acknowledged>) {
    let options = SubscribeOptions::new(["log"]).cursor(Some(cursor));
    let mut subscription = db.subscribe(options).await.unwrap();
    let mut next: BTreeMap<i32, i32> = BTreeMap::new();
    let is_complete = |next: &BTreeMap<i32, i32>| {
        acknowledged
            .iter()
            .all(|(writer, known)| next.get(writer).copied().unwrap_or(0) >= known.count)
    };
    while !is_complete(&next) {
        let item = tokio::time::timeout(Duration::from_secs(30), subscription.next()).await;
        let item = item
            .expect("the stream goes on")
            .expect("it is open")
            .expect("no error");
        let StreamItem::Change(change) = item else {
            assert!(!matches!(item, StreamItem::Gap { .. }), "{item:?}");
            continue;
        };
        let (Value::Int(writer), Value::List(numbers)) =
            (change.get("writer"), change.get("numbers"))
        else {
            panic!("{change:?}");
        };
        let expected = next.entry(*writer).or_default();
        assert_eq!(numbers, &[Value::Int(*expected)], "writer {writer}");
        *expected += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_sixty_four_writers_lose_and_double_nothing() {
    let dir = TempDir::new().unwrap();
    let serving = Serving::start(dir.path());
    let db = serving.connect().await;
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute("CREATE TABLE app.log (writer int PRIMARY KEY, numbers list<int>)")
        .await
        .unwrap();
    let cursor = first_cursor(&db).await;
    assert_eq!(serving.terminate().0, Some(0));
    let mut acknowledged: BTreeMap<i32, Acknowledged> = (0..WRITERS)
        .map(|writer| (writer, Acknowledged::default()))
        .collect();
    for kill in 0..KILLS {
        let serving = Serving::start(dir.path());
        let db = serving.connect().await;
        check_rows(&db, &acknowledged).await;
        let mut writers = Vec::new();
        for (&writer, &known) in &acknowledged {
            let task = tokio::spawn(write_until_dead(db.clone(), writer, known));
            writers.push((writer, task));
        }
        let before: i32 = acknowledged.values().map(|known| known.count).sum();
        // The moment moves from kill to kill, from start-up to the middle of the load.
        tokio::time::sleep(Duration::from_millis(u64::from(30 + 23 * kill))).await;
        serving.kill();
        for (writer, task) in writers {
            acknowledged.insert(writer, task.await.unwrap());
        }
        let after: i32 = acknowledged.values().map(|known| known.count).sum();
        assert!(
            kill == 0 || after > before,
            "kill {kill}: nothing was acknowledged"
        );
    }
    let serving = Serving::start(dir.path());
    let db = serving.connect().await;
    check_rows(&db, &acknowledged).await;
    check_stream(&db, cursor, &acknowledged).await;
    assert_eq!(serving.terminate().0, Some(0));
}
