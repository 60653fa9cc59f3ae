//! Nodes and clients under TLS: a cluster that loses a node, and those who are not let in.

use crate::certificates::{Authority, Says, client, node};
use crate::cluster::{eventually, free_address};
use crate::harness::{Serving, run, text};
use crate::stopping::Member;
use chatdb::{ConnectOptions, Db, Result, Statement, TlsFiles, Value};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const TABLETS: usize = 4;
const LIMIT: Duration = Duration::from_mins(1);

fn flags(files: &TlsFiles) -> Vec<String> {
    [
        ("certificate", &files.certificate),
        ("key", &files.key),
        ("authority", &files.authority),
    ]
    .map(|(name, path)| format!("--tls-{name}={}", path.display()))
    .to_vec()
}

async fn connect(addresses: &str, files: Option<TlsFiles>) -> Result<Db> {
    let mut options = ConnectOptions::parse(addresses);
    options.deadline = Duration::from_secs(20);
    options.tls = files;
    Db::connect_with(&options).await
}

/// A node of this name; its certificate is for its own addresses only.
fn secured(authority: &Authority, name: &str, join: Option<&str>) -> Member {
    Member::start_with(join, 3, |[grpc, peers]: [IpAddr; 2]| {
        let ips = format!("{grpc},{peers}");
        flags(&authority.sign(node(name, &ips)))
    })
}

fn insert(id: i64) -> Statement {
    Statement::new("INSERT INTO app.notes (id, text) VALUES (?, 'x')").bind(vec![Value::from(id)])
}

async fn write(db: &Db, id: i64) {
    let begun = Instant::now();
    while let Err(error) = db.execute(insert(id)).await {
        let may_pass = begun.elapsed() < LIMIT;
        assert!(may_pass, "row {id} is not written: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_write_under_tls_and_go_on_without_one_that_was_killed() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let user = authority.sign(client("user"));
    let first = secured(&authority, "n1", None);
    let second = secured(&authority, "n2", Some(&first.address));
    let third = secured(&authority, "n3", Some(&second.address));
    let mut members = [first, second, third];
    let addresses: Vec<String> = members.iter().map(|it| it.address.clone()).collect();
    let addresses = addresses.join(",");
    let db = connect(&addresses, Some(user.clone())).await.unwrap();
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, text text)",
    ] {
        db.execute(text).await.expect(text);
    }
    // The command speaks TLS as well, and so do the nodes that it asks about each other.
    let is_whole = async || {
        let mut words = vec!["cluster", "status", "--json", "--at", &addresses];
        let flags = flags(&user);
        words.extend(flags.iter().map(String::as_str));
        let told = run(&words);
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        let all = |it: &serde_json::Value, holds: fn(&serde_json::Value) -> bool, count| {
            let list = it.as_array().cloned().unwrap_or_default();
            list.len() == count && list.iter().all(holds)
        };
        all(&told["nodes"], |node| node["answers"] == true, 3)
            && all(
                &told["tablets"],
                |tablet| {
                    let replicas = tablet["replicas"].as_array().map_or(0, Vec::len);
                    tablet["settled"] == true && tablet["leader"].is_u64() && replicas == 3
                },
                TABLETS,
            )
    };
    eventually("every tablet is on three nodes that answer", is_whole).await;
    for id in 0..60 {
        write(&db, id).await;
    }
    members[0].process.take().expect("it runs").kill();
    for id in 60..120 {
        write(&db, id).await;
    }
    members[0].up();
    eventually("all three are there again", is_whole).await;
    let counted = db.execute("SELECT COUNT(*) FROM app.notes").await.unwrap();
    assert_eq!(counted.rows[0].values()[0], Value::from(120_i64));
}

/// What the program says to who asks with these options.
fn asked(address: &str, options: &[String]) -> (bool, String) {
    let mut words = vec!["query", "SELECT COUNT(*) FROM app.notes", "--at", address];
    words.extend(options.iter().map(String::as_str));
    let ended = run(&words);
    (ended.status.success(), text(&ended.stderr))
}

/// A node without a cluster.
fn alone(authority: &Authority, directory: &Path) -> Serving {
    let own = flags(&authority.sign(node("n1", "127.0.0.1")));
    let mut words: Vec<&str> = own.iter().map(String::as_str).collect();
    words.extend(["--grpc", "127.0.0.1:0"]);
    Serving::start_with(&directory.join("data"), &words)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_why() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let foreign = Authority::new(directory.path(), "foreign");
    let secured = alone(&authority, directory.path());
    let user = authority.sign(client("user"));
    let db = connect(&secured.address, Some(user.clone())).await.unwrap();
    for text in [
        "CREATE KEYSPACE app",
        "CREATE TABLE app.notes (id bigint PRIMARY KEY, text text)",
    ] {
        db.execute(text).await.expect(text);
    }
    let (is_answered, said) = asked(&secured.address, &flags(&user));
    assert!(is_answered, "{said}");
    let at_port = |host: &str| {
        let (_, port) = secured.address.rsplit_once(':').expect("a port");
        format!("{host}:{port}")
    };
    let old = Says {
        has_expired: true,
        ..client("old")
    };
    let plain = Serving::start(&directory.path().join("plain"));
    let foreigner = flags(&foreign.sign(client("foreigner")));
    let believing = flags(&TlsFiles {
        authority: user.authority.clone(),
        ..foreign.sign(client("believer"))
    });
    let user = flags(&user);
    for (address, options, why) in [
        (secured.address.clone(), &[][..], "it may only take TLS"),
        (
            format!("https://{}", secured.address),
            &[],
            "no certificate is given",
        ),
        (
            format!("http://{}", secured.address),
            &user,
            "is in the clear",
        ),
        (
            secured.address.clone(),
            &foreigner,
            "an authority that is not known here",
        ),
        (
            secured.address.clone(),
            &believing,
            "was not signed by the authority in",
        ),
        (
            secured.address.clone(),
            &flags(&authority.sign(old)),
            "has expired",
        ),
        (at_port("127.0.0.2"), &user, "cannot connect to 127.0.0.2"),
        (plain.address.clone(), &user, "does not use TLS"),
        (
            secured.address.clone(),
            &user[..1],
            "--tls-key and --tls-authority is missing",
        ),
    ] {
        let (is_answered, said) = asked(&address, options);
        assert!(!is_answered && said.contains(why), "{why}: {said}");
    }
}

#[test]
fn a_node_shows_that_it_is_one_before_it_does_anything() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let user = flags(&authority.sign(client("user")));
    let (at, own) = (free_address().to_string(), directory.path().join("data"));
    let mut words = vec![
        "serve",
        "--data",
        own.to_str().unwrap(),
        "--node-listen",
        &at,
    ];
    words.extend(["--join", "https://127.0.0.1:1"]);
    words.extend(user.iter().map(String::as_str));
    let refused = run(&words);
    assert!(!refused.status.success());
    let said = text(&refused.stderr);
    assert!(said.contains("is not that of a node"), "{said}");
    assert!(!own.exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_and_says_nothing_is_gone_soon_and_keeps_nobody_out() {
    let directory = TempDir::new().unwrap();
    let authority = Authority::new(directory.path(), "own");
    let secured = alone(&authority, directory.path());
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(&secured.address).await.unwrap());
    }
    let user = authority.sign(client("user"));
    let begun = Instant::now();
    let db = connect(&secured.address, Some(user)).await.unwrap();
    db.status().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "nobody waits for them"
    );
    for stream in &mut silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(LIMIT, stream.read_to_end(&mut rest)).await;
        drop(ended.expect("it is ended from there"));
    }
}
