//! The page of a database alone: what was done is on it, and every name is documented.

use crate::harness::{Both, open};
use chatdb::{Db, ErrorKind, Statement};
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Status line and body of a request.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

fn has(page: &str, line: &str) -> bool {
    page.lines().any(|other| other == line)
}

async fn make_table(db: &Db) {
    let space = "CREATE KEYSPACE app WITH replication = {'class': 'x'}";
    db.execute(space).await.unwrap();
    let table = "CREATE TABLE app.t (a int PRIMARY KEY, b text)";
    db.execute(table).await.unwrap();
}

#[tokio::test]
async fn statements_and_calls_are_counted_by_what_they_were_and_how_they_ended() {
    let both = Both::open().await;
    let any = "127.0.0.1:0".parse().unwrap();
    let server = both.embedded.serve_metrics(any).await.unwrap();
    make_table(&both.embedded).await;
    for number in 0..7 {
        let insert = format!("INSERT INTO app.t (a, b) VALUES ({number}, 'x')");
        both.remote.execute(Statement::new(insert)).await.unwrap();
    }
    for _ in 0..3 {
        let select = "SELECT * FROM app.t WHERE a = 1";
        both.embedded.execute(select).await.unwrap();
    }
    let wrong = both.embedded.execute("SELECT * FROM app.nothing").await;
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::NotFound);

    let (status, page) = get(server.address(), "/metrics").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    for line in [
        "chatdb_statement_seconds_count{kind=\"write\"} 7",
        "chatdb_statement_seconds_count{kind=\"read\"} 3",
        "chatdb_statement_seconds_count{kind=\"schema\"} 2",
        "chatdb_statement_seconds_count{kind=\"other\"} 1",
        "chatdb_statement_errors_total{kind=\"not_found\"} 1",
        "chatdb_statement_errors_total{kind=\"io\"} 0",
        "chatdb_rpc_seconds_count{method=\"execute\"} 7",
        "chatdb_rpc_errors_total{method=\"execute\"} 0",
        "chatdb_reads_running 0",
        "raft_queue_commands{group=\"1\"} 0",
        "raft_leads{group=\"0\"} 1",
    ] {
        assert!(has(&page, line), "no {line} in\n{page}");
    }
    let document = include_str!("../../../docs/operations/metrics.md");
    let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name in names.filter_map(|rest| rest.split(' ').next()) {
        let is_there = ["`", "_total`"].map(|end| document.contains(&format!("| `{name}{end} ")));
        assert!(
            is_there.contains(&true),
            "{name} is not in docs/operations/metrics.md"
        );
    }
    both.close().await;
}

#[tokio::test]
async fn a_closed_database_says_so_on_its_health_page() {
    let directory = TempDir::new().unwrap();
    let db = open(directory.path()).await;
    let any = "127.0.0.1:0".parse().unwrap();
    let server = db.serve_metrics(any).await.unwrap();
    let (status, body) = get(server.address(), "/healthz").await;
    assert_eq!(
        (status.as_str(), body.as_str()),
        ("HTTP/1.1 200 OK", "ok\n")
    );
    db.close().await.unwrap();
    let (status, body) = get(server.address(), "/healthz").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert_eq!(body, "the database is closed\n");
}
