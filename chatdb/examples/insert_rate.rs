//! How many durable inserts per second one node takes: `insert_rate DIR WRITERS SECONDS [ADDRESS [CERTIFICATE KEY AUTHORITY]]`.
//!
//! Without an address the database runs in this process; with one, DIR is ignored and every writer
//! shares one connection.

use chatdb::{ConnectOptions, Db, EmbeddedOptions, Error, Result, Statement, TlsFiles, Value};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const INSERT: &str = "INSERT INTO rate.messages (channel, id, content) VALUES (?, ?, ?)";

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |position: usize, default: u64| {
        arguments
            .get(position)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let directory = arguments.first().map_or("./rate-data", String::as_str);
    let begun = Instant::now();
    let db = match arguments.get(3) {
        Some(address) => {
            let mut options = ConnectOptions::parse(address);
            let files: Vec<PathBuf> = arguments.iter().skip(4).map(PathBuf::from).collect();
            if let [certificate, key, authority] = &files[..] {
                options.tls = Some(TlsFiles {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    authority: authority.clone(),
                });
            }
            Db::connect_with(&options).await?
        }
        None => Db::open(EmbeddedOptions::new(directory)).await?,
    };
    let opened = begun.elapsed();
    db.execute("CREATE KEYSPACE IF NOT EXISTS rate").await?;
    db.execute(
        "CREATE TABLE IF NOT EXISTS rate.messages (channel bigint, id bigint, content text, \
         PRIMARY KEY (channel, id))",
    )
    .await?;
    let next = Arc::new(AtomicI64::new(0));
    let (writers, limit) = (number(1, 64), Duration::from_secs(number(2, 10)));
    let begun = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|_| tokio::spawn(write(db.clone(), Arc::clone(&next), begun + limit)))
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        let outcome = task.await.map_err(|cause| Error::bug(cause.to_string()))?;
        latencies.extend(outcome?);
    }
    let elapsed = begun.elapsed();
    latencies.sort_unstable();
    let at = |part: usize| {
        latencies
            .get(latencies.len() * part / 1000)
            .copied()
            .unwrap_or_default()
    };
    let rate = latencies.len() as u128 * 1000 / elapsed.as_millis().max(1);
    let report = format!(
        "{writers} writers: {rate} inserts/s; p50 {} us, p99 {} us; opened in {} ms\n",
        at(500).as_micros(),
        at(990).as_micros(),
        opened.as_millis()
    );
    let written = std::io::stdout().write_all(report.as_bytes());
    db.close().await?;
    written.map_err(|cause| Error::invalid(cause.to_string()))
}

async fn write(db: Db, next: Arc<AtomicI64>, until: Instant) -> Result<Vec<Duration>> {
    let content = "a message of usual length, some seventy bytes of text for one insert";
    let mut latencies = Vec::new();
    while Instant::now() < until {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let values = vec![
            Value::from(id % 1000),
            Value::from(id),
            Value::from(content),
        ];
        let begun = Instant::now();
        db.execute(Statement::new(INSERT).bind(values)).await?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}
