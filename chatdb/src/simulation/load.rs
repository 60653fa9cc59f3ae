//! The clients of a run, and what they know for certain.
//!
//! A writer has partitions of its own and does one thing after the other, so that it knows what a strong read must
//! tell: for each row the one value that was acknowledged, or one of several after an outcome that is not known.

use super::system::split_mix;
use crate::db::Db;
use crate::db::options::ConnectOptions;
use crate::node::network::Network;
use crate::{Consistency, ErrorKind, ResultSet, Statement, Value};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The topic of every write.
pub(super) const TOPIC: &str = "all";
/// Partitions of a writer, and rows of each.
const PARTITIONS: u64 = 4;
const ROWS: u64 = 12;
/// How long a client waits for one request with all its attempts.
const DEADLINE: Duration = Duration::from_secs(8);
/// Pause between the requests of a client, at most.
const PAUSE_MS: u64 = 60;
/// How often one row is asked for again before that is a finding.
const INSIST: Duration = Duration::from_mins(1);

const SCHEMA: [&str; 4] = [
    "CREATE KEYSPACE sim",
    "CREATE TABLE sim.rows (writer bigint, part bigint, row bigint, body bigint, pad text, PRIMARY KEY ((writer, part), row))",
    "CREATE TABLE sim.sums (writer bigint, total counter, PRIMARY KEY (writer))",
    "CREATE TABLE sim.registers (name bigint PRIMARY KEY, value bigint)",
];

/// A row of random numbers.
#[derive(Clone, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let (mixed, state) = split_mix(self.0);
        self.0 = state;
        mixed % end
    }
}

/// Writer, partition, row.
type Key = (u64, u64, u64);

/// What is known of all rows.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The values that a row may have; `None` is no row.
    rows: BTreeMap<Key, BTreeSet<Option<i64>>>,
    /// By writer, the least and the most that a counter may be.
    sums: BTreeMap<u64, (i64, i64)>,
    pub(super) acknowledged: u64,
    pub(super) unknown: u64,
    pub(super) reads: u64,
    pub(super) refused: BTreeMap<String, u64>,
}

/// What all clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) network: Arc<dyn Network>,
    pub(super) nodes: Vec<String>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) stop: std::sync::atomic::AtomicBool,
}

/// What a writer does next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Put(Key, i64),
    Delete(Key),
    Add(i64),
    Read(u64),
}

