//! One body for the embedded and the remote form: nothing else may differ.

use crate::harness::Both;
use bytes::Bytes;
use chatdb::{
    ChangeEvent, ChangeKind, Consistency, Db, ErrorKind, Statement, StreamItem, SubscribeOptions,
    Subscription, Value,
};
use std::time::Duration;

/// Makes two tests of one body.
macro_rules! both {
    ($($name:ident;)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let both = super::Both::open().await;
                super::$name(&both.embedded).await;
                both.close().await;
            })*
        }
        mod remote {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let both = super::Both::open().await;
                super::$name(&both.remote).await;
                both.close().await;
            })*
        }
    };
}

both! {
    rows_come_back_as_they_were_written_page_by_page;
    a_condition_is_judged_in_one_round_trip;
    a_batch_is_atomic_in_one_tablet_and_refused_across;
    errors_have_the_same_kind_words_and_help;
    a_change_reaches_the_subscribers_of_its_topics_with_note_and_names;
    a_subscription_resumes_from_its_cursor_without_gap_or_duplicate;
    topics_come_and_go_while_waiting;
    a_request_id_takes_effect_once;
    a_full_row_is_refused_more_and_never_a_deletion;
    a_counter_counts_every_addition_of_many_writers_once;
    counting_a_table_pages_across_tablets;
    status_and_schema_tell_what_is_there;
}

const MESSAGES: &str = "CREATE TABLE app.messages (channel bigint, id bigint, content text, \
    tags set<text>, PRIMARY KEY (channel, id)) WITH CLUSTERING ORDER BY (id DESC)";

async fn schema(db: &Db) {
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute(MESSAGES).await.unwrap();
}

fn insert(channel: i64, id: i64) -> Statement {
    Statement::new("INSERT INTO app.messages (channel, id, content) VALUES (?, ?, ?)").bind(vec![
        Value::from(channel),
        Value::from(id),
        Value::from(format!("message {id}")),
    ])
}

async fn next(subscription: &mut Subscription) -> StreamItem {
    let item = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
    item.expect("an item comes")
        .expect("the stream goes on")
        .expect("no error")
}

/// The next change; progress and the like are passed over.
async fn change(subscription: &mut Subscription) -> ChangeEvent {
    loop {
        match next(subscription).await {
            StreamItem::Change(change) => return change,
            StreamItem::Gap { group, from, to } => panic!("gap in {group}: {from} to {to}"),
            StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
        }
    }
}

fn id(change: &ChangeEvent) -> i64 {
    match change.get("id") {
        Value::BigInt(id) => *id,
        other => panic!("{other} is no id"),
    }
}

async fn rows_come_back_as_they_were_written_page_by_page(db: &Db) {
    schema(db).await;
    for number in 0..25 {
        let written = db.execute(insert(7, number)).await.unwrap();
        assert!(written.position.is_some());
    }
    let mut state = None;
    let mut ids = Vec::new();
    loop {
        let select = Statement::new("SELECT id, content FROM app.messages WHERE channel = ?")
            .bind(vec![Value::from(7_i64)])
            .consistency(Consistency::Serial)
            .page_size(10)
            .page_state(state);
        let page = db.execute(select).await.unwrap();
        assert!(page.len() <= 10);
        for row in &page.rows {
            let id = row.bigint("id").unwrap();
            assert_eq!(row.text("content").unwrap(), format!("message {id}"));
            ids.push(id);
        }
        state = page.page_state;
        if state.is_none() {
            break;
        }
    }
    assert_eq!(ids, (0..25).rev().collect::<Vec<i64>>());
}

async fn a_condition_is_judged_in_one_round_trip(db: &Db) {
    schema(db).await;
    let text = "INSERT INTO app.messages (channel, id, content) VALUES (1, 1, 'a') IF NOT EXISTS";
    assert!(db.execute(text).await.unwrap().was_applied());
    let again = db.execute(text).await.unwrap();
    assert_eq!(again.applied, Some(false));
    let update =
        "UPDATE app.messages SET content = 'b' WHERE channel = 1 AND id = 1 IF content = 'x'";
    assert!(!db.execute(update).await.unwrap().was_applied());
    let read = db
        .execute("SELECT content FROM app.messages WHERE channel = 1")
        .await
        .unwrap();
    assert_eq!(read.first().unwrap().text("content").unwrap(), "a");
}

async fn a_batch_is_atomic_in_one_tablet_and_refused_across(db: &Db) {
    schema(db).await;
    db.execute_batch(vec![insert(1, 1), insert(1, 2)])
        .await
        .unwrap();
    let read = db
        .execute("SELECT id FROM app.messages WHERE channel = 1")
        .await
        .unwrap();
    assert_eq!(read.len(), 2);
    let across = (1..=40).map(|channel| insert(channel, 1)).collect();
    let error = db.execute_batch(across).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("several tablets"), "{error}");
    let read = db
        .execute("SELECT COUNT(*) FROM app.messages")
        .await
        .unwrap();
    assert_eq!(read.first().unwrap().bigint("count").unwrap(), 2);
}

