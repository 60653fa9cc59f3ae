//! Memory under load: memtables, block cache, hot log and readers at once, as the page of metrics
//! tells them.

use crate::metrics_page::get;
use bytes::Bytes;
use chatdb::{Db, EmbeddedOptions, ErrorKind, Result, ResultSet, Statement, Value};
use std::net::SocketAddr;
use tempfile::TempDir;

const KIB: u64 = 1024;
/// Budget of memtables, cache and log each, in bytes.
const BUDGET: u64 = 1024 * KIB;
const WRITERS: i64 = 32;
const READERS: usize = 12;
const ROWS_PER_WRITER: i64 = 120;
const VALUE_BYTES: usize = 4096;
const READS_AT_ONCE: u64 = 3;

fn options(directory: &TempDir) -> EmbeddedOptions {
    EmbeddedOptions {
        tablets: 2,
        tablet_memtable_bytes: BUDGET / 2,
        total_memtable_bytes: BUDGET,
        block_cache_bytes: BUDGET,
        log_cache_bytes: usize::try_from(BUDGET).unwrap(),
        concurrent_reads: usize::try_from(READS_AT_ONCE).unwrap(),
        ..EmbeddedOptions::new(directory.path())
    }
}

/// What is refused because there is too much of it is what the limits are for.
async fn ask(db: &Db, statement: Statement) -> Option<ResultSet> {
    let answer: Result<ResultSet> = db.execute(statement).await;
    match answer {
        Ok(result) => Some(result),
        Err(error) if error.kind() == ErrorKind::Overloaded => None,
        Err(error) => panic!("{error}"),
    }
}

async fn write(db: Db, writer: i64) {
    let value = Bytes::from(vec![u8::try_from(writer).unwrap(); VALUE_BYTES]);
    for number in 0..ROWS_PER_WRITER {
        let values = vec![
            Value::from(writer),
            Value::from(number),
            Value::from(value.clone()),
        ];
        let insert = Statement::new("INSERT INTO app.t (a, b, c) VALUES (?, ?, ?)").bind(values);
        ask(&db, insert).await;
    }
}

/// The sum of all samples of a name.
fn sum(page: &str, name: &str) -> u64 {
    let samples = page.lines().filter_map(|line| line.strip_prefix(name));
    let numbers = samples.filter(|rest| rest.starts_with([' ', '{']));
    numbers
        .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

async fn check(address: SocketAddr) -> String {
    let (_, page) = get(address, "/metrics").await;
    // What was admitted before a limit was reached may still come.
    let admitted = u64::try_from(WRITERS).unwrap() * 2 * VALUE_BYTES as u64;
    for (name, most) in [
        ("chatdb_memtable_bytes", 2 * BUDGET + admitted),
        ("lsm_cache_bytes", BUDGET),
        ("lsm_log_hot_bytes", BUDGET + admitted),
        ("chatdb_reads_running", READS_AT_ONCE),
        ("chatdb_reads_waiting", READS_AT_ONCE * 8),
    ] {
        let now = sum(&page, name);
        assert!(now <= most, "{name} is {now}, more than {most}");
    }
    page
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memtables_cache_log_and_readers_stay_within_their_budgets_under_load() {
    let directory = TempDir::new().unwrap();
    let db = Db::open(options(&directory)).await.unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = db.serve_metrics(any).await.unwrap();
    db.execute("CREATE KEYSPACE app").await.unwrap();
    let table = "CREATE TABLE app.t (a bigint, b bigint, c blob, PRIMARY KEY (a, b))";
    db.execute(table).await.unwrap();

    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(db.clone(), writer)))
        .collect();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                loop {
                    ask(&db, Statement::new("SELECT * FROM app.t").page_size(200)).await;
                }
            })
        })
        .collect();
    let mut looks = 0;
    while writers.iter().any(|writer| !writer.is_finished()) {
        check(server.address()).await;
        looks += 1;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        reader.abort();
    }
    let page = check(server.address()).await;
    // The limits were reached, not merely far away.
    assert!(looks >= 5, "looked {looks} times");
    assert!(sum(&page, "lsm_engine_flushes_total") > 0, "{page}");
    assert!(
        sum(&page, "lsm_log_payload_bytes_total") > 4 * BUDGET,
        "{page}"
    );
    db.close().await.unwrap();
}