impl Shared {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A client with connections of its own.
    pub(super) async fn connect(&self) -> Db {
        let mut options = ConnectOptions::new(self.nodes.clone());
        options.deadline = DEADLINE;
        loop {
            if let Ok(db) = Db::connect_over(&options, &self.network).await {
                return db;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Runs what may be run twice until it has an answer.
    pub(super) async fn insist(&self, db: &Db, statement: &Statement) -> ResultSet {
        let end = Instant::now() + INSIST;
        loop {
            match db.execute(statement.clone()).await {
                Ok(result) => return result,
                Err(error) => {
                    let late = Instant::now() > end;
                    assert!(
                        !late,
                        "no answer within {INSIST:?}: {error:?}, {statement:?}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Makes the tables.
pub(super) async fn make_tables(shared: &Shared, db: &Db) {
    for text in SCHEMA {
        let end = Instant::now() + INSIST;
        loop {
            match db.execute(Statement::new(text)).await {
                Ok(_) => break,
                Err(error) if error.message().contains("exists") => break,
                Err(error) => assert!(Instant::now() < end, "no schema: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    shared.ledger.lock().acknowledged += 1;
}

/// One writer, until told to stop.
pub(super) async fn write(shared: Arc<Shared>, writer: u64, seed: u64) {
    let db = shared.connect().await;
    let mut random = Random(seed ^ (writer << 40));
    let mut number = 0;
    while !shared.is_stopped() {
        number += 1;
        let key = (writer, random.below(PARTITIONS), random.below(ROWS));
        let action = match random.below(10) {
            0..5 => Action::Put(key, number),
            5 => Action::Delete(key),
            6 | 7 => Action::Add(1 << random.below(8)),
            _ => Action::Read(key.1),
        };
        act(&shared, &db, (writer, action), &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.below(PAUSE_MS))).await;
    }
}

fn int(number: u64) -> Value {
    Value::BigInt(number.cast_signed())
}

async fn act(shared: &Shared, db: &Db, (writer, action): (u64, Action), random: &mut Random) {
    let statement = match action {
        Action::Put((writer, part, row), body) => {
            // So large that tablets flush and merge in a short life.
            let pad = "x".repeat(usize::try_from(random.below(900)).unwrap_or(0));
            let text = "INSERT INTO sim.rows (writer, part, row, body, pad) VALUES (?, ?, ?, ?, ?)";
            let key = [writer, part, row].map(int);
            let values = key
                .into_iter()
                .chain([Value::BigInt(body), Value::from(pad)]);
            Statement::new(text).bind(values.collect())
        }
        Action::Delete((writer, part, row)) => {
            let text = "DELETE FROM sim.rows WHERE writer = ? AND part = ? AND row = ?";
            Statement::new(text).bind([writer, part, row].map(int).to_vec())
        }
        Action::Add(amount) => {
            let text = "UPDATE sim.sums SET total = total + ? WHERE writer = ?";
            Statement::new(text).bind(vec![Value::BigInt(amount), int(writer)])
        }
        Action::Read(part) => {
            let consistency = if random.below(3) == 0 {
                Consistency::Serial
            } else {
                Consistency::Quorum
            };
            return read(shared, db, (writer, part), consistency).await;
        }
    };
    let outcome = db.execute(statement.topic(TOPIC)).await;
    shared.ledger.lock().note(writer, action, &outcome);
}

impl Ledger {
    fn note(&mut self, writer: u64, action: Action, outcome: &crate::Result<ResultSet>) {
        let is_known = outcome.is_ok();
        if let Err(error) = outcome {
            assert!(
                !matches!(
                    error.kind(),
                    ErrorKind::Invalid | ErrorKind::Bug | ErrorKind::Corrupt
                ),
                "{action:?}: {error:?}"
            );
            *self
                .refused
                .entry(format!("{:?}", error.kind()))
                .or_default() += 1;
        }
        self.acknowledged += u64::from(is_known);
        self.unknown += u64::from(!is_known);
        let (key, value) = match action {
            Action::Put(key, body) => (key, Some(body)),
            Action::Delete(key) => (key, None),
            Action::Add(amount) => {
                let (least, most) = self.sums.entry(writer).or_default();
                *least += if is_known { amount } else { 0 };
                *most += amount;
                return;
            }
            Action::Read(_) => return,
        };
        let values = self
            .rows
            .entry(key)
            .or_insert_with(|| BTreeSet::from([None]));
        if is_known {
            // What came before was answered or given up: a copy of it that arrives now is not applied.
            values.clear();
        }
        values.insert(value);
    }

    /// What a partition must hold, by row.
    fn of(&self, (writer, part): (u64, u64)) -> BTreeMap<u64, BTreeSet<Option<i64>>> {
        let all = self
            .rows
            .range((writer, part, 0)..=(writer, part, u64::MAX));
        all.map(|((_, _, row), values)| (*row, values.clone()))
            .collect()
    }

    pub(super) fn judge(&self, of: (u64, u64), seen: &BTreeMap<u64, i64>, when: &str) {
        let known = self.of(of);
        for (row, values) in &known {
            let found = seen.get(row).copied();
            assert!(
                values.contains(&found),
                "{when}: row {row} of {of:?} is {found:?} and must be one of {values:?}"
            );
        }
        for row in seen.keys() {
            assert!(
                known.contains_key(row),
                "{when}: nobody wrote row {row} of {of:?}"
            );
        }
    }

    pub(super) fn writers(&self) -> BTreeSet<u64> {
        self.rows.keys().map(|key| key.0).collect()
    }

    pub(super) fn judge_sum(&self, writer: u64, sum: i64, when: &str) {
        let (least, most) = self.sums.get(&writer).copied().unwrap_or_default();
        assert!(
            (least..=most).contains(&sum),
            "{when}: the counter of {writer} is {sum} and must be within {least} and {most}"
        );
    }
}

/// Reads a partition page by page.
async fn pages(
    db: &Db,
    (writer, part): (u64, u64),
    consistency: Consistency,
) -> crate::Result<BTreeMap<u64, i64>> {
    let mut rows = BTreeMap::new();
    let mut state: Option<Bytes> = None;
    loop {
        let text = "SELECT row, body FROM sim.rows WHERE writer = ? AND part = ?";
        let statement = Statement::new(text)
            .bind(vec![int(writer), int(part)])
            .consistency(consistency)
            .page_size(5)
            .page_state(state.take());
        let page = db.execute(statement).await?;
        for row in &page.rows {
            if let [Value::BigInt(row), Value::BigInt(body)] = row.values() {
                rows.insert(row.cast_unsigned(), *body);
            }
        }
        state = page.page_state;
        if state.is_none() {
            return Ok(rows);
        }
    }
}

async fn read(shared: &Shared, db: &Db, of: (u64, u64), consistency: Consistency) {
    // Nobody else writes there.
    if let Ok(seen) = pages(db, of, consistency).await {
        let mut ledger = shared.ledger.lock();
        ledger.reads += 1;
        ledger.judge(of, &seen, "a strong read");
    }
}

/// Every partition and every counter, once all is quiet.
pub(super) async fn check_all(shared: &Shared, db: &Db, when: &str) {
    let writers = shared.ledger.lock().writers();
    for writer in writers {
        for part in 0..PARTITIONS {
            let end = Instant::now() + INSIST;
            let seen = loop {
                match pages(db, (writer, part), Consistency::Serial).await {
                    Ok(seen) => break seen,
                    Err(error) => assert!(Instant::now() < end, "{when}: {error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            shared.ledger.lock().judge((writer, part), &seen, when);
        }
        let text = "SELECT total FROM sim.sums WHERE writer = ?";
        let statement = Statement::new(text).bind(vec![int(writer)]);
        let result = shared
            .insist(db, &statement.consistency(Consistency::Serial))
            .await;
        let sum = match result.rows.first().map(crate::Row::values) {
            Some([Value::BigInt(sum)]) => *sum,
            _ => 0,
        };
        shared.ledger.lock().judge_sum(writer, sum, when);
    }
}
