//! What earlier versions wrote and say: a kept directory opens, and the nodes of a cluster are replaced one by one.

use crate::cluster::{eventually, free_address};
use crate::harness::Serving;
use chatdb::{ConnectOptions, Consistency, Db, EmbeddedOptions, Statement, Value};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Bytes of a segment of the log, which the kept directories end earlier.
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/directories")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
            continue;
        }
        std::fs::copy(entry.path(), &target).unwrap();
        if target.extension().is_some_and(|it| it == "log") {
            let file = File::options().write(true).open(target).unwrap();
            file.set_len(SEGMENT_BYTES).unwrap();
        }
    }
}

async fn ask(db: &Db, text: &'static str) -> Vec<Vec<Value>> {
    let found = db.execute(text).await.expect(text);
    let rows = found.rows.into_iter().map(|row| row.values().to_vec());
    rows.collect()
}

/// What `directories/make.sh` wrote.
async fn check(db: &Db) {
    let count = ask(db, "SELECT COUNT(*) FROM app.notes").await;
    assert_eq!(count, [[Value::from(30_i64)]]);
    assert!(
        ask(db, "SELECT id FROM app.notes WHERE id = 7")
            .await
            .is_empty()
    );
    let row = ask(
        db,
        "SELECT text, tags, marks, log FROM app.notes WHERE id = 9",
    )
    .await;
    let [text, tags, marks, log] = <[Value; 4]>::try_from(row[0].clone()).unwrap();
    let words = format!("9 {}", "words ".repeat(2300));
    assert_eq!(text, Value::from(words));
    let letters = ["a", "b"].map(Value::from).to_vec();
    assert_eq!(tags, Value::Set(letters));
    assert_eq!(marks, Value::Map(vec![(Value::from("c"), Value::Int(9))]));
    assert_eq!(log, Value::List(vec![Value::from("d")]));
    let row = ask(db, "SELECT tags FROM app.notes WHERE id = 8").await;
    assert_eq!(row, [[Value::Null]]);
    let row = ask(db, "SELECT text FROM app.notes WHERE id = 1000").await;
    assert_eq!(row, [[Value::from("in the log only")]]);
    let ids = ask(db, "SELECT id FROM app.messages WHERE channel = 1").await;
    let left: Vec<i64> = (10..50).filter(|id| id % 3 == 1).rev().collect();
    let left: Vec<Vec<Value>> = left.into_iter().map(|id| vec![Value::from(id)]).collect();
    assert_eq!(ids, left);
    let row = ask(db, "SELECT seen FROM app.counts WHERE id = 1").await;
    assert_eq!(row, [[Value::BigInt(6)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directories_of_earlier_versions_open_with_all_their_rows_and_take_new_ones() {
    let mut opened = 0;
    for entry in std::fs::read_dir(kept()).unwrap() {
        let from = entry.unwrap().path();
        if !from.is_dir() {
            continue;
        }
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        copy(&from, &data);
        let open = async || Db::open(EmbeddedOptions::new(&data)).await;
        let db = open()
            .await
            .unwrap_or_else(|error| panic!("{from:?}: {error}"));
        check(&db).await;
        db.execute("INSERT INTO app.counts_of_now (id) VALUES (1)")
            .await
            .expect_err("there is no such table");
        db.execute("CREATE TABLE app.more (id bigint PRIMARY KEY)")
            .await
            .unwrap();
        db.execute("INSERT INTO app.more (id) VALUES (5)")
            .await
            .unwrap();
        db.close().await.unwrap();
        // What this version wrote into it opens as well.
        let db = open().await.unwrap();
        check(&db).await;
        assert_eq!(
            ask(&db, "SELECT id FROM app.more").await,
            [[Value::from(5_i64)]]
        );
        db.close().await.unwrap();
        opened += 1;
    }
    assert!(opened > 0, "there is no directory");
}

/// A node that some version of the program serves.
struct Member {
    process: Option<Serving>,
    data: TempDir,
    options: Vec<String>,
    address: String,
}

impl Member {
    fn new(join: Option<&str>) -> Self {
        let address = free_address().to_string();
        let mut options = vec![
            format!("--grpc={address}"),
            format!("--node-listen={}", free_address()),
            "--tablets=4".to_owned(),
        ];
        options.extend(join.map(|other| format!("--join=http://{other}")));
        Self {
            process: None,
            data: TempDir::new().unwrap(),
            options,
            address,
        }
    }

    fn up(&mut self, program: &Path) {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        self.process = Some(Serving::start_program(program, self.data.path(), &options));
    }

    fn down(&mut self) {
        let (code, said) = self.process.take().expect("it runs").terminate();
        assert_eq!(code, Some(0), "{said}");
    }
}

async fn connect(addresses: &str) -> Db {
    let mut options = ConnectOptions::parse(addresses);
    options.deadline = Duration::from_secs(30);
    Db::connect_with(&options).await.expect("a node answers")
}

/// Waits until every node has every tablet and each is led.
async fn settled(members: &[Member]) {
    eventually("every node has every tablet", async || {
        let mut led = 0;
        for member in members {
            let Ok(status) = connect(&member.address).await.status().await else {
                return false;
            };
            let all_vote = status.tablets.iter().all(|tablet| tablet.voters == 3);
            if status.tablets.len() != 4 || !all_vote {
                return false;
            }
            led += status.tablets.iter().filter(|tablet| tablet.leader).count();
        }
        led == 4
    })
    .await;
}

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.rows (id, text) VALUES (?, 'x')").bind(vec![Value::from(id)])
}

fn add() -> Statement {
    Statement::new("UPDATE app.sums SET n = n + 1 WHERE id = 1")
}

/// What the writers were told.
#[derive(Default)]
struct Load {
    next: AtomicI64,
    added: AtomicI64,
    failed: AtomicI64,
    end: AtomicBool,
}

/// Writes rows, and adds to a counter, which shows what is applied twice, until told to end.
async fn write(db: Db, load: Arc<Load>) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    while !load.end.load(Ordering::Acquire) {
        let id = load.next.fetch_add(1, Ordering::AcqRel);
        match db.execute(insert(id)).await {
            Ok(_) => acknowledged.push(id),
            Err(error) => {
                println!("row {id}: {error}");
                load.failed.fetch_add(1, Ordering::AcqRel);
            }
        }
        match db.execute(add()).await {
            Ok(_) => load.added.fetch_add(1, Ordering::AcqRel),
            Err(error) => {
                println!("sum after row {id}: {error}");
                load.failed.fetch_add(1, Ordering::AcqRel)
            }
        };
    }
    acknowledged
}

async fn read(db: &Db, consistency: Consistency) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    let mut state = None;
    loop {
        let page = Statement::new("SELECT id FROM app.rows").page_state(state.clone());
        let page = db.execute(page.consistency(consistency)).await.unwrap();
        let found = page.rows.iter().map(|row| match row.values()[0] {
            Value::BigInt(id) => id,
            ref other => panic!("{other:?} is no id"),
        });
        ids.extend(found);
        state.clone_from(&page.page_state);
        if state.is_none() {
            return ids;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the program of an earlier version: make upgrade-test FROM=COMMIT"]
async fn nodes_are_replaced_by_those_of_this_version_one_by_one_under_load() {
    let old = PathBuf::from(std::env::var_os("CHATDB_OLD").expect("CHATDB_OLD names the program"));
    let new = Path::new(env!("CARGO_BIN_EXE_chatdb"));
    let mut members = vec![Member::new(None)];
    members[0].up(&old);
    for _ in 0..2 {
        let mut member = Member::new(Some(&members[0].address));
        member.up(&old);
        members.push(member);
    }
    settled(&members).await;
    let addresses: Vec<String> = members.iter().map(|it| it.address.clone()).collect();
    let db = connect(&addresses.join(",")).await;
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.rows (id bigint PRIMARY KEY, text text)",
        "CREATE TABLE app.sums (id bigint PRIMARY KEY, n counter)",
    ] {
        db.execute(text).await.expect(text);
    }
    let load = Arc::new(Load::default());
    let mut writers = JoinSet::new();
    for _ in 0..8 {
        let db = connect(&addresses.join(",")).await;
        writers.spawn(write(db, Arc::clone(&load)));
    }
    let written = async |more: i64| {
        let until = load.next.load(Ordering::Acquire) + more;
        let wanted = async || load.next.load(Ordering::Acquire) >= until;
        eventually("writes go on", wanted).await;
    };
    written(500).await;
    for number in 0..members.len() {
        members[number].down();
        written(200).await;
        members[number].up(new);
        settled(&members).await;
        written(500).await;
        let (rows, failed) = (&load.next, &load.failed);
        println!(
            "node {} is new: {rows:?} rows, {failed:?} failed",
            number + 1
        );
    }
    load.end.store(true, Ordering::Release);
    let mut acknowledged = BTreeSet::new();
    for ids in writers.join_all().await {
        acknowledged.extend(ids);
    }
    let failed = load.failed.load(Ordering::Acquire);
    assert_eq!(failed, 0, "requests failed");
    for address in &addresses {
        let db = connect(address).await;
        assert_eq!(
            read(&db, Consistency::Quorum).await,
            acknowledged,
            "{address}"
        );
        let all = async || read(&db, Consistency::One).await == acknowledged;
        eventually("its own replicas have every row", all).await;
    }
    let sum = ask(&db, "SELECT n FROM app.sums WHERE id = 1").await;
    let added = load.added.load(Ordering::Acquire);
    assert_eq!(sum, [[Value::BigInt(added)]]);
    println!(
        "{} rows and {added} additions are there, once",
        acknowledged.len()
    );
}
