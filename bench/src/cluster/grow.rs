//! A fourth node joins three that hold the data; the cluster gives it its share by itself: replicas of three tablets of
//! four.
//!
//! Rows are 16 KiB of bytes that do not compress, so that what is measured is the way of the data and not a codec. The
//! speed is that of the bytes that the new node then has, over the time from its start until nothing moves any more.
//! Writes and reads come at a fixed rate before and meanwhile.

use super::Run;
use super::fixture::{Fixture, Writes, int, write};
use super::load::{Outcome, open};
use super::report::Line;
use crate::measure::float;
use crate::messages::Seeded;
use anyhow::{Result, bail};
use chatdb::{Db, Statement, Value};
use serde_json::Value as Json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NODES: usize = 4;
const TABLETS: usize = 8;
const TABLE: &str = "CREATE TABLE chat.files (name bigint PRIMARY KEY, body blob)";
const INSERT: &str = "INSERT INTO chat.files (name, body) VALUES (?, ?)";
const READ: &str = "SELECT id FROM chat.messages WHERE channel = ? LIMIT 10";
const FILE_BYTES: usize = 16 * 1024;
const LOADERS: u64 = 32;
/// Requests each second; every second one reads.
const RATE: f64 = 400.0;
const BEFORE: Duration = Duration::from_secs(8);
const MOST: Duration = Duration::from_mins(4);
const MIB: f64 = 1024.0 * 1024.0;
/// The memtables are flushed and merged before the measurement.
const REST: Duration = Duration::from_secs(5);

pub(super) async fn run(run: &mut Run) -> Result<()> {
    let mib = run.options.grow_mib();
    run.step(&format!("grow: loading {mib} MiB"));
    let tablets = format!("--tablets={TABLETS}");
    let mut fixture = Fixture::prepare(&run.options, NODES, &[&tablets]).await?;
    for number in 1..NODES {
        fixture.cluster.start(number).await?;
    }
    fixture.settle(3).await?;
    let db = fixture.connect().await?;
    super::fixture::make_table(&db).await?;
    db.execute(TABLE).await?;
    load(&db, mib).await?;
    tokio::time::sleep(REST).await;
    run.step("grow: before");
    let before = steady(db.clone(), 400_000, BEFORE, Arc::default()).await?;
    run.step("grow: the fourth node joins");
    let is_stopped = Arc::new(AtomicBool::new(false));
    let meanwhile = steady(db.clone(), 500_000, MOST, Arc::clone(&is_stopped));
    let joining = async {
        let joined = join(&mut fixture).await;
        is_stopped.store(true, Ordering::Relaxed);
        joined
    };
    let (meanwhile, joined) = tokio::join!(meanwhile, joining);
    tell(run, (&before, &meanwhile?), joined?);
    Ok(())
}

async fn load(db: &Db, mib: u64) -> Result<()> {
    let files = (mib << 20) / FILE_BYTES as u64;
    let mut tasks = JoinSet::new();
    for loader in 0..LOADERS {
        let db = db.clone();
        tasks.spawn(async move {
            let mut seeded = Seeded::new(loader);
            for name in (loader..files).step_by(usize::try_from(LOADERS)?) {
                let mut body = Vec::with_capacity(FILE_BYTES);
                while body.len() < FILE_BYTES {
                    body.extend(seeded.next().to_le_bytes());
                }
                let insert = Statement::new(INSERT).bind(vec![int(name), Value::from(body)]);
                write(&db, insert).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The foreground: small writes and reads at a fixed rate.
async fn steady(
    db: Db,
    base: u64,
    length: Duration,
    is_stopped: Arc<AtomicBool>,
) -> Result<Outcome> {
    let writes = Writes::new(base);
    let operation = move |number: u64| {
        let statement = if number.is_multiple_of(2) {
            let (channel, ..) = writes.message(0, number);
            Statement::new(READ).bind(vec![int(channel)])
        } else {
            writes.insert(0, number)
        };
        let db = db.clone();
        async move { write(&db, statement).await.map(drop) }
    };
    open(RATE, length, is_stopped, operation).await
}

/// Starts the last node and waits until it has its share and nothing moves; how long that took, and its bytes.
async fn join(fixture: &mut Fixture) -> Result<(Duration, f64)> {
    let begun = Instant::now();
    fixture.cluster.start(NODES).await?;
    let share = TABLETS * 3 / NODES;
    loop {
        let status = fixture.settle(3).await?;
        let (replicas, bytes) = held(&status, NODES as u64);
        if replicas >= share {
            return Ok((begun.elapsed(), bytes));
        }
        if begun.elapsed() > MOST {
            bail!("the new node has {replicas} of {share} replicas: {status}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The replicas on a node, and their bytes.
fn held(status: &Json, node: u64) -> (usize, f64) {
    let none = Vec::new();
    let list = |json: &Json| json.as_array().unwrap_or(&none).clone();
    let replicas = list(&status["tablets"])
        .into_iter()
        .flat_map(|it| list(&it["replicas"]));
    let here: Vec<Json> = replicas.filter(|it| it["node"] == node).collect();
    let bytes = here.iter().filter_map(|it| it["bytes"].as_f64()).sum();
    (here.len(), bytes)
}

fn tell(run: &mut Run, (before, meanwhile): (&Outcome, &Outcome), (took, bytes): (Duration, f64)) {
    let speed = bytes / MIB / took.as_secs_f64();
    let ratio = meanwhile.latency_ms(990) / before.latency_ms(990);
    let gib = bytes / MIB / 1024.0;
    run.tell(Line {
        what: format!("a node is added: {gib:.2} GiB move to it, from its start until all rests"),
        must: ">= 100 MB/s".to_owned(),
        measured: format!(
            "{:.0} MB/s ({:.1} s)",
            speed * MIB / 1e6,
            took.as_secs_f64()
        ),
        holds: Some(speed * MIB / 1e6 >= 100.0),
    });
    run.tell(Line {
        what: format!("p99 of {RATE:.0} requests/s meanwhile, to that before"),
        must: "<= 2x".to_owned(),
        measured: format!(
            "{ratio:.1}x ({:.1} ms, before {:.1} ms)",
            meanwhile.latency_ms(990),
            before.latency_ms(990)
        ),
        holds: Some(ratio <= 2.0 && meanwhile.failed == 0),
    });
    run.figures(
        "a node is added",
        &[
            ("MiB", vec![bytes / MIB]),
            ("seconds", vec![took.as_secs_f64()]),
            ("MiB per second", vec![speed]),
            ("p50 before, ms", vec![before.latency_ms(500)]),
            ("p50 meanwhile, ms", vec![meanwhile.latency_ms(500)]),
            ("p99 before, ms", vec![before.latency_ms(990)]),
            ("p99 meanwhile, ms", vec![meanwhile.latency_ms(990)]),
            (
                "requests that failed",
                vec![float(before.failed + meanwhile.failed)],
            ),
        ],
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_node_holds_is_counted_over_its_replicas_alone() {
        let replica = |node: u64, bytes: u64| json!({ "node": node, "bytes": bytes });
        let status = json!({ "tablets": [
            { "replicas": [replica(1, 5), replica(4, 7)] },
            { "replicas": [replica(4, 8), { "node": 4, "bytes": null }] },
        ] });
        assert_eq!(held(&status, 4).0, 3);
        assert!((held(&status, 4).1 - 15.0).abs() < 1e-9);
        assert_eq!(held(&status, 9).0, 0);
    }
}