async fn errors_have_the_same_kind_words_and_help(db: &Db) {
    schema(db).await;
    let error = db.execute("SELECT * FROM app.nothing").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.report(),
        "no table app.nothing\n       tables: messages"
    );
    let error = db.execute("SELEC 1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(!error.help().is_empty());
    let error = db.publish("", Bytes::new()).await.unwrap_err();
    assert_eq!(error.message(), "a topic has 1 to 256 bytes, not 0");
}

async fn a_change_reaches_the_subscribers_of_its_topics_with_note_and_names(db: &Db) {
    schema(db).await;
    let options = SubscribeOptions::new(["guild:1"]);
    let mut subscription = db.subscribe(options).await.unwrap();
    assert!(matches!(
        next(&mut subscription).await,
        StreamItem::Progress(_)
    ));
    db.execute(insert(5, 1).topic("guild:2")).await.unwrap();
    let statement = insert(5, 2)
        .topic("guild:1")
        .topic("guild:2")
        .note(&b"by 9"[..]);
    db.execute(statement).await.unwrap();
    let refused = "INSERT INTO app.messages (channel, id) VALUES (5, 2) IF NOT EXISTS";
    db.execute(Statement::new(refused).topic("guild:1"))
        .await
        .unwrap();
    db.execute(
        Statement::new("DELETE FROM app.messages WHERE channel = 5 AND id = 2").topic("guild:1"),
    )
    .await
    .unwrap();
    let first = change(&mut subscription).await;
    assert_eq!(first.table, "app.messages");
    assert_eq!(first.kind, ChangeKind::Insert);
    assert_eq!(
        first.key,
        [
            ("channel".to_owned(), Value::BigInt(5)),
            ("id".to_owned(), Value::BigInt(2))
        ]
    );
    assert_eq!(
        first.columns,
        [("content".to_owned(), Value::from("message 2"))]
    );
    assert_eq!(first.note, Bytes::from_static(b"by 9"));
    assert_eq!(*first.topics, ["guild:1".to_owned(), "guild:2".to_owned()]);
    let second = change(&mut subscription).await;
    assert_eq!(second.kind, ChangeKind::DeleteRow);
    assert!(second.timestamp_us >= first.timestamp_us);
}

async fn a_subscription_resumes_from_its_cursor_without_gap_or_duplicate(db: &Db) {
    schema(db).await;
    let topic = || SubscribeOptions::new(["t"]);
    let mut subscription = db.subscribe(topic()).await.unwrap();
    let StreamItem::Progress(mut cursor) = next(&mut subscription).await else {
        panic!("the first item is progress");
    };
    drop(subscription);
    let mut seen = Vec::new();
    for round in 0..6_i64 {
        for number in 0..20 {
            // Many channels, so that all tablets take part.
            let id = round * 20 + number;
            db.execute(insert(id % 7, id).topic("t")).await.unwrap();
        }
        let options = topic().cursor(Some(cursor.clone()));
        let mut subscription = db.subscribe(options).await.unwrap();
        for _ in 0..13 + round {
            let change = change(&mut subscription).await;
            seen.push(id(&change));
            cursor = change.cursor;
        }
    }
    let mut subscription = db.subscribe(topic().cursor(Some(cursor))).await.unwrap();
    while seen.len() < 120 {
        seen.push(id(&change(&mut subscription).await));
    }
    db.execute(insert(1, 120).topic("t")).await.unwrap();
    assert_eq!(id(&change(&mut subscription).await), 120);
    seen.sort_unstable();
    assert_eq!(seen, (0..120).collect::<Vec<i64>>());
}

async fn topics_come_and_go_while_waiting(db: &Db) {
    schema(db).await;
    let mut subscription = db.subscribe(SubscribeOptions::new(["a"])).await.unwrap();
    assert!(matches!(
        next(&mut subscription).await,
        StreamItem::Progress(_)
    ));
    let interest = subscription.interest();
    interest.add("b");
    interest.remove("a");
    // A remote node hears of it a little later: publish until the new topic arrives.
    let mut payload = 0_u8;
    loop {
        db.publish("b", Bytes::from(vec![payload])).await.unwrap();
        payload = payload.wrapping_add(1);
        let item = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
        if let Ok(Some(Ok(StreamItem::Ephemeral { topic, .. }))) = item {
            assert_eq!(topic, "b");
            break;
        }
    }
    db.publish("a", Bytes::from_static(b"late")).await.unwrap();
    db.execute(insert(1, 1).topic("a")).await.unwrap();
    db.execute(insert(1, 2).topic("b")).await.unwrap();
    assert_eq!(id(&change(&mut subscription).await), 2);
}

