//! A client of several endpoints: one of them fails in some way, and nobody notices.

use crate::harness::{Fault, Relay, open};
use chatdb::{
    ConnectOptions, Db, ErrorKind, Server, Statement, StreamItem, SubscribeOptions, Value,
};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LIST: &str = "CREATE TABLE app.lists (id int PRIMARY KEY, items list<int>)";

/// One database behind two servers.
struct Twice {
    dir: TempDir,
    db: Db,
    servers: [Server; 2],
}

async fn serve(db: &Db) -> Server {
    db.serve("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

impl Twice {
    async fn open() -> Self {
        let dir = TempDir::new().unwrap();
        let db = open(dir.path()).await;
        db.execute("CREATE KEYSPACE app").await.unwrap();
        db.execute(LIST).await.unwrap();
        let servers = [serve(&db).await, serve(&db).await];
        Self { dir, db, servers }
    }

    async fn items(&self) -> Vec<i32> {
        let select = "SELECT items FROM app.lists WHERE id = 1";
        let result = self.db.execute(select).await.unwrap();
        let items = result.first().unwrap().list("items").unwrap();
        let number = |item: &Value| match item {
            Value::Int(number) => *number,
            other => panic!("{other} is no int"),
        };
        items.iter().map(number).collect()
    }
}

/// A client that asks the first address first.
async fn connect(first: SocketAddr, second: SocketAddr) -> Db {
    let db = Db::connect(&format!("http://{first}, {second}"))
        .await
        .unwrap();
    db.check_health().await.unwrap();
    db
}

/// An append is not idempotent by itself: only a request id makes its retry harmless.
fn append(number: i32) -> Statement {
    Statement::new("UPDATE app.lists SET items = items + [?] WHERE id = 1")
        .bind(vec![Value::from(number)])
        .topic("t")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_an_error_when_a_server_stops_and_take_effect_once() {
    let Twice { dir, db, servers } = Twice::open().await;
    let [first, second] = servers;
    let client = connect(first.address(), second.address()).await;
    let writer = tokio::spawn({
        let client = client.clone();
        async move {
            for number in 0..400 {
                client.execute(append(number)).await.unwrap();
            }
        }
    });
    first.stop().await.unwrap();
    writer.await.unwrap();
    let again = Twice {
        dir,
        servers: [serve(&db).await, second],
        db,
    };
    assert_eq!(again.items().await, (0..400).collect::<Vec<i32>>());
    let status = client.status().await.unwrap();
    assert_eq!(status.table_count, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_is_repeated_and_takes_effect_once() {
    let twice = Twice::open().await;
    let [first, second] = &twice.servers;
    let relays = [
        Relay::to(first.address()).await,
        Relay::to(second.address()).await,
    ];
    let client = connect(relays[0].address, relays[1].address).await;
    for number in 0..12 {
        // Whichever is asked loses the answer; the other one gives it.
        let broken = usize::try_from(number % 2).unwrap();
        relays[broken].set(Fault::CutBack);
        client.execute(append(number)).await.unwrap();
        relays[broken].set(Fault::None);
    }
    assert_eq!(twice.items().await, (0..12).collect::<Vec<i32>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_delays_one_request_and_then_the_other_is_asked() {
    let twice = Twice::open().await;
    let [first, second] = &twice.servers;
    let relay = Relay::to(first.address()).await;
    let client = connect(relay.address, second.address()).await;
    client.execute(append(0)).await.unwrap();
    relay.set(Fault::Stalled);
    let begun = Instant::now();
    for number in 1..20 {
        client.execute(append(number)).await.unwrap();
        client
            .execute("SELECT id FROM app.lists WHERE id = 1")
            .await
            .unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{begun:?}");
    assert_eq!(twice.items().await, (0..20).collect::<Vec<i32>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_change_whose_answer_was_lost_is_unknown_and_is_not_repeated() {
    let twice = Twice::open().await;
    let [first, second] = &twice.servers;
    let relays = [
        Relay::to(first.address()).await,
        Relay::to(second.address()).await,
    ];
    let client = connect(relays[0].address, relays[1].address).await;
    for relay in &relays {
        relay.set(Fault::CutBack);
    }
    let error = client.execute("CREATE KEYSPACE other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_goes_on_at_another_server_without_gap_or_double() {
    let twice = Twice::open().await;
    let [first, second] = &twice.servers;
    let relays = [
        Relay::to(first.address()).await,
        Relay::to(second.address()).await,
    ];
    let client = connect(relays[0].address, relays[1].address).await;
    let mut subscription = client
        .subscribe(SubscribeOptions::new(["t"]))
        .await
        .unwrap();
    let db = twice.db.clone();
    let writer = tokio::spawn(async move {
        for number in 0..120 {
            db.execute(append(number)).await.unwrap();
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 120 {
        if seen.len() % 30 == 7 {
            // Each in turn is cut when something comes back through it, and heals.
            let broken = seen.len() / 30 % 2;
            relays[broken].set(Fault::CutBack);
            relays[1 - broken].set(Fault::None);
        }
        let item = tokio::time::timeout(Duration::from_secs(20), subscription.next()).await;
        match item.unwrap().unwrap().unwrap() {
            StreamItem::Change(change) => seen.push(change.columns[0].1.clone()),
            StreamItem::Gap { group, from, to } => panic!("gap in {group}: {from} to {to}"),
            StreamItem::Ephemeral { .. } | StreamItem::Progress(_) => {}
        }
    }
    writer.await.unwrap();
    let expected = (0..120).map(|number| Value::List(vec![Value::from(number)]));
    assert_eq!(seen, expected.collect::<Vec<Value>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_a_restarted_server_no_longer_has_prepared_are_sent_as_text() {
    let dir = TempDir::new().unwrap();
    let db = open(dir.path()).await;
    db.execute("CREATE KEYSPACE app").await.unwrap();
    db.execute(LIST).await.unwrap();
    let server = serve(&db).await;
    let address = server.address();
    let client = Db::connect(&address.to_string()).await.unwrap();
    // Often enough to be prepared.
    for number in 0..50 {
        client.execute(append(number)).await.unwrap();
    }
    server.stop().await.unwrap();
    let server = db.serve(address).await.unwrap();
    for number in 50..100 {
        client.execute(append(number)).await.unwrap();
    }
    let error = client.execute("SELECT * FROM app.nothing").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    server.stop().await.unwrap();
    let select = "SELECT items FROM app.lists WHERE id = 1";
    let result = db.execute(select).await.unwrap();
    assert_eq!(result.first().unwrap().list("items").unwrap().len(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_endpoint_that_answers_is_enough_and_none_is_an_error() {
    let twice = Twice::open().await;
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let client = connect(nobody, twice.servers[1].address()).await;
    client.execute(append(1)).await.unwrap();
    client.check_health().await.unwrap();
    for list in [format!("{nobody}"), format!("{nobody},http://{nobody}")] {
        let error = Db::connect(&list).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let error = Db::connect(" , ").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let mut options = ConnectOptions::parse(&twice.servers[0].address().to_string());
    options.deadline = Duration::from_millis(200);
    let client = Db::connect_with(&options).await.unwrap();
    let Twice { servers, dir, .. } = twice;
    for server in servers {
        server.stop().await.unwrap();
    }
    let begun = Instant::now();
    client.check_health().await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(3));
    drop(dir);
}