async fn a_counter_counts_every_addition_of_many_writers_once(db: &Db) {
    db.execute("CREATE KEYSPACE app").await.unwrap();
    let table = "CREATE TABLE app.likes (post int PRIMARY KEY, likes counter)";
    db.execute(table).await.unwrap();
    let add = |writer: i64, number: i64| {
        Statement::new("UPDATE app.likes SET likes = likes + ? WHERE post = 1")
            .bind(vec![Value::from(number)])
            .request_id(u128::from((writer * 1000 + number).unsigned_abs()))
    };
    let writers = (1..=8_i64).map(|writer| {
        let db = db.clone();
        tokio::spawn(async move {
            for number in 1..=20 {
                // Both are sent, as when the answer of the first was lost.
                let (first, second) = tokio::join!(
                    db.execute(add(writer, number)),
                    db.execute(add(writer, number))
                );
                first.unwrap();
                second.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let select = "SELECT likes FROM app.likes WHERE post = 1";
    let result = db.execute(select).await.unwrap();
    assert_eq!(result.first().unwrap().bigint("likes").unwrap(), 8 * 210);
    let schema = db.schema().await.unwrap();
    let column = &schema.tables[0].columns[1];
    assert_eq!(column.data_type.to_string(), "counter");
}

async fn a_request_id_takes_effect_once(db: &Db) {
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute("CREATE TABLE app.lists (id int PRIMARY KEY, items list<int>)")
        .await
        .unwrap();
    let mut subscription = db.subscribe(SubscribeOptions::new(["t"])).await.unwrap();
    let append = || {
        Statement::new("UPDATE app.lists SET items = items + [1] WHERE id = 1")
            .topic("t")
            .request_id(77)
    };
    for _ in 0..3 {
        db.execute(append()).await.unwrap();
    }
    db.execute(append().request_id(78)).await.unwrap();
    let read = db
        .execute("SELECT items FROM app.lists WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(read.first().unwrap().list("items").unwrap().len(), 2);
    let first = change(&mut subscription).await;
    let second = change(&mut subscription).await;
    assert_ne!(first.cursor, second.cursor);
    let more = tokio::time::timeout(Duration::from_millis(100), subscription.next()).await;
    assert!(more.is_err(), "{more:?}");
}

/// Limits are judged by who proposes, before anything is in the log, so replicas cannot disagree;
/// what makes room must pass them.
async fn a_full_row_is_refused_more_and_never_a_deletion(db: &Db) {
    schema(db).await;
    let elements = |number: u8| {
        let element = |at: u8| Value::Text(format!("{number} {at} {}", "x".repeat(50_000)));
        Value::Set((0..40).map(element).collect())
    };
    let update = |change: &str, value: Value| {
        let text = format!("UPDATE app.messages SET {change} WHERE channel = 1 AND id = 1");
        db.execute(Statement::new(text).bind(vec![value]))
    };
    let fill = async || {
        for number in 0..20 {
            if let Err(error) = update("tags = tags + ?", elements(number)).await {
                return (number, error);
            }
        }
        panic!("40 MB fit into a row");
    };
    let (fits, error) = fill().await;
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("the row would have"), "{error}");
    assert!(error.message().contains("delete the row"), "{error}");
    // As many elements as were refused, but they go. What says so takes their room until it is merged.
    update("tags = tags - ?", elements(0)).await.unwrap();
    update("tags = tags + ?", elements(99)).await.unwrap_err();
    for deletion in [
        "DELETE tags FROM app.messages WHERE channel = 1 AND id = 1",
        "DELETE FROM app.messages WHERE channel = 1 AND id = 1",
        "DELETE FROM app.messages WHERE channel = 1",
    ] {
        db.execute(deletion).await.unwrap();
        assert_eq!(fill().await.0, fits, "{deletion}");
    }
}

async fn counting_a_table_pages_across_tablets(db: &Db) {
    schema(db).await;
    for id in 0..300 {
        db.execute(insert(id % 50, id)).await.unwrap();
    }
    let count = db
        .execute("SELECT COUNT(*) FROM app.messages")
        .await
        .unwrap();
    assert_eq!(count.first().unwrap().bigint("count").unwrap(), 300);
    let mut ids = Vec::new();
    let mut state = None;
    loop {
        let select = Statement::new("SELECT id FROM app.messages")
            .page_size(37)
            .page_state(state);
        let page = db.execute(select).await.unwrap();
        ids.extend(page.rows.iter().map(|row| row.bigint("id").unwrap()));
        state = page.page_state;
        if state.is_none() {
            break;
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..300).collect::<Vec<i64>>());
}

async fn status_and_schema_tell_what_is_there(db: &Db) {
    schema(db).await;
    db.execute(insert(1, 1)).await.unwrap();
    let status = db.status().await.unwrap();
    assert_eq!(
        (
            status.tablets.len(),
            status.group_count(),
            status.table_count
        ),
        (4, 5, 1)
    );
    assert!(status.tablets.iter().all(|tablet| tablet.leader));
    assert_eq!(status.cluster_id.len(), 32);
    let schema = db.schema().await.unwrap();
    assert_eq!(schema.keyspaces, ["app"]);
    let table = schema.table("app", "messages").unwrap();
    let names: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    assert_eq!(names, ["channel", "id", "content", "tags"]);
    assert!(
        table.cql.starts_with("CREATE TABLE app.messages"),
        "{}",
        table.cql
    );
    let described = db.execute("DESCRIBE TABLES").await.unwrap();
    assert_eq!(described.len(), 1);
}
